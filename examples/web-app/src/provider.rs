//! Everything that the app says to the issuer: discovery (OpenID Connect Discovery 1.0), the authorization request, the
//! token requests, the checks of an ID token (Core §3.1.3.7 and §12.2), userinfo, revocation (RFC 7009) and logout.
//! Endpoints come from discovery alone.
//!
//! Left out: encrypted ID tokens, and the algorithm name `Ed25519` (the `openidconnect` crate knows `EdDSA` only).

use axum::http::header;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGenderClaim, CoreGrantType, CoreIdToken, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType, CoreTokenResponse,
};
use openidconnect::{
    AccessToken, AccessTokenHash, AdditionalClaims, AdditionalProviderMetadata, AuthorizationCode,
    ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, DiscoveryError, EndSessionUrl, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IssuerUrl, LogoutRequest, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, PostLogoutRedirectUrl, ProviderMetadata, RedirectUrl, RefreshToken, RequestTokenError,
    RevocationUrl, Scope, SignatureVerificationError, SubjectIdentifier, TokenResponse, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::http_client::{HttpClient, HttpError};
use crate::surroundings;

/// The scope that the app asks for, beside `openid`.
const SCOPE: [&str; 6] = ["profile", "email", "offline_access", "notes.read", "notes.write", "roles"];

/// How the app is registered, and where it is.
pub(crate) struct Settings {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Without a trailing slash.
    pub(crate) public_url: String,
    /// Without a trailing slash.
    pub(crate) api_url: String,
    pub(crate) resource: Option<String>,
}

/// Why the issuer couldn't do what the app asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// No answer from the issuer, or one that says to come back later.
    #[error("the issuer {issuer} can't be reached: {reason}")]
    Unreachable {
        /// The issuer as configured.
        issuer: String,
        /// What happened.
        reason: String,
    },
    /// The issuer's metadata can't be used.
    #[error("the metadata of the issuer {issuer} can't be used: {reason}")]
    Metadata {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
    /// The token endpoint refused (RFC 6749 §5.2).
    #[error("the token endpoint refused: {code} ({})", .description.as_deref().unwrap_or("no description"))]
    Refused {
        /// The error code.
        code: String,
        /// The words of the issuer.
        description: Option<String>,
    },
    /// No usable answer of the token endpoint.
    #[error("no usable answer from the token endpoint: {0}")]
    NoAnswer(String),
    /// The ID token is signed by a key that we don't know.
    #[error("the ID token is signed by a key that the issuer doesn't publish")]
    UnknownKey,
    /// The ID token fails a check.
    #[error("the ID token is not acceptable: {0}")]
    IdToken(String),
}

impl ProviderError {
    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, ProviderError::Unreachable { .. })
    }

    /// Whether the refresh token is of no use any more (RFC 6749 §5.2).
    pub(crate) fn is_end_of_grant(&self) -> bool {
        matches!(self, ProviderError::Refused { code, .. } if code == "invalid_grant")
    }
}

/// Members of the metadata that the crate doesn't read by itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct MoreMetadata {
    /// OpenID Connect RP-Initiated Logout 1.0 §2.1.
    end_session_endpoint: Option<EndSessionUrl>,
    /// RFC 8414 §2.
    revocation_endpoint: Option<RevocationUrl>,
    /// RFC 9207 §3.
    #[serde(default)]
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

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// Every claim that isn't a standard one, so that the page can show it.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct OtherClaims(serde_json::Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

/// An authorization request, ready to be sent.
pub(crate) struct AuthorizationRequest {
    pub(crate) url: Url,
    pub(crate) verifier: PkceCodeVerifier,
}

/// Which ID token is expected.
pub(crate) enum Expected<'a> {
    /// That of a login: it must be there and carry this nonce (Core §3.1.3.7, 11).
    Login {
        /// The nonce of the authorization request.
        nonce: &'a str,
    },
    /// That of a refresh: it may be absent; it names the same person, and no other nonce (Core §12.2).
    Refresh {
        /// The nonce of the login.
        nonce: &'a str,
        /// The `sub` of the login.
        subject: &'a str,
    },
}

/// The provider as discovered.
pub(crate) struct Provider {
    client: Client,
    more: MoreMetadata,
    algorithms: Vec<CoreJwsSigningAlgorithm>,
    /// When the metadata were fetched, in unix seconds.
    pub(crate) fetched_at: i64,
}

