//! Signing and verifying JSON Web Tokens (RFC 7515 §5) with keys parsed once, and nothing around it.
//!
//! Leaves out: claims' checks, key ids, every algorithm but ES256 and RS256.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::failure::{During, Failure};

/// What a payload of an access token usually holds, with a number that changes: about 400 bytes.
struct Payload(AtomicU64);

impl Payload {
    fn next(&self) -> String {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        format!(
            concat!(
                r#"{{"iss":"http://localhost:8080","sub":"6pB0Jt3kXq5nWmZr8sYv2A","aud":["https://api.bench.example","#,
                r#""http://localhost:8080"],"exp":1795000300,"iat":1795000000,"jti":"{:022}","client_id":"bench-client","#,
                r#""scope":"openid profile offline_access","sid":"Zk3vQ8mT1xY6cR0bN5hLwA","auth_time":1794999000,"#,
                r#""acr":"urn:keyward:acr:1","amr":["pwd"],"grant":"4fJ7dS2gH9kL0zXcV1bN3m","roles":["reader","writer"]}}"#
            ),
            number
        )
    }
}

/// A token without its signature: header and payload.
fn unsigned(header: &str, payload: &str) -> String {
    let mut text = String::with_capacity(1_024);
    text.push_str(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    text
}

/// An ES256 key (RFC 7518 §3.4).
pub struct Es256 {
    key: EcdsaKeyPair,
    public: ParsedPublicKey,
    random: SystemRandom,
    header: String,
    payload: Payload,
}

impl Es256 {
    /// A new key.
    ///
    /// # Errors
    /// When the library can't make one.
    pub fn new() -> Result<Self, Failure> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).during("making an ES256 key")?;
        let public =
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key()).during("parsing the public key")?;
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"at+jwt","kid":"4zPqYt7uW1"}"#);
        Ok(Self { key, public, random: SystemRandom::new(), header, payload: Payload(AtomicU64::new(0)) })
    }

    /// A newly signed token.
    ///
    /// # Errors
    /// When signing fails.
    pub fn token(&self) -> Result<String, Failure> {
        let mut text = unsigned(&self.header, &self.payload.next());
        let signature = self.key.sign(&self.random, text.as_bytes()).during("signing")?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        Ok(text)
    }

    /// Whether the token's signature is this key's.
    pub fn verify(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return false;
        };
        let mut bytes = [0; 64];
        URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).is_ok_and(|length| length == bytes.len())
            && self.public.verify_sig(signed.as_bytes(), &bytes).is_ok()
    }
}

/// An RS256 key of 2,048 bits (RFC 7518 §3.3).
pub struct Rs256 {
    key: RsaKeyPair,
    random: SystemRandom,
    header: String,
    payload: Payload,
}

impl Rs256 {
    /// A new key.
    ///
    /// # Errors
    /// When the library can't make one.
    pub fn new() -> Result<Self, Failure> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).during("making an RS256 key")?;
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT","kid":"9sLmKx2vB8"}"#);
        Ok(Self { key, random: SystemRandom::new(), header, payload: Payload(AtomicU64::new(0)) })
    }

    /// A newly signed token.
    ///
    /// # Errors
    /// When signing fails.
    pub fn token(&self) -> Result<String, Failure> {
        let mut text = unsigned(&self.header, &self.payload.next());
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &self.random, text.as_bytes(), &mut signature).during("signing")?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut text);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    #[test]
    fn payloads_are_json_of_the_promised_size() {
        let payload = Payload(AtomicU64::new(5)).next();
        let parsed: serde_json::Value = serde_json::from_str(&payload).unwrap();
        assert!((380..=480).contains(&payload.len()), "{} bytes", payload.len());
        assert_eq!(parsed["jti"], "0000000000000000000005");
    }

    #[test]
    fn a_token_verifies_and_a_changed_one_does_not() {
        let key = Es256::new().unwrap();
        let token = key.token().unwrap();
        assert!(key.verify(&token));
        assert_ne!(token, key.token().unwrap());
        assert!(!Es256::new().unwrap().verify(&token));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert!(!key.verify(&format!("{signed}x.{signature}")));
        assert!(!key.verify(signed));
        assert!(!key.verify(&format!("{signed}.{}", &signature[..40])));
    }

    #[test]
    fn rs256_tokens_are_signed() {
        let key = Rs256::new().unwrap();
        let token = key.token().unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.key.public_key().as_ref());
        assert!(public.verify(signed.as_bytes(), &signature).is_ok());
    }
}
