// The npm library openid-client goes through everything that a Keyward client does. The test hands over what it needs as
// JSON in KEYWARD_INTEROP; the report is JSON on standard output; the exit status says whether every step passed.
//
// KEYWARD_INTEROP: { issuer, username, password, audience, redirectUri, postLogoutRedirectUri, resourceServer, machine,
//   clients: [{ id, method, algorithm, secret?, keyFile? }] }; resourceServer and machine: { id, secret }.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import * as oauth from "oauth4webapi";
import * as oidc from "openid-client";

import { FormBrowser } from "./form-browser.mjs";

const setup = JSON.parse(process.env.KEYWARD_INTEROP);
const issuer = new URL(setup.issuer);
const SCOPE = "openid profile email offline_access";

const report = [];
let passed = true;

// Runs the steps of one client, each with what the ones before it left in `known`; the first failure ends the client.
async function run(client, steps) {
  const entry = { client, steps: [], failure: null };
  report.push(entry);
  const known = {};
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step(known);
      entry.steps.push(name);
    } catch (error) {
      passed = false;
      entry.failure = { step: name, error: error.stack, cause: String(error.cause?.message ?? error.cause ?? "") };
      return;
    }
  }
}

async function privateKey(file) {
  const pem = await readFile(file, "utf8");
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  return crypto.subtle.importKey("pkcs8", der, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
}

async function authentication(client) {
  switch (client.method) {
    case "client_secret_basic":
      return oidc.ClientSecretBasic(client.secret);
    case "client_secret_post":
      return oidc.ClientSecretPost(client.secret);
    case "private_key_jwt":
      return oidc.PrivateKeyJwt({ key: await privateKey(client.keyFile), kid: client.id });
    case "none":
      return oidc.None();
    default:
      throw new Error(`unknown method ${client.method}`);
  }
}

async function discover(client) {
  const metadata = { id_token_signed_response_alg: client.algorithm };
  const config = await oidc.discovery(issuer, client.id, metadata, await authentication(client));
  // Without this the library trusts TLS and leaves the signatures of ID tokens unchecked.
  oidc.enableNonRepudiationChecks(config);
  return config;
}

// A login request with PKCE, state and nonce, and what its answer is checked against.
async function request(config, more = {}) {
  const verifier = oidc.randomPKCECodeVerifier();
  const checks = {
    pkceCodeVerifier: verifier,
    expectedState: oidc.randomState(),
    expectedNonce: oidc.randomNonce(),
    idTokenExpected: true,
  };
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: setup.redirectUri,
    scope: SCOPE,
    resource: setup.audience,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    ...more,
  });
  return { url, checks };
}

// The refusal of the token endpoint.
function refusal(code) {
  return (error) => error instanceof oidc.ResponseBodyError && error.error === code;
}

