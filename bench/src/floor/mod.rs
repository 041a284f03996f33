//! Floors: the least that a scenario's work can cost, served bare by axum on the same core in the same run.
//!
//! A floor runs in a process of its own (`keyward-bench floor NAME --listen ADDRESS`), which ends when its standard
//! input does. It takes the same requests as the scenarios that are compared with it, checks nothing and stores
//! nothing but what its name says.

mod commit;
mod insert;
mod sign;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use clap::ValueEnum;
use serde::Serialize;

use crate::clock;
use crate::failure::{During, Failure};
use commit::Committer;
use insert::Inserter;
use sign::{Es256, Rs256};

/// Bytes of a stored row beside its key.
const ROW_BODY: usize = 300;

/// A floor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Floor {
    /// 2 KB of JSON.
    Json2k,
    /// One ES256 signature.
    Sign,
    /// One ES256 verification.
    Verify,
    /// One ES256 signature and one durable commit, grouped with others.
    SignCommit,
    /// One ES256 signature and one durable insert into PostgreSQL.
    SignInsert,
    /// One RS256 signature.
    SignRs256,
    /// One Argon2id hash; not over HTTP.
    Argon2,
}

impl Floor {
    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json2k => "json2k",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::SignCommit => "sign_commit",
            Self::SignInsert => "sign_insert",
            Self::SignRs256 => "sign_rs256",
            Self::Argon2 => "argon2",
        }
    }
}

/// What the bare Argon2 floor prints.
#[derive(Serialize, serde::Deserialize)]
pub struct HashRate {
    /// Hashes made.
    pub hashes: u64,
    /// In this time.
    pub seconds: f64,
    /// The median time of one in microseconds.
    pub p50: f64,
    /// 95 % took no longer, in microseconds.
    pub p95: f64,
    /// 99 % took no longer, in microseconds.
    pub p99: f64,
    /// The longest, in microseconds.
    pub max: f64,
}

/// Serves a floor until standard input ends. `database` is the PostgreSQL URL of the floor that inserts.
///
/// # Errors
/// When the address can't be bound or the floor can't be prepared.
pub async fn serve(floor: Floor, listen: SocketAddr, folder: &Path, database: Option<&str>) -> Result<(), Failure> {
    if floor == Floor::SignInsert {
        let url = database.ok_or_else(|| Failure::new("--database with a PostgreSQL URL is missing"))?;
        let inserter = Arc::new(Inserter::open(url).await?);
        answer(inserting(Es256::new()?, inserter.clone()), listen).await?;
        return inserter.close().await;
    }
    let router = match floor {
        Floor::Json2k => json2k(),
        Floor::Sign => signing(Es256::new()?),
        Floor::SignRs256 => signing_rs256(Rs256::new()?),
        Floor::Verify => verifying(Es256::new()?)?,
        Floor::SignCommit => committing(Es256::new()?, Committer::open(&folder.join("floor.db"))?),
        Floor::SignInsert | Floor::Argon2 => {
            return Err(Failure::new("argon2 is no HTTP floor: give --seconds in place of --listen"));
        }
    };
    answer(router, listen).await
}

/// Answers by a router until standard input ends.
async fn answer(router: Router, listen: SocketAddr) -> Result<(), Failure> {
    let router = router.route("/ready", get(|| async { StatusCode::OK }));
    let listener = tokio::net::TcpListener::bind(listen).await.during(format!("listening on {listen}"))?;
    // Small answers at once, as a server would.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (ended, input_ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // The parent holds the other end open; whatever ends the copy, it is gone.
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        drop(ended);
    });
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served.during("serving"),
        _ = input_ended => Ok(()),
    }
}

