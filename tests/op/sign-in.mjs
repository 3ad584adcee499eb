// Signs a person in at the provider as a browser does: authorization code, its own pages, its own
// cookies. Prints the token response. Usage: sign-in.mjs ISSUER CLIENT_ID CLIENT_SECRET SUB
const [issuer, id, secret, sub] = process.argv.slice(2);
const callback = 'http://127.0.0.1:1/callback';
const cookies = new Map();

async function go(url, form) {
  const answer = await fetch(url, {
    redirect: 'manual',
    method: form ? 'POST' : 'GET',
    body: form && new URLSearchParams(form),
    headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
  });
  for (const line of answer.headers.getSetCookie()) {
    const [name, value] = line.split(';')[0].split(/=(.*)/s);
    cookies.set(name, value);
  }
  const next = answer.headers.get('location');
  if (!next) throw new Error(`${answer.status} at ${url}: ${await answer.text()}`);
  return new URL(next, url).href;
}

async function follow(url) {
  while (!url.startsWith(callback) && !url.includes('/interaction/')) url = await go(url);
  return url;
}

const query = new URLSearchParams({
  client_id: id,
  redirect_uri: callback,
  response_type: 'code',
  scope: 'openid offline_access',
  prompt: 'login consent',
});
let url = await follow(`${issuer}/auth?${query}`);
url = await follow(await go(url, { prompt: 'login', login: sub, password: 'any' }));
url = await follow(await go(url, { prompt: 'consent' }));
const basic = Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`);
const answer = await fetch(`${issuer}/token`, {
  method: 'POST',
  headers: { authorization: `Basic ${basic.toString('base64')}` },
  body: new URLSearchParams({
    grant_type: 'authorization_code',
    code: new URL(url).searchParams.get('code'),
    redirect_uri: callback,
  }),
});
if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
console.log(JSON.stringify(await answer.json()));
