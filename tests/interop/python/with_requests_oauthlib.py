"""requests-oauthlib, with ID tokens checked by PyJWT, for it knows nothing of OpenID Connect."""

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode

import jwt
import requests
from oauthlib.oauth2 import BackendApplicationClient, InvalidGrantError, MismatchingStateError
from requests_oauthlib import OAuth2Session

from conversation import browse, run, setup

client = setup["client"]
SCOPE = ["openid", "profile", "email", "offline_access"]
known = {}

# A public client names itself in the body. A confidential one uses Basic: for a code by itself, for a refresh where it is
# told so.
public = "secret" not in client
authentication = {"include_client_id": True} if public else {"client_secret": client["secret"]}
basic = None if public else (client["id"], client["secret"])
in_body = {"client_id": client["id"]} if public else {}


def session(**more):
    return OAuth2Session(client["id"], redirect_uri=setup["redirectUri"], scope=SCOPE, pkce="S256", **more)


def discovery():
    known["metadata"] = requests.get(f"{setup['issuer']}/.well-known/openid-configuration").json()
    assert known["metadata"]["issuer"] == setup["issuer"]
    known["keys"] = jwt.PyJWKClient(known["metadata"]["jwks_uri"])


def code():
    known["session"] = session()
    known["nonce"] = secrets.token_urlsafe()
    address, _ = known["session"].authorization_url(
        known["metadata"]["authorization_endpoint"], nonce=known["nonce"], resource=setup["audience"]
    )
    callback = browse(address)
    try:
        known["session"].fetch_token(
            known["metadata"]["token_endpoint"],
            authorization_response=callback.replace("state=", "state=x"),
            **authentication,
        )
    except MismatchingStateError:
        pass
    else:
        raise AssertionError("another state is taken")
    known["token"] = known["session"].fetch_token(
        known["metadata"]["token_endpoint"], authorization_response=callback, **authentication
    )
    assert known["token"]["refresh_token"] and set(known["token"]["scope"]) == set(SCOPE)


def id_token():
    text = known["token"]["id_token"]
    assert jwt.get_unverified_header(text)["alg"] == client["algorithm"]
    claims = jwt.decode(
        text,
        known["keys"].get_signing_key_from_jwt(text),
        algorithms=[client["algorithm"]],
        audience=client["id"],
        issuer=setup["issuer"],
        options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "auth_time", "sid"]},
    )
    assert claims["nonce"] == known["nonce"]
    half = hashlib.sha256(known["token"]["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == urlsafe_b64encode(half).decode().rstrip("=")
    known["claims"] = claims


def access_token():
    text = known["token"]["access_token"]
    assert jwt.get_unverified_header(text)["typ"] == "at+jwt"
    claims = jwt.decode(
        text,
        known["keys"].get_signing_key_from_jwt(text),
        algorithms=["ES256"],
        audience=setup["audience"],
        issuer=setup["issuer"],
    )
    assert claims["client_id"] == client["id"] and claims["sub"] == known["claims"]["sub"]


def person(caller):
    # These two aren't sent to userinfo: the library keeps them for a refresh on the way.
    answer = caller.get(
        known["metadata"]["userinfo_endpoint"], client_id=client["id"], client_secret=client.get("secret")
    )
    answer.raise_for_status()
    return answer.json()


def userinfo():
    found = person(known["session"])
    assert found["sub"] == known["claims"]["sub"] and found["email"] == f"{setup['username']}@example.org"


def refresh_when_expired():
    """The library refreshes by itself before a request with a token that it holds for expired."""
    saved = []
    old = dict(known["token"]) | {"expires_at": time.time() - 1}
    caller = session(
        token=old,
        auto_refresh_url=known["metadata"]["token_endpoint"],
        auto_refresh_kwargs=in_body,
        token_updater=saved.append,
    )
    assert person(caller)["sub"] == known["claims"]["sub"]
    assert len(saved) == 1 and saved[0]["refresh_token"] != old["refresh_token"]
    known["session"], known["token"] = caller, saved[0]


def revocation():
    oauth = known["session"]._client
    oauth.token_type = "Bearer"
    url, headers, body = oauth.prepare_token_revocation_request(
        known["metadata"]["revocation_endpoint"], known["token"]["refresh_token"], "refresh_token"
    )
    if public:
        body = f"{body}&client_id={client['id']}"
    answer = requests.post(url, data=body, headers=headers, auth=basic)
    assert answer.status_code == 200, answer.text
    try:
        known["session"].refresh_token(
            known["metadata"]["token_endpoint"],
            refresh_token=known["token"]["refresh_token"],
            auth=basic,
            **in_body,
        )
    except InvalidGrantError:
        pass
    else:
        raise AssertionError("a revoked token is good for another")


def client_credentials():
    machine = setup["machine"]
    caller = OAuth2Session(client=BackendApplicationClient(client_id=machine["id"], scope=["api"]))
    token = caller.fetch_token(
        known["metadata"]["token_endpoint"], client_secret=machine["secret"], resource=setup["audience"]
    )
    text = token["access_token"]
    claims = jwt.decode(
        text,
        known["keys"].get_signing_key_from_jwt(text),
        algorithms=["ES256"],
        audience=setup["audience"],
        issuer=setup["issuer"],
    )
    assert claims["sub"] == machine["id"] and claims["scope"] == "api"


run(discovery, code, id_token, access_token, userinfo, refresh_when_expired, revocation, client_credentials)
