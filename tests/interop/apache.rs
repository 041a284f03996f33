//! Debian's `libapache2-mod-auth-openidc`: an Apache of its own in front of a static page, which only those see whom
//! Keyward knows.

use std::path::Path;
use std::process::Command;

use keyward_protocol::scope::ScopeSet;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::relying_party::{RelyingParty, free_address};
use super::{AUDIENCE, MACHINE, Registered, server};
use crate::support::server::{Answer, SECRET};
use crate::support::{Browser, ClientSpec, TestDatabase, TestServer, changed};

/// A machine whose tokens are for somebody else.
const ELSEWHERE: &str = "elsewhere";
/// The folder of Apache's modules, as Debian has it.
const MODULES: &str = "/usr/lib/apache2/modules";
/// Those that this server needs. The way to run processes is first.
const LOADED: [&str; 9] =
    ["mpm_event", "authn_core", "authz_core", "authz_user", "socache_shmcb", "ssl", "headers", "dir", "auth_openidc"];

/// The whole configuration. The session is in Apache's memory, as it is by default.
fn configuration(server: &TestServer, client: Registered, folder: &Path, url: &str, port: u16) -> String {
    let authority = server.authority().unwrap();
    let modules: String =
        LOADED.iter().map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).collect();
    let folder = folder.display();
    format!(
        r#"
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
ErrorLog /dev/stderr
Listen 127.0.0.1:{port}
{modules}
<IfModule unixd_module>
User www-data
Group www-data
</IfModule>
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
DocumentRoot {folder}/pages
DirectoryIndex index.html
SSLEngine on
SSLCertificateFile {certificate}
SSLCertificateKeyFile {key}

OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID {client_id}
OIDCClientSecret {SECRET}
OIDCProviderTokenEndpointAuth {method}
OIDCIDTokenSignedResponseAlg {algorithm}
OIDCCABundlePath {ca}
OIDCRedirectURI {url}/protected/callback
OIDCCryptoPassphrase "{passphrase}"
OIDCScope "openid profile email offline_access"
OIDCPKCEMethod S256
OIDCRemoteUserClaim email
OIDCInfoHook iat access_token id_token userinfo refresh_token session
OIDCCookie apache-session

OIDCOAuthVerifyJwksUri {issuer}/jwks
OIDCOAuthRemoteUserClaim sub

<Location /protected>
    AuthType openid-connect
    Require valid-user
    Header always set X-Person "%{{OIDC_CLAIM_email}}e"
</Location>
<Location /protected/admins>
    AuthType openid-connect
    Require claim roles:admin
</Location>
<Location /api>
    AuthType oauth20
    Require claim aud:{AUDIENCE}
    Header always set X-Caller "%{{OIDC_CLAIM_client_id}}e"
</Location>
"#,
        certificate = authority.certificate_file().display(),
        key = authority.key_file().display(),
        ca = authority.ca_file().display(),
        issuer = server.url,
        client_id = client.id,
        method = client.method.as_str(),
        algorithm = client.algorithm.as_str(),
        passphrase = folder,
    )
}

/// Lets Apache's own account, where it runs under one, read what is below the folder.
fn open_to_all(folder: &Path) {
    let done = Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status().unwrap();
    assert!(done.success(), "chmod {}", folder.display());
}

