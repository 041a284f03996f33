//! The form of opaque access tokens: a prefix that says whose they are, 256 bits of chance, and a check sum, so that a
//! scanner of source code finds a leaked one without asking anybody, and a mistyped one is refused without a look into
//! the database. The check sum is no secret and no protection.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// How every opaque access token begins.
pub const PREFIX: &str = "kw_at_";

/// Characters of the secret, 32 octets in base64url.
const SECRET: usize = 43;
/// Octets of the check sum: three are four characters without padding.
const CHECK: usize = 3;

/// The token of this secret, which is 43 characters of base64url.
pub fn form(secret: &str) -> String {
    let mut token = format!("{PREFIX}{secret}");
    let check = check_sum(&token);
    token.push_str(&check);
    token
}

/// Whether this is an opaque access token by its form. Nothing is said of whether it was ever issued.
///
/// No JWT is, for it has no dot (RFC 7515 §3.1), and no refresh token, for those have other lengths.
pub fn is_one(token: &str) -> bool {
    token.starts_with(PREFIX)
        && token
            .split_at_checked(PREFIX.len() + SECRET)
            .is_some_and(|(body, check)| !body.contains('.') && check == check_sum(body))
}

fn check_sum(body: &str) -> String {
    let digest = digest::digest(&digest::SHA256, body.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(digest.as_ref().get(..CHECK).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_form_and_a_changed_one_is_not() {
        let secret = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let token = form(secret);
        assert_eq!(token.len(), PREFIX.len() + SECRET + 4);
        assert!(is_one(&token));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(!is_one(std::str::from_utf8(&changed).unwrap()), "{at}");
        }
        for wrong in ["", secret, PREFIX, "a.b.c", &token[1..], &token[..token.len() - 1], &format!("{token}A")] {
            assert!(!is_one(wrong), "{wrong}");
        }
        assert!(!is_one("kw_at_ääääääääääääääääääääääääääääääääääääääääääääääääää"));
    }
}
