//! The error page for people: what happened, why, and what to do next, with the request's id for whoever helps. It leaves
//! out errors that go back to a client by redirect, and everything that only the log should know.

use askama::Template;

use super::Frame;
use crate::locale::Texts;

/// The error page.
#[derive(Clone, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// What every page has; the request's id is shown.
    pub frame: Frame<'a>,
    /// What happened, in a few words.
    pub title: String,
    /// What that means.
    pub explanation: String,
    /// What to do next.
    pub advice: String,
    /// The error code of the protocol, such as `invalid_request`.
    pub code: Option<&'a str>,
}

/// The errors that have words of their own: three texts each, `error-…-title`, `-explanation`, `-advice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No client has this id.
    UnknownClient,
    /// The redirect URI isn't one of the client's.
    RedirectUri,
    /// The request can't be understood.
    BadRequest,
    /// A form was too old or from another browser.
    StaleForm,
    /// Too many requests at once.
    Busy,
    /// The database or another part is away.
    Unavailable,
    /// Something is broken.
    Internal,
    /// There is nothing at this address.
    NotFound,
    /// The address doesn't take this method.
    Method,
    /// The browser keeps no cookies for us.
    Cookies,
    /// The form was sent from a foreign site.
    ForbiddenOrigin,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::UnknownClient,
        Self::RedirectUri,
        Self::BadRequest,
        Self::StaleForm,
        Self::Busy,
        Self::Unavailable,
        Self::Internal,
        Self::NotFound,
        Self::Method,
        Self::Cookies,
        Self::ForbiddenOrigin,
    ];

    /// What the ids of its texts begin with, such as `error-unknown-client`.
    pub fn text_id(self) -> &'static str {
        match self {
            Self::UnknownClient => "error-unknown-client",
            Self::RedirectUri => "error-redirect-uri",
            Self::BadRequest => "error-bad-request",
            Self::StaleForm => "error-stale-form",
            Self::Busy => "error-busy",
            Self::Unavailable => "error-unavailable",
            Self::Internal => "error-internal",
            Self::NotFound => "error-not-found",
            Self::Method => "error-method",
            Self::Cookies => "error-cookies",
            Self::ForbiddenOrigin => "error-forbidden-origin",
        }
    }

    fn text(self, texts: &Texts, part: &str) -> String {
        texts.get(&format!("{}-{part}", self.text_id()))
    }
}

impl<'a> ErrorPage<'a> {
    /// The page of an error that has words of its own, without a code.
    pub fn of(kind: ErrorKind, frame: Frame<'a>) -> Self {
        let (title, explanation, advice) = (
            kind.text(&frame.texts, "title"),
            kind.text(&frame.texts, "explanation"),
            kind.text(&frame.texts, "advice"),
        );
        Self { frame, title, explanation, advice, code: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locale::Locales;

    #[test]
    fn every_error_has_its_three_texts_in_every_language() {
        for language in ["en", "de"] {
            let texts = Locales::load().choose(&[language.to_owned()], None);
            for kind in ErrorKind::ALL {
                for part in ["title", "explanation", "advice"] {
                    let id = format!("{}-{part}", kind.text_id());
                    assert!(texts.find(&id, &[]).is_some(), "{language} {id}");
                }
            }
        }
    }
}
