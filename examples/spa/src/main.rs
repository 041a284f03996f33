//! Starts the single-page app: `keyward-example-spa --help` lists the flags.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use keyward_example_spa::{Config, run};
use tokio::net::TcpListener;

const HELP: &str = "\
A single-page app that logs people in through Keyward as a public client.

  --issuer URL       the issuer, exactly as it calls itself  (needed)
  --client-id ID     the client id registered for this app   (needed)
  --api-url URL      the resource server                     (needed)
  --listen ADDRESS   where to listen                         (default 127.0.0.1:4002)
  --public-url URL   where browsers reach this app           (default http://localhost:4002)
  --help             this text

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
    let (mut issuer, mut client_id, mut api_url) = (None, None, None);
    let mut listen = "127.0.0.1:4002".to_owned();
    let mut public_url = "http://localhost:4002".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        if flag == "--help" || flag == "-h" {
            std::io::stdout().write_all(HELP.as_bytes())?;
            return Ok(());
        }
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value; see --help"));
        match flag.as_str() {
            "--issuer" => issuer = Some(value()?),
            "--client-id" => client_id = Some(value()?),
            "--api-url" => api_url = Some(value()?),
            "--listen" => listen = value()?,
            "--public-url" => public_url = value()?,
            _ => return Err(format!("{flag} isn't a flag of this program; see --help").into()),
        }
    }
    let listener = TcpListener::bind(&listen).await?;
    tracing::info!("listening on {}; open {public_url}", listener.local_addr()?);
    let config = Config {
        issuer: issuer.ok_or("--issuer is needed")?,
        client_id: client_id.ok_or("--client-id is needed")?,
        api_url: api_url.ok_or("--api-url is needed")?,
        public_url,
    };
    tokio::select! {
        outcome = run(listener, config) => outcome?,
        outcome = tokio::signal::ctrl_c() => outcome?,
    }
    Ok(())
}
