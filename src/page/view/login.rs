//! The login page: name and password (OpenID Connect Core §3.1.2.3). It leaves out passkeys and other factors.

use askama::Template;
use serde::{Deserialize, Serialize};

use super::Frame;

/// The login page. Its form goes to `{base}/login` with `request`, `csrf`, `username`, `password`, and with `action` =
/// `cancel` where the person gives up.
#[derive(Clone, Debug, Template)]
#[template(path = "login.html")]
pub struct LoginPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The app that asks for a sign-in; nothing when the person came by themselves. Only with an app can one cancel.
    pub client_name: Option<&'a str>,
    /// The host of that app, shown below its name.
    pub client_host: Option<&'a str>,
    /// The sealed request that waits for the sign-in; hidden field `request`.
    pub pending: &'a str,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
    /// The login name to fill in, or nothing.
    pub username: &'a str,
    /// What to say above the form.
    pub notice: Option<LoginNotice>,
}

/// Why the login page is shown (again).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginNotice {
    /// Name or password are wrong; the page doesn't say which.
    WrongCredentials,
    /// The form was too old or from another browser.
    StaleForm,
    /// The app or a protected page wants a fresh sign-in (`prompt=login`, `max_age`).
    Reauthenticate,
    /// The server checks as many passwords as it can.
    Busy,
}

impl LoginPage<'_> {
    /// WCAG 3.3.1: the fields are marked as wrong only where they are.
    fn is_wrong(&self) -> bool {
        self.notice == Some(LoginNotice::WrongCredentials)
    }
}
