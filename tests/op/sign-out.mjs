// Signs a person in at the provider as a browser does, prints the claims of their ID token, and, when a
// line comes on standard input, signs them out there by the provider's own page.
// Usage: sign-out.mjs ISSUER CLIENT_ID CLIENT_SECRET SUB
import { createInterface } from 'node:readline';
import { Browser } from './browser.mjs';
import { redeem } from './redeem.mjs';

const [issuer, id, secret, sub] = process.argv.slice(2);
const callback = 'http://127.0.0.1:1/callback';
const browser = new Browser(callback);
const query = new URLSearchParams({
  client_id: id,
  redirect_uri: callback,
  response_type: 'code',
  scope: 'openid',
  prompt: 'login consent',
});
const url = await browser.signIn(`${issuer}/auth?${query}`, sub);
const { id_token: token } = await redeem(issuer, id, secret, callback, url);
console.log(Buffer.from(token.split('.')[1], 'base64url').toString());
for await (const _ of createInterface({ input: process.stdin })) break;
const page = await browser.page(`${issuer}/session/end?${new URLSearchParams({ id_token_hint: token })}`);
const xsrf = page.match(/name="xsrf" value="([^"]+)"/)[1];
await browser.go(`${issuer}/session/end/confirm`, { xsrf, logout: 'yes' });
process.exit(0);
