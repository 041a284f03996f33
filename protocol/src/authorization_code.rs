//! The form of authorization codes (RFC 6749 §4.1.2: opaque to the client): a
//! [secret that says its place](crate::placed_secret), the row of the code.

use uuid::Uuid;

use crate::placed_secret;

/// A code by its form.
pub type Presented<'a> = placed_secret::Presented<'a, Uuid>;

/// The code of this secret, which is 43 characters of base64url, kept under this id.
pub fn form(id: Uuid, secret: &str) -> String {
    placed_secret::form(id.as_bytes(), secret)
}

/// Takes a code apart; `None` for what no code looks like.
pub fn parse(text: &str) -> Option<Presented<'_>> {
    let placed_secret::Presented { place, secret } = placed_secret::parse(text)?;
    Some(Presented { place: place.map(Uuid::from_bytes), secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn a_code_says_where_it_is_kept_and_what_proves_it() {
        let id = Uuid::from_u128(u128::MAX - 3);
        let code = form(id, SECRET);
        assert_eq!(code.len(), 65);
        assert_eq!(parse(&code), Some(Presented { place: Some(id), secret: SECRET }));
        assert_eq!(parse(SECRET), Some(Presented { place: None, secret: SECRET }));
        for wrong in ["", &code[1..], &format!("{code}A"), &format!("{}_{SECRET}", &code[..21])] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
