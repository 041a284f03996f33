// A page that uses oidc-client-ts as its documentation says: two clients, one with refresh tokens and one without, which
// renews by a frame. Every outcome is written to #status and #result, for the test to read. `/setup.js` is made by the
// test: `setup` has authority, withRefresh, withoutRefresh.

function manager(client, more) {
  return new oidc.UserManager({
    authority: setup.authority,
    client_id: client,
    redirect_uri: `${location.origin}/callback/${client}`,
    post_logout_redirect_uri: `${location.origin}/bye`,
    response_type: "code",
    loadUserInfo: true,
    automaticSilentRenew: false,
    userStore: new oidc.WebStorageStateStore({ store: sessionStorage }),
    ...more,
  });
}

const managers = {
  [setup.withRefresh]: manager(setup.withRefresh, { scope: "openid profile email offline_access" }),
  [setup.withoutRefresh]: manager(setup.withoutRefresh, {
    scope: "openid profile",
    silent_redirect_uri: `${location.origin}/silent`,
  }),
};
const main = managers[setup.withRefresh];
const other = managers[setup.withoutRefresh];

function show(end, result) {
  document.querySelector("#result").textContent = JSON.stringify(result);
  document.querySelector("#status").textContent = `done: ${end}`;
}

function fail(error) {
  show("failed", { name: error.name, error: error.error ?? null, message: error.message });
}

function describe(user) {
  return {
    profile: user.profile,
    scope: user.scope,
    access_token: user.access_token,
    refresh_token: user.refresh_token ?? null,
    id_token: user.id_token,
    state: user.state ?? null,
  };
}

function on(id, act) {
  document.querySelector(id).addEventListener("click", async () => {
    document.querySelector("#status").textContent = "working";
    await act().catch(fail);
  });
}

on("#login", () => main.signinRedirect({ state: { place: "basket" }, nonce: crypto.randomUUID() }));
on("#login-elsewhere", () => other.signinRedirect());
on("#silent", async () => {
  const client = sessionStorage.getItem("client");
  show("renewed", describe(await managers[client].signinSilent()));
});
on("#revoke", async () => {
  const before = await main.getUser();
  await main.revokeTokens(["access_token", "refresh_token"]);
  const after = await main.getUser();
  const userinfo = await fetch(await main.metadataService.getUserInfoEndpoint(), {
    headers: { authorization: `Bearer ${before.access_token}` },
  });
  // With the old refresh token in its store again, the library learns that it is worth nothing.
  await main.storeUser(before);
  const renewal = await main.signinSilent().then(
    () => "renewed",
    (error) => error.error ?? error.message,
  );
  await main.storeUser(after);
  show("revoked", {
    refresh_token: after.refresh_token ?? null,
    userinfo: userinfo.status,
    challenge: userinfo.headers.get("www-authenticate"),
    renewal,
  });
});
on("#logout", () => main.signoutRedirect({ state: "left" }));
on("#check", async () => {
  await other.removeUser();
  show("checked", describe(await other.signinSilent()));
});

async function begin() {
  const [, place, client] = location.pathname.split("/");
  if (place === "callback") {
    sessionStorage.setItem("client", client);
    const user = await managers[client].signinRedirectCallback();
    history.replaceState(null, "", "/");
    show("logged in", describe(user));
  } else if (place === "silent") {
    await other.signinSilentCallback();
  } else if (place === "bye") {
    const response = await main.signoutRedirectCallback();
    show("logged out", { state: response.userState ?? null, user: await main.getUser() });
  } else {
    const user = await main.getUser();
    if (user) show("logged in before", describe(user));
    else show("nobody", null);
  }
}

begin().catch(fail);
