// A browser as far as the provider's own pages need one: it keeps cookies and follows redirects by
// hand, and signs one person in.
export class Browser {
  #cookies = new Map();

  constructor(callback) {
    this.callback = callback;
  }

  async #ask(url, form) {
    const answer = await fetch(url, {
      redirect: 'manual',
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers: { cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      this.#cookies.set(name, value);
    }
    return answer;
  }

  // The address that the browser is sent on to.
  async go(url, form) {
    const answer = await this.#ask(url, form);
    const next = answer.headers.get('location');
    if (!next) throw new Error(`${answer.status} at ${url}: ${await answer.text()}`);
    return new URL(next, url).href;
  }

  // The text of a page.
  async page(url) {
    const answer = await this.#ask(url);
    if (!answer.ok) throw new Error(`${answer.status} at ${url}: ${await answer.text()}`);
    return answer.text();
  }

  async #follow(url) {
    while (!url.startsWith(this.callback) && !url.includes('/interaction/')) url = await this.go(url);
    return url;
  }

  // From an authorization request in which nobody may be asked anything to the address that the
  // browser is sent back to.
  async silently(url) {
    return this.#follow(url);
  }

  // From the authorization request to the address that the browser is sent back to.
  async signIn(url, person) {
    url = await this.#follow(url);
    url = await this.#follow(await this.go(url, { prompt: 'login', login: person, password: 'any' }));
    if (!url.startsWith(this.callback)) {
      url = await this.#follow(await this.go(url, { prompt: 'consent' }));
    }
    return url;
  }
}
