//! `keyward keys reseal`: another master key, without downtime. The root secret stays what it is and is sealed once more;
//! so a crash at any moment leaves a database that opens under the old key or under both.

use keyward_keys::MasterKey;
use serde_json::{Value, json};

use super::super::output::{Failure, Report, moment_of, table};
use super::super::terminal::{confirm, secret_text};
use super::ResealFlags;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::secret;
use crate::store::root_seal::Finished;

pub(super) async fn run(app: &App, flags: ResealFlags) -> Result<Report, Failure> {
    if flags.finish {
        return finish(app, flags.yes).await;
    }
    let new = match &flags.new_key_file {
        Some(path) => match secret::read_master_key(path)? {
            Some(master) => master,
            None => secret::make_master_key(path, app.random)?,
        },
        None if flags.new_key_stdin => {
            let text = secret_text(None)?;
            MasterKey::parse(text.trim()).map_err(Failure::refused)?
        }
        None => return show(app).await,
    };
    let opened = secret::open_root(&app.settings, &app.store, app.random, app.clock.now()).await?;
    let (old, new_fingerprint) = (opened.master.fingerprint(), new.fingerprint());
    if old == new_fingerprint {
        return Err(Failure::refused("this is the master key that the settings name already"));
    }
    let seal = secret::sealed_copy(&opened.root, &new, app.random, app.clock.now())?;
    let event = AuditEvent::by_cli(AuditKind::MasterKeyAdded).detail("fingerprint", &*new_fingerprint);
    let added = app.store.add_root_seal(seal, app.audit_record(event)?).await?;
    let json = json!({ "added": added, "old": old, "new": new_fingerprint });
    let first = if added {
        format!("the master key {new_fingerprint} opens the database from now on, and so does {old}")
    } else {
        format!("the master key {new_fingerprint} opens the database already")
    };
    let text = format!(
        "{first}\nnow give the new key to every node by its settings and restart them one by one; then, with the new key \
         in the settings, run `keyward keys reseal --finish`\n"
    );
    Ok(Report { json, text })
}

async fn show(app: &App) -> Result<Report, Failure> {
    let opened = secret::open_root(&app.settings, &app.store, app.random, app.clock.now()).await?;
    let current = opened.master.fingerprint();
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for seal in app.store.root_state().await?.seals {
        let since = moment_of(Some(seal.created_at)).unwrap_or_default();
        let used = seal.fingerprint == current;
        json.push(json!({ "fingerprint": seal.fingerprint, "since": since, "in_settings": used }));
        rows.push([seal.fingerprint, since, if used { "yes" } else { "no" }.to_owned()]);
    }
    let text = table(["MASTER KEY", "SINCE", "IN THE SETTINGS"], rows, "no master keys");
    Ok(Report { json: Value::Array(json), text })
}

async fn finish(app: &App, yes: bool) -> Result<Report, Failure> {
    let opened = secret::open_root(&app.settings, &app.store, app.random, app.clock.now()).await?;
    let current = opened.master.fingerprint();
    let state = app.store.root_state().await?;
    let others: Vec<&str> =
        state.seals.iter().map(|seal| &*seal.fingerprint).filter(|other| *other != current).collect();
    if others.is_empty() {
        let line = format!("only the master key {current} opens the database; there is nothing to finish");
        return Ok(Report::line(json!({ "kept": current, "removed": [] }), line));
    }
    if !yes {
        let named = others.join(" and ");
        confirm(
            &format!("taking the database from the master key {named}"),
            &format!("Shall {named} open the database no more? A node that has no other key can't start then."),
        )?;
    }
    let event = AuditEvent::by_cli(AuditKind::MasterKeyChanged).detail("fingerprint", &*current);
    match app.store.keep_one_root_seal(current.clone(), app.audit_record(event)?).await? {
        Finished::Removed(removed) => {
            let line = format!("only the master key {current} opens the database from now on");
            Ok(Report::line(json!({ "kept": current, "removed": removed }), line))
        }
        Finished::NotSealed => Err(Failure::refused("the database isn't sealed under the master key of the settings")),
    }
}
