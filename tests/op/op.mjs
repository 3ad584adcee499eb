// A certified OpenID provider (npm oidc-provider) on loopback, for the tests. It prints its issuer
// and serves until it is ended. Whoever's name begins with "soc-" is of the group soc. The sign-in page
// accepts every name: who signs in is the test's business, and what becomes of the tokens is the
// provider's own. Usage: op.mjs [BACKCHANNEL_LOGOUT_URI]
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [id, secret] = ['exeunt-hub', 'a secret: of+the test'];
const logout = process.argv[2];
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
      introspection: { enabled: true },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    // Its own refuses loopback, where everything here is.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: [sub.startsWith('soc-') ? 'soc' : 'staff'] }) }),
    issueRefreshToken: () => true,
    rotateRefreshToken: () => false,
  });
  handler = provider.callback();
  console.log(JSON.stringify({ issuer, client_id: id, client_secret: secret }));
  // Nobody reads further lines of standard output.
  console.log = console.info = console.error;
});