function story(client) {
  return {
    async discovery(known) {
      known.config = await discover(client);
      const metadata = known.config.serverMetadata();
      assert.equal(metadata.issuer, setup.issuer);
      assert.equal(metadata.authorization_response_iss_parameter_supported, true);
      assert.equal(metadata.supportsPKCE(), true);
      assert.ok(metadata.id_token_signing_alg_values_supported.includes(client.algorithm));
    },
    async login(known) {
      known.browser = new FormBrowser(issuer.origin);
      known.request = await request(known.config);
      const login = await known.browser.open(known.request.url);
      assert.equal(login.status, 200);
      assert.match(login.page, /name="password"/);
      const wrong = await known.browser.submit(login.page, { username: setup.username, password: "not the password" });
      assert.match(wrong.page, /name="password"/);
      known.consent = await known.browser.submit(wrong.page, { username: setup.username, password: setup.password });
    },
    async consent(known) {
      assert.match(known.consent.page, /name="decision"/);
      const answer = await known.browser.submit(known.consent.page, { decision: "allow" });
      known.callback = answer.address;
      assert.equal(known.callback.origin + known.callback.pathname, setup.redirectUri);
    },
    // RFC 9207: the library accepts the answer only with the issuer's iss; one that lacks it or has another is refused.
    async issuer_of_the_answer(known) {
      assert.equal(known.callback.searchParams.get("iss"), setup.issuer);
      for (const iss of [null, "https://another.example"]) {
        const forged = new URL(known.callback);
        if (iss === null) forged.searchParams.delete("iss");
        else forged.searchParams.set("iss", iss);
        await assert.rejects(oidc.authorizationCodeGrant(known.config, forged, known.request.checks));
      }
    },
    async token(known) {
      const otherVerifier = { ...known.request.checks, pkceCodeVerifier: oidc.randomPKCECodeVerifier() };
      await assert.rejects(
        oidc.authorizationCodeGrant(known.config, known.callback, otherVerifier),
        refusal("invalid_grant"),
      );
      known.tokens = await oidc.authorizationCodeGrant(known.config, known.callback, known.request.checks);
      assert.equal(known.tokens.token_type, "bearer");
      assert.ok(known.tokens.expires_in > 0 && known.tokens.refresh_token);
      assert.deepEqual(new Set(known.tokens.scope.split(" ")), new Set(SCOPE.split(" ")));
    },
    async id_token(known) {
      known.claims = known.tokens.claims();
      assert.equal(known.claims.iss, setup.issuer);
      assert.equal(known.claims.aud, client.id);
      const header = JSON.parse(Buffer.from(known.tokens.id_token.split(".")[0], "base64url"));
      assert.equal(header.alg, client.algorithm);
      assert.ok(known.claims.at_hash && known.claims.auth_time && known.claims.sid);
    },
    async userinfo(known) {
      const person = await oidc.fetchUserInfo(known.config, known.tokens.access_token, known.claims.sub);
      assert.equal(person.email, `${setup.username}@example.org`);
      assert.equal(person.email_verified, true);
    },
    // RFC 9068 §4, as a resource server that verifies for itself.
    async access_token(known) {
      const call = new Request(setup.audience, { headers: { authorization: `Bearer ${known.tokens.access_token}` } });
      const claims = await oauth.validateJwtAccessToken(known.config.serverMetadata(), call, setup.audience);
      assert.equal(claims.sub, known.claims.sub);
      assert.equal(claims.client_id, client.id);
    },
    async introspection(known) {
      const { id, secret } = setup.resourceServer;
      known.resourceServer = await oidc.discovery(issuer, id, undefined, oidc.ClientSecretBasic(secret));
      const answer = await oidc.tokenIntrospection(known.resourceServer, known.tokens.access_token);
      assert.equal(answer.active, true);
      assert.equal(answer.sub, known.claims.sub);
      assert.equal(answer.client_id, client.id);
      assert.ok([answer.aud].flat().includes(setup.audience));
    },
    async refresh(known) {
      const first = known.tokens;
      known.tokens = await oidc.refreshTokenGrant(known.config, first.refresh_token);
      assert.notEqual(known.tokens.access_token, first.access_token);
      assert.notEqual(known.tokens.refresh_token, first.refresh_token);
      assert.equal(known.tokens.claims().sub, known.claims.sub);
      const smaller = await oidc.refreshTokenGrant(known.config, known.tokens.refresh_token, { scope: "openid" });
      assert.equal(smaller.scope, "openid");
      known.tokens = smaller;
      await oidc.fetchUserInfo(known.config, known.tokens.access_token, known.claims.sub);
    },
    async revocation(known) {
      await oidc.tokenRevocation(known.config, known.tokens.refresh_token, { token_type_hint: "refresh_token" });
      await assert.rejects(
        oidc.refreshTokenGrant(known.config, known.tokens.refresh_token),
        refusal("invalid_grant"),
      );
      await assert.rejects(oidc.fetchUserInfo(known.config, known.tokens.access_token, known.claims.sub));
      const answer = await oidc.tokenIntrospection(known.resourceServer, known.tokens.access_token);
      assert.deepEqual(answer, { active: false });
      // RFC 7009 §2.2: a token that is unknown by now is no error.
      await oidc.tokenRevocation(known.config, known.tokens.refresh_token);
    },
    // A second login without offline_access, by the session that stands; its refresh token is the session's.
    async login_again(known) {
      const again = await request(known.config, { scope: "openid profile", prompt: "none" });
      const answer = await known.browser.open(again.url);
      known.tokens = await oidc.authorizationCodeGrant(known.config, answer.address, again.checks);
      assert.equal(known.tokens.claims().sid, known.claims.sid);
      known.tokens = await oidc.refreshTokenGrant(known.config, known.tokens.refresh_token);
      await assert.rejects(
        oidc.authorizationCodeGrant(known.config, answer.address, again.checks),
        refusal("invalid_grant"),
        "a code works once",
      );
    },
    async logout(known) {
      const again = await request(known.config, { scope: "openid profile", prompt: "none" });
      const login = await known.browser.open(again.url);
      const tokens = await oidc.authorizationCodeGrant(known.config, login.address, again.checks);
      const state = oidc.randomState();
      const url = oidc.buildEndSessionUrl(known.config, {
        id_token_hint: tokens.id_token,
        post_logout_redirect_uri: setup.postLogoutRedirectUri,
        state,
      });
      const answer = await known.browser.open(url);
      assert.equal(answer.address.origin + answer.address.pathname, setup.postLogoutRedirectUri);
      assert.equal(answer.address.searchParams.get("state"), state);
      await assert.rejects(oidc.refreshTokenGrant(known.config, tokens.refresh_token), refusal("invalid_grant"));
    },
    async after_logout(known) {
      const silent = await request(known.config, { prompt: "none" });
      const answer = await known.browser.open(silent.url);
      await assert.rejects(
        oidc.authorizationCodeGrant(known.config, answer.address, silent.checks),
        (error) => error instanceof oidc.AuthorizationResponseError && error.error === "login_required",
      );
      const login = await known.browser.open((await request(known.config)).url);
      assert.match(login.page, /name="password"/);
      const cancelled = await request(known.config);
      const page = await known.browser.open(cancelled.url);
      const back = await known.browser.submit(page.page, { action: "cancel", username: "", password: "" });
      await assert.rejects(
        oidc.authorizationCodeGrant(known.config, back.address, cancelled.checks),
        (error) => error instanceof oidc.AuthorizationResponseError && error.error === "access_denied",
      );
    },
  };
}

