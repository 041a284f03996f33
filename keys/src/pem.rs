//! PEM (RFC 7468): one private key in (PKCS#8, §10), public keys out (SubjectPublicKeyInfo, §13).
//!
//! Left out: encrypted keys, certificates, and the older forms of single algorithms, which are named in the refusal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Characters of base64 in a line (RFC 7468 §2).
const LINE: usize = 64;

/// Why a text isn't a private key in PEM. No variant carries any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No block at all, or none that begins and ends by the same label.
    #[error("the text is not a PEM block")]
    NoBlock,
    /// More than one block.
    #[error("the text has more than one PEM block; give the private key alone")]
    MoreThanOne,
    /// A key that a password protects.
    #[error("the key is encrypted; take the password off first: `openssl pkcs8 -in FILE -out NEW`")]
    Encrypted,
    /// A private key in the older form of its algorithm (PKCS#1, SEC 1).
    #[error("the key is not in the form PKCS#8; convert it: `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`")]
    OtherForm,
    /// Something else, such as a public key or a certificate.
    #[error("the PEM block is not a private key")]
    NoPrivateKey,
    /// What stands between the marks isn't base64.
    #[error("the PEM block is not base64")]
    Encoding,
}

/// The octets of the one PKCS#8 private key in this text.
///
/// # Errors
/// [`PemError`]
pub fn private_key(text: &str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let (_, rest) = text.split_once(BEGIN).ok_or(PemError::NoBlock)?;
    let (label, rest) = rest.split_once(DASHES).ok_or(PemError::NoBlock)?;
    let (body, rest) = rest.split_once(&format!("-----END {label}{DASHES}")).ok_or(PemError::NoBlock)?;
    if rest.contains(BEGIN) {
        return Err(PemError::MoreThanOne);
    }
    match label {
        "PRIVATE KEY" => {}
        "ENCRYPTED PRIVATE KEY" => return Err(PemError::Encrypted),
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "OPENSSH PRIVATE KEY" => return Err(PemError::OtherForm),
        _ => return Err(PemError::NoPrivateKey),
    }
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.chars().filter(|character| !character.is_ascii_whitespace()));
    // Headers inside of a block, as an encrypted PKCS#1 key has them, aren't base64 either.
    STANDARD.decode(base64.as_bytes()).map(Zeroizing::new).map_err(|_| PemError::Encoding)
}

/// A public key, whose SubjectPublicKeyInfo this is, as PEM.
#[must_use]
pub fn public_key(spki: &[u8]) -> String {
    let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = STANDARD.encode(spki);
    while !rest.is_empty() {
        let after = rest.split_off(rest.len().min(LINE));
        text.push_str(&rest);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PUBLIC KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn the_one_private_key_is_read() {
        let octets = vec![0x30; 100];
        let encoded = STANDARD.encode(&octets);
        let (first, second) = encoded.split_at(64);
        for text in [
            block("PRIVATE KEY", &format!("{first}\n{second}")),
            block("PRIVATE KEY", &format!("{first}\r\n{second}\r\n")),
            format!("Bag Attributes\n    friendlyName: x\n{}", block("PRIVATE KEY", &encoded)),
        ] {
            assert_eq!(**private_key(&text).unwrap(), octets);
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let good = block("PRIVATE KEY", "AAAA");
        for (text, error) in [
            ("", PemError::NoBlock),
            ("AAAA", PemError::NoBlock),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n", PemError::NoBlock),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", PemError::NoBlock),
            (&format!("{good}{good}"), PemError::MoreThanOne),
            (&block("ENCRYPTED PRIVATE KEY", "AAAA"), PemError::Encrypted),
            (&block("RSA PRIVATE KEY", "AAAA"), PemError::OtherForm),
            (&block("EC PRIVATE KEY", "AAAA"), PemError::OtherForm),
            (&block("PUBLIC KEY", "AAAA"), PemError::NoPrivateKey),
            (&block("CERTIFICATE", "AAAA"), PemError::NoPrivateKey),
            (&block("PRIVATE KEY", "A*AA"), PemError::Encoding),
            (&block("PRIVATE KEY", "AAA"), PemError::Encoding),
        ] {
            assert_eq!(private_key(text).unwrap_err(), error, "{text}");
        }
    }
}
