// The client of the npm library @modelcontextprotocol/sdk, which knows of the MCP server nothing but its address, and of
// Keyward nothing but the id that it is registered by. Everything else it finds: RFC 9728, RFC 8414, RFC 8707.

import assert from "node:assert/strict";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { browse, run, setup } from "./conversation.mjs";

// What the library wants to be kept for it, and the browser. `asked` is every authorization request that it made.
class Provider {
  redirectUrl = setup.redirectUri;
  clientMetadata = { client_name: "MCP client", redirect_uris: [setup.redirectUri] };
  asked = [];
  kept = {};

  state() {
    this.kept.state = crypto.randomUUID();
    return this.kept.state;
  }
  clientInformation() {
    return this.kept.client ?? { client_id: setup.client.id, client_secret: setup.client.secret };
  }
  saveClientInformation(client) {
    this.kept.client = client;
  }
  tokens() {
    return this.kept.tokens;
  }
  saveTokens(tokens) {
    this.kept.tokens = tokens;
  }
  saveCodeVerifier(verifier) {
    this.kept.verifier = verifier;
  }
  codeVerifier() {
    return this.kept.verifier;
  }
  invalidateCredentials(what) {
    if (what === "all" || what === "tokens") delete this.kept.tokens;
  }
  async redirectToAuthorization(url) {
    this.asked.push(url);
    this.callback = await browse(url);
  }
}

const provider = new Provider();
let client;
let transport;

function prepare() {
  transport = new StreamableHTTPClientTransport(new URL(setup.server), { authProvider: provider });
  client = new Client({ name: "keyward-interop", version: "1" });
}

// What a program does when the person comes back.
async function comeBack() {
  const parameters = provider.callback.searchParams;
  assert.equal(parameters.get("state"), provider.kept.state);
  assert.equal(parameters.get("iss"), setup.issuer);
  await transport.finishAuth(parameters.get("code"));
}

function payload(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
}

await run({
  async authorization_is_demanded() {
    prepare();
    await assert.rejects(client.connect(transport), UnauthorizedError);
    const [url] = provider.asked;
    assert.equal(url.origin + url.pathname, `${setup.issuer}/authorize`);
    assert.equal(url.searchParams.get("resource"), setup.server);
    assert.equal(url.searchParams.get("scope"), "tasks.read");
    assert.equal(url.searchParams.get("code_challenge_method"), "S256");
  },
  async code() {
    await comeBack();
    const claims = payload(provider.kept.tokens.access_token);
    assert.deepEqual([claims.aud].flat(), [setup.server]);
    assert.equal(claims.scope, "tasks.read");
    assert.equal(provider.kept.tokens.issuer, setup.issuer);
  },
  async initialize() {
    prepare();
    await client.connect(transport);
    assert.equal(client.getServerVersion().name, "keyward-example-mcp-server");
    assert.equal(transport.protocolVersion, "2025-11-25");
    assert.equal(transport.sessionId, undefined);
    await client.ping();
  },
  async tools() {
    const { tools } = await client.listTools();
    assert.deepEqual(
      tools.map((tool) => tool.name),
      ["whoami", "list_tasks", "add_task"],
    );
    const who = await client.callTool({ name: "whoami" });
    assert.equal(who.structuredContent.client_id, setup.client.id);
    assert.deepEqual((await client.callTool({ name: "list_tasks" })).structuredContent, { tasks: [] });
    await assert.rejects(client.callTool({ name: "drop_tables" }), { code: -32602 });
  },
  // 403 with the scopes that it takes: the library asks for a token that has them. It would rather use its refresh token,
  // which gives it the same scope again, and then gives up; so that one goes first.
  async step_up() {
    const call = { name: "add_task", arguments: { text: "buy milk" } };
    delete provider.kept.tokens.refresh_token;
    await assert.rejects(client.callTool(call), UnauthorizedError);
    assert.equal(provider.asked.length, 2);
    assert.equal(provider.asked[1].searchParams.get("scope"), "tasks.read tasks.write");
    await comeBack();
    assert.deepEqual((await client.callTool(call)).structuredContent, { tasks: 1 });
    assert.deepEqual((await client.callTool({ name: "list_tasks" })).structuredContent, { tasks: ["buy milk"] });
    const empty = await client.callTool({ name: "add_task", arguments: { text: " " } });
    assert.equal(empty.isError, true);
  },
  // A token that isn't taken any more: 401, and the library uses its refresh token, for the same resource.
  async refresh() {
    const old = provider.kept.tokens;
    assert.ok(old.refresh_token);
    provider.kept.tokens = { ...old, access_token: "expired" };
    assert.deepEqual((await client.callTool({ name: "list_tasks" })).structuredContent, { tasks: ["buy milk"] });
    const fresh = provider.kept.tokens;
    assert.notEqual(fresh.refresh_token, old.refresh_token);
    assert.deepEqual([payload(fresh.access_token).aud].flat(), [setup.server]);
    assert.equal(provider.asked.length, 2);
  },
  // A refresh token that isn't good any more: back to the person, whose session still stands.
  async login_again() {
    provider.kept.tokens = { ...provider.kept.tokens, access_token: "expired", refresh_token: "unknown" };
    await assert.rejects(client.callTool({ name: "list_tasks" }), UnauthorizedError);
    await comeBack();
    assert.deepEqual((await client.callTool({ name: "list_tasks" })).structuredContent, { tasks: ["buy milk"] });
  },
  async end() {
    await client.close();
  },
});
