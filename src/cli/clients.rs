//! `keyward clients`: the applications that use this server, their metadata and secrets.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use keyward_entities::client;
use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::{AuthMethod, ClientMetadata, ClientType, GrantType};
use keyward_protocol::scope::ScopeSet;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::output::{Failure, Format, Report, fields, moment, remark, table};
use super::terminal::{ask, confirm_deletion, is_interactive};
use crate::account::client::{self as registration, ClientProblem, uses_secret};
use crate::app::App;
use crate::audit::{AuditEvent, AuditKind};
use crate::settings::Seconds;
use crate::store::client::RegisteredClient;

/// What a client of the code flow may ask for unless the operator says otherwise.
const CODE_FLOW_SCOPE: &str = "openid profile email offline_access";
/// Rows that one look into the database brings.
const PAGE: u64 = 500;
/// Longest file of keys that is read, in bytes.
const MOST_JWKS_BYTES: u64 = 256 * 1024;

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

/// A value, or the word that unsets it, such as `default` where the server then chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice<T> {
    /// It isn't set.
    Unset,
    /// The client's own.
    Own(T),
}

impl<T> Choice<T> {
    fn own(self) -> Option<T> {
        match self {
            Self::Unset => None,
            Self::Own(value) => Some(value),
        }
    }
}

/// The metadata that can be named. What isn't named keeps its value, or the default where the client is new.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct MetadataFlags {
    /// Name that people see
    #[arg(long)]
    name: Option<String>,
    /// Whether it can keep a secret: `public` for single-page and native apps [default: confidential]
    #[arg(long = "type", value_name = "TYPE", value_parser = client_types())]
    client_type: Option<ClientType>,
    /// Address that answers may go to; can be repeated, "" for none
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Option<Vec<String>>,
    /// Address that a browser may go to after logout; can be repeated, "" for none
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Option<Vec<String>>,
    /// Origin whose scripts may call, beside those of the redirect URIs; can be repeated, "" for none
    #[arg(long = "web-origin", value_name = "ORIGIN")]
    web_origins: Option<Vec<String>>,
    /// Grant that it may use; can be repeated, `none` for none [default: authorization_code and refresh_token where there is a redirect
    /// URI]
    #[arg(long = "grant", value_name = "GRANT", value_parser = grants())]
    grants: Option<Vec<Choice<GrantType>>>,
    /// Scopes that it may be granted, separated by blanks [default: "openid profile email offline_access" for the code
    /// flow]
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    scope: Option<ScopeSet>,
    /// Scopes that it gets where it asks for none that it may have
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    default_scope: Option<ScopeSet>,
    /// The one way in which it authenticates, or `any` for Basic or post
    #[arg(long, value_name = "METHOD", value_parser = auth_method)]
    auth_method: Option<Choice<AuthMethod>>,
    /// File with its public keys, a JWK Set; "" for none
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<PathBuf>,
    /// Algorithm of its ID tokens: ES256, EdDSA, RS256 or PS256 [default: asked for on a terminal, else RS256]
    #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm)]
    id_token_alg: Option<Algorithm>,
    /// Algorithm of its access tokens, or `default` for the server's
    #[arg(long, value_name = "ALGORITHM", value_parser = own_algorithm)]
    access_token_alg: Option<Choice<Algorithm>>,
    /// Don't demand PKCE; public clients always need it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_pkce: Option<bool>,
    /// The operator's own: users aren't asked for consent
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    first_party: Option<bool>,
    /// A native app that the operator vouches for: consent is remembered
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    trusted_native: Option<bool>,
    /// Don't rotate refresh tokens; those of public clients always rotate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_rotation: Option<bool>,
    /// Audience that it stands for as a resource server; can be repeated, "" for none
    #[arg(long = "audience", value_name = "URI")]
    audiences: Option<Vec<String>>,
    /// Resource that it may ask for, the first being its default; can be repeated, "" for none
    #[arg(long = "resource", value_name = "URI")]
    resources: Option<Vec<String>>,
    /// Life of its access tokens, such as 30m, or `default` for the server's
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    access_token_lifetime: Option<Choice<u64>>,
    /// How long its refresh tokens may lie unused, or `default`
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    refresh_idle_lifetime: Option<Choice<u64>>,
    /// How long its refresh tokens may live in all, or `default`
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    refresh_absolute_lifetime: Option<Choice<u64>>,
    /// Its home page; "" for none
    #[arg(long, value_name = "URL")]
    client_uri: Option<String>,
    /// Its privacy policy; "" for none
    #[arg(long, value_name = "URL")]
    policy_uri: Option<String>,
    /// Its terms; "" for none
    #[arg(long, value_name = "URL")]
    tos_uri: Option<String>,
    /// Put the claims that scopes name into the ID token too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    id_token_claims: Option<bool>,
}

