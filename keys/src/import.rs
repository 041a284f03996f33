//! Private keys that were made elsewhere: PKCS#8 in PEM (RFC 5958, RFC 7468 §10) and JWK (RFC 7517, RFC 7518 §6,
//! RFC 8037 §2).
//!
//! A key is taken only when it is strong enough for its algorithm, its public half belongs to its private half, and what
//! a JWK says of itself (`alg`, `use`, `key_ops`) fits. Left out: whether the key is known already (the caller's to ask).

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::algorithm::Algorithm;
use crate::pem::{self, PemError};
use crate::signing::{KeyError, SigningKey};
use crate::verification_key::{JwkError, VerificationKey};

/// Why a private key isn't taken. No variant carries anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A PEM text that holds no usable block.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Neither PEM nor a JSON object.
    #[error("the text is neither a PEM block nor a JWK")]
    Unknown,
    /// A set of keys.
    #[error("the text is a JWK Set; give one of its keys alone")]
    Set,
    /// A secret shared by both sides, which signs nothing here.
    #[error("the key is symmetric (`oct`); tokens are signed by asymmetric keys")]
    Symmetric,
    /// A JWK without its private half.
    #[error("the JWK has no private half (`d`)")]
    NoPrivateHalf,
    /// An RSA key fits two algorithms, so it must be said which is meant.
    #[error("the key is an RSA key and doesn't say its algorithm; name one: RS256 or PS256")]
    NoAlgorithm,
    /// The algorithm that was asked for isn't the key's.
    #[error("the key is for {found}, not for {wanted}")]
    OtherAlgorithm {
        /// What was asked for.
        wanted: Algorithm,
        /// What the key says, or is.
        found: String,
    },
    /// A kind or curve that no known algorithm takes.
    #[error("the key is of no kind that signs here; known are P-256 (ES256), Ed25519 (EdDSA) and RSA (RS256, PS256)")]
    Kind,
    /// `use` or `key_ops` says that the key isn't for signing (RFC 7517 §4.2, §4.3).
    #[error("the JWK's `{0}` says that the key isn't for signing")]
    Use(&'static str),
    /// A private member that is missing or no base64url.
    #[error("the private member `{0}` is missing or not base64url")]
    Member(&'static str),
    /// More than two primes (RFC 7518 §6.3.2.7).
    #[error("RSA keys of more than two primes (`oth`) are not supported")]
    Primes,
    /// The halves don't belong together, or the numbers make no key.
    #[error("the private half isn't valid or doesn't belong to the public half")]
    Mismatch,
    /// The public half isn't acceptable: weak, or no key.
    #[error(transparent)]
    Public(#[from] JwkError),
    /// The key as a whole isn't acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A key that was taken.
#[derive(Debug)]
pub struct ImportedKey {
    /// The key.
    pub key: SigningKey,
    /// Its PKCS#8, for sealing.
    pub pkcs8: Zeroizing<Vec<u8>>,
}

/// Reads a private key. `algorithm` must fit what the key is and says; it may be left out where the key leaves no
/// choice. The name is `kid`, else the JWK's own, else the thumbprint (RFC 7638).
///
/// # Errors
/// [`ImportError`] says what is wrong without repeating any of the text.
pub fn private_key(text: &str, algorithm: Option<Algorithm>, kid: Option<&str>) -> Result<ImportedKey, ImportError> {
    let (algorithm, pkcs8, named) = if text.trim_start().starts_with('{') {
        let jwk: Map<String, Value> = serde_json::from_str(text).map_err(|_| ImportError::Unknown)?;
        let own = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
        let (algorithm, pkcs8) = of_jwk(&jwk, algorithm)?;
        (algorithm, pkcs8, own)
    } else if text.contains("-----BEGIN ") {
        let pkcs8 = pem::private_key(text)?;
        (of_pkcs8(&pkcs8, algorithm)?, pkcs8, None)
    } else {
        return Err(ImportError::Unknown);
    };
    let key = match kid.or(named.as_deref()) {
        Some(kid) => SigningKey::from_pkcs8(kid, algorithm, &pkcs8)?,
        None => SigningKey::import_pkcs8(algorithm, &pkcs8)?,
    };
    // A key that can't verify what it signs would be found out by every client at once.
    let trial = b"keyward";
    key.verify(trial, &key.sign(trial)?).map_err(|_| ImportError::Mismatch)?;
    Ok(ImportedKey { key, pkcs8 })
}

/// The algorithm of a PKCS#8 key, which its numbers tell but for RSA.
fn of_pkcs8(pkcs8: &[u8], wanted: Option<Algorithm>) -> Result<Algorithm, ImportError> {
    // The identifiers of the key's kind in DER (RFC 5480 §2.1.1, RFC 8410 §3, RFC 8017 §A.1): the library says only
    // that something isn't what was expected.
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    // They stand in the first octets, before the key itself.
    let head = pkcs8.get(..pkcs8.len().min(48)).unwrap_or_default();
    let has = |identifier: &[u8]| head.windows(identifier.len()).any(|window| window == identifier);
    let found = if has(RSA) {
        match wanted {
            Some(wanted) if wanted.is_rsa() => wanted,
            None => return Err(ImportError::NoAlgorithm),
            Some(wanted) => return Err(ImportError::OtherAlgorithm { wanted, found: "RSA".to_owned() }),
        }
    } else if has(P256) {
        Algorithm::Es256
    } else if has(ED25519) {
        Algorithm::EdDsa
    } else {
        return Err(ImportError::Kind);
    };
    agreed(found, wanted)
}

fn agreed(found: Algorithm, wanted: Option<Algorithm>) -> Result<Algorithm, ImportError> {
    match wanted {
        Some(wanted) if wanted != found => {
            Err(ImportError::OtherAlgorithm { wanted, found: found.as_str().to_owned() })
        }
        _ => Ok(found),
    }
}

/// The algorithm and the PKCS#8 of a private JWK.
fn of_jwk(jwk: &Map<String, Value>, wanted: Option<Algorithm>) -> Result<(Algorithm, Zeroizing<Vec<u8>>), ImportError> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if jwk.contains_key("keys") {
        return Err(ImportError::Set);
    }
    // RFC 7517 §4.2 and §4.3: what the key is meant for.
    if jwk.get("use").is_some_and(|meant| meant != "sig") {
        return Err(ImportError::Use("use"));
    }
    if let Some(operations) = jwk.get("key_ops")
        && !operations.as_array().is_some_and(|operations| operations.iter().any(|operation| operation == "sign"))
    {
        return Err(ImportError::Use("key_ops"));
    }
    let declared = match jwk.get("alg") {
        None => None,
        Some(alg) => {
            let name = alg.as_str().unwrap_or_default();
            match (name.parse::<Algorithm>(), wanted) {
                (Ok(algorithm), _) => Some(algorithm),
                (Err(_), Some(wanted)) => {
                    return Err(ImportError::OtherAlgorithm { wanted, found: "another algorithm".to_owned() });
                }
                (Err(_), None) => return Err(ImportError::Kind),
            }
        }
    };
    let kind = match (text("kty"), text("crv")) {
        (Some("oct"), _) => return Err(ImportError::Symmetric),
        (Some("EC"), Some("P-256")) => Some(Algorithm::Es256),
        (Some("OKP"), Some("Ed25519")) => Some(Algorithm::EdDsa),
        (Some("RSA"), _) => None,
        _ => return Err(ImportError::Kind),
    };
    let algorithm = match (kind, declared) {
        (Some(kind), Some(declared)) => agreed(kind, Some(declared))?,
        (Some(kind), None) => kind,
        (None, Some(declared)) if declared.is_rsa() => declared,
        (None, Some(declared)) => {
            return Err(ImportError::OtherAlgorithm { wanted: declared, found: "RSA".to_owned() });
        }
        (None, None) => wanted.filter(|wanted| wanted.is_rsa()).ok_or(ImportError::NoAlgorithm)?,
    };
    let algorithm = agreed(algorithm, wanted)?;
    if !jwk.contains_key("d") {
        return Err(ImportError::NoPrivateHalf);
    }
    // The public half by the same door as everybody's: size, curve and coordinates are judged there.
    VerificationKey::from_jwk(jwk, algorithm)?;
    let pkcs8 = match algorithm {
        Algorithm::Es256 => {
            let (x, y) = (octets(jwk, "x")?, octets(jwk, "y")?);
            let point = [&[4][..], &x, &y].concat();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &octets(jwk, "d")?,
                &point,
            )
            .map_err(|_| ImportError::Mismatch)?;
            let document = pair.to_pkcs8v1().map_err(|_| ImportError::Mismatch)?;
            Zeroizing::new(document.as_ref().to_vec())
        }
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&octets(jwk, "d")?, &octets(jwk, "x")?)
                .map_err(|_| ImportError::Mismatch)?;
            let document = pair.to_pkcs8v1().map_err(|_| ImportError::Mismatch)?;
            Zeroizing::new(document.as_ref().to_vec())
        }
        Algorithm::Rs256 | Algorithm::Ps256 => rsa_pkcs8(jwk)?,
    };
    Ok((algorithm, pkcs8))
}

