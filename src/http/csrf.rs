//! Forms that only our own pages can send (requirement WB-2): a token bound to a cookie of the browser, beside
//! `SameSite` and the check of where the request comes from.

use axum::response::Response;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::header::{self, HeaderName};

use super::Incoming;
use super::session_cookie::{cookie_name, set_cookie};
use crate::app::App;
use crate::fault::Fault;

/// The token for the forms of one answer, and the cookie that goes with it where the browser has none.
#[derive(Debug)]
pub struct FormToken {
    /// The hidden field's value.
    pub token: String,
    /// What stands for this browser in a request that waits.
    pub browser: String,
    new_cookie: Option<String>,
}

/// What is wrong with a posted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormProblem {
    /// Another site sent it.
    ForeignOrigin,
    /// The browser sent no cookie of ours with it.
    NoCookie,
    /// The token is missing or belongs to another cookie.
    WrongToken,
}

impl FormToken {
    /// The token for this browser.
    ///
    /// # Errors
    /// Where there is no chance to be had.
    pub fn issue(app: &App, incoming: &Incoming) -> Result<Self, Fault> {
        match form_cookie(app, incoming) {
            Some(cookie) => Ok(Self { token: token(app, cookie), browser: browser(app, cookie), new_cookie: None }),
            None => {
                let cookie = app.random.secret()?;
                Ok(Self { token: token(app, &cookie), browser: browser(app, &cookie), new_cookie: Some(cookie) })
            }
        }
    }

    /// Gives the browser the cookie, where it has none.
    pub fn apply(&self, app: &App, response: &mut Response) {
        if let Some(cookie) = &self.new_cookie
            && let Some(value) = set_cookie(&app.settings, "form", cookie, None)
        {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

fn token(app: &App, cookie: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(app.secrets.csrf.hash(cookie.as_bytes()))
}

/// Another hash than the token, for it travels in addresses. A cookie has 43 octets: none is taken for this text.
fn browser(app: &App, cookie: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(app.secrets.csrf.hash(format!("pending|{cookie}").as_bytes()))
}

/// The cookie that forms are bound to, where the browser sent one of ours.
pub fn form_cookie<'a>(app: &App, incoming: &'a Incoming) -> Option<&'a str> {
    incoming.cookie(&cookie_name(&app.settings, "form")).filter(|cookie| cookie.len() == 43)
}

/// What stands for the browser that sent this request, as in [`FormToken::browser`].
pub fn this_browser(app: &App, incoming: &Incoming) -> Option<String> {
    form_cookie(app, incoming).map(|cookie| browser(app, cookie))
}

/// Whether a posted form comes from one of our own pages in this browser.
///
/// # Errors
/// What is wrong.
pub fn check(app: &App, incoming: &Incoming, presented: Option<&str>) -> Result<(), FormProblem> {
    if !same_origin(app, incoming) {
        return Err(FormProblem::ForeignOrigin);
    }
    let cookie = form_cookie(app, incoming).ok_or(FormProblem::NoCookie)?;
    let presented =
        presented.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok()).ok_or(FormProblem::WrongToken)?;
    if app.secrets.csrf.verify(cookie.as_bytes(), &presented) { Ok(()) } else { Err(FormProblem::WrongToken) }
}

/// What the browser itself says of the request's origin (Fetch Metadata, else Origin); browsers that say nothing are
/// left to cookie and token.
fn same_origin(app: &App, incoming: &Incoming) -> bool {
    match incoming.header(HeaderName::from_static("sec-fetch-site")) {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => incoming.header(header::ORIGIN).is_none_or(|origin| origin == app.settings.public_url.origin()),
    }
}
