//! The person's own page: who they are here, which apps they let in, and the way out.

use askama::Template;

use super::Frame;

/// The person's own page. "Sign out" goes to `{base}/logout` with `csrf`; "Disconnect" to `{base}/apps/disconnect` with
/// `csrf` and `client_id`.
#[derive(Clone, Debug, Template)]
#[template(path = "home.html")]
pub struct HomePage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The person's name.
    pub name: &'a str,
    /// Their login name.
    pub login: &'a str,
    /// Their e-mail address.
    pub email: Option<&'a str>,
    /// The roles they hold.
    pub roles: Vec<String>,
    /// The groups they are in.
    pub groups: Vec<String>,
    /// The apps they let in.
    pub apps: Vec<ConnectedApp<'a>>,
    /// When this session began, in words.
    pub session_since: String,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
    /// What has just happened.
    pub notice: Option<HomeNotice>,
}

/// An app with access.
#[derive(Clone, Debug)]
pub struct ConnectedApp<'a> {
    /// Its client id; hidden field `client_id`.
    pub client_id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its host.
    pub host: Option<&'a str>,
    /// What it may do, in people's words.
    pub scopes: Vec<String>,
    /// Since when, in words.
    pub since: String,
}

/// What has just happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeNotice {
    /// An app has lost its access.
    AppDisconnected,
    /// The password is new.
    PasswordChanged,
}
