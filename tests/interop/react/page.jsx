// A page with react-oidc-context as its documentation says. Its state is in #status and #result, for the test to read;
// #renewals counts the tokens that came by themselves, #errors the attempts that failed. `setup` is made by the test.

import { WebStorageStateStore } from "oidc-client-ts";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { AuthProvider, useAuth } from "react-oidc-context";

// Tokens in the storage that all tabs share: each tab renews by itself, with the same refresh token.
const settings = {
  authority: setup.authority,
  client_id: setup.client,
  redirect_uri: `${location.origin}/callback`,
  post_logout_redirect_uri: `${location.origin}/bye`,
  scope: "openid profile email",
  userStore: new WebStorageStateStore({ store: localStorage }),
  automaticSilentRenew: true,
  loadUserInfo: true,
  // A few seconds after a token has come, it is time for the next.
  accessTokenExpiringNotificationTimeInSeconds: setup.lifetime - 3,
  onSigninCallback: () => history.replaceState(null, "", "/"),
};

function Page() {
  const auth = useAuth();
  const [renewals, setRenewals] = useState(0);
  const [errors, setErrors] = useState([]);
  useEffect(() => auth.events.addUserLoaded(() => setRenewals((count) => count + 1)), [auth.events]);
  useEffect(
    () => auth.events.addSilentRenewError((error) => setErrors((all) => [...all, error.message])),
    [auth.events],
  );
  const { user } = auth;
  let status = "done: nobody";
  if (auth.isLoading || auth.activeNavigator) status = "working";
  else if (auth.error) status = "done: failed";
  else if (auth.isAuthenticated) status = "done: logged in";
  const result = auth.error
    ? { error: auth.error.error ?? auth.error.message }
    : user && {
        profile: user.profile,
        access_token: user.access_token,
        refresh_token: user.refresh_token ?? null,
        expires_in: user.expires_in,
      };
  return (
    <main>
      <h1>react-oidc-context</h1>
      <p id="status">{status}</p>
      <pre id="result">{JSON.stringify(result ?? null)}</pre>
      <p id="renewals">{renewals}</p>
      <p id="errors">{JSON.stringify(errors)}</p>
      <button id="login" onClick={() => auth.signinRedirect({ nonce: crypto.randomUUID() })}>
        Log in
      </button>
      <button id="renew" onClick={() => auth.signinSilent()}>
        Renew
      </button>
      <button id="logout" onClick={() => auth.signoutRedirect()}>
        Log out
      </button>
    </main>
  );
}

createRoot(document.querySelector("#page")).render(
  <AuthProvider {...settings}>
    <Page />
  </AuthProvider>,
);
