//! What people see: one typed context a page, each filled in by a handler and rendered by its template.
//!
//! A context holds values and decides nothing. Its template escapes every value; words come from [`Texts`]; no page has an
//! inline style or handler, and only [`FormPostPage`] has a script, whose hash the Content Security Policy allows. This
//! room leaves out headers, cookies and what the forms' answers mean.

mod change_password;
mod consent;
mod end_session;
mod error;
mod form_post;
mod home;
mod login;
mod select_account;
mod setup;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use change_password::ChangePasswordPage;
pub use consent::{ConsentClaim, ConsentPage, ConsentScope};
pub use end_session::{EndSessionPage, SignedOutPage};
pub use error::{ErrorKind, ErrorPage};
pub use form_post::FormPostPage;
pub use home::{ConnectedApp, HomeNotice, HomePage};
pub use login::{LoginNotice, LoginPage};
pub use select_account::SelectAccountPage;
pub use setup::{SetupPage, SetupState};

use keyward_protocol::display::Display;

use crate::locale::Texts;

/// What every page has.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The words, in the language of this request.
    pub texts: Texts,
    /// The path of the issuer, such as `/auth`, or nothing; without a slash at its end. It goes before every path.
    pub base: &'a str,
    /// The id of this request, which an error page shows.
    pub request_id: &'a str,
    /// The name of the account that is signed in.
    pub signed_in_as: Option<&'a str>,
    /// In what kind of window it is shown.
    pub display: Display,
}

impl Frame<'_> {
    /// The same in another kind of window (OpenID Connect Core §3.1.2.1, `display`).
    #[must_use]
    pub fn in_window(self, display: Display) -> Self {
        Self { display, ..self }
    }
}

/// The letter that stands for a name in its badge: the first letter or digit, as a capital where there is one.
fn initial(name: &str) -> String {
    name.chars().find(|c| c.is_alphanumeric()).map_or_else(|| "•".to_owned(), |c| c.to_uppercase().collect())
}

/// `uri` if it is an address of the web, for a link that somebody else registered. Registration refuses others; this is
/// the second lock, because no escaping makes `javascript:` harmless in a link.
fn web_link(uri: Option<&str>) -> Option<&str> {
    uri.filter(
        |uri| matches!(scheme(uri), Some(scheme) if ["https", "http"].iter().any(|s| scheme.eq_ignore_ascii_case(s))),
    )
}

/// The scheme of an absolute URI (RFC 3986 §3.1). Browsers skip blanks and control characters before and inside a
/// scheme, so a URI that has any gives nothing.
fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let starts_well = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let goes_on_well = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (starts_well && goes_on_well && !uri.contains(|c: char| c.is_control() || c == ' ')).then_some(scheme)
}
