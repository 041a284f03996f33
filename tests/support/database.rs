//! Databases of one test: a folder for SQLite, a database made from a migrated template for PostgreSQL.

use keyward::settings::Settings;
use keyward::store::{Store, StoreOptions};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

const TEMPLATE: &str = "keyward_template";

/// Where a test keeps its data.
pub struct TestDatabase {
    folder: TempDir,
    postgres: Option<String>,
    redis: Option<String>,
}

/// The address of the PostgreSQL server that `./test` started, without a database's name.
#[allow(clippy::disallowed_methods, reason = "the test command hands the address over by the environment")]
fn postgres_server() -> String {
    std::env::var("KEYWARD_TEST_POSTGRES").expect("KEYWARD_TEST_POSTGRES: run ./test")
}

async fn connect(database: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("{}/{database}", postgres_server()));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.expect("PostgreSQL answers")
}

/// Makes the template once for all tests of this process.
async fn template() {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(|| async {
        let admin = connect("postgres").await;
        admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {TEMPLATE}")).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
        admin.close().await.unwrap();
        let url = format!("{}/{TEMPLATE}", postgres_server());
        let options = StoreOptions { max_connections: 1, ..StoreOptions::default() };
        let store = Store::open_postgres(&url, &options).unwrap();
        store.migrate().await.unwrap();
        store.close().await.unwrap();
    })
    .await;
}

impl TestDatabase {
    /// A SQLite file in a folder of its own.
    pub fn sqlite() -> Self {
        Self { folder: TempDir::new().unwrap(), postgres: None, redis: None }
    }

    /// A new PostgreSQL database.
    pub async fn postgres() -> Self {
        template().await;
        let folder = TempDir::new().unwrap();
        Self::named(folder, &format!("TEMPLATE {TEMPLATE}")).await
    }

    /// A new PostgreSQL database without any table.
    pub async fn empty_postgres() -> Self {
        Self::named(TempDir::new().unwrap(), "").await
    }

    async fn named(folder: TempDir, like: &str) -> Self {
        let unique: String =
            folder.path().file_name().unwrap().to_str().unwrap().chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("keyward_{}_{}", std::process::id(), unique.to_lowercase());
        // PostgreSQL lets one connection at a time copy a template.
        static COPYING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let copying = COPYING.lock().await;
        let admin = connect("postgres").await;
        admin.execute_unprepared(&format!("CREATE DATABASE {name} {like}")).await.unwrap();
        admin.close().await.unwrap();
        drop(copying);
        Self { folder, postgres: Some(name), redis: None }
    }

    /// State with a lifetime goes to the Redis that `./test` started.
    #[allow(clippy::disallowed_methods, reason = "the test command hands the address over by the environment")]
    pub fn with_redis(self) -> Self {
        self.with_redis_at(std::env::var("KEYWARD_TEST_REDIS").expect("KEYWARD_TEST_REDIS: run ./test"))
    }

    /// State with a lifetime goes to this Redis.
    pub fn with_redis_at(self, url: String) -> Self {
        Self { redis: Some(url), ..self }
    }

    /// The value of `redis.url`, where there is one.
    pub fn redis_url(&self) -> Option<&str> {
        self.redis.as_deref()
    }

    /// What the keys of this test begin with.
    pub fn redis_prefix(&self) -> String {
        self.folder().file_name().unwrap().to_str().unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    /// One statement, past the store.
    pub async fn administer(&self, statement: &str) {
        let database = self.postgres.as_deref().expect("a database of PostgreSQL");
        let connection = connect(database).await;
        connection.execute_unprepared(statement).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The value of `database.url` for a server on this database.
    pub fn url(&self) -> String {
        match &self.postgres {
            None => "sqlite:keyward.db".to_owned(),
            Some(name) => format!("{}/{name}", postgres_server()),
        }
    }

    /// Whether one server at a time may use it: a SQLite file.
    pub fn serves_one(&self) -> bool {
        self.postgres.is_none()
    }

    /// Points the settings here.
    pub fn apply(&self, settings: &mut Settings) {
        settings.data_dir = self.folder.path().to_owned();
        settings.database.url = self.url().into();
        settings.redis.url = self.redis.clone().map(Into::into);
        settings.redis.key_prefix = self.redis_prefix();
    }

    /// Removes it.
    pub async fn remove(self) {
        if let Some(name) = &self.postgres {
            let admin = connect("postgres").await;
            admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
            admin.close().await.unwrap();
        }
    }
}
