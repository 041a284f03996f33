//! `keyward keys generate|rotate|retire`: which key signs.

use std::sync::Arc;

use keyward_keys::{Algorithm, KeyState};
use keyward_protocol::Timestamp;
use keyward_protocol::key_schedule::{self, Haste, KeyMove, KeyRefusal, KeyWaits, ScheduledKey};
use serde_json::{Value, json};

use super::super::output::{Failure, Report};
use super::{documents, explain};
use crate::app::App;
use crate::clock::moment;
use crate::signing_keys::KeyActor;
use crate::store::signing_key::{KeyChange, KeyChangeKind};

pub(super) const fn haste(at_once: bool) -> Haste {
    if at_once { Haste::AtOnce } else { Haste::Wait }
}

fn configured(app: &App, algorithm: Algorithm) -> Result<(), Failure> {
    if app.key_algorithms()?.contains(&algorithm) {
        Ok(())
    } else {
        Err(Failure::refused(explain(&KeyRefusal::NotConfigured(algorithm))))
    }
}

pub(super) async fn generate(app: &App, algorithm: Algorithm, bits: Option<u32>) -> Result<Report, Failure> {
    configured(app, algorithm)?;
    let fresh = app.new_signing_key(algorithm, bits).await.map_err(Failure::refused)?;
    let rule = move |_: &[ScheduledKey], _: &KeyWaits, _: Timestamp| {
        Ok(vec![KeyMove::Add { algorithm, state: KeyState::Next }])
    };
    let changes = app.change_keys_with(KeyActor::Cli, Arc::new(rule), vec![fresh]).await?;
    report(app, &changes.map_err(|refusal| Failure::refused(explain(&refusal)))?)
}

pub(super) async fn rotate(
    app: &App,
    algorithms: &[Algorithm],
    to: Option<String>,
    haste: Haste,
) -> Result<Report, Failure> {
    for algorithm in algorithms {
        configured(app, *algorithm)?;
    }
    let mut json = Vec::new();
    let mut text = String::new();
    let mut changed = false;
    for &algorithm in algorithms {
        let to = to.clone();
        let rule = move |keys: &[ScheduledKey], waits: &KeyWaits, now: Timestamp| {
            key_schedule::rotate(keys, algorithm, to.as_deref(), haste, waits, now)
        };
        let (document, line) = match app.change_keys(KeyActor::Cli, Arc::new(rule)).await? {
            Ok(changes) => {
                changed = true;
                describe(app, algorithm, &changes)
            }
            Err(refusal) => describe_refusal(algorithm, &refusal),
        };
        json.push(document);
        text.push_str(&line);
        text.push('\n');
    }
    // Where nothing could be done the exit code says so, and the text when to come again.
    if changed { Ok(Report { json: Value::Array(json), text }) } else { Err(Failure::refused(text.trim_end())) }
}

pub(super) async fn retire(app: &App, kid: String, haste: Haste) -> Result<Report, Failure> {
    let algorithms = app.key_algorithms()?;
    let rule = move |keys: &[ScheduledKey], waits: &KeyWaits, now: Timestamp| {
        key_schedule::retire(keys, &kid, &algorithms, haste, waits, now)
    };
    let changes = app.change_keys(KeyActor::Cli, Arc::new(rule)).await?;
    report(app, &changes.map_err(|refusal| Failure::refused(explain(&refusal)))?)
}

/// What became of keys, a line each.
pub(super) fn report(app: &App, changes: &[KeyChange]) -> Result<Report, Failure> {
    let text = changes.iter().map(|change| format!("{}\n", sentence(app, change))).collect();
    Ok(Report { json: documents(changes), text })
}

fn sentence(app: &App, change: &KeyChange) -> String {
    let (name, kid) = (change.algorithm.as_str(), &change.kid);
    let published_at = app.clock.now();
    match change.kind {
        KeyChangeKind::Published => {
            format!("{name}: published {kid} as a next key; it may sign from {} on", signs_from(app, published_at))
        }
        KeyChangeKind::Activated => format!("{name}: {kid} is new and signs from now on"),
        KeyChangeKind::Promoted => format!("{name}: {kid} signs from now on"),
        KeyChangeKind::Retired => {
            format!("{name}: {kid} doesn't sign any more; it stays published until its tokens have expired")
        }
        KeyChangeKind::Withdrawn => format!("{name}: {kid} isn't published any more"),
        KeyChangeKind::Removed => format!("{name}: {kid} is removed"),
        KeyChangeKind::Revoked => format!("{name}: {kid} is revoked"),
    }
}

/// The first whole second at which a key of this age may sign.
fn signs_from(app: &App, published_at: Timestamp) -> String {
    moment(app.key_waits().signs_from(published_at).plus_seconds(1))
}

