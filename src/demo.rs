//! `keyward demo`: the server and four programs that use it, in one process on loopback, each on a port of its own.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use axum_server::Handle;
use keyward_entities::{client, client_audience, client_secret, role, scope, user_role};
use keyward_keys::Algorithm;
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::client_metadata::{AuthMethod, ClientMetadata, ClientType, GrantType};
use keyward_protocol::scope::ScopeSet;
use secrecy::SecretString;
use tokio::task::JoinSet;

use crate::account::login_name::login_key;
use crate::account::profile::new_user;
use crate::app::{App, claim_database};
use crate::audit::{AuditEvent, AuditKind};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::serve;
use crate::settings::{Environment, Settings};
use crate::store::DEFAULT_ORGANIZATION;
use crate::telemetry;

/// The ports of server, web app, single-page app, API and MCP server, unless others are asked for.
const PORTS: [u16; 5] = [4000, 4001, 4002, 4003, 4004];
const USER: &str = "ada";
/// The client for whatever agent or inspector somebody points at the MCP server.
const MCP_CLIENT: &str = "mcp-client";
const ROLES: [&str; 3] = ["admin", "moderator", "user"];

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// Where the data stays; none: a temporary folder.
    pub data: Option<PathBuf>,
    /// The first of five ports; zero: any that are free.
    pub port: Option<u16>,
}

/// Runs the demo until it is interrupted.
///
/// # Errors
/// A message for the operator.
pub async fn run(options: DemoOptions) -> Result<(), Fault> {
    // The folder goes when this value does: at the end of the demo.
    let temporary = match &options.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("keyward-demo-").tempdir().map_err(Fault::broken)?),
    };
    let data =
        options.data.clone().or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned())).unwrap_or_default();
    let [server, web_app, spa, api, mcp] = listeners(options.port)?;
    let url = |listener: &TcpListener| -> Result<String, Fault> {
        Ok(format!("http://localhost:{}", listener.local_addr().map_err(Fault::broken)?.port()))
    };
    let issuer = url(&server)?;
    let (web_url, spa_url, api_url, mcp_url) = (url(&web_app)?, url(&spa)?, url(&api)?, url(&mcp)?);
    // The address of its one endpoint, which is the resource that its tokens are for.
    let mcp_resource = format!("{mcp_url}/mcp");

    let mut settings = Settings::default();
    settings.public_url = issuer.parse().map_err(|_| Fault::broken("the demo's address can't be read"))?;
    settings.environment = Environment::Development;
    settings.server.listen = server.local_addr().map_err(Fault::broken)?;
    settings.data_dir = data;
    "warn".clone_into(&mut settings.log.level);
    telemetry::start(&settings);
    let _sole_server = claim_database(&settings).await?;
    let app = App::start(settings, Clock::system()).await?;
    let password = provide(&app, &web_url, &spa_url, &api_url, &mcp_resource).await?;
    app.reload().await?;
    app.start_background();

    let mut running = JoinSet::new();
    let handle = Handle::new();
    let service = serve::serve(Arc::clone(&app), server, handle.clone());
    running.spawn(async move { service.await.map_err(|fault| fault.to_string()) });
    let config = keyward_example_web_app::Config {
        issuer: issuer.clone(),
        client_id: "web-app".into(),
        client_secret: password.web_app_secret,
        public_url: web_url.clone(),
        api_url: api_url.clone(),
        resource: Some(api_url.clone()),
        extra_ca_pem: None,
    };
    let listener = tokio_listener(web_app)?;
    running
        .spawn(async move { keyward_example_web_app::run(listener, config).await.map_err(|error| error.to_string()) });
    let config = keyward_example_spa::Config {
        issuer: issuer.clone(),
        client_id: "spa".into(),
        api_url: api_url.clone(),
        public_url: spa_url.clone(),
    };
    let listener = tokio_listener(spa)?;
    running.spawn(async move { keyward_example_spa::run(listener, config).await.map_err(|error| error.to_string()) });
    let config = keyward_example_resource_server::Config {
        issuer: issuer.clone(),
        audience: api_url.clone(),
        public_url: Some(api_url.clone()),
        web_origins: vec![spa_url.clone()],
        extra_ca: None,
    };
    let listener = tokio_listener(api)?;
    running.spawn(async move {
        keyward_example_resource_server::run(listener, config).await.map_err(|error| error.to_string())
    });
    let config =
        keyward_example_mcp_server::Config { issuer: issuer.clone(), public_url: Some(mcp_url), extra_ca: None };
    let listener = tokio_listener(mcp)?;
    running.spawn(
        async move { keyward_example_mcp_server::run(listener, config).await.map_err(|error| error.to_string()) },
    );

    announce(&[
        String::new(),
        "  Keyward is running, and four programs that use it:".into(),
        String::new(),
        format!("    web app           {web_url}    <- open this and click \"Log in\""),
        format!("    single-page app   {spa_url}"),
        format!("    API               {api_url}"),
        format!("    MCP server        {mcp_resource}    <- give this to an agent, with the client id below"),
        format!("    Keyward           {issuer}"),
        String::new(),
        format!("    user name         {USER}"),
        format!("    password          {}", password.user_password),
        format!("    MCP client id     {MCP_CLIENT}"),
        String::new(),
        "  Ctrl+C ends it.".into(),
        String::new(),
    ])?;
    tokio::select! {
        ended = running.join_next() => match ended {
            Some(Ok(Err(why))) => Err(Fault::broken(why)),
            Some(Err(error)) => Err(Fault::broken(error)),
            Some(Ok(Ok(()))) | None => Ok(()),
        },
        () = interrupted() => Ok(()),
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        // Where the signal can't be received, the process ends by it.
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn announce(lines: &[String]) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(Fault::broken)?;
    }
    out.flush().map_err(Fault::broken)
}

