// The page: buttons, and what they bring. The protocol is in oidc.js.

import { OidcClient, OidcError, decodeJwt } from './oidc.js';

const SCOPE = 'openid profile email offline_access notes.read notes.write roles';
const element = (id) => document.getElementById(id);
const pretty = (value) => JSON.stringify(value, null, 2);
let client;
let userinfo = {};

/** Shows what holds now. */
function render() {
  const { tokens } = client;
  element('welcome').hidden = Boolean(tokens);
  element('session').hidden = !tokens;
  if (!tokens) return;
  // The claims of a scope may be in userinfo alone (Core §5.4).
  const { claims } = tokens;
  const known = { ...claims, ...userinfo };
  element('greeting').textContent = `Hello, ${known.name ?? known.preferred_username ?? known.email ?? known.sub}`;
  const accessToken = decodeJwt(tokens.accessToken);
  const expiresAt = tokens.expiresAt ?? accessToken?.claims.exp;
  const expires = element('expires');
  if (expiresAt) {
    const moment = new Date(expiresAt * 1000);
    expires.dateTime = moment.toISOString();
    expires.textContent = moment.toLocaleString();
  } else {
    expires.removeAttribute('datetime');
    expires.textContent = 'The login server doesn’t say.';
  }
  element('scope').textContent = tokens.scope;
  element('claims').textContent = pretty(claims);
  element('access-token-claims').textContent =
    accessToken ? pretty(accessToken.claims) : 'The access token is opaque: only the issuer can read it.';
  element('refresh').hidden = !tokens.refreshToken;
}

/** Runs an action: says that it runs, takes the buttons away meanwhile, and shows how it ended. */
async function run(doing, action) {
  element('status').textContent = doing;
  element('error').hidden = true;
  element('declined').hidden = true;
  for (const button of document.querySelectorAll('button')) button.disabled = true;
  try {
    element('status').textContent = (await action()) ?? '';
  } catch (error) {
    element('status').textContent = '';
    if (error instanceof OidcError && error.code === 'access_denied') {
      element('declined').hidden = false;
    } else {
      if (!(error instanceof OidcError)) console.error(error);
      element('error').textContent = error.message;
      element('error').hidden = false;
    }
  } finally {
    for (const button of document.querySelectorAll('button')) button.disabled = false;
    if (client) render();
  }
}

/** What userinfo says is a courtesy: a failure is shown in its place. */
async function showUserinfo() {
  try {
    userinfo = await client.userinfo();
    element('userinfo').textContent = pretty(userinfo);
  } catch (error) {
    userinfo = {};
    element('userinfo').textContent = `No answer: ${error.message}`;
  }
}

const logIn = () => run('Going to the login server …', async () => location.assign(await client.loginUrl()));

const refresh = () => run('Refreshing …', async () => {
  const { expiresAt } = await client.refresh();
  await showUserinfo();
  return expiresAt ? `Tokens refreshed; they now expire at ${new Date(expiresAt * 1000).toLocaleTimeString()}.` : 'Tokens refreshed.';
});

const callApi = () => run('Calling the API …', async () => {
  const results = {};
  for (const path of ['/api/notes', '/api/me']) results[`GET ${path}`] = await callOne(client.config.api_url + path);
  element('api-result').textContent = pretty(results);
  element('api').hidden = false;
  return 'The API has answered.';
});

/** One call with the access token (RFC 6750 §2.1). */
async function callOne(address) {
  try {
    const headers = { Authorization: `Bearer ${client.tokens.accessToken}` };
    const answer = await fetch(address, { headers, credentials: 'omit', redirect: 'error' });
    const text = await answer.text();
    const challenge = answer.headers.get('WWW-Authenticate');
    return { status: answer.status, body: parsed(text), ...(challenge && { www_authenticate: challenge }) };
  } catch (error) {
    return { error: `No answer (${error.message})` };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const logOut = () => run('Logging out …', async () => {
  element('api').hidden = true;
  location.assign(await client.logoutUrl());
});

for (const [id, action] of [['login', logIn], ['try-again', logIn], ['refresh', refresh], ['call-api', callApi], ['logout', logOut]]) {
  element(id).addEventListener('click', action);
}

await run('', async () => {
  if (!globalThis.crypto?.subtle) throw new OidcError('insecure_page', 'open this page by https or on localhost');
  const answer = await fetch('/config.json');
  if (!answer.ok) throw new OidcError('unreachable', 'this app’s server doesn’t give its configuration');
  client = new OidcClient(await answer.json(), SCOPE);
  element('issuer').textContent = client.config.issuer;
  const url = location.href;
  const { pathname, search } = location;
  // At once, so that no code or state stays in the address bar, the history or a bookmark.
  if (pathname !== '/' || search !== '') history.replaceState(null, '', '/');
  if (pathname === '/callback') {
    element('status').textContent = 'Finishing the login …';
    await client.finishLogin(url);
    await showUserinfo();
    return 'You are logged in.';
  }
  return client.finishLogout(url) ? 'You are logged out.' : '';
});
