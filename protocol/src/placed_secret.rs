//! Secrets that say where the server keeps what they prove: the place, and 256 bits of chance behind it. The place is no
//! secret and proves nothing; it spares the server a search by hash, and an index of hashes that every write would enter on
//! a page of its own. Only the chance is a secret, and only its hash is stored.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// Characters of 32 octets in base64url.
const SECRET: usize = 43;

/// A secret by its form. Nothing is said of whether it was ever issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a, P> {
    /// Where what it proves is kept. The oldest don't say it, and are found by the hash of the secret.
    pub place: Option<P>,
    /// What proves it, 43 characters.
    pub secret: &'a str,
}

/// The text of a secret, which is 43 characters of base64url, at this place.
pub(crate) fn form(place: &[u8], secret: &str) -> String {
    let mut text = String::with_capacity(place.len().div_ceil(3) * 4 + SECRET);
    BASE64_URL_SAFE_NO_PAD.encode_string(place, &mut text);
    text.push_str(secret);
    text
}

/// Takes a text apart whose place has `N` octets; `None` for what looks otherwise.
pub(crate) fn parse<const N: usize>(text: &str) -> Option<Presented<'_, [u8; N]>> {
    match text.len().checked_sub(SECRET)? {
        0 => Some(Presented { place: None, secret: text }),
        length if base64::encoded_len(N, false) == Some(length) => {
            let (said, secret) = text.split_at_checked(length)?;
            let mut place = [0; N];
            // Exactly one text names a place: base64 without padding refuses bits that are left over.
            let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice_unchecked(said, &mut place).ok();
            decoded.filter(|&octets| octets == N)?;
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
    fn what_looks_otherwise_is_none() {
        let text = form(&[7; 32], SECRET);
        let two_texts_of_one_place = format!("{}B{SECRET}", &text[..42]);
        let not_base64 = format!("!{}", &text[1..]);
        let split_character = format!("{}ä{}", &text[..42], &text[44..]);
        let longer = format!("{text}A");
        for wrong in ["", "x", &text[1..], &longer, &two_texts_of_one_place, &not_base64, &split_character] {
            assert_eq!(parse::<32>(wrong), None, "{wrong}");
        }
        assert_eq!(parse::<16>(&text), None);
        assert_eq!(parse(&text), Some(Presented { place: Some([7; 32]), secret: SECRET }));
    }
}
