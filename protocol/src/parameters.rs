//! The parameters of a request in `application/x-www-form-urlencoded`, from a query or a body (RFC 6749 §3.1, §3.2).

use std::borrow::Cow;

use crate::refusal::{ErrorCode, Refusal};

/// Parameters that a specification allows to repeat (RFC 8707 §2, RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// More pairs than any honest request carries.
const MOST_PAIRS: usize = 200;

/// The parsed pairs, with repetition remembered and empty values left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
    repeated: Vec<String>,
}

impl Parameters {
    /// Parses an encoded query or body.
    ///
    /// # Errors
    /// `invalid_request` where the encoding is broken (a `%` without two hex digits, octets that aren't UTF-8) or the
    /// number of parameters is absurd. Repetition isn't judged here: see [`Parameters::refuse_repeated`].
    pub fn parse(encoded: &str) -> Result<Self, Refusal> {
        let mut parameters = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (count, piece) in encoded.split('&').filter(|piece| !piece.is_empty()).enumerate() {
            if count >= MOST_PAIRS {
                return Err(Refusal::new(ErrorCode::InvalidRequest, "The request has too many parameters."));
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            // RFC 6749 §3.1: request parameters must not be included more than once.
            if !REPEATABLE.contains(&name.as_ref()) {
                if seen.iter().any(|earlier| *earlier == name) {
                    parameters.repeated.push(name.clone().into_owned());
                }
                seen.push(name.clone().into_owned());
            }
            // RFC 6749 §3.1: parameters sent without a value are treated as if they were omitted.
            if !value.is_empty() {
                parameters.pairs.push((name.into_owned(), value.into_owned()));
            }
        }
        Ok(parameters)
    }

    /// The value of a parameter, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may repeat.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether this parameter came more than once, even with equal or empty values.
    pub fn is_repeated(&self, name: &str) -> bool {
        self.repeated.iter().any(|repeated| repeated == name)
    }

    /// RFC 6749 §3.1 and §3.2: a repeated parameter makes the request invalid, whichever it is.
    ///
    /// # Errors
    /// `invalid_request`.
    pub fn refuse_repeated(&self) -> Result<(), Refusal> {
        if self.repeated.is_empty() {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::InvalidRequest, "A parameter is included more than once."))
        }
    }

    /// All pairs in their order, for writing them into another address.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// The value, or `invalid_request` with this sentence.
    ///
    /// # Errors
    /// `invalid_request` where it is missing.
    pub fn require(&self, name: &str, missing: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or(Refusal::new(ErrorCode::InvalidRequest, missing))
    }
}

/// Form-decodes one name or value strictly: `+` is a space, `%` needs two hex digits, the octets are UTF-8.
///
/// # Errors
/// `invalid_request`.
pub fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    const BROKEN: Refusal = Refusal::new(ErrorCode::InvalidRequest, "A parameter is not correctly encoded.");
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+' || byte == 0) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let high = bytes.next().and_then(hex).ok_or(BROKEN)?;
                let low = bytes.next().and_then(hex).ok_or(BROKEN)?;
                decoded.push(high << 4 | low);
            }
            // A NUL can't be stored by PostgreSQL and has no meaning in any parameter.
            _ => decoded.push(byte),
        }
    }
    if decoded.contains(&0) {
        return Err(BROKEN);
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| BROKEN)
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_counts_as_absent_and_repetition_is_seen_even_so() {
        let parameters = Parameters::parse("a=&b=1&a=2&resource=x&resource=y").unwrap();
        assert_eq!(parameters.get("b"), Some("1"));
        assert!(parameters.is_repeated("a"));
        assert_eq!(parameters.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert!(!parameters.is_repeated("resource"));
        assert!(parameters.refuse_repeated().is_err());
    }

    #[test]
    fn broken_encoding_is_refused() {
        for broken in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%c3=1"] {
            assert_eq!(Parameters::parse(broken).unwrap_err().code, ErrorCode::InvalidRequest, "{broken}");
        }
        assert_eq!(Parameters::parse("a=%C3%A9+x").unwrap().get("a"), Some("é x"));
    }

    #[test]
    fn a_flood_of_parameters_is_refused() {
        assert!(Parameters::parse(&"a=1&".repeat(201)).is_err());
    }
}
