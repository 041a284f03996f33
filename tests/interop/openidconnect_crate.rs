//! The Rust crate `openidconnect`, with reqwest for its requests.

use std::future::Future;
use std::pin::Pin;

use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::AuthMethod;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType, CoreRevocableToken,
    CoreSubjectIdentifierType, CoreTokenResponse, CoreUserInfoClaims,
};
use openidconnect::{
    AccessTokenHash, AdditionalProviderMetadata, AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret,
    CsrfToken, EmptyAdditionalClaims, EndSessionUrl, HttpClientError, HttpRequest, HttpResponse, IntrospectionUrl,
    IssuerUrl, LogoutRequest, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl,
    ProviderMetadata, RedirectUrl, RequestTokenError, RevocationUrl, Scope, StandardErrorResponse,
    TokenIntrospectionResponse, TokenResponse,
};
use serde::{Deserialize, Serialize};

use super::{AUDIENCE, MACHINE, RESOURCE_SERVER, USER, foreign, server};
use crate::support::browser::parameters;
use crate::support::server::SECRET;
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer};

/// The requests of the crate, by a reqwest that trusts the test's authority.
struct Http(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpClientError<reqwest::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Self::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let response = self.0.execute(request.try_into().map_err(Box::new)?).await.map_err(Box::new)?;
            let mut answer = http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                answer = answer.header(name, value);
            }
            Ok(answer.body(response.bytes().await.map_err(Box::new)?.to_vec())?)
        })
    }
}

/// Members of the metadata that the crate doesn't read by itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct MoreMetadata {
    end_session_endpoint: EndSessionUrl,
    introspection_endpoint: IntrospectionUrl,
    revocation_endpoint: RevocationUrl,
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for MoreMetadata {}

type Metadata = ProviderMetadata<
    MoreMetadata,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type TokenError = RequestTokenError<HttpClientError<reqwest::Error>, StandardErrorResponse<CoreErrorResponseType>>;

/// The code of a refusal by the token endpoint.
fn refused(answer: Result<CoreTokenResponse, TokenError>) -> CoreErrorResponseType {
    match answer {
        Err(RequestTokenError::ServerResponse(refusal)) => refusal.error().clone(),
        other => panic!("no refusal: {other:?}"),
    }
}

/// The clients of the story: id, its way to authenticate, the algorithm of its ID tokens by both names.
const CLIENTS: [(&str, AuthMethod, Algorithm, CoreJwsSigningAlgorithm); 4] = [
    ("basic-rs256", AuthMethod::ClientSecretBasic, Algorithm::Rs256, CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256),
    ("post-es256", AuthMethod::ClientSecretPost, Algorithm::Es256, CoreJwsSigningAlgorithm::EcdsaP256Sha256),
    ("basic-eddsa", AuthMethod::ClientSecretBasic, Algorithm::EdDsa, CoreJwsSigningAlgorithm::EdDsa),
    ("public-es256", AuthMethod::None, Algorithm::Es256, CoreJwsSigningAlgorithm::EcdsaP256Sha256),
];

async fn every_client(database: TestDatabase) {
    let server = server(database).await;
    for (id, method, algorithm, expected) in CLIENTS {
        let spec = if method == AuthMethod::None { ClientSpec::spa(id) } else { ClientSpec::web(id) };
        server.add_client(foreign(spec, method, algorithm)).await;
        story(&server, id, method, expected).await;
    }
    machine(&server).await;
    server.stop().await;
}

async fn discover(server: &TestServer, http: &Http) -> Metadata {
    Metadata::discover_async(IssuerUrl::new(server.url.clone()).unwrap(), http).await.unwrap()
}

