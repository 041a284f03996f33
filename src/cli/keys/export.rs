//! `keyward keys export-public`: public keys for those who can't fetch the JWK Set.

use keyward_keys::{KeyState, pem};
use keyward_protocol::key_schedule::KeyRefusal;
use serde_json::{Value, json};

use super::super::output::{Failure, Report};
use super::{PublicForm, explain};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};

pub(super) async fn run(app: &App, kid: Option<String>, form: Option<PublicForm>) -> Result<Report, Failure> {
    let ring = app.key_ring.load();
    let wanted: Vec<_> = match &kid {
        Some(kid) => ring.keys().filter(|(key, _)| key.kid() == kid).map(|(key, _)| key).collect(),
        None => ring.keys().filter(|(_, state)| state.is_published()).map(|(key, _)| key).collect(),
    };
    if wanted.is_empty() {
        let revoked = app.scheduled_keys().await?.into_iter().any(|key| Some(&key.kid) == kid.as_ref());
        let refusal = if revoked { KeyRefusal::WrongState(KeyState::Revoked) } else { KeyRefusal::Unknown };
        return Err(Failure::refused(explain(&refusal)));
    }
    let form = form.unwrap_or(if kid.is_some() { PublicForm::Jwk } else { PublicForm::Jwks });
    let report = match form {
        PublicForm::Jwk => match wanted.as_slice() {
            [key] => document(key.public_jwk())?,
            _ => return Err(Failure::refused("a JWK is one key: name it, or say --format jwks")),
        },
        PublicForm::Jwks => {
            let keys: Vec<Value> = wanted.iter().map(|key| key.public_jwk()).collect();
            document(json!({ "keys": keys }))?
        }
        PublicForm::Pem => {
            let mut text = String::new();
            for key in &wanted {
                text.push_str(&pem::public_key(&key.public_spki().map_err(Failure::refused)?));
            }
            Report { json: json!({ "pem": text }), text }
        }
    };
    let kids: Vec<&str> = wanted.iter().map(|key| key.kid()).collect();
    let event = AuditEvent::by_cli(AuditKind::KeyExported).detail("kids", json!(kids));
    app.store.write_audit(vec![app.audit_record(event)?]).await?;
    Ok(report)
}

/// The same JSON for people and programs: what is printed is what is pasted elsewhere.
fn document(json: Value) -> Result<Report, Failure> {
    let text = format!("{}\n", serde_json::to_string_pretty(&json)?);
    Ok(Report { json, text })
}
