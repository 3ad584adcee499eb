// A relying party on loopback: takes logout tokens as OpenID Connect Back-Channel Logout 1.0 has it,
// verifies each against its issuer's keys, and tells on GET /received what it took. It prints its
// back-channel logout address. Usage: rp.mjs CLIENT_ID
import { createServer } from 'node:http';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';

const [client] = process.argv.slice(2);
const EVENT = 'http://schemas.openid.net/event/backchannel-logout';
const received = [];

async function take(request) {
  let body = '';
  for await (const part of request) body += part;
  const token = new URLSearchParams(body).get('logout_token');
  const { iss } = decodeJwt(token);
  const keys = createRemoteJWKSet(new URL(`${iss}/jwks`));
  const { payload } = await jwtVerify(token, keys, {
    typ: 'logout+jwt',
    audience: client,
    requiredClaims: ['iat', 'exp', 'jti', 'sub', 'sid', 'events'],
  });
  if (!payload.events[EVENT]) throw new Error('no logout event');
  if ('nonce' in payload) throw new Error('a nonce');
  received.push(payload);
}

const server = createServer((request, response) => {
  response.setHeader('cache-control', 'no-store');
  if (request.method === 'GET') {
    response.setHeader('content-type', 'application/json');
    return response.end(JSON.stringify(received));
  }
  take(request).then(
    () => response.end(),
    (error) => {
      console.error(error);
      response.writeHead(400).end();
    },
  );
});
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/backchannel` }));
});