fn describe(app: &App, algorithm: Algorithm, changes: &[KeyChange]) -> (Value, String) {
    let name = algorithm.as_str();
    let one = |kind: KeyChangeKind| changes.iter().find(|change| change.kind == kind).map(|change| &*change.kid);
    let (active, next) = (one(KeyChangeKind::Promoted), one(KeyChangeKind::Published));
    let from = next.map(|_| signs_from(app, app.clock.now()));
    let outcome = if active.is_some() { "rotated" } else { "published" };
    let document = json!({
        "algorithm": name,
        "outcome": outcome,
        "active": active,
        "retired": one(KeyChangeKind::Retired),
        "next": next,
        "rotate_again_from": from,
    });
    let line = match (active, next, from) {
        (Some(active), Some(next), _) => {
            format!("{name}: {active} signs from now on; published {next} as the next key")
        }
        (Some(active), None, _) => format!("{name}: {active} signs from now on"),
        (None, Some(next), Some(from)) => {
            format!("{name}: published {next} as the next key; run this again from {from} on, and it signs")
        }
        _ => format!("{name}: nothing was changed"),
    };
    (document, line)
}

fn describe_refusal(algorithm: Algorithm, refusal: &KeyRefusal) -> (Value, String) {
    let name = algorithm.as_str();
    let line = format!("{name}: {}", explain(refusal));
    let document = match refusal {
        KeyRefusal::TooSoon { kid, from } => json!({
            "algorithm": name,
            "outcome": "too_soon",
            "next": kid,
            "rotate_again_from": moment(from.plus_seconds(1)),
        }),
        _ => json!({ "algorithm": name, "outcome": "refused", "reason": explain(refusal) }),
    };
    (document, line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::settings::Settings;

    async fn app(clock: Clock) -> (tempfile::TempDir, Arc<App>) {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data_dir = folder.path().to_owned();
        settings.keys.algorithms = vec!["ES256".to_owned()];
        (folder, App::start(settings, clock).await.unwrap())
    }

    #[tokio::test]
    async fn a_key_is_published_before_it_signs_and_stays_published_afterwards() {
        let (_folder, app) = app(Clock::standing_at(Timestamp::from_seconds(1_800_000_000))).await;
        let states = async || {
            let keys = app.store.signing_keys().await.unwrap();
            let mut states: Vec<_> = keys.into_iter().map(|key| key.state).collect();
            states.sort();
            states.join(" ")
        };
        let rotate = async |haste| rotate(&app, &[Algorithm::Es256], None, haste).await;
        assert_eq!(states().await, "active next", "a fresh server has both");
        let refused = rotate(Haste::Wait).await.unwrap_err().to_string();
        assert!(refused.contains("too new"), "{refused}");
        assert_eq!(states().await, "active next");
        app.clock.advance(app.key_waits().publication);
        let keys = app.store.signing_keys().await.unwrap();
        let next = &keys.iter().find(|key| key.state == "next").unwrap().kid;
        let version = app.store.directory_version().await.unwrap();
        assert_eq!(rotate(Haste::Wait).await.unwrap().json[0]["active"], **next);
        assert_eq!(states().await, "active next retired");
        assert!(app.store.directory_version().await.unwrap() > version, "a running server must notice");
        assert_eq!(rotate(Haste::AtOnce).await.unwrap().json[0]["outcome"], "rotated");
        assert_eq!(states().await, "active next retired retired");
        let (generated, rotated) =
            (app.store.audit_events("key_generated", 10).await, app.store.audit_events("key_rotated", 10).await);
        // The first two keys were made at the start.
        assert_eq!((generated.unwrap().len(), rotated.unwrap().len()), (4, 2));
        app.reload().await.unwrap();
        assert_eq!(app.key_ring.load().keys().filter(|(_, state)| state.is_published()).count(), 4);
    }

    #[tokio::test]
    async fn an_algorithm_that_the_settings_do_not_name_is_refused() {
        let (_folder, app) = app(Clock::system()).await;
        let before = app.store.signing_keys().await.unwrap();
        assert!(rotate(&app, &[Algorithm::EdDsa], None, Haste::AtOnce).await.is_err());
        assert!(generate(&app, Algorithm::EdDsa, None).await.is_err());
        assert!(generate(&app, Algorithm::Es256, Some(2048)).await.is_err(), "a curve key has one size");
        assert_eq!(app.store.signing_keys().await.unwrap(), before);
    }

    #[tokio::test]
    async fn the_key_that_shall_sign_can_be_named_among_several() {
        let (_folder, app) = app(Clock::system()).await;
        let made = generate(&app, Algorithm::Es256, None).await.unwrap();
        let kid = made.json[0]["kid"].as_str().unwrap().to_owned();
        let done = rotate(&app, &[Algorithm::Es256], Some(kid.clone()), Haste::AtOnce).await.unwrap();
        assert_eq!(done.json[0]["active"], *kid);
        assert!(done.json[0]["next"].is_null(), "there is another next key");
        assert!(retire(&app, "unknown".into(), Haste::AtOnce).await.is_err());
        let changed = retire(&app, kid.clone(), Haste::AtOnce).await.unwrap();
        assert_eq!(changed.json[0]["change"], "retired");
        assert!(retire(&app, kid, Haste::AtOnce).await.is_err(), "it doesn't sign any more");
    }
}
