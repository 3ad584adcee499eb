// A certified OpenID provider (npm oidc-provider) on loopback, for the tests. It prints its issuer
// and serves until it is ended. Whoever's name begins with "soc-" is of the group soc. The sign-in
// page accepts every name: who signs in is the test's business, and what becomes of the tokens is
// the provider's own.
//
// Usage: op.mjs [BACKCHANNEL_LOGOUT_URI [HUB]]. With a hub, the one at that address may order a global
// token revocation here: the one route that is not the provider's own, which has no interface for
// administrators.
import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { Provider } from 'oidc-provider';

const [logout, hub] = process.argv.slice(2);
const [id, secret] = ['exeunt-hub', 'a secret: of+the test'];
const REVOCATION = '/global-token-revocation';
const server = createServer((request, response) => handler(request, response));
let handler = (_, response) => response.writeHead(503).end();

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: id,
        client_secret: secret,
        redirect_uris: ['http://127.0.0.1:1/callback'],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        require_auth_time: true,
        ...(logout && { backchannel_logout_uri: logout, backchannel_logout_session_required: true }),
      },
      {
        client_id: 'exeunt-operators',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        redirect_uris: ['http://127.0.0.1/callback'],
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
    ],
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['only for the tests'] },
    pkce: { required: () => false },
    features: {
      backchannelLogout: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
    // Its own dispatcher refuses loopback, where the tests live.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: [sub.startsWith('soc-') ? 'soc' : 'staff'] }) }),
    issueRefreshToken: () => true,
    rotateRefreshToken: () => false,
  });
  // Every name that a session ever had: it gets a new one when somebody signs in.
  const sessions = new Set();
  provider.on('session.saved', (session) => sessions.add(session.jti));
  const own = provider.callback();
  handler = (request, response) => {
    if (!hub || request.url !== REVOCATION) return own(request, response);
    revoke(provider, sessions, request).then(
      (status) => response.writeHead(status).end(),
      (error) => {
        console.error(error);
        response.writeHead(error.code?.startsWith('ERR_J') ? 401 : 500).end();
      },
    );
  };
  console.log(JSON.stringify({ issuer, client_id: id, client_secret: secret }));
  // Nobody reads further lines of standard output.
  console.log = console.info = console.error;
});

const used = new Set();
let keys;

// Ends every session of a person, as the end_session endpoint ends one: clients are told, and what
// was granted is revoked. draft-parecki-oauth-global-token-revocation-06.
async function revoke(provider, sessions, request) {
  const token = request.headers.authorization?.replace(/^Bearer /, '');
  if (!token) return 401;
  keys ??= createRemoteJWKSet(new URL(`${hub}/.well-known/jwks.json`));
  const { payload } = await jwtVerify(token, keys, {
    typ: 'global-token-revocation+jwt',
    issuer: hub,
    subject: id,
    audience: `${provider.issuer}${REVOCATION}`,
    requiredClaims: ['jti', 'iat', 'exp'],
  });
  if (used.has(payload.jti)) return 401;
  used.add(payload.jti);
  let body = '';
  for await (const part of request) body += part;
  const about = JSON.parse(body).sub_id;
  if (about?.format !== 'opaque') return 400;
  const live = await Promise.all([...sessions].map((name) => provider.Session.find(name)));
  const theirs = live.filter((session) => session?.accountId === about.id);
  if (theirs.length === 0) return 404;
  for (const session of theirs) {
    for (const name of Object.keys(session.authorizations ?? {})) {
      const client = await provider.Client.find(name);
      if (client?.backchannelLogoutUri) await client.backchannelLogout(about.id, session.sidFor(name));
      const grant = session.grantIdFor(name);
      if (!grant) continue;
      for (const kind of ['AccessToken', 'RefreshToken', 'AuthorizationCode']) {
        await provider[kind].revokeByGrantId(grant);
      }
      await provider.Grant.adapter.destroy(grant);
    }
    await session.destroy();
  }
  return 204;
}
