// Tests of static/oidc.js against an issuer made here: `node --test examples/spa/tests/`. The module runs as it is; only
// `fetch` and the storage of the tab are replaced. Keys, hashes and signatures are real (WebCrypto).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const source = readFileSync(new URL('../static/oidc.js', import.meta.url));
const { OidcClient, base64url, challengeOf, decodeJwt } = await import(`data:text/javascript;base64,${source.toString('base64')}`);

const ISSUER = 'https://issuer.example/tenant';
const CONFIG = {
  issuer: ISSUER,
  client_id: 'spa',
  api_url: 'https://api.example',
  redirect_uri: 'https://spa.example/callback',
  post_logout_redirect_uri: 'https://spa.example/',
};
const SIGNING = {
  ES256: [{ name: 'ECDSA', namedCurve: 'P-256' }, { name: 'ECDSA', hash: 'SHA-256' }, 'SHA-256'],
  RS256: [{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }, { name: 'RSASSA-PKCS1-v1_5' }, 'SHA-256'],
  EdDSA: [{ name: 'Ed25519' }, { name: 'Ed25519' }, 'SHA-512'],
};
SIGNING.Ed25519 = SIGNING.EdDSA;
const text = (value) => new TextEncoder().encode(value);
const now = () => Math.floor(Date.now() / 1000);

class Storage extends Map {
  getItem(key) { return this.get(key) ?? null; }
  setItem(key, value) { this.set(key, value); }
  removeItem(key) { this.delete(key); }
  key(index) { return [...this.keys()][index]; }
  get length() { return this.size; }
}

/** An issuer; `claims`, `header`, `tokens` change what it issues, `refuse` what it refuses. */
class Issuer {
  constructor(alg = 'ES256') {
    Object.assign(this, { alg, kid: 'one', claims: {}, header: {}, tokens: {}, metadata: {}, requests: [], issued: 0, refuse: null });
  }

  async keys() {
    this.pair ??= await crypto.subtle.generateKey(SIGNING[this.alg][0], true, ['sign', 'verify']);
    const { kty, crv, x, y, n, e } = await crypto.subtle.exportKey('jwk', this.pair.publicKey);
    return { keys: [{ kty: 'oct', kid: this.kid }, { kty, crv, x, y, n, e, kid: this.kid, use: 'sig', alg: this.alg }] };
  }

  async idToken(accessToken, nonce) {
    await this.keys();
    const [, sign, hash] = SIGNING[this.alg];
    const digest = await crypto.subtle.digest(hash, text(accessToken));
    const header = { alg: this.alg, typ: 'JWT', kid: this.kid, ...this.header };
    const claims = { iss: ISSUER, sub: 'ann', aud: 'spa', iat: now(), exp: now() + 300, nonce, at_hash: base64url(digest.slice(0, digest.byteLength / 2)), ...this.claims };
    const message = [header, claims].map((part) => base64url(text(JSON.stringify(part)))).join('.');
    return `${message}.${base64url(await crypto.subtle.sign(sign, this.pair.privateKey, text(message)))}`;
  }

  fetch = async (address, options) => {
    const { pathname } = new URL(address);
    const parameters = options.body && Object.fromEntries(options.body);
    this.requests.push({ pathname, parameters, ...options });
    assert.equal(options.credentials, 'omit');
    assert.equal(options.redirect, 'error');
    if (this.refuse?.[pathname]) return Response.json(this.refuse[pathname], { status: 400 });
    switch (pathname) {
      case '/tenant/.well-known/openid-configuration':
        return Response.json({
          issuer: ISSUER, authorization_endpoint: 'https://issuer.example/a?x=1', token_endpoint: 'https://issuer.example/t',
          userinfo_endpoint: 'https://issuer.example/u', jwks_uri: 'https://issuer.example/k', revocation_endpoint: 'https://issuer.example/r',
          end_session_endpoint: 'https://issuer.example/e', authorization_response_iss_parameter_supported: true, ...this.metadata,
        });
      case '/k': return Response.json(await this.keys());
      case '/u': return Response.json({ sub: 'ann', name: 'Ann' });
      case '/r': return new Response(null);
      case '/t': {
        assert.equal(parameters.client_id, 'spa');
        const login = parameters.grant_type === 'authorization_code';
        if (login) {
          assert.equal(await challengeOf(parameters.code_verifier), this.asked.get('code_challenge'));
          assert.equal(parameters.redirect_uri, CONFIG.redirect_uri);
        }
        const access = `access-${++this.issued}`;
        const idToken = await this.idToken(access, login ? this.asked.get('nonce') : undefined);
        return Response.json({ access_token: access, token_type: 'Bearer', expires_in: 300, refresh_token: `refresh-${this.issued}`, id_token: idToken, ...this.tokens });
      }
    }
    throw new TypeError('no such host');
  };

  /** Where the browser comes back to after this authorization request. */
  answer(address, changes = {}) {
    this.asked = new URL(address).searchParams;
    const back = new URL(CONFIG.redirect_uri);
    for (const [name, value] of Object.entries({ code: 'c', state: this.asked.get('state'), iss: ISSUER, ...changes })) {
      if (value !== null) back.searchParams.set(name, value);
    }
    return back.href;
  }
}

