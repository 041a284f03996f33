//! The form of refresh tokens (RFC 6749 §1.5: opaque to the client): where the server keeps the token, and 256 bits of
//! chance. The place is no secret and proves nothing; it spares the server a search by hash, which in a database with
//! many tokens is the dearest part of a refresh. Only the chance is a secret, and only its hash is stored.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use uuid::Uuid;

/// Characters of 32 octets in base64url: of the place, and of the secret.
const PART: usize = 43;

/// Where a refresh token is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The grant, its family.
    pub grant: Uuid,
    /// The token in its family.
    pub token: Uuid,
}

/// A refresh token by its form. Nothing is said of whether it was ever issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a> {
    /// Where it is kept. The oldest tokens don't say it, and are found by the hash of the secret.
    pub place: Option<Place>,
    /// What proves it, 43 characters.
    pub secret: &'a str,
}

/// The token of this secret, which is 43 characters of base64url, at this place.
pub fn form(place: Place, secret: &str) -> String {
    let mut octets = [0; 32];
    let (grant, token) = octets.split_at_mut(16);
    grant.copy_from_slice(place.grant.as_bytes());
    token.copy_from_slice(place.token.as_bytes());
    let mut text = String::with_capacity(2 * PART);
    BASE64_URL_SAFE_NO_PAD.encode_string(octets, &mut text);
    text.push_str(secret);
    text
}

/// Takes a token apart; `None` for what no refresh token looks like.
pub fn parse(text: &str) -> Option<Presented<'_>> {
    match text.len() {
        PART => Some(Presented { place: None, secret: text }),
        length if length == 2 * PART => {
            let (place, secret) = text.split_at_checked(PART)?;
            let mut octets = [0; 32];
            // Exactly one text names a place: base64 without padding refuses bits that are left over.
            BASE64_URL_SAFE_NO_PAD.decode_slice_unchecked(place, &mut octets).ok().filter(|&length| length == 32)?;
            let (grant, token) = octets.split_first_chunk::<16>()?;
            let place = Place { grant: Uuid::from_bytes(*grant), token: Uuid::from_slice(token).ok()? };
            Some(Presented { place: Some(place), secret })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn a_token_says_where_it_is_kept_and_what_proves_it() {
        let place = Place { grant: Uuid::from_u128(7), token: Uuid::from_u128(u128::MAX - 3) };
        let token = form(place, SECRET);
        assert_eq!(token.len(), 86);
        assert_eq!(parse(&token), Some(Presented { place: Some(place), secret: SECRET }));
        assert_eq!(parse(SECRET), Some(Presented { place: None, secret: SECRET }));
    }

    #[test]
    fn what_no_token_looks_like_is_none() {
        let token = form(Place { grant: Uuid::from_u128(1), token: Uuid::from_u128(2) }, SECRET);
        let two_texts_of_one_place = format!("{}B{SECRET}", &token[..42]);
        let not_base64 = format!("!{}", &token[1..]);
        let split_character = format!("{}ä{}", &token[..42], &token[44..]);
        let longer = format!("{token}A");
        for wrong in ["", "x", &token[1..], &longer, &two_texts_of_one_place, &not_base64, &split_character] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
