//! The authorization request: `authorization_request` beside `oxide_auth::code_grant::authorization` with their registrar
//! and their PKCE.

use std::borrow::Cow;

use keyward_protocol::Refusal;
use keyward_protocol::authorization_request::{answer_channel, validate};
use keyward_protocol::client_metadata::{ClientMetadata, ClientType, GrantType};
use keyward_protocol::parameters::Parameters;
use keyward_protocol::scope::ScopeSet;
use oxide_auth::code_grant::authorization::{Authorization, Error, Input, Output, Request};
use oxide_auth::code_grant::error::AuthorizationErrorType;
use oxide_auth::code_grant::extensions::Pkce;
use oxide_auth::primitives::grant::Extensions;
use oxide_auth::primitives::registrar::{Client, ClientMap, ClientUrl, ExactUrl, RegisteredUrl, Registrar};
use proptest::prelude::*;

use super::{Outcome, granted, ours, theirs};

const REDIRECT: &str = "https://shop.example/cb";
const ALLOWED: &str = "api read";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The parameters of a request, each absent or with one of a few values.
#[derive(Debug, Clone)]
struct Case {
    redirect: Option<&'static str>,
    response_type: Option<&'static str>,
    scope: Option<&'static str>,
    challenge: Option<&'static str>,
    method: Option<&'static str>,
    doubled: bool,
}

/// Why the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// RFC 6749 §3.3: what may be granted of the asked scope is granted; their registrar gives its default whatever is
    /// asked.
    ScopeOfTheRegistrar,
    /// RFC 6749 §4.1.2.1: a missing `response_type` is `invalid_request`; they say `unsupported_response_type`.
    ResponseTypeMissing,
    /// RFC 7636 §4.2: a challenge is 43 characters; they take anything.
    ChallengeMisshapen,
    /// RFC 6749 §3.1: a repeated parameter is told to the client once the redirect is proven; they show a page.
    Repeated,
}

impl Difference {
    const ALL: [Self; 4] =
        [Self::ScopeOfTheRegistrar, Self::ResponseTypeMissing, Self::ChallengeMisshapen, Self::Repeated];
}

fn our_outcome(case: &Case) -> Outcome {
    let client = ClientMetadata {
        client_name: "Shop".into(),
        client_type: ClientType::Public,
        redirect_uris: vec![REDIRECT.into()],
        grant_types: vec![GrantType::AuthorizationCode],
        scope: ScopeSet::parse(ALLOWED).unwrap(),
        default_scope: ScopeSet::parse(ALLOWED).unwrap(),
        ..ClientMetadata::default()
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", "shop");
    for (name, value) in [
        ("redirect_uri", case.redirect),
        ("response_type", case.response_type),
        ("scope", case.scope),
        ("code_challenge", case.challenge),
        ("code_challenge_method", case.method),
        ("state", case.doubled.then_some("a")),
        ("state", case.doubled.then_some("b")),
    ] {
        query.extend_pairs(value.map(|value| (name, value)));
    }
    let parameters = Parameters::parse(&query.finish()).unwrap();
    if answer_channel(&parameters, &client).is_err() {
        return Outcome::Page;
    }
    match validate(&parameters, &client, |_| true, |_| true) {
        Ok(request) => ours(&request.scope),
        Err(Refusal { code, .. }) => Outcome::Refused(code.as_str()),
    }
}

impl Request for Case {
    // Their front ends call a request with a repeated parameter malformed.
    fn valid(&self) -> bool {
        !self.doubled
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        Some("shop".into())
    }

    fn scope(&self) -> Option<Cow<'_, str>> {
        self.scope.map(Into::into)
    }

    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        self.redirect.map(Into::into)
    }

    fn state(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn response_type(&self) -> Option<Cow<'_, str>> {
        self.response_type.map(Into::into)
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        match key {
            "code_challenge" => self.challenge.map(Into::into),
            "code_challenge_method" => self.method.map(Into::into),
            _ => None,
        }
    }
}

