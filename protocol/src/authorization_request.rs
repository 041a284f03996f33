//! The authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2): reading it, and whether it is right. What
//! comes next is `authorization_step`'s to decide.
//!
//! Left out: request objects and `request_uri` (refused by name).

use crate::acr::AcrNeed;
use crate::claims_request::ClaimsRequest;
use crate::client_metadata::{ClientMetadata, GrantType};
use crate::display::Display;
use crate::parameters::Parameters;
use crate::pkce::CodeChallenge;
use crate::prompt::Prompt;
use crate::redirect_uri::ProvenRedirect;
use crate::refusal::{ErrorCode, Refusal};
use crate::response_mode::ResponseMode;
use crate::scope::{self, ScopeSet};

/// The one scope that makes a request an OpenID Connect one (Core §3.1.2.1).
pub const OPENID: &str = "openid";
/// OpenID Connect Core §11.
pub const OFFLINE_ACCESS: &str = "offline_access";

/// Longest `acr_values`, in bytes.
const MOST_ACR_BYTES: usize = 1024;

/// What an answer to the client needs, known before the rest of the request is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerChannel {
    /// Where the answer goes.
    pub redirect: ProvenRedirect,
    /// How it is encoded.
    pub mode: ResponseMode,
    /// The client's `state`, echoed unless it was repeated.
    pub state: Option<String>,
}

/// Which client asks.
///
/// # Errors
/// `invalid_request`, for a page.
pub fn client_id(parameters: &Parameters) -> Result<&str, Refusal> {
    // Protocol decision 1: a doubled client_id is answered by a page.
    if parameters.is_repeated("client_id") {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "The client_id is included more than once."));
    }
    parameters.require("client_id", "The client_id is missing.")
}

/// Where answers to this request go.
///
/// # Errors
/// `invalid_request`, for a page: until the redirect is proven, nothing may be sent there.
pub fn answer_channel(parameters: &Parameters, client: &ClientMetadata) -> Result<AnswerChannel, Refusal> {
    for name in ["redirect_uri", "request", "request_uri"] {
        if parameters.is_repeated(name) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "A parameter is included more than once."));
        }
    }
    let openid = parameters.get("scope").is_some_and(|scope| scope.split(' ').any(|token| token == OPENID));
    let redirect = ProvenRedirect::prove(client, parameters.get("redirect_uri"), openid)?;
    // OAuth 2.0 Multiple Response Types §2.1: an error is sent by the mode that was asked for; an unknown mode can't be.
    let mode = ResponseMode::parse(parameters.get("response_mode")).unwrap_or_default();
    let state = if parameters.is_repeated("state") { None } else { parameters.get("state").map(ToOwned::to_owned) };
    Ok(AnswerChannel { redirect, mode, state })
}

/// A request that was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// Whether `redirect_uri` was in the request: then it must come again at the token endpoint (RFC 6749 §4.1.3).
    pub redirect_uri_named: bool,
    /// What can be granted of what was asked.
    pub scope: ScopeSet,
    /// OpenID Connect Core §3.1.2.1.
    pub nonce: Option<String>,
    /// RFC 7636.
    pub challenge: Option<CodeChallenge>,
    /// What is to be shown.
    pub prompt: Prompt,
    /// Seconds since the last authentication that the client accepts.
    pub max_age: Option<u64>,
    /// Whom the client believes it deals with.
    pub login_hint: Option<String>,
    /// An ID token of the person that the client expects.
    pub id_token_hint: Option<String>,
    /// The granted resources (RFC 8707); empty: the client's default.
    pub resources: Vec<String>,
    /// The single claims that may be released (Core §5.5), each of a scope that the client may have.
    pub claims: ClaimsRequest,
    /// Core §3.1.2.2: the only subjects for whom it may be answered; `None` where any will do.
    pub subjects: Option<Vec<String>>,
    /// How strongly the person must have authenticated.
    pub acr: AcrNeed,
    /// In what kind of window the pages are shown.
    pub display: Display,
}

