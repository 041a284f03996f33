// A browser of cookies, redirects and forms over fetch: enough for pages that need no script.

const MOST_REDIRECTS = 10;

export class FormBrowser {
  #origin;
  #cookies = new Map();

  // `origin`: scheme, host and port of the server. Its cookies go nowhere else.
  constructor(origin) {
    this.#origin = origin;
  }

  // Opens an address and follows redirects while they stay at the server. Gives the page, or the address elsewhere that
  // the last redirect names.
  async open(address) {
    let url = new URL(address, this.#origin);
    let form = null;
    for (let hop = 0; hop < MOST_REDIRECTS; hop += 1) {
      const response = await this.#send(url, form);
      if (response.status !== 303) {
        return { status: response.status, page: await response.text(), address: null };
      }
      await response.body?.cancel();
      url = new URL(response.headers.get("location"), url);
      form = null;
      if (url.origin !== this.#origin) {
        return { status: response.status, page: "", address: url };
      }
    }
    throw new Error("the redirects go in a circle");
  }

  // Sends the first form of a page: its hidden fields, and these fields beside them.
  async submit(page, fields) {
    const [form] = page.match(/<form[\s\S]*?<\/form>/) ?? [];
    if (form === undefined) throw new Error(`no form: ${page}`);
    const body = new URLSearchParams();
    for (const [input] of form.matchAll(/<input[^>]*>/g)) {
      if (attribute(input, "type") === "hidden") body.append(attribute(input, "name"), attribute(input, "value") ?? "");
    }
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    const action = new URL(attribute(form.slice(0, form.indexOf(">")), "action"), this.#origin);
    const response = await this.#send(action, body);
    if (response.status !== 303) {
      return { status: response.status, page: await response.text(), address: null };
    }
    await response.body?.cancel();
    const next = new URL(response.headers.get("location"), action);
    return next.origin === this.#origin ? this.open(next) : { status: 303, page: "", address: next };
  }

  async #send(url, body) {
    const headers = { accept: "text/html" };
    const cookies = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    if (cookies !== "") headers.cookie = cookies;
    if (body !== null) headers.origin = this.#origin;
    const response = await fetch(url, { method: body === null ? "GET" : "POST", body, headers, redirect: "manual" });
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(/;\s*/);
      const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
      const gone = attributes.some((attribute) => attribute.toLowerCase() === "max-age=0");
      if (gone) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return response;
  }
}

function attribute(tag, name) {
  const found = tag.match(new RegExp(`\\s${name}="([^"]*)"`));
  const plain = { 34: '"', 38: "&", 39: "'", 60: "<", 62: ">" };
  return found?.[1].replace(/&#(34|38|39|60|62);/g, (_, code) => plain[code]);
}
