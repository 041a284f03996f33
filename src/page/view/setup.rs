//! The first account of a new server, made through a link that the server prints once. It leaves out which passwords are
//! good enough: the handler passes what is wrong, in words.

use askama::Template;

use super::Frame;

/// The page of the first account. Its form goes to `{base}/setup` with `token`, `csrf`, `username`, `email` (may be empty),
/// `password`, `password_again`.
#[derive(Clone, Debug, Template)]
#[template(path = "setup.html")]
pub struct SetupPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The secret of the link; hidden field `token`.
    pub token: &'a str,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
    /// The login name to fill in, or nothing.
    pub username: &'a str,
    /// The e-mail address to fill in, or nothing.
    pub email: &'a str,
    /// What was wrong with the last answer, each a whole sentence in the page's language.
    pub problems: Vec<String>,
    /// Whether there is still something to do.
    pub state: SetupState,
}

/// What became of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupState {
    /// The first account can be made.
    Open,
    /// The link is too old.
    Expired,
    /// The first account exists.
    Done,
}
