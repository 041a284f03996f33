//! Cross-site scripting: hostile texts from requests, clients and users stand in every page as text and nothing else.
//! Each page is compared, tag by tag, with the same page made of harmless texts.

use keyward::account::login_name::login_key;
use keyward::account::profile::new_user;
use keyward::audit::{AuditEvent, AuditKind};
use keyward_protocol::claims::StandardClaims;
use keyward_protocol::scope::ScopeSet;

use crate::support::server::{Answer, PASSWORD};
use crate::support::{Browser, ClientSpec, TestServer};

/// Texts that try to leave an element, an attribute or a script. User names have no blanks.
const HOSTILE: [&str; 6] = [
    "\"><script>alert(1)</script>",
    "'><img/src=x/onerror=alert(1)>",
    "\"/onmouseover=\"alert(1)\"/x=\"",
    "</title></p></main><svg/onload=alert(1)>",
    "javascript:alert(1)//<!--",
    "{{7*7}}${7*7}&lt;script&gt;&#34;<![CDATA[",
];

/// The tags of a page: each with its name and the names of its attributes, read as a browser reads them.
fn skeleton(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let Some(first) = rest.chars().next() else { break };
        if !(first.is_ascii_alphabetic() || first == '/' || first == '!' || first == '?') {
            continue;
        }
        let mut names = Vec::new();
        let mut name = String::new();
        let mut characters = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '>' => {
                    end = at + 1;
                    break;
                }
                '"' | '\'' => {
                    // The value of an attribute, up to its quote.
                    for (_, inner) in characters.by_ref() {
                        if inner == character {
                            break;
                        }
                    }
                    names.push(std::mem::take(&mut name));
                }
                ' ' | '\n' | '\t' => names.push(std::mem::take(&mut name)),
                other => name.push(other),
            }
        }
        names.push(name);
        names.retain(|name| !name.is_empty());
        tags.push(names.join(" "));
        rest = &rest[end..];
        if tags.last().is_some_and(|tag| tag == "script") {
            // What a script holds is no markup.
            rest = rest.find("</script").map_or("", |end| &rest[end..]);
        }
    }
    tags
}

#[test]
fn the_skeleton_sees_what_breaks_out() {
    let harmless = skeleton("<p class=\"a\"><input value=\"x\"></p>");
    assert_eq!(harmless, ["p class=", "input value=", "/p"]);
    assert_eq!(skeleton("<p class=\"a\"><input value=\"&#34;&#60;b&#62;\"></p>"), harmless);
    for broken in [
        "<p class=\"a\"><input value=\"\"><script>x</script>\"></p>",
        "<p class=\"a\"><input value=\"\"/onmouseover=\"x\"></p>",
        "<p class=\"a\"><b>x</b><input value=\"x\"></p>",
    ] {
        assert_ne!(skeleton(broken), harmless, "{broken}");
    }
}

/// Every page that shows something of others, made with this text.
async fn pages(server: &TestServer, browser_user: &str, text: &str) -> Vec<(&'static str, Answer)> {
    let mut pages = Vec::new();
    let browser = Browser::new(server);
    let hostile: &[(&str, &str)] = &[
        ("state", text),
        ("nonce", text),
        ("login_hint", text),
        ("ui_locales", text),
        ("display", text),
        ("unknown", text),
        ("scope", "openid profile api evil</li><script>alert(1)</script>"),
    ];
    let at = |extra: &[(&'static str, &'static str)]| {
        let mut all = hostile.to_vec();
        all.extend(extra);
        server.authorize_url("shop", &all)
    };
    let login = browser.open(&at(&[])).await;
    let wrong = browser.submit(&login, &[("username", text), ("password", text)]).await;
    let consent = browser.sign_in(&wrong, browser_user).await;
    let select = browser.open(&at(&[("prompt", "select_account")])).await;
    let again = browser.open(&at(&[("prompt", "login")])).await;
    let form_post = browser.open(&at(&[("prompt", "consent"), ("response_mode", "form_post")])).await;
    let form_post = browser.submit(&form_post, &[("decision", "allow")]).await;
    let form_post_error = browser.open(&at(&[("max_age", "x"), ("response_mode", "form_post")])).await;
    let home = browser.open("/").await;
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", "shop"),
            ("state", text),
            ("post_logout_redirect_uri", text),
            ("ui_locales", text),
        ])
        .finish();
    let end_session = browser.open(&format!("/end_session?{query}")).await;
    let link = keyward::account::setup_link::make(&server.app).await.unwrap();
    let setup = browser.open(&link).await;
    let setup = browser
        .submit(&setup, &[("username", text), ("email", text), ("password", "short"), ("password_again", "other")])
        .await;
    let expired = browser
        .open(&format!(
            "/setup?{}",
            form_urlencoded::Serializer::new(String::new()).append_pair("token", text).finish()
        ))
        .await;
    let unknown = browser.open(&server.authorize_url(text, &[("state", text)])).await;
    let redirect = browser.open(&server.authorize_url("shop", &[("redirect_uri", text)])).await;
    let nothing = browser
        .open(&format!("/{}", percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)))
        .await;
    let resume = browser
        .open(&format!(
            "/authorize?{}",
            form_urlencoded::Serializer::new(String::new()).append_pair("resume", text).finish()
        ))
        .await;
    for (what, status, answer) in [
        ("login", 200, login),
        ("wrong login", 200, wrong),
        ("consent", 200, consent),
        ("select account", 200, select),
        ("login again", 200, again),
        ("form post", 200, form_post),
        ("form post of an error", 200, form_post_error),
        ("home", 200, home),
        ("end session", 200, end_session),
        ("setup", 422, setup),
        ("expired setup", 410, expired),
        ("unknown client", 400, unknown),
        ("redirect URI", 400, redirect),
        ("nothing there", 404, nothing),
        ("resume", 400, resume),
    ] {
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        pages.push((what, answer));
    }
    pages
}

