//! A test issuer behind HTTP/1.1 on loopback: metadata (RFC 8414, OpenID Connect Discovery), keys, a status list, and
//! introspection (RFC 7662) for whoever asks.
//!
//! Left out: all that a guard doesn't ask for.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::{TestIssuer, key};

/// The path of the status list.
pub(super) const STATUS_LIST: &str = "/status-lists/1";

const JWKS: &str = "/jwks";
const INTROSPECTION: &str = "/introspect";

/// A [`TestIssuer`] that can be asked over HTTP. It is served until this is dropped.
#[derive(Debug)]
pub struct ServedIssuer {
    issuer: TestIssuer,
    asked: Arc<Mutex<HashMap<String, usize>>>,
    task: AbortHandle,
}

impl Deref for ServedIssuer {
    type Target = TestIssuer;

    fn deref(&self) -> &TestIssuer {
        &self.issuer
    }
}

impl Drop for ServedIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is answered.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    etag: Option<String>,
    body: String,
}

impl TestIssuer {
    /// Starts an issuer `http://127.0.0.1:…` on a free port, inside of the current tokio runtime. Any client may
    /// introspect.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use keyward_guard::testing::TestIssuer;
    /// use keyward_guard::{Discovery, TokenRefusal};
    ///
    /// let issuer = TestIssuer::serve("https://api.example.com").await;
    /// let guard = issuer.builder().discover(Discovery::new()).unwrap();
    /// let token = issuer.token("alice").revocable().mint();
    /// issuer.revoke(&token);
    /// assert_eq!(*guard.verify(&token).await.unwrap_err().refusal(), TokenRefusal::Revoked);
    /// # });
    /// ```
    pub async fn serve(audience: impl Into<String>) -> ServedIssuer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let issuer = Self::named(format!("http://{address}"), audience);
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let (served, counted) = (issuer.clone(), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (issuer, asked) = (served.clone(), Arc::clone(&counted));
                // A connection that breaks is the asker's loss.
                tokio::spawn(async move { drop(answer_one(stream, &issuer, &asked).await) });
            }
        });
        ServedIssuer { issuer, asked, task: task.abort_handle() }
    }
}

impl ServedIssuer {
    /// How often a path was asked for: `/jwks`, `/introspect`, `/status-lists/1`.
    pub fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied().unwrap_or(0)
    }
}

/// Reads one request and answers it; the connection isn't kept.
async fn answer_one(
    stream: TcpStream,
    issuer: &TestIssuer,
    asked: &Mutex<HashMap<String, usize>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut if_none_match) = (0_u64, None);
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "if-none-match" => if_none_match = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut form = String::new();
    // More than a test would ever send isn't read.
    (&mut stream).take(length.min(64 * 1024)).read_to_string(&mut form).await?;
    *asked.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default() += 1;
    let answer = answer(issuer, &path, &form);
    let unchanged = answer.etag.is_some() && answer.etag == if_none_match;
    let (status, body) = if unchanged { ("304 Not Modified", "") } else { (answer.status, answer.body.as_str()) };
    let etag = answer.etag.map(|etag| format!("etag: {etag}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\n{etag}connection: close\r\n\r\n",
        answer.content_type,
        body.len(),
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

fn answer(issuer: &TestIssuer, path: &str, form: &str) -> Answer {
    let json =
        |body: Value| Answer { status: "200 OK", content_type: "application/json", etag: None, body: body.to_string() };
    match path {
        "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration" => {
            let url = issuer.issuer();
            json(json!({
                "issuer": url, "jwks_uri": format!("{url}{JWKS}"),
                "introspection_endpoint": format!("{url}{INTROSPECTION}"),
            }))
        }
        JWKS => Answer { body: issuer.jwks_json(), ..json(Value::Null) },
        STATUS_LIST => status_list(issuer),
        INTROSPECTION => json(introspect(issuer, form)),
        _ => Answer { status: "404 Not Found", ..json(json!({})) },
    }
}

/// The status list token (draft-ietf-oauth-status-list §5.1).
fn status_list(issuer: &TestIssuer) -> Answer {
    let key = issuer.key();
    let statuses = issuer.state().statuses.clone();
    let lst = URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&statuses, 6));
    let claims = json!({
        "iss": issuer.issuer(), "sub": format!("{}{STATUS_LIST}", issuer.issuer()), "iat": issuer.clock().now(),
        "ttl": 5, "status_list": { "bits": 8, "lst": lst },
    });
    Answer {
        status: "200 OK",
        content_type: "application/statuslist+jwt",
        etag: Some(format!("\"{}-{lst}\"", key.kid())),
        body: key.sign(&key.header("statuslist+jwt"), &claims),
    }
}

/// RFC 7662 §2.2.
fn introspect(issuer: &TestIssuer, form: &str) -> Value {
    // Tokens of this issuer consist of letters that a form doesn't escape.
    let token = form.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
    let state = issuer.state();
    let known = state.opaque.iter().find(|(opaque, _)| opaque == token).map(|(_, claims)| claims.clone());
    let claims = known.or_else(|| key::claims_of(token));
    let alive = |claims: &Value| {
        let expired = claims.get("exp").and_then(Value::as_u64).is_some_and(|exp| exp <= issuer.clock().now());
        !expired && !state.revoked.iter().any(|revoked| revoked == token)
    };
    match claims.filter(alive) {
        Some(mut claims) => {
            if let Some(members) = claims.as_object_mut() {
                members.insert("active".to_owned(), json!(true));
                members.insert("token_type".to_owned(), json!("Bearer"));
            }
            claims
        }
        None => json!({ "active": false }),
    }
}