fn client_types() -> impl TypedValueParser<Value = ClientType> {
    PossibleValuesParser::new(["confidential", "public"]).map(|text| match text.as_str() {
        "public" => ClientType::Public,
        _ => ClientType::Confidential,
    })
}

fn grants() -> impl TypedValueParser<Value = Choice<GrantType>> {
    let names = GrantType::ALL.map(GrantType::as_str).into_iter().chain(["none"]);
    PossibleValuesParser::new(names).map(|text| GrantType::parse(&text).map_or(Choice::Unset, Choice::Own))
}

fn scopes(text: &str) -> Result<ScopeSet, &'static str> {
    ScopeSet::parse(text).map_err(|refusal| refusal.description)
}

fn auth_method(text: &str) -> Result<Choice<AuthMethod>, String> {
    match (text, AuthMethod::parse(text)) {
        ("any", _) => Ok(Choice::Unset),
        (_, Some(method)) => Ok(Choice::Own(method)),
        (_, None) => Err(format!("this is any, {}", AuthMethod::ALL.map(AuthMethod::as_str).join(", "))),
    }
}

fn own_algorithm(text: &str) -> Result<Choice<Algorithm>, String> {
    if text == "default" { Ok(Choice::Unset) } else { super::algorithm(text).map(Choice::Own) }
}

fn own_lifetime(text: &str) -> Result<Choice<u64>, &'static str> {
    if text == "default" { Ok(Choice::Unset) } else { text.parse::<Seconds>().map(|span| Choice::Own(span.as_secs())) }
}

impl MetadataFlags {
    /// Changes what is named. `jwks` is what the named file holds.
    fn apply(self, jwks: Option<Option<Value>>, metadata: &mut ClientMetadata) {
        fn put<T>(field: &mut T, named: Option<T>) {
            if let Some(value) = named {
                *field = value;
            }
        }
        // A list is emptied by naming an empty text alone, and so is a text.
        let list = |named: Option<Vec<String>>| {
            named.map(|items| items.into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>())
        };
        let text = |named: Option<String>| named.map(|text| Some(text).filter(|text| !text.is_empty()));
        put(&mut metadata.client_name, self.name);
        put(&mut metadata.client_type, self.client_type);
        put(&mut metadata.redirect_uris, list(self.redirect_uris));
        put(&mut metadata.post_logout_redirect_uris, list(self.post_logout_redirect_uris));
        put(&mut metadata.web_origins, list(self.web_origins));
        put(&mut metadata.grant_types, self.grants.map(|grants| grants.into_iter().filter_map(Choice::own).collect()));
        put(&mut metadata.scope, self.scope);
        put(&mut metadata.default_scope, self.default_scope);
        put(&mut metadata.token_endpoint_auth_method, self.auth_method.map(Choice::own));
        put(&mut metadata.jwks, jwks);
        put(&mut metadata.id_token_signed_response_alg, self.id_token_alg);
        put(&mut metadata.access_token_signed_response_alg, self.access_token_alg.map(Choice::own));
        put(&mut metadata.require_pkce, self.no_pkce.map(|no| !no));
        put(&mut metadata.first_party, self.first_party);
        put(&mut metadata.trusted_native, self.trusted_native);
        put(&mut metadata.rotate_refresh_tokens, self.no_rotation.map(|no| !no));
        put(&mut metadata.audiences, list(self.audiences));
        put(&mut metadata.resources, list(self.resources));
        put(&mut metadata.access_token_lifetime, self.access_token_lifetime.map(Choice::own));
        put(&mut metadata.refresh_token_idle_lifetime, self.refresh_idle_lifetime.map(Choice::own));
        put(&mut metadata.refresh_token_absolute_lifetime, self.refresh_absolute_lifetime.map(Choice::own));
        put(&mut metadata.client_uri, text(self.client_uri));
        put(&mut metadata.policy_uri, text(self.policy_uri));
        put(&mut metadata.tos_uri, text(self.tos_uri));
        put(&mut metadata.id_token_scope_claims, self.id_token_claims);
    }

