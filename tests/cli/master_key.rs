//! The master key out of HashiCorp Vault and AWS Secrets Manager: start, restart, every way in which it can fail, and the
//! change of the master key from one to the other beside a running server.

use std::process::Stdio;

use http::Method;
use keyward::store::{Store, StoreOptions};
use keyward_entities::audit_event;
use keyward_keys::MasterKey;
use serde_json::{Value, json};

use super::keys::Story;
use crate::support::TestDatabase;
use crate::support::binary::Binary;
use crate::support::secret_store::{Moto, OddServer, OpenBao, no_credentials_of_this_machine};
use crate::support::server::{Answer, http_client};
use crate::support::service::{Speaks, free_port};

const READ: &str = "path \"secret/data/keyward\" { capabilities = [\"read\"] }";
const RUNBOOK: &str = "docs/runbooks/master-key-away.md";

/// A new master key, as the command prints it.
fn new_key(binary: &Binary) -> String {
    let output = binary.command(&["keys", "new-master-key"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(MasterKey::parse(text.trim_end()).is_ok() && text.ends_with('\n'), "one line, to be piped");
    text.trim_end().to_owned()
}

fn fingerprint(key: &str) -> String {
    MasterKey::parse(key).unwrap().fingerprint()
}

/// The readings that the audit trail has, oldest first: by whom, how it ended, and what is said of it.
async fn readings(database: &TestDatabase) -> Vec<(String, String, Value)> {
    let options = StoreOptions::default();
    let url = database.url();
    let store = match url.starts_with("postgres") {
        true => Store::open_postgres(&url, &options).unwrap(),
        false => Store::open_sqlite(&database.folder().join("keyward.db"), &options).unwrap(),
    };
    let mut events = store.audit_events("master_key_read", 1000).await.unwrap();
    store.close().await.unwrap();
    events.reverse();
    let row = |event: audit_event::Model| (event.actor, event.outcome, serde_json::from_str(&event.detail).unwrap());
    events.into_iter().map(row).collect()
}

/// A command that needs the master key fails, says why and what to do, and shows no secret.
fn refused(binary: &Binary, says: &str, secrets: &[&str]) -> String {
    let said = binary.refuse(&["keys", "list"], "");
    assert!(said.contains(says) && said.contains(RUNBOOK), "{says}: {said}");
    for secret in secrets {
        assert!(!said.contains(secret), "a secret is shown: {said}");
    }
    said
}

/// Runs a server with the most talkative log until it is ready, and gives all that it has said.
async fn log_of_a_start(binary: &mut Binary, database: &TestDatabase) -> String {
    let file = database.folder().join("log");
    let log = std::fs::File::create(&file).unwrap();
    binary.set("KEYWARD_LOG_LEVEL", "trace".to_owned());
    let mut command = binary.command(&["serve"]);
    let mut child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    binary.ready(&http_client()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    binary.set("KEYWARD_LOG_LEVEL", "warn".to_owned());
    std::fs::read_to_string(file).unwrap()
}

/// A text without what stands before its last 40 characters, by which it would be found whole and in part.
fn core(secret: &str) -> &str {
    &secret[secret.len().saturating_sub(40)..]
}

fn of_vault(database: &TestDatabase, address: &str, secret: &str) -> Binary {
    Binary::new(database)
        .with("KEYWARD_VAULT_ADDRESS", address)
        .with("KEYWARD_VAULT_TOKEN", "the-right-token")
        .with("KEYWARD_KEYS_MASTER_KEY_TIMEOUT", "3s")
        .with("KEYWARD_KEYS_MASTER_KEY_VAULT", secret)
}

async fn kept_in_vault(database: TestDatabase) {
    let vault = OpenBao::start(Speaks::Tls).await;
    let mut binary = Binary::new(&database).with("KEYWARD_KEYS_MASTER_KEY_VAULT", "keyward");
    let key = new_key(&binary);
    let token = vault.token("", READ).await;
    vault.open_for(&mut binary, &token);

    // There is none yet, and none is made.
    let said = refused(&binary, "there is no such secret", &[&token]);
    let recipe = "`keyward keys new-master-key | vault kv put -mount=secret keyward master_key=-`";
    assert!(said.contains(recipe) && said.contains("keys.master_key_vault"), "{said}");
    assert!(!database.folder().join("master.key").exists());
    vault.put("keyward", json!({ "other": "x" })).await;
    assert!(refused(&binary, "no field \"master_key\"", &[&token]).contains(recipe));

    vault.put("keyward", json!({ "master_key": format!("{key}\n"), "other": "x" })).await;
    let http = http_client();
    binary.start(&http).await;
    let before = binary.run(&["--json", "keys", "list"], "");
    binary.kill();
    let log = log_of_a_start(&mut binary, &database).await;
    for secret in [core(&key), &token] {
        assert!(!log.contains(secret), "a secret stands in the log");
    }
    let rows = readings(&database).await;
    let detail = json!({ "keeper": "vault", "secret": "keyward", "fingerprint": fingerprint(&key) });
    let done = |actor: &str| (actor.to_owned(), "success".to_owned(), detail.clone());
    assert_eq!(rows[2..], [done("server"), done("cli"), done("server")]);
    let missing = json!({ "keeper": "vault", "secret": "keyward", "reason": "missing" });
    assert_eq!(rows[0], ("cli".to_owned(), "failure".to_owned(), missing));

    // Every way in which the right thing is missing: nothing is overwritten, and the message helps.
    binary.set("KEYWARD_VAULT_TOKEN", "s.wrong".to_owned());
    refused(&binary, "doesn't allow this: the token is wrong or expired", &["s.wrong", core(&key)]);
    let other = vault.token("", "path \"secret/data/other\" { capabilities = [\"read\"] }").await;
    binary.set("KEYWARD_VAULT_TOKEN", other.clone());
    refused(&binary, "allows \"read\" on secret/data/keyward", &[&other, core(&key)]);
    let token = vault.token("", READ).await;
    binary.set("KEYWARD_VAULT_TOKEN", token.clone());
    binary.set("KEYWARD_KEYS_MASTER_KEY_VAULT", "keyward#nothing".to_owned());
    refused(&binary, "no field \"nothing\"", &[&token, core(&key)]);
    binary.set("KEYWARD_KEYS_MASTER_KEY_VAULT", "keyward#other".to_owned());
    refused(&binary, "doesn't start with", &[&token, core(&key)]);
    binary.set("KEYWARD_KEYS_MASTER_KEY_VAULT", "keyward".to_owned());
    let foreign = new_key(&binary);
    vault.put("keyward", json!({ "master_key": foreign })).await;
    let said = binary.refuse(&["keys", "list"], "");
    assert!(said.contains(&fingerprint(&foreign)) && said.contains(&fingerprint(&key)), "{said}");
    assert!(said.contains("keys.master_key_vault") && said.contains("docs/runbooks/lost-master-key.md"), "{said}");
    vault.call(Method::DELETE, "secret/data/keyward", "", Value::Null).await;
    let said = refused(&binary, "there is no such secret, or it is deleted", &[&token]);
    assert!(said.contains(&fingerprint(&key)) && said.contains("Put the secret back"), "{said}");
    // The certificate of an authority that nobody trusts.
    binary.unset("KEYWARD_VAULT_CA_FILE");
    refused(&binary, "can't be reached", &[&token]);
    binary.set("KEYWARD_VAULT_CA_FILE", database.folder().join("none.pem").display().to_string());
    refused(&binary, "vault.ca_file: ", &[&token]);
    vault.open_for(&mut binary, &token);

    vault.call(Method::POST, "secret/undelete/keyward", "", json!({ "versions": [2] })).await;
    vault.put("keyward", json!({ "master_key": key })).await;
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before, "nothing was changed");
    vault.call(Method::PUT, "sys/seal", "", Value::Null).await;
    binary.set("KEYWARD_KEYS_MASTER_KEY_TIMEOUT", "3s".to_owned());
    refused(&binary, "status 503", &[&token]);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs OpenBao: run ./test")]
async fn kept_in_vault_sqlite() {
    kept_in_vault(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs OpenBao: run ./test")]
async fn kept_in_vault_postgres() {
    kept_in_vault(TestDatabase::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs OpenBao: run ./test")]
async fn vault_is_entered_by_a_role_and_in_a_namespace() {
    let database = TestDatabase::sqlite();
    let vault = OpenBao::start(Speaks::Plainly).await;
    let mut binary = Binary::new(&database).with("KEYWARD_KEYS_MASTER_KEY_VAULT", "keyward#k");
    let key = new_key(&binary);
    vault.put("keyward", json!({ "k": key })).await;
    let (role_id, secret_id) = vault.role("nodes/approle", READ, 2).await;
    binary.set("KEYWARD_VAULT_ADDRESS", vault.url());
    binary.set("KEYWARD_VAULT_ROLE_ID", role_id);
    // The secret id comes from a file, as other secrets do.
    let file = database.folder().join("secret-id");
    std::fs::write(&file, format!("{secret_id}\n")).unwrap();
    binary.set("KEYWARD_VAULT_SECRET_ID_FILE", file.display().to_string());
    refused(&binary, "no AppRole at auth/approle (vault.approle_mount, vault.namespace)", &[&secret_id]);
    binary.set("KEYWARD_VAULT_APPROLE_MOUNT", "nodes/approle".to_owned());
    let log = log_of_a_start(&mut binary, &database).await;
    assert!(!log.contains(&secret_id) && !log.contains(core(&key)), "a secret stands in the log");
    let before = binary.run(&["--json", "keys", "list"], "");
    refused(&binary, "vault.role_id or vault.secret_id is wrong, expired, used up", &[&secret_id, core(&key)]);

    // The same secret in a namespace of Vault, with a mount of its own.
    vault.call(Method::POST, "sys/namespaces/team", "", json!({})).await;
    vault.call(Method::POST, "sys/mounts/kv", "team", json!({ "type": "kv", "options": { "version": "2" } })).await;
    let token = vault.token("team", "path \"kv/data/deep/keyward\" { capabilities = [\"read\"] }").await;
    vault.serves("kv", "team").await;
    vault.call(Method::POST, "kv/data/deep/keyward", "team", json!({ "data": { "k": key } })).await;
    for variable in ["KEYWARD_VAULT_ROLE_ID", "KEYWARD_VAULT_SECRET_ID_FILE"] {
        binary.unset(variable);
    }
    vault.open_for(&mut binary, &token);
    binary.set("KEYWARD_VAULT_MOUNT", "kv".to_owned());
    binary.set("KEYWARD_KEYS_MASTER_KEY_VAULT", "deep/keyward#k".to_owned());
    binary.set("KEYWARD_VAULT_NAMESPACE", "team".to_owned());
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before);
    binary.set("KEYWARD_VAULT_NAMESPACE", "nobody".to_owned());
    refused(&binary, "in the namespace \"nobody\"", &[&token, core(&key)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_that_answer_oddly() {
    let database = TestDatabase::sqlite();
    let key = new_key(&Binary::new(&database));
    let odd = OddServer::start("the-right-token", &key).await;
    let secrets = ["the-right-token", core(&key)];
    for (name, says, asked) in [
        ("redirect", "answers with a redirect, and none is followed", 1),
        ("long", "longer than 262144 octets", 1),
        ("endless", "longer than 262144 octets", 1),
        ("page", "isn't one of Vault's", 1),
        ("number", "the field isn't a text", 1),
        ("not-a-key", "base64url", 1),
        ("teapot", "the status 418", 1),
        ("sealed", "a sealed Vault says 503", 3),
        ("torn", "can't be reached", 3),
    ] {
        refused(&of_vault(&database, &odd.url(), name), says, &secrets);
        assert_eq!(odd.hits(), asked, "{name}: what may pass is asked for three times");
    }
    assert!(odd.elsewhere().is_empty(), "nothing follows a redirect, least of all the token");
    // One that says nothing, or never comes to an end, holds nobody up.
    for name in ["silent", "drip"] {
        refused(&of_vault(&database, &odd.url(), name), "longer than keys.master_key_timeout allows", &secrets);
    }
    let wrong = of_vault(&database, &odd.url(), "flaky").with("KEYWARD_VAULT_TOKEN", "a-wrong-token");
    refused(&wrong, "doesn't allow this", &["a-wrong-token"]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    refused(&of_vault(&database, &nobody, "keyward"), "Connection refused", &secrets);
    odd.hits();
    let listed = of_vault(&database, &odd.url(), "flaky").run(&["--json", "keys", "list"], "");
    assert_eq!((odd.hits(), listed.as_array().unwrap().len()), (3, 2), "a passing failure is waited out");
    let outcomes: Vec<_> = readings(&database).await.into_iter().map(|(_, outcome, _)| outcome).collect();
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "failure").count(), 13);
    assert_eq!(outcomes.last().unwrap(), "success");
}

/// Beyond this machine the master key and what opens it never travel in the clear.
#[test]
fn plain_http_is_for_this_machine() {
    let database = TestDatabase::sqlite();
    let said = of_vault(&database, "http://vault.example.com:8200", "keyward").refuse(&["keys", "list"], "");
    assert!(said.contains("KEYWARD_VAULT_ADDRESS: vault.address: must begin with https://"), "{said}");
    let mut binary = Binary::new(&database).with("KEYWARD_KEYS_MASTER_KEY_AWS", "keyward");
    let said = Binary::new(&database).with("KEYWARD_AWS_ENDPOINT_URL", "http://aws.example.com");
    assert!(said.refuse(&["config", "check"], "").contains("aws.endpoint_url: must begin with https://"));
    // AWS's own variable isn't checked with our settings, and its address is refused all the same.
    no_credentials_of_this_machine(&mut binary);
    binary.set("AWS_ACCESS_KEY_ID", "AKIATEST".to_owned());
    binary.set("AWS_SECRET_ACCESS_KEY", "the-key-of-the-tests".to_owned());
    binary.set("AWS_REGION", Moto::REGION.to_owned());
    binary.set("AWS_ENDPOINT_URL", "http://192.0.2.1".to_owned());
    refused(&binary, "plain http", &["the-key-of-the-tests"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_that_answers_oddly() {
    let database = TestDatabase::sqlite();
    let mut binary = Binary::new(&database).with("KEYWARD_KEYS_MASTER_KEY_TIMEOUT", "3s");
    let key = new_key(&binary);
    let odd = OddServer::start("", &key).await;
    binary.set("KEYWARD_AWS_ENDPOINT_URL", odd.url());
    no_credentials_of_this_machine(&mut binary);
    binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", "page".to_owned());
    refused(&binary, "set aws.region", &[]);
    binary.set("KEYWARD_AWS_REGION", Moto::REGION.to_owned());
    refused(&binary, "credentials", &[]);
    assert_eq!(odd.hits(), 0, "without credentials nobody is asked");
    binary.set("AWS_ACCESS_KEY_ID", "AKIATEST".to_owned());
    binary.set("AWS_SECRET_ACCESS_KEY", "the-key-of-the-tests".to_owned());
    let secrets = ["the-key-of-the-tests", core(&key)];
    for (name, says) in [
        ("redirect", "answers with a redirect"),
        ("long", "longer than 262144 octets"),
        ("endless", "longer than 262144 octets"),
        ("page", "isn't one of AWS Secrets Manager"),
        ("sealed", "status 503"),
        ("silent", "longer than keys.master_key_timeout allows"),
        ("drip", "longer than keys.master_key_timeout allows"),
    ] {
        binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", name.to_owned());
        refused(&binary, says, &secrets);
        assert!(odd.hits() > 0, "{name}");
    }
    assert!(odd.elsewhere().is_empty());
    binary.set("KEYWARD_AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", free_port()));
    refused(&binary, "can't be reached", &secrets);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs moto: run ./test")]
async fn kept_in_aws() {
    let database = TestDatabase::sqlite();
    let aws = Moto::start().await;
    let mut binary = Binary::new(&database);
    let key = new_key(&binary);
    let arn = aws.put("keyward/master-key", &format!("{key}\n")).await;
    aws.put("keyward/fields", &json!({ "k": key, "n": 5 }).to_string()).await;
    aws.put("keyward/malformed", "hello").await;
    let of_role = aws.role("secretsmanager:GetSecretValue").await;
    let credentials = aws.credentials("secretsmanager:GetSecretValue").await;
    aws.open_for(&mut binary, &credentials);
    let secrets = [credentials.1.as_str(), core(&key)];

    binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", "keyward/none".to_owned());
    let said = refused(&binary, "there is no such secret", &secrets);
    assert!(said.contains("aws secretsmanager create-secret --name keyward/none"), "{said}");
    for (secret, says) in [
        ("keyward/malformed", "doesn't start with"),
        ("keyward/malformed#k", "isn't a JSON object"),
        ("keyward/fields#x", "no field \"x\""),
        ("keyward/fields#n", "isn't a text"),
    ] {
        binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", secret.to_owned());
        refused(&binary, says, &secrets);
    }
    binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", "keyward/master-key".to_owned());
    let log = log_of_a_start(&mut binary, &database).await;
    for secret in secrets {
        assert!(!log.contains(secret), "a secret stands in the log");
    }
    let before = binary.run(&["--json", "keys", "list"], "");
    let rows = readings(&database).await;
    let detail = json!({ "keeper": "aws", "secret": "keyward/master-key", "fingerprint": fingerprint(&key) });
    assert_eq!(rows[rows.len() - 2..].iter().map(|row| &*row.0).collect::<Vec<_>>(), ["server", "cli"]);
    assert!(rows[rows.len() - 2..].iter().all(|row| row.1 == "success" && row.2 == detail), "{rows:?}");

    // By its ARN, which says the region, and by a field, the credentials in a profile's file.
    let file = database.folder().join("credentials");
    let text = format!("[k]\naws_access_key_id = {}\naws_secret_access_key = {}\n", credentials.0, credentials.1);
    std::fs::write(&file, text).unwrap();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "KEYWARD_AWS_REGION"] {
        binary.unset(name);
    }
    binary.set("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string());
    binary.set("AWS_PROFILE", "k".to_owned());
    binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", arn);
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before);
    binary.set("AWS_REGION", Moto::REGION.to_owned());
    binary.set("KEYWARD_KEYS_MASTER_KEY_AWS", "keyward/fields#k".to_owned());
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before);

    // As a program says them (`credential_process`), and as a container's agent does.
    let said = json!({ "Version": 1, "AccessKeyId": credentials.0, "SecretAccessKey": credentials.1 });
    let (program, config) = (database.folder().join("said.json"), database.folder().join("config"));
    std::fs::write(&program, said.to_string()).unwrap();
    std::fs::write(&config, format!("[profile p]\ncredential_process = cat {}\n", program.display())).unwrap();
    binary.set("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned());
    binary.set("AWS_CONFIG_FILE", config.display().to_string());
    binary.set("AWS_PROFILE", "p".to_owned());
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before);
    binary.unset("AWS_PROFILE");
    let agent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/credentials", agent.local_addr().unwrap());
    let router = axum::Router::new().fallback(move || async move { of_role.to_string() });
    tokio::spawn(async move { axum::serve(agent, router).await });
    binary.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", address);
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before);
    binary.unset("AWS_CONTAINER_CREDENTIALS_FULL_URI");

    binary.set("AWS_ACCESS_KEY_ID", credentials.0.clone());
    binary.set("AWS_SECRET_ACCESS_KEY", credentials.1.clone());
    aws.allow_only("secretsmanager:ListSecrets").await;
    refused(&binary, "allows secretsmanager:GetSecretValue on this secret", &secrets);
    aws.allow_only("secretsmanager:GetSecretValue").await;
    assert_eq!(binary.run(&["--json", "keys", "list"], ""), before, "nothing was changed");
    binary.set("AWS_SECRET_ACCESS_KEY", "a-wrong-one".to_owned());
    refused(&binary, "doesn't allow this: ", &["a-wrong-one", core(&key)]);
}

/// From a file to Vault, from there to AWS, and back into a file, while a server runs.
async fn changed_from_keeper_to_keeper(database: TestDatabase) {
    let (vault, aws) = (OpenBao::start(Speaks::Plainly).await, Moto::start().await);
    let mut story = Story::begin(&database).await;
    let before = story.keys("list");
    let access = story.refresh().await;
    let (in_vault, in_aws) = (new_key(&story.binary), new_key(&story.binary));
    vault.put("keyward", json!({ "master_key": in_vault })).await;
    aws.put("keyward/master-key", &in_aws).await;
    let token = vault.token("", READ).await;
    let credentials = aws.credentials("secretsmanager:GetSecretValue").await;
    // How both are reached is set for the commands; the running server doesn't know of it.
    vault.open_for(&mut story.binary, &token);
    aws.open_for(&mut story.binary, &credentials);

    let said = story.binary.refuse(&["keys", "reseal", "--new-key-vault", "keyward#nothing"], "");
    assert!(said.contains("--new-key-vault") && said.contains("keyward keys new-master-key"), "{said}");
    assert_eq!(story.keys("reseal").as_array().unwrap().len(), 1);
    let file = database.folder().join("new.key");
    let steps = [
        (vec!["--new-key-vault", "keyward"], ("KEYWARD_KEYS_MASTER_KEY_VAULT", "keyward".to_owned())),
        (vec!["--new-key-aws", "keyward/master-key"], ("KEYWARD_KEYS_MASTER_KEY_AWS", "keyward/master-key".to_owned())),
        (vec!["--new-key-file", file.to_str().unwrap()], ("KEYWARD_KEYS_MASTER_KEY_FILE", file.display().to_string())),
    ];
    for (flags, (variable, value)) in steps {
        let done = story.binary.run(&[vec!["--json", "keys", "reseal"], flags].concat(), "");
        assert_eq!(done["added"], true);
        assert_eq!(story.userinfo(&access).await, 200, "the running server isn't disturbed");
        story.refresh().await;
        for other in ["KEYWARD_KEYS_MASTER_KEY_VAULT", "KEYWARD_KEYS_MASTER_KEY_AWS", "KEYWARD_KEYS_MASTER_KEY_FILE"] {
            story.binary.unset(other);
        }
        story.binary.set(variable, value.clone());
        // A second node comes up with the new key beside the first, which has the old one, where there can be two.
        if database.serves_one() {
            story.binary.kill();
        }
        let mut second = Binary::new(&database).with(variable, &value);
        vault.open_for(&mut second, &token);
        aws.open_for(&mut second, &credentials);
        second.start(&story.app.http).await;
        let request = story.app.at(&second.url).post("/token", &[("grant_type", "client_credentials")]);
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        second.kill();
        // Then the first is restarted, and the old key opens nothing any more.
        story.binary.kill();
        story.binary.start(&story.app.http).await;
        let done = story.keys("reseal --finish --yes");
        assert_eq!(done["removed"].as_array().unwrap().len(), 1);
        assert_eq!(story.userinfo(&access).await, 200, "tokens from before");
        story.refresh().await;
    }
    assert_eq!(story.keys("list"), before);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("keyward-master-key-1:"));
    let rows = readings(&database).await;
    for key in [&in_vault, &in_aws] {
        assert!(rows.iter().any(|row| row.0 == "server" && row.2["fingerprint"] == fingerprint(key)));
    }
    story.end(database).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs OpenBao and moto: run ./test")]
async fn changed_from_keeper_to_keeper_sqlite() {
    changed_from_keeper_to_keeper(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "services"), ignore = "needs OpenBao and moto: run ./test")]
async fn changed_from_keeper_to_keeper_postgres() {
    changed_from_keeper_to_keeper(TestDatabase::postgres().await).await;
}
