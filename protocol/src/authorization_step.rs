//! What a right authorization request needs next (OpenID Connect Core §3.1.2.3, §3.1.2.4): a login, a confirmed account,
//! consent, or nothing more.

use crate::acr::{Acr, AcrVerdict};
use crate::authorization_request::{AuthorizationRequest, OFFLINE_ACCESS};
use crate::client_metadata::{ClientMetadata, ClientType};
use crate::consent::Consented;
use crate::redirect_uri::ProvenRedirect;
use crate::refusal::{ErrorCode, Refusal};
use crate::scope::ScopeSet;
use crate::timestamp::Timestamp;

/// Seconds for which a login made for a request satisfies its `prompt=login` and `max_age`, at the least.
const LOGIN_COUNTS_FOR: u64 = 300;

/// What is known of the person at the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIn {
    /// When the person last authenticated.
    pub auth_time: Timestamp,
    /// Whether the session's person is the one that `id_token_hint`, or a `sub` claim with a value, names; `None` where
    /// nobody is named.
    pub is_hinted: Option<bool>,
    /// How strongly.
    pub acr: Option<Acr>,
}

/// What the person already did for this very request, from the sealed state that travels with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// When the login page was first shown for this request: an authentication after this satisfies `prompt=login`.
    pub login_shown_at: Option<Timestamp>,
    /// The person confirmed the account.
    pub account_chosen: bool,
}

