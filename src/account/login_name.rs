//! User names: what may be one, and the key by which it is found (NFKC, case-folded: RFC 8265 in spirit).

use unicode_normalization::UnicodeNormalization;

/// Longest user name, in bytes after normalisation.
const MOST_BYTES: usize = 200;

/// The key of a name, or `None` where the text can't be a user name: empty, too long, or with control characters or
/// white space inside.
pub fn login_key(name: &str) -> Option<String> {
    if name.len() > 4 * MOST_BYTES {
        return None;
    }
    let key: String = name.trim().nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let usable = !key.is_empty()
        && key.len() <= MOST_BYTES
        && !key.chars().any(|character| character.is_control() || character.is_whitespace() || character == '\u{feff}');
    usable.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_name_have_one_key() {
        for form in ["ada", "ADA", " Ada ", "ａｄａ", "Ａda"] {
            assert_eq!(login_key(form).as_deref(), Some("ada"), "{form}");
        }
        assert_eq!(login_key("ÄRGER@example.org").as_deref(), Some("ärger@example.org"));
    }

    #[test]
    fn what_is_no_name() {
        for bad in ["", "  ", "a b", "a\u{0}b", "a\nb", &"x".repeat(201)] {
            assert_eq!(login_key(bad), None, "{bad:?}");
        }
    }
}
