//! The authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2): reading it, and deciding what comes next.
//!
//! Left out: request objects and `request_uri` (refused by name), the `claims` parameter, `acr_values` and `display`
//! (best effort, and so ignored).

use crate::client_metadata::{ClientMetadata, GrantType};
use crate::parameters::Parameters;
use crate::pkce::CodeChallenge;
use crate::prompt::Prompt;
use crate::redirect_uri::ProvenRedirect;
use crate::refusal::{ErrorCode, Refusal};
use crate::response_mode::ResponseMode;
use crate::scope::{self, ScopeSet};
use crate::timestamp::Timestamp;

/// The one scope that makes a request an OpenID Connect one (Core §3.1.2.1).
pub const OPENID: &str = "openid";
/// OpenID Connect Core §11.
pub const OFFLINE_ACCESS: &str = "offline_access";

/// Seconds for which a login made for a request satisfies its `prompt=login` and `max_age`, at the least.
const LOGIN_COUNTS_FOR: u64 = 300;

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
    Ok(AuthorizationRequest {
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

/// What is known of the person at the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIn {
    /// When the person last authenticated.
    pub auth_time: Timestamp,
    /// Whether the session's person is the one that `id_token_hint` names; `None` without a hint.
    pub is_hinted: Option<bool>,
}

/// What the person already did for this very request, from the sealed state that travels with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// When the login page was first shown for this request: an authentication after this satisfies `prompt=login`.
    pub login_shown_at: Option<Timestamp>,
    /// The person confirmed the account.
    pub account_chosen: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The login page.
    Login,
    /// The page that shows which account is signed in.
    SelectAccount,
    /// The consent page.
    Consent,
    /// A code, for this scope.
    Issue(ScopeSet),
    /// An error to the client.
    Refuse(Refusal),
}

/// Decides what a right request needs (OpenID Connect Core §3.1.2.3, §3.1.2.4).
///
/// `consented` is the scope on record that this person gave this client.
pub fn next_step(
    request: &AuthorizationRequest,
    client: &ClientMetadata,
    redirect: &ProvenRedirect,
    signed_in: Option<SignedIn>,
    consented: Option<&ScopeSet>,
    progress: Progress,
    now: Timestamp,
) -> Step {
    let silent = request.prompt.none;
    let interact = |code, description, step| {
        if silent { Step::Refuse(Refusal::new(code, description)) } else { step }
    };
    let Some(signed_in) = signed_in else {
        return interact(ErrorCode::LoginRequired, "The person is not signed in.", Step::Login);
    };
    // The login that was made for this very request satisfies it while the person goes on, and not for ever: whoever
    // finds the page open later authenticates anew.
    let window = request.max_age.unwrap_or_default().max(LOGIN_COUNTS_FOR);
    let authenticated_for_this = progress.login_shown_at.is_some_and(|shown| signed_in.auth_time >= shown)
        && now < signed_in.auth_time.plus_seconds(window);
    // Core §3.1.2.1: prompt=login asks for a new authentication, whatever session there is.
    if request.prompt.login && !authenticated_for_this {
        return Step::Login;
    }
    // Core §3.1.2.1: max_age. An age of zero is prompt=login by another name; a login just made for this counts.
    if let Some(max_age) = request.max_age
        && now >= signed_in.auth_time.plus_seconds(max_age)
        && !authenticated_for_this
    {
        return interact(ErrorCode::LoginRequired, "The authentication is older than max_age.", Step::Login);
    }
    // Core §3.1.2.1: id_token_hint names another person than the one who is signed in.
    if signed_in.is_hinted == Some(false) {
        if authenticated_for_this {
            return Step::Refuse(Refusal::new(ErrorCode::LoginRequired, "Another person signed in than was expected."));
        }
        return interact(ErrorCode::LoginRequired, "Another person is signed in.", Step::Login);
    }
    if request.prompt.select_account && !progress.account_chosen && !authenticated_for_this {
        return Step::SelectAccount;
    }
    // RFC 8252 §8.6, protocol decision 8: what is remembered doesn't speak for a client that anybody could be.
    let unproven = redirect.is_unproven_native()
        && client.client_type == crate::client_metadata::ClientType::Public
        && !client.trusted_native;
    // Requirement AZ-8: the operator's own clients ask nothing, but for offline_access (Core §11, protocol decision 12).
    let asks_nothing = client.first_party && !request.prompt.consent;
    if asks_nothing && !request.scope.contains(OFFLINE_ACCESS) {
        return Step::Issue(request.scope.clone());
    }
    let remembered = !unproven && !request.prompt.consent;
    let nothing = ScopeSet::default();
    let consented = if remembered { consented.unwrap_or(&nothing) } else { &nothing };
    let covered = match asks_nothing {
        true => consented.contains(OFFLINE_ACCESS),
        false => consented_for(&request.scope, consented),
    };
    if remembered && covered {
        return Step::Issue(request.scope.clone());
    }
    if silent {
        // Protocol decision 12: only prompt=none loses the scope; everything else still needs consent.
        let without = request.scope.filter(|token| token != OFFLINE_ACCESS);
        if !without.is_empty() && (asks_nothing || (remembered && consented_for(&without, consented))) {
            return Step::Issue(without);
        }
        return Step::Refuse(Refusal::new(ErrorCode::ConsentRequired, "The person has not consented."));
    }
    Step::Consent
}

