//! What the scenarios need to exist at the server: clients, a resource server, users; made by the server's own command
//! line while it runs.
//!
//! Names end in a random part, so that a PostgreSQL database can be used for several runs. Nothing is taken away
//! afterwards: on SQLite the whole folder goes.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::browser::random_text;
use crate::failure::Failure;
use crate::process::Server;

/// Where codes are sent; nothing listens there, for the load takes the code from the Location field.
pub const REDIRECT_URI: &str = "https://app.bench.example/callback";

/// A client that authenticates by HTTP Basic.
#[derive(Clone)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Its Authorization field as a line with its end (RFC 6749 §2.3.1).
    pub basic: String,
}

/// A person who can sign in.
#[derive(Clone)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// Everybody whom the scenarios use.
pub struct Accounts {
    suffix: String,
    /// Groups of users that were added.
    groups: AtomicUsize,
    /// The audience of the tokens.
    pub resource: String,
    /// The resource server that introspects.
    pub api: Client,
    /// A machine with the client credentials grant.
    pub machine: Client,
    /// A web application whose ID tokens are signed by ES256.
    pub web_es256: Client,
    /// A web application whose ID tokens are signed by RS256.
    pub web_rs256: Client,
}

impl Client {
    /// A client with this id and secret. Both are form-encoded before Basic's base64 (RFC 6749 §2.3.1).
    pub fn new(id: &str, secret: &str) -> Self {
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        Self { id: id.to_owned(), basic: format!("authorization: Basic {pair}\r\n") }
    }
}

impl Accounts {
    /// Registers the clients.
    ///
    /// # Errors
    /// When a command of the server fails or its answer lacks the id or secret.
    pub fn create(server: &Server) -> Result<Self, Failure> {
        let suffix: String = random_text()?.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        let suffix = suffix.to_ascii_lowercase();
        let resource = format!("https://api-{suffix}.bench.example");
        let web = |name: &str, algorithm: &str| {
            let arguments = [
                "--redirect-uri",
                REDIRECT_URI,
                "--grant",
                "authorization_code",
                "--grant",
                "refresh_token",
                "--scope",
                "openid profile offline_access",
                "--id-token-alg",
                algorithm,
                "--resource",
                &resource,
                "--first-party",
            ];
            add_client(server, &format!("{name}-{suffix}"), &arguments)
        };
        let scope = ["scopes", "add", "read", "--title", "Read", "--description", "Read at the API.", "--json"];
        server.command(&scope, "")?;
        Ok(Self {
            // First, for its audience makes the resource known that the others name.
            api: add_client(server, &format!("bench-api-{suffix}"), &["--audience", &resource])?,
            machine: add_client(
                server,
                &format!("bench-machine-{suffix}"),
                &["--grant", "client_credentials", "--scope", "read", "--resource", &resource],
            )?,
            web_es256: web("bench-web-es256", "ES256")?,
            web_rs256: web("bench-web-rs256", "RS256")?,
            resource,
            suffix,
            groups: AtomicUsize::new(0),
        })
    }

    /// Adds `count` users whose names begin with `group`.
    ///
    /// # Errors
    /// When a command of the server fails.
    pub fn add_users(&self, server: &Server, group: &str, count: usize) -> Result<Vec<User>, Failure> {
        // A scenario that is measured again has people of its own.
        let time = self.groups.fetch_add(1, Ordering::Relaxed);
        (0..count)
            .map(|number| {
                let name = format!("{group}{number}-{}-{time}", self.suffix);
                let user = User { name, password: random_text()? };
                let email = format!("{}@bench.example", user.name);
                let arguments = ["users", "add", &user.name, "--email", &email, "--password-stdin", "--json"];
                server.command(&arguments, &format!("{}\n", user.password))?;
                Ok(user)
            })
            .collect()
    }
}

/// Registers one confidential client and takes its secret from the answer.
fn add_client(server: &Server, id: &str, more: &[&str]) -> Result<Client, Failure> {
    let mut arguments = vec!["clients", "add", "--id", id, "--name", id, "--type", "confidential"];
    arguments.extend_from_slice(&["--auth-method", "client_secret_basic"]);
    arguments.extend_from_slice(more);
    arguments.push("--json");
    let answer = server.command(&arguments, "")?;
    let member = |name: &str| {
        answer.get(name).and_then(Value::as_str).ok_or_else(|| {
            Failure::new(format!("`keyward {}` printed JSON without {name}: {answer}", arguments.join(" ")))
        })
    };
    Ok(Client::new(member("client_id")?, member("client_secret")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_form_encoded_before_base64() {
        let client = Client::new("a:b", "c d");
        assert_eq!(client.basic, format!("authorization: Basic {}\r\n", STANDARD.encode("a%3Ab:c+d")));
    }
}
