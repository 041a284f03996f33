//! `keyward keys`: the signing keys and their rotation. A key is published before it signs, and stays published after
//! it signed, so that no client with a cached JWK Set meets a token that it can't verify (requirement KE-1).

use clap::Subcommand;
use keyward_keys::{Algorithm, KeyState};
use keyward_protocol::Timestamp;
use serde_json::{Value, json};

use super::output::{Failure, Report, moment, moment_of, table};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::endpoint::jwks::MAX_AGE;
use crate::store::signing_key::Rotation;

/// What to do with signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the signing keys and their states
    List,
    /// Publish a next key, or let the next key sign if it has been published long enough
    Rotate {
        /// Algorithm whose key is rotated; else all that the settings name
        #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm)]
        algorithm: Option<Algorithm>,
        /// Don't wait until every client can have seen the next key
        #[arg(long)]
        now: bool,
    },
}

/// Runs it.
pub(super) async fn run(app: &App, command: KeysCommand) -> Result<Report, Failure> {
    match command {
        KeysCommand::List => list(app).await,
        KeysCommand::Rotate { algorithm, now } => {
            let algorithms = match algorithm {
                Some(algorithm) => vec![algorithm],
                None => configured(app)?,
            };
            rotate(app, &algorithms, now).await
        }
    }
}

fn configured(app: &App) -> Result<Vec<Algorithm>, Failure> {
    app.settings.keys.algorithms.iter().map(|name| name.parse().map_err(Failure::refused)).collect()
}

async fn list(app: &App) -> Result<Report, Failure> {
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for key in app.store.signing_keys().await? {
        let times = [Some(key.created_at), key.activated_at, key.retired_at].map(moment_of);
        let [created, activated, retired] = times;
        json.push(json!({
            "kid": key.kid,
            "algorithm": key.algorithm,
            "state": key.state,
            "created_at": created,
            "activated_at": activated,
            "retired_at": retired,
        }));
        let [created, activated, retired] = [created, activated, retired].map(Option::unwrap_or_default);
        rows.push([key.kid, key.algorithm, key.state, created, activated, retired]);
    }
    let headings = ["KEY", "ALGORITHM", "STATE", "PUBLISHED", "SIGNS SINCE", "RETIRED"];
    Ok(Report { json: Value::Array(json), text: table(headings, rows, "no keys") })
}

async fn rotate(app: &App, algorithms: &[Algorithm], at_once: bool) -> Result<Report, Failure> {
    let configured = configured(app)?;
    if let Some(unknown) = algorithms.iter().find(|algorithm| !configured.contains(algorithm)) {
        return Err(Failure::refused(format_args!("the setting keys.algorithms doesn't name {unknown}")));
    }
    let mut json = Vec::new();
    let mut text = String::new();
    let mut changed = false;
    for &algorithm in algorithms {
        let now = app.clock.now();
        let published_by = if at_once { now } else { now.minus_seconds(MAX_AGE) };
        let (fresh, generated) = app.new_signing_key(algorithm, KeyState::Next).await?;
        let next = fresh.kid.clone();
        let published = Timestamp::from_micros(fresh.created_at);
        let rotated = AuditEvent::by_cli(AuditKind::KeyRotated)
            .detail("algorithm", algorithm.as_str())
            .detail("next_kid", &*next);
        let rotated = app.audit_record(rotated)?;
        let outcome = app.store.rotate_signing_key(fresh, published_by, now, generated, rotated).await?;
        changed |= !matches!(outcome, Rotation::TooSoon { .. });
        let (document, line) = describe(algorithm, &next, published, outcome);
        json.push(document);
        text.push_str(&line);
        text.push('\n');
    }
    // Where nothing could be done the exit code says so, and the text when to come again.
    if changed { Ok(Report { json: Value::Array(json), text }) } else { Err(Failure::refused(text.trim_end())) }
}

/// The first whole second at which a key of this age may sign.
fn signs_from(published_at: Timestamp) -> String {
    moment(published_at.plus_seconds(MAX_AGE + 1))
}

fn describe(algorithm: Algorithm, fresh: &str, published: Timestamp, outcome: Rotation) -> (Value, String) {
    let name = algorithm.as_str();
    match outcome {
        Rotation::Published => {
            let from = signs_from(published);
            (
                json!({ "algorithm": name, "outcome": "published", "next": fresh, "rotate_again_from": from }),
                format!("{name}: published {fresh} as the next key; run this again from {from} on, and it signs"),
            )
        }
        Rotation::Promoted { kid } => {
            let from = signs_from(published);
            (
                json!({
                    "algorithm": name,
                    "outcome": "rotated",
                    "active": kid,
                    "next": fresh,
                    "rotate_again_from": from,
                }),
                format!("{name}: {kid} signs from now on; published {fresh} as the next key"),
            )
        }
        Rotation::TooSoon { kid, published_at } => {
            let from = signs_from(published_at);
            (
                json!({ "algorithm": name, "outcome": "too_soon", "next": kid, "rotate_again_from": from }),
                format!(
                    "{name}: the next key {kid} is too new for every client to have seen it; \
                     run this again from {from} on, or say --now"
                ),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::settings::Settings;

    #[tokio::test]
    async fn a_key_is_published_before_it_signs_and_stays_published_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data_dir = folder.path().to_owned();
        settings.keys.algorithms = vec!["ES256".to_owned()];
        let app = App::start(settings, Clock::standing_at(Timestamp::from_seconds(1_800_000_000))).await.unwrap();
        let states = async || {
            let keys = app.store.signing_keys().await.unwrap();
            let mut states: Vec<_> = keys.into_iter().map(|key| key.state).collect();
            states.sort();
            states.join(" ")
        };
        let rotate = async |at_once| rotate(&app, &[Algorithm::Es256], at_once).await;
        assert_eq!(rotate(false).await.unwrap().json[0]["outcome"], "published");
        assert_eq!(states().await, "active next");
        let refused = rotate(false).await.unwrap_err().to_string();
        assert!(refused.contains("too new"), "{refused}");
        assert_eq!(states().await, "active next");
        app.clock.advance(MAX_AGE);
        let keys = app.store.signing_keys().await.unwrap();
        let next = &keys.iter().find(|key| key.state == "next").unwrap().kid;
        let version = app.store.directory_version().await.unwrap();
        assert_eq!(rotate(false).await.unwrap().json[0]["active"], **next);
        assert_eq!(states().await, "active next retired");
        assert!(app.store.directory_version().await.unwrap() > version, "a running server must notice");
        assert_eq!(rotate(true).await.unwrap().json[0]["outcome"], "rotated");
        assert_eq!(states().await, "active next retired retired");
        let (generated, rotated) =
            (app.store.audit_events("key_generated", 10).await, app.store.audit_events("key_rotated", 10).await);
        // The first key was made at the start.
        assert_eq!((generated.unwrap().len(), rotated.unwrap().len()), (4, 2));
        app.reload().await.unwrap();
        assert_eq!(app.key_ring.load().keys().filter(|(_, state)| state.is_published()).count(), 4);
    }

    #[tokio::test]
    async fn an_algorithm_that_the_settings_do_not_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data_dir = folder.path().to_owned();
        settings.keys.algorithms = vec!["ES256".to_owned()];
        let app = App::start(settings, Clock::system()).await.unwrap();
        assert!(rotate(&app, &[Algorithm::EdDsa], false).await.is_err());
        assert_eq!(app.store.signing_keys().await.unwrap().len(), 1);
    }
}
