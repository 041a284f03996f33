//! Answers that people see: pages with their headers, redirects by 303, and error pages.

use askama::Template;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use keyward_protocol::Refusal;
use keyward_protocol::display::Display;

use super::refused::{Door, Refused, Shed};
use super::{Incoming, RETRY_AFTER, log_fault};
use crate::app::App;
use crate::fault::Fault;
use crate::locale::Texts;
use crate::page::view::{ErrorKind, ErrorPage, Frame};

/// Why a page isn't shown as asked.
#[derive(Debug)]
pub enum PageFailure {
    /// A page says what is wrong and what to do.
    Explained(ErrorKind, Option<Refusal>),
    /// Something on our side is broken.
    Fault(Fault),
}

impl From<Fault> for PageFailure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ErrorKind> for PageFailure {
    fn from(kind: ErrorKind) -> Self {
        Self::Explained(kind, None)
    }
}

/// The texts in the person's language: `ui_locales` first, then what the browser prefers.
pub fn texts(app: &App, incoming: &Incoming, ui_locales: &[String]) -> Texts {
    app.locales.choose(ui_locales, incoming.header(header::ACCEPT_LANGUAGE))
}

/// What every page shows.
pub fn frame<'a>(
    app: &'a App,
    incoming: &'a Incoming,
    ui_locales: &[String],
    signed_in_as: Option<&'a str>,
) -> Frame<'a> {
    Frame {
        texts: texts(app, incoming, ui_locales),
        base: app.settings.base_path(),
        request_id: &incoming.request_id,
        signed_in_as,
        display: Display::Page,
    }
}

/// Where a page stands, which decides about its headers (protocol decision 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageWay<'a> {
    /// On the way of an authorization or logout: pop-up clients keep their opener, and forms may lead to this source.
    Protocol(&'a str),
    /// A page of our own.
    Own,
}

/// A page with its headers.
///
/// # Errors
/// Where the template fails.
pub fn show(page: &impl Template, status: StatusCode, way: PageWay<'_>) -> Result<Response, Fault> {
    show_with(page, status, way, "")
}

/// A page that runs a script of this hash.
///
/// # Errors
/// Where the template fails.
pub fn show_with(page: &impl Template, status: StatusCode, way: PageWay<'_>, script: &str) -> Result<Response, Fault> {
    html_response(page.render().map_err(Fault::broken)?, status, way, script)
}

fn html_response(html: String, status: StatusCode, way: PageWay<'_>, script: &str) -> Result<Response, Fault> {
    let script = if script.is_empty() { String::new() } else { format!("; script-src {script}") };
    let target = match way {
        PageWay::Protocol(source) => form_target(source),
        PageWay::Own => "",
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {target}; \
         frame-ancestors 'none'; base-uri 'none'{script}"
    );
    let mut response = (status, Body::from(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).map_err(Fault::broken)?);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language, Cookie"));
    if way == PageWay::Own {
        headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    }
    Ok(response)
}

/// A source as `form-action` takes it (Content Security Policy Level 3 §2.3.1). It knows no IPv6 addresses: there the
/// scheme stands for them. What would end the directive or begin another is left out, and the form then leads nowhere.
fn form_target(source: &str) -> &str {
    if source.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ';' | ',' | '\'' | '"')) {
        return "";
    }
    match source.split_once("//[") {
        Some((scheme, _)) => scheme,
        None => source,
    }
}

/// RFC 9700 §4.12: 303, which turns a POST into a GET and never repeats its body.
///
/// # Errors
/// Where the address can't stand in a header.
pub fn see_other(location: &str) -> Result<Response, Fault> {
    let location = HeaderValue::from_str(location).map_err(Fault::broken)?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// What an endpoint for people answers.
pub fn answer(app: &App, incoming: &Incoming, outcome: Result<Response, PageFailure>) -> Response {
    let (kind, refusal) = match outcome {
        Ok(response) => return response,
        Err(PageFailure::Explained(kind, refusal)) => (kind, refusal),
        Err(PageFailure::Fault(fault)) => {
            log_fault(incoming.uri.path(), &incoming.request_id, &fault);
            let kind = match fault {
                Fault::Unavailable(_) | Fault::Undone(_) => ErrorKind::Unavailable,
                Fault::Overloaded(_) => ErrorKind::Busy,
                Fault::Broken(_) => ErrorKind::Internal,
            };
            (kind, None)
        }
    };
    error_page(app, incoming, kind, refusal)
}

/// Protocol decision 30: what goes wrong on the way of an authorization or logout keeps the opener too, for a client's
/// pop-up may go on from there.
fn way_of(app: &App, incoming: &Incoming) -> PageWay<'static> {
    let path = incoming.uri.path();
    let path = path.strip_prefix(app.settings.base_path()).unwrap_or(path).trim_end_matches('/');
    match path {
        "/authorize" | "/login" | "/consent" | "/select" | "/end_session" | "/end_session/confirm" => {
            PageWay::Protocol("")
        }
        _ => PageWay::Own,
    }
}

/// A page that says what is wrong and what to do.
pub fn error_page(app: &App, incoming: &Incoming, kind: ErrorKind, refusal: Option<Refusal>) -> Response {
    let status = status_of(kind);
    let mut page = ErrorPage::of(kind, frame(app, incoming, &[], None));
    page.code = refusal.as_ref().map(|refusal| refusal.code.as_str());
    let mut response = match show(&page, status, way_of(app, incoming)) {
        Ok(response) => response,
        Err(fault) => {
            log_fault(incoming.uri.path(), &incoming.request_id, &fault);
            super::json::fault_response(&fault)
        }
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    if kind == ErrorKind::Busy {
        response.extensions_mut().insert(Shed);
    }
    if let Some(refusal) = &refusal {
        Refused::note(&mut response, Door::Page, refusal, incoming);
    }
    response
}

/// The page for those who come while more do than can be served, on the way of an authorization: its headers and its text
/// with this id.
///
/// # Errors
/// Where the template fails.
pub fn busy(app: &App, texts: Texts, request_id: &str) -> Result<(HeaderMap, String), Fault> {
    let frame = Frame { texts, base: app.settings.base_path(), request_id, signed_in_as: None, display: Display::Page };
    let html = ErrorPage::of(ErrorKind::Busy, frame).render().map_err(Fault::broken)?;
    let mut response = html_response(String::new(), status_of(ErrorKind::Busy), PageWay::Protocol(""), "")?;
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    Ok((std::mem::take(response.headers_mut()), html))
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Method => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::ForbiddenOrigin => StatusCode::FORBIDDEN,
        ErrorKind::UnknownClient
        | ErrorKind::RedirectUri
        | ErrorKind::BadRequest
        | ErrorKind::StaleForm
        | ErrorKind::Cookies => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_target_is_one_source_that_the_policy_knows() {
        for source in ["https://app.example", "http://127.0.0.1:51004", "http://localhost", "com.acme.notes:", ""] {
            assert_eq!(form_target(source), source);
        }
        assert_eq!(form_target("http://[::1]:51004"), "http:");
        assert_eq!(form_target("https://[2001:db8::1]"), "https:");
        for hostile in [
            "https://a;script-src *",
            "https://a;b",
            "https://a,b",
            "https://a *",
            "https://a\n*",
            "'unsafe-inline'",
            "https://a\"b",
        ] {
            assert_eq!(form_target(hostile), "", "{hostile}");
        }
    }
}
