//! Requests to an address that the operator chose, such as that of HashiCorp Vault: wherever it is, for that is the
//! operator's business. Beside that, as the other client: no proxy, no redirect, a bounded answer in bounded time.
//!
//! Leaves out: further attempts, and what an answer means.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Method, StatusCode};
use url::Url;
use zeroize::Zeroizing;

use super::{Unread, authorities_of, plain, read_whole};
use crate::fault::Fault;

/// Time for a connection, where that for a request isn't shorter.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// A client for addresses that the operator chose.
#[derive(Debug)]
pub struct OperatorClient {
    client: reqwest::Client,
    most_bytes: usize,
}

/// What came back, with any status but a redirect. Its body may be a secret.
pub struct OperatorAnswer {
    /// The status.
    pub status: StatusCode,
    /// The body, whole.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for OperatorAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OperatorAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// No connection, no TLS that can be trusted, or no HTTP; with the cause in the words of those who met it.
    Unreachable(String),
    /// It took too long.
    TimedOut,
    /// The answer is longer than the caller allows.
    TooLong,
    /// The answer points elsewhere.
    Redirected,
}

impl OperatorClient {
    /// A client whose requests take at most this time each and whose answers have at most so many octets. The
    /// authorities of the file, which the setting of this name names, are trusted beside the system's.
    ///
    /// # Errors
    /// Where the file can't be read, or holds no certificate.
    pub fn new(ca_file: Option<(&str, &Path)>, time: Duration, most_bytes: usize) -> Result<Self, Fault> {
        let authorities = match ca_file {
            None => Vec::new(),
            Some((setting, file)) => authorities_of(setting, file)?,
        };
        let client = plain(authorities, CONNECT_TIME.min(time)).timeout(time).build().map_err(Fault::broken)?;
        Ok(Self { client, most_bytes })
    }

    /// Sends a request and reads the whole answer, whatever its status, unless it is a redirect.
    ///
    /// # Errors
    /// Why nothing came back.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<OperatorAnswer, Unanswered> {
        let sent = self.client.request(method, url).headers(headers).body(body).send().await;
        let mut response = sent.map_err(|error| failed(&error))?;
        let status = response.status();
        // What the request carries is for this address alone, and so is nothing sent on.
        if status.is_redirection() {
            return Err(Unanswered::Redirected);
        }
        let body = read_whole(&mut response, self.most_bytes).await.map_err(|unread| match unread {
            Unread::TooLong => Unanswered::TooLong,
            Unread::Broken(error) => failed(&error),
        })?;
        Ok(OperatorAnswer { status, body: Zeroizing::new(body) })
    }
}

fn failed(error: &reqwest::Error) -> Unanswered {
    if error.is_timeout() { Unanswered::TimedOut } else { Unanswered::Unreachable(root_cause(error)) }
}

/// The innermost cause of an error: what the layers above it say repeats that something failed.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}
