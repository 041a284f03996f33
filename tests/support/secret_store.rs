//! Where master keys are kept: a real OpenBao, moto in the place of AWS, and an odd server that answers as none should.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::binary::{Binary, pause};
use super::service::{Service, Speaks};

/// The token that may do everything in OpenBao.
const ROOT: &str = "root-token-of-the-tests";

/// OpenBao with its engine KV, version 2, at `secret`.
pub struct OpenBao {
    service: Service,
    http: reqwest::Client,
    speaks: Speaks,
}

impl OpenBao {
    pub async fn start(speaks: Speaks) -> Self {
        let service = Service::openbao(ROOT, speaks).await;
        let this = Self { service, http: trusting_anybody(), speaks };
        this.serves("secret", "").await;
        this
    }

    /// Waits until an engine KV, version 2, can be written to: a new one needs a moment.
    pub async fn serves(&self, mount: &str, namespace: &str) {
        for _ in 0..200 {
            let request = self.http.get(format!("{}/v1/{mount}/config", self.url())).header("X-Vault-Token", ROOT);
            let answer = request.header("X-Vault-Namespace", namespace).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            pause(Duration::from_millis(50)).await;
        }
        panic!("OpenBao doesn't serve {mount}");
    }

    pub fn url(&self) -> String {
        let scheme = if self.speaks == Speaks::Tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.service.port)
    }

    /// The authority of its certificate, where it speaks TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.service.folder().join("vault-ca.pem")
    }

    /// A request with every right; an answer of 2xx is demanded.
    pub async fn call(&self, method: Method, path: &str, namespace: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}/v1/{path}", self.url())).header("X-Vault-Token", ROOT);
        let answer = request.header("X-Vault-Namespace", namespace).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Writes a secret.
    pub async fn put(&self, path: &str, fields: Value) {
        self.call(Method::POST, &format!("secret/data/{path}"), "", json!({ "data": fields })).await;
    }

    /// A token that may do this, in the language of Vault's policies.
    pub async fn token(&self, namespace: &str, rule: &str) -> String {
        self.policy(namespace, rule).await;
        let made = self.call(Method::POST, "auth/token/create", namespace, json!({ "policies": ["keyward"] })).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Role id and secret id of a role that may do this, and whose secret id is good for so many uses.
    pub async fn role(&self, mount: &str, rule: &str, uses: u32) -> (String, String) {
        self.policy("", rule).await;
        self.call(Method::POST, &format!("sys/auth/{mount}"), "", json!({ "type": "approle" })).await;
        let role = format!("auth/{mount}/role/keyward");
        let settings = json!({ "token_policies": "keyward", "token_num_uses": 1, "secret_id_num_uses": uses });
        self.call(Method::POST, &role, "", settings).await;
        let role_id = self.call(Method::GET, &format!("{role}/role-id"), "", Value::Null).await;
        let secret_id = self.call(Method::POST, &format!("{role}/secret-id"), "", json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&role_id["data"]["role_id"]), text(&secret_id["data"]["secret_id"]))
    }

    async fn policy(&self, namespace: &str, rule: &str) {
        self.call(Method::POST, "sys/policies/acl/keyward", namespace, json!({ "policy": rule })).await;
    }

    /// Has a binary ask it with this token.
    pub fn open_for(&self, binary: &mut Binary, token: &str) {
        binary.set("KEYWARD_VAULT_ADDRESS", self.url());
        binary.set("KEYWARD_VAULT_TOKEN", token.to_owned());
        if self.speaks == Speaks::Tls {
            binary.set("KEYWARD_VAULT_CA_FILE", self.ca_file().display().to_string());
        }
    }
}

/// For the test's own requests: what it trusts isn't what is tested.
#[allow(clippy::disallowed_methods, reason = "tests ask as they like")]
fn trusting_anybody() -> reqwest::Client {
    keyward::serve::install_provider();
    reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap()
}

/// moto in the place of AWS. It checks signatures and policies as soon as there are credentials.
pub struct Moto {
    service: Service,
    http: reqwest::Client,
}

impl Moto {
    /// The region of its secrets.
    pub const REGION: &str = "eu-central-1";

