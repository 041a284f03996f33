//! `keyward migrate --to`: who signed in on SQLite goes on on PostgreSQL.

use serde_json::Value;

use super::refused;
use crate::support::binary::Binary;
use crate::support::server::{Answer, PASSWORD};
use crate::support::web_app::granted;
use crate::support::{Browser, TestDatabase};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn from_sqlite_to_postgresql() {
    let (source, target) = (TestDatabase::sqlite(), TestDatabase::empty_postgres().await);
    let mut binary = Binary::new(&source);
    binary.run(&["--json", "users", "add", "ada", "--password-stdin"], PASSWORD);
    for index in 0..30 {
        binary.run(&["--json", "users", "add", &format!("user-{index}"), "--no-password"], "");
    }
    let app = binary.add_web_app("shop", &[]);
    binary.start(&app.http).await;
    let browser = Browser::at(&binary.url);
    let spent = browser.code(&app.authorize_url(), "ada").await;
    let first = Answer::of(app.redeem(&spent)).await;
    let (first, access) = (granted(&first, "refresh_token"), granted(&first, "access_token"));
    let second = granted(&Answer::of(app.refresh(&first)).await, "refresh_token");
    let unspent = browser.code(&app.authorize_url(), "ada").await;

    // A password stays out of the list of processes, and a database in use is left alone.
    let with_password = target.url().replace("keyward@", "keyward:secret@");
    refused(&binary, &["migrate", "--to", &with_password], "");
    refused(&binary, &["migrate", "--to", "sqlite:other.db"], "");
    refused(&binary, &["migrate", "--to", &target.url()], "");
    assert_eq!(Answer::of(app.http.get(format!("{}/health/ready", binary.url))).await.status, 200);
    binary.kill();

    let copied = binary.run(&["--json", "migrate", "--to", "-"], &target.url());
    let tables = copied["tables"].as_object().unwrap();
    assert_eq!(tables["users"], 31);
    assert_eq!(tables["grants"], 1);
    assert_eq!((&tables["refresh_tokens"], &tables["authorization_codes"]), (&Value::from(2), &Value::from(2)));
    let rows: u64 = tables.values().map(|rows| rows.as_u64().unwrap()).sum();
    assert_eq!(copied["rows"], rows);

    // A second time the target isn't empty, and nothing is mixed.
    let file = source.folder().join("target");
    std::fs::write(&file, format!("{}\n", target.url())).unwrap();
    refused(&binary, &["migrate", "--to-file", file.to_str().unwrap()], "");

    let mut moved = binary.with("KEYWARD_DATABASE_URL", &target.url());
    moved.start(&app.http).await;
    // The browser's session, an unspent code, the access token and the refresh token go on.
    let again = browser.get(&app.authorize_url()).await;
    assert!(again.header("location").contains("code="), "{again:?}");
    assert_eq!(Answer::of(app.redeem(&unspent)).await.status, 200);
    assert_eq!(Answer::of(app.userinfo(&access)).await.status, 200);
    let third = granted(&Answer::of(app.refresh(&second)).await, "refresh_token");
    // And so does the memory of what was used.
    assert_eq!(Answer::of(app.refresh(&first)).await.error(), "invalid_grant");
    assert_eq!(Answer::of(app.refresh(&third)).await.error(), "invalid_grant");
    assert_eq!(Answer::of(app.redeem(&spent)).await.error(), "invalid_grant");
    moved.kill();
    target.remove().await;
}

/// Who is refused finds the file as it was, though its schema is older than the program; and under the lock it is brought
/// to the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
async fn a_source_in_use_keeps_its_schema() {
    let (source, target) = (TestDatabase::sqlite(), TestDatabase::empty_postgres().await);
    let settings = {
        let mut settings = keyward::settings::Settings::default();
        source.apply(&mut settings);
        settings
    };
    let keyward::settings::DatabaseBackend::Sqlite { path } = settings.database_backend() else { panic!("SQLite") };
    let held = rusqlite::Connection::open(&path).unwrap();
    held.pragma_update(None, "journal_mode", "WAL").unwrap();
    let tables = "SELECT COUNT(*) FROM sqlite_master";
    let count = |connection: &rusqlite::Connection| connection.query_row(tables, [], |row| row.get::<_, i64>(0));
    assert_eq!(count(&held).unwrap(), 0);
    let binary = Binary::new(&source);
    let said = binary.refuse(&["migrate", "--to", &target.url()], "");
    assert!(said.contains("Nothing was changed"), "{said}");
    assert_eq!(count(&held).unwrap(), 0, "nothing was changed");
    drop(held);
    let copied = binary.run(&["--json", "migrate", "--to", "-"], &target.url());
    assert_eq!(copied["tables"]["users"], 0);
    assert!(count(&rusqlite::Connection::open(&path).unwrap()).unwrap() > 20);
    target.remove().await;
}