/// What is known at the moment of the decision.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The person at the browser.
    pub signed_in: Option<SignedIn>,
    /// What this person allowed this client before.
    pub consented: Option<&'a Consented>,
    /// What was done for this request.
    pub progress: Progress,
    /// The strongest class of authentication that this server can bring a person to.
    pub reachable: Acr,
    /// Now.
    pub now: Timestamp,
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
pub fn next_step(
    request: &AuthorizationRequest,
    client: &ClientMetadata,
    redirect: &ProvenRedirect,
    situation: &Situation<'_>,
) -> Step {
    const UNMET: Refusal = Refusal::new(
        ErrorCode::UnmetAuthenticationRequirements,
        "The person can't be authenticated as strongly as the request demands.",
    );
    let Situation { signed_in, consented, progress, reachable, now } = *situation;
    let silent = request.prompt.none;
    let interact = |code, description, step| {
        if silent { Step::Refuse(Refusal::new(code, description)) } else { step }
    };
    // OpenID Connect Core Error Code unmet_authentication_requirements §2: what no login here can meet isn't asked for.
    if request.acr.judge(signed_in.and_then(|person| person.acr), reachable, false) == AcrVerdict::Unmet {
        return Step::Refuse(UNMET);
    }
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
    // Core §3.1.2.1, §3.1.2.2: id_token_hint, or a sub claim with a value, names another person than who is signed in.
    if signed_in.is_hinted == Some(false) {
        if authenticated_for_this {
            return Step::Refuse(Refusal::new(ErrorCode::LoginRequired, "Another person signed in than was expected."));
        }
        return interact(ErrorCode::LoginRequired, "Another person is signed in.", Step::Login);
    }
    // Core §5.5.1.1, §3.1.2.1: a stronger authentication, where the one at hand isn't what was asked for.
    match request.acr.judge(signed_in.acr, reachable, authenticated_for_this) {
        AcrVerdict::Met(_) => {}
        AcrVerdict::StepUp if silent && !request.acr.is_essential() => {}
        AcrVerdict::StepUp => {
            return interact(ErrorCode::LoginRequired, "A stronger authentication is needed.", Step::Login);
        }
        AcrVerdict::Unmet => return Step::Refuse(UNMET),
    }
    if request.prompt.select_account && !progress.account_chosen && !authenticated_for_this {
        return Step::SelectAccount;
    }
    // RFC 8252 §8.6, protocol decision 8: what is remembered doesn't speak for a client that anybody could be.
    let unproven = redirect.is_unproven_native() && client.client_type == ClientType::Public && !client.trusted_native;
    // Requirement AZ-8: the operator's own clients ask nothing, but for offline_access (Core §11, protocol decision 12).
    let asks_nothing = client.first_party && !request.prompt.consent;
    if asks_nothing && !request.scope.contains(OFFLINE_ACCESS) {
        return Step::Issue(request.scope.clone());
    }
    let remembered = !unproven && !request.prompt.consent;
    let nothing = Consented::default();
    let consented = if remembered { consented.unwrap_or(&nothing) } else { &nothing };
    // Core §5.5, §3.1.2.4: claims that the scopes don't give are consented to as scopes are.
    let covered = match asks_nothing {
        true => consented.scope.contains(OFFLINE_ACCESS),
        false => consented.covers(&request.scope, &request.claims.beyond(&request.scope)),
    };
    if remembered && covered {
        return Step::Issue(request.scope.clone());
    }
    if silent {
        // Protocol decision 12: only prompt=none loses the scope; everything else still needs consent.
        let without = request.scope.filter(|token| token != OFFLINE_ACCESS);
        let beyond = request.claims.beyond(&without);
        if !without.is_empty() && (asks_nothing || (remembered && consented.covers(&without, &beyond))) {
            return Step::Issue(without);
        }
        return Step::Refuse(Refusal::new(ErrorCode::ConsentRequired, "The person has not consented."));
    }
    Step::Consent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization_request::validate;
    use crate::client_metadata::GrantType;
    use crate::parameters::Parameters;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client() -> ClientMetadata {
        ClientMetadata {
            client_name: "Shop".into(),
            redirect_uris: vec!["https://shop.example/cb".into()],
            grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
            scope: ScopeSet::parse("openid profile email offline_access").unwrap(),
            ..ClientMetadata::default()
        }
    }

    fn read(scope: &str, extra: &str) -> AuthorizationRequest {
        let text =
            format!("response_type=code&scope={scope}&code_challenge={CHALLENGE}&code_challenge_method=S256{extra}");
        validate(&Parameters::parse(&text).unwrap(), &client(), |_| true, |_| true).unwrap()
    }

    /// The step of this client's request, for what the person allowed before.
    fn decide(
        client: &ClientMetadata,
        request: &AuthorizationRequest,
        redirect: &str,
        signed_in: Option<SignedIn>,
        consented: Option<Consented>,
        progress: Progress,
    ) -> Step {
        let redirect = ProvenRedirect::prove(client, Some(redirect), true).unwrap();
        let now = Timestamp::from_seconds(1000);
        let situation =
            Situation { signed_in, consented: consented.as_ref(), progress, reachable: Acr::OneFactor, now };
        next_step(request, client, &redirect, &situation)
    }

    fn step(extra: &str, signed_in: Option<SignedIn>, consented: Option<&str>, progress: Progress) -> Step {
        let request = read("openid+profile", extra);
        decide(&client(), &request, "https://shop.example/cb", signed_in, consented.map(allowed), progress)
    }

    fn allowed(scope: &str) -> Consented {
        Consented { scope: ScopeSet::parse(scope).unwrap(), ..Consented::default() }
    }

    fn person(auth_time: i64) -> Option<SignedIn> {
        Some(SignedIn { auth_time: Timestamp::from_seconds(auth_time), is_hinted: None, acr: Some(Acr::OneFactor) })
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
        let ask = |extra: &str| {
            let request = read("openid+offline_access", extra);
            let consented = Some(allowed("openid"));
            decide(&client(), &request, "https://shop.example/cb", person(900), consented, Progress::default())
        };
        assert_eq!(ask(""), Step::Consent);
        assert_eq!(ask("&prompt=none"), Step::Issue(ScopeSet::parse("openid").unwrap()));
    }

    #[test]
    fn first_party_clients_ask_for_offline_access_alone() {
        let client = ClientMetadata { first_party: true, ..client() };
        let ask = |scope: &str, extra: &str, consented: Option<&str>| {
            let request = read(scope, extra);
            let consented = consented.map(allowed);
            decide(&client, &request, "https://shop.example/cb", person(900), consented, Progress::default())
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
        let other = Some(SignedIn { auth_time: Timestamp::from_seconds(900), is_hinted: Some(false), acr: None });
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
        let ask = |client: &ClientMetadata, extra: &str| {
            let (request, consented) = (read("openid+profile", extra), Some(allowed("openid profile")));
            decide(client, &request, "http://127.0.0.1:9/cb", person(900), consented, Progress::default())
        };
        assert_eq!(ask(&client, ""), Step::Consent);
        let Step::Refuse(refusal) = ask(&client, "&prompt=none") else { panic!() };
        assert_eq!(refusal.code, ErrorCode::ConsentRequired);
        client.trusted_native = true;
        assert!(matches!(ask(&client, ""), Step::Issue(_)));
    }

    #[test]
    fn claims_beyond_the_scopes_are_consented_to() {
        let claims = "&claims=%7B%22userinfo%22%3A%7B%22email%22%3Anull%2C%22name%22%3Anull%7D%7D";
        let ask = |extra: &str, consented: Consented| {
            let request = read("openid+profile", &format!("{claims}{extra}"));
            decide(&client(), &request, "https://shop.example/cb", person(900), Some(consented), Progress::default())
        };
        assert_eq!(ask("", allowed("openid profile")), Step::Consent, "the e-mail address was never allowed");
        let Step::Refuse(refusal) = ask("&prompt=none", allowed("openid profile")) else { panic!() };
        assert_eq!(refusal.code, ErrorCode::ConsentRequired);
        assert!(matches!(ask("", allowed("openid profile email")), Step::Issue(_)));
        let single = Consented { claims: ["email".to_owned()].into(), ..allowed("openid profile") };
        assert!(matches!(ask("", single), Step::Issue(_)));
    }

    #[test]
    fn a_class_that_no_login_reaches_is_refused_before_anybody_logs_in() {
        let acr = |class: &str| {
            format!(
                "&claims=%7B%22id_token%22%3A%7B%22acr%22%3A%7B%22essential%22%3Atrue%2C%22value%22%3A%22{class}%22%7D%7D%7D"
            )
        };
        for signed_in in [None, person(900)] {
            for extra in ["", "&prompt=none", "&prompt=login"] {
                let extra = format!("{}{extra}", acr("urn:keyward:acr:2"));
                let Step::Refuse(refusal) = step(&extra, signed_in, None, Progress::default()) else {
                    panic!("{extra}")
                };
                assert_eq!(refusal.code, ErrorCode::UnmetAuthenticationRequirements, "{extra}");
            }
        }
        let all = Some("openid profile");
        assert!(matches!(step(&acr("urn:keyward:acr:1"), person(900), all, Progress::default()), Step::Issue(_)));
        assert!(matches!(step("&acr_values=phr", person(900), all, Progress::default()), Step::Issue(_)));
    }

    #[test]
    fn a_class_that_can_be_reached_is_stepped_up_to_once() {
        let redirect = ProvenRedirect::prove(&client(), Some("https://shop.example/cb"), true).unwrap();
        let consented = allowed("openid profile");
        let ask = |extra: &str, acr, progress| {
            let signed_in = person(990).map(|person| SignedIn { acr, ..person });
            let now = Timestamp::from_seconds(1000);
            let situation =
                Situation { signed_in, consented: Some(&consented), progress, reachable: Acr::TwoFactors, now };
            next_step(&read("openid+profile", extra), &client(), &redirect, &situation)
        };
        let essential = "&claims=%7B%22id_token%22%3A%7B%22acr%22%3A%7B%22essential%22%3Atrue%2C%22value%22%3A%22urn:keyward:acr:2%22%7D%7D%7D";
        let (one, two) = (Some(Acr::OneFactor), Some(Acr::TwoFactors));
        let shown = Progress { login_shown_at: Some(Timestamp::from_seconds(980)), account_chosen: false };
        assert_eq!(ask(essential, one, Progress::default()), Step::Login);
        let Step::Refuse(refusal) = ask(essential, one, shown) else { panic!() };
        assert_eq!(refusal.code, ErrorCode::UnmetAuthenticationRequirements);
        assert!(matches!(ask(essential, two, shown), Step::Issue(_)));
        let Step::Refuse(refusal) = ask(&format!("{essential}&prompt=none"), one, Progress::default()) else {
            panic!()
        };
        assert_eq!(refusal.code, ErrorCode::LoginRequired);
        let wish = "&acr_values=urn:keyward:acr:2";
        assert_eq!(ask(wish, one, Progress::default()), Step::Login);
        assert!(matches!(ask(wish, one, shown), Step::Issue(_)), "it was tried");
        assert!(matches!(ask(&format!("{wish}&prompt=none"), one, Progress::default()), Step::Issue(_)));
    }
}
