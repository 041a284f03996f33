"""Authlib as a Flask program uses it, as a bare session, as a resource server (RFC 9068), and with httpx."""

import asyncio
import secrets
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from flask import Flask, request
from joserfc import jws
from joserfc.jwk import KeySet

from conversation import browse, run, setup

client = setup["client"]
SCOPE = "openid profile email offline_access"

program = Flask("client")
program.secret_key = secrets.token_hex()
# What a view raises comes to the step that calls it.
program.testing = True
keyward = OAuth(program).register(
    "keyward",
    client_id=client["id"],
    client_secret=client.get("secret"),
    server_metadata_url=f"{setup['issuer']}/.well-known/openid-configuration",
    authorize_params={"resource": setup["audience"]},
    client_kwargs={
        "scope": SCOPE,
        "code_challenge_method": "S256",
        "token_endpoint_auth_method": client["method"],
    },
)
known = {}


@program.get("/login")
def go_to_login():
    return keyward.authorize_redirect(setup["redirectUri"], **request.args.to_dict())


@program.get("/cb")
def come_back():
    return keyward.authorize_access_token()


@program.get("/logout")
def go_to_logout():
    return keyward.logout_redirect(setup["postLogoutRedirectUri"], known["token"]["id_token"])


@program.get("/bye")
def be_gone():
    return {"state": keyward.validate_logout_response()}


browser = program.test_client()


def at_program(address):
    """The program's answer to a request for this address."""
    url = urlsplit(address)
    return browser.get(f"{url.path}?{url.query}", base_url=f"{url.scheme}://{url.netloc}")


def login(**parameters):
    start = browser.get("/login", base_url="https://app.example", query_string=parameters)
    assert start.status_code == 302, start.text
    return browse(start.location)


def session():
    return OAuth2Session(
        client["id"],
        client.get("secret"),
        token_endpoint_auth_method=client["method"],
        revocation_endpoint_auth_method=client["method"],
    )


def resource_server():
    class Validator(JWTBearerTokenValidator):
        def get_jwks(self):
            return KeySet.import_key_set(requests.get(known["metadata"]["jwks_uri"]).json())

    return Validator(issuer=setup["issuer"], resource_server=setup["audience"])


def introspect(token):
    server = setup["resourceServer"]
    caller = OAuth2Session(server["id"], server["secret"])
    return caller.introspect_token(known["metadata"]["introspection_endpoint"], token).json()


def discovery():
    known["metadata"] = keyward.load_server_metadata()
    assert known["metadata"]["issuer"] == setup["issuer"]


def forged_state():
    address = login().replace("state=", "state=x")
    try:
        at_program(address)
    except OAuthError as error:
        assert error.error == "mismatching_state", error
    else:
        raise AssertionError("another state is taken")


def code():
    callback = login()
    assert parse_qs(urlsplit(callback).query)["iss"] == [setup["issuer"]]
    answer = at_program(callback)
    assert answer.status_code == 200, answer.text
    known["token"] = answer.json
    assert known["token"]["refresh_token"]
    assert set(known["token"]["scope"].split()) == set(SCOPE.split())


def id_token():
    # Authlib has checked signature, issuer, audience, nonce and at_hash, and left the claims here.
    claims = known["token"]["userinfo"]
    assert claims["iss"] == setup["issuer"] and claims["at_hash"] and claims["nonce"] and claims["sid"]
    assert jws.extract_compact(known["token"]["id_token"].encode()).headers()["alg"] == client["algorithm"]


def userinfo():
    with program.test_request_context():
        person = keyward.userinfo(token=known["token"])
    assert person["sub"] == known["token"]["userinfo"]["sub"]
    assert person["email"] == f"{setup['username']}@example.org" and person["email_verified"] is True


def access_token():
    validator = resource_server()
    claims = validator.authenticate_token(known["token"]["access_token"])
    validator.validate_token(claims, ["profile"], None)
    assert claims["client_id"] == client["id"] and claims["sub"] == known["token"]["userinfo"]["sub"]
    try:
        validator.validate_token(validator.authenticate_token(known["token"]["id_token"]), [], None)
    except InvalidTokenError:
        pass
    else:
        raise AssertionError("an ID token is taken for an access token")


def introspection():
    answer = introspect(known["token"]["access_token"])
    assert answer["active"] is True and answer["client_id"] == client["id"]


def refresh():
    with program.test_request_context():
        fresh = keyward.fetch_access_token(
            grant_type="refresh_token", refresh_token=known["token"]["refresh_token"]
        )
        assert fresh["access_token"] != known["token"]["access_token"]
        known["token"] |= fresh
        assert keyward.userinfo(token=known["token"])["sub"] == known["token"]["userinfo"]["sub"]


def revocation():
    endpoint = known["metadata"]["revocation_endpoint"]
    caller = session()
    answer = caller.revoke_token(endpoint, known["token"]["refresh_token"], "refresh_token")
    assert answer.status_code == 200, answer.text
    assert introspect(known["token"]["access_token"]) == {"active": False}
    try:
        caller.refresh_token(known["metadata"]["token_endpoint"], known["token"]["refresh_token"])
    except OAuthError as error:
        assert error.error == "invalid_grant", error
    else:
        raise AssertionError("a revoked token is good for another")


def silent_login():
    answer = at_program(login(prompt="none"))
    assert answer.status_code == 200, answer.text
    assert answer.json["userinfo"]["sid"] == known["token"]["userinfo"]["sid"]
    known["token"] = answer.json


def logout():
    start = browser.get("/logout", base_url="https://app.example")
    callback = browse(start.location)
    assert callback.startswith(f"{setup['postLogoutRedirectUri']}?"), callback
    assert at_program(callback).status_code == 200
    try:
        at_program(login(prompt="none"))
    except OAuthError as error:
        assert error.error == "login_required", error
    else:
        raise AssertionError("a login without a session")


def client_credentials():
    machine = setup["machine"]

    async def fetch():
        async with AsyncOAuth2Client(machine["id"], machine["secret"], scope="api") as caller:
            return await caller.fetch_token(
                known["metadata"]["token_endpoint"], grant_type="client_credentials", resource=setup["audience"]
            )

    token = asyncio.run(fetch())
    validator = resource_server()
    claims = validator.authenticate_token(token["access_token"])
    validator.validate_token(claims, ["api"], None)
    assert claims["sub"] == machine["id"]


run(
    discovery,
    forged_state,
    code,
    id_token,
    userinfo,
    access_token,
    introspection,
    refresh,
    revocation,
    silent_login,
    logout,
    client_credentials,
)