    pub async fn start() -> Self {
        Self { service: Service::moto().await, http: trusting_anybody() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.service.port)
    }

    async fn call(&self, service: &str, target: Option<&str>, body: String) -> String {
        // By this line moto finds the service; it isn't checked before there are credentials.
        let scope = format!("AKIATEST/20260101/{}/{service}/aws4_request", Self::REGION);
        let line = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x");
        let mut request = self.http.post(self.url()).header(header::AUTHORIZATION, line).body(body);
        request = match target {
            Some(target) => request
                .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
                .header("X-Amz-Target", format!("{service}.{target}")),
            None => request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{service}: {status} {text}");
        text
    }

    /// Makes a secret; gives its ARN.
    pub async fn put(&self, name: &str, text: &str) -> String {
        let id = format!("{name:-<32}");
        let body = json!({ "Name": name, "SecretString": text, "ClientRequestToken": id });
        let made = self.call("secretsmanager", Some("CreateSecret"), body.to_string()).await;
        serde_json::from_str::<Value>(&made).unwrap()["ARN"].as_str().unwrap().to_owned()
    }

    async fn iam(&self, form: &str) -> String {
        self.call("iam", None, format!("Version=2010-05-08&UserName=keyward&{form}")).await
    }

    /// Credentials of somebody who may do this. From then on nothing is done without.
    pub async fn credentials(&self, action: &str) -> (String, String) {
        self.iam("Action=CreateUser").await;
        let made = self.iam("Action=CreateAccessKey").await;
        self.allow_only(action).await;
        (element(&made, "AccessKeyId"), element(&made, "SecretAccessKey"))
    }

    /// What a container's agent says to those inside (`AWS_CONTAINER_CREDENTIALS_FULL_URI`): the passing credentials of a
    /// role that may do this. It comes before [`Self::credentials`].
    pub async fn role(&self, action: &str) -> Value {
        let iam = async |form: String| self.call("iam", None, format!("Version=2010-05-08&RoleName=node&{form}")).await;
        let trust = encoded(&json!({ "Version": "2012-10-17", "Statement": [] }));
        iam(format!("Action=CreateRole&AssumeRolePolicyDocument={trust}")).await;
        iam(format!("Action=PutRolePolicy&PolicyName=node&PolicyDocument={}", encoded(&policy(action)))).await;
        let form =
            "Version=2011-06-15&Action=AssumeRole&RoleSessionName=node&RoleArn=arn:aws:iam::123456789012:role/node";
        let made = self.call("sts", None, form.to_owned()).await;
        json!({
            "AccessKeyId": element(&made, "AccessKeyId"),
            "SecretAccessKey": element(&made, "SecretAccessKey"),
            "Token": element(&made, "SessionToken"),
            "Expiration": element(&made, "Expiration"),
        })
    }

    /// Lets that person do this and nothing else. moto judges actions, not what they are done to.
    pub async fn allow_only(&self, action: &str) {
        self.requests_without_credentials(1).await;
        let policy = encoded(&policy(action));
        self.iam(&format!("Action=PutUserPolicy&PolicyName=keyward&PolicyDocument={policy}")).await;
        self.requests_without_credentials(0).await;
    }

    /// How many more requests are served without a look at credentials.
    async fn requests_without_credentials(&self, count: u32) {
        let reset = self.http.post(format!("{}/moto-api/reset-auth", self.url()));
        let reset = reset.header(header::CONTENT_TYPE, "text/plain").body(count.to_string()).send().await.unwrap();
        assert!(reset.status().is_success(), "{}", reset.text().await.unwrap());
    }

    /// Has a binary ask it, with these credentials from the environment.
    pub fn open_for(&self, binary: &mut Binary, credentials: &(String, String)) {
        no_credentials_of_this_machine(binary);
        binary.set("KEYWARD_AWS_ENDPOINT_URL", self.url());
        binary.set("KEYWARD_AWS_REGION", Self::REGION.to_owned());
        binary.set("AWS_ACCESS_KEY_ID", credentials.0.clone());
        binary.set("AWS_SECRET_ACCESS_KEY", credentials.1.clone());
    }
}

/// A policy that allows this.
fn policy(action: &str) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] })
}