function machineStory({ id, secret }) {
  return {
    async discovery(known) {
      known.config = await oidc.discovery(issuer, id, undefined, oidc.ClientSecretBasic(secret));
    },
    async client_credentials(known) {
      const parameters = { scope: "api", resource: setup.audience };
      known.tokens = await oidc.clientCredentialsGrant(known.config, parameters);
      assert.equal(known.tokens.scope, "api");
      assert.equal(known.tokens.refresh_token, undefined);
      const call = new Request(setup.audience, { headers: { authorization: `Bearer ${known.tokens.access_token}` } });
      const claims = await oauth.validateJwtAccessToken(known.config.serverMetadata(), call, setup.audience);
      assert.equal(claims.sub, id);
    },
    async introspection(known) {
      const { id: server, secret: password } = setup.resourceServer;
      known.resourceServer = await oidc.discovery(issuer, server, undefined, oidc.ClientSecretBasic(password));
      assert.equal((await oidc.tokenIntrospection(known.resourceServer, known.tokens.access_token)).active, true);
    },
    async revocation(known) {
      await oidc.tokenRevocation(known.config, known.tokens.access_token);
      const answer = await oidc.tokenIntrospection(known.resourceServer, known.tokens.access_token);
      assert.deepEqual(answer, { active: false });
    },
    async refusals(known) {
      const foreign = await oidc.discovery(issuer, id, undefined, oidc.ClientSecretBasic("another secret"));
      await assert.rejects(oidc.clientCredentialsGrant(foreign, { scope: "api" }));
      await assert.rejects(
        oidc.clientCredentialsGrant(known.config, { scope: "api", resource: "https://unknown.example" }),
        refusal("invalid_target"),
      );
    },
  };
}

for (const client of setup.clients) await run(client.id, story(client));
await run(setup.machine.id, machineStory(setup.machine));

process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
process.exitCode = passed ? 0 : 1;
