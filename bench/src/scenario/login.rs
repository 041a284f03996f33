//! A full login with a password: the authorization request without a session, the login page, its form.

use std::sync::Arc;

use super::code_flow::{BROWSER_FIELDS, Flow};
use crate::browser::{Cookies, Pkce, input_value};
use crate::load::{Next, Progress, Step};
use crate::provision::User;
use crate::wire::{Response, write_form, write_get};

/// Where an operation stands.
enum Stage {
    Authorize,
    Submit { request: String, csrf: String },
}

/// One browser that signs in, forgets its cookies and signs in again.
pub struct Login {
    flow: Arc<Flow>,
    host: String,
    user: User,
    pair: Pkce,
    cookies: Cookies,
    stage: Stage,
    number: usize,
}

impl Login {
    /// A browser of `user`.
    pub fn new(host: &str, flow: &Arc<Flow>, user: User, pair: Pkce) -> Self {
        let (flow, host) = (flow.clone(), host.to_owned());
        Self { flow, host, user, pair, cookies: Cookies::default(), stage: Stage::Authorize, number: 0 }
    }

    /// Another browser of the same user. The PKCE pair may be the same, for no login here ends in a redemption.
    pub fn another(&self) -> Self {
        let pair = self.pair.clone();
        Self::new(&self.host, &self.flow, self.user.clone(), pair)
    }

    /// The name of the session's cookie, once it is signed in.
    pub fn session_cookie_name(&self) -> Option<&str> {
        self.cookies.name_with("session")
    }

    /// The Cookie field of the last login's session.
    pub fn into_session(self) -> String {
        self.cookies.field_line()
    }

    fn fail(&mut self, reason: String) -> Progress {
        self.abandon();
        Progress::Failed(reason)
    }

    /// The answer to the authorization request: the login page with its two hidden fields.
    fn page(&mut self, response: &Response<'_>) -> Progress {
        let page = String::from_utf8_lossy(response.body);
        self.cookies.absorb(response);
        match (response.status, input_value(&page, "request"), input_value(&page, "csrf")) {
            (200, Some(request), Some(csrf)) => {
                self.stage = Stage::Submit { request, csrf };
                Progress::More
            }
            (_, request, csrf) => {
                let missing: Vec<&str> = [("request", request), ("csrf", csrf)]
                    .into_iter()
                    .filter_map(|(name, value)| value.is_none().then_some(name))
                    .collect();
                self.fail(format!(
                    "no login page (hidden fields missing: {}): {}",
                    missing.join(", "),
                    response.summary()
                ))
            }
        }
    }

    /// The answer to the form: a redirect that sets the session's cookie and doesn't lead back to the form.
    fn signed_in(&mut self, response: &Response<'_>) -> Progress {
        let set = self.cookies.absorb(response);
        let onward = response.headers("location").next().is_some_and(|to| !to.contains("/login"));
        if response.status == 303 && set && onward {
            self.stage = Stage::Authorize;
            self.number += 1;
            return Progress::Done;
        }
        self.fail(format!("not signed in: {}", response.summary()))
    }
}

impl Step for Login {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        match &self.stage {
            Stage::Authorize => {
                self.cookies.clear();
                let target = self.flow.target(&self.pair.challenge, &format!("login-{}", self.number));
                write_get(out, &self.host, &target, BROWSER_FIELDS);
            }
            Stage::Submit { request, csrf } => {
                let body = form_urlencoded::Serializer::new(String::new())
                    .append_pair("request", request)
                    .append_pair("csrf", csrf)
                    .append_pair("username", &self.user.name)
                    .append_pair("password", &self.user.password)
                    .finish();
                let fields = format!("{BROWSER_FIELDS}origin: http://{}\r\n{}", self.host, self.cookies.field_line());
                write_form(out, &self.host, "/login", &fields, &body);
            }
        }
        Next::Send
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        match self.stage {
            Stage::Authorize => self.page(response),
            Stage::Submit { .. } => self.signed_in(response),
        }
    }

    fn abandon(&mut self) {
        self.stage = Stage::Authorize;
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::Client;

    const PAGE: &[u8] = br#"<form method="post" action="/login"><input type="hidden" name="request" value="sealed+1">
        <input type="hidden" name="csrf" value="t"><input name="username"></form>"#;

    fn login() -> Login {
        let pairs = Arc::new(vec![Pkce::new().unwrap()]);
        let flow = Arc::new(Flow::new("localhost:1", &Client::new("web", "s"), "openid", "ES256", &pairs));
        let user = User { name: "ada".to_owned(), password: "p&w".to_owned() };
        Login::new("localhost:1", &flow, user, Pkce::new().unwrap())
    }

    fn sent(step: &mut Login) -> String {
        let mut out = Vec::new();
        assert!(matches!(step.request(&mut out), Next::Send));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_form_goes_back_with_its_fields_and_cookies() {
        let mut step = login();
        assert!(sent(&mut step).starts_with("GET /authorize?"));
        assert!(matches!(step.response(&Response::of(200, "set-cookie: csrf=c; Path=/\r\n", PAGE)), Progress::More));
        let post = sent(&mut step);
        assert!(post.ends_with("\r\n\r\nrequest=sealed%2B1&csrf=t&username=ada&password=p%26w"));
        assert!(post.contains("\r\ncookie: csrf=c\r\n") && post.contains("\r\norigin: http://localhost:1\r\n"));
        let head = "location: https://app.bench.example/callback?code=x\r\nset-cookie: session=s; HttpOnly\r\n";
        assert!(matches!(step.response(&Response::of(303, head, b"")), Progress::Done));
        assert_eq!(login().into_session(), "");
        assert_eq!(step.into_session(), "cookie: csrf=c; session=s\r\n");
    }

    #[test]
    fn a_wrong_password_or_a_page_without_form_fails_and_starts_again() {
        let mut step = login();
        assert!(matches!(step.response(&Response::of(429, "", b"slow down")), Progress::Failed(_)));
        assert!(matches!(step.response(&Response::of(200, "", PAGE)), Progress::More));
        assert!(matches!(step.response(&Response::of(200, "", PAGE)), Progress::Failed(_)));
        assert!(sent(&mut step).starts_with("GET /authorize?"));
        assert!(matches!(step.response(&Response::of(200, "", PAGE)), Progress::More));
        let back = "location: /login?error=1\r\nset-cookie: csrf=d\r\n";
        assert!(matches!(step.response(&Response::of(303, back, b"")), Progress::Failed(_)));
    }
}
