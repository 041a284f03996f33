//! What of a client's metadata stands, though the operator should think twice.

use keyward_protocol::client_metadata::{AccessTokenFormat, ClientMetadata, ClientType};

use super::super::output::remark;
use crate::app::App;

/// Says it.
pub(super) fn warn(app: &App, metadata: &ClientMetadata) {
    let directory = app.directory.load();
    let known_scope = |scope: &str| directory.scopes.contains_key(scope);
    let known_audience = |audience: &str| directory.audiences.contains_key(audience);
    for warning in warnings(metadata, known_scope, known_audience) {
        remark(format_args!("warning: {warning}"));
    }
}

fn warnings(
    metadata: &ClientMetadata,
    known_scope: impl Fn(&str) -> bool,
    known_audience: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if !metadata.require_pkce {
        warnings.push(match metadata.client_type {
            ClientType::Confidential => {
                "without PKCE an authorization code that leaks can be used by whoever injects it into this client \
                 (RFC 9700, section 4.5)"
                    .to_owned()
            }
            ClientType::Public => "PKCE is demanded all the same, for the client is public".to_owned(),
        });
    }
    if metadata.client_type == ClientType::Public && !metadata.rotate_refresh_tokens {
        warnings.push("refresh tokens rotate all the same, for the client is public".to_owned());
    }
    if metadata.access_token_status_list && metadata.access_token_format == Some(AccessTokenFormat::Opaque) {
        warnings.push("opaque access tokens are in no status list: resource servers introspect them".to_owned());
    }
    for scope in metadata.scope.iter().filter(|scope| !known_scope(scope)) {
        warnings.push(format!("no scope {scope} is defined: until `keyward scopes add` nobody is granted it"));
    }
    for resource in metadata.resources.iter().filter(|resource| !known_audience(resource)) {
        warnings
            .push(format!("no client stands for the audience {resource}: until one does nobody gets a token for it"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use keyward_protocol::scope::ScopeSet;

    use super::*;

    #[test]
    fn weak_choices_are_warned_of() {
        let all = |_: &str| true;
        let none = |_: &str| false;
        let mut weak = ClientMetadata {
            require_pkce: false,
            scope: ScopeSet::parse("notes").unwrap(),
            resources: vec!["https://api.example".into()],
            ..ClientMetadata::default()
        };
        assert_eq!(warnings(&weak, all, all).len(), 1);
        assert_eq!(warnings(&weak, none, all).len(), 2);
        assert_eq!(warnings(&weak, none, none).len(), 3);
        weak.access_token_status_list = true;
        assert_eq!(warnings(&weak, all, all).len(), 1);
        weak.access_token_format = Some(AccessTokenFormat::Opaque);
        assert_eq!(warnings(&weak, all, all).len(), 2);
        assert_eq!(warnings(&ClientMetadata::default(), none, none), Vec::<String>::new());
    }
}