function stage(alg) {
  const issuer = new Issuer(alg);
  globalThis.fetch = issuer.fetch;
  const storage = new Storage();
  return { issuer, storage, client: new OidcClient(CONFIG, 'openid notes.read', storage) };
}

const logIn = async ({ issuer, client }, changes) => client.finishLogin(issuer.answer(await client.loginUrl(), changes));

test('the challenge is that of RFC 7636 Appendix B', async () => {
  assert.equal(await challengeOf('dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'), 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM');
});

test('text that is no JWT decodes to null', () => {
  for (const bad of ['', 'a', 'a.b.c', 'opaque-token', 'e30.bnVsbA.AA', 'e30.W10.AA', 'e30.e30.AA.AA', '.'.repeat(10)]) assert.equal(decodeJwt(bad), null, bad);
  assert.deepEqual(decodeJwt('e30.eyJuIjoiw6kifQ.AA').claims, { n: 'é' });
});

for (const alg of Object.keys(SIGNING)) {
  test(`a login with ${alg}`, async () => {
    const { issuer, client, storage } = stage(alg);
    const address = new URL(await client.loginUrl());
    assert.equal(address.origin + address.pathname, 'https://issuer.example/a');
    const asked = Object.fromEntries(address.searchParams);
    assert.equal(asked.x, '1');
    assert.equal(asked.response_type, 'code');
    assert.equal(asked.client_id, 'spa');
    assert.equal(asked.redirect_uri, CONFIG.redirect_uri);
    assert.equal(asked.scope, 'openid notes.read');
    assert.equal(asked.code_challenge_method, 'S256');
    assert.match(asked.state, /^[\w-]{43}$/);
    const tokens = await client.finishLogin(issuer.answer(address.href));
    assert.equal(tokens.claims.sub, 'ann');
    assert.equal(tokens.accessToken, 'access-1');
    assert.ok(tokens.expiresAt > now());
    assert.equal(storage.size, 0);
    assert.equal((await client.userinfo()).name, 'Ann');
  });
}

test('tabs and logins are apart, and an answer serves once', async () => {
  const { issuer, client } = stage();
  const first = await client.loginUrl();
  const second = await client.loginUrl();
  const answer = issuer.answer(first);
  await client.finishLogin(answer);
  await assert.rejects(client.finishLogin(answer), { code: 'unknown_login' });
  await client.finishLogin(issuer.answer(second));
  const otherTab = new OidcClient(CONFIG, 'openid', new Storage());
  await assert.rejects(otherTab.finishLogin(issuer.answer(await client.loginUrl())), { code: 'unknown_login' });
});

test('a login that took too long is over, and its traces go', async (context) => {
  const { issuer, client, storage } = stage();
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() });
  const old = await client.loginUrl();
  context.mock.timers.tick(600_000);
  await client.loginUrl();
  assert.equal(storage.size, 1);
  await assert.rejects(client.finishLogin(issuer.answer(old)), { code: 'unknown_login' });
});

test('answers are checked before they are believed', async () => {
  for (const [changes, code] of [
    [{ iss: 'https://other.example' }, 'issuer_mismatch'],
    [{ iss: `${ISSUER}/` }, 'issuer_mismatch'],
    [{ iss: null }, 'issuer_mismatch'],
    [{ iss: 'https://other.example', error: 'access_denied' }, 'issuer_mismatch'],
    [{ code: null, error: 'access_denied' }, 'access_denied'],
    [{ code: null }, 'invalid_response'],
    [{ state: 'other' }, 'unknown_login'],
  ]) {
    const set = stage();
    await assert.rejects(logIn(set, changes), { code }, JSON.stringify(changes));
    assert.equal(set.client.tokens, null);
    assert.equal(set.issuer.issued, 0);
  }
  const { issuer, client } = stage();
  await assert.rejects(client.finishLogin(`${issuer.answer(await client.loginUrl())}&code=d`), { code: 'invalid_response' });
  const older = stage();
  older.issuer.metadata = { authorization_response_iss_parameter_supported: false };
  await logIn(older, { iss: null });
});

test('a false ID token logs nobody in', async () => {
  const claims = [
    { iss: 'https://other.example' }, { aud: 'other' }, { aud: ['spa', 'other'] }, { aud: [] }, { aud: undefined }, { azp: 'other' },
    { exp: now() - 61 }, { exp: `${now() + 300}` }, { exp: undefined }, { iat: now() + 120 }, { sub: '' }, { sub: 7 },
    { nonce: 'other' }, { nonce: undefined }, { at_hash: 'AAAA' },
  ].map((claims) => ({ claims }));
  const headers = [{ alg: 'none' }, { alg: 'HS256' }, { alg: 'RS256' }, { alg: 'constructor' }, { typ: 'at+jwt' }, { crit: ['exp'] }, { kid: 'unknown' }].map((header) => ({ header }));
  const tokens = [{ id_token: undefined }, { id_token: 'a.b.c' }].map((tokens) => ({ tokens }));
  for (const flaw of [...claims, ...headers, ...tokens]) {
    const set = stage();
    Object.assign(set.issuer, flaw);
    await assert.rejects(logIn(set), { code: 'invalid_id_token' }, JSON.stringify(flaw));
    assert.equal(set.client.tokens, null);
  }
  for (const aud of ['spa', ['spa']]) {
    const set = stage();
    set.issuer.claims = { aud, exp: now() - 30, iat: now() + 30 };
    await logIn(set);
  }
});