async fn server_with(text: &str) -> TestServer {
    let server = TestServer::sqlite().await;
    let app = &server.app;
    let hash = app.passwords.hash(PASSWORD.into(), app.random.bytes().unwrap()).await.unwrap();
    let claims = StandardClaims {
        name: Some(text.into()),
        email: Some(format!("{text}@example.org")),
        ..StandardClaims::default()
    };
    let user = new_user(app, text, login_key(text).unwrap(), claims, Some(hash)).unwrap();
    let event = app.audit_record(AuditEvent::by_cli(AuditKind::UserAdded)).unwrap();
    assert!(app.store.add_user(user, Vec::new(), Vec::new(), event).await.unwrap());
    server.add_scope("evil</li><script>alert(1)</script>").await;
    server
        .add_client(ClientSpec::web("shop").with(|client| {
            client.first_party = false;
            client.client_name = text.into();
            client.client_uri = Some(format!("https://client.example/{text}"));
            client.policy_uri = Some(format!("https://client.example/?{text}"));
            client.tos_uri = Some(format!("https://client.example/#{text}"));
            client.scope = ScopeSet::parse("openid profile api evil</li><script>alert(1)</script>").unwrap();
        }))
        .await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_are_text_on_every_page() {
    let harmless = server_with("harmless").await;
    let expected: Vec<_> = pages(&harmless, "harmless", "harmless")
        .await
        .into_iter()
        .map(|(what, page)| (what, skeleton(&page.text)))
        .collect();
    harmless.stop().await;
    for text in HOSTILE {
        let server = server_with(text).await;
        for ((what, page), (same, expected)) in pages(&server, text, text).await.into_iter().zip(&expected) {
            assert_eq!(what, *same);
            assert_eq!(skeleton(&page.text), *expected, "{what} with {text}: {}", page.text);
            assert!(!page.text.contains(text), "{what} has {text} raw: {}", page.text);
            // Where a page shows the text at all, it is there, escaped.
            let shows =
                !matches!(what, "expired setup" | "unknown client" | "redirect URI" | "nothing there" | "resume");
            let escaped = text
                .replace('&', "&#38;")
                .replace('<', "&#60;")
                .replace('>', "&#62;")
                .replace('"', "&#34;")
                .replace('\'', "&#39;");
            assert_eq!(page.text.contains(&escaped), shows, "{what} with {text}: {}", page.text);
            assert!(!page.text.to_ascii_lowercase().contains("href=\"javascript"), "{what}: {}", page.text);
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_json_repeat_nothing_of_the_request() {
    let server = TestServer::sqlite().await;
    server.add_client(ClientSpec::web("shop")).await;
    for text in HOSTILE {
        for form in [
            vec![("grant_type", text)],
            vec![("grant_type", "authorization_code"), ("code", text), ("redirect_uri", text), ("code_verifier", text)],
            vec![("grant_type", "refresh_token"), ("refresh_token", text), ("scope", text), ("resource", text)],
        ] {
            let answer = server.token("shop", &form).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.header("content-type").starts_with("application/json"));
            assert!(!answer.text.contains("alert") && !answer.text.contains("7*7"), "{}", answer.text);
        }
        let answer = Answer::of(server.http.get(server.endpoint("/userinfo")).bearer_auth(text)).await;
        assert_eq!(answer.status, 401);
        assert!(!format!("{:?}{}", answer.headers, answer.text).contains("alert"), "{answer:?}");
    }
    server.stop().await;
}
