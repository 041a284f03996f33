//! Tokens made by hand, as an attacker or a broken program makes them.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::support::TestServer;

/// Base64url without padding.
pub fn encode(octets: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// A part of a compact token, decoded.
pub fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).expect("a part");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// A token with this header and these claims, signed by this key whatever the header says.
pub fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    sign_text(key, &header.to_string(), &claims.to_string())
}

/// As [`sign`], from texts that may be no JSON, or odd JSON.
pub fn sign_text(key: &SigningKey, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = encode(key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// A token whose signature is an HMAC with this secret.
pub fn sign_hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The key with which the server signs access tokens.
pub fn server_key(server: &TestServer) -> std::sync::Arc<SigningKey> {
    std::sync::Arc::clone(server.app.key_ring.load().active(Algorithm::Es256).unwrap())
}

/// A key that the server doesn't know.
pub fn foreign_key(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm).unwrap().0
}

/// The object with one member set; `null` removes it.
pub fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    if value.is_null() {
        object.as_object_mut().unwrap().remove(name);
    } else {
        object[name] = value;
    }
    object
}

/// The object with one member set to `null` itself.
pub fn with_null(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object[name] = json!(null);
    object
}

/// Key identifiers that no key has, the last of this length: names of files, statements and other things that a careless
/// reader looks up.
pub fn strange_kids(length: usize) -> [String; 8] {
    [
        "unknown".to_owned(),
        String::new(),
        "../../../../dev/null".to_owned(),
        "/dev/null".to_owned(),
        "' OR '1'='1".to_owned(),
        "'; DROP TABLE signing_keys; --".to_owned(),
        "\0".to_owned(),
        "k".repeat(length),
    ]
}