impl AuthorizationRequest {
    /// The same with those scopes, and the claims of those scopes, that this person may give; and the scopes that fell
    /// away (requirement RB-2).
    #[must_use]
    pub fn narrowed(mut self, may_give: impl Fn(&str) -> bool) -> (Self, ScopeSet) {
        let withheld = self.scope.filter(|scope| !may_give(scope));
        self.scope = self.scope.filter(&may_give);
        self.claims = self.claims.releasable(may_give);
        (self, withheld)
    }
}

/// Judges the request of a client whose redirect is proven.
///
/// # Errors
/// The code of RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6 or RFC 8707 §2, to be sent to the client.
pub fn validate(
    parameters: &Parameters,
    client: &ClientMetadata,
    known_scopes: impl Fn(&str) -> bool,
    known_resource: impl Fn(&str) -> bool,
) -> Result<AuthorizationRequest, Refusal> {
    parameters.refuse_repeated()?;
    // OpenID Connect Core §3.1.2.6: what isn't offered is refused by its own name, and never silently ignored.
    if parameters.get("request").is_some() {
        return Err(Refusal::new(ErrorCode::RequestNotSupported, "Request objects are not supported."));
    }
    if parameters.get("request_uri").is_some() {
        return Err(Refusal::new(ErrorCode::RequestUriNotSupported, "The request_uri parameter is not supported."));
    }
    if parameters.get("registration").is_some() {
        return Err(Refusal::new(ErrorCode::RegistrationNotSupported, "The registration parameter is not supported."));
    }
    ResponseMode::parse(parameters.get("response_mode"))?;
    // RFC 6749 §3.1.1; RFC 9700 §2.1.2: only the code flow.
    match parameters.require("response_type", "The response_type is missing.")? {
        "code" => {}
        _ => return Err(Refusal::new(ErrorCode::UnsupportedResponseType, "The response_type must be code.")),
    }
    if !client.has_grant(GrantType::AuthorizationCode) {
        return Err(Refusal::new(ErrorCode::UnauthorizedClient, "The client may not use the code flow."));
    }
    let asked = ScopeSet::parse(parameters.get("scope").unwrap_or_default())?;
    // OpenID Connect Core §11, protocol decision 12: without the grant, offline_access means nothing.
    let keeps_offline = client.has_grant(GrantType::RefreshToken);
    let allowed = client.scope.filter(|token| known_scopes(token) && (keeps_offline || token != OFFLINE_ACCESS));
    let scope = scope::grantable(&asked, &allowed, &client.default_scope)?;
    let challenge =
        CodeChallenge::from_request(parameters.get("code_challenge"), parameters.get("code_challenge_method"))?;
    // RFC 9700 §2.1.1, protocol decision 3.
    if challenge.is_none() && client.needs_pkce() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "PKCE is required: code_challenge is missing."));
    }
    let prompt = Prompt::parse(parameters.get("prompt"))?;
    let max_age = match parameters.get("max_age") {
        None => client.default_max_age,
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 18 => {
            Some(text.parse().unwrap_or(u64::MAX))
        }
        Some(_) => return Err(Refusal::new(ErrorCode::InvalidRequest, "The max_age must be a number of seconds.")),
    };
    let bounded = |name: &'static str, most: usize, refusal: &'static str| match parameters.get(name) {
        Some(value) if value.len() > most => Err(Refusal::new(ErrorCode::InvalidRequest, refusal)),
        value => Ok(value.map(ToOwned::to_owned)),
    };
    // Core §5.5: a part of OpenID Connect, and so of no meaning without it.
    let claims = match parameters.get("claims") {
        Some(text) if scope.contains(OPENID) => ClaimsRequest::parse(text)?,
        _ => ClaimsRequest::default(),
    };
    Ok(AuthorizationRequest {
        acr: acr_need(parameters, client, &claims)?,
        subjects: claims.subjects()?,
        claims: claims.releasable(|scope| allowed.contains(scope)),
        display: Display::parse(parameters.get("display")),
        redirect_uri_named: parameters.get("redirect_uri").is_some(),
        scope,
        nonce: bounded("nonce", 1024, "The nonce is longer than 1024 bytes.")?,
        challenge,
        prompt,
        max_age,
        login_hint: bounded("login_hint", 320, "The login_hint is longer than 320 bytes.")?,
        id_token_hint: bounded("id_token_hint", 16_384, "The id_token_hint is longer than 16384 bytes.")?,
        resources: resources(parameters, client, known_resource)?,
    })
}

