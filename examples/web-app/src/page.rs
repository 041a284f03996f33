//! What people see: the typed pages (askama), the page of a problem, and their headers.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::provider::ProviderError;
use crate::surroundings;

/// The front page for somebody who isn't logged in.
#[derive(Template)]
#[template(path = "welcome.html")]
pub(crate) struct WelcomePage {
    /// The issuer that logs people in.
    pub(crate) issuer: String,
    /// Whether a logout has just come back.
    pub(crate) logged_out: bool,
}

/// The front page for somebody who is logged in.
#[derive(Template)]
#[template(path = "session.html")]
pub(crate) struct SessionPage {
    pub(crate) name: String,
    pub(crate) csrf: String,
    pub(crate) notice: Option<String>,
    pub(crate) scope: String,
    /// When the access token ends.
    pub(crate) expires: Option<Moment>,
    /// When the ID token ends.
    pub(crate) id_token_expires: Option<Moment>,
    pub(crate) can_refresh: bool,
    pub(crate) claims: String,
    pub(crate) userinfo: String,
    pub(crate) access_token_claims: String,
    pub(crate) api_url: String,
    pub(crate) api_result: Option<String>,
}

/// A moment, as machines and people write it.
pub(crate) struct Moment {
    /// RFC 3339.
    pub(crate) machine: String,
    /// Date and time in UTC.
    pub(crate) people: String,
    /// How far away it is.
    pub(crate) distance: String,
}

impl Moment {
    /// The moment at these unix seconds; `None` outside the calendar.
    pub(crate) fn at(unix_seconds: i64) -> Option<Moment> {
        let moment = OffsetDateTime::from_unix_timestamp(unix_seconds).ok()?;
        let machine = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let people = format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute]:[second] UTC");
        Some(Moment {
            machine: moment.format(machine).ok()?,
            people: moment.format(people).ok()?,
            distance: distance(unix_seconds.saturating_sub(surroundings::unix_seconds())),
        })
    }
}

/// A distance in time, in words; `seconds` is negative for the past.
fn distance(seconds: i64) -> String {
    let (amount, unit) = match seconds.unsigned_abs() {
        whole @ 0..120 => (whole, "s"),
        whole @ 120..7200 => (whole / 60, "min"),
        whole @ 7200..172_800 => (whole / 3600, "h"),
        whole => (whole / 86_400, "days"),
    };
    if seconds < 0 { format!("{amount} {unit} ago") } else { format!("in {amount} {unit}") }
}

/// JSON for people.
pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string())
}

