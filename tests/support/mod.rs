//! What the tests stand on: a real server in this process with a clock that they move, a browser of cookies and forms,
//! and databases of their own.

pub mod authority;
pub mod binary;
pub mod browser;
pub mod database;
pub mod secret_store;
pub mod server;
pub mod service;
pub mod status;
pub mod web_app;

pub use browser::Browser;
pub use database::TestDatabase;
pub use server::{ClientSpec, TestServer};
pub use web_app::WebApp;

/// The text with the character at this place changed: always another one.
pub fn changed(text: &str, at: usize) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    characters[at] = if characters[at] == 'A' { 'B' } else { 'A' };
    characters.into_iter().collect()
}

/// A story on SQLite and on PostgreSQL: `name::sqlite` and `name::postgres`.
macro_rules! on_each_database {
    ($(async fn $name:ident($server:ident) $body:block)*) => {$(
        mod $name {
            on_each_database! { @tests $server $body }
        }
    )*};
    (@tests $server:ident $body:block) => {
        #[allow(unused_imports, reason = "not every story needs all")]
        use super::*;

        async fn story($server: &$crate::support::TestServer) $body

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn sqlite() {
            let server = $crate::support::TestServer::on($crate::support::TestDatabase::sqlite()).await;
            story(&server).await;
            server.stop().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL: run ./test")]
        async fn postgres() {
            let server = $crate::support::TestServer::on($crate::support::TestDatabase::postgres().await).await;
            story(&server).await;
            server.stop().await;
        }
    };
}

/// The same, and on PostgreSQL with Redis (`name::redis`): for stories of state with a lifetime.
macro_rules! on_each_store {
    ($(async fn $name:ident($server:ident) $body:block)*) => {$(
        mod $name {
            on_each_database! { @tests $server $body }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[cfg_attr(not(feature = "services"), ignore = "needs PostgreSQL and Redis: run ./test")]
            async fn redis() {
                let database = $crate::support::TestDatabase::postgres().await.with_redis();
                let server = $crate::support::TestServer::on(database).await;
                story(&server).await;
                server.stop().await;
            }
        }
    )*};
}
