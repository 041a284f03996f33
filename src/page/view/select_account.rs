//! The account choice (`prompt=select_account`, OpenID Connect Core §3.1.2.1). One browser has one session, so the choice is
//! between its account and another sign-in.

use askama::Template;

use super::Frame;

/// The account choice. Its form goes to `{base}/select` with `request`, `csrf` and `choice` = `current` or `other`.
#[derive(Clone, Debug, Template)]
#[template(path = "select_account.html")]
pub struct SelectAccountPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The name of the app that asks.
    pub client_name: &'a str,
    /// The name of the person whose session this is.
    pub account_name: &'a str,
    /// Their login name.
    pub account_login: &'a str,
    /// The sealed request that waits for the choice; hidden field `request`.
    pub pending: &'a str,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
}