/// Five listeners on loopback: the ports that are asked for; else the usual ones, or free ones where these are taken.
fn listeners(first: Option<u16>) -> Result<[TcpListener; 5], Fault> {
    let bind = |port: u16| {
        TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .map_err(|error| Fault::broken(format_args!("port {port} on loopback: {error}")))
    };
    let all = |ports: [u16; 5]| -> Result<[TcpListener; 5], Fault> {
        let [server, web_app, spa, api, mcp] = ports;
        Ok([bind(server)?, bind(web_app)?, bind(spa)?, bind(api)?, bind(mcp)?])
    };
    match first {
        Some(0) => all([0; 5]),
        Some(first) => all([0, 1, 2, 3, 4].map(|step| first.saturating_add(step))),
        None => all(PORTS).or_else(|_| all([0; 5])),
    }
}

fn tokio_listener(listener: TcpListener) -> Result<tokio::net::TcpListener, Fault> {
    listener.set_nonblocking(true).map_err(Fault::broken)?;
    tokio::net::TcpListener::from_std(listener).map_err(Fault::broken)
}

struct Credentials {
    user_password: String,
    web_app_secret: String,
}

/// Makes the demo's user, roles, scopes and clients, or brings them up to date in kept data.
async fn provide(
    app: &App,
    web_url: &str,
    spa_url: &str,
    api_url: &str,
    mcp_resource: &str,
) -> Result<Credentials, Fault> {
    provide_scopes(app).await?;
    let roles = provide_roles(app).await?;
    let user_password: String = app.random.secret()?.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    provide_user(app, &user_password, roles).await?;
    let code_flow = ClientMetadata {
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        scope: ScopeSet::parse("openid profile email offline_access roles groups notes.read notes.write")
            .map_err(Fault::broken)?,
        resources: vec![api_url.to_owned()],
        id_token_signed_response_alg: Algorithm::Es256,
        ..ClientMetadata::default()
    };
    let web_app_secret = app.random.secret()?;
    let web_app = ClientMetadata {
        client_name: "Demo web app".into(),
        redirect_uris: vec![format!("{web_url}/callback")],
        post_logout_redirect_uris: vec![format!("{web_url}/")],
        token_endpoint_auth_method: Some(AuthMethod::ClientSecretBasic),
        client_uri: Some(web_url.to_owned()),
        ..code_flow.clone()
    };
    let spa = ClientMetadata {
        client_name: "Demo single-page app".into(),
        client_type: ClientType::Public,
        redirect_uris: vec![format!("{spa_url}/callback")],
        post_logout_redirect_uris: vec![format!("{spa_url}/")],
        client_uri: Some(spa_url.to_owned()),
        // It is served by this very process.
        trusted_native: true,
        ..code_flow
    };
    let api = ClientMetadata {
        client_name: "Demo API".into(),
        audiences: vec![api_url.to_owned()],
        ..ClientMetadata::default()
    };
    let mcp_server = ClientMetadata {
        client_name: "Demo MCP server".into(),
        audiences: vec![mcp_resource.to_owned()],
        ..ClientMetadata::default()
    };
    let mcp_client = ClientMetadata {
        client_name: "Demo MCP client".into(),
        client_type: ClientType::Public,
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        // Its port on loopback may be any (RFC 8252 §7.3); its paths are those that agents and inspectors use.
        redirect_uris: ["/callback", "/oauth/callback"].map(|path| format!("http://localhost{path}")).to_vec(),
        scope: ScopeSet::parse("offline_access tasks.read tasks.write").map_err(Fault::broken)?,
        resources: vec![mcp_resource.to_owned()],
        ..ClientMetadata::default()
    };
    provide_client(app, "notes-api", api, None).await?;
    provide_client(app, "mcp-server", mcp_server, None).await?;
    provide_client(app, MCP_CLIENT, mcp_client, None).await?;
    provide_client(app, "web-app", web_app, Some(&web_app_secret)).await?;
    provide_client(app, "spa", spa, None).await?;
    Ok(Credentials { user_password, web_app_secret })
}