/// Hashes with Argon2id (19 MiB, 2 passes, 1 lane: the server's setting) for `time` and measures it.
///
/// # Errors
/// When the parameters are refused, which would be an error of this program.
pub fn argon2(time: Duration) -> Result<HashRate, Failure> {
    let params = argon2::Params::new(19 * 1024, 2, 1, Some(32)).during("Argon2 parameters")?;
    // The memory is reused from hash to hash, so that the floor has no page faults in it.
    let mut blocks = vec![argon2::Block::new(); params.block_count()];
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut latencies = crate::histogram::Histogram::new();
    let mut out = [0; 32];
    let mut hash = |salt: u64| {
        let salt = [salt.to_be_bytes(), 7_u64.to_be_bytes()].concat();
        hasher
            .hash_password_into_with_memory(b"a password of usual length", &salt, &mut out, &mut blocks)
            .during("hashing")
    };
    hash(0)?;
    let begin = clock::now();
    let mut last = begin;
    while last.saturating_duration_since(begin) < time {
        hash(latencies.total() + 1)?;
        let now = clock::now();
        latencies.record(now.saturating_duration_since(last));
        last = now;
    }
    Ok(HashRate {
        hashes: latencies.total(),
        seconds: last.saturating_duration_since(begin).as_secs_f64(),
        p50: latencies.percentile_microseconds(0.5),
        p95: latencies.percentile_microseconds(0.95),
        p99: latencies.percentile_microseconds(0.99),
        max: latencies.max_microseconds(),
    })
}

fn json(body: impl Into<axum::body::Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// A broken floor must not look fast: its answer is an error and the run shows it.
fn broken(failure: &Failure) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string()).into_response()
}

fn json2k() -> Router {
    let members: serde_json::Map<String, serde_json::Value> = (0..32)
        .map(|n| (format!("member_{n:02}"), format!("https://issuer.example/the/value/of/{n:012}").into()))
        .collect();
    let body = Bytes::from(serde_json::Value::Object(members).to_string());
    Router::new().fallback(get(move || async move { json(body.clone()) }))
}

fn token_answer(token: &str) -> Response {
    json(format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":300,"scope":"read"}}"#))
}

fn signing(key: Es256) -> Router {
    let answer = |State(key): State<Arc<Es256>>, _body: Bytes| async move {
        match key.token() {
            Ok(token) => token_answer(&token),
            Err(failure) => broken(&failure),
        }
    };
    Router::new().route("/token", post(answer)).with_state(Arc::new(key))
}

fn signing_rs256(key: Rs256) -> Router {
    let answer = |State(key): State<Arc<Rs256>>, _body: Bytes| async move {
        match key.token() {
            Ok(token) => token_answer(&token),
            Err(failure) => broken(&failure),
        }
    };
    Router::new().route("/token", post(answer)).with_state(Arc::new(key))
}

fn verifying(key: Es256) -> Result<Router, Failure> {
    let sample = key.token()?;
    let answer = |State(key): State<Arc<Es256>>, body: Bytes| async move {
        let active = form_urlencoded::parse(&body)
            .find(|(name, _)| name == "token")
            .is_some_and(|(_, token)| key.verify(&token));
        json(if active { r#"{"active":true}"# } else { r#"{"active":false}"# })
    };
    let router = Router::new().route("/introspect", post(answer)).with_state(Arc::new(key));
    Ok(router.route("/sample", get(move || async move { sample.clone() })))
}

fn committing(key: Es256, committer: Committer) -> Router {
    let answer = |State(state): State<Arc<(Es256, Committer)>>, _body: Bytes| async move {
        let (key, committer) = state.as_ref();
        // As the server does it: the commit first, then the signature.
        match committer.insert().await.and_then(|()| key.token()) {
            Ok(token) => token_answer(&token),
            Err(failure) => broken(&failure),
        }
    };
    Router::new().route("/token", post(answer)).with_state(Arc::new((key, committer)))
}

fn inserting(key: Es256, inserter: Arc<Inserter>) -> Router {
    let answer = |State(state): State<Arc<(Es256, Arc<Inserter>)>>, _body: Bytes| async move {
        let (key, inserter) = state.as_ref();
        match inserter.insert().await.and_then(|()| key.token()) {
            Ok(token) => token_answer(&token),
            Err(failure) => broken(&failure),
        }
    };
    Router::new().route("/token", post(answer)).with_state(Arc::new((key, inserter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for floor in Floor::value_variants() {
            let shown = floor.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(shown.as_deref(), Some(floor.name()));
        }
    }

    #[test]
    fn hashes_are_counted() {
        let rate = argon2(Duration::from_millis(60)).unwrap();
        assert!(rate.hashes > 0 && rate.seconds >= 0.06 && rate.p50 <= rate.max);
    }
}
