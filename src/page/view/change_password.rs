//! The page on which a person who is signed in chooses a new password. It leaves out which passwords are good enough: the
//! handler passes what is wrong, in words.

use askama::Template;

use super::Frame;

/// The page of a new password. Its form goes to `{base}/account/password` with `csrf`, `current`, `password`,
/// `password_again`.
#[derive(Clone, Debug, Template)]
#[template(path = "change_password.html")]
pub struct ChangePasswordPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
    /// The login name, for the browser's store of passwords.
    pub username: &'a str,
    /// What was wrong with the last answer, each a whole sentence in the page's language.
    pub problems: Vec<String>,
}
