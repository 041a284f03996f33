//! `keyward keys reseal`: another master key, without downtime. The root secret stays what it is and is sealed once more;
//! so a crash at any moment leaves a database that opens under the old key or under both.

use keyward_keys::MasterKey;
use serde_json::{Value, json};

use super::super::output::{Failure, Report, moment_of, table};
use super::super::terminal::{confirm, secret_text};
use super::ResealFlags;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::secret::{self, Keeper, KeptKey, Opened};
use crate::store::root_seal::Finished;

pub(super) async fn run(app: &App, opened: Opened, flags: ResealFlags) -> Result<Report, Failure> {
    if flags.finish {
        return finish(app, &opened, flags.yes).await;
    }
    let Some(new) = new_key(app, flags).await? else { return show(app, &opened).await };
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

/// The new master key, wherever it comes from; a file is made where there is none.
async fn new_key(app: &App, flags: ResealFlags) -> Result<Option<MasterKey>, Failure> {
    if let Some(path) = &flags.new_key_file {
        return Ok(Some(match secret::read_master_key(path)? {
            Some(master) => master,
            None => secret::make_master_key(path, app.random)?,
        }));
    }
    if flags.new_key_stdin {
        let text = secret_text(None)?;
        return Ok(Some(MasterKey::parse(text.trim()).map_err(Failure::refused)?));
    }
    let kept = match (flags.new_key_vault, flags.new_key_aws) {
        (Some(secret), _) => KeptKey::by_flag(Keeper::Vault, secret, "--new-key-vault"),
        (None, Some(secret)) => KeptKey::by_flag(Keeper::Aws, secret, "--new-key-aws"),
        (None, None) => return Ok(None),
    };
    Ok(Some(kept.read(&app.settings, &app.store, app.random, &app.clock, AuditEvent::by_cli).await?))
}

async fn show(app: &App, opened: &Opened) -> Result<Report, Failure> {
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

async fn finish(app: &App, opened: &Opened, yes: bool) -> Result<Report, Failure> {
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