async fn story(server: &TestServer, client: Registered) {
    let folder = TempDir::new().unwrap();
    let (url, port) = free_address("https");
    let spec = client.spec().with(|metadata| {
        metadata.redirect_uris = vec![format!("{url}/protected/callback")];
        metadata.post_logout_redirect_uris = vec![format!("{url}/bye.html")];
        metadata.scope = ScopeSet::parse("openid profile email offline_access").unwrap();
        // Without a resource of its own the client's tokens are for userinfo.
        metadata.resources = Vec::new();
    });
    server.add_client(spec).await;
    let pages = folder.path().join("pages");
    for (path, text) in [
        ("protected/index.html", "the page"),
        ("protected/admins/index.html", "admins"),
        ("api/index.html", "the API"),
        ("bye.html", "bye"),
    ] {
        let file = pages.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let file = folder.path().join("apache.conf");
    std::fs::write(&file, configuration(server, client, folder.path(), &url, port)).unwrap();
    open_to_all(folder.path());
    open_to_all(server.authority().unwrap().folder());
    let mut command = Command::new("/usr/sbin/apache2");
    command.arg("-D").arg("FOREGROUND").arg("-f").arg(&file);
    let apache = RelyingParty::start(server, &mut command, url).await;
    let browser = Browser::new(server);
    let page = |answer: &Answer, text: &str| {
        if answer.status != 200 || answer.text != text {
            apache.complain(answer);
        }
    };
    let info = async |parameters: &str| -> Value {
        let answer = browser.get(&format!("{}/protected/callback?info=json{parameters}", apache.url)).await;
        if answer.status != 200 {
            apache.complain(&answer);
        }
        answer.json()
    };

    // Login: back at the page that was asked for, with the person known to the server.
    let shown = apache.visit(&browser, "/protected/index.html").await;
    page(&shown, "the page");
    assert_eq!(shown.header("x-person"), "ada@example.org");
    let first = info("").await;
    assert_eq!(first["id_token"]["aud"], json!(client.id));
    assert_eq!(
        (&first["userinfo"]["sub"], &first["userinfo"]["email_verified"]),
        (&first["id_token"]["sub"], &json!(true))
    );

    // Somebody without the role stays out, without being sent around in a circle.
    let refused = apache.look(&browser, "/protected/admins/").await;
    assert_eq!(refused.status, 401, "{refused:?}");

    // Refresh, by the module's hook; it gives back the access token that goes with the page.
    let refresh = format!(
        "/protected/callback?refresh={}&access_token={}",
        form_urlencoded::byte_serialize(format!("{}/protected/index.html", apache.url).as_bytes()).collect::<String>(),
        first["access_token"].as_str().unwrap()
    );
    page(&apache.look(&browser, &refresh).await, "the page");
    let second = info("").await;
    assert_ne!(second["access_token"], first["access_token"]);
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let userinfo = server.userinfo(second["access_token"].as_str().unwrap()).await;
    assert_eq!(userinfo.status, 200, "{userinfo:?}");

    // Logout: the module revokes the tokens, and then has Keyward end the session.
    let left = apache
        .look(
            &browser,
            &format!(
                "/protected/callback?logout={}",
                form_urlencoded::byte_serialize(format!("{}/bye.html", apache.url).as_bytes()).collect::<String>()
            ),
        )
        .await;
    page(&left, "bye");
    let userinfo = server.userinfo(second["access_token"].as_str().unwrap()).await;
    assert_eq!(userinfo.status, 401, "{userinfo:?}");
    let reused = server.refresh(client.id, second["refresh_token"].as_str().unwrap()).await;
    assert_eq!(reused.error(), "invalid_grant");
    let login = apache.look(&browser, "/protected/index.html").await;
    assert!(login.text.contains("name=\"password\""), "{login:?}");

    resource_server(server, &apache).await;
}

/// Apache as a resource server: by the signature, and by an audience that must be its own.
async fn resource_server(server: &TestServer, apache: &RelyingParty) {
    let call = async |token: &str| Answer::of(server.http.get(format!("{}/api/", apache.url)).bearer_auth(token)).await;
    let token = async |client: &str| {
        server.token(client, &[("grant_type", "client_credentials")]).await.json()["access_token"].clone()
    };
    let (good, other) = (token(MACHINE).await, token(ELSEWHERE).await);
    let good = good.as_str().unwrap();
    let answer = call(good).await;
    if (answer.status, answer.text.as_str()) != (200, "the API") {
        apache.complain(&answer);
    }
    assert_eq!(answer.header("x-caller"), MACHINE);
    let tampered = changed(good, good.len() - 10);
    for wrong in [other.as_str().unwrap(), &tampered, "no.jwt.at-all"] {
        assert_eq!(call(wrong).await.status, 401, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs foreign clients: run ./test")]
async fn each_client() {
    let server = server(TestDatabase::sqlite()).await;
    server.add_client(ClientSpec::machine(ELSEWHERE)).await;
    for client in [Registered::BASIC_RS256, Registered::BASIC_ES256] {
        story(&server, client).await;
    }
    server.stop().await;
}
