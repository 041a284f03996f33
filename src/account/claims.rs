//! Changing what is known about a person, claim by claim, by the names of OpenID Connect Core §5.1.

use keyward_protocol::claims::{Address, StandardClaims};
use serde_json::Value;
use thiserror::Error;

/// Longest value of a claim, in bytes: claims travel in tokens.
const MOST_BYTES: usize = 2000;

/// Claims that are true or false.
const FLAGS: [&str; 2] = ["email_verified", "phone_number_verified"];

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimProblem {
    /// No standard claim has this name.
    #[error("{0} is no standard claim that can be set")]
    Unknown(String),
    /// The claim is true or false.
    #[error("{0} is true or false")]
    NotAFlag(String),
    /// The value is longer than [`MOST_BYTES`] or has control characters.
    #[error("{0} is longer than {MOST_BYTES} bytes or has control characters")]
    Unusable(String),
}

/// Makes the changes: pairs of a claim's name and its new text, where an empty text removes the claim. Parts of the
/// address are named `address.locality` and so on. A new e-mail address or telephone number counts as unverified
/// unless the same changes say otherwise, for what was verified is the old one.
///
/// # Errors
/// The first change that can't be made.
pub fn change(claims: &StandardClaims, changes: &[(String, String)]) -> Result<StandardClaims, ClaimProblem> {
    let mut changed = claims.clone();
    for (name, text) in changes {
        let value = value_of(name, text)?;
        let unknown = || ClaimProblem::Unknown(name.clone());
        match name.strip_prefix("address.") {
            Some(part) => {
                let address: Address = with(changed.address.unwrap_or_default(), part, value).ok_or_else(unknown)?;
                changed.address = (address != Address::default()).then_some(address);
            }
            // The address is an object, which has no text.
            None if name == "address" => return Err(unknown()),
            None => changed = with(changed, name, value).ok_or_else(unknown)?,
        }
    }
    let named = |claim: &str| changes.iter().any(|(name, _)| name == claim);
    if changed.email != claims.email && !named("email_verified") {
        changed.email_verified = false;
    }
    if changed.phone_number != claims.phone_number && !named("phone_number_verified") {
        changed.phone_number_verified = false;
    }
    Ok(changed)
}

fn value_of(name: &str, text: &str) -> Result<Value, ClaimProblem> {
    if FLAGS.contains(&name) {
        return match text {
            "true" => Ok(Value::Bool(true)),
            "false" | "" => Ok(Value::Bool(false)),
            _ => Err(ClaimProblem::NotAFlag(name.to_owned())),
        };
    }
    // An address may have several lines (OpenID Connect Core §5.1.1).
    let lines = name.starts_with("address.");
    if text.len() > MOST_BYTES || text.chars().any(|character| character.is_control() && !(lines && character == '\n'))
    {
        return Err(ClaimProblem::Unusable(name.to_owned()));
    }
    Ok(if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) })
}

/// The document with this member; `None` where it has no member of this name.
fn with<T: serde::Serialize + serde::de::DeserializeOwned>(document: T, name: &str, value: Value) -> Option<T> {
    let Ok(Value::Object(mut members)) = serde_json::to_value(document) else { return None };
    members.insert(name.to_owned(), value);
    serde_json::from_value(Value::Object(members)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(claims: &StandardClaims, changes: &[(&str, &str)]) -> Result<StandardClaims, ClaimProblem> {
        let changes: Vec<_> = changes.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        change(claims, &changes)
    }

    #[test]
    fn claims_are_set_and_removed_by_name() {
        let empty = StandardClaims::default();
        let ada = changed(&empty, &[("name", "Ada"), ("address.locality", "London"), ("zoneinfo", "Europe/London")]);
        let ada = ada.unwrap();
        assert_eq!(ada.name.as_deref(), Some("Ada"));
        assert_eq!(ada.address.as_ref().unwrap().locality.as_deref(), Some("London"));
        assert_eq!(changed(&ada, &[("name", ""), ("address.locality", ""), ("zoneinfo", "")]).unwrap(), empty);
    }

    #[test]
    fn a_new_address_is_unverified_unless_said_otherwise() {
        let ada = changed(&StandardClaims::default(), &[("email_verified", "true"), ("email", "a@x.example")]).unwrap();
        assert!(ada.email_verified);
        assert!(changed(&ada, &[("email", "a@x.example")]).unwrap().email_verified);
        assert!(!changed(&ada, &[("email", "b@x.example")]).unwrap().email_verified);
        assert!(!changed(&ada, &[("email", "")]).unwrap().email_verified);
        assert!(changed(&ada, &[("email", "b@x.example"), ("email_verified", "true")]).unwrap().email_verified);
        let phone = [("phone_number", "+44 1"), ("phone_number_verified", "true")];
        let ada = changed(&ada, &phone).unwrap();
        assert!(ada.phone_number_verified && ada.email_verified);
        assert!(!changed(&ada, &[("phone_number", "+44 2")]).unwrap().phone_number_verified);
    }

    #[test]
    fn what_is_no_claim_is_refused() {
        for name in ["sub", "password", "updated_at", "address", "address.planet", "", "Email"] {
            for text in ["x", ""] {
                let refused = changed(&StandardClaims::default(), &[(name, text)]);
                assert_eq!(refused, Err(ClaimProblem::Unknown(name.to_owned())), "{text:?}");
            }
        }
        let refused = changed(&StandardClaims::default(), &[("email_verified", "yes")]);
        assert_eq!(refused, Err(ClaimProblem::NotAFlag("email_verified".into())));
        for bad in ["a\u{1b}b", "a\nb", &"x".repeat(2001)] {
            assert!(changed(&StandardClaims::default(), &[("name", bad)]).is_err());
        }
        assert!(changed(&StandardClaims::default(), &[("address.formatted", "1 Road\nLondon")]).is_ok());
    }
}