    /// The metadata of a new client.
    fn new_client(self, jwks: Option<Option<Value>>) -> ClientMetadata {
        let (names_grants, names_scope) = (self.grants.is_some(), self.scope.is_some());
        let mut metadata = ClientMetadata::default();
        self.apply(jwks, &mut metadata);
        if !names_grants && !metadata.redirect_uris.is_empty() {
            metadata.grant_types = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        }
        if !names_scope && metadata.has_grant(GrantType::AuthorizationCode) {
            for scope in CODE_FLOW_SCOPE.split(' ') {
                metadata.scope.insert(scope);
            }
        }
        metadata
    }
}

/// Runs it.
pub(super) async fn run(app: &App, command: ClientsCommand, format: Format) -> Result<Report, Failure> {
    match command {
        ClientsCommand::Add(wanted) => add(app, wanted, format).await,
        ClientsCommand::List => list(app).await,
        ClientsCommand::Show { client_id } => show(&find(app, &client_id).await?),
        ClientsCommand::Edit { client_id, flags } => edit(app, &client_id, *flags).await,
        ClientsCommand::RotateSecret { client_id, overlap } => rotate_secret(app, &client_id, overlap).await,
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

/// What stands, though the operator should think twice.
fn warn(app: &App, metadata: &ClientMetadata) {
    let directory = app.directory.load();
    let known_scope = |scope: &str| directory.scopes.contains_key(scope);
    let known_audience = |audience: &str| directory.audiences.contains_key(audience);
    for warning in warnings(metadata, known_scope, known_audience) {
        remark(format_args!("warning: {warning}"));
    }
}

fn warnings(
    metadata: &ClientMetadata,
    known_scope: impl Fn(&str) -> bool,
    known_audience: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if !metadata.require_pkce {
        warnings.push(match metadata.client_type {
            ClientType::Confidential => {
                "without PKCE an authorization code that leaks can be used by whoever injects it into this client \
                 (RFC 9700, section 4.5)"
                    .to_owned()
            }
            ClientType::Public => "PKCE is demanded all the same, for the client is public".to_owned(),
        });
    }
    if metadata.client_type == ClientType::Public && !metadata.rotate_refresh_tokens {
        warnings.push("refresh tokens rotate all the same, for the client is public".to_owned());
    }
    for scope in metadata.scope.iter().filter(|scope| !known_scope(scope)) {
        warnings.push(format!("no scope {scope} is defined: until `keyward scopes add` nobody is granted it"));
    }
    for resource in metadata.resources.iter().filter(|resource| !known_audience(resource)) {
        warnings
            .push(format!("no client stands for the audience {resource}: until one does nobody gets a token for it"));
    }
    warnings
}

fn named_jwks(flags: &MetadataFlags) -> Result<Option<Option<Value>>, Failure> {
    match flags.jwks_file.as_deref() {
        None => Ok(None),
        Some(path) if path.as_os_str().is_empty() => Ok(Some(None)),
        Some(path) => read_jwks(path).map(|jwks| Some(Some(jwks))),
    }
}

fn read_jwks(path: &Path) -> Result<Value, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::refused(format_args!("{}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| broken(&error))?.len();
    if size > MOST_JWKS_BYTES {
        return Err(broken(&format_args!("a JWK Set of more than {MOST_JWKS_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| broken(&error))?;
    let jwks = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    // The rule is asked again with the whole metadata; here it can say which key is wrong.
    keyward_keys::ClientKeys::parse(&jwks).map_err(|error| broken(&error))?;
    Ok(jwks)
}

async fn list(app: &App) -> Result<Report, Failure> {
    let mut json = Vec::new();
    let mut rows = Vec::new();
    for client in all(app).await? {
        let metadata: ClientMetadata = serde_json::from_str(&client.metadata)?;
        let kind = kind(metadata.client_type);
        let grants: Vec<&str> = metadata.grant_types.iter().map(|grant| grant.as_str()).collect();
        json.push(json!({
            "client_id": client.client_id,
            "client_name": metadata.client_name,
            "client_type": kind,
            "grant_types": grants,
            "disabled": client.disabled_at.is_some(),
        }));
        let state = if client.disabled_at.is_some() { "disabled" } else { "active" };
        rows.push([client.client_id, metadata.client_name, kind.to_owned(), grants.join(", "), state.to_owned()]);
    }
    let text = table(["CLIENT", "NAME", "TYPE", "GRANTS", "STATE"], rows, "no clients");
    Ok(Report { json: Value::Array(json), text })
}

fn kind(client_type: ClientType) -> &'static str {
    match client_type {
        ClientType::Confidential => "confidential",
        ClientType::Public => "public",
    }
}

fn show(client: &RegisteredClient) -> Result<Report, Failure> {
    let metadata = serde_json::to_value(&client.metadata)?;
    let ends: Vec<Option<String>> = client.secrets.iter().map(|(_, ends)| ends.map(moment)).collect();
    let disabled_at = client.disabled_at.map(moment);
    let mut pairs = vec![("client_id", client.client_id.clone())];
    if let Value::Object(members) = &metadata {
        for (name, value) in members {
            pairs.push((name, in_words(value)));
        }
    }
    let secrets = ends.iter().map(|ends| match ends {
        None => "works without end".to_owned(),
        Some(moment) => format!("works until {moment}"),
    });
    if uses_secret(&client.metadata) {
        pairs.push(("secrets", format!("{}: {}", ends.len(), secrets.collect::<Vec<_>>().join(", "))));
    }
    pairs.push(("disabled", disabled_at.clone().unwrap_or_default()));
    let text = fields(&pairs);
    let secrets: Vec<Value> = ends.into_iter().map(|ends| json!({ "expires_at": ends })).collect();
    let json = json!({
        "client_id": client.client_id,
        "metadata": metadata,
        "secrets": secrets,
        "disabled_at": disabled_at,
    });
    Ok(Report { json, text })
}

/// A value of the metadata for people; what isn't set is empty.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
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

async fn delete(app: &App, client_id: &str, yes: bool) -> Result<Report, Failure> {
    let client = find(app, client_id).await?;
    if !yes {
        confirm_deletion(&format!("the client {client_id} ({})", client.metadata.client_name))?;
    }
    let event = AuditEvent::by_cli(AuditKind::ClientDeleted).client(client_id);
    app.store.delete_client(client.id, app.audit_record(event)?).await?;
    Ok(Report::line(json!({ "client_id": client_id }), format!("deleted {client_id}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        flags: MetadataFlags,
    }

    fn flags(arguments: &[&str]) -> MetadataFlags {
        Flags::try_parse_from(std::iter::once("x").chain(arguments.iter().copied())).unwrap().flags
    }

    #[test]
    fn a_redirect_uri_brings_the_code_flow() {
        let metadata = flags(&["--name", "Shop", "--redirect-uri", "https://shop.example/cb"]).new_client(None);
        assert_eq!(metadata.grant_types, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
        assert_eq!(metadata.scope.to_string(), CODE_FLOW_SCOPE);
        assert!(metadata.require_pkce && metadata.rotate_refresh_tokens && !metadata.first_party);
        metadata.check().unwrap();
    }

    #[test]
    fn a_machine_has_what_is_named_and_no_more() {
        let metadata = flags(&["--name", "Job", "--grant", "client_credentials", "--scope", "a b"]).new_client(None);
        assert_eq!(metadata.grant_types, [GrantType::ClientCredentials]);
        assert_eq!(metadata.scope.to_string(), "a b");
        assert_eq!(flags(&["--name", "API"]).new_client(None).grant_types, []);
    }

    #[test]
    fn an_edit_changes_what_is_named_alone() {
        let before = flags(&["--name", "Shop", "--redirect-uri", "https://shop.example/cb", "--no-pkce"]);
        let before = before.new_client(None);
        let mut after = before.clone();
        flags(&[]).apply(None, &mut after);
        assert_eq!(after, before);
        flags(&[
            "--redirect-uri",
            "https://shop.example/one",
            "--redirect-uri",
            "https://shop.example/two",
            "--no-pkce=false",
            "--access-token-lifetime",
            "90m",
            "--access-token-alg",
            "Ed25519",
            "--auth-method",
            "client_secret_post",
        ])
        .apply(None, &mut after);
        assert_eq!(
            after,
            ClientMetadata {
                redirect_uris: vec!["https://shop.example/one".into(), "https://shop.example/two".into()],
                require_pkce: true,
                access_token_lifetime: Some(5400),
                access_token_signed_response_alg: Some(Algorithm::EdDsa),
                token_endpoint_auth_method: Some(AuthMethod::ClientSecretPost),
                ..before.clone()
            }
        );
    }

    #[test]
    fn what_was_set_can_be_unset() {
        let mut metadata = flags(&[
            "--web-origin=https://a.example",
            "--client-uri=https://a.example",
            "--access-token-lifetime=1h",
            "--access-token-alg=RS256",
            "--auth-method=client_secret_basic",
            "--grant=client_credentials",
        ])
        .new_client(Some(Some(json!({ "keys": [] }))));
        flags(&[
            "--web-origin=",
            "--client-uri=",
            "--access-token-lifetime=default",
            "--access-token-alg=default",
            "--auth-method=any",
            "--grant=none",
        ])
        .apply(Some(None), &mut metadata);
        assert_eq!(metadata, ClientMetadata::default());
    }

    #[test]
    fn values_that_cannot_be_are_usage_errors() {
        for wrong in [
            "--type=secret",
            "--grant=password",
            "--grant=implicit",
            "--scope=a\"b",
            "--auth-method=client_secret_jwt",
            "--id-token-alg=none",
            "--id-token-alg=default",
            "--access-token-alg=HS256",
            "--access-token-lifetime=1y",
            "--no-pkce=maybe",
        ] {
            assert!(Flags::try_parse_from(["x", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn weak_choices_are_warned_of() {
        let all = |_: &str| true;
        let none = |_: &str| false;
        let weak = flags(&["--no-pkce", "--scope=notes", "--resource=https://api.example"]).new_client(None);
        assert_eq!(warnings(&weak, all, all).len(), 1);
        assert_eq!(warnings(&weak, none, all).len(), 2);
        assert_eq!(warnings(&weak, none, none).len(), 3);
        assert_eq!(warnings(&ClientMetadata::default(), none, none), Vec::<String>::new());
    }

    #[test]
    fn no_hash_is_shown() {
        let client = RegisteredClient {
            id: uuid::Uuid::nil(),
            client_id: "shop".into(),
            metadata: flags(&["--name=Shop"]).new_client(None),
            secrets: vec![(vec![0xab; 32], None), (vec![0xcd; 32], Some(keyward_protocol::Timestamp::from_seconds(0)))],
            keys: None,
            disabled_at: None,
        };
        let report = show(&client).unwrap();
        assert_eq!(report.json["secrets"], json!([{ "expires_at": null }, { "expires_at": "1970-01-01T00:00:00Z" }]));
        assert!(report.text.contains("2: works without end, works until 1970-01-01T00:00:00Z"), "{}", report.text);
        assert!(!report.json.to_string().contains("171"), "an octet of the hash");
    }
}
