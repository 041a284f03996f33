//! Quick looks into answers: enough to see that an answer is right, cheap enough for a hundred thousand a second.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text of the first member `name` with a string value without escapes, as tokens have them (RFC 6749 §5.1).
pub fn text_member<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let mut rest = text;
    loop {
        let at = rest.find(name)?;
        let quoted = rest.get(..at).is_some_and(|before| before.ends_with('"'));
        rest = rest.get(at + name.len()..)?;
        if !quoted {
            continue;
        }
        let Some(behind) = rest.strip_prefix('"').map(str::trim_start).and_then(|rest| rest.strip_prefix(':')) else {
            continue;
        };
        let value = behind.trim_start().strip_prefix('"')?;
        return value.split_once('"').map(|(value, _)| value);
    }
}

/// Whether `body` holds `part`.
pub fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// The algorithm in the header of a JSON Web Token (RFC 7515 §4.1.1), or nothing where it isn't one.
pub fn algorithm(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let header = parts.next()?;
    if parts.count() != 2 {
        return None;
    }
    let header: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    header.get("alg")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_whole_name() {
        let body = br#"{"my_access_token":"no","x":"access_token", "access_token" : "a.b.c","expires_in":300}"#;
        assert_eq!(text_member(body, "access_token"), Some("a.b.c"));
        assert_eq!(text_member(body, "expires_in"), None);
        assert_eq!(text_member(body, "id_token"), None);
        assert_eq!(text_member(br#"{"access_token":"cut"#, "access_token"), None);
    }

    #[test]
    fn algorithms_of_tokens() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#);
        assert_eq!(algorithm(&format!("{header}.e30.c2ln")).as_deref(), Some("ES256"));
        assert_eq!(algorithm("opaque"), None);
        assert_eq!(algorithm("a.b.c"), None);
    }
}
