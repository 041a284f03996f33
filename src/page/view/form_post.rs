//! The answer by form (OAuth 2.0 Form Post Response Mode §2): hidden fields that the page's one script sends on, and a
//! button for browsers without scripts. The handler allows script and target in the Content Security Policy.

use askama::Template;

use super::Frame;
use crate::assets::FORM_POST_SCRIPT;

/// The answer by form.
#[derive(Clone, Debug, Template)]
#[template(path = "form_post.html")]
pub struct FormPostPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The proven redirect URI.
    pub action: &'a str,
    /// The parameters of the answer, name and value.
    pub fields: Vec<(&'a str, &'a str)>,
}
