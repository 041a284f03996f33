//! What every page keeps: valid structure, labels, landmarks, escaping, and nothing that the Content Security Policy would
//! refuse.

use std::collections::BTreeSet;

use super::*;
use crate::assets;

/// A start tag: its name and its attributes, their values still escaped.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Reads start tags as a browser would and checks that elements are closed in order.
fn tags(page: &str) -> Vec<Tag> {
    const VOID: [&str; 6] = ["meta", "link", "input", "img", "br", "hr"];
    let (mut tags, mut open, mut rest) = (Vec::new(), Vec::new(), page);
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with('!') {
            rest = &rest[rest.find('>').unwrap() + 1..];
            continue;
        }
        if let Some(end) = rest.strip_prefix('/') {
            let name = end.split('>').next().unwrap();
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            continue;
        }
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "a bare < before {:.40}", rest);
        rest = &rest[name.len()..];
        let mut attributes = Vec::new();
        let closes_itself = loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>") {
                rest = after;
                break true;
            }
            if let Some(after) = rest.strip_prefix('>') {
                rest = after;
                break false;
            }
            let attribute: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-:".contains(*c)).collect();
            assert!(!attribute.is_empty(), "no attribute at {:.40}", rest);
            rest = &rest[attribute.len()..];
            let value = match rest.strip_prefix("=\"") {
                Some(quoted) => {
                    let (value, after) = quoted.split_once('"').unwrap();
                    rest = after;
                    value.to_owned()
                }
                None => String::new(),
            };
            assert!(attributes.iter().all(|(n, _)| *n != attribute), "{attribute} twice in {name}");
            attributes.push((attribute, value));
        };
        if !closes_itself && !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        tags.push(Tag { name, attributes });
    }
    assert!(open.is_empty(), "left open: {open:?}");
    tags
}

fn each_page(check: impl Fn(&str, &str, &[Tag])) {
    let long = "W".repeat(200);
    for language in ["en", "de"] {
        for name in ["", samples::HOSTILE, long.as_str(), "\u{202E}نوتس"] {
            for (page, html) in samples::all(language, name) {
                check(page, &html, &tags(&html));
            }
        }
    }
}

#[test]
fn pages_have_language_title_landmarks_and_one_heading() {
    each_page(|page, html, tags| {
        let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
        for landmark in ["header", "main", "h1", "title"] {
            assert_eq!(count(landmark), 1, "{page}: {landmark}");
        }
        assert_eq!(count("footer"), usize::from(page.starts_with("error-")), "{page}");
        assert_eq!(html.contains("01JD7Y3M6V2QK8ZP4T9WXN5RBC"), page.starts_with("error-"), "{page}");
        let html_tag = tags.iter().find(|tag| tag.name == "html").unwrap();
        assert!(["en", "de"].contains(&html_tag.get("lang").unwrap()) && html_tag.get("dir") == Some("ltr"));
        assert!(html.contains("<meta name=\"color-scheme\" content=\"light dark\">"));
        let title = html.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
        assert!(title.ends_with(" – Keyward") && !title.starts_with(' '), "{page}: {title}");
    });
}

#[test]
fn nothing_needs_what_the_policy_forbids() {
    each_page(|page, html, tags| {
        for tag in tags {
            for (name, value) in &tag.attributes {
                assert!(name != "style" && !name.starts_with("on"), "{page}: {name}=\"{value}\"");
                if ["href", "src", "action"].contains(&name.as_str()) {
                    assert!(!value.starts_with("javascript"), "{page}: {value}");
                }
            }
            assert!(!["style", "iframe", "object", "base"].contains(&tag.name.as_str()), "{page}: {}", tag.name);
            // Whatever the page loads is ours and below the issuer's path.
            for loaded in ["src", "href"].iter().filter(|_| ["img", "link"].contains(&tag.name.as_str())) {
                if let Some(path) = tag.get(loaded) {
                    assert!(assets::find(path.strip_prefix("/auth").unwrap()).is_some(), "{page}: {path}");
                }
            }
        }
        let scripts: Vec<_> = html.split("<script").skip(1).collect();
        assert_eq!(scripts.len(), usize::from(page == "form-post"), "{page}");
        for script in scripts {
            assert_eq!(script.split("</script>").next().unwrap(), format!(">{}", assets::FORM_POST_SCRIPT));
        }
    });
}