async fn story(server: &TestServer, id: &str, method: AuthMethod, algorithm: CoreJwsSigningAlgorithm) {
    let http = Http(server.http.clone());
    let metadata = discover(server, &http).await;
    let more = metadata.additional_metadata().clone();
    assert!(more.authorization_response_iss_parameter_supported);
    let secret = (method != AuthMethod::None).then(|| ClientSecret::new(SECRET.to_owned()));
    let auth_type = if method == AuthMethod::ClientSecretPost { AuthType::RequestBody } else { AuthType::BasicAuth };
    let client = CoreClient::from_provider_metadata(metadata.clone(), ClientId::new(id.to_owned()), secret)
        .set_auth_type(auth_type)
        .set_redirect_uri(RedirectUrl::new("https://app.example/cb".into()).unwrap())
        .set_revocation_url(more.revocation_endpoint.clone());
    let browser = Browser::new(server);
    let authorize = || {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(["profile", "email", "offline_access"].map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("resource", AUDIENCE)
            .set_pkce_challenge(challenge)
            .url();
        (url.to_string(), state, nonce, verifier)
    };

    // Login and consent; the answer carries state and iss (RFC 9207).
    let (url, state, nonce, verifier) = authorize();
    let answer = browser.arrive(&url, USER).await;
    let mut answered = parameters(answer.header("location"));
    assert_eq!(answered.get("state"), Some(state.secret()));
    assert_eq!(answered.get("iss"), Some(&server.url));
    let code = AuthorizationCode::new(answered.remove("code").unwrap());

    // Another verifier is refused and spends nothing; the right one gets the tokens.
    let exchange = |verifier: PkceCodeVerifier| {
        let request = client.exchange_code(code.clone()).unwrap().set_pkce_verifier(verifier);
        async { request.request_async(&http).await }
    };
    let (_, foreign_verifier) = PkceCodeChallenge::new_random_sha256();
    assert_eq!(refused(exchange(foreign_verifier).await), CoreErrorResponseType::InvalidGrant);
    let tokens = exchange(verifier).await.unwrap();

    // The ID token: signature, algorithm, issuer, audience, times, nonce; then its at_hash.
    let verifier = client.id_token_verifier().set_allowed_algs([algorithm.clone()]);
    let id_token = tokens.id_token().unwrap();
    assert_eq!(id_token.signing_alg().unwrap(), &algorithm);
    let claims = id_token.claims(&verifier, &nonce).unwrap();
    let key = id_token.signing_key(&verifier).unwrap();
    let at_hash = AccessTokenHash::from_token(tokens.access_token(), &algorithm, key).unwrap();
    assert_eq!(claims.access_token_hash(), Some(&at_hash));

    // Userinfo: the crate compares the subject.
    let userinfo = |tokens: &CoreTokenResponse| {
        let request = client.user_info(tokens.access_token().clone(), Some(claims.subject().clone())).unwrap();
        async { request.request_async::<EmptyAdditionalClaims, _, CoreGenderClaim>(&http).await }
    };
    let person: CoreUserInfoClaims = userinfo(&tokens).await.unwrap();
    assert_eq!(person.email().map(|email| email.as_str()), Some("ada@example.org"));
    assert_eq!(person.email_verified(), Some(true));
    assert_eq!(person.name().and_then(|name| name.get(None)).map(|name| name.as_str()), Some("Name of ada"));

    // Introspection, by the resource server.
    let orders = CoreClient::from_provider_metadata(
        metadata.clone(),
        ClientId::new(RESOURCE_SERVER.into()),
        Some(ClientSecret::new(SECRET.into())),
    )
    .set_introspection_url(more.introspection_endpoint.clone());
    let introspected = orders.introspect(tokens.access_token()).request_async(&http).await.unwrap();
    assert!(introspected.active());
    assert_eq!(introspected.sub(), Some(claims.subject().as_str()));
    assert_eq!(introspected.client_id().map(|id| id.as_str()), Some(id));
    assert!(introspected.aud().unwrap().iter().any(|audience| audience == AUDIENCE));
    assert!(introspected.scopes().unwrap().iter().any(|scope| scope.as_str() == "email"));

    // Refresh: a new access token, and an ID token of the same person.
    let refresh = |tokens: &CoreTokenResponse| {
        let token = tokens.refresh_token().unwrap().clone();
        let (client, http) = (&client, &http);
        async move { client.exchange_refresh_token(&token).unwrap().request_async(http).await }
    };
    let refreshed = refresh(&tokens).await.unwrap();
    assert_ne!(refreshed.access_token().secret(), tokens.access_token().secret());
    let again = refreshed.id_token().unwrap().claims(&verifier, |_: Option<&Nonce>| Ok(())).unwrap();
    assert_eq!(again.subject(), claims.subject());
    userinfo(&refreshed).await.unwrap();

    // Revocation: the whole grant is over.
    let token = CoreRevocableToken::RefreshToken(refreshed.refresh_token().unwrap().clone());
    client.revoke_token(token).unwrap().request_async(&http).await.unwrap();
    assert_eq!(refused(refresh(&refreshed).await), CoreErrorResponseType::InvalidGrant);
    userinfo(&refreshed).await.unwrap_err();
    assert!(!orders.introspect(refreshed.access_token()).request_async(&http).await.unwrap().active());

    // A second login by the same session asks for no password and, consent being on record, for nothing else.
    let (url, _, nonce, verifier) = authorize();
    let answer = browser.get(&url).await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let code = AuthorizationCode::new(parameters(answer.header("location")).remove("code").unwrap());
    let tokens = client.exchange_code(code).unwrap().set_pkce_verifier(verifier).request_async(&http).await.unwrap();
    let verifier = client.id_token_verifier().set_allowed_algs([algorithm]);
    tokens.id_token().unwrap().claims(&verifier, &nonce).unwrap();

    // Logout: back at the client with its state; the next login asks for the password again.
    let state = CsrfToken::new_random();
    let logout = LogoutRequest::from(more.end_session_endpoint)
        .set_id_token_hint(tokens.id_token().unwrap())
        .set_client_id(ClientId::new(id.to_owned()))
        .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new("https://app.example/bye".into()).unwrap())
        .set_state(state.clone())
        .http_get_url();
    let answer = browser.open(logout.as_str()).await;
    let location = answer.header("location");
    assert!(location.starts_with("https://app.example/bye?"), "{answer:?}");
    assert_eq!(parameters(location).get("state"), Some(state.secret()));
    let (url, ..) = authorize();
    assert!(browser.open(&url).await.text.contains("name=\"password\""));
}

