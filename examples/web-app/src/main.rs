//! Starts the web app: `keyward-example-web-app --help` lists the flags. The client secret comes from the environment
//! or a file, never from an argument, where other users of the machine could read it.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use keyward_example_web_app::{Config, run};
use tokio::net::TcpListener;

const HELP: &str = "\
A server-side web app that logs people in through Keyward.

  --issuer URL                the issuer, exactly as it calls itself      (needed)
  --client-id ID              the client id registered for this app       (needed)
  --client-secret-env NAME    environment variable with the client secret (default WEB_APP_CLIENT_SECRET)
  --client-secret-file PATH   file with the client secret, instead of the variable
  --api-url URL               the resource server                         (needed)
  --listen ADDRESS            where to listen                             (default 127.0.0.1:4001)
  --public-url URL            where browsers reach this app               (default http://localhost:4001)
  --resource URI              the resource indicator to ask for
  --extra-ca PATH             PEM file with more certificate authorities
  --help                      this text

Register the redirect URI <public-url>/callback and the post-logout URI <public-url>/ for the client.
";

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<(), Box<dyn Error>> {
    let Some(flags) = Flags::parse(std::env::args().skip(1))? else {
        std::io::stdout().write_all(HELP.as_bytes())?;
        return Ok(());
    };
    let listener = TcpListener::bind(&flags.listen).await?;
    tracing::info!("listening on {}; open {}", listener.local_addr()?, flags.public_url);
    let config = Config {
        issuer: flags.issuer.ok_or("--issuer is needed")?,
        client_id: flags.client_id.ok_or("--client-id is needed")?,
        client_secret: match flags.client_secret_file {
            Some(path) => {
                std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?.trim_end().to_owned()
            }
            None => environment(&flags.client_secret_env)?,
        },
        public_url: flags.public_url,
        api_url: flags.api_url.ok_or("--api-url is needed")?,
        resource: flags.resource,
        extra_ca_pem: match flags.extra_ca {
            Some(path) => Some(std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?),
            None => None,
        },
    };
    tokio::select! {
        outcome = run(listener, config) => outcome?,
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the one place of this program that reads the environment")]
fn environment(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("the client secret in {name}: {error}; see --help"))
}

/// The flags as given.
struct Flags {
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret_env: String,
    client_secret_file: Option<String>,
    api_url: Option<String>,
    listen: String,
    public_url: String,
    resource: Option<String>,
    extra_ca: Option<String>,
}

impl Flags {
    /// Reads the arguments; `None` if help is asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Flags>, String> {
        let mut flags = Flags {
            issuer: None,
            client_id: None,
            client_secret_env: "WEB_APP_CLIENT_SECRET".to_owned(),
            client_secret_file: None,
            api_url: None,
            listen: "127.0.0.1:4001".to_owned(),
            public_url: "http://localhost:4001".to_owned(),
            resource: None,
            extra_ca: None,
        };
        while let Some(flag) = arguments.next() {
            if flag == "--help" || flag == "-h" {
                return Ok(None);
            }
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value; see --help"));
            match flag.as_str() {
                "--issuer" => flags.issuer = Some(value()?),
                "--client-id" => flags.client_id = Some(value()?),
                "--client-secret-env" => flags.client_secret_env = value()?,
                "--client-secret-file" => flags.client_secret_file = Some(value()?),
                "--api-url" => flags.api_url = Some(value()?),
                "--listen" => flags.listen = value()?,
                "--public-url" => flags.public_url = value()?,
                "--resource" => flags.resource = Some(value()?),
                "--extra-ca" => flags.extra_ca = Some(value()?),
                _ => return Err(format!("{flag} isn't a flag of this program; see --help")),
            }
        }
        Ok(Some(flags))
    }
}
