//! `keyward keys revoke`: the end of a key that may be in wrong hands.
//!
//! Tokens aren't stored, so what a key signed is told from when: between its first and its last signature, of which the
//! tokens that can't have expired yet still live. Redeemed codes and rotating refresh tokens leave a row with their
//! time; a refresh token that doesn't rotate leaves none, so all standing grants of such a client count.

use std::sync::Arc;

use keyward_keys::{Algorithm, KeyState};
use keyward_protocol::Timestamp;
use keyward_protocol::key_schedule::{self, KeyRefusal, KeyWaits, ScheduledKey};
use serde_json::{Value, json};

use super::super::output::{Failure, Report, remark};
use super::super::terminal::{confirm, is_interactive};
use super::{documents, explain, rotate};
use crate::app::{App, PROPAGATION};
use crate::clock::moment;
use crate::endpoint::jwks;
use crate::signing_keys::KeyActor;

/// What becomes invalid with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    /// The key signed tokens that live; since then. `None`: none of them lives.
    signed: Option<(Timestamp, Timestamp)>,
    /// Standing grants whose tokens it signed.
    grants: u64,
    /// Of these, those of clients whose refresh tokens don't rotate: the time of their last token isn't recorded.
    unrecorded: u64,
}

pub(super) async fn run(app: &App, kid: String, yes: bool) -> Result<Report, Failure> {
    let refused = |refusal: KeyRefusal| Failure::refused(explain(&refusal));
    let keys = app.scheduled_keys().await?;
    let key = keys.iter().find(|key| key.kid == kid).ok_or_else(|| refused(KeyRefusal::Unknown))?;
    if key.state == KeyState::Revoked {
        return Err(refused(KeyRefusal::WrongState(key.state)));
    }
    let damage = damage(app, key).await?;
    let consequences = consequences(key, &damage);
    let asked = !yes && is_interactive();
    if asked {
        for line in consequences.lines() {
            remark(line);
        }
    }
    if !yes {
        let question = format!("Revoke the {} key {kid}?", key.algorithm.as_str());
        confirm(&format!("revoking {kid}"), &question).map_err(|failure| match asked {
            true => failure,
            false => Failure::refused(format_args!("{}\n{failure}", consequences.trim_end())),
        })?;
    }
    let algorithms = app.key_algorithms()?;
    let named = kid.clone();
    let rule = move |keys: &[ScheduledKey], _: &KeyWaits, _: Timestamp| key_schedule::revoke(keys, &named, &algorithms);
    let changes = app.change_keys(KeyActor::Cli, Arc::new(rule)).await?.map_err(refused)?;
    let done = rotate::report(app, &changes)?;
    let json = json!({
        "kid": kid,
        "changes": documents(&changes),
        "grants": damage.grants,
        "grants_unrecorded": damage.unrecorded,
        "signed_from": damage.signed.map_or(Value::Null, |(from, _)| moment(from).into()),
        "refused_within_seconds": PROPAGATION,
        "cached_for_seconds": jwks::MAX_AGE,
    });
    // Who was asked has read them.
    let text = if asked { done.text } else { format!("{}{consequences}", done.text) };
    Ok(Report { json, text })
}

async fn damage(app: &App, key: &ScheduledKey) -> Result<Damage, Failure> {
    let now = app.clock.now();
    let nothing = Damage { signed: None, grants: 0, unrecorded: 0 };
    let Some(activated_at) = key.activated_at else { return Ok(nothing) };
    // What was signed earlier than this has expired. A node may have signed for a moment longer than the row says.
    let from = activated_at.max(now.minus_seconds(app.remembered_waits().await?.longest_life));
    let until = key.retired_at.map_or(now, |retired| retired.plus_seconds(PROPAGATION)).min(now);
    if until < from {
        return Ok(nothing);
    }
    let mut damage = Damage { signed: Some((from, until)), ..nothing };
    let idle = app.settings.sessions.idle_timeout.as_secs();
    for counted in app.store.grants_with_tokens_of(from, until, idle, now).await? {
        let Some(client) = app.store.find_client_by_id(counted.client).await? else { continue };
        if client.disabled_at.is_some() || !signs_for(app, &client.metadata, key.algorithm) {
            continue;
        }
        if client.metadata.rotates_refresh_tokens() {
            damage.grants += counted.issued;
        } else {
            damage.grants += counted.standing;
            damage.unrecorded += counted.standing;
        }
    }
    Ok(damage)
}

/// Whether keys of this algorithm sign this client's access or ID tokens.
fn signs_for(app: &App, client: &keyward_protocol::client_metadata::ClientMetadata, algorithm: Algorithm) -> bool {
    let access = client.access_token_signed_response_alg.unwrap_or_else(|| app.access_token_algorithm());
    access == algorithm || client.id_token_signed_response_alg == algorithm
}

fn consequences(key: &ScheduledKey, damage: &Damage) -> String {
    let Some((from, until)) = damage.signed else {
        return format!(
            "No token that lives was signed by {}; it is {}. Nothing but the key becomes invalid.\n",
            key.kid, key.state
        );
    };
    let grants = match damage.grants {
        1 => "1 live grant has".to_owned(),
        count => format!("{count} live grants have"),
    };
    let mut text = format!(
        "{grants} tokens that this key signed between {} and {}. These access tokens and ID tokens become invalid, and \
         so do tokens that clients got for themselves (client credentials) in that time, which aren't counted because \
         they aren't stored.\n",
        moment(from),
        moment(until),
    );
    if damage.unrecorded > 0 {
        text.push_str(&format!(
            "Of these, {} are of clients whose refresh tokens don't rotate: the time of their last token isn't recorded, \
             so all that stand are counted.\n",
            damage.unrecorded
        ));
    }
    text.push_str(&format!(
        "Refresh tokens, sessions and consents stay: clients refresh, and nobody signs in anew. Every node refuses the \
         key's tokens within {PROPAGATION} s; a resource server that checks signatures itself may accept them until it \
         fetches the keys anew, which is {} min at the most if it heeds the cache headers.\n",
        jwks::MAX_AGE / 60,
    ));
    text
}
