//! Signing and sealing keys: make, seal, rotate, publish, sign, verify.
//!
//! A map of the rooms, from the outermost secret inwards:
//! - [`master`]: the one secret that an operator keeps, and how HKDF derives keys, one for each purpose.
//! - [`root`]: the secret that lies sealed under it in the database, and from which the keys of all purposes come.
//! - [`sealing`]: what those keys do: AES-256-GCM for what must be read again, HMAC for what must only be recognised.
//! - [`signing`], [`jwt`]: the server's private signing keys, and the tokens they sign.
//! - [`import`], [`pem`]: private keys that were made elsewhere, and public keys for others.
//! - [`key_ring`]: all signing keys with their states; the published JWK Set; verification of our own tokens.
//! - [`verification_key`], [`compact`], [`client_keys`]: public keys, compact JWS, and the assertions of clients.
//!
//! Left out: where keys are stored, when they rotate, which claims a token has and whether it is expired (the caller's
//! business), symmetric signatures (`HS256`) and encryption for others (JWE). Nothing here does I/O or reads a clock;
//! chance is drawn for making keys alone.

pub mod algorithm;
pub mod client_keys;
pub mod compact;
pub mod import;
pub mod jwt;
pub mod key_ring;
pub mod master;
pub mod pem;
pub mod root;
pub mod sealing;
pub mod signing;
pub mod verification_key;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use client_keys::{ClientKeys, ClientKeysError};
pub use compact::{JwsHeader, VerifyError};
pub use import::{ImportError, ImportedKey};
pub use jwt::TokenType;
pub use key_ring::{KeyRing, KeyRingError, KeyState, UnknownKeyState};
pub use master::{DerivedKey, MasterKey, MasterKeyError, Purpose};
pub use root::RootSecret;
pub use sealing::{MacKey, OpenError, SealError, SealingKey, open_under_token, seal_under_token};
pub use signing::{KeyError, SigningKey};
pub use verification_key::{JwkError, VerificationKey};