impl Provider {
    /// Fetches metadata and keys of the issuer.
    ///
    /// # Errors
    /// When they can't be had or can't be used.
    pub(crate) async fn discover(settings: &Settings, http: &HttpClient) -> Result<Provider, ProviderError> {
        let unusable = |reason: String| ProviderError::Metadata { issuer: settings.issuer.clone(), reason };
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| unusable(error.to_string()))?;
        // Discovery §4.3: the issuer of the document must be the one we asked for, byte for byte; the crate compares.
        let metadata = Metadata::discover_async(issuer, http).await.map_err(|error| match error {
            DiscoveryError::Request(error) => {
                ProviderError::Unreachable { issuer: settings.issuer.clone(), reason: error.to_string() }
            }
            DiscoveryError::Response(status, ..) if status.is_server_error() || status.as_u16() == 429 => {
                ProviderError::Unreachable { issuer: settings.issuer.clone(), reason: format!("it answers {status}") }
            }
            DiscoveryError::Response(status, _, reason) => unusable(format!("it answers {status}: {reason}")),
            other => unusable(other.to_string()),
        })?;
        if metadata.token_endpoint().is_none() {
            return Err(unusable("they name no token_endpoint".to_owned()));
        }
        // Core §3.1.3.7, 6 and 7: only signatures by the issuer's published keys, not by our secret, not `none`.
        let algorithms = metadata
            .id_token_signing_alg_values_supported()
            .iter()
            .filter(|algorithm| is_asymmetric(algorithm))
            .cloned()
            .collect();
        let redirect = RedirectUrl::new(format!("{}/callback", settings.public_url))
            .map_err(|error| unusable(error.to_string()))?;
        let more = metadata.additional_metadata().clone();
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(settings.client_id.clone()),
            Some(ClientSecret::new(settings.client_secret.clone())),
        )
        .set_redirect_uri(redirect);
        Ok(Provider { client, more, algorithms, fetched_at: surroundings::unix_seconds() })
    }

    /// The authorization request (Core §3.1.2.1) with PKCE by S256.
    pub(crate) fn authorization_request(&self, settings: &Settings, state: &str, nonce: &str) -> AuthorizationRequest {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (state, nonce) = (state.to_owned(), nonce.to_owned());
        let mut request = self
            .client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(SCOPE.map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge);
        if let Some(resource) = &settings.resource {
            request = request.add_extra_param("resource", resource.clone());
        }
        let (url, _, _) = request.url();
        AuthorizationRequest { url, verifier }
    }

    /// Whether the `iss` of an authorization answer is the issuer's.
    ///
    /// RFC 9207 §2.4: the value must equal the issuer by string comparison; an issuer that announces the parameter must
    /// send it.
    pub(crate) fn is_own_answer(&self, settings: &Settings, iss: Option<&str>) -> bool {
        match iss {
            Some(iss) => iss == settings.issuer,
            None => !self.more.authorization_response_iss_parameter_supported,
        }
    }

    /// Exchanges a code for tokens (RFC 6749 §4.1.3).
    pub(crate) async fn redeem(
        &self,
        settings: &Settings,
        http: &HttpClient,
        code: String,
        verifier: PkceCodeVerifier,
    ) -> Result<CoreTokenResponse, ProviderError> {
        let mut request = self
            .client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| ProviderError::NoAnswer(error.to_string()))?
            .set_pkce_verifier(verifier);
        if let Some(resource) = &settings.resource {
            request = request.add_extra_param("resource", resource.clone());
        }
        request.request_async(http).await.map_err(token_error)
    }

    /// Exchanges a refresh token for new tokens (RFC 6749 §6).
    pub(crate) async fn refresh(
        &self,
        settings: &Settings,
        http: &HttpClient,
        refresh_token: &RefreshToken,
    ) -> Result<CoreTokenResponse, ProviderError> {
        let mut request = self
            .client
            .exchange_refresh_token(refresh_token)
            .map_err(|error| ProviderError::NoAnswer(error.to_string()))?;
        if let Some(resource) = &settings.resource {
            request = request.add_extra_param("resource", resource.clone());
        }
        request.request_async(http).await.map_err(token_error)
    }

    /// Checks the ID token of a token answer and gives it with its claims; `None` where none came and none is due.
    ///
    /// # Errors
    /// [`ProviderError::UnknownKey`] when the keys may have been rotated since they were fetched, otherwise
    /// [`ProviderError::IdToken`].
    pub(crate) fn verify(
        &self,
        tokens: &CoreTokenResponse,
        expected: &Expected<'_>,
    ) -> Result<Option<(CoreIdToken, Value)>, ProviderError> {
        let unacceptable = |reason: &str| ProviderError::IdToken(reason.to_owned());
        let Some(id_token) = tokens.id_token() else {
            return match expected {
                Expected::Login { .. } => Err(unacceptable("none came with the login")),
                Expected::Refresh { .. } => Ok(None),
            };
        };
        let verifier = self.client.id_token_verifier().set_allowed_algs(self.algorithms.iter().cloned());
        let claims = match expected {
            Expected::Login { nonce } => id_token.claims(&verifier, &Nonce::new((*nonce).to_owned())),
            Expected::Refresh { nonce, .. } => id_token.claims(&verifier, |found: Option<&Nonce>| match found {
                Some(found) if found.secret() != nonce => Err("it carries another nonce than the login".to_owned()),
                _ => Ok(()),
            }),
        }
        .map_err(|error| match error {
            ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
                ProviderError::UnknownKey
            }
            ClaimsVerificationError::SignatureVerification(reason) => ProviderError::IdToken(reason.to_string()),
            other => ProviderError::IdToken(other.to_string()),
        })?;
        // Core §12.2: the subject of a refreshed ID token is the one of the login.
        if let Expected::Refresh { subject, .. } = expected
            && claims.subject().as_str() != *subject
        {
            return Err(unacceptable("it names another person than the login"));
        }
        // Core §3.1.3.8: where at_hash is present, it belongs to the access token that came along.
        if let Some(expected_hash) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(|error| unacceptable(&error.to_string()))?;
            let key = id_token.signing_key(&verifier).map_err(|error| unacceptable(&error.to_string()))?;
            let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key)
                .map_err(|error| unacceptable(&error.to_string()))?;
            if hash != *expected_hash {
                return Err(unacceptable("its at_hash belongs to another access token"));
            }
        }
        let shown = jwt_claims(&id_token.to_string()).ok_or_else(|| unacceptable("its claims aren't JSON"))?;
        Ok(Some((id_token.clone(), shown)))
    }

    /// The claims of the userinfo endpoint (Core §5.3); the text says why there are none.
    pub(crate) async fn userinfo(
        &self,
        http: &HttpClient,
        access_token: &AccessToken,
        subject: &str,
    ) -> Result<Value, String> {
        // RFC 6750 §2.1: the token's characters; the crate would not survive others in a header.
        if !access_token.secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the access token has characters that don't fit into a header".to_owned());
        }
        // Core §5.3.4: the `sub` of userinfo must be that of the ID token; the crate compares.
        let subject = SubjectIdentifier::new(subject.to_owned());
        let request = self.client.user_info(access_token.clone(), Some(subject)).map_err(|error| error.to_string())?;
        let claims: UserInfoClaims<OtherClaims, CoreGenderClaim> =
            request.request_async(http).await.map_err(|error| with_causes(&error))?;
        serde_json::to_value(claims).map_err(|error| error.to_string())
    }

    /// Revokes a refresh token (RFC 7009 §2.1). With `offline_access` it would outlive the logout.
    ///
    /// Written out here because the crate refuses an http endpoint, which an issuer on `localhost` has.
    pub(crate) async fn revoke(
        &self,
        settings: &Settings,
        http: &HttpClient,
        refresh_token: &RefreshToken,
    ) -> Result<(), String> {
        let Some(endpoint) = &self.more.revocation_endpoint else { return Ok(()) };
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        // RFC 6749 §2.3.1: id and secret are form-encoded before they become Basic credentials.
        let credentials =
            BASE64_STANDARD.encode(format!("{}:{}", encode(&settings.client_id), encode(&settings.client_secret)));
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", refresh_token.secret())
            .append_pair("token_type_hint", "refresh_token")
            .finish();
        let request = axum::http::Request::post(endpoint.as_str())
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .map_err(|error| error.to_string())?;
        let answer = http.send(request).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the endpoint answers {}", answer.status())) }
    }

    /// Where the browser goes to end the session at the issuer (RP-Initiated Logout §2), if the issuer offers it.
    pub(crate) fn logout_url(&self, settings: &Settings, id_token: &CoreIdToken, state: &str) -> Option<Url> {
        let endpoint = self.more.end_session_endpoint.clone()?;
        let back = PostLogoutRedirectUrl::new(format!("{}/", settings.public_url)).ok()?;
        let request = LogoutRequest::from(endpoint)
            .set_id_token_hint(id_token)
            .set_client_id(ClientId::new(settings.client_id.clone()))
            .set_post_logout_redirect_uri(back)
            .set_state(CsrfToken::new(state.to_owned()));
        Some(request.http_get_url())
    }

    /// The origin that the logout form ends up at, for the page's `form-action`.
    pub(crate) fn logout_origin(&self) -> Option<String> {
        self.more.end_session_endpoint.as_ref().map(|endpoint| endpoint.url().origin().ascii_serialization())
    }
}

/// Whether signatures of this algorithm are checked by a public key.
fn is_asymmetric(algorithm: &CoreJwsSigningAlgorithm) -> bool {
    !matches!(
        algorithm,
        CoreJwsSigningAlgorithm::HmacSha256
            | CoreJwsSigningAlgorithm::HmacSha384
            | CoreJwsSigningAlgorithm::HmacSha512
            | CoreJwsSigningAlgorithm::None
    )
}

fn token_error(
    error: RequestTokenError<
        HttpError,
        openidconnect::StandardErrorResponse<openidconnect::core::CoreErrorResponseType>,
    >,
) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(refusal) => ProviderError::Refused {
            code: refusal.error().to_string(),
            description: refusal.error_description().cloned(),
        },
        RequestTokenError::Request(error) => ProviderError::NoAnswer(error.to_string()),
        // The body isn't shown: it may hold tokens.
        RequestTokenError::Parse(error, _) => ProviderError::NoAnswer(error.to_string()),
        RequestTokenError::Other(text) => ProviderError::NoAnswer(text),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// The claims of a JWT, unchecked, to be shown. `None` if the text isn't a JWT with a JSON payload.
pub(crate) fn jwt_claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}