async fn provide_scopes(app: &App) -> Result<(), Fault> {
    let now = app.clock.now();
    let mut scopes = Vec::new();
    for (name, title, description) in [
        ("notes.read", "Read your notes", "See the notes that you keep in the demo API."),
        ("notes.write", "Write notes for you", "Add notes to those that you keep in the demo API."),
        ("tasks.read", "Read your tasks", "See the tasks that you keep in the demo MCP server."),
        ("tasks.write", "Change your tasks", "Add tasks to those that you keep in the demo MCP server."),
    ] {
        scopes.push(scope::Model {
            role_ids: "[]".to_owned(),
            id: app.random.uuid_v7(now)?,
            organization_id: DEFAULT_ORGANIZATION,
            name: name.into(),
            title: title.into(),
            description: description.into(),
            permissions: "[]".into(),
            created_at: now.micros(),
        });
    }
    let event = app.audit_record(AuditEvent::by_cli(AuditKind::ScopeChanged))?;
    app.store.add_scopes(scopes, Some(event)).await?;
    Ok(())
}

/// admin > moderator > user; gives the role that the demo's user has.
async fn provide_roles(app: &App) -> Result<Option<uuid::Uuid>, Fault> {
    use crate::store::role::Link;
    let now = app.clock.now();
    for name in ROLES {
        let row = role::Model {
            id: app.random.uuid_v7(now)?,
            organization_id: DEFAULT_ORGANIZATION,
            client: None,
            name: name.into(),
            description: String::new(),
            permissions: "[]".into(),
            created_at: now.micros(),
        };
        let event = AuditEvent::by_cli(AuditKind::RoleChanged).detail("role", name);
        app.store.add_role(row, Vec::new(), app.audit_record(event)?).await?;
    }
    let known = app.store.list_roles().await?;
    let id = |name: &str| known.iter().find(|role| role.name == name && role.client.is_none()).map(|role| role.id);
    for pair in ROLES.windows(2) {
        if let [upper, lower] = pair
            && let (Some(role), Some(included)) = (id(upper), id(lower))
        {
            let event = app.audit_record(AuditEvent::by_cli(AuditKind::RoleChanged).detail("role", *upper))?;
            app.store.link(Link::Inclusion { role, included }, app.random.uuid_v7(now)?, event).await?;
        }
    }
    Ok(id("moderator"))
}

async fn provide_user(app: &App, password: &str, role: Option<uuid::Uuid>) -> Result<(), Fault> {
    let now = app.clock.now();
    let key = login_key(USER).unwrap_or_default();
    let hash = app.passwords.hash(SecretString::from(password), app.random.bytes()?).await?;
    if let Some(known) = app.store.find_user_by_login_key(&key).await? {
        let event = AuditEvent::by_cli(AuditKind::PasswordSet).subject(known.subject);
        return app.store.set_password(known.id, hash, now, app.audit_record(event)?).await;
    }
    let claims = StandardClaims {
        name: Some("Ada Lovelace".into()),
        given_name: Some("Ada".into()),
        family_name: Some("Lovelace".into()),
        email: Some("ada@example.org".into()),
        email_verified: true,
        ..StandardClaims::default()
    };
    let user = new_user(app, USER, key, claims, Some(hash))?;
    let mut roles = Vec::new();
    if let Some(role_id) = role {
        roles.push(user_role::Model { id: app.random.uuid_v7(now)?, user_id: user.id, role_id });
    }
    let event = AuditEvent::by_cli(AuditKind::UserAdded).subject(user.subject.clone());
    app.store.add_user(user, roles, Vec::new(), app.audit_record(event)?).await?;
    Ok(())
}

async fn provide_client(
    app: &App,
    client_id: &str,
    metadata: ClientMetadata,
    secret: Option<&str>,
) -> Result<(), Fault> {
    metadata.check().map_err(Fault::broken)?;
    let now = app.clock.now();
    let known = app.store.find_client(client_id).await?;
    let id = match &known {
        Some(known) => known.id,
        None => app.random.uuid_v7(now)?,
    };
    let mut audiences = Vec::new();
    for audience in &metadata.audiences {
        audiences.push(client_audience::Model { id: app.random.uuid_v7(now)?, client: id, audience: audience.clone() });
    }
    let text = metadata.to_stored()?;
    let secret = match secret {
        None => None,
        Some(secret) => Some(client_secret::Model {
            id: app.random.uuid_v7(now)?,
            client: id,
            secret_hash: app.secrets.client_secret_hash.hash(secret.as_bytes()).to_vec(),
            sealed_secret: None,
            created_at: now.micros(),
            expires_at: None,
        }),
    };
    let event = |kind| app.audit_record(AuditEvent::by_cli(kind).client(client_id));
    let conflict = |conflict| Fault::broken(format_args!("the demo's client {client_id}: {conflict:?}"));
    if known.is_some() {
        app.store.edit_client(id, text, audiences, now, event(AuditKind::ClientChanged)?).await?.map_err(conflict)?;
        if let Some(secret) = secret {
            app.store.rotate_client_secret(secret, now, event(AuditKind::ClientSecretAdded)?).await?;
        }
        return Ok(());
    }
    let row = client::Model {
        id,
        organization_id: DEFAULT_ORGANIZATION,
        client_id: client_id.into(),
        metadata: text,
        disabled_at: None,
        created_at: now.micros(),
        updated_at: now.micros(),
        longest_token_life: None,
    };
    app.store.add_client(row, secret, audiences, event(AuditKind::ClientAdded)?).await?.map_err(conflict)
}
