//! `keyward scopes`: the scopes that an operator defines beside the built-in ones.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use keyward_entities::scope;
use serde_json::{Value, json};
use uuid::Uuid;

use super::output::{Failure, Report, table};
use super::roles;
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
        /// Only people who have this role, or one that includes it, are granted the scope: ROLE or CLIENT_ID/ROLE; can be
        /// repeated, one of them is enough
        #[arg(long = "only-for-role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// Change a scope: only what is named changes, and a list is replaced as a whole
    Edit(EditScope),
    /// List scopes
    List,
    /// Delete a scope; no token gets it any more
    Delete {
        /// Name of the scope
        name: String,
    },
}

/// What changes.
#[derive(Debug, Args)]
pub(super) struct EditScope {
    /// Name of the scope
    name: String,
    /// What the consent page calls it
    #[arg(long)]
    title: Option<String>,
    /// What the consent page says about it
    #[arg(long)]
    description: Option<String>,
    /// A permission that tokens of this scope carry where the user has it; can be repeated, "" for none
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Option<Vec<String>>,
    /// Only people who have this role, or one that includes it, are granted the scope; can be repeated, "" for anybody
    #[arg(long = "only-for-role", value_name = "ROLE")]
    roles: Option<Vec<String>>,
}

/// Runs it.
pub(super) async fn run(app: &App, command: ScopesCommand) -> Result<Report, Failure> {
    match command {
        ScopesCommand::Add { name, title, description, permissions, roles } => {
            add(app, name, title, description, permissions, roles).await
        }
        ScopesCommand::Edit(wanted) => edit(app, wanted).await,
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
    roles: Vec<String>,
) -> Result<Report, Failure> {
    check_scope_name(&name).map_err(Failure::refused)?;
    check_title(&title).map_err(Failure::refused)?;
    check_title(&description).map_err(Failure::refused)?;
    for permission in &permissions {
        check_name(permission).map_err(Failure::refused)?;
    }
    let now = app.clock.now();
    let role_ids = role_ids(app, &roles).await?;
    let event = AuditEvent::by_cli(AuditKind::ScopeChanged)
        .detail("scope", &*name)
        .detail("change", "added")
        .detail("permissions", permissions.clone())
        .detail("only_for_roles", roles);
    let permissions: BTreeSet<String> = permissions.into_iter().collect();
    let row = scope::Model {
        id: app.random.uuid_v7(now)?,
        organization_id: DEFAULT_ORGANIZATION,
        name: name.clone(),
        title,
        description,
        permissions: serde_json::to_string(&permissions)?,
        created_at: now.micros(),
        role_ids,
    };
    if app.store.add_scopes(vec![row], Some(app.audit_record(event)?)).await? == 0 {
        return Err(Failure::refused(format_args!("there is a scope {name} already")));
    }
    Ok(Report::line(json!({ "scope": name }), format!("added the scope {name}")))
}

/// The ids of these roles, as a scope keeps them.
async fn role_ids(app: &App, roles: &[String]) -> Result<String, Failure> {
    let mut ids = BTreeSet::new();
    for role in roles {
        ids.insert(roles::find(app, role).await?.id);
    }
    Ok(serde_json::to_string(&ids)?)
}

async fn edit(app: &App, wanted: EditScope) -> Result<Report, Failure> {
    let EditScope { name, title, description, permissions, roles } = wanted;
    // A list is emptied by naming an empty text alone.
    let list = |named: Option<Vec<String>>| {
        named.map(|items| items.into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>())
    };
    let (permissions, roles) = (list(permissions), list(roles));
    let mut event = AuditEvent::by_cli(AuditKind::ScopeChanged).detail("scope", &*name).detail("change", "edited");
    // The pages have the words of these in every language, and what they give is the specification's.
    let built_in = BUILT_IN_SCOPES.contains(&name.as_str());
    if built_in && (title.is_some() || description.is_some() || permissions.is_some()) {
        return Err(Failure::refused(format_args!("the scope {name} is built in: only its roles can be changed")));
    }
    for text in title.iter().chain(&description) {
        check_title(text).map_err(Failure::refused)?;
    }
    for permission in permissions.iter().flatten() {
        check_name(permission).map_err(Failure::refused)?;
    }
    let role_ids = match &roles {
        Some(roles) => Some(role_ids(app, roles).await?),
        None => None,
    };
    if let Some(permissions) = &permissions {
        event = event.detail("permissions", permissions.clone());
    }
    if let Some(roles) = roles {
        event = event.detail("only_for_roles", roles);
    }
    let permissions = permissions.map(|list| list.into_iter().collect::<BTreeSet<String>>());
    let permissions = permissions.map(|list| serde_json::to_string(&list)).transpose()?;
    let change = move |scope: &mut scope::Model| {
        let fields = [&mut scope.title, &mut scope.description, &mut scope.permissions, &mut scope.role_ids];
        for (field, named) in fields.into_iter().zip([title, description, permissions, role_ids]) {
            if let Some(value) = named {
                *field = value;
            }
        }
    };
    if !app.store.change_scope(&name, app.audit_record(event)?, change).await? {
        return Err(Failure::refused(format_args!("there is no scope {name}")));
    }
    Ok(Report::line(json!({ "scope": name }), format!("changed the scope {name}")))
}

async fn list(app: &App) -> Result<Report, Failure> {
    let names = roles::Names::load(app).await?;
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for scope in app.store.list_scopes().await? {
        let built_in = BUILT_IN_SCOPES.contains(&scope.name.as_str());
        let permissions: Vec<String> = serde_json::from_str(&scope.permissions)?;
        // A role that is gone leaves the scope to nobody: that is shown, and not that anybody may have it.
        let role_ids: Vec<Uuid> = serde_json::from_str(&scope.role_ids)?;
        let only_for: Vec<String> =
            role_ids.into_iter().map(|id| names.of(id).unwrap_or_else(|| format!("(deleted role {id})"))).collect();
        json.push(json!({
            "only_for_roles": only_for,
            "scope": scope.name,
            "built_in": built_in,
            "title": scope.title,
            "description": scope.description,
            "permissions": permissions,
        }));
        let title = if built_in { "(built in)".to_owned() } else { scope.title };
        rows.push([scope.name, title, permissions.join(", "), only_for.join(", "), scope.description]);
    }
    Ok(Report {
        json: Value::Array(json),
        text: table(["SCOPE", "TITLE", "PERMISSIONS", "ONLY FOR", "DESCRIPTION"], rows, "no scopes"),
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