#[test]
fn what_others_choose_is_escaped_everywhere() {
    for (page, html) in samples::all("en", samples::HOSTILE) {
        assert!(!html.contains("<img src=x") && !html.contains("alert(1)</script>"), "{page}");
        assert!(!html.contains("49"), "{page}: a value was evaluated");
    }
    let consent = samples::all("en", samples::HOSTILE).into_iter().find(|(page, _)| *page == "consent").unwrap().1;
    assert!(consent.contains("&#60;/script&#62;"));
    assert!(consent.contains("about?a=1&#38;b=2"));
}

#[test]
fn every_field_has_a_label_and_every_reference_a_target() {
    each_page(|page, _, tags| {
        let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.get("id")).collect();
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len(), "{page}: an id is there twice");
        let labelled: BTreeSet<&str> = tags.iter().filter_map(|tag| tag.get("for")).collect();
        for tag in tags {
            for reference in ["for", "aria-describedby", "aria-labelledby"] {
                for id in tag.get(reference).into_iter().flat_map(str::split_whitespace) {
                    assert!(distinct.contains(id), "{page}: {reference}={id}");
                }
            }
            if tag.name == "input" && tag.get("type") != Some("hidden") {
                assert!(labelled.contains(tag.get("id").unwrap()), "{page}: {tag:?}");
                assert!(tag.get("autocomplete").is_some(), "{page}: {tag:?}");
            }
            if tag.name == "img" {
                assert!(tag.get("alt").is_some(), "{page}");
            }
            if tag.name == "svg" {
                assert_eq!(tag.get("aria-hidden"), Some("true"), "{page}");
            }
            if tag.name == "form" {
                assert_eq!(tag.get("method"), Some("post"), "{page}");
                assert_eq!(tag.get("action").unwrap().starts_with("/auth/"), page != "form-post", "{page}");
            }
        }
        assert!(tags.iter().filter(|tag| tag.get("autofocus").is_some()).count() <= 1, "{page}");
    });
}

#[test]
fn every_form_of_ours_carries_its_token() {
    each_page(|page, _, tags| {
        if page != "form-post" {
            let forms = tags.iter().filter(|tag| tag.name == "form").count();
            assert_eq!(tags.iter().filter(|tag| tag.get("name") == Some("csrf")).count(), forms, "{page}");
        }
    });
}

fn page(wanted: &str) -> (String, Vec<Tag>) {
    let html = samples::all("en", "").into_iter().find(|(page, _)| *page == wanted).unwrap().1;
    let tags = tags(&html);
    (html, tags)
}

fn with_id<'a>(tags: &'a [Tag], id: &str) -> &'a Tag {
    tags.iter().find(|tag| tag.get("id") == Some(id)).unwrap()
}

#[test]
fn a_wrong_password_is_told_to_screen_readers_and_the_cursor_is_in_the_password() {
    let (html, tags) = page("login-wrong");
    assert_eq!(with_id(&tags, "notice").get("role"), Some("alert"));
    for field in ["username", "password"] {
        assert_eq!(with_id(&tags, field).get("aria-describedby"), Some("notice"));
        assert_eq!(with_id(&tags, field).get("aria-invalid"), Some("true"));
    }
    assert_eq!(with_id(&tags, "username").get("value"), Some("ada@example.com"));
    assert!(with_id(&tags, "password").get("autofocus").is_some());
    assert_eq!(with_id(&tags, "password").get("value"), None);
    assert!(html.contains("<title>Problem: Sign in – Keyward</title>"));
}

#[test]
fn one_cancels_only_where_an_app_waits_and_never_by_the_enter_key() {
    let (_, tags) = page("login-client");
    let buttons: Vec<_> = tags.iter().filter(|tag| tag.name == "button").collect();
    assert_eq!(buttons.iter().map(|b| b.get("id").unwrap()).collect::<Vec<_>>(), ["sign-in", "cancel"]);
    assert_eq!((buttons[1].get("name"), buttons[1].get("value")), (Some("action"), Some("cancel")));
    assert!(buttons[1].get("formnovalidate").is_some());
    assert!(with_id(&tags, "username").get("autofocus").is_some());
    assert!(page("login").1.iter().all(|tag| tag.get("id") != Some("cancel")));
}

