//! Starts the notes API from flags, or from environment variables where a flag is absent.

use std::process::ExitCode;

use keyward_example_resource_server::{Config, run};

const USAGE: &str = "\
An API that keeps notes and accepts access tokens of an OAuth 2.0 issuer.

  --issuer URL          the issuer                       NOTES_API_ISSUER
  --audience URI        the audience of its tokens       NOTES_API_AUDIENCE    [the public URL]
  --listen ADDRESS      where to listen                  NOTES_API_LISTEN      [127.0.0.1:4003]
  --public-url URL      where clients find this API      NOTES_API_PUBLIC_URL  [http:// and the address]
  --allow-origin ORIGIN a page's origin; may be repeated NOTES_API_ORIGINS     (separated by spaces)
  --extra-ca FILE       certificate authorities, PEM     NOTES_API_EXTRA_CA
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
        let (mut issuer, mut audience, mut listen, mut public_url, mut extra_ca) = (None, None, None, None, None);
        let mut web_origins = Vec::new();
        while let Some(flag) = arguments.next() {
            if matches!(flag.as_str(), "--help" | "-h") {
                return Ok(Self::Help);
            }
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--issuer" => issuer = Some(value()?),
                "--audience" => audience = Some(value()?),
                "--listen" => listen = Some(value()?),
                "--public-url" => public_url = Some(value()?),
                "--allow-origin" => web_origins.push(value()?),
                "--extra-ca" => extra_ca = Some(value()?),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        if web_origins.is_empty() {
            let listed = variable("NOTES_API_ORIGINS").unwrap_or_default();
            web_origins = listed.split_whitespace().map(str::to_owned).collect();
        }
        let listen = listen.or_else(|| variable("NOTES_API_LISTEN")).unwrap_or_else(|| "127.0.0.1:4003".to_owned());
        let public_url = public_url.or_else(|| variable("NOTES_API_PUBLIC_URL"));
        let issuer = issuer.or_else(|| variable("NOTES_API_ISSUER")).ok_or("--issuer is missing")?;
        let audience = audience
            .or_else(|| variable("NOTES_API_AUDIENCE"))
            .or_else(|| public_url.clone())
            .unwrap_or_else(|| format!("http://{listen}"));
        let extra_ca = extra_ca.or_else(|| variable("NOTES_API_EXTRA_CA")).map(Into::into);
        Ok(Self::Serve { listen, config: Config { issuer, audience, public_url, web_origins, extra_ca } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Start, String> {
        let environment = |name: &str| match name {
            "NOTES_API_ISSUER" => Some("https://environment.example".to_owned()),
            "NOTES_API_ORIGINS" => Some("https://a.example https://b.example".to_owned()),
            _ => None,
        };
        Start::from(arguments.iter().map(|argument| (*argument).to_owned()), environment)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let Ok(Start::Serve { listen, config }) = read(&[]) else { panic!("the environment is enough") };
        assert_eq!((listen.as_str(), config.issuer.as_str()), ("127.0.0.1:4003", "https://environment.example"));
        assert_eq!((config.audience.as_str(), config.web_origins.len()), ("http://127.0.0.1:4003", 2));
        let arguments = ["--issuer", "https://flag.example", "--audience", "urn:api", "--listen", "[::1]:1"];
        let origins = ["--allow-origin", "https://c.example", "--extra-ca", "ca.pem"];
        let Ok(Start::Serve { listen, config }) = read(&[&arguments[..], &origins[..]].concat()) else {
            panic!("these are good flags")
        };
        assert_eq!((listen.as_str(), config.issuer.as_str()), ("[::1]:1", "https://flag.example"));
        assert_eq!((config.audience.as_str(), config.web_origins), ("urn:api", vec!["https://c.example".to_owned()]));
        assert_eq!(config.extra_ca, Some("ca.pem".into()));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read(&["--issuer"]).unwrap_err(), "--issuer needs a value");
        assert_eq!(read(&["--isuer", "x"]).unwrap_err(), "unknown flag --isuer");
        assert_eq!(Start::from(std::iter::empty(), |_| None).unwrap_err(), "--issuer is missing");
        assert!(matches!(read(&["--help"]), Ok(Start::Help)));
    }
}