/// RFC 7518 §6.3.2: all numbers must be there. The library checks that they fit each other.
fn rsa_pkcs8(jwk: &Map<String, Value>) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    if jwk.contains_key("oth") {
        return Err(ImportError::Primes);
    }
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: octets(jwk, "n")?, e: octets(jwk, "e")? },
        d: octets(jwk, "d")?,
        p: octets(jwk, "p")?,
        q: octets(jwk, "q")?,
        dP: octets(jwk, "dp")?,
        dQ: octets(jwk, "dq")?,
        qInv: octets(jwk, "qi")?,
    };
    let pair = RsaKeyPair::from_components(&components).map_err(|_| ImportError::Mismatch)?;
    let document: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| ImportError::Mismatch)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

/// A member that must be base64url.
fn octets(jwk: &Map<String, Value>, name: &'static str) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    jwk.get(name)
        .and_then(Value::as_str)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .map(Zeroizing::new)
        .ok_or(ImportError::Member(name))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn pem(pkcs8: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(pkcs8))
    }

    /// RFC 7515 appendix A.3.1.
    fn p256() -> Value {
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
        })
    }

    /// RFC 8037 appendix A.1.
    fn ed25519() -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        })
    }

    /// Made for this test by OpenSSL.
    fn rsa() -> Value {
        json!({
            "kty": "RSA",
            "n": "kOpljQwduJZpCHIOpxt1R7lrqRu9t6Qn-bRxQZ3gmLHS09ks_gK0dk0irhxjKPc64t_oQH5h-mzZxNM-jb7HnJz_yM9wyFQJfXfDJjJitQRkCrNTtqrMDe6nLi78krcrio7LiTDRu3J3J26v8oAnxrW5ZwBEJWKZVQMPrtvQVG_1R9hhveXMONngLU3qCE1FoVmH7YVlKWlNaoA_5eZQDRTR-TtCCLdA4HbR5mvGrj1YiIaolsCaGHk2t3YGseeJPsDztxF3o773tUcGhKNOFKg-wfo_LkLj-gEM52bnPlR26KIIGNxr_p61Q6S8QEr3reLY5xijnXUYtykitjsr8Q",
            "e": "AQAB",
            "d": "CH_3HOLNC3qnBnvKKDsQEfjqO60I37CdN6RB0Ft2RP6JIyvl27BE7XtwwU2g81Is_gmsEbxX-txPmZ_aV24NPz5mMl0YfGeRdu6DX8Ysy_lJ9Oa3zksOVPLek3LmFaTwxNvDTHS0mI4KNyHi6BJkQt991HDLjnXOEJJxZQw3l_wyg7BKh83TAiVFP2hA8LANkfkaQRv7lbeG7jbZDkoXW9RVMTw7fl03mzun8xeqXOnOlN-2My-4N1PVU7M9SL_IH7iNY3y85qtaIOvxd1RWIJ_4ew8TM2yPA7NP_BV4NoI23bBX1tr04B1lWaVodEpYyEf19xCnda6EhWS59Tmt0Q",
            "p": "yjeF15Gcjj7kCMQzPrH8XTrCJyoXk8OeBR7jCxTHRxI8ER9H49glfAGqWe-psaEAFAqqtR_JsS23kXvpvZLXPvgAxTZCAdrygUOa5c8h4jHJ_S7lauT0Aax_qnlIKpOHTmBAdRhQjpapC1pvjVrEPC_93ec4k-nqMwMHiqmd68s",
            "q": "t3VdDCohoRM_q_GpbkV3pne6hrWxs3LoAmKr6AVj64yVBb3iiXAwZ97ZCxgVGUaAbmcQOZkza4LcgdV7tDXm8RGxuQXdBSQnP4y0wnSnJtPPh_dF9fOL_bk88YV3KI5nCiu6-q5P8fra7V8I0pzhxBuMH49I2bwzpC2FiHf-R7M",
            "dp": "VgvgQQVt971dLTnHkIMOHuG04hNwKulPYWBuPjXeQijJNIP6BELiWG0g_toTfElFDkInt6DKI0GP3jE7GfbU7q97LG_VEJMJI-YPkIBeK7ECAWEmMCEyj0_Gl1S6V5ulNL2SUAFDrhj_35vg4eZgoDfPr9AG7DHZ_VDpsaBRWZc",
            "dq": "kpxyTcRlt6oAWlL4Si2t3xUTtZACgRw1GaLtKrEUFyvz8_C514gWxwuqfFk0k0xqWtB2gPFTzHl56zBGedARzVmMpAZxiShJTVoPIs_CvR7MXSZZfKKzn4Knl4RHo9uZsOEdvjQLo6AL0WL_VAEX03cIVjhVydvDkVLnwhXS2k0",
            "qi": "nJ-KdbKNRHmJHgTI6qy28wyuRiT87RxrLn95JeWbO4Su9x66W4dmcOrb_SyOlcO1sMZ-XeuyB6JeqdOOsu6IDTrBdIDsqLzuKcfvnXX6920QusFQRrbMn4r03v0xhsTHN7ie-Vl0ELjEyu265pJgySdk8wGM1OvBt1lIml747jQ"
        })
    }

    fn with(jwk: &Value, name: &str, value: Value) -> Value {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    }

    fn take(jwk: &Value, algorithm: Option<Algorithm>) -> Result<ImportedKey, ImportError> {
        private_key(&jwk.to_string(), algorithm, None)
    }

    #[test]
    fn keys_of_the_standards_are_taken_and_survive_storage() {
        for (jwk, algorithm, asked) in [
            (p256(), Algorithm::Es256, None),
            (ed25519(), Algorithm::EdDsa, None),
            (rsa(), Algorithm::Rs256, Some(Algorithm::Rs256)),
            (with(&rsa(), "alg", json!("PS256")), Algorithm::Ps256, None),
        ] {
            let taken = take(&jwk, asked).unwrap();
            assert_eq!(taken.key.algorithm(), algorithm);
            assert_eq!(taken.key.kid(), taken.key.public().thumbprint());
            let again = private_key(&pem(&taken.pkcs8), Some(algorithm), Some("named")).unwrap();
            assert_eq!(again.key.kid(), "named");
            again.key.verify(b"m", &taken.key.sign(b"m").unwrap()).unwrap();
            let named = take(&with(&jwk, "kid", json!("own")), asked).unwrap();
            assert_eq!(named.key.kid(), "own");
        }
        // The thumbprint of RFC 8037 appendix A.3.
        assert_eq!(take(&ed25519(), None).unwrap().key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn weak_and_foreign_keys_are_refused() {
        let refused = private_key(RSA_1024, Some(Algorithm::Rs256), None).unwrap_err();
        assert!(matches!(refused, ImportError::Key(_)), "{refused:?}");
        assert!(matches!(private_key(&"A".repeat(100), None, None), Err(ImportError::Unknown)));
        for (jwk, what) in [
            (with(&p256(), "crv", json!("P-384")), "curve"),
            (with(&p256(), "crv", json!("secp256k1")), "curve"),
            (with(&ed25519(), "crv", json!("Ed448")), "curve"),
            (with(&ed25519(), "crv", json!("X25519")), "curve"),
            (with(&p256(), "alg", json!("ES384")), "algorithm"),
            (json!({"kty": "what", "d": "AA"}), "kind"),
        ] {
            assert!(matches!(take(&jwk, None), Err(ImportError::Kind)), "{what}");
        }
        assert!(matches!(take(&json!({"kty": "oct", "k": "AAAA"}), None), Err(ImportError::Symmetric)));
        assert!(matches!(take(&json!({"keys": [p256()]}), None), Err(ImportError::Set)));
        assert!(matches!(take(&with(&p256(), "use", json!("enc")), None), Err(ImportError::Use("use"))));
        assert!(matches!(take(&with(&p256(), "key_ops", json!(["verify"])), None), Err(ImportError::Use("key_ops"))));
        assert!(matches!(private_key(P384, None, None), Err(ImportError::Kind)));
    }

    #[test]
    fn halves_and_names_that_do_not_fit_are_refused() {
        let other = "AQ".repeat(21) + "A";
        for jwk in [
            with(&p256(), "d", json!(other)),
            with(&ed25519(), "d", json!(other)),
            with(&with(&rsa(), "alg", json!("RS256")), "d", json!("AQAB")),
            with(&with(&rsa(), "alg", json!("RS256")), "p", rsa()["q"].clone()),
        ] {
            assert!(matches!(take(&jwk, None), Err(ImportError::Mismatch)), "{:?}", take(&jwk, None).unwrap_err());
        }
        assert!(take(&with(&p256(), "x", p256()["y"].clone()), None).is_err());
        assert!(matches!(take(&rsa(), None), Err(ImportError::NoAlgorithm)));
        assert!(matches!(take(&rsa(), Some(Algorithm::Es256)), Err(ImportError::NoAlgorithm)));
        for (jwk, asked) in [
            (p256(), Some(Algorithm::EdDsa)),
            (with(&p256(), "alg", json!("EdDSA")), None),
            (with(&rsa(), "alg", json!("ES256")), None),
            (with(&rsa(), "alg", json!("RS256")), Some(Algorithm::Ps256)),
        ] {
            assert!(matches!(take(&jwk, asked), Err(ImportError::OtherAlgorithm { .. })));
        }
        let mut public = p256();
        public.as_object_mut().unwrap().remove("d");
        assert!(matches!(take(&public, None), Err(ImportError::NoPrivateHalf)));
        let mut partial = with(&rsa(), "alg", json!("RS256"));
        partial.as_object_mut().unwrap().remove("dp");
        assert!(matches!(take(&partial, None), Err(ImportError::Member("dp"))));
        assert!(private_key(&p256().to_string(), None, Some("a b")).is_err(), "a name with a blank");
        let (_, pkcs8) = SigningKey::generate(Algorithm::Es256).unwrap();
        assert!(matches!(
            private_key(&pem(&pkcs8), Some(Algorithm::Rs256), None),
            Err(ImportError::OtherAlgorithm { .. })
        ));
    }

    /// Made by `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024`.
    const RSA_1024: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBALTTI5Rh+hWLCc5O\n\
        KvKs4peCxai3vvylF1Bjir9HwlEyc0c4UG/ARqFWWQ0JD7ZatqA3Pj2LhszGI3mt\n\
        jDP7OGdR11s4cpgjRRU0MfnH6moxEneZDX+PCs54S7ZqsfHK+4VMZhSXGElUDDXh\n\
        qkRuJWQ5HEsl6g8fHEH4dqlHR9kfAgMBAAECgYB+cUHo6VYZqF7T/z7y8MeF0LDs\n\
        mIgZXEvgL6r+tGwBoTiQ7aT5b8cz3BBrGBH/npEjmV2RZbZ+DHMUC7IFSz8Ve3E/\n\
        q7ojvANL0d6ZIWoAh00JMiJTVg9wyvdayZ9T8qNr9gUiu2ZLXe3lxegTG/zRes7s\n\
        Uy/dQr5WCsC7xjDZ0QJBANj4VfAROP6nNC8wWh6fDbpkH0j6DyKyRgFLjXFoW817\n\
        w8tsZtYuNjutmtX/VP1TALwxSmkObUYrFQ+V90ZkXYcCQQDVWkez/pZ8JDv3zcLa\n\
        vi+3Wu8q+wCbbvIhsrg12NpIM5tO7YH6FtgKvNjRtLSeDc0WI+0AP8YksY4am4jv\n\
        F82pAkA/f45HEANKI80V8mStiYcPAbZWOTiswtfSETZ39j7HyGzo3/TIwgWFOa2S\n\
        64MIEH6qlRJd5Kb+XiVvxkf0BfOJAkBwPdSnHvKwUKez0G4IgjG8NnzIkdBZ9V4w\n\
        2EMNIQ6FGZFFTrIojcgOrhcrC/RRilUwpqnSjbqCJ17pJJY/orgxAkEAvVAfDjAI\n\
        tz0ftYyumvz818EijM3+5mcQ/H+2tfqPyHFvyU8EZ+g0eiaIsSX9tcWqn8x+gg5a\n\
        HlWKpHlxAnocbA==\n\
        -----END PRIVATE KEY-----";
    /// Made by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384`.
    const P384: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAU65n1NOi6PTGZL7sQ\n\
        BTksPbLNF1tGsD01MFJPD37vhbiY3hVghPv6DSXqEehhrOmhZANiAAROZg6M+UfE\n\
        hxhuWqgvASluCYYfG6z43ExUgROJikrYf3MJfjcWzW8FbKjWs48Od5XqqjTmcYMF\n\
        uVnoT2tV91Fn7WH6Sul3sNQ1fjoQmnia5RsLsbmbsE8DDoIOw+7Cn14=\n\
        -----END PRIVATE KEY-----";
}