#[test]
fn consent_names_app_account_scopes_and_where_the_answer_goes() {
    let (html, tags) = page("consent");
    for shown in ["Acme Notes", "notes.acme.example", "ada@example.com", "See your e-mail address", "notes:read"] {
        assert!(html.contains(shown), "{shown}");
    }
    for (id, value) in [("allow", "allow"), ("deny", "deny")] {
        assert_eq!((with_id(&tags, id).get("name"), with_id(&tags, id).get("value")), (Some("decision"), Some(value)));
    }
    let scopes: Vec<_> = tags.iter().filter_map(|tag| tag.get("data-scope")).collect();
    assert_eq!(scopes, ["openid", "profile", "email", "offline_access", "notes:read"]);
    assert_eq!(tags.iter().filter(|tag| tag.name == "a").count(), 3);
    assert!(!html.contains("notice-caution"));
    let (html, tags) = page("consent-loopback");
    assert!(html.contains("notice-caution") && html.contains("127.0.0.1"));
    assert!(tags.iter().all(|tag| tag.name != "a"), "a link with a scheme of scripts");
}

#[test]
fn fields_and_choices_are_named_as_the_handlers_read_them() {
    let names = |wanted: &str| {
        let (_, tags) = page(wanted);
        tags.iter()
            .filter(|tag| tag.name == "input" || tag.name == "button")
            .filter_map(|tag| tag.get("name").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("login"), ["request", "csrf", "username", "password"]);
    assert_eq!(names("consent"), ["request", "csrf", "decision", "decision"]);
    assert_eq!(names("select-account"), ["request", "csrf", "choice", "choice"]);
    assert_eq!(names("setup"), ["token", "csrf", "username", "email", "password", "password_again"]);
    assert_eq!(names("home"), ["csrf", "csrf", "client_id", "csrf", "client_id"]);
    assert_eq!(names("end-session"), ["request", "csrf", "decision", "decision"]);
    assert_eq!(names("form-post"), ["code", "state"]);
    assert!(names("setup-expired").is_empty() && names("setup-done").is_empty());
}

#[test]
fn the_way_back_is_linked_if_it_leads_to_the_web() {
    assert_eq!(with_id(&page("signed-out").1, "return").get("href"), Some("https://notes.acme.example/"));
    assert!(page("signed-out-hostile").1.iter().all(|tag| tag.get("id") != Some("return")));
    for uri in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "\u{1}javascript:alert(1)",
        "data:text/html,x",
        "blob:https://a/b",
        "//evil.example/",
        "evil.example",
        "",
    ] {
        assert_eq!(web_link(Some(uri)), None, "{uri:?}");
    }
    assert_eq!(web_link(Some("HTTPS://a.example/")), Some("HTTPS://a.example/"));
    assert_eq!(web_link(Some("com.acme.notes:/back")), None);
}

#[test]
fn a_badge_shows_a_letter_of_the_name() {
    for (name, letter) in [("acme", "A"), ("  «ölm»", "Ö"), ("7zip", "7"), ("", "•"), ("\u{202E}", "•"), ("نوتس", "ن")]
    {
        assert_eq!(initial(name), letter);
    }
}

/// The relative luminance of `#rrggbb` (WCAG 2.2, definitions).
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[test]
fn colours_have_the_contrast_that_wcag_asks_for() {
    let css = std::str::from_utf8(assets::find(assets::url("keyward.css")).unwrap().bytes).unwrap();
    let (light, dark) = css.split_once("prefers-color-scheme: dark").unwrap();
    let dark = dark.split_once("prefers-contrast").unwrap().0;
    for (scheme, sheet) in [("light", light), ("dark", dark)] {
        let colour = |name: &str| luminance(sheet.split_once(&format!("--{name}: ")).unwrap().1.get(..7).unwrap());
        let contrast = |a: &str, b: &str| {
            let (a, b) = (colour(a), colour(b));
            (a.max(b) + 0.05) / (a.min(b) + 0.05)
        };
        // 1.4.3: text.
        for ground in ["page", "surface", "sunken"] {
            for text in ["text", "muted", "accent", "accent-strong"] {
                assert!(contrast(text, ground) >= 4.5, "{scheme}: {text} on {ground}");
            }
            // 1.4.11: edges of fields and buttons, the ring of the focus.
            for edge in ["edge", "focus", "accent", "alert", "caution"] {
                assert!(contrast(edge, ground) >= 3.0, "{scheme}: {edge} on {ground}: {}", contrast(edge, ground));
            }
        }
        for (text, ground) in [
            ("on-accent", "accent"),
            ("on-accent", "accent-strong"),
            ("accent", "accent-soft"),
            ("text", "accent-soft"),
            ("text", "alert-soft"),
            ("text", "caution-soft"),
            ("alert", "alert-soft"),
            ("caution", "caution-soft"),
        ] {
            assert!(contrast(text, ground) >= 4.5, "{scheme}: {text} on {ground}: {}", contrast(text, ground));
        }
    }
}
