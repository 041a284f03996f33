//! Another implementation as oracle: our rules of code, refresh and authorization request beside the RFC 6749 state
//! machines of `oxide-auth`, on random requests. Where the two differ, the difference has a name and a reason here; one
//! that hasn't fails the test, and so does a name that no request brings about.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says by a panic what is wrong")]

mod authorization;
mod code;
mod refresh;

use std::collections::BTreeSet;

use keyward_protocol::scope::ScopeSet;
use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth::primitives::scope::Scope;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It is granted, with this scope; their scopes have no order.
    Granted(BTreeSet<String>),
    /// It is refused with this code.
    Refused(&'static str),
    /// It is refused on a page: nothing may be sent to the client.
    Page,
}

fn ours(scope: &ScopeSet) -> Outcome {
    Outcome::Granted(scope.iter().map(str::to_owned).collect())
}

fn theirs(scope: &Scope) -> Outcome {
    Outcome::Granted(scope.iter().map(str::to_owned).collect())
}

fn granted(scope: &str) -> Outcome {
    ours(&ScopeSet::parse(scope).unwrap())
}

/// A grant as they keep it; expired long ago or in a far future, for they read the machine's clock.
fn their_grant(client: &str, redirect_uri: &str, scope: &str, expired: bool, extensions: Extensions) -> Box<Grant> {
    let until = if expired { "2001-01-01T00:00:00Z" } else { "2999-01-01T00:00:00Z" };
    Box::new(Grant {
        owner_id: "owner".to_owned(),
        client_id: client.to_owned(),
        scope: scope.parse().unwrap(),
        redirect_uri: redirect_uri.parse().unwrap(),
        until: until.parse().unwrap(),
        extensions,
    })
}

/// The code of an error of theirs, from the JSON that they answer with.
fn code_of(json: &str) -> &'static str {
    let answer: serde_json::Value = serde_json::from_str(json).unwrap();
    let codes = ["invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "unsupported_grant_type"];
    let said = answer["error"].as_str().unwrap();
    codes.into_iter().find(|code| *code == said).unwrap_or_else(|| panic!("an unknown code: {json}"))
}
