//! What `keyward-guard` costs a resource server: a token it hasn't seen (`guard_cold`) beside the bare signature check
//! of aws-lc-rs with a parsed key, and a token it has (`guard_warm`).
//!
//! Rounds of both are interleaved on one thread and the quickest round of each counts, so that a neighbour's noise hits
//! both alike or is left out. Left out: HTTP, and the fetching of keys and lists.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_guard::testing::{TestIssuer, TokenBuilder};
use keyward_guard::{Discovery, Guard, SignatureAlgorithm, Verifier};
use serde_json::{Value, json};

use crate::clock;
use crate::failure::{During, Failure};

/// Tokens of a round: fewer than a guard remembers, more than a core's nearest cache holds.
const TOKENS: usize = 2_000;

/// A cold check may cost this many bare ones.
const COLD_TARGET: f64 = 1.15;

/// A warm check may take this long.
const WARM_TARGET: Duration = Duration::from_micros(2);

const AUDIENCE: &str = "https://api.bench.example";

/// What one algorithm came to; times are of one check.
struct Row {
    algorithm: &'static str,
    bare: Duration,
    cold: Duration,
    warm: Duration,
}

/// The whole measurement.
pub struct GuardReport {
    rows: Vec<Row>,
    warm_with_status: Duration,
}

impl GuardReport {
    /// Whether every target was met.
    pub fn passed(&self) -> bool {
        let met = |row: &Row| row.ratio() <= COLD_TARGET && row.warm <= WARM_TARGET;
        self.rows.iter().all(met) && self.warm_with_status <= WARM_TARGET
    }

    /// A Markdown table.
    ///
    /// # Errors
    /// Where the text can't be put together.
    pub fn markdown(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        writeln!(
            text,
            "| algorithm | bare check | guard_cold | ratio (at most {COLD_TARGET}) | guard_warm (at most 2 µs) |"
        )?;
        writeln!(text, "|---|--:|--:|--:|--:|")?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        for row in &self.rows {
            let (bare, cold, warm) = (micros(row.bare), micros(row.cold), micros(row.warm));
            writeln!(text, "| {} | {bare:.1} µs | {cold:.1} µs | {:.3} | {warm:.2} µs |", row.algorithm, row.ratio())?;
        }
        writeln!(text, "\nguard_warm with a look into a status list: {:.2} µs", micros(self.warm_with_status))?;
        Ok(text)
    }
}

impl Row {
    fn ratio(&self) -> f64 {
        self.cold.as_secs_f64() / self.bare.as_secs_f64()
    }
}

/// Measures for about `time` in all.
///
/// # Errors
/// When a key can't be read or a token is refused.
pub async fn measure(time: Duration) -> Result<GuardReport, Failure> {
    let mut rows = Vec::new();
    let algorithms = [
        ("ES256", SignatureAlgorithm::Es256),
        ("Ed25519", SignatureAlgorithm::Ed25519),
        ("RS256", SignatureAlgorithm::Rs256),
    ];
    for (name, algorithm) in algorithms {
        rows.push(measure_algorithm(name, algorithm, time / 4).await?);
    }
    Ok(GuardReport { rows, warm_with_status: measure_status(time / 4).await? })
}

async fn measure_algorithm(name: &'static str, algorithm: SignatureAlgorithm, time: Duration) -> Result<Row, Failure> {
    let issuer = TestIssuer::new(AUDIENCE);
    issuer.rotate_to(algorithm);
    let public = public_key(&issuer.key().jwk(), algorithm)?;
    let tokens: Vec<String> = (0..TOKENS).map(|_| usual(&issuer).mint()).collect();
    let signed: Vec<(&[u8], Vec<u8>)> = tokens.iter().map(|token| parts(token)).collect::<Result<_, _>>()?;
    let mut row = Row { algorithm: name, bare: Duration::MAX, cold: Duration::MAX, warm: Duration::MAX };
    let end = clock::now() + time;
    while clock::now() < end {
        let start = clock::now();
        for (message, signature) in &signed {
            public.verify_sig(message, signature).during("the bare check")?;
        }
        row.bare = row.bare.min(each(start));
        // A new guard knows no token; it reads the system's clock, as in production.
        let guard = Guard::builder(Verifier::new(issuer.issuer()).audience(AUDIENCE)).with_keys(issuer.key_set());
        row.cold = row.cold.min(round(&guard, &tokens).await?);
        row.warm = row.warm.min(round(&guard, &tokens).await?);
    }
    Ok(row)
}

