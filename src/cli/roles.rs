//! `keyward roles`: roles, what they include, and who has them. A client's role is written `CLIENT_ID/ROLE`.

use std::collections::{BTreeMap, BTreeSet};

use clap::{ArgGroup, Args, Subcommand};
use keyward_entities::{client, role, role_inclusion};
use serde_json::{Value, json};
use uuid::Uuid;

use super::output::{Failure, Report, table};
use super::{clients, groups, users};
use crate::account::entitlement::{check_description, check_name, check_role_name};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::store::DEFAULT_ORGANIZATION;
use crate::store::role::{Link, LinkOutcome};

/// What to do with roles.
#[derive(Debug, Subcommand)]
pub(super) enum RolesCommand {
    /// Add a role
    Add(AddRole),
    /// List roles with what they include and allow
    List,
    /// Delete a role; nobody has it any more
    Delete {
        /// ROLE, or CLIENT_ID/ROLE
        #[arg(value_name = "ROLE")]
        role: String,
    },
    /// Let a role include another: who has the first has the second too
    Include {
        /// ROLE, or CLIENT_ID/ROLE
        #[arg(value_name = "ROLE")]
        role: String,
        /// The role that it comes to include
        #[arg(value_name = "OTHER")]
        other: String,
    },
    /// Let a role include another no more
    Exclude {
        /// ROLE, or CLIENT_ID/ROLE
        #[arg(value_name = "ROLE")]
        role: String,
        /// The role that it includes
        #[arg(value_name = "OTHER")]
        other: String,
    },
    /// Give a role to a user or a group
    Assign(Assignment),
    /// Take a role from a user or a group
    Unassign(Assignment),
}

/// A new role.
#[derive(Debug, Args)]
pub(super) struct AddRole {
    /// Name of the role, or CLIENT_ID/ROLE
    #[arg(value_name = "ROLE")]
    role: String,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// A permission that it gives; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// The client whose role it is
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// A role that it includes; can be repeated
    #[arg(long = "includes", value_name = "ROLE")]
    includes: Vec<String>,
}

/// A role and who has it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("holder").required(true))]
pub(super) struct Assignment {
    /// ROLE, or CLIENT_ID/ROLE
    #[arg(value_name = "ROLE")]
    role: String,
    /// User name or subject
    #[arg(long, group = "holder")]
    user: Option<String>,
    /// Name of a group
    #[arg(long, group = "holder")]
    group: Option<String>,
}

/// Runs it.
pub(super) async fn run(app: &App, command: RolesCommand) -> Result<Report, Failure> {
    match command {
        RolesCommand::Add(wanted) => add(app, wanted).await,
        RolesCommand::List => list(app).await,
        RolesCommand::Delete { role } => delete(app, &role).await,
        RolesCommand::Include { role, other } => include(app, &role, &other, Change::Make).await,
        RolesCommand::Exclude { role, other } => include(app, &role, &other, Change::Unmake).await,
        RolesCommand::Assign(assignment) => assign(app, assignment, Change::Make).await,
        RolesCommand::Unassign(assignment) => assign(app, assignment, Change::Unmake).await,
    }
}

/// Whether a membership comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It comes.
    Make,
    /// It goes.
    Unmake,
}

/// Makes or unmakes a membership; gives whether anything changed.
pub(super) async fn apply(app: &App, change: Change, link: Link, event: AuditEvent) -> Result<bool, Failure> {
    let event = event.detail("change", if change == Change::Make { "made" } else { "unmade" });
    let event = app.audit_record(event)?;
    let outcome = match change {
        Change::Make => app.store.link(link, app.random.uuid_v7(app.clock.now())?, event).await?,
        Change::Unmake => app.store.unlink(link, event).await?,
    };
    match outcome {
        LinkOutcome::Changed => Ok(true),
        LinkOutcome::AlreadySo => Ok(false),
        LinkOutcome::Circle => Err(Failure::refused("the roles would include each other in a circle")),
    }
}

/// Takes `CLIENT_ID/ROLE` apart; the server's own roles have no client.
fn parse(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((client, name)) => (Some(client), name),
        None => (None, text),
    }
}

async fn client_row(app: &App, client_id: Option<&str>) -> Result<Option<Uuid>, Failure> {
    match client_id {
        None => Ok(None),
        Some(client_id) => Ok(Some(clients::find(app, client_id).await?.id)),
    }
}

/// The role that is written so.
pub(super) async fn find(app: &App, text: &str) -> Result<role::Model, Failure> {
    let (client_id, name) = parse(text);
    let client = client_row(app, client_id).await?;
    let found = app.store.list_roles().await?.into_iter().find(|role| role.client == client && role.name == name);
    found.ok_or_else(|| Failure::refused(format_args!("there is no role {text}")))
}

/// How every role is written.
#[derive(Debug)]
pub(super) struct Names(BTreeMap<Uuid, String>);

impl Names {
    /// Reads them.
    pub(super) async fn load(app: &App) -> Result<Self, Failure> {
        let roles = app.store.list_roles().await?;
        let clients =
            if roles.iter().any(|role| role.client.is_some()) { clients::all(app).await? } else { Vec::new() };
        Ok(Self(roles.iter().map(|role| (role.id, written(role, &clients))).collect()))
    }

    /// How this one is written.
    pub(super) fn of(&self, id: Uuid) -> Option<String> {
        self.0.get(&id).cloned()
    }
}

fn written(role: &role::Model, clients: &[client::Model]) -> String {
    let owner = role.client.and_then(|id| clients.iter().find(|client| client.id == id));
    match owner {
        Some(client) => format!("{}/{}", client.client_id, role.name),
        None => role.name.clone(),
    }
}

