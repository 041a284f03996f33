//! `keyward clients`: the applications that use this server, their metadata and secrets.

mod flags;
mod show;
mod warnings;

use clap::{Args, Subcommand};
use keyward_entities::client;
use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::GrantType;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::output::{Failure, Format, Report, fields, remark};
use super::terminal::{ask, confirm_deletion, is_interactive};
use crate::account::client::{self as registration, ClientProblem, uses_secret};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::settings::Seconds;
use crate::store::client::RegisteredClient;

use flags::{MetadataFlags, named_jwks};
use warnings::warn;

/// Rows that one look into the database brings.
const PAGE: u64 = 500;

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub(super) enum ClientsCommand {
    /// Register a client; its secret is shown this once
    Add(AddClient),
    /// List clients
    List,
    /// Show a client's metadata and how many secrets it has
    Show {
        /// The client's id
        #[arg(value_name = "ID")]
        client_id: String,
    },
    /// Change a client: only what is named changes, and a list is replaced as a whole
    Edit {
        /// The client's id
        #[arg(value_name = "ID")]
        client_id: String,
        #[command(flatten)]
        flags: Box<MetadataFlags>,
    },
    /// Give a client a new secret, shown this once; the others end after the overlap
    RotateSecret {
        /// The client's id
        #[arg(value_name = "ID")]
        client_id: String,
        /// How long the other secrets still work
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        overlap: Seconds,
    },
    /// Keep a client from getting and using anything; what users granted it ends
    Disable {
        /// The client's id
        #[arg(value_name = "ID")]
        client_id: String,
    },
    /// Let a disabled client work again
    Enable {
        /// The client's id
        #[arg(value_name = "ID")]
        client_id: String,
    },
    /// Delete a client with all that users granted it
    Delete {
        /// The client's id
        #[arg(value_name = "ID")]
        client_id: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

/// A new client.
#[derive(Debug, Args)]
#[command(mut_arg("name", |name| name.required(true)))]
pub(super) struct AddClient {
    /// The client's id; one is made up unless it is given
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    flags: Box<MetadataFlags>,
}

/// Runs it.
pub(super) async fn run(app: &App, command: ClientsCommand, format: Format) -> Result<Report, Failure> {
    match command {
        ClientsCommand::Add(wanted) => add(app, wanted, format).await,
        ClientsCommand::List => show::list(all(app).await?),
        ClientsCommand::Show { client_id } => show::show(&find(app, &client_id).await?),
        ClientsCommand::Edit { client_id, flags } => edit(app, &client_id, *flags).await,
        ClientsCommand::RotateSecret { client_id, overlap } => rotate_secret(app, &client_id, overlap).await,
        ClientsCommand::Disable { client_id } => set_disabled(app, &client_id, true).await,
        ClientsCommand::Enable { client_id } => set_disabled(app, &client_id, false).await,
        ClientsCommand::Delete { client_id, yes } => delete(app, &client_id, yes).await,
    }
}

impl From<ClientProblem> for Failure {
    fn from(problem: ClientProblem) -> Self {
        match problem {
            ClientProblem::Fault(fault) => Self::Fault(fault),
            problem => Self::refused(problem),
        }
    }
}

/// The client of this id.
pub(super) async fn find(app: &App, client_id: &str) -> Result<RegisteredClient, Failure> {
    let found = app.store.find_client(client_id).await?;
    Ok(found.ok_or_else(|| ClientProblem::Unknown(client_id.to_owned()))?)
}

/// Every client.
pub(super) async fn all(app: &App) -> Result<Vec<client::Model>, Failure> {
    let mut clients: Vec<client::Model> = Vec::new();
    loop {
        let after = clients.last().map(|client| client.client_id.clone()).unwrap_or_default();
        let page = app.store.list_clients(&after, PAGE).await?;
        if page.is_empty() {
            return Ok(clients);
        }
        clients.extend(page);
    }
}

async fn add(app: &App, wanted: AddClient, format: Format) -> Result<Report, Failure> {
    let jwks = named_jwks(&wanted.flags)?;
    let names_algorithm = wanted.flags.id_token_alg.is_some();
    let mut metadata = wanted.flags.new_client(jwks);
    if !names_algorithm
        && metadata.has_grant(GrantType::AuthorizationCode)
        && format == Format::Text
        && is_interactive()
    {
        // What can't be registered anyway is said before a question is asked.
        metadata.check().map_err(ClientProblem::Metadata)?;
        metadata.id_token_signed_response_alg = asked_algorithm(app)?;
    }
    let registered = registration::register(app, wanted.id, &metadata).await?;
    warn(app, &metadata);
    let mut json = json!({ "client_id": registered.client_id });
    let mut pairs = vec![("client_id", registered.client_id)];
    if let Some(secret) = registered.client_secret {
        show_secret(&mut json, secret.expose_secret());
        pairs.push(("client_secret", secret.expose_secret().to_owned()));
    }
    Ok(Report { json, text: fields(&pairs) })
}

fn show_secret(json: &mut Value, secret: &str) {
    if let Some(members) = json.as_object_mut() {
        members.insert("client_secret".to_owned(), secret.into());
    }
    remark("the secret is shown this once: only its hash is stored");
}

/// Protocol decision 17: on a terminal the operator chooses, and ES256 is suggested; RS256 is what every library takes.
fn asked_algorithm(app: &App) -> Result<Algorithm, Failure> {
    let ring = app.key_ring.load();
    let offered: Vec<Algorithm> =
        Algorithm::ALL.into_iter().filter(|algorithm| ring.active(*algorithm).is_some()).collect();
    let Some(suggested) = offered.first() else { return Err(Failure::refused("this server has no signing key")) };
    let names: Vec<&str> = offered.iter().map(|algorithm| algorithm.as_str()).collect();
    let question = format!(
        "Algorithm of ID tokens: {} (RS256 is the one that every library knows) [{suggested}]: ",
        names.join(", ")
    );
    loop {
        let answer = ask(&question)?;
        if answer.is_empty() {
            return Ok(*suggested);
        }
        match answer.parse() {
            Ok(algorithm) if offered.contains(&algorithm) => return Ok(algorithm),
            _ => remark(format_args!("please name one of {}", names.join(", "))),
        }
    }
}

async fn edit(app: &App, client_id: &str, flags: MetadataFlags) -> Result<Report, Failure> {
    let jwks = named_jwks(&flags)?;
    let before = find(app, client_id).await?;
    let metadata = registration::edit(app, client_id, move |metadata| flags.apply(jwks, metadata)).await?;
    warn(app, &metadata);
    if uses_secret(&metadata) && before.secrets.is_empty() {
        remark(format_args!("{client_id} has no secret yet: `keyward clients rotate-secret` makes one"));
    }
    Ok(Report::line(json!({ "client_id": client_id, "metadata": metadata }), format!("changed {client_id}")))
}

async fn rotate_secret(app: &App, client_id: &str, overlap: Seconds) -> Result<Report, Failure> {
    let secret = registration::rotate_secret(app, client_id, overlap.as_secs()).await?;
    let mut json = json!({ "client_id": client_id });
    show_secret(&mut json, secret.expose_secret());
    let pairs = [("client_id", client_id.to_owned()), ("client_secret", secret.expose_secret().to_owned())];
    Ok(Report { text: fields(&pairs), json })
}

async fn set_disabled(app: &App, client_id: &str, disabled: bool) -> Result<Report, Failure> {
    let state = if disabled { "disabled" } else { "enabled" };
    let event = AuditEvent::by_cli(AuditKind::ClientChanged).client(client_id).detail("disabled", disabled);
    let event = app.audit_record(event)?;
    let changed = app.store.set_client_disabled(client_id, disabled, app.clock.now(), event).await?;
    let changed = changed.ok_or_else(|| ClientProblem::Unknown(client_id.to_owned()))?;
    if disabled {
        app.until_heard().await;
    }
    let line = if changed { format!("{state} {client_id}") } else { format!("{client_id} was {state} before") };
    Ok(Report::line(json!({ "client_id": client_id, "disabled": disabled }), line))
}

async fn delete(app: &App, client_id: &str, yes: bool) -> Result<Report, Failure> {
    let client = find(app, client_id).await?;
    if !yes {
        confirm_deletion(&format!("the client {client_id} ({})", client.metadata.client_name))?;
    }
    let event = AuditEvent::by_cli(AuditKind::ClientDeleted).client(client_id);
    app.store.delete_client(client.id, app.audit_record(event)?).await?;
    app.until_heard().await;
    Ok(Report::line(json!({ "client_id": client_id }), format!("deleted {client_id}")))
}