/// Whether consent on record covers what is asked; an empty record covers nothing.
fn consented_for(asked: &ScopeSet, consented: &ScopeSet) -> bool {
    !consented.is_empty() && asked.is_subset_of(consented)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_metadata::ClientType;

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

    fn step(extra: &str, signed_in: Option<SignedIn>, consented: Option<&str>, progress: Progress) -> Step {
        let client = client();
        let redirect = ProvenRedirect::prove(&client, Some("https://shop.example/cb"), true).unwrap();
        let consented = consented.map(|scope| ScopeSet::parse(scope).unwrap());
        let now = Timestamp::from_seconds(1000);
        next_step(&read(extra).unwrap(), &client, &redirect, signed_in, consented.as_ref(), progress, now)
    }

    fn person(auth_time: i64) -> Option<SignedIn> {
        Some(SignedIn { auth_time: Timestamp::from_seconds(auth_time), is_hinted: None })
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
    fn nobody_signed_in() {
        assert_eq!(step("", None, None, Progress::default()), Step::Login);
        let Step::Refuse(refusal) = step("&prompt=none", None, None, Progress::default()) else { panic!() };
        assert_eq!(refusal.code, ErrorCode::LoginRequired);
    }

    #[test]
    fn prompt_login_and_max_age_want_a_new_authentication() {
        let all = Some("openid profile");
        let shown = Progress { login_shown_at: Some(Timestamp::from_seconds(990)), account_chosen: false };
        for extra in ["&prompt=login", "&max_age=5", "&max_age=0"] {
            assert_eq!(step(extra, person(900), all, Progress::default()), Step::Login, "{extra}");
            assert_eq!(step(extra, person(900), all, shown), Step::Login, "{extra}: an older login is not it");
            assert!(matches!(step(extra, person(990), all, shown), Step::Issue(_)), "{extra}");
        }
        assert!(matches!(step("&max_age=200", person(900), all, Progress::default()), Step::Issue(_)));
        let Step::Refuse(refusal) = step("&max_age=5&prompt=none", person(900), all, Progress::default()) else {
            panic!()
        };
        assert_eq!(refusal.code, ErrorCode::LoginRequired);
    }

    #[test]
    fn consent_is_remembered_by_scope() {
        assert_eq!(step("", person(900), None, Progress::default()), Step::Consent);
        assert_eq!(step("", person(900), Some("openid"), Progress::default()), Step::Consent);
        assert!(matches!(step("", person(900), Some("openid profile"), Progress::default()), Step::Issue(_)));
        assert_eq!(step("&prompt=consent", person(900), Some("openid profile"), Progress::default()), Step::Consent);
        let Step::Refuse(refusal) = step("&prompt=none", person(900), None, Progress::default()) else { panic!() };
        assert_eq!(refusal.code, ErrorCode::ConsentRequired);
    }

    #[test]
    fn only_a_silent_request_loses_offline_access() {
        let client = client();
        let redirect = ProvenRedirect::prove(&client, Some("https://shop.example/cb"), true).unwrap();
        let consented = ScopeSet::parse("openid").unwrap();
        let ask = |extra: &str| {
            let text = format!(
                "response_type=code&scope=openid+offline_access&code_challenge={CHALLENGE}\
                 &code_challenge_method=S256{extra}"
            );
            let request = validate(&Parameters::parse(&text).unwrap(), &client, |_| true, |_| true).unwrap();
            let now = Timestamp::from_seconds(1000);
            next_step(&request, &client, &redirect, person(900), Some(&consented), Progress::default(), now)
        };
        assert_eq!(ask(""), Step::Consent);
        assert_eq!(ask("&prompt=none"), Step::Issue(ScopeSet::parse("openid").unwrap()));
    }

    #[test]
    fn first_party_clients_ask_for_offline_access_alone() {
        let client = ClientMetadata { first_party: true, ..client() };
        let redirect = ProvenRedirect::prove(&client, Some("https://shop.example/cb"), true).unwrap();
        let ask = |scope: &str, extra: &str, consented: Option<&str>| {
            let text = format!(
                "response_type=code&scope={scope}&code_challenge={CHALLENGE}&code_challenge_method=S256{extra}"
            );
            let request = validate(&Parameters::parse(&text).unwrap(), &client, |_| true, |_| true).unwrap();
            let consented = consented.map(|scope| ScopeSet::parse(scope).unwrap());
            let now = Timestamp::from_seconds(1000);
            next_step(&request, &client, &redirect, person(900), consented.as_ref(), Progress::default(), now)
        };
        assert!(matches!(ask("openid+profile", "", None), Step::Issue(_)));
        assert_eq!(ask("openid+profile", "&prompt=consent", None), Step::Consent);
        assert_eq!(ask("openid+offline_access", "", None), Step::Consent);
        assert!(matches!(ask("openid+offline_access", "", Some("offline_access")), Step::Issue(_)));
        let silent = ask("openid+offline_access", "&prompt=none", None);
        assert_eq!(silent, Step::Issue(ScopeSet::parse("openid").unwrap()));
    }

    #[test]
    fn a_login_made_for_the_request_counts_for_minutes_and_not_for_ever() {
        let all = Some("openid profile");
        let shown = Progress { login_shown_at: Some(Timestamp::from_seconds(600)), account_chosen: false };
        assert!(matches!(step("&prompt=login", person(701), all, shown), Step::Issue(_)));
        assert_eq!(step("&prompt=login", person(700), all, shown), Step::Login);
        assert_eq!(step("&max_age=60", person(700), all, shown), Step::Login);
    }

    #[test]
    fn select_account_and_hint() {
        let all = Some("openid profile");
        assert_eq!(step("&prompt=select_account", person(900), all, Progress::default()), Step::SelectAccount);
        let chosen = Progress { account_chosen: true, ..Progress::default() };
        assert!(matches!(step("&prompt=select_account", person(900), all, chosen), Step::Issue(_)));
        let other = Some(SignedIn { auth_time: Timestamp::from_seconds(900), is_hinted: Some(false) });
        assert_eq!(step("", other, all, Progress::default()), Step::Login);
        assert!(matches!(step("&prompt=none", other, all, Progress::default()), Step::Refuse(_)));
    }

    #[test]
    fn a_loopback_client_is_asked_each_time() {
        let mut client = ClientMetadata {
            client_type: ClientType::Public,
            redirect_uris: vec!["http://127.0.0.1/cb".into()],
            ..client()
        };
        let redirect = ProvenRedirect::prove(&client, Some("http://127.0.0.1:9/cb"), true).unwrap();
        let all = ScopeSet::parse("openid profile").unwrap();
        let now = Timestamp::from_seconds(1000);
        let decide = |client: &ClientMetadata, extra: &str| {
            let request = read(extra).unwrap();
            next_step(&request, client, &redirect, person(900), Some(&all), Progress::default(), now)
        };
        assert_eq!(decide(&client, ""), Step::Consent);
        let Step::Refuse(refusal) = decide(&client, "&prompt=none") else { panic!() };
        assert_eq!(refusal.code, ErrorCode::ConsentRequired);
        client.trusted_native = true;
        assert!(matches!(decide(&client, ""), Step::Issue(_)));
    }
}
