"""A Django project with mozilla-django-oidc: the settings, the pages, the start. One file, for it is all there is.

KEYWARD_INTEROP names the client; DJANGO_PORT is where the program listens, DJANGO_DATABASE the file that it keeps its
sessions and users in.
"""

import os
import sys
from urllib.parse import urlencode

import requests
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import include, path

from conversation import setup

client = setup["client"]
PORT = os.environ["DJANGO_PORT"]
# The library has no discovery of its own; this is where its users copy the addresses from.
metadata = requests.get(f"{setup['issuer']}/.well-known/openid-configuration").json()

settings.configure(
    DEBUG=False,
    SECRET_KEY=os.urandom(32).hex(),
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DJANGO_DATABASE"]}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "mozilla_django_oidc",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        # Asks Keyward by prompt=none whether the person is still there, once the ID token's time is over.
        "mozilla_django_oidc.middleware.SessionRefresh",
    ],
    AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SESSION_COOKIE_NAME="django-session",
    LOGIN_URL="/oidc/authenticate/",
    LOGIN_REDIRECT_URL="/",
    LOGIN_REDIRECT_URL_FAILURE="/failed",
    LOGOUT_REDIRECT_URL="/failed",
    OIDC_OP_AUTHORIZATION_ENDPOINT=metadata["authorization_endpoint"],
    OIDC_OP_TOKEN_ENDPOINT=metadata["token_endpoint"],
    OIDC_OP_USER_ENDPOINT=metadata["userinfo_endpoint"],
    OIDC_OP_JWKS_ENDPOINT=metadata["jwks_uri"],
    OIDC_OP_LOGOUT_URL_METHOD=f"{__name__}.logout_address",
    OIDC_RP_CLIENT_ID=client["id"],
    OIDC_RP_CLIENT_SECRET=client["secret"],
    OIDC_RP_SIGN_ALGO=client["algorithm"],
    OIDC_RP_SCOPES="openid profile email",
    OIDC_TOKEN_USE_BASIC_AUTH=client["method"] == "client_secret_basic",
    OIDC_USE_PKCE=True,
    OIDC_STORE_ID_TOKEN=True,
)


def logout_address(request):
    """The library leaves RP-initiated logout to its user."""
    parameters = {
        "id_token_hint": request.session["oidc_id_token"],
        "post_logout_redirect_uri": f"http://localhost:{PORT}/bye",
    }
    return f"{metadata['end_session_endpoint']}?{urlencode(parameters)}"


@login_required
def home(request):
    return JsonResponse({"email": request.user.email, "staff": request.user.is_staff})


def expire(request):
    """Makes the next request one after the ID token's time, so that nobody has to wait for it."""
    request.session["oidc_id_token_expiration"] = 0
    return JsonResponse({"state": "expired"})


def bye(request):
    return JsonResponse({"signed_in": request.user.is_authenticated})


def failed(request):
    return JsonResponse({"signed_in": request.user.is_authenticated}, status=403)


urlpatterns = [
    path("", home),
    path("expire", expire),
    path("bye", bye),
    path("failed", failed),
    path("oidc/", include("mozilla_django_oidc.urls")),
]

if __name__ == "__main__":
    # The name under which Django finds this file again.
    sys.modules["with_django"] = sys.modules["__main__"]
    execute_from_command_line(["django", "migrate", "--verbosity", "0"])
    execute_from_command_line(["django", "runserver", "--noreload", f"127.0.0.1:{PORT}"])
