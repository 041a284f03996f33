//! `keyward scopes`: the scopes that an operator defines beside the built-in ones.

use std::collections::BTreeSet;

use clap::Subcommand;
use keyward_entities::scope;
use serde_json::{Value, json};

use super::output::{Failure, Report, table};
use crate::account::entitlement::{check_name, check_scope_name, check_title};
use crate::app::{App, BUILT_IN_SCOPES};
use crate::audit::{AuditEvent, AuditKind};
use crate::store::DEFAULT_ORGANIZATION;

/// What to do with scopes.
#[derive(Debug, Subcommand)]
pub(super) enum ScopesCommand {
    /// Define a scope
    Add {
        /// Name of the scope, as clients ask for it
        name: String,
        /// What the consent page calls it
        #[arg(long)]
        title: String,
        /// What the consent page says about it
        #[arg(long)]
        description: String,
        /// A permission that tokens of this scope carry where the user has it; can be repeated
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// List scopes
    List,
    /// Delete a scope; no token gets it any more
    Delete {
        /// Name of the scope
        name: String,
    },
}

/// Runs it.
pub(super) async fn run(app: &App, command: ScopesCommand) -> Result<Report, Failure> {
    match command {
        ScopesCommand::Add { name, title, description, permissions } => {
            add(app, name, title, description, permissions).await
        }
        ScopesCommand::List => list(app).await,
        ScopesCommand::Delete { name } => delete(app, &name).await,
    }
}

async fn add(
    app: &App,
    name: String,
    title: String,
    description: String,
    permissions: Vec<String>,
) -> Result<Report, Failure> {
    check_scope_name(&name).map_err(Failure::refused)?;
    check_title(&title).map_err(Failure::refused)?;
    check_title(&description).map_err(Failure::refused)?;
    for permission in &permissions {
        check_name(permission).map_err(Failure::refused)?;
    }
    let now = app.clock.now();
    let event = AuditEvent::by_cli(AuditKind::ScopeChanged)
        .detail("scope", &*name)
        .detail("change", "added")
        .detail("permissions", permissions.clone());
    let permissions: BTreeSet<String> = permissions.into_iter().collect();
    let row = scope::Model {
        id: app.random.uuid_v7(now)?,
        organization_id: DEFAULT_ORGANIZATION,
        name: name.clone(),
        title,
        description,
        permissions: serde_json::to_string(&permissions)?,
        created_at: now.micros(),
    };
    if app.store.add_scopes(vec![row], Some(app.audit_record(event)?)).await? == 0 {
        return Err(Failure::refused(format_args!("there is a scope {name} already")));
    }
    Ok(Report::line(json!({ "scope": name }), format!("added the scope {name}")))
}

async fn list(app: &App) -> Result<Report, Failure> {
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for scope in app.store.list_scopes().await? {
        let built_in = BUILT_IN_SCOPES.contains(&scope.name.as_str());
        let permissions: Vec<String> = serde_json::from_str(&scope.permissions)?;
        json.push(json!({
            "scope": scope.name,
            "built_in": built_in,
            "title": scope.title,
            "description": scope.description,
            "permissions": permissions,
        }));
        let title = if built_in { "(built in)".to_owned() } else { scope.title };
        rows.push([scope.name, title, permissions.join(", "), scope.description]);
    }
    Ok(Report {
        json: Value::Array(json),
        text: table(["SCOPE", "TITLE", "PERMISSIONS", "DESCRIPTION"], rows, "no scopes"),
    })
}

async fn delete(app: &App, name: &str) -> Result<Report, Failure> {
    // The next start would make it again.
    if BUILT_IN_SCOPES.contains(&name) {
        return Err(Failure::refused(format_args!("the scope {name} is built in and can't be deleted")));
    }
    let event = AuditEvent::by_cli(AuditKind::ScopeChanged).detail("scope", name).detail("change", "deleted");
    if !app.store.delete_scope(name, app.audit_record(event)?).await? {
        return Err(Failure::refused(format_args!("there is no scope {name}")));
    }
    Ok(Report::line(json!({ "scope": name }), format!("deleted the scope {name}")))
}
