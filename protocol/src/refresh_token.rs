//! The form of refresh tokens (RFC 6749 §1.5: opaque to the client): a [secret that says its place](crate::placed_secret).

use uuid::Uuid;

use crate::placed_secret;

/// Where a refresh token is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The grant, its family.
    pub grant: Uuid,
    /// The token in its family.
    pub token: Uuid,
}

/// A refresh token by its form.
pub type Presented<'a> = placed_secret::Presented<'a, Place>;

/// The token of this secret, which is 43 characters of base64url, at this place.
pub fn form(place: Place, secret: &str) -> String {
    let mut octets = [0; 32];
    let (grant, token) = octets.split_at_mut(16);
    grant.copy_from_slice(place.grant.as_bytes());
    token.copy_from_slice(place.token.as_bytes());
    placed_secret::form(&octets, secret)
}

/// Takes a token apart; `None` for what no refresh token looks like.
pub fn parse(text: &str) -> Option<Presented<'_>> {
    let placed_secret::Presented { place, secret } = placed_secret::parse::<32>(text)?;
    let place = match place {
        None => None,
        Some(octets) => {
            let (grant, token) = octets.split_first_chunk::<16>()?;
            Some(Place { grant: Uuid::from_bytes(*grant), token: Uuid::from_slice(token).ok()? })
        }
    };
    Some(Presented { place, secret })
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
}
