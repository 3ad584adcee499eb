// A browser that signs a person in at the provider and stays: for each line on standard input it
// goes through the provider again, `silently` (prompt=none) or `anew` (with a sign-in), and prints
// the claims of the ID token that it got, or the error. The first line of output is of the sign-in.
// Usage: visit.mjs ISSUER CLIENT_ID CLIENT_SECRET SUB
import { createInterface } from 'node:readline';
import { Browser } from './browser.mjs';
import { redeem } from './redeem.mjs';

const [issuer, id, secret, sub] = process.argv.slice(2);
const callback = 'http://127.0.0.1:1/callback';
const browser = new Browser(callback);

async function visit(prompt) {
  const query = new URLSearchParams({
    client_id: id, redirect_uri: callback, response_type: 'code', scope: 'openid', prompt,
  });
  const at = `${issuer}/auth?${query}`;
  const back = new URL(await (prompt === 'none' ? browser.silently(at) : browser.signIn(at, sub)));
  if (back.searchParams.has('error')) return { error: back.searchParams.get('error') };
  const { id_token } = await redeem(issuer, id, secret, callback, back);
  return JSON.parse(Buffer.from(id_token.split('.')[1], 'base64url'));
}

console.log(JSON.stringify(await visit('login consent')));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await visit(line === 'anew' ? 'login' : 'none')));
}
