// OpenID Connect for a page without a server: the authorization code flow with PKCE (RFC 7636), `state`, `nonce` and the
// issuer check of RFC 9207; ID token checks (Core §3.1.3.7); refresh, userinfo, revocation (RFC 7009) and logout.
// Every endpoint comes from discovery. Tokens live in this object and nowhere else; they end with the page.
// Left out: encrypted ID tokens, silent login in a frame, and DPoP.

const TRANSACTION = 'oidc.transaction.';
const LOGOUT = 'oidc.logout.';
const TRANSACTION_SECONDS = 600;
const LEEWAY_SECONDS = 60;

/** How each accepted `alg` is checked by WebCrypto; `hash` makes `at_hash`. No other algorithm is accepted. */
const ALGORITHMS = {
  ES256: { kty: 'EC', crv: 'P-256', key: { name: 'ECDSA', namedCurve: 'P-256' }, check: { name: 'ECDSA', hash: 'SHA-256' }, hash: 'SHA-256' },
  RS256: { kty: 'RSA', key: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, check: { name: 'RSASSA-PKCS1-v1_5' }, hash: 'SHA-256' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519', key: { name: 'Ed25519' }, check: { name: 'Ed25519' }, hash: 'SHA-512' },
};
ALGORITHMS.Ed25519 = ALGORITHMS.EdDSA; // RFC 9864: the same by its full name.

/** An error with a code: that of the protocol, or one of our own in the same style. */
export class OidcError extends Error {
  constructor(code, message) {
    super(message ? `${code}: ${message}` : code);
    this.name = 'OidcError';
    this.code = code;
  }
}

const encode = (text) => new TextEncoder().encode(text);
export const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const fromBase64url = (text) =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
export const challengeOf = async (verifier) => base64url(await crypto.subtle.digest('SHA-256', encode(verifier)));
const nowSeconds = () => Math.floor(Date.now() / 1000);

/** The parts of a JWT, unchecked; `null` if the text is none. */
export function decodeJwt(token) {
  try {
    const [header, payload, signature, ...more] = token.split('.');
    if (more.length > 0) return null;
    const json = (part) => JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(fromBase64url(part)));
    if ([header, payload].some((part) => Object.prototype.toString.call(json(part)) !== '[object Object]')) return null;
    return { header: json(header), claims: json(payload), signed: encode(`${header}.${payload}`), signature: fromBase64url(signature) };
  } catch {
    return null;
  }
}

/** The one value of a parameter. RFC 6749 §3.1: it must not repeat, and an empty value counts as absent. */
function single(parameters, name) {
  const values = parameters.getAll(name);
  if (values.length > 1) throw new OidcError('invalid_response', `the parameter ${name} is repeated`);
  return values[0] || null;
}

export class OidcClient {
  #metadata = null;
  #keys = null;
  #tokens = null;
  #refreshing = null;

  /** `config` is `/config.json`; `scope` is what logins ask for; `storage` keeps a login while the page is away. */
  constructor(config, scope, storage = globalThis.sessionStorage) {
    this.config = config;
    this.scope = scope;
    this.storage = storage;
  }

  /** The tokens: accessToken, refreshToken, idToken, claims, scope, expiresAt (unix seconds); `null` before a login. */
  get tokens() {
    return this.#tokens;
  }

  /** The provider's metadata (Discovery §4). A failure isn't kept, so the next call tries again. */
  async metadata() {
    if (!this.#metadata) {
      const metadata = await this.#json(`${this.config.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
      // Discovery §4.3: exactly the issuer that we asked for.
      if (metadata.issuer !== this.config.issuer) {
        throw new OidcError('issuer_mismatch', `the server calls itself ${metadata.issuer}, not ${this.config.issuer}`);
      }
      this.#metadata = metadata;
    }
    return this.#metadata;
  }

