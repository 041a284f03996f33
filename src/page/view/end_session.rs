//! The end of a session: the question, and the farewell (OpenID Connect RP-Initiated Logout §2 and §3). It leaves out when
//! the question may be skipped, and the frames of front-channel logout.

use askama::Template;

use super::Frame;

/// The question whether to sign out. Its form goes to `{base}/end_session/confirm` with `request`, `csrf` and `decision` =
/// `sign_out` or `stay`.
#[derive(Clone, Debug, Template)]
#[template(path = "end_session.html")]
pub struct EndSessionPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The app that asks for the sign-out, where it is known.
    pub client_name: Option<&'a str>,
    /// The name of the account that is signed in, where there is one.
    pub account: Option<&'a str>,
    /// The sealed request that waits for the decision; hidden field `request`.
    pub pending: &'a str,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
}

/// The farewell.
#[derive(Clone, Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOutPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The home page of the app that asked (`client_uri`, RFC 7591 §2), and its name.
    pub return_to: Option<(&'a str, &'a str)>,
}
