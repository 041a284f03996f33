//! Starts the MCP server from flags, or from environment variables where a flag is absent.

use std::process::ExitCode;

use keyward_example_mcp_server::{Config, run};

const USAGE: &str = "\
A Model Context Protocol server that keeps tasks and accepts access tokens of an OAuth 2.0 issuer.

  --issuer URL      the issuer                                   MCP_SERVER_ISSUER
  --listen ADDRESS  where to listen                              MCP_SERVER_LISTEN      [127.0.0.1:4004]
  --public-url URL  where clients find this server, without /mcp MCP_SERVER_PUBLIC_URL  [http:// and the address]
  --extra-ca FILE   certificate authorities, PEM                 MCP_SERVER_EXTRA_CA
";

#[tokio::main]
async fn main() -> ExitCode {
    match Start::from(std::env::args().skip(1), variable) {
        Ok(Start::Help) => finish(&mut std::io::stdout(), USAGE, ExitCode::SUCCESS),
        Err(error) => finish(&mut std::io::stderr(), &format!("{error}\n\n{USAGE}"), ExitCode::from(2)),
        Ok(Start::Serve { listen, config }) => match serve(&listen, config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => finish(&mut std::io::stderr(), &format!("{error}\n"), ExitCode::FAILURE),
        },
    }
}

async fn serve(listen: &str, config: Config) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    tokio::select! {
        ended = run(listener, config) => ended,
        stopped = tokio::signal::ctrl_c() => stopped,
    }
}

/// Writes a last text. Where even that fails, the exit code still says how it went.
fn finish(to: &mut impl std::io::Write, text: &str, code: ExitCode) -> ExitCode {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where this program reads its environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the command line asks for.
#[derive(Debug)]
enum Start {
    Help,
    Serve { listen: String, config: Config },
}

impl Start {
    /// Reads the flags; `variable` gives the value of an environment variable.
    fn from(
        mut arguments: impl Iterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let (mut issuer, mut listen, mut public_url, mut extra_ca) = (None, None, None, None);
        while let Some(flag) = arguments.next() {
            let place = match flag.as_str() {
                "--help" | "-h" => return Ok(Self::Help),
                "--issuer" => &mut issuer,
                "--listen" => &mut listen,
                "--public-url" => &mut public_url,
                "--extra-ca" => &mut extra_ca,
                _ => return Err(format!("unknown flag {flag}")),
            };
            *place = Some(arguments.next().ok_or_else(|| format!("{flag} needs a value"))?);
        }
        let issuer = issuer.or_else(|| variable("MCP_SERVER_ISSUER")).ok_or("--issuer is missing")?;
        let listen = listen.or_else(|| variable("MCP_SERVER_LISTEN")).unwrap_or_else(|| "127.0.0.1:4004".to_owned());
        let public_url = public_url.or_else(|| variable("MCP_SERVER_PUBLIC_URL"));
        let extra_ca = extra_ca.or_else(|| variable("MCP_SERVER_EXTRA_CA")).map(Into::into);
        Ok(Self::Serve { listen, config: Config { issuer, public_url, extra_ca } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Start, String> {
        let environment = |name: &str| (name == "MCP_SERVER_ISSUER").then(|| "https://environment.example".to_owned());
        Start::from(arguments.iter().map(|argument| (*argument).to_owned()), environment)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let Ok(Start::Serve { listen, config }) = read(&[]) else { panic!("the environment is enough") };
        assert_eq!((listen.as_str(), config.issuer.as_str()), ("127.0.0.1:4004", "https://environment.example"));
        let arguments = ["--issuer", "https://flag.example", "--listen", "[::1]:1", "--extra-ca", "ca.pem"];
        let Ok(Start::Serve { listen, config }) = read(&arguments) else { panic!("these are good flags") };
        assert_eq!((listen.as_str(), config.issuer.as_str()), ("[::1]:1", "https://flag.example"));
        assert_eq!((config.public_url, config.extra_ca), (None, Some("ca.pem".into())));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read(&["--issuer"]).unwrap_err(), "--issuer needs a value");
        assert_eq!(read(&["--isuer", "x"]).unwrap_err(), "unknown flag --isuer");
        assert_eq!(Start::from(std::iter::empty(), |_| None).unwrap_err(), "--issuer is missing");
        assert!(matches!(read(&["--help"]), Ok(Start::Help)));
    }
}
