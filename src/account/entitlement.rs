//! What may be the name of a role, a group, a permission or a scope, and the text that the consent page shows of one
//! (RFC 9068 §2.2.3.1 calls the first three entitlements).

use keyward_protocol::scope::ScopeSet;
use thiserror::Error;

/// Longest name, in bytes: names travel in tokens.
const MOST_NAME_BYTES: usize = 200;
/// Longest text, in characters.
const MOST_TEXT: usize = 1000;

/// Why a name or text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameProblem {
    /// For groups and permissions.
    #[error("a name has 1 to {MOST_NAME_BYTES} bytes, no control characters, and no blank at either end")]
    Name,
    /// For roles.
    #[error("a role's name has no slash: what is before one is the client whose role it is")]
    RoleSlash,
    /// For scopes.
    #[error("a scope's name has 1 to {MOST_NAME_BYTES} printable ASCII characters and no blank, quote or backslash")]
    Scope,
    /// For titles and descriptions.
    #[error("a text has at most {MOST_TEXT} characters, no control characters, and a title isn't empty")]
    Text,
}

/// Whether a group or a permission may have this name.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameProblem> {
    let usable =
        (1..=MOST_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control) && name.trim() == name;
    if usable { Ok(()) } else { Err(NameProblem::Name) }
}

/// Whether a role may have this name. A slash would make `CLIENT_ID/ROLE`, the way to write a client's role, ambiguous.
///
/// # Errors
/// What is wrong with it.
pub fn check_role_name(name: &str) -> Result<(), NameProblem> {
    check_name(name)?;
    if name.contains('/') { Err(NameProblem::RoleSlash) } else { Ok(()) }
}

/// Whether a scope may have this name: one scope-token (RFC 6749 §3.3).
///
/// # Errors
/// What is wrong with it.
pub fn check_scope_name(name: &str) -> Result<(), NameProblem> {
    let one_token = ScopeSet::parse(name).is_ok_and(|set| set.iter().eq([name]));
    if one_token && name.len() <= MOST_NAME_BYTES { Ok(()) } else { Err(NameProblem::Scope) }
}

/// Whether people may be shown this as the title of something.
///
/// # Errors
/// What is wrong with it.
pub fn check_title(text: &str) -> Result<(), NameProblem> {
    if text.trim().is_empty() { Err(NameProblem::Text) } else { check_description(text) }
}

/// Whether people may be shown this as a description.
///
/// # Errors
/// What is wrong with it.
pub fn check_description(text: &str) -> Result<(), NameProblem> {
    let usable = text.chars().count() <= MOST_TEXT && !text.chars().any(char::is_control);
    if usable { Ok(()) } else { Err(NameProblem::Text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["admin", "orders:read", "Customer service", "école"] {
            assert_eq!(check_role_name(good), Ok(()), "{good}");
        }
        for bad in ["", " admin", "admin ", "a\nb", "a\u{1b}[2J", &"x".repeat(201)] {
            assert_eq!(check_role_name(bad), Err(NameProblem::Name), "{bad:?}");
        }
        assert_eq!(check_role_name("shop/owner"), Err(NameProblem::RoleSlash));
        assert_eq!(check_name("/staff/night"), Ok(()));
    }

    #[test]
    fn scopes_are_one_token() {
        assert_eq!(check_scope_name("notes.read"), Ok(()));
        assert_eq!(check_scope_name("https://api.example/notes"), Ok(()));
        for bad in ["", "a b", " a", "a ", "a\"b", "a\\b", "é", &"x".repeat(201)] {
            assert_eq!(check_scope_name(bad), Err(NameProblem::Scope), "{bad:?}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(check_title("Read your notes"), Ok(()));
        assert_eq!(check_description(""), Ok(()));
        for bad in ["", "  ", "a\u{202}\u{7}", &"x".repeat(1001)] {
            assert_eq!(check_title(bad), Err(NameProblem::Text), "{bad:?}");
        }
    }
}