  /** The address that begins a login; the caller goes there. The login is kept for this tab alone, under its `state`. */
  async loginUrl() {
    const { authorization_endpoint: endpoint } = await this.metadata();
    this.#forgetOldTransactions();
    const transaction = { nonce: random(), verifier: random(), begunAt: nowSeconds() };
    const state = random();
    this.storage.setItem(TRANSACTION + state, JSON.stringify(transaction));
    return this.#address(endpoint, {
      response_type: 'code',
      client_id: this.config.client_id,
      redirect_uri: this.config.redirect_uri,
      scope: this.scope,
      state,
      nonce: transaction.nonce,
      code_challenge: await challengeOf(transaction.verifier),
      code_challenge_method: 'S256',
    });
  }

  /** Finishes the login whose answer is in `url`. */
  async finishLogin(url) {
    const answer = new URL(url).searchParams;
    const state = single(answer, 'state');
    // RFC 6749 §10.12: only an answer to a login of this tab is of interest, and only once.
    const kept = state && this.storage.getItem(TRANSACTION + state);
    if (!kept) throw new OidcError('unknown_login', 'this login was finished already, or it was begun in another tab');
    this.storage.removeItem(TRANSACTION + state);
    const transaction = JSON.parse(kept);
    if (nowSeconds() >= transaction.begunAt + TRANSACTION_SECONDS) {
      throw new OidcError('unknown_login', 'this login took longer than ten minutes');
    }
    // RFC 9207 §2.4: the issuer by string comparison, before errors too; missing only where it isn't announced.
    const metadata = await this.metadata();
    const iss = single(answer, 'iss');
    if (iss !== metadata.issuer && (iss !== null || metadata.authorization_response_iss_parameter_supported)) {
      throw new OidcError('issuer_mismatch', 'the answer comes from another issuer than the one asked');
    }
    const error = single(answer, 'error');
    if (error) throw new OidcError(error, single(answer, 'error_description'));
    const code = single(answer, 'code');
    if (!code) throw new OidcError('invalid_response', 'neither a code nor an error');
    const tokens = await this.#token({
      grant_type: 'authorization_code',
      code,
      redirect_uri: this.config.redirect_uri,
      code_verifier: transaction.verifier,
    });
    if (typeof tokens.id_token !== 'string') throw new OidcError('invalid_id_token', 'none came with the login');
    const claims = await this.#checkIdToken(tokens.id_token, tokens.access_token, transaction.nonce, null);
    return this.#keep(tokens, claims, transaction.nonce);
  }

  /** New tokens by the refresh token. Calls at the same time share one request, for the token may serve only once. */
  refresh() {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  async #refresh() {
    const before = this.#tokens;
    if (!before?.refreshToken) throw new OidcError('no_refresh_token', 'there is none; please log in again');
    let tokens;
    try {
      tokens = await this.#token({ grant_type: 'refresh_token', refresh_token: before.refreshToken });
    } catch (error) {
      // RFC 6749 §5.2: the grant is over. Any other failure leaves the token as it is.
      if (error.code === 'invalid_grant' && this.#tokens === before) this.#tokens = null;
      throw error;
    }
    // A logout while we waited wins; what has just been issued belongs to the grant that it revokes.
    if (this.#tokens !== before) throw new OidcError('logged_out', 'you logged out meanwhile');
    // Kept before anything else can fail: the old one may be spent.
    before.refreshToken = tokens.refresh_token ?? before.refreshToken;
    const claims = typeof tokens.id_token === 'string'
      ? await this.#checkIdToken(tokens.id_token, tokens.access_token, before.nonce, before.claims)
      : before.claims;
    if (this.#tokens !== before) throw new OidcError('logged_out', 'you logged out meanwhile');
    return this.#keep(tokens, claims, before.nonce, before);
  }

  /** What the provider tells about the person now (Core §5.3). */
  async userinfo() {
    const { userinfo_endpoint: endpoint } = await this.metadata();
    const { accessToken, claims } = this.#tokens;
    const userinfo = await this.#json(endpoint, { headers: { Authorization: `Bearer ${accessToken}` } });
    // Core §5.3.4: the same person as in the ID token.
    if (userinfo.sub !== claims.sub) throw new OidcError('invalid_userinfo', 'it is about another person');
    return userinfo;
  }

  /** Forgets the tokens, revokes the refresh token, and gives the address that ends the session at the provider. */
  async logoutUrl() {
    const { idToken, refreshToken } = this.#tokens ?? {};
    this.#tokens = null;
    const metadata = await this.metadata();
    if (refreshToken && metadata.revocation_endpoint) {
      // With `offline_access` it would outlive the session. A failure doesn't keep anybody from leaving.
      const body = { client_id: this.config.client_id, token: refreshToken, token_type_hint: 'refresh_token' };
      await this.#post(metadata.revocation_endpoint, body).catch((error) => console.warn('revocation failed', error));
    }
    if (!metadata.end_session_endpoint) return this.config.post_logout_redirect_uri;
    const state = random();
    this.storage.setItem(LOGOUT + state, '1');
    return this.#address(metadata.end_session_endpoint, {
      ...(idToken && { id_token_hint: idToken }),
      client_id: this.config.client_id,
      post_logout_redirect_uri: this.config.post_logout_redirect_uri,
      state,
    });
  }

  /** Whether `url` is the return from a logout that this tab began. */
  finishLogout(url) {
    const key = LOGOUT + new URL(url).searchParams.get('state');
    const own = this.storage.getItem(key) !== null;
    this.storage.removeItem(key);
    return own;
  }

  #keep(tokens, claims, nonce, before = null) {
    this.#tokens = {
      accessToken: tokens.access_token,
      refreshToken: tokens.refresh_token ?? before?.refreshToken ?? null,
      idToken: tokens.id_token ?? before?.idToken,
      scope: tokens.scope ?? before?.scope ?? this.scope,
      expiresAt: typeof tokens.expires_in === 'number' ? nowSeconds() + tokens.expires_in : null,
      claims,
      nonce,
    };
    return this.#tokens;
  }

  /** Core §3.1.3.7 and, with the claims of the login as `before`, §12.2. */
  async #checkIdToken(idToken, accessToken, nonce, before) {
    const refuse = (reason) => { throw new OidcError('invalid_id_token', reason); };
    const jwt = decodeJwt(idToken) ?? refuse('it is no signed JWT');
    const { header, claims } = jwt;
    const algorithm = Object.hasOwn(ALGORITHMS, header.alg) ? ALGORITHMS[header.alg] : refuse(`algorithm ${header.alg}`);
    if (header.crit !== undefined) refuse('it has critical headers that are unknown here');
    // RFC 8725 §3.11: an access token or a logout token is no ID token.
    if (header.typ !== undefined && `${header.typ}`.toUpperCase() !== 'JWT') refuse(`it is of type ${header.typ}`);
    if (claims.iss !== this.config.issuer) refuse('it is from another issuer');
    const audiences = [claims.aud].flat();
    if (audiences.length === 0 || audiences.some((one) => one !== this.config.client_id)) refuse('it is for another client');
    if (claims.azp !== undefined && claims.azp !== this.config.client_id) refuse('it was issued to another client');
    if (!(typeof claims.exp === 'number' && nowSeconds() < claims.exp + LEEWAY_SECONDS)) refuse('it has expired');
    if (!(typeof claims.iat === 'number' && claims.iat <= nowSeconds() + LEEWAY_SECONDS)) refuse('it is from the future');
    if (typeof claims.sub !== 'string' || claims.sub === '') refuse('it names nobody');
    if (before === null ? claims.nonce !== nonce : ![undefined, nonce].includes(claims.nonce)) refuse('the nonce differs');
    if (before !== null && claims.sub !== before.sub) refuse('it names another person than the login');
    const key = await this.#key(header, algorithm).catch((error) => {
      throw error.name === 'NotSupportedError' ? new OidcError('unsupported', `this browser can't check ${header.alg}`) : error;
    });
    if (!(await crypto.subtle.verify(algorithm.check, key, jwt.signature, jwt.signed))) refuse('the signature is wrong');
    if (claims.at_hash !== undefined) {
      // Core §3.1.3.6: the left half of the access token's hash.
      const hash = await crypto.subtle.digest(algorithm.hash, encode(accessToken));
      if (claims.at_hash !== base64url(hash.slice(0, hash.byteLength / 2))) refuse('at_hash is of another access token');
    }
    return claims;
  }

  /** The provider's key for this header; an unknown `kid` fetches the keys once more (Core §10.1.1). */
  async #key(header, algorithm) {
    const { jwks_uri: address } = await this.metadata();
    const fits = (jwk) => jwk.kty === algorithm.kty && jwk.crv === algorithm.crv && (jwk.use ?? 'sig') === 'sig'
      && (jwk.alg === undefined || ALGORITHMS[jwk.alg] === algorithm) && (header.kid === undefined || jwk.kid === header.kid);
    const fresh = async () => (this.#keys = (await this.#json(address)).keys);
    let found = (this.#keys ?? await fresh()).filter(fits);
    if (found.length === 0) found = (await fresh()).filter(fits);
    if (found.length !== 1) throw new OidcError('invalid_id_token', `${found.length} keys of the issuer fit, not one`);
    const { kty, crv, x, y, n, e } = found[0];
    return crypto.subtle.importKey('jwk', { kty, crv, x, y, n, e }, algorithm.key, false, ['verify']);
  }

  async #token(parameters) {
    const { token_endpoint: endpoint } = await this.metadata();
    const answer = await this.#post(endpoint, { client_id: this.config.client_id, ...parameters });
    const tokens = await answer.json();
    if (typeof tokens.access_token !== 'string' || `${tokens.token_type}`.toLowerCase() !== 'bearer') {
      throw new OidcError('invalid_response', 'no bearer token in the answer of the token endpoint');
    }
    return tokens;
  }

  #post(address, parameters) {
    return this.#fetch(address, { method: 'POST', body: new URLSearchParams(parameters) });
  }

  async #json(address, options) {
    return (await this.#fetch(address, options)).json();
  }

  /** A request without cookies that follows no redirect; an error answer becomes an OidcError (RFC 6749 §5.2). */
  async #fetch(address, options = {}) {
    let answer;
    try {
      answer = await fetch(address, { credentials: 'omit', redirect: 'error', ...options });
    } catch (error) {
      throw new OidcError('unreachable', `${new URL(address).origin} gives no answer (${error.message})`);
    }
    if (answer.ok) return answer;
    const refusal = await answer.json().catch(() => ({}));
    throw new OidcError(refusal.error ?? 'unreachable', refusal.error_description ?? `${address} answers ${answer.status}`);
  }

  #address(endpoint, parameters) {
    const address = new URL(endpoint);
    for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
    return address.href;
  }

  /** Logins that nobody came back from. */
  #forgetOldTransactions() {
    const keys = Array.from({ length: this.storage.length }, (_, index) => this.storage.key(index));
    for (const key of keys.filter((key) => key.startsWith(TRANSACTION))) {
      const { begunAt } = JSON.parse(this.storage.getItem(key));
      if (nowSeconds() >= begunAt + TRANSACTION_SECONDS) this.storage.removeItem(key);
    }
  }
}
