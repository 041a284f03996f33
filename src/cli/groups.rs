//! `keyward groups`: groups of users. What roles a group has is said by `keyward roles assign --group`.

use clap::Subcommand;
use keyward_entities::group;
use serde_json::{Value, json};

use super::output::{Failure, Report, table};
use super::roles::{Change, Names, apply};
use super::users;
use crate::account::entitlement::{check_description, check_name};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::store::DEFAULT_ORGANIZATION;
use crate::store::role::Link;

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(super) enum GroupsCommand {
    /// Add a group
    Add {
        /// Name of the group
        name: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List groups with their roles
    List,
    /// Delete a group; its members lose the roles that it gave them
    Delete {
        /// Name of the group
        name: String,
    },
    /// Put a user into a group
    Join {
        /// Name of the group
        group: String,
        /// User name or subject
        user: String,
    },
    /// Take a user out of a group
    Leave {
        /// Name of the group
        group: String,
        /// User name or subject
        user: String,
    },
}

/// Runs it.
pub(super) async fn run(app: &App, command: GroupsCommand) -> Result<Report, Failure> {
    match command {
        GroupsCommand::Add { name, description } => add(app, name, description).await,
        GroupsCommand::List => list(app).await,
        GroupsCommand::Delete { name } => delete(app, &name).await,
        GroupsCommand::Join { group, user } => member(app, &group, &user, Change::Make).await,
        GroupsCommand::Leave { group, user } => member(app, &group, &user, Change::Unmake).await,
    }
}

/// The group of this name.
pub(super) async fn find(app: &App, name: &str) -> Result<group::Model, Failure> {
    let found = app.store.list_groups().await?.into_iter().find(|group| group.name == name);
    found.ok_or_else(|| Failure::refused(format_args!("there is no group {name}")))
}

async fn add(app: &App, name: String, description: String) -> Result<Report, Failure> {
    check_name(&name).map_err(Failure::refused)?;
    check_description(&description).map_err(Failure::refused)?;
    let now = app.clock.now();
    let row = group::Model {
        id: app.random.uuid_v7(now)?,
        organization_id: DEFAULT_ORGANIZATION,
        name: name.clone(),
        description,
        created_at: now.micros(),
    };
    let event = AuditEvent::by_cli(AuditKind::GroupChanged).detail("group", &*name).detail("change", "added");
    if !app.store.add_group(row, app.audit_record(event)?).await? {
        return Err(Failure::refused(format_args!("there is a group {name} already")));
    }
    Ok(Report::line(json!({ "group": name }), format!("added the group {name}")))
}

async fn list(app: &App) -> Result<Report, Failure> {
    let names = Names::load(app).await?;
    let held = app.store.list_group_roles().await?;
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for group in app.store.list_groups().await? {
        let mut roles: Vec<String> =
            held.iter().filter(|row| row.group_id == group.id).filter_map(|row| names.of(row.role_id)).collect();
        roles.sort();
        json.push(json!({ "group": group.name, "description": group.description, "roles": roles }));
        rows.push([group.name, roles.join(", "), group.description]);
    }
    Ok(Report { json: Value::Array(json), text: table(["GROUP", "ROLES", "DESCRIPTION"], rows, "no groups") })
}

async fn delete(app: &App, name: &str) -> Result<Report, Failure> {
    let found = find(app, name).await?;
    let event = AuditEvent::by_cli(AuditKind::GroupChanged).detail("group", name).detail("change", "deleted");
    app.store.delete_group(found.id, app.audit_record(event)?).await?;
    Ok(Report::line(json!({ "group": name }), format!("deleted the group {name}")))
}

async fn member(app: &App, group: &str, user: &str, change: Change) -> Result<Report, Failure> {
    let group = find(app, group).await?;
    let user = users::find(app, user).await?;
    let link = Link::GroupMember { group: group.id, user: user.id };
    let event = AuditEvent::by_cli(AuditKind::GroupChanged).subject(user.subject).detail("group", &*group.name);
    let changed = apply(app, change, link, event).await?;
    let (group, user) = (group.name, user.username);
    let line = match (change, changed) {
        (Change::Make, true) => format!("{user} is in the group {group}"),
        (Change::Make, false) => format!("{user} was in the group {group} before"),
        (Change::Unmake, true) => format!("{user} isn't in the group {group} any more"),
        (Change::Unmake, false) => format!("{user} wasn't in the group {group}"),
    };
    Ok(Report::line(json!({ "group": group, "user": user, "changed": changed }), line))
}