/// A page with its Content-Security-Policy: nothing inline, no script. `form_target` is an origin that a form may
/// end up at beside our own: browsers apply `form-action` to redirects that follow a form, too.
pub(crate) fn show(status: StatusCode, page: &impl Template, form_target: Option<&str>) -> Response {
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {}; base-uri 'none'; \
         frame-ancestors 'none'",
        form_target.unwrap_or_default()
    );
    let Ok(policy) = HeaderValue::from_str(&policy) else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "The issuer's logout address doesn't fit into a header.")
            .into_response();
    };
    match page.render() {
        Ok(html) => (status, [(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page can't be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page can't be shown.").into_response()
        }
    }
}

/// Sends the browser elsewhere by GET. RFC 9700 §4.12: 303, never 307, so that no form travels along.
pub(crate) fn go(to: &str) -> Response {
    Redirect::to(to).into_response()
}

/// Something that didn't work, said to a person.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    id: &'static str,
    title: &'static str,
    text: String,
    detail: Option<String>,
    try_again: bool,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(title = self.title, detail = self.detail.as_deref(), "a request failed");
        }
        show(self.status, &ProblemPage { problem: &self }, None)
    }
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, text: &str, try_again: bool) -> Problem {
        Problem { status, id: "problem", title, text: text.to_owned(), detail: None, try_again }
    }

    fn with_detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    /// No such page.
    pub(crate) fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "There is no such page", "Please go back to the start.", false)
    }

    /// The person said no at the issuer.
    pub(crate) fn declined() -> Problem {
        let text = "You declined to share your data with this app, so you aren't logged in. Nothing was stored.";
        let mut problem = Problem::new(StatusCode::OK, "You declined the login", text, true);
        problem.id = "declined";
        problem
    }

    /// The issuer sent the browser back with an error.
    pub(crate) fn refused_login(code: &str, description: Option<&str>) -> Problem {
        let detail = description.map_or_else(|| code.to_owned(), |text| format!("{code}: {text}"));
        Problem::new(StatusCode::BAD_REQUEST, "The login didn't work", "The login server refused the login.", true)
            .with_detail(detail)
    }

    /// The answer belongs to no login that this browser has under way.
    pub(crate) fn unknown_login() -> Problem {
        let text = "This login isn't under way in this browser: it was finished already, it took longer than ten \
                    minutes, or it was begun in another browser. Please log in again.";
        Problem::new(StatusCode::BAD_REQUEST, "This login can't be finished", text, true)
    }

    /// The answer breaks a rule of the protocol.
    pub(crate) fn bad_answer(detail: &str) -> Problem {
        let text = "The answer isn't one that the login server gives, so it was not used.";
        Problem::new(StatusCode::BAD_REQUEST, "This login can't be finished", text, true).with_detail(detail)
    }

    /// The request needs a session, and there is none.
    pub(crate) fn not_logged_in() -> Problem {
        let text = "You aren't logged in here any more. Please log in again.";
        Problem::new(StatusCode::UNAUTHORIZED, "You aren't logged in", text, true)
    }

    /// The issuer no longer honours the refresh token.
    pub(crate) fn login_ended(detail: String) -> Problem {
        let text = "The login server has ended this login. Please log in again.";
        Problem::new(StatusCode::UNAUTHORIZED, "Your login has ended", text, true).with_detail(detail)
    }

    /// The form isn't one of ours.
    pub(crate) fn bad_form(detail: String) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "This form can't be read", "Nothing was done.", false).with_detail(detail)
    }

    /// The local session is over, but the issuer couldn't be told.
    pub(crate) fn half_logged_out(detail: String) -> Problem {
        let text =
            "You are logged out of this app. The login server couldn't be told, so you may still be logged in there.";
        Problem::new(StatusCode::BAD_GATEWAY, "You are logged out here only", text, false).with_detail(detail)
    }
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Problem {
        let (status, title, text) = match error {
            ProviderError::Unreachable { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The login server can't be reached",
                "It may be starting. Please try again in a moment.",
            ),
            _ => (StatusCode::BAD_GATEWAY, "The login server's answer can't be used", "You can try again."),
        };
        Problem::new(status, title, text, true).with_detail(error.to_string())
    }
}

impl From<getrandom::Error> for Problem {
    fn from(error: getrandom::Error) -> Problem {
        let text = "This computer gives no random numbers, and without them no login is safe.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "No login is possible now", text, false)
            .with_detail(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_read_well() {
        assert_eq!(distance(0), "in 0 s");
        assert_eq!(distance(119), "in 119 s");
        assert_eq!(distance(300), "in 5 min");
        assert_eq!(distance(-7200), "2 h ago");
        assert_eq!(distance(259_200), "in 3 days");
        assert!(distance(i64::MIN).ends_with("days ago"));
    }

    #[test]
    fn moments_are_utc() {
        let moment = Moment::at(1_700_000_000).unwrap();
        assert_eq!(moment.machine, "2023-11-14T22:13:20Z");
        assert_eq!(moment.people, "14 November 2023, 22:13:20 UTC");
        assert!(Moment::at(i64::MAX).is_none());
    }

    #[test]
    fn words_of_others_are_escaped() {
        let problem = Problem::refused_login("<script>", Some("\"><img src=x>"));
        let html = ProblemPage { problem: &problem }.render().unwrap();
        assert!(!html.contains("<script>"), "{html}");
        assert!(!html.contains("<img src=x"), "{html}");
    }
}
