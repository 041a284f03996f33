//! `keyward users`: people, their claims, passwords and state.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use keyward_entities::{group_member, user, user_role};
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::role::closure;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::assignment;
use super::output::{Failure, Report, fields, moment_of, table};
use super::terminal::{PasswordSource, confirm_deletion, new_password};
use super::{groups, roles};
use crate::account::claims;
use crate::account::login_name::login_key;
use crate::account::password::{PasswordProblem, judge};
use crate::account::profile::new_user;
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};

/// What to do with users. A user is named by the user name or the subject.
#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// Add a user
    Add(AddUser),
    /// List users in the order of their names
    List {
        /// Only those whose name contains this
        #[arg(long, value_name = "PART")]
        search: Option<String>,
        /// Only those behind this name: the last one of the page before
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// The most that are listed
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// Show a user's claims, roles, groups, permissions and state
    Show {
        /// User name or subject
        #[arg(value_name = "NAME|SUB")]
        user: String,
    },
    /// Change a user's claims
    Edit {
        /// User name or subject
        #[arg(value_name = "NAME|SUB")]
        user: String,
        /// A standard claim by its OpenID Connect name, such as nickname=Ada, email_verified=true or
        /// address.locality=London; an empty value removes it
        #[arg(long = "claim", value_name = "NAME=VALUE", required = true, value_parser = assignment)]
        claims: Vec<(String, String)>,
    },
    /// Set a user's password; the user's sessions and tokens end
    SetPassword {
        /// User name or subject
        #[arg(value_name = "NAME|SUB")]
        user: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Keep a user from signing in; the user's sessions and tokens end
    Disable {
        /// User name or subject
        #[arg(value_name = "NAME|SUB")]
        user: String,
    },
    /// Let a disabled user sign in again
    Enable {
        /// User name or subject
        #[arg(value_name = "NAME|SUB")]
        user: String,
    },
    /// Delete a user with all that is the user's
    Delete {
        /// User name or subject
        #[arg(value_name = "NAME|SUB")]
        user: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

/// A new user.
#[derive(Debug, Args)]
pub(super) struct AddUser {
    /// User name to sign in with
    #[arg(value_name = "NAME")]
    username: String,
    /// E-mail address
    #[arg(long)]
    email: Option<String>,
    /// The e-mail address is known to be the user's
    #[arg(long, requires = "email")]
    email_verified: bool,
    /// Full name
    #[arg(long, value_name = "FULL NAME")]
    name: Option<String>,
    /// First name
    #[arg(long)]
    given_name: Option<String>,
    /// Last name
    #[arg(long)]
    family_name: Option<String>,
    /// A role to have: ROLE, or CLIENT_ID/ROLE for a client's; can be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A group to be in; can be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "no_password")]
    password_stdin: bool,
    /// The user can't sign in by password until one is set
    #[arg(long)]
    no_password: bool,
}

/// Runs it.
pub(super) async fn run(app: &App, command: UsersCommand) -> Result<Report, Failure> {
    match command {
        UsersCommand::Add(user) => add(app, user).await,
        UsersCommand::List { search, after, limit } => list(app, search, after, limit).await,
        UsersCommand::Show { user } => show(app, &find(app, &user).await?).await,
        UsersCommand::Edit { user, claims } => edit(app, &find(app, &user).await?, claims).await,
        UsersCommand::SetPassword { user, password_stdin } => {
            set_password(app, &find(app, &user).await?, password_stdin).await
        }
        UsersCommand::Disable { user } => set_disabled(app, &find(app, &user).await?, true).await,
        UsersCommand::Enable { user } => set_disabled(app, &find(app, &user).await?, false).await,
        UsersCommand::Delete { user, yes } => delete(app, &find(app, &user).await?, yes).await,
    }
}

/// The user of this name, else of this subject.
pub(super) async fn find(app: &App, text: &str) -> Result<user::Model, Failure> {
    if let Some(key) = login_key(text)
        && let Some(user) = app.store.find_user_by_login_key(&key).await?
    {
        return Ok(user);
    }
    let found = app.store.find_user_by_subject(text).await?;
    found.ok_or_else(|| Failure::refused(format_args!("there is no user {text}")))
}

async fn add(app: &App, wanted: AddUser) -> Result<Report, Failure> {
    let Some(key) = login_key(&wanted.username) else {
        return Err(Failure::refused(format_args!(
            "{:?} can't be a user name: it is empty, too long, or has blanks or control characters inside",
            wanted.username
        )));
    };
    let taken = || Failure::refused(format_args!("there is a user {} already", wanted.username.trim()));
    // Said before a password is asked for; what counts is the same look inside the act.
    if app.store.find_user_by_login_key(&key).await?.is_some() {
        return Err(taken());
    }
    let mut role_ids = BTreeSet::new();
    for role in &wanted.roles {
        role_ids.insert(roles::find(app, role).await?.id);
    }
    let mut group_ids = BTreeSet::new();
    for group in &wanted.groups {
        group_ids.insert(groups::find(app, group).await?.id);
    }
    let password = if wanted.no_password { None } else { Some(asked_password(app, &key, wanted.password_stdin)?) };
    let password_hash = match password {
        None => None,
        Some(password) => Some(app.passwords.hash(password, app.random.bytes()?).await?),
    };
    let known = claims_of(&wanted)?;
    let row = new_user(app, &wanted.username, key, known, password_hash)?;
    let now = app.clock.now();
    let mut user_roles = Vec::new();
    for role_id in role_ids {
        user_roles.push(user_role::Model { id: app.random.uuid_v7(now)?, user_id: row.id, role_id });
    }
    let mut memberships = Vec::new();
    for group_id in group_ids {
        memberships.push(group_member::Model { id: app.random.uuid_v7(now)?, group_id, user_id: row.id });
    }
    let event = AuditEvent::by_cli(AuditKind::UserAdded)
        .subject(row.subject.clone())
        .detail("roles", wanted.roles.clone())
        .detail("groups", wanted.groups.clone());
    let json = json!({ "sub": row.subject, "username": row.username });
    let line = format!("added {}, subject {}", row.username, row.subject);
    if app.store.add_user(row, user_roles, memberships, app.audit_record(event)?).await? {
        Ok(Report::line(json, line))
    } else {
        Err(taken())
    }
}

fn claims_of(wanted: &AddUser) -> Result<StandardClaims, Failure> {
    let changes: Vec<(String, String)> = [
        ("email", wanted.email.as_deref()),
        ("email_verified", wanted.email_verified.then_some("true")),
        ("name", wanted.name.as_deref()),
        ("given_name", wanted.given_name.as_deref()),
        ("family_name", wanted.family_name.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, text)| text.map(|text| (name.to_owned(), text.to_owned())))
    .collect();
    claims::change(&StandardClaims::default(), &changes).map_err(Failure::refused)
}

/// Reads a new password and judges it.
fn asked_password(app: &App, login_key: &str, stdin: bool) -> Result<SecretString, Failure> {
    let source = if stdin { PasswordSource::Stdin } else { PasswordSource::Terminal };
    let password = new_password(source)?;
    let settings = &app.settings.passwords;
    match judge(settings, password.expose_secret(), login_key) {
        None => Ok(password),
        Some(PasswordProblem::TooShort) => {
            Err(Failure::refused(format_args!("the password has fewer than {} characters", settings.min_length)))
        }
        Some(PasswordProblem::TooLong) => {
            Err(Failure::refused(format_args!("the password has more than {} bytes", settings.max_bytes)))
        }
        Some(PasswordProblem::SameAsName) => Err(Failure::refused("the password is the user name")),
    }
}

async fn list(app: &App, search: Option<String>, after: Option<String>, limit: u64) -> Result<Report, Failure> {
    let key = |text: String| {
        login_key(&text).ok_or_else(|| Failure::refused(format_args!("{text:?} can't be in a user name")))
    };
    let search = search.map(key).transpose()?;
    let after = after.map(key).transpose()?.unwrap_or_default();
    let users = app.store.list_users(&after, search.as_deref(), limit).await?;
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for user in users {
        let claims: StandardClaims = serde_json::from_str(&user.claims)?;
        json.push(json!({
            "username": user.username,
            "sub": user.subject,
            "name": claims.name,
            "email": claims.email,
            "state": state(&user),
            "created_at": moment_of(Some(user.created_at)),
        }));
        let state = state(&user).to_owned();
        rows.push([
            user.username,
            user.subject,
            claims.name.unwrap_or_default(),
            claims.email.unwrap_or_default(),
            state,
        ]);
    }
    let text = table(["USER", "SUBJECT", "NAME", "E-MAIL", "STATE"], rows, "no users");
    Ok(Report { json: Value::Array(json), text })
}

fn state(user: &user::Model) -> &'static str {
    match (user.disabled_at, &user.password_hash) {
        (Some(_), _) => "disabled",
        (None, None) => "no password",
        (None, Some(_)) => "active",
    }
}

async fn show(app: &App, user: &user::Model) -> Result<Report, Failure> {
    let claims: Value = serde_json::from_str(&user.claims)?;
    let membership = app.store.membership(user.id).await?;
    let directory = app.directory.load();
    let names = roles::Names::load(app).await?;
    let named = |ids: BTreeSet<_>| -> Vec<String> {
        let sorted: BTreeSet<String> = ids.into_iter().filter_map(|id| names.of(id)).collect();
        sorted.into_iter().collect()
    };
    let held: BTreeSet<_> = membership.roles.iter().copied().collect();
    let reached = closure(&directory.roles, held.iter().copied());
    let permissions: BTreeSet<&String> =
        reached.iter().filter_map(|id| directory.roles.get(id)).flat_map(|role| &role.permissions).collect();
    let json = json!({
        "sub": user.subject,
        "username": user.username,
        "state": state(user),
        "claims": claims,
        "groups": membership.groups,
        "roles": named(held),
        "effective_roles": named(reached),
        "permissions": permissions,
        "created_at": moment_of(Some(user.created_at)),
        "updated_at": moment_of(Some(user.updated_at)),
        "password_changed_at": moment_of(user.password_changed_at),
        "disabled_at": moment_of(user.disabled_at),
    });
    let line = |name: &str| match json.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    let mut pairs: Vec<(&str, String)> =
        vec![("user", line("username")), ("subject", line("sub")), ("state", line("state"))];
    if let Value::Object(claims) = &claims {
        for (name, value) in claims {
            match value {
                Value::String(text) => pairs.push((name, text.clone())),
                // Said only where it says something.
                Value::Bool(false) => {}
                other => pairs.push((name, other.to_string())),
            }
        }
    }
    pairs.extend([
        ("groups", line("groups")),
        ("roles", line("roles")),
        ("effective roles", line("effective_roles")),
        ("permissions", line("permissions")),
        ("created", line("created_at")),
        ("updated", line("updated_at")),
        ("password changed", line("password_changed_at")),
        ("disabled", line("disabled_at")),
    ]);
    Ok(Report { text: fields(&pairs), json })
}

async fn edit(app: &App, user: &user::Model, changes: Vec<(String, String)>) -> Result<Report, Failure> {
    let names: Vec<&str> = changes.iter().map(|(name, _)| name.as_str()).collect();
    let event = AuditEvent::by_cli(AuditKind::UserChanged).subject(user.subject.clone()).detail("claims", names);
    let event = app.audit_record(event)?;
    let outcome = app
        .store
        .change_user_claims(user.id, app.clock.now(), event, move |claims| claims::change(&claims, &changes))
        .await?;
    let changed = outcome.ok_or_else(|| gone(user))?.map_err(Failure::refused)?;
    Ok(Report::line(json!({ "sub": user.subject, "claims": changed }), format!("changed {}", user.username)))
}

/// Somebody else was faster.
fn gone(user: &user::Model) -> Failure {
    Failure::refused(format_args!("the user {} was deleted meanwhile", user.username))
}

async fn set_password(app: &App, user: &user::Model, stdin: bool) -> Result<Report, Failure> {
    let password = asked_password(app, &user.login_key, stdin)?;
    let hash = app.passwords.hash(password, app.random.bytes()?).await?;
    let event = app.audit_record(AuditEvent::by_cli(AuditKind::PasswordSet).subject(user.subject.clone()))?;
    app.store.set_password(user.id, hash, app.clock.now(), event).await?;
    app.until_ended().await;
    let line = format!("set the password of {}; sessions and tokens ended", user.username);
    Ok(Report::line(json!({ "sub": user.subject, "username": user.username }), line))
}

async fn set_disabled(app: &App, user: &user::Model, disabled: bool) -> Result<Report, Failure> {
    let state = if disabled { "disabled" } else { "enabled" };
    let json = json!({ "sub": user.subject, "username": user.username, "disabled": disabled });
    // The first moment of being disabled stays on record.
    if user.disabled_at.is_some() == disabled {
        return Ok(Report::line(json, format!("{} was {state} before", user.username)));
    }
    let event = AuditEvent::by_cli(AuditKind::UserChanged).subject(user.subject.clone()).detail("disabled", disabled);
    app.store.set_user_disabled(user.id, disabled, app.clock.now(), app.audit_record(event)?).await?;
    if disabled {
        app.until_ended().await;
    }
    Ok(Report::line(json, format!("{state} {}", user.username)))
}

async fn delete(app: &App, user: &user::Model, yes: bool) -> Result<Report, Failure> {
    if !yes {
        confirm_deletion(&format!("the user {}", user.username))?;
    }
    let event = AuditEvent::by_cli(AuditKind::UserDeleted)
        .subject(user.subject.clone())
        .detail("username", user.username.clone());
    app.store.delete_user(user.id, app.audit_record(event)?).await?;
    app.until_ended().await;
    let json = json!({ "sub": user.subject, "username": user.username });
    Ok(Report::line(json, format!("deleted {}", user.username)))
}
