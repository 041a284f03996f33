//! Who may see what of a token (RFC 7662 §2.1, §4; requirement TK-6).

use crate::client_metadata::ClientMetadata;

/// RFC 9701 §4, §5: the media type of signed answers.
pub const MEDIA_TYPE: &str = "application/token-introspection+jwt";

/// Whether a caller may learn of an access token with this audience and client: the resource servers that it is meant
/// for, and the client that holds it. Everybody else is told that it isn't active (RFC 7662 §2.2).
pub fn may_see_access_token(
    caller: &ClientMetadata,
    caller_id: &str,
    token_client_id: &str,
    audience: &[String],
) -> bool {
    caller_id == token_client_id || audience.iter().any(|audience| caller.audiences.iter().any(|own| own == audience))
}

/// Protocol decision 35: refresh tokens only for their own client.
pub fn may_see_refresh_token(caller_id: &str, token_client_id: &str) -> bool {
    caller_id == token_client_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_sees_only_what_is_meant_for_it() {
        let api = ClientMetadata { audiences: vec!["https://api".into()], ..ClientMetadata::default() };
        assert!(may_see_access_token(&api, "api", "web", &["https://api".into()]));
        assert!(!may_see_access_token(&api, "api", "web", &["https://other".into()]));
        assert!(may_see_access_token(&ClientMetadata::default(), "web", "web", &["https://other".into()]));
        assert!(!may_see_refresh_token("api", "web"));
    }
}