/// How strongly the person must have authenticated: what the `claims` parameter says of `acr`, else `acr_values` (Core
/// §3.1.2.1), else the client's default, which either of them overrides (Registration §2).
fn acr_need(parameters: &Parameters, client: &ClientMetadata, claims: &ClaimsRequest) -> Result<AcrNeed, Refusal> {
    let named = parameters.get("acr_values");
    if named.is_some_and(|text| text.len() > MOST_ACR_BYTES) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "The acr_values are longer than 1024 bytes."));
    }
    Ok(match (claims.acr(), named) {
        (Some(need), _) => need,
        (None, Some(text)) => AcrNeed::voluntary(text.split(' ')),
        (None, None) => AcrNeed::voluntary(client.default_acr_values.iter().map(String::as_str)),
    })
}

/// RFC 8707 §2: the resources that a request names, each registered and allowed to the client.
///
/// # Errors
/// `invalid_target`.
pub fn resources(
    parameters: &Parameters,
    client: &ClientMetadata,
    known_resource: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Refusal> {
    let mut resources: Vec<String> = Vec::new();
    for resource in parameters.all("resource") {
        if !client.resources.iter().any(|allowed| allowed == resource) || !known_resource(resource) {
            return Err(Refusal::new(ErrorCode::InvalidTarget, "The resource is unknown, or not for this client."));
        }
        if !resources.iter().any(|earlier| earlier == resource) {
            resources.push(resource.to_owned());
        }
    }
    Ok(resources)
}

/// RFC 8707 §2.2: at the token endpoint, the resources of an access token lie within those of the grant.
///
/// # Errors
/// `invalid_target`.
pub fn narrow_resources(granted: &[String], asked: &[String]) -> Result<(), Refusal> {
    if granted.is_empty() || asked.iter().all(|resource| granted.contains(resource)) {
        Ok(())
    } else {
        Err(Refusal::new(ErrorCode::InvalidTarget, "The resource goes beyond what was granted."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acr::Acr;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client() -> ClientMetadata {
        ClientMetadata {
            client_name: "Shop".into(),
            redirect_uris: vec!["https://shop.example/cb".into()],
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            scope: ScopeSet::parse("openid profile offline_access").unwrap(),
            resources: vec!["https://api.example".into()],
            ..ClientMetadata::default()
        }
    }

    fn read(extra: &str) -> Result<AuthorizationRequest, Refusal> {
        let text = format!(
            "client_id=c&redirect_uri=https%3A%2F%2Fshop.example%2Fcb&response_type=code&scope=openid+profile\
             &code_challenge={CHALLENGE}&code_challenge_method=S256{extra}"
        );
        let parameters = Parameters::parse(&text)?;
        answer_channel(&parameters, &client())?;
        validate(&parameters, &client(), |_| true, |resource| resource == "https://api.example")
    }

    #[test]
    fn malformed_requests_get_their_code() {
        for (extra, code) in [
            ("&response_type=token", ErrorCode::InvalidRequest),
            ("&prompt=none+login", ErrorCode::InvalidRequest),
            ("&prompt=maybe", ErrorCode::InvalidRequest),
            ("&max_age=-1", ErrorCode::InvalidRequest),
            ("&max_age=1.5", ErrorCode::InvalidRequest),
            ("&nonce=a&nonce=a", ErrorCode::InvalidRequest),
            ("&request=x", ErrorCode::RequestNotSupported),
            ("&request_uri=x", ErrorCode::RequestUriNotSupported),
            ("&registration=x", ErrorCode::RegistrationNotSupported),
            ("&response_mode=web_message", ErrorCode::InvalidRequest),
            ("&resource=https%3A%2F%2Fother.example", ErrorCode::InvalidTarget),
        ] {
            assert_eq!(read(extra).unwrap_err().code, code, "{extra}");
        }
        assert_eq!(read("&resource=https%3A%2F%2Fapi.example&unknown=1&nonce=").unwrap().resources.len(), 1);
    }

    #[test]
    fn only_the_code_flow_and_only_with_pkce() {
        let parse = |text: &str| validate(&Parameters::parse(text).unwrap(), &client(), |_| true, |_| true);
        for response_type in ["token", "id_token", "code+id_token", "none"] {
            let refused = parse(&format!("response_type={response_type}&scope=openid")).unwrap_err();
            assert_eq!(refused.code, ErrorCode::UnsupportedResponseType);
        }
        let refused = parse("response_type=code&scope=openid").unwrap_err();
        assert!(refused.code == ErrorCode::InvalidRequest && refused.description.contains("PKCE"));
        assert_eq!(parse("scope=openid").unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_repeated_state_is_not_echoed() {
        let parameters = Parameters::parse("redirect_uri=https%3A%2F%2Fshop.example%2Fcb&state=a&state=a").unwrap();
        assert_eq!(answer_channel(&parameters, &client()).unwrap().state, None);
    }

    #[test]
    fn claims_acr_values_and_display_are_read() {
        let claims = |text: &str| {
            let encoded = url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            read(&format!("&acr_values=phr&claims={encoded}"))
        };
        let request = claims(r#"{"userinfo":{"email":null,"name":null},"id_token":{"sub":{"value":"s"}}}"#).unwrap();
        let names: Vec<&str> = request.claims.userinfo.iter().map(|claim| claim.name.as_str()).collect();
        assert_eq!(names, ["name"], "the client may not have the scope email, and so not its claims");
        assert_eq!(request.subjects.as_deref(), Some(&["s".to_owned()][..]));
        assert_eq!(request.acr, AcrNeed::Voluntary(vec![Acr::PhishingResistant]));
        let essential = claims(r#"{"id_token":{"acr":{"essential":true,"value":"urn:keyward:acr:1"}}}"#).unwrap();
        assert_eq!(essential.acr, AcrNeed::Essential(vec![Acr::OneFactor]), "it goes before acr_values");
        for bad in ["x", r#"{"id_token":{"sub":{"value":7}}}"#, r#"{"userinfo":{"email":1}}"#] {
            assert_eq!(claims(bad).unwrap_err().code, ErrorCode::InvalidRequest, "{bad}");
        }
        assert!(read(&format!("&acr_values={}", "x".repeat(1025))).is_err());
        assert_eq!(read("&display=popup").unwrap().display, Display::Popup);
        assert_eq!(read("&display=hologram").unwrap().display, Display::Page);
    }

    #[test]
    fn without_openid_the_claims_parameter_means_nothing() {
        let client = client();
        let text =
            format!("response_type=code&scope=profile&code_challenge={CHALLENGE}&code_challenge_method=S256&claims=x");
        let request = validate(&Parameters::parse(&text).unwrap(), &client, |_| true, |_| true).unwrap();
        assert!(request.claims.is_empty());
    }

    #[test]
    fn the_clients_default_classes_are_a_wish() {
        let client = ClientMetadata { default_acr_values: vec!["phr".into()], ..client() };
        let need = |extra: &str| {
            let text =
                format!("response_type=code&scope=openid&code_challenge={CHALLENGE}&code_challenge_method=S256{extra}");
            validate(&Parameters::parse(&text).unwrap(), &client, |_| true, |_| true).unwrap().acr
        };
        assert_eq!(need(""), AcrNeed::Voluntary(vec![Acr::PhishingResistant]));
        assert_eq!(need("&acr_values=urn:keyward:acr:1"), AcrNeed::Voluntary(vec![Acr::OneFactor]));
    }

    #[test]
    fn a_scope_that_the_person_may_not_give_takes_its_claims_along() {
        let request = read("&claims=%7B%22id_token%22%3A%7B%22name%22%3Anull%7D%7D").unwrap();
        assert_eq!(request.claims.id_token.len(), 1);
        let (narrowed, withheld) = request.narrowed(|scope| scope != "profile");
        assert_eq!((narrowed.scope.to_string(), withheld.to_string()), ("openid".into(), "profile".into()));
        assert!(narrowed.claims.is_empty());
    }
}
