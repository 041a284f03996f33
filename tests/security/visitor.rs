//! A browser whose cookies and headers lie open: for attacks that a well-behaved browser can't play.

use std::collections::BTreeMap;

use reqwest::header::SET_COOKIE;

use crate::support::TestServer;
use crate::support::browser::form;
use crate::support::server::{Answer, PASSWORD};

/// Cookies by name, sent and kept by hand.
#[derive(Clone)]
pub struct Visitor {
    http: reqwest::Client,
    url: String,
    pub cookies: BTreeMap<String, String>,
    /// The host that requests name, where it isn't the address's own.
    pub host: Option<&'static str>,
}

impl Visitor {
    pub fn new(server: &TestServer) -> Self {
        Self { http: server.http.clone(), url: server.url.clone(), cookies: BTreeMap::new(), host: None }
    }

    pub async fn get(&mut self, address: &str) -> Answer {
        let request = self.http.get(self.absolute(address));
        self.send(request).await
    }

    /// Follows redirects within the server.
    pub async fn open(&mut self, address: &str) -> Answer {
        let answer = self.get(address).await;
        self.follow(answer).await
    }

    pub async fn follow(&mut self, mut answer: Answer) -> Answer {
        for _ in 0..10 {
            let location = answer.header("location").to_owned();
            if answer.status != 303 || !(location.starts_with('/') || location.starts_with(&format!("{}/", self.url))) {
                return answer;
            }
            answer = self.get(&location).await;
        }
        panic!("the redirects go in a circle");
    }

    /// Posts a form with these headers and no others.
    pub async fn post(&mut self, address: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.post(self.absolute(address)).form(fields);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// Sends a page's form from the page itself, and doesn't follow.
    pub async fn submit(&mut self, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let (action, hidden) = form(&page.text);
        let all = together(&hidden, fields);
        let origin = self.url.clone();
        self.post(&action, &all, &[("origin", &origin), ("sec-fetch-site", "same-origin")]).await
    }

    /// Opens the login page of our own pages and signs in.
    pub async fn sign_in(&mut self, user: &str) -> Answer {
        let page = self.get("/login").await;
        assert!(page.text.contains("name=\"password\""), "{}", page.text);
        self.submit(&page, &[("username", user), ("password", PASSWORD)]).await
    }

    /// The session cookie's name and value, if there is one.
    pub fn session(&self) -> Option<(String, String)> {
        self.cookies.iter().find(|(name, _)| name.contains("keyward_session")).map(|(k, v)| (k.clone(), v.clone()))
    }

    /// Whose name the home page shows; nobody's where it leads to the login page.
    pub async fn is_signed_in(&mut self) -> bool {
        let home = self.get("/").await;
        match home.status {
            200 => true,
            303 => false,
            status => panic!("{status}: {}", home.text),
        }
    }

    /// Without the cookie that forms are bound to.
    pub fn without_form_cookie(&self) -> Self {
        let mut other = self.clone();
        other.cookies.retain(|name, _| !name.contains("keyward_form"));
        other
    }

    async fn send(&mut self, mut request: reqwest::RequestBuilder) -> Answer {
        if !self.cookies.is_empty() {
            let line: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", line.join("; "));
        }
        if let Some(host) = self.host {
            request = request.header("host", host);
        }
        let answer = Answer::of(request).await;
        for value in answer.headers.get_all(SET_COOKIE) {
            let (pair, attributes) = value.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    fn absolute(&self, address: &str) -> String {
        if address.starts_with('/') { format!("{}{address}", self.url) } else { address.to_owned() }
    }
}

/// Hidden fields and others.
pub fn together<'a>(hidden: &'a [(String, String)], fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (name, value) in fields {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all
}