async fn measure_status(time: Duration) -> Result<Duration, Failure> {
    let issuer = TestIssuer::serve(AUDIENCE).await;
    let guard = Guard::builder(Verifier::new(issuer.issuer()).audience(AUDIENCE));
    let guard = guard.discover(Discovery::new()).during("starting the guard")?;
    let tokens: Vec<String> = (0..TOKENS).map(|_| usual(&issuer).revocable().mint()).collect();
    round(&guard, &tokens).await?;
    let mut warm = Duration::MAX;
    let end = clock::now() + time;
    while clock::now() < end {
        warm = warm.min(round(&guard, &tokens).await?);
    }
    Ok(warm)
}

/// One check of each token; the time of one.
async fn round(guard: &Guard, tokens: &[String]) -> Result<Duration, Failure> {
    let start = clock::now();
    for token in tokens {
        guard.verify(token).await.during("the guard's check")?;
    }
    Ok(each(start))
}

fn each(start: std::time::Instant) -> Duration {
    (clock::now() - start).div_f64(TOKENS as f64)
}

/// A token with what Keyward usually puts in.
fn usual(issuer: &TestIssuer) -> TokenBuilder {
    issuer
        .token("6pB0Jt3kXq5nWmZr8sYv2A")
        .scope("openid profile offline_access")
        .role("reader")
        .role("writer")
        .signed_in(60, "urn:keyward:acr:1")
        .claim("amr", json!(["pwd"]))
        .claim("sid", "Zk3vQ8mT1xY6cR0bN5hLwA")
        .claim("grant", "4fJ7dS2gH9kL0zXcV1bN3m")
}

/// What is signed, and the signature.
fn parts(token: &str) -> Result<(&[u8], Vec<u8>), Failure> {
    let (message, signature) = token.rsplit_once('.').ok_or_else(|| Failure::new("a token without a signature"))?;
    Ok((message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).during("reading a signature")?))
}

fn public_key(jwk: &Value, algorithm: SignatureAlgorithm) -> Result<ParsedPublicKey, Failure> {
    let octets = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        URL_SAFE_NO_PAD.decode(text).during("reading a key")
    };
    match algorithm {
        SignatureAlgorithm::Es256 => {
            let point = [vec![4], octets("x")?, octets("y")?].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).during("parsing a key")
        }
        SignatureAlgorithm::Ed25519 => ParsedPublicKey::new(&ED25519, octets("x")?).during("parsing a key"),
        _ => RsaPublicKeyComponents { n: octets("n")?, e: octets("e")? }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .during("parsing a key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_figure_is_measured() {
        let report = measure(Duration::from_millis(4)).await.unwrap();
        assert_eq!(report.rows.iter().map(|row| row.algorithm).collect::<Vec<_>>(), ["ES256", "Ed25519", "RS256"]);
        for row in &report.rows {
            assert!(row.bare < Duration::from_secs(1) && row.cold > Duration::ZERO && row.warm < row.cold);
        }
        assert!(report.markdown().unwrap().contains("| ES256 |"));
    }

    #[test]
    fn a_missed_target_is_not_passed() {
        let micros = Duration::from_micros;
        let report = |cold, warm, status| GuardReport {
            rows: vec![Row { algorithm: "ES256", bare: micros(100), cold: micros(cold), warm: micros(warm) }],
            warm_with_status: micros(status),
        };
        assert!(report(115, 2, 2).passed());
        assert!(!report(116, 2, 2).passed() && !report(115, 3, 2).passed() && !report(115, 2, 3).passed());
    }
}
