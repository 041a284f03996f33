//! `keyward keys` beside a running server: what it does is seen there within a second, and says so.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::security::forge::part;
use crate::support::binary::{Binary, pause};
use crate::support::server::{Answer, PASSWORD, http_client};
use crate::support::web_app::granted;
use crate::support::{Browser, TestDatabase, WebApp};

/// A server with a web client, a machine and an API, and a person's tokens.
pub(super) struct Story {
    pub(super) app: WebApp,
    pub(super) binary: Binary,
    browser: Browser,
    refresh_token: String,
}

fn arguments(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

impl Story {
    pub(super) async fn begin(database: &TestDatabase) -> Self {
        let http = http_client();
        let mut binary = Binary::new(database);
        binary.start(&http).await;
        binary.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
        binary.run(&["--json", "scopes", "add", "read", "--title", "Read", "--description", "Read things"], "");
        let client = binary.run(
            &arguments(
                "--json clients add --name Shop --id shop --redirect-uri https://app.example/cb --first-party \
                 --grant authorization_code --grant refresh_token --grant client_credentials \
                 --scope openid,offline_access --default-scope read --id-token-alg ES256",
            )
            .into_iter()
            .map(|word| if word == "openid,offline_access" { "openid offline_access read" } else { word })
            .collect::<Vec<_>>(),
            "",
        );
        let browser = Browser::at(&binary.url);
        let app = WebApp::new(&binary.url, "shop", client["client_secret"].as_str().unwrap());
        let mut story = Self { app, binary, browser, refresh_token: String::new() };
        story
            .until("the client is known", async |story| {
                story.token(&[("grant_type", "client_credentials")]).await.status == 200
            })
            .await;
        let address = format!("{}&prompt=consent", story.app.authorize_url());
        let code = story.browser.code(&address, "ada").await;
        story.refresh_token = granted(&Answer::of(story.app.redeem(&code)).await, "refresh_token");
        story
    }

    async fn token(&self, form: &[(&str, &str)]) -> Answer {
        Answer::of(self.app.post("/token", form)).await
    }

    /// An access token of the person's grant.
    pub(super) async fn refresh(&mut self) -> String {
        let answer = Answer::of(self.app.refresh(&self.refresh_token)).await;
        self.refresh_token = granted(&answer, "refresh_token");
        granted(&answer, "access_token")
    }

    pub(super) async fn userinfo(&self, token: &str) -> u16 {
        Answer::of(self.app.userinfo(token)).await.status
    }

    async fn introspects(&self, token: &str) -> bool {
        Answer::of(self.app.post("/introspect", &[("token", token)])).await.json()["active"] == true
    }

    async fn published(&self) -> Vec<String> {
        let set = Answer::of(self.app.http.get(format!("{}/jwks", self.binary.url))).await.json();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// Holds within a second.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        for _ in 0..10 {
            if holds(self).await {
                return;
            }
            pause(Duration::from_millis(100)).await;
        }
        panic!("not within a second: {what}");
    }

    pub(super) fn keys(&self, line: &str) -> Value {
        self.binary.run(&arguments(&format!("--json keys {line}")), "")
    }

    /// The one key in this state.
    fn one(&self, state: &str) -> String {
        let keys = self.keys("list");
        let mut found = keys.as_array().unwrap().iter().filter(|key| key["state"] == state);
        let kid = found.next().unwrap_or_else(|| panic!("no {state} key")).get("kid").unwrap().as_str().unwrap();
        kid.to_owned()
    }

    pub(super) async fn end(mut self, database: TestDatabase) {
        self.binary.kill();
        database.remove().await;
    }
}

