//! A browser of cookies, links and forms: what the pages need when no script runs.

use std::collections::BTreeMap;

use super::TestServer;
use super::authority::TestAuthority;
use super::server::{Answer, PASSWORD, http_builder};

/// Keeps cookies and follows redirects within the server.
pub struct Browser {
    http: reqwest::Client,
    url: String,
    /// What it sends as `Origin`.
    origin: String,
}

impl Browser {
    pub fn new(server: &TestServer) -> Self {
        Self::trusting(&server.url, server.authority())
    }

    /// For a server at this address.
    pub fn at(url: &str) -> Self {
        Self::trusting(url, None)
    }

    fn trusting(url: &str, authority: Option<&TestAuthority>) -> Self {
        let http = http_builder(authority).cookie_store(true).build().unwrap();
        Self { http, url: url.to_owned(), origin: url.to_owned() }
    }

    /// For a node at this address, whose public URL is another.
    pub fn at_node(url: &str, origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..Self::at(url) }
    }

    /// One request, no redirect followed.
    pub async fn get(&self, address: &str) -> Answer {
        Answer::of(self.http.get(self.absolute(address))).await
    }

    /// Posts a form as a page of the server would.
    pub async fn post(&self, address: &str, fields: &[(&str, &str)]) -> Answer {
        Answer::of(self.http.post(self.absolute(address)).header("origin", &self.origin).form(fields)).await
    }

    /// A request of the caller's making, with this browser's cookies.
    pub fn request(&self, method: reqwest::Method, address: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.absolute(address))
    }

    /// Follows redirects until a page or a redirect to somebody else.
    pub async fn follow(&self, mut answer: Answer) -> Answer {
        for _ in 0..10 {
            let location = answer.header("location").to_owned();
            let own = location.starts_with('/') || location.starts_with(&format!("{}/", self.url));
            if answer.status != 303 || !own {
                return answer;
            }
            answer = self.get(&location).await;
        }
        panic!("the redirects go in a circle");
    }

    /// Opens an address and follows redirects.
    pub async fn open(&self, address: &str) -> Answer {
        let answer = self.get(address).await;
        self.follow(answer).await
    }

    /// Fills the form of a page and sends it: hidden fields as they are, these fields beside them.
    pub async fn submit(&self, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let (action, hidden) = form(&page.text);
        let mut all: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.extend(fields);
        let answer = self.post(&action, &all).await;
        self.follow(answer).await
    }

    /// Signs in on a login page with the password of all test users.
    pub async fn sign_in(&self, page: &Answer, user: &str) -> Answer {
        self.submit(page, &[("username", user), ("password", PASSWORD)]).await
    }

    /// Goes from an authorization request to a code, by whatever pages come.
    pub async fn code(&self, address: &str, user: &str) -> String {
        let answer = self.arrive(address, user).await;
        parameters(answer.header("location")).remove("code").unwrap_or_else(|| panic!("no code: {answer:?}"))
    }

    /// Goes from an authorization request to the answer to the client.
    pub async fn arrive(&self, address: &str, user: &str) -> Answer {
        let mut answer = self.open(address).await;
        if answer.text.contains("name=\"password\"") {
            answer = self.sign_in(&answer, user).await;
        }
        if answer.text.contains("name=\"decision\"") {
            answer = self.submit(&answer, &[("decision", "allow")]).await;
        }
        answer
    }

    fn absolute(&self, address: &str) -> String {
        if address.starts_with('/') { format!("{}{address}", self.url) } else { address.to_owned() }
    }
}

/// The action and the hidden fields of a page's first form.
pub fn form(html: &str) -> (String, Vec<(String, String)>) {
    let start = html.find("<form").unwrap_or_else(|| panic!("no form: {html}"));
    let form = &html[start..];
    let form = &form[..form.find("</form>").unwrap_or(form.len())];
    let hidden = form
        .split("<input")
        .skip(1)
        .filter(|input| attribute(input, "type").as_deref() == Some("hidden"))
        .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default())))
        .collect();
    (attribute(form, "action").expect("a form has an action"), hidden)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = &tag[..tag.find('>').unwrap_or(tag.len())];
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = &rest[..rest.find('"')?];
    Some(
        value
            .replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&#60;", "<")
            .replace("&#62;", ">")
            .replace("&#38;", "&"),
    )
}

/// The parameters in the query or fragment of an address.
pub fn parameters(address: &str) -> BTreeMap<String, String> {
    let url = url::Url::parse(address).unwrap_or_else(|_| panic!("no address: {address:?}"));
    let text = url.fragment().or(url.query()).unwrap_or_default();
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