fn encoded(document: &Value) -> String {
    form_urlencoded::byte_serialize(document.to_string().as_bytes()).collect()
}

/// The text of the first element of this name.
fn element(document: &str, name: &str) -> String {
    let rest = document.split_once(&format!("<{name}>")).unwrap().1;
    rest.split_once('<').unwrap().0.to_owned()
}

/// Has a binary find no credentials of AWS but those that a test gives it.
pub fn no_credentials_of_this_machine(binary: &mut Binary) {
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        binary.set(name, "/dev/null".to_owned());
    }
    binary.set("AWS_EC2_METADATA_DISABLED", "true".to_owned());
}

/// A server that has the right token's secret and answers oddly, as the secret's name says.
pub struct OddServer {
    pub address: SocketAddr,
    state: Arc<Odd>,
}

struct Odd {
    token: String,
    text: String,
    hits: AtomicUsize,
    /// What was asked for at the address that redirects point to.
    elsewhere: Mutex<Vec<String>>,
}

impl OddServer {
    /// One whose secret is this text.
    pub async fn start(token: &str, text: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Odd {
            token: token.to_owned(),
            text: text.to_owned(),
            hits: AtomicUsize::new(0),
            elsewhere: Mutex::default(),
        });
        let router = Router::new().fallback(odd).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests have come since this was asked last.
    pub fn hits(&self) -> usize {
        self.state.hits.swap(0, Ordering::SeqCst)
    }

    /// What followed a redirect.
    pub fn elsewhere(&self) -> Vec<String> {
        self.state.elsewhere.lock().unwrap().clone()
    }
}

async fn odd(State(odd): State<Arc<Odd>>, request: Request) -> Response {
    let hit = odd.hits.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    if path == "/elsewhere" {
        odd.elsewhere.lock().unwrap().push(format!("{:?}", request.headers()));
        return StatusCode::NOT_FOUND.into_response();
    }
    // By Vault's API the name is in the path, by that of AWS in the body.
    let name = if path == "/" {
        let body = axum::body::to_bytes(request.into_body(), 10_000).await.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["SecretId"].as_str().unwrap().to_owned()
    } else {
        let headers = request.headers();
        let right = headers.get("x-vault-token").is_some_and(|token| token == odd.token.as_str())
            && headers.get("x-vault-request").is_some_and(|value| value == "true")
            && request.method() == Method::GET;
        if !right {
            return (StatusCode::FORBIDDEN, json!({ "errors": ["permission denied"] }).to_string()).into_response();
        }
        path.strip_prefix("/v1/secret/data/").unwrap().to_owned()
    };
    let good = || json!({ "data": { "data": { "master_key": odd.text }, "metadata": {} } }).to_string();
    match name.as_str() {
        "redirect" => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response(),
        "long" => json!({ "data": { "data": { "master_key": odd.text, "x": "x".repeat(300_000) } } })
            .to_string()
            .into_response(),
        "endless" => {
            Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(10_000)))).into_response()
        }
        "silent" => std::future::pending().await,
        "drip" => Body::from_stream(stream::unfold((), |()| async {
            pause(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        }))
        .into_response(),
        "torn" => Body::from_stream(stream::iter([Ok("{"), Err(std::io::Error::other("torn"))])).into_response(),
        // As a proxy's page that asks to sign in; it repeats the secret, which no message may.
        "page" => format!("<html>{}</html>", odd.text).into_response(),
        "number" => json!({ "data": { "data": { "master_key": 5 } } }).to_string().into_response(),
        "not-a-key" => {
            json!({ "data": { "data": { "master_key": format!("{}x", odd.text) } } }).to_string().into_response()
        }
        "sealed" => {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "errors": ["Vault is sealed"] }).to_string()).into_response()
        }
        "teapot" => StatusCode::IM_A_TEAPOT.into_response(),
        // Twice it can't, and then it can.
        "flaky" if hit < 2 => StatusCode::BAD_GATEWAY.into_response(),
        "flaky" => good().into_response(),
        other => panic!("an odd name: {other}"),
    }
}
