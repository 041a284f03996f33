//! What people see: one file a page, each with one typed context in `view`.

pub mod asset;
pub mod change_password;
pub mod consent;
pub mod home;
pub mod login;
pub mod select_account;
pub mod setup;
pub mod view;

use keyward_protocol::Refusal;
use keyward_protocol::parameters::Parameters;

use crate::account::password::{PasswordProblem, judge};
use crate::app::App;
use crate::http::Incoming;
use crate::http::csrf::{self, FormProblem};
use crate::http::page::PageFailure;
use crate::locale::Texts;
use view::ErrorKind;

/// The form that a page of ours posted.
///
/// # Errors
/// A page, where the form is malformed.
pub fn posted(incoming: &Incoming) -> Result<Parameters, PageFailure> {
    let explain = |refusal: Refusal| PageFailure::Explained(ErrorKind::BadRequest, Some(refusal));
    let form = incoming.form().map_err(explain)?;
    form.refuse_repeated().map_err(explain)?;
    Ok(form)
}

/// The host of an address, with its port where that isn't the scheme's own: on one machine it tells apps apart.
fn host_of(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// What is wrong with a chosen password that was typed twice, each a sentence in the page's language.
fn new_password_problems(app: &App, texts: &Texts, login_key: &str, password: &str, again: &str) -> Vec<String> {
    let mut problems = Vec::new();
    match judge(&app.settings.passwords, password, login_key) {
        Some(PasswordProblem::TooShort) => {
            let least = app.settings.passwords.min_length.to_string();
            problems.push(texts.with("password-too-short", &[("min", &least)]));
        }
        Some(PasswordProblem::TooLong) => problems.push(texts.get("password-too-long")),
        Some(PasswordProblem::SameAsName) => problems.push(texts.get("password-same-as-name")),
        None => {}
    }
    if password != again {
        problems.push(texts.get("passwords-differ"));
    }
    problems
}

/// Whether the form comes from a page of ours in this browser; `false` where it is stale and may be shown again.
///
/// # Errors
/// A page, where another site sent it.
pub fn is_fresh(app: &App, incoming: &Incoming, form: &Parameters) -> Result<bool, PageFailure> {
    match csrf::check(app, incoming, form.get("csrf")) {
        Ok(()) => Ok(true),
        Err(FormProblem::ForeignOrigin) => Err(ErrorKind::ForbiddenOrigin.into()),
        Err(FormProblem::NoCookie | FormProblem::WrongToken) => Ok(false),
    }
}
