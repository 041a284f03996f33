//! A page of its own origin over https, and a Chromium that trusts the test's servers.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use serde_json::Value;

use crate::browser::chromium::Browser;
use crate::support::TestServer;

/// A page, served over https from another origin than Keyward.
pub struct Page {
    pub url: String,
    handle: Handle<SocketAddr>,
}

impl Page {
    /// Serves the scripts at their paths, and at every other path the page: its script looks at its address to know what
    /// to do.
    pub async fn serve<const N: usize>(
        server: &TestServer,
        html: String,
        scripts: [(&'static str, String); N],
    ) -> Self {
        let page = get(async move || axum::response::Html(html));
        let mut router = Router::new().fallback(page);
        for (path, text) in scripts {
            let answer = async move || ([(header::CONTENT_TYPE, "text/javascript")], text).into_response();
            router = router.route(path, get(answer));
        }
        let authority = server.authority().unwrap();
        let tls = RustlsConfig::from_pem_file(authority.certificate_file(), authority.key_file()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let handle = Handle::new();
        let serving = axum_server::from_tcp_rustls(listener, tls).unwrap().handle(handle.clone());
        tokio::spawn(serving.serve(router.into_make_service()));
        handle.listening().await.unwrap();
        Self { url, handle }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// A Chromium that knows the key of the test's servers, and whose other checks stand.
pub async fn browser(server: &TestServer) -> Browser {
    let pin = format!("--ignore-certificate-errors-spki-list={}", server.authority().unwrap().key_pin());
    Browser::start_with(&[&pin]).await
}

/// What came of the page's last action, which must have ended so.
pub async fn result(browser: &Browser, end: &str) -> Value {
    let status = browser.text_with("#status", "done: ").await;
    let result = browser.json("#result").await;
    if status != format!("done: {end}") {
        panic!("{status} where it should be {end}: {result}, {:#?}", browser.complaints().await);
    }
    result
}