async fn add(app: &App, wanted: AddRole) -> Result<Report, Failure> {
    let (client_id, name) = match (&wanted.client, parse(&wanted.role)) {
        (Some(client_id), (None, name)) => (Some(client_id.as_str()), name),
        (Some(_), (Some(_), _)) => {
            return Err(Failure::refused("name the client once, before the slash or by --client"));
        }
        (None, parsed) => parsed,
    };
    check_role_name(name).map_err(Failure::refused)?;
    check_description(&wanted.description).map_err(Failure::refused)?;
    for permission in &wanted.permissions {
        check_name(permission).map_err(Failure::refused)?;
    }
    let client = client_row(app, client_id).await?;
    let now = app.clock.now();
    let id = app.random.uuid_v7(now)?;
    let mut included = BTreeSet::new();
    for role in &wanted.includes {
        included.insert(find(app, role).await?.id);
    }
    let mut includes = Vec::new();
    for included_role_id in included {
        includes.push(role_inclusion::Model { id: app.random.uuid_v7(now)?, role_id: id, included_role_id });
    }
    let permissions: BTreeSet<&String> = wanted.permissions.iter().collect();
    let row = role::Model {
        id,
        organization_id: DEFAULT_ORGANIZATION,
        client,
        name: name.to_owned(),
        description: wanted.description.clone(),
        permissions: serde_json::to_string(&permissions)?,
        created_at: now.micros(),
    };
    let written = match client_id {
        Some(client_id) => format!("{client_id}/{name}"),
        None => name.to_owned(),
    };
    let event = AuditEvent::by_cli(AuditKind::RoleChanged)
        .detail("role", &*written)
        .detail("change", "added")
        .detail("permissions", wanted.permissions.clone())
        .detail("includes", wanted.includes.clone());
    if !app.store.add_role(row, includes, app.audit_record(event)?).await? {
        return Err(Failure::refused(format_args!("there is a role {written} already")));
    }
    Ok(Report::line(json!({ "role": written }), format!("added the role {written}")))
}

async fn list(app: &App) -> Result<Report, Failure> {
    let names = Names::load(app).await?;
    let directory = app.directory.load();
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for role in app.store.list_roles().await? {
        let written = names.of(role.id).unwrap_or_default();
        let permissions: Vec<String> = serde_json::from_str(&role.permissions)?;
        let mut includes: Vec<String> = directory
            .roles
            .get(&role.id)
            .map(|known| known.includes.iter().filter_map(|id| names.of(*id)).collect())
            .unwrap_or_default();
        includes.sort();
        json.push(json!({
            "role": written,
            "description": role.description,
            "permissions": permissions,
            "includes": includes,
        }));
        rows.push([written, includes.join(", "), permissions.join(", "), role.description]);
    }
    rows.sort();
    Ok(Report {
        json: Value::Array(json),
        text: table(["ROLE", "INCLUDES", "PERMISSIONS", "DESCRIPTION"], rows, "no roles"),
    })
}

async fn delete(app: &App, role: &str) -> Result<Report, Failure> {
    let found = find(app, role).await?;
    let event = AuditEvent::by_cli(AuditKind::RoleChanged).detail("role", role).detail("change", "deleted");
    app.store.delete_role(found.id, app.audit_record(event)?).await?;
    Ok(Report::line(json!({ "role": role }), format!("deleted the role {role}")))
}

async fn include(app: &App, role: &str, other: &str, change: Change) -> Result<Report, Failure> {
    let link = Link::Inclusion { role: find(app, role).await?.id, included: find(app, other).await?.id };
    let event = AuditEvent::by_cli(AuditKind::RoleChanged).detail("role", role).detail("included_role", other);
    let changed = apply(app, change, link, event).await?;
    let line = match (change, changed) {
        (Change::Make, true) => format!("{role} includes {other}"),
        (Change::Make, false) => format!("{role} included {other} before"),
        (Change::Unmake, true) => format!("{role} doesn't include {other} any more"),
        (Change::Unmake, false) => format!("{role} didn't include {other}"),
    };
    Ok(Report::line(json!({ "role": role, "other": other, "changed": changed }), line))
}

async fn assign(app: &App, assignment: Assignment, change: Change) -> Result<Report, Failure> {
    let role = find(app, &assignment.role).await?.id;
    let event = AuditEvent::by_cli(AuditKind::RoleChanged).detail("role", &*assignment.role);
    let (holder, link, event) = match (&assignment.user, &assignment.group) {
        (Some(user), _) => {
            let user = users::find(app, user).await?;
            (user.username, Link::UserRole { user: user.id, role }, event.subject(user.subject))
        }
        (None, Some(group)) => {
            let group = groups::find(app, group).await?;
            let event = event.detail("group", group.name.clone());
            (group.name, Link::GroupRole { group: group.id, role }, event)
        }
        (None, None) => return Err(Failure::refused("a role is given to a user or a group")),
    };
    let changed = apply(app, change, link, event).await?;
    let role = &assignment.role;
    let line = match (change, changed) {
        (Change::Make, true) => format!("{holder} has the role {role}"),
        (Change::Make, false) => format!("{holder} had the role {role} before"),
        (Change::Unmake, true) => format!("{holder} doesn't have the role {role} any more"),
        (Change::Unmake, false) => format!("{holder} didn't have the role {role}"),
    };
    let json = json!({ "role": role, "user": assignment.user, "group": assignment.group, "changed": changed });
    Ok(Report::line(json, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_role_is_written_with_a_slash() {
        assert_eq!(parse("admin"), (None, "admin"));
        assert_eq!(parse("shop/owner"), (Some("shop"), "owner"));
        assert_eq!(parse("shop/a/b"), (Some("shop"), "a/b"));
    }
}