fn their_outcome(case: &Case) -> Outcome {
    let mut registrar = ClientMap::new();
    let redirect = RegisteredUrl::Exact(REDIRECT.parse::<ExactUrl>().unwrap());
    registrar.register_client(Client::public("shop", redirect, ALLOWED.parse().unwrap()));
    let mut machine = Authorization::new(case);
    let mut input = Input::None;
    loop {
        input = match machine.advance(input) {
            Output::Bind { client_id, redirect_uri } => {
                let url = ClientUrl { client_id: client_id.into(), redirect_uri: redirect_uri.map(Cow::Owned) };
                match registrar.bound_redirect(url) {
                    Ok(bound_client) => Input::Bound { request: case, bound_client },
                    Err(_) => return Outcome::Page,
                }
            }
            Output::Extend => {
                let (method, challenge) = (case.extension("code_challenge_method"), case.extension("code_challenge"));
                match Pkce::required().challenge(method, challenge) {
                    Ok(_) => Input::Extended(Extensions::new()),
                    // As their endpoint answers it.
                    Err(()) => return Outcome::Refused("invalid_request"),
                }
            }
            Output::Negotiate { bound_client, scope } => {
                let pre_grant = registrar.negotiate(bound_client.clone(), scope).unwrap();
                Input::Negotiated { pre_grant, state: None }
            }
            Output::Ok { pre_grant, .. } => return theirs(&pre_grant.scope),
            Output::Err(Error::Ignore) => return Outcome::Page,
            Output::Err(Error::Redirect(mut url)) => {
                return Outcome::Refused(match url.description().kind() {
                    AuthorizationErrorType::InvalidRequest => "invalid_request",
                    AuthorizationErrorType::UnsupportedResponseType => "unsupported_response_type",
                    AuthorizationErrorType::InvalidScope => "invalid_scope",
                    other => panic!("an unknown code: {other:?}"),
                });
            }
            Output::Err(Error::PrimitiveError) => panic!("the machine was driven wrongly"),
        };
    }
}

fn explain(case: &Case) -> Option<Difference> {
    if case.doubled {
        return Some(Difference::Repeated);
    }
    if case.response_type.is_none() {
        return Some(Difference::ResponseTypeMissing);
    }
    if case.challenge.is_some_and(|challenge| challenge != CHALLENGE) {
        return Some(Difference::ChallengeMisshapen);
    }
    Some(Difference::ScopeOfTheRegistrar)
}

fn fits(difference: Difference, ours: &Outcome, theirs: &Outcome) -> bool {
    match difference {
        Difference::Repeated => *ours == Outcome::Refused("invalid_request") && *theirs == Outcome::Page,
        Difference::ResponseTypeMissing => {
            *ours == Outcome::Refused("invalid_request") && *theirs == Outcome::Refused("unsupported_response_type")
        }
        Difference::ChallengeMisshapen => {
            *ours == Outcome::Refused("invalid_request") && matches!(theirs, Outcome::Granted(_))
        }
        Difference::ScopeOfTheRegistrar => matches!(ours, Outcome::Granted(_)) && *theirs == granted(ALLOWED),
    }
}

fn judge(case: &Case) -> Result<Option<Difference>, String> {
    let (ours, theirs) = (our_outcome(case), their_outcome(case));
    if ours == theirs {
        return Ok(None);
    }
    match explain(case) {
        Some(difference) if fits(difference, &ours, &theirs) => Ok(Some(difference)),
        named => Err(format!("{case:?}: we say {ours:?}, they say {theirs:?}, and {named:?} doesn't explain it")),
    }
}

const REDIRECTS: [Option<&str>; 5] =
    [Some(REDIRECT), None, Some("https://shop.example/other"), Some("HTTPS://shop.example/cb"), Some("not a uri")];
const RESPONSE_TYPES: [Option<&str>; 4] = [Some("code"), None, Some("token"), Some("Code")];
const SCOPES: [Option<&str>; 6] = [Some("api"), None, Some("read api"), Some("api admin"), Some("admin"), Some("a\"b")];
const CHALLENGES: [Option<&str>; 3] = [Some(CHALLENGE), None, Some("short")];
const METHODS: [Option<&str>; 4] = [Some("S256"), None, Some("plain"), Some("S512")];

fn cases() -> impl Strategy<Value = Case> {
    let one_of = |values: &'static [Option<&'static str>]| prop::sample::select(values);
    let doubled = prop::bool::weighted(0.1);
    (one_of(&REDIRECTS), one_of(&RESPONSE_TYPES), one_of(&SCOPES), one_of(&CHALLENGES), one_of(&METHODS), doubled)
        .prop_map(|(redirect, response_type, scope, challenge, method, doubled)| Case {
            redirect,
            response_type,
            scope,
            challenge,
            method,
            doubled,
        })
}

proptest! {
    #[test]
    fn every_difference_has_a_name(case in cases()) {
        judge(&case).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn every_name_stands_for_a_difference_and_nothing_else_differs() {
    let mut seen = Vec::new();
    for (redirect, response_type) in REDIRECTS.into_iter().flat_map(|one| RESPONSE_TYPES.map(|other| (one, other))) {
        for (scope, challenge) in SCOPES.into_iter().flat_map(|one| CHALLENGES.map(|other| (one, other))) {
            for (method, doubled) in METHODS.into_iter().flat_map(|method| [(method, false), (method, true)]) {
                let case = Case { redirect, response_type, scope, challenge, method, doubled };
                seen.extend(judge(&case).unwrap());
            }
        }
    }
    for difference in Difference::ALL {
        assert!(seen.contains(&difference), "{difference:?} doesn't exist any more");
    }
}
