//! Response modes: how the answer travels to the redirect URI (OAuth 2.0 Multiple Response Type Encoding Practices §2.1,
//! OAuth 2.0 Form Post Response Mode). The JWT modes (JARM) aren't offered yet.

use crate::refusal::{ErrorCode, Refusal};

/// How the authorization response is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of the redirect URI: the default of the code flow.
    #[default]
    Query,
    /// In the fragment of the redirect URI.
    Fragment,
    /// As a form that the browser posts to the redirect URI.
    FormPost,
}

impl ResponseMode {
    /// Every mode, as discovery lists them.
    pub const ALL: [&'static str; 3] = ["query", "fragment", "form_post"];

    /// Reads the parameter's value.
    ///
    /// # Errors
    /// `invalid_request` for a mode that isn't offered.
    pub fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        match text {
            None | Some("query") => Ok(Self::Query),
            Some("fragment") => Ok(Self::Fragment),
            Some("form_post") => Ok(Self::FormPost),
            Some(_) => Err(Refusal::new(ErrorCode::InvalidRequest, "The response_mode is not supported.")),
        }
    }
}
