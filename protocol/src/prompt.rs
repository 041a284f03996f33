//! The `prompt` parameter (OpenID Connect Core §3.1.2.1).

use crate::refusal::{ErrorCode, Refusal};

/// What the client wants shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Nothing may be shown.
    pub none: bool,
    /// The user is to authenticate again.
    pub login: bool,
    /// The user is to be asked for consent again.
    pub consent: bool,
    /// The user is to choose the account.
    pub select_account: bool,
}

impl Prompt {
    /// Reads the parameter's value.
    ///
    /// # Errors
    /// `invalid_request` for an unknown value, and for `none` beside another (OpenID Connect Core §3.1.2.1).
    pub fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let mut prompt = Self::default();
        for value in text.unwrap_or_default().split(' ').filter(|value| !value.is_empty()) {
            match value {
                "none" => prompt.none = true,
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                "select_account" => prompt.select_account = true,
                _ => return Err(Refusal::new(ErrorCode::InvalidRequest, "The prompt has an unknown value.")),
            }
        }
        if prompt.none && (prompt.login || prompt.consent || prompt.select_account) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "The prompt none stands alone."));
        }
        Ok(prompt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_stands_alone_and_unknown_values_are_refused() {
        assert!(Prompt::parse(Some("none")).unwrap().none);
        assert!(Prompt::parse(Some("none login")).is_err());
        assert!(Prompt::parse(Some("Login")).is_err());
        let both = Prompt::parse(Some("login consent")).unwrap();
        assert!(both.login && both.consent && !both.none);
    }
}
