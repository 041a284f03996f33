//! Scopes (RFC 6749 §3.3) and what a request is granted of what it asks for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::refusal::{ErrorCode, Refusal};

/// A set of scope tokens that keeps the order in which they were named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScopeSet(Vec<String>);

impl ScopeSet {
    /// Parses a space-delimited list.
    ///
    /// # Errors
    /// `invalid_scope` where a token has a character that RFC 6749 §3.3 forbids.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut scopes = Self::default();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
            if !token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
                return Err(Refusal::new(ErrorCode::InvalidScope, "The scope has a character that is not allowed."));
            }
            scopes.insert(token);
        }
        Ok(scopes)
    }

    /// Adds a token if it isn't there.
    pub fn insert(&mut self, token: &str) {
        if !self.contains(token) {
            self.0.push(token.to_owned());
        }
    }

    /// Whether the token is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|scope| scope == token)
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every token of this set is in the other.
    pub fn is_subset_of(&self, other: &ScopeSet) -> bool {
        self.0.iter().all(|scope| other.contains(scope))
    }

    /// The tokens that fulfil the condition.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> ScopeSet {
        ScopeSet(self.0.iter().filter(|scope| keep(scope)).cloned().collect())
    }

    /// The tokens of both.
    #[must_use]
    pub fn union(&self, other: &ScopeSet) -> ScopeSet {
        let mut all = self.clone();
        for scope in other.iter() {
            all.insert(scope);
        }
        all
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl TryFrom<String> for ScopeSet {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<ScopeSet> for String {
    fn from(scopes: ScopeSet) -> String {
        scopes.to_string()
    }
}

/// RFC 6749 §3.3: which scopes a request gets. Unknown scopes, and those that the client may not have, are dropped; an
/// empty result takes the client's default; none left is `invalid_scope`.
///
/// # Errors
/// `invalid_scope` where nothing is left.
pub fn grantable(asked: &ScopeSet, allowed: &ScopeSet, default: &ScopeSet) -> Result<ScopeSet, Refusal> {
    let granted = asked.filter(|scope| allowed.contains(scope));
    let granted = if granted.is_empty() { default.filter(|scope| allowed.contains(scope)) } else { granted };
    if granted.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidScope, "None of the scopes can be granted to this client."));
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).unwrap()
    }

    #[test]
    fn order_is_kept_and_doubles_fall() {
        assert_eq!(set("b a  b").to_string(), "b a");
    }

    #[test]
    fn forbidden_characters_are_refused() {
        for bad in ["a\"b", "a\\b", "a\tb", "é", "a\u{7f}"] {
            assert_eq!(ScopeSet::parse(bad).unwrap_err().code, ErrorCode::InvalidScope);
        }
    }

    #[test]
    fn unknown_is_dropped_and_nothing_left_takes_the_default() {
        let allowed = set("openid profile api");
        assert_eq!(grantable(&set("openid admin"), &allowed, &set("api")).unwrap().to_string(), "openid");
        assert_eq!(grantable(&set("admin"), &allowed, &set("api")).unwrap().to_string(), "api");
        assert!(grantable(&set("admin"), &allowed, &set("")).is_err());
    }
}