async fn rotated_retired_and_revoked(database: TestDatabase) {
    let mut story = Story::begin(&database).await;
    let (first, second) = (story.one("active"), story.one("next"));
    assert_eq!(story.published().await, [first.clone(), second.clone()], "a fresh server publishes both");
    let of_first = story.refresh().await;
    assert_eq!(part(&of_first, 0)["kid"], *first);

    let said = story.binary.refuse(&["keys", "rotate"], "");
    assert!(said.contains("too new") && said.contains("--now"), "{said}");
    let rotated = story.keys("rotate --now");
    assert_eq!((&rotated[0]["active"], &rotated[0]["retired"]), (&json!(second), &json!(first)));
    story
        .until("the second key signs", async |story| {
            let token = story.token(&[("grant_type", "client_credentials")]).await.json();
            part(token["access_token"].as_str().unwrap(), 0)["kid"] == *second
        })
        .await;
    assert_eq!(story.userinfo(&of_first).await, 200, "its tokens live on");
    assert!(story.published().await.contains(&first));

    let made = story.keys("generate --algorithm ES256");
    let third = made[0]["kid"].as_str().unwrap().to_owned();
    story.until("a new next key is published", async |story| story.published().await.contains(&third)).await;
    assert!(story.binary.refuse(&["keys", "retire", &first], "").contains("retired"));
    let of_second = story.refresh().await;
    let retired = story.keys(&format!("retire {second} --now"));
    assert_eq!((&retired[0]["kid"], &retired[0]["change"]), (&json!(second), &json!("retired")));
    assert_eq!(story.userinfo(&of_second).await, 200);

    // The end of a key that may be in wrong hands: it says what becomes invalid, and doesn't act unasked.
    let active = story.one("active");
    story
        .until("the third key signs", async |story| {
            let token = story.token(&[("grant_type", "client_credentials")]).await.json();
            part(token["access_token"].as_str().unwrap(), 0)["kid"] == *active
        })
        .await;
    let access = story.refresh().await;
    assert_eq!(part(&access, 0)["kid"], *active);
    assert!(story.introspects(&access).await && story.userinfo(&access).await == 200);
    let said = story.binary.refuse(&["keys", "revoke", &active], "y\n");
    assert!(said.contains("1 live grant has") && said.contains("--yes"), "{said}");
    assert_eq!(story.one("active"), active, "nothing was done");
    let revoked = story.keys(&format!("revoke {active} --yes"));
    assert_eq!((&revoked["grants"], &revoked["refused_within_seconds"]), (&json!(1), &json!(1)));
    story
        .until("its tokens are refused", async |story| {
            story.userinfo(&access).await == 401 && !story.introspects(&access).await
        })
        .await;
    assert!(!story.published().await.contains(&active));
    let access = story.refresh().await;
    assert_ne!(part(&access, 0)["kid"], *active);
    assert_eq!(story.userinfo(&access).await, 200, "the successor's are good, and nobody signed in anew");
    assert!(story.binary.refuse(&["keys", "revoke", &active, "--yes"], "").contains("revoked"));
    assert!(story.binary.refuse(&["keys", "revoke", "unknown", "--yes"], "").contains("no such key"));
    // The retired second key signed a token of this very grant, too.
    let revoked = story.keys(&format!("revoke {second} --yes"));
    assert_eq!(revoked["grants"], 1);
    story.until("the retired key's are refused", async |story| story.userinfo(&of_second).await == 401).await;
    story.end(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_retired_and_revoked_sqlite() {
    rotated_retired_and_revoked(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn rotated_retired_and_revoked_postgres() {
    rotated_retired_and_revoked(TestDatabase::postgres().await).await;
}

/// RFC 7515 appendix A.3.1.
fn jwk() -> Value {
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
    })
}

#[test]
fn keys_come_in_and_public_ones_go_out() {
    let database = TestDatabase::sqlite();
    let binary = Binary::new(&database);
    let list = || binary.run(&["--json", "keys", "list"], "").as_array().unwrap().clone();
    let before = list().len();
    let taken = binary.run(&["--json", "keys", "import", "--kid", "elsewhere"], &jwk().to_string());
    assert_eq!(taken, json!([{"kid": "elsewhere", "algorithm": "ES256", "change": "published"}]));
    let change = |name: &str, value: &str| {
        let mut jwk = jwk();
        jwk[name] = json!(value);
        jwk.to_string()
    };
    for (what, input, says) in [
        ("the same again", jwk().to_string(), "there already, by the name elsewhere"),
        ("the same by another name", change("kid", "other"), "there already"),
        ("another curve", change("crv", "P-384"), "no kind that signs here"),
        ("another public half", change("x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "valid key"),
        ("another algorithm", change("alg", "RS256"), "not for RS256"),
        ("no key", "hello".to_owned(), "neither a PEM block nor a JWK"),
        ("nothing", String::new(), "neither a PEM block nor a JWK"),
    ] {
        let said = binary.refuse(&["keys", "import"], &input);
        assert!(said.contains(says), "{what}: {said}");
        assert!(!said.contains("jpsQnnGQ"), "{what}: the key is never repeated");
    }
    let openssl = |arguments: &[&str]| {
        let made = std::process::Command::new("openssl").args(arguments).output().unwrap();
        String::from_utf8(made.stdout).unwrap()
    };
    let weak = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    let said = binary.refuse(&["keys", "import", "--algorithm", "RS256"], &weak);
    assert!(!weak.is_empty() && said.contains("RS256"), "{said}");
    let curve = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let said = binary.refuse(&["keys", "import", "--kid", "elsewhere"], &curve);
    assert!(said.contains("a key of this name"), "{said}");
    assert_eq!(list().len(), before + 1, "of all these nothing came in");
    let file = database.folder().join("key.pem");
    std::fs::write(&file, &curve).unwrap();
    let taken = binary.run(&["--json", "keys", "import", file.to_str().unwrap()], "");
    let kid = taken[0]["kid"].as_str().unwrap().to_owned();

    // What goes out is the public half, in the form of those who asked.
    let exported = binary.run(&["--json", "keys", "export-public", &kid], "");
    assert_eq!((&exported["kid"], &exported["alg"]), (&json!(kid), &json!("ES256")));
    assert!(exported.get("d").is_none());
    let pem = binary.run(&["--json", "keys", "export-public", &kid, "--format", "pem"], "");
    let mut openssl = std::process::Command::new("openssl");
    let theirs = openssl.args(["pkey", "-pubout", "-in", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(pem["pem"].as_str().unwrap(), String::from_utf8(theirs.stdout).unwrap());
    let set = binary.run(&["--json", "keys", "export-public"], "");
    assert_eq!(set["keys"].as_array().unwrap().len(), before + 2);
    assert!(binary.refuse(&["keys", "export-public", "unknown"], "").contains("no such key"));
}

async fn resealed(database: TestDatabase) {
    let mut story = Story::begin(&database).await;
    let folder = database.folder().to_owned();
    let (old, new) = (folder.join("master.key"), folder.join("new.key"));
    let before = story.keys("list");
    let access = story.refresh().await;
    let done = story.keys(&format!("reseal --new-key-file {}", new.display()));
    assert_eq!(done["added"], true);
    assert_eq!(story.keys("reseal").as_array().unwrap().len(), 2, "both open the database");
    // Again, as after a crash: nothing is lost and nothing is done twice.
    assert_eq!(story.keys(&format!("reseal --new-key-file {}", new.display()))["added"], false);
    assert_eq!(story.userinfo(&access).await, 200, "the running server isn't disturbed");
    story.refresh().await;

    // A second node starts with the new key while the first one runs with the old; a SQLite file has one server at a time.
    if database.serves_one() {
        story.binary.kill();
    }
    let mut second = Binary::new(&database);
    second.set("KEYWARD_KEYS_MASTER_KEY_FILE", new.display().to_string());
    second.set("KEYWARD_PUBLIC_URL", story.binary.url.clone());
    second.start(&story.app.http).await;
    let host = story.binary.url.trim_start_matches("http://");
    let answer = Answer::of(story.app.at(&second.url).refresh(&story.refresh_token).header("host", host)).await;
    story.refresh_token = granted(&answer, "refresh_token");
    second.kill();
    if database.serves_one() {
        story.binary.start(&story.app.http).await;
    }

    // With the old key in the settings the end would take away the new one: the operator is asked for a reason.
    let said = story.binary.refuse(&["keys", "reseal", "--finish"], "");
    assert!(said.contains("--yes"), "{said}");
    story.binary.set("KEYWARD_KEYS_MASTER_KEY_FILE", new.display().to_string());
    let done = story.keys("reseal --finish --yes");
    assert_eq!(done["removed"].as_array().unwrap().len(), 1);
    assert_eq!(story.keys("reseal").as_array().unwrap().len(), 1);
    story.refresh().await;
    story.binary.kill();
    let http = story.app.http.clone();
    story.binary.start(&http).await;
    assert_eq!(story.userinfo(&access).await, 200, "tokens from before the restart");
    let after = story.refresh().await;
    assert_eq!(story.userinfo(&after).await, 200);
    assert_eq!(story.keys("list"), before, "the signing keys are the same");
    let session = Answer::of(story.browser.request(reqwest::Method::GET, "/")).await;
    assert!(session.text.contains("ada"), "the session stands: {}", session.text);

    // The old key opens nothing any more, and says where to read on.
    story.binary.kill();
    story.binary.set("KEYWARD_KEYS_MASTER_KEY_FILE", old.display().to_string());
    let said = story.binary.refuse(&["serve"], "");
    assert!(said.contains("docs/runbooks/lost-master-key.md") && said.contains("fingerprint"), "{said}");
    // By the environment the key itself is as good as its file.
    let text = std::fs::read_to_string(&new).unwrap();
    let mut by_value = Binary::new(&database);
    by_value.set("KEYWARD_KEYS_MASTER_KEY", text.trim().to_owned());
    assert_eq!(by_value.run(&["--json", "keys", "list"], ""), before);
    // A new one from standard input; garbage isn't one.
    assert!(by_value.refuse(&["keys", "reseal", "--new-key-stdin"], "garbage").contains("master key"));
    let third = keyward_keys::MasterKey::generate().unwrap();
    assert_eq!(by_value.run(&["--json", "keys", "reseal", "--new-key-stdin"], &third.encode())["added"], true);
    story.end(database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resealed_sqlite() {
    resealed(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn resealed_postgres() {
    resealed(TestDatabase::postgres().await).await;
}

/// Killed at whatever moment, the change of the master key leaves a database that the old key opens, and that the new one
/// opens once the command has been run to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_reseal_loses_nothing() {
    let database = TestDatabase::sqlite();
    let mut binary = Binary::new(&database);
    let before = binary.run(&["--json", "keys", "list"], "");
    let mut killed = 0;
    for round in 0..24_u64 {
        let new = database.folder().join(format!("new-{round}.key"));
        let line = ["keys", "reseal", "--new-key-file", new.to_str().unwrap()];
        let mut child = binary.command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause(Duration::from_millis(round * 4)).await;
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        assert_eq!(binary.run(&["--json", "keys", "list"], ""), before, "the old key opens it");
        binary.run(&["--json", "keys", "reseal", "--new-key-file", new.to_str().unwrap()], "");
        binary.set("KEYWARD_KEYS_MASTER_KEY_FILE", new.display().to_string());
        assert_eq!(binary.run(&["--json", "keys", "list"], ""), before, "the new key opens it");
    }
    assert!(killed > 0, "every command was faster than its end");
    assert_eq!(binary.run(&["--json", "keys", "reseal"], "").as_array().unwrap().len(), 25);
    binary.run(&["--json", "keys", "reseal", "--finish", "--yes"], "");
    assert_eq!(binary.run(&["--json", "keys", "reseal"], "").as_array().unwrap().len(), 1);
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before);
}
