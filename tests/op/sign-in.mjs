// Signs a person in at the provider as a browser does: authorization code, its own pages, its own
// cookies. Prints the token response. Usage: sign-in.mjs ISSUER CLIENT_ID CLIENT_SECRET SUB
import { Browser } from './browser.mjs';
import { redeem } from './redeem.mjs';

const [issuer, id, secret, sub] = process.argv.slice(2);
const callback = 'http://127.0.0.1:1/callback';
const query = new URLSearchParams({
  client_id: id,
  redirect_uri: callback,
  response_type: 'code',
  scope: 'openid offline_access',
  prompt: 'login consent',
});
const url = await new Browser(callback).signIn(`${issuer}/auth?${query}`, sub);
console.log(JSON.stringify(await redeem(issuer, id, secret, callback, url)));
