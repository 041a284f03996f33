//! What a browser does on the way of a login, as far as the load needs it: cookies, hidden form fields, PKCE.
//!
//! Leaves out: cookie scopes (all cookies of a jar go to the one server there is), scripts, redirects.

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::failure::{During, Failure};
use crate::wire::Response;

/// The cookies of one browser (RFC 6265 §5.3, for one host).
#[derive(Clone, Debug, Default)]
pub struct Cookies(Vec<(String, String)>);

impl Cookies {
    /// Takes over what an answer sets and removes; true if it set at least one cookie.
    pub fn absorb(&mut self, response: &Response<'_>) -> bool {
        let mut set = false;
        for line in response.headers("set-cookie") {
            let mut parts = line.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            self.0.retain(|(known, _)| known != name.trim());
            // RFC 6265 §5.2.2: Max-Age of zero or less removes the cookie.
            let removed = parts.filter_map(|attribute| attribute.split_once('=')).any(|(attribute, value)| {
                attribute.trim().eq_ignore_ascii_case("max-age")
                    && value.trim().parse::<i64>().is_ok_and(|age| age <= 0)
            });
            if !removed && !value.trim().is_empty() {
                self.0.push((name.trim().to_owned(), value.trim().to_owned()));
                set = true;
            }
        }
        set
    }

    /// The name of the cookie whose name holds `part`.
    pub fn name_with(&self, part: &str) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| name.contains(part))
    }

    /// Forgets all cookies.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The Cookie field as a line with its end, or nothing without cookies.
    pub fn field_line(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("cookie: {}\r\n", pairs.join("; "))
    }
}

/// The value of the form field `name` in a page's `<input>` elements.
pub fn input_value(page: &str, name: &str) -> Option<String> {
    page.split("<input").skip(1).find_map(|rest| {
        let (mut found, mut value) = (false, None);
        for (attribute, text) in attributes(rest) {
            match attribute {
                "name" => found = unescape(text) == name,
                "value" => value = Some(unescape(text)),
                _ => {}
            }
        }
        if found { value } else { None }
    })
}

/// Attributes of an element from behind its name up to its `>`.
fn attributes(mut rest: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('>') || rest.starts_with("/>") {
            return found;
        }
        let end = rest.find(|c: char| c == '=' || c == '>' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let Some(value) = behind.strip_prefix('=') else {
            rest = behind;
            continue;
        };
        let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'');
        let (text, behind) = match quote {
            Some(quote) => value.get(1..).and_then(|inner| inner.split_once(quote)).unwrap_or((value, "")),
            None => value.split_at(value.find(|c: char| c == '>' || c.is_whitespace()).unwrap_or(value.len())),
        };
        found.push((name, text));
        rest = behind;
    }
}

/// Resolves the character references that an escaping template writes.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let reference = behind.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        match reference {
            Some((character, after)) => {
                out.push(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// The value of a parameter in the query of a URL.
pub fn query_value(url: &str, name: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let query = query.split('#').next().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A code verifier and its S256 challenge (RFC 7636 §4.1, §4.2).
#[derive(Clone)]
pub struct Pkce {
    /// The verifier: 43 characters.
    pub verifier: String,
    /// The challenge.
    pub challenge: String,
}

impl Pkce {
    /// A new pair.
    ///
    /// # Errors
    /// When the system has no chance to give.
    pub fn new() -> Result<Self, Failure> {
        let verifier = random_text()?;
        let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(hash.as_ref());
        Ok(Self { verifier, challenge })
    }
}

/// 256 random bits in 43 characters of base64url.
///
/// # Errors
/// When the system has no chance to give.
pub fn random_text() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).during("asking for random bytes")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_fields_are_found_whatever_their_order_and_quotes() {
        let page = r#"<form method="post" action="/login"><input type="hidden" name="request" value="a&amp;b&#34;&#x3D;">
            <input value='c=d' name=csrf type=hidden/><input name="username" required autofocus></form>"#;
        assert_eq!(input_value(page, "request").as_deref(), Some("a&b\"="));
        assert_eq!(input_value(page, "csrf").as_deref(), Some("c=d"));
        assert_eq!(input_value(page, "username"), None);
        assert_eq!(input_value("<input name=\"x", "x"), None);
        assert_eq!(unescape("a & b &unknown; &#99999999;"), "a & b &unknown; &#99999999;");
    }

    #[test]
    fn cookies_are_set_replaced_and_removed() {
        let mut cookies = Cookies::default();
        assert_eq!(cookies.field_line(), "");
        let head = "Set-Cookie: a=1; Path=/; HttpOnly\r\nset-cookie: b=2=3; SameSite=Lax\r\n";
        assert!(cookies.absorb(&Response::of(303, head, b"")));
        assert_eq!(cookies.field_line(), "cookie: a=1; b=2=3\r\n");
        assert!(cookies.absorb(&Response::of(
            200,
            "set-cookie: a=9; Max-Age=60\r\nset-cookie: b=; max-age=0\r\n",
            b""
        )));
        assert_eq!(cookies.field_line(), "cookie: a=9\r\n");
        assert!(!cookies.absorb(&Response::of(200, "content-type: text/html\r\n", b"")));
    }

    #[test]
    fn query_values_are_decoded() {
        let url = "https://app.example/cb?code=a%2Bb&state=x+y&iss=http%3A%2F%2Flocalhost#f";
        assert_eq!(query_value(url, "code").as_deref(), Some("a+b"));
        assert_eq!(query_value(url, "state").as_deref(), Some("x y"));
        assert_eq!(query_value(url, "error"), None);
    }

    #[test]
    fn challenges_are_the_hash_of_their_verifier() {
        let pair = Pkce::new().unwrap();
        assert_eq!(pair.verifier.len(), 43);
        let hash = digest::digest(&digest::SHA256, pair.verifier.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.decode(&pair.challenge).unwrap(), hash.as_ref());
        assert_ne!(Pkce::new().unwrap().verifier, pair.verifier);
    }
}
