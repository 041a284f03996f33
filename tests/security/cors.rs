//! CORS by class of endpoint (requirement WB-3, protocol decision 31): which scripts may read which answers.

use keyward::settings::Environment;
use reqwest::Method;

use crate::support::server::{Answer, SECRET};
use crate::support::{ClientSpec, TestServer};

const OWN: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

async fn preflight(server: &TestServer, path: &str, origin: &str) -> Answer {
    let request = server
        .http
        .request(Method::OPTIONS, server.endpoint(path))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    Answer::of(request).await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_allows_any_origin_to_ask() {
    let server = TestServer::sqlite().await;
    for path in ["/token", "/userinfo", "/introspect", "/revoke", "/token/"] {
        let answer = preflight(&server, path, FOREIGN).await;
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        assert_eq!(allowed(&answer), Some(FOREIGN), "{path}");
        assert!(answer.header("access-control-allow-methods").contains("POST"), "{path}");
        let headers = answer.header("access-control-allow-headers").to_ascii_lowercase();
        for header in ["authorization", "content-type", "dpop"] {
            assert!(headers.contains(header), "{path}: {headers}");
        }
        assert!(answer.headers.get("access-control-allow-credentials").is_none(), "{path}: cookies are never meant");
        assert!(answer.header("vary").contains("Origin"), "{path}");
        assert_eq!(answer.header("access-control-max-age"), server.app.settings.cors.max_age.as_secs().to_string());
    }
    server.stop().await;
}

on_each_database! {
    async fn the_answer_is_for_the_clients_own_origins(server) {
        server.add_user("ada").await;
        server
            .add_client(ClientSpec::web("shop").with(|client| client.web_origins = vec!["https://more.example".into()]))
            .await;
        let token = server.tokens("shop", "ada").await["access_token"].as_str().unwrap().to_owned();
        for (origin, may) in [
            (OWN, true),
            ("https://more.example", true),
            (FOREIGN, false),
            ("http://app.example", false),
            ("https://app.example:8443", false),
            ("https://app.example.evil.example", false),
            ("https://sub.app.example", false),
            ("null", false),
        ] {
            let expected = may.then_some(origin);
            let post = |path: &str, form: &[(&str, &str)]| {
                server
                    .http
                    .post(server.endpoint(path))
                    .header("origin", origin)
                    .basic_auth("shop", Some(SECRET))
                    .form(form)
            };
            // A success, and errors of each kind.
            let answers = [
                ("revoked", Answer::of(post("/revoke", &[("token", "unknown")])).await, 200),
                ("introspected", Answer::of(post("/introspect", &[("token", "unknown")])).await, 200),
                (
                    "unknown code",
                    Answer::of(post("/token", &[("grant_type", "authorization_code"), ("code", "x")])).await,
                    400,
                ),
                ("unknown grant", Answer::of(post("/token", &[("grant_type", "password")])).await, 400),
                (
                    "wrong secret in the body",
                    Answer::of(server.http.post(server.endpoint("/token")).header("origin", origin).form(&[
                        ("client_id", "shop"),
                        ("client_secret", "wrong"),
                        ("grant_type", "refresh_token"),
                        ("refresh_token", "x"),
                    ]))
                    .await,
                    401,
                ),
                (
                    "userinfo",
                    Answer::of(
                        server.http.get(server.endpoint("/userinfo")).header("origin", origin).bearer_auth(&token),
                    )
                    .await,
                    200,
                ),
            ];
            for (what, answer, status) in answers {
                assert_eq!(answer.status, status, "{what}: {answer:?}");
                assert_eq!(allowed(&answer), expected, "{what} from {origin}");
                assert!(answer.headers.get("access-control-allow-credentials").is_none());
                assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"), "{what}: {answer:?}");
                if may {
                    let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
                    assert!(exposed.contains("www-authenticate") && exposed.contains("retry-after"), "{exposed}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_of_a_client_that_is_not_theirs() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    for request in [
        server.http.post(server.endpoint("/token")).form(&[("client_id", "nobody"), ("grant_type", "x")]),
        server.http.post(server.endpoint("/token")).form(&[("grant_type", "x")]),
        server.http.get(server.endpoint("/userinfo")),
        server.http.get(server.endpoint("/userinfo")).bearer_auth("garbage"),
    ] {
        let answer = Answer::of(request.header("origin", OWN)).await;
        assert!(answer.status >= 400, "{answer:?}");
        assert_eq!(allowed(&answer), None, "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_public_is_for_everybody() {
    let server = TestServer::sqlite().await;
    for path in ["/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let answer = Answer::of(server.http.get(server.endpoint(path)).header("origin", FOREIGN)).await;
        assert_eq!((answer.status, allowed(&answer)), (200, Some("*")), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin", "{path}");
        assert_eq!(preflight(&server, path, FOREIGN).await.status, 204, "{path}");
        // Not only for browsers that name an origin: a shared cache keeps one answer for all.
        assert_eq!(allowed(&Answer::of(server.http.get(server.endpoint(path))).await), Some("*"), "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_for_no_script_of_another_origin() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    let authorize = server.authorize_url("shop", &[]);
    let authorize = authorize.strip_prefix(&server.url).unwrap();
    for path in
        [authorize, "/login", "/end_session", "/", "/csrf-token", "/setup", "/consent", "/nothing", "/health/live"]
    {
        for origin in [OWN, FOREIGN] {
            let answer = Answer::of(server.http.get(server.endpoint(path)).header("origin", origin)).await;
            assert_eq!(allowed(&answer), None, "{path}");
            let answer = preflight(&server, path, origin).await;
            assert_eq!(allowed(&answer), None, "preflight of {path}");
            assert!(answer.headers.get("access-control-allow-methods").is_none(), "preflight of {path}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_of_the_settings_may_read_every_client_answer() {
    let server = TestServer::with(crate::support::TestDatabase::sqlite(), |settings| {
        settings.cors.allowed_origins = vec!["https://portal.example".into()];
    })
    .await;
    for (origin, expected) in [("https://portal.example", Some("https://portal.example")), (FOREIGN, None)] {
        let request = server.http.post(server.endpoint("/token")).header("origin", origin).form(&[("grant_type", "x")]);
        assert_eq!(allowed(&Answer::of(request).await), expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_for_development_count_in_development_alone() {
    const DEV: &str = "http://localhost:5173";
    for (environment, expected) in [(Environment::Production, None), (Environment::Development, Some(DEV))] {
        let server = TestServer::with(crate::support::TestDatabase::sqlite(), |settings| {
            settings.environment = environment;
            settings.cors.development_origins = vec![DEV.into()];
        })
        .await;
        let request = server.http.post(server.endpoint("/token")).header("origin", DEV).form(&[("grant_type", "x")]);
        assert_eq!(allowed(&Answer::of(request).await), expected);
        server.stop().await;
    }
}
