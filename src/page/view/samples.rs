//! Every page with example values, for the tests of the templates.

use askama::Template;

use super::*;
use crate::locale::Locales;

/// A value that breaks out wherever it isn't escaped.
pub const HOSTILE: &str = "</script><script>alert(1)</script>'\"><img src=x onerror=alert(1)>&{{7*7}}";

/// Every page in every state that changes its shape, with a name for each. `name` stands for everything that people or
/// clients choose.
pub fn all(language: &str, name: &str) -> Vec<(&'static str, String)> {
    let texts = Locales::load().choose(&[language.to_owned()], None);
    let frame = |who| Frame {
        texts: texts.clone(),
        base: "/auth",
        request_id: "01JD7Y3M6V2QK8ZP4T9WXN5RBC",
        signed_in_as: who,
        display: Display::Page,
    };
    let client = if name.is_empty() { "Acme Notes" } else { name };
    let person = if name.is_empty() { "Ada Lovelace" } else { name };
    let login = if name.is_empty() { "ada@example.com" } else { name };
    let secret = if name.is_empty() { "c2VhbGVk" } else { name };
    let login_page = |client_name: Option<&'static str>, username, notice, display| {
        LoginPage {
            frame: frame(None).in_window(display),
            client_name: client_name.map(|_| client),
            client_host: client_name.map(|_| "notes.acme.example"),
            pending: secret,
            csrf: secret,
            username,
            notice,
        }
        .render()
        .unwrap()
    };
    let scopes = ["openid", "profile", "email", "offline_access", "notes:read"];
    let consent = |loopback_warning: bool, site| {
        ConsentPage {
            frame: frame(None),
            client_name: client,
            client_host: (!loopback_warning).then_some("notes.acme.example"),
            client_uri: site,
            policy_uri: site,
            tos_uri: site,
            redirect_host: if loopback_warning { "127.0.0.1" } else { "notes.acme.example" },
            account: login,
            scopes: scopes.iter().map(|scope| ConsentScope::describe(&texts, scope, None)).collect(),
            claims: ["phone_number", "shoe_size"].map(|claim| ConsentClaim::describe(&texts, claim)).into(),
            pending: secret,
            csrf: secret,
            loopback_warning,
        }
        .render()
        .unwrap()
    };
    let setup = |state, problems: Vec<String>| {
        SetupPage { frame: frame(None), token: secret, csrf: secret, username: login, email: login, problems, state }
            .render()
            .unwrap()
    };
    let change_password = |problems: Vec<String>| {
        ChangePasswordPage { frame: frame(Some(login)), csrf: secret, username: login, problems }.render().unwrap()
    };
    let home = |apps: Vec<ConnectedApp<'_>>, notice| {
        HomePage {
            frame: frame(Some(login)),
            name: person,
            login,
            email: Some(login),
            roles: vec!["Editor".to_owned(), if name.is_empty() { "Reviewer" } else { name }.to_owned()],
            groups: vec!["Analytical Engine".to_owned(), "Mathematics".to_owned()],
            apps,
            session_since: "21 November 2026, 09:14".to_owned(),
            csrf: secret,
            notice,
        }
        .render()
        .unwrap()
    };
    let app = |client_id, name, host| ConnectedApp {
        client_id,
        name,
        host,
        scopes: scopes.iter().take(3).map(|scope| ConsentScope::describe(&texts, scope, None).title).collect(),
        since: "3 October 2026".to_owned(),
    };
    let end_session = |client_name, account| {
        EndSessionPage { frame: frame(None), client_name, account, pending: secret, csrf: secret }.render().unwrap()
    };
    let signed_out = |return_to| SignedOutPage { frame: frame(None), return_to }.render().unwrap();
    let mut pages = vec![
        ("login", login_page(None, "", None, Display::Page)),
        ("login-client", login_page(Some(""), "", None, Display::Page)),
        ("login-popup", login_page(Some(""), "", None, Display::Popup)),
        ("login-touch", login_page(Some(""), "", None, Display::Touch)),
        ("login-wrong", login_page(Some(""), login, Some(LoginNotice::WrongCredentials), Display::Page)),
        ("login-stale", login_page(None, login, Some(LoginNotice::StaleForm), Display::Page)),
        ("login-again", login_page(Some(""), login, Some(LoginNotice::Reauthenticate), Display::Page)),
        ("login-busy", login_page(None, login, Some(LoginNotice::Busy), Display::Page)),
        ("consent", consent(false, Some("https://notes.acme.example/about?a=1&b=2"))),
        ("consent-loopback", consent(true, Some("javascript:alert(1)"))),
        (
            "select-account",
            SelectAccountPage {
                frame: frame(None),
                client_name: client,
                account_name: person,
                account_login: login,
                pending: secret,
                csrf: secret,
            }
            .render()
            .unwrap(),
        ),
        ("setup", setup(SetupState::Open, Vec::new())),
        (
            "setup-problems",
            setup(
                SetupState::Open,
                vec![texts.with("password-too-short", &[("min", "15")]), texts.get("passwords-differ")],
            ),
        ),
        ("setup-expired", setup(SetupState::Expired, Vec::new())),
        ("setup-done", setup(SetupState::Done, Vec::new())),
        (
            "home",
            home(
                vec![app("notes", client, Some("notes.acme.example")), app(secret, "Ledger CLI", None)],
                Some(HomeNotice::AppDisconnected),
            ),
        ),
        ("home-password", home(Vec::new(), Some(HomeNotice::PasswordChanged))),
        ("change-password", change_password(Vec::new())),
        ("change-password-stale", change_password(vec![texts.get("form-stale")])),
        ("change-password-problems", change_password(vec![texts.get("current-password-wrong")])),
        ("home-empty", home(Vec::new(), None)),
        ("end-session", end_session(Some(client), Some(login))),
        ("end-session-bare", end_session(None, None)),
        ("signed-out", signed_out(Some(("https://notes.acme.example/", client)))),
        ("signed-out-hostile", signed_out(Some(("javascript:alert(1)", client)))),
        (
            "error-redirect",
            ErrorPage { code: Some("invalid_request"), ..ErrorPage::of(ErrorKind::RedirectUri, frame(None)) }
                .render()
                .unwrap(),
        ),
        (
            "form-post",
            FormPostPage {
                frame: frame(None),
                action: "https://notes.acme.example/callback?x=1&y=2",
                fields: vec![("code", secret), ("state", login)],
            }
            .render()
            .unwrap(),
        ),
    ];
    pages.extend(ErrorKind::ALL.map(|kind| (kind.text_id(), ErrorPage::of(kind, frame(None)).render().unwrap())));
    pages
}