/// The client_credentials grant, and what the resource server sees of it.
async fn machine(server: &TestServer) {
    let http = Http(server.http.clone());
    let metadata = discover(server, &http).await;
    let introspection = metadata.additional_metadata().introspection_endpoint.clone();
    let client = |id: &str| {
        let secret = ClientSecret::new(SECRET.to_owned());
        CoreClient::from_provider_metadata(metadata.clone(), ClientId::new(id.to_owned()), Some(secret))
    };
    let machine = client(MACHINE);
    let request = machine.exchange_client_credentials().unwrap().add_scope(Scope::new("api".into()));
    let tokens = request.request_async(&http).await.unwrap();
    assert!(tokens.refresh_token().is_none() && tokens.id_token().is_none());
    let orders = client(RESOURCE_SERVER).set_introspection_url(introspection);
    let introspected = orders.introspect(tokens.access_token()).request_async(&http).await.unwrap();
    assert!(introspected.active());
    assert_eq!(introspected.sub(), Some(MACHINE));
    let wrong = CoreClient::from_provider_metadata(
        metadata.clone(),
        ClientId::new(MACHINE.into()),
        Some(ClientSecret::new("another secret".into())),
    );
    let answer = wrong.exchange_client_credentials().unwrap().request_async(&http).await;
    assert_eq!(refused(answer), CoreErrorResponseType::InvalidClient);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    every_client(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn postgres() {
    every_client(TestDatabase::postgres().await).await;
}