test('a signature by another key is refused', async () => {
  const set = stage();
  await set.issuer.keys();
  const published = await set.issuer.keys();
  set.issuer.pair = null;
  const { fetch } = set.issuer;
  globalThis.fetch = (address, options) => (address.endsWith('/k') ? Response.json(published) : fetch(address, options));
  await assert.rejects(logIn(set), { code: 'invalid_id_token' });
});

test('a new key of the issuer is fetched', async () => {
  const set = stage();
  await logIn(set);
  Object.assign(set.issuer, { kid: 'two', pair: null });
  await logIn(set);
  assert.equal(set.issuer.requests.filter(({ pathname }) => pathname === '/k').length, 2);
});

test('refreshes share one request and rotate', async () => {
  const set = stage();
  await logIn(set);
  const results = await Promise.all([set.client.refresh(), set.client.refresh(), set.client.refresh()]);
  assert.deepEqual(results.map(({ accessToken }) => accessToken), ['access-2', 'access-2', 'access-2']);
  await set.client.refresh();
  const used = set.issuer.requests.map(({ parameters }) => parameters?.refresh_token).filter(Boolean);
  assert.deepEqual(used, ['refresh-1', 'refresh-2']);
  set.issuer.tokens = { id_token: undefined, refresh_token: undefined };
  const kept = await set.client.refresh();
  assert.equal(kept.refreshToken, 'refresh-3');
  assert.equal(kept.claims.sub, 'ann');
});

test('a refresh for another person changes nothing but the spent refresh token', async () => {
  const set = stage();
  await logIn(set);
  set.issuer.claims = { sub: 'bob' };
  await assert.rejects(set.client.refresh(), { code: 'invalid_id_token' });
  assert.equal(set.client.tokens.accessToken, 'access-1');
  set.issuer.claims = { nonce: 'other' };
  await assert.rejects(set.client.refresh(), { code: 'invalid_id_token' });
  set.issuer.claims = {};
  assert.equal((await set.client.refresh()).accessToken, 'access-4');
  assert.equal(set.issuer.requests.at(-1).parameters.refresh_token, 'refresh-3');
});

test('an ended grant ends the login; any other failure does not', async () => {
  const set = stage();
  await logIn(set);
  set.issuer.refuse = { '/t': { error: 'temporarily_unavailable' } };
  await assert.rejects(set.client.refresh(), { code: 'temporarily_unavailable' });
  assert.ok(set.client.tokens);
  set.issuer.refuse = { '/t': { error: 'invalid_grant', error_description: 'over' } };
  await assert.rejects(set.client.refresh(), { code: 'invalid_grant', message: 'invalid_grant: over' });
  assert.equal(set.client.tokens, null);
});

test('a logout during a refresh wins', async () => {
  const set = stage();
  await logIn(set);
  const refreshing = set.client.refresh();
  await set.client.logoutUrl();
  await assert.rejects(refreshing, { code: 'logged_out' });
  assert.equal(set.client.tokens, null);
});

test('logout revokes, tells the issuer, and is known when it comes back', async () => {
  const set = stage();
  const { idToken } = await logIn(set);
  set.issuer.refuse = { '/r': { error: 'server_error' } };
  const warn = console.warn;
  console.warn = () => {};
  const address = new URL(await set.client.logoutUrl());
  console.warn = warn;
  assert.equal(address.pathname, '/e');
  const told = Object.fromEntries(address.searchParams);
  assert.equal(told.id_token_hint, idToken);
  assert.equal(told.client_id, 'spa');
  assert.equal(told.post_logout_redirect_uri, CONFIG.post_logout_redirect_uri);
  assert.equal(set.issuer.requests.at(-1).parameters.token, 'refresh-1');
  assert.equal(set.client.finishLogout(`https://spa.example/?state=${told.state}`), true);
  assert.equal(set.client.finishLogout(`https://spa.example/?state=${told.state}`), false);
  assert.equal(set.client.finishLogout('https://spa.example/'), false);
});

test('discovery is exact, and a failed one is tried again', async () => {
  const { issuer, client } = stage();
  issuer.metadata = { issuer: `${ISSUER}/` };
  await assert.rejects(client.loginUrl(), { code: 'issuer_mismatch' });
  globalThis.fetch = async () => { throw new TypeError('refused'); };
  await assert.rejects(client.loginUrl(), { code: 'unreachable' });
  issuer.metadata = {};
  globalThis.fetch = issuer.fetch;
  await client.loginUrl();
});

test('userinfo about another person is refused', async () => {
  const set = stage();
  set.issuer.claims = { sub: 'bob' };
  await logIn(set);
  await assert.rejects(set.client.userinfo(), { code: 'invalid_userinfo' });
});
