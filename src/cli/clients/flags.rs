//! What of a client's metadata can be named on the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use keyward_keys::Algorithm;
use keyward_protocol::client_metadata::{AccessTokenFormat, AuthMethod, ClientMetadata, ClientType, GrantType};
use keyward_protocol::scope::ScopeSet;
use serde_json::Value;

use super::super::algorithm;
use super::super::output::Failure;
use crate::settings::Seconds;

/// What a client of the code flow may ask for unless the operator says otherwise.
const CODE_FLOW_SCOPE: &str = "openid profile email offline_access";
/// Longest file of keys that is read, in bytes.
const MOST_JWKS_BYTES: u64 = 256 * 1024;

/// A value, or the word that unsets it, such as `default` where the server then chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Choice<T> {
    /// It isn't set.
    Unset,
    /// The client's own.
    Own(T),
}

impl<T> Choice<T> {
    fn own(self) -> Option<T> {
        match self {
            Self::Unset => None,
            Self::Own(value) => Some(value),
        }
    }
}

/// The metadata that can be named. What isn't named keeps its value, or the default where the client is new.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct MetadataFlags {
    /// Name that people see
    #[arg(long)]
    name: Option<String>,
    /// Whether it can keep a secret: `public` for single-page and native apps [default: confidential]
    #[arg(long = "type", value_name = "TYPE", value_parser = client_types())]
    client_type: Option<ClientType>,
    /// Address that answers may go to; can be repeated, "" for none
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Option<Vec<String>>,
    /// Address that a browser may go to after logout; can be repeated, "" for none
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Option<Vec<String>>,
    /// Origin whose scripts may call, beside those of the redirect URIs; can be repeated, "" for none
    #[arg(long = "web-origin", value_name = "ORIGIN")]
    web_origins: Option<Vec<String>>,
    /// Grant that it may use; can be repeated, `none` for none [default: authorization_code and refresh_token where there is a redirect
    /// URI]
    #[arg(long = "grant", value_name = "GRANT", value_parser = grants())]
    grants: Option<Vec<Choice<GrantType>>>,
    /// Scopes that it may be granted, separated by blanks [default: "openid profile email offline_access" for the code
    /// flow]
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    scope: Option<ScopeSet>,
    /// Scopes that it gets where it asks for none that it may have
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    default_scope: Option<ScopeSet>,
    /// The one way in which it authenticates, or `any` for Basic or post
    #[arg(long, value_name = "METHOD", value_parser = auth_method)]
    auth_method: Option<Choice<AuthMethod>>,
    /// File with its public keys, a JWK Set; "" for none
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<PathBuf>,
    /// Address of its public keys, a JWK Set; "" for none
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Algorithm of its ID tokens: ES256, EdDSA, RS256 or PS256 [default: asked for on a terminal, else RS256]
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm)]
    pub(super) id_token_alg: Option<Algorithm>,
    /// Algorithm of its access tokens, or `default` for the server's
    #[arg(long, value_name = "ALGORITHM", value_parser = own_algorithm)]
    access_token_alg: Option<Choice<Algorithm>>,
    /// Form of its access tokens, jwt or opaque, or `default` for jwt; a resource's own wish counts more
    #[arg(long, value_name = "FORMAT", value_parser = own_format)]
    access_token_format: Option<Choice<AccessTokenFormat>>,
    /// Put its access tokens into a status list, so that resource servers hear of a revocation; one for itself is then a
    /// write
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    status_list: Option<bool>,
    /// Algorithm of signed introspection answers that it gets
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm)]
    introspection_alg: Option<Algorithm>,
    /// As a resource server: form of access tokens for its audiences, jwt or opaque, or `default` for the client's
    #[arg(long, value_name = "FORMAT", value_parser = own_format)]
    resource_token_format: Option<Choice<AccessTokenFormat>>,
    /// As a resource server: the longest life of access tokens for its audiences, or `default` for the client's
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    resource_token_lifetime: Option<Choice<u64>>,
    /// As a resource server: put users' access tokens for its audiences into a status list
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    resource_status_list: Option<bool>,
    /// Don't demand PKCE; public clients always need it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_pkce: Option<bool>,
    /// The operator's own: users aren't asked for consent
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    first_party: Option<bool>,
    /// A native app that the operator vouches for: consent is remembered
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    trusted_native: Option<bool>,
    /// Don't rotate refresh tokens; those of public clients always rotate
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_rotation: Option<bool>,
    /// Audience that it stands for as a resource server; can be repeated, "" for none
    #[arg(long = "audience", value_name = "URI")]
    audiences: Option<Vec<String>>,
    /// Resource that it may ask for, the first being its default; can be repeated, "" for none
    #[arg(long = "resource", value_name = "URI")]
    resources: Option<Vec<String>>,
    /// Life of its access tokens, such as 30m, or `default` for the server's
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    access_token_lifetime: Option<Choice<u64>>,
    /// How long its refresh tokens may lie unused, or `default`
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    refresh_idle_lifetime: Option<Choice<u64>>,
    /// How long its refresh tokens may live in all, or `default`
    #[arg(long, value_name = "DURATION", value_parser = own_lifetime)]
    refresh_absolute_lifetime: Option<Choice<u64>>,
    /// Its home page; "" for none
    #[arg(long, value_name = "URL")]
    client_uri: Option<String>,
    /// Its privacy policy; "" for none
    #[arg(long, value_name = "URL")]
    policy_uri: Option<String>,
    /// Its terms; "" for none
    #[arg(long, value_name = "URL")]
    tos_uri: Option<String>,
    /// Age of an authentication that it accepts unless it asks for another, such as 1h, or `none`
    #[arg(long, value_name = "DURATION", value_parser = own_age)]
    default_max_age: Option<Choice<u64>>,
    /// Class of authentication that it wishes for unless it asks for another, the more wanted first; can be repeated, ""
    /// for none
    #[arg(long = "default-acr-value", value_name = "ACR")]
    default_acr_values: Option<Vec<String>>,
    /// It needs auth_time in its ID tokens, which all of them have
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    require_auth_time: Option<bool>,
    /// Put the claims that scopes name into the ID token too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    id_token_claims: Option<bool>,
}

fn client_types() -> impl TypedValueParser<Value = ClientType> {
    PossibleValuesParser::new(["confidential", "public"]).map(|text| match text.as_str() {
        "public" => ClientType::Public,
        _ => ClientType::Confidential,
    })
}

fn grants() -> impl TypedValueParser<Value = Choice<GrantType>> {
    let names = GrantType::ALL.map(GrantType::as_str).into_iter().chain(["none"]);
    PossibleValuesParser::new(names).map(|text| GrantType::parse(&text).map_or(Choice::Unset, Choice::Own))
}

fn scopes(text: &str) -> Result<ScopeSet, &'static str> {
    ScopeSet::parse(text).map_err(|refusal| refusal.description)
}

fn auth_method(text: &str) -> Result<Choice<AuthMethod>, String> {
    match (text, AuthMethod::parse(text)) {
        ("any", _) => Ok(Choice::Unset),
        (_, Some(method)) => Ok(Choice::Own(method)),
        (_, None) => Err(format!("this is any, {}", AuthMethod::ALL.map(AuthMethod::as_str).join(", "))),
    }
}

fn own_algorithm(text: &str) -> Result<Choice<Algorithm>, String> {
    if text == "default" { Ok(Choice::Unset) } else { algorithm(text).map(Choice::Own) }
}

fn own_format(text: &str) -> Result<Choice<AccessTokenFormat>, String> {
    match (text, AccessTokenFormat::parse(text)) {
        ("default", _) => Ok(Choice::Unset),
        (_, Some(format)) => Ok(Choice::Own(format)),
        (_, None) => {
            Err(format!("this is default, {}", AccessTokenFormat::ALL.map(AccessTokenFormat::as_str).join(", ")))
        }
    }
}

fn own_lifetime(text: &str) -> Result<Choice<u64>, &'static str> {
    if text == "default" { Ok(Choice::Unset) } else { text.parse::<Seconds>().map(|span| Choice::Own(span.as_secs())) }
}

fn own_age(text: &str) -> Result<Choice<u64>, &'static str> {
    if text == "none" { Ok(Choice::Unset) } else { text.parse::<Seconds>().map(|span| Choice::Own(span.as_secs())) }
}

impl MetadataFlags {
    /// Changes what is named. `jwks` is what the named file holds.
    pub(super) fn apply(self, jwks: Option<Option<Value>>, metadata: &mut ClientMetadata) {
        fn put<T>(field: &mut T, named: Option<T>) {
            if let Some(value) = named {
                *field = value;
            }
        }
        // A list is emptied by naming an empty text alone, and so is a text.
        let list = |named: Option<Vec<String>>| {
            named.map(|items| items.into_iter().filter(|item| !item.is_empty()).collect::<Vec<_>>())
        };
        let text = |named: Option<String>| named.map(|text| Some(text).filter(|text| !text.is_empty()));
        put(&mut metadata.client_name, self.name);
        put(&mut metadata.client_type, self.client_type);
        put(&mut metadata.redirect_uris, list(self.redirect_uris));
        put(&mut metadata.post_logout_redirect_uris, list(self.post_logout_redirect_uris));
        put(&mut metadata.web_origins, list(self.web_origins));
        put(&mut metadata.grant_types, self.grants.map(|grants| grants.into_iter().filter_map(Choice::own).collect()));
        put(&mut metadata.scope, self.scope);
        put(&mut metadata.default_scope, self.default_scope);
        put(&mut metadata.token_endpoint_auth_method, self.auth_method.map(Choice::own));
        put(&mut metadata.jwks, jwks);
        put(&mut metadata.jwks_uri, text(self.jwks_uri));
        put(&mut metadata.default_max_age, self.default_max_age.map(Choice::own));
        put(&mut metadata.default_acr_values, list(self.default_acr_values));
        put(&mut metadata.require_auth_time, self.require_auth_time);
        put(&mut metadata.id_token_signed_response_alg, self.id_token_alg);
        put(&mut metadata.access_token_signed_response_alg, self.access_token_alg.map(Choice::own));
        put(&mut metadata.access_token_format, self.access_token_format.map(Choice::own));
        put(&mut metadata.access_token_status_list, self.status_list);
        put(&mut metadata.introspection_signed_response_alg, self.introspection_alg);
        let resource = &mut metadata.resource_tokens;
        put(&mut resource.access_token_format, self.resource_token_format.map(Choice::own));
        put(&mut resource.access_token_lifetime, self.resource_token_lifetime.map(Choice::own));
        put(&mut resource.access_token_status_list, self.resource_status_list);
        put(&mut metadata.require_pkce, self.no_pkce.map(|no| !no));
        put(&mut metadata.first_party, self.first_party);
        put(&mut metadata.trusted_native, self.trusted_native);
        put(&mut metadata.rotate_refresh_tokens, self.no_rotation.map(|no| !no));
        put(&mut metadata.audiences, list(self.audiences));
        put(&mut metadata.resources, list(self.resources));
        put(&mut metadata.access_token_lifetime, self.access_token_lifetime.map(Choice::own));
        put(&mut metadata.refresh_token_idle_lifetime, self.refresh_idle_lifetime.map(Choice::own));
        put(&mut metadata.refresh_token_absolute_lifetime, self.refresh_absolute_lifetime.map(Choice::own));
        put(&mut metadata.client_uri, text(self.client_uri));
        put(&mut metadata.policy_uri, text(self.policy_uri));
        put(&mut metadata.tos_uri, text(self.tos_uri));
        put(&mut metadata.id_token_scope_claims, self.id_token_claims);
    }

    /// The metadata of a new client.
    pub(super) fn new_client(self, jwks: Option<Option<Value>>) -> ClientMetadata {
        let (names_grants, names_scope) = (self.grants.is_some(), self.scope.is_some());
        let mut metadata = ClientMetadata::default();
        self.apply(jwks, &mut metadata);
        if !names_grants && !metadata.redirect_uris.is_empty() {
            metadata.grant_types = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        }
        if !names_scope && metadata.has_grant(GrantType::AuthorizationCode) {
            for scope in CODE_FLOW_SCOPE.split(' ') {
                metadata.scope.insert(scope);
            }
        }
        metadata
    }
}

/// What the named file of keys holds; the inner `None` where an empty name unsets it.
pub(super) fn named_jwks(flags: &MetadataFlags) -> Result<Option<Option<Value>>, Failure> {
    match flags.jwks_file.as_deref() {
        None => Ok(None),
        Some(path) if path.as_os_str().is_empty() => Ok(Some(None)),
        Some(path) => read_jwks(path).map(|jwks| Some(Some(jwks))),
    }
}

fn read_jwks(path: &Path) -> Result<Value, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::refused(format_args!("{}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| broken(&error))?.len();
    if size > MOST_JWKS_BYTES {
        return Err(broken(&format_args!("a JWK Set of more than {MOST_JWKS_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| broken(&error))?;
    let jwks = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    // The rule is asked again with the whole metadata; here it can say which key is wrong.
    keyward_keys::ClientKeys::parse(&jwks).map_err(|error| broken(&error))?;
    Ok(jwks)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        flags: MetadataFlags,
    }

    fn flags(arguments: &[&str]) -> MetadataFlags {
        Flags::try_parse_from(std::iter::once("x").chain(arguments.iter().copied())).unwrap().flags
    }

    #[test]
    fn a_redirect_uri_brings_the_code_flow() {
        let metadata = flags(&["--name", "Shop", "--redirect-uri", "https://shop.example/cb"]).new_client(None);
        assert_eq!(metadata.grant_types, [GrantType::AuthorizationCode, GrantType::RefreshToken]);
        assert_eq!(metadata.scope.to_string(), CODE_FLOW_SCOPE);
        assert!(metadata.require_pkce && metadata.rotate_refresh_tokens && !metadata.first_party);
        metadata.check().unwrap();
    }

    #[test]
    fn a_machine_has_what_is_named_and_no_more() {
        let metadata = flags(&["--name", "Job", "--grant", "client_credentials", "--scope", "a b"]).new_client(None);
        assert_eq!(metadata.grant_types, [GrantType::ClientCredentials]);
        assert_eq!(metadata.scope.to_string(), "a b");
        assert_eq!(flags(&["--name", "API"]).new_client(None).grant_types, []);
    }

    #[test]
    fn an_edit_changes_what_is_named_alone() {
        let before = flags(&["--name", "Shop", "--redirect-uri", "https://shop.example/cb", "--no-pkce"]);
        let before = before.new_client(None);
        let mut after = before.clone();
        flags(&[]).apply(None, &mut after);
        assert_eq!(after, before);
        flags(&[
            "--redirect-uri",
            "https://shop.example/one",
            "--redirect-uri",
            "https://shop.example/two",
            "--no-pkce=false",
            "--access-token-lifetime",
            "90m",
            "--access-token-alg",
            "Ed25519",
            "--auth-method",
            "client_secret_post",
            "--access-token-format=opaque",
            "--status-list",
            "--introspection-alg=ES256",
            "--resource-token-format=jwt",
            "--resource-token-lifetime=5m",
            "--resource-status-list",
        ])
        .apply(None, &mut after);
        assert_eq!(
            after,
            ClientMetadata {
                redirect_uris: vec!["https://shop.example/one".into(), "https://shop.example/two".into()],
                require_pkce: true,
                access_token_lifetime: Some(5400),
                access_token_signed_response_alg: Some(Algorithm::EdDsa),
                token_endpoint_auth_method: Some(AuthMethod::ClientSecretPost),
                access_token_format: Some(AccessTokenFormat::Opaque),
                access_token_status_list: true,
                introspection_signed_response_alg: Algorithm::Es256,
                resource_tokens: keyward_protocol::client_metadata::ResourceTokens {
                    access_token_format: Some(AccessTokenFormat::Jwt),
                    access_token_lifetime: Some(300),
                    access_token_status_list: true,
                },
                ..before.clone()
            }
        );
    }

    #[test]
    fn what_was_set_can_be_unset() {
        let mut metadata = flags(&[
            "--web-origin=https://a.example",
            "--client-uri=https://a.example",
            "--access-token-lifetime=1h",
            "--access-token-alg=RS256",
            "--auth-method=client_secret_basic",
            "--access-token-format=opaque",
            "--status-list",
            "--resource-token-format=jwt",
            "--resource-token-lifetime=5m",
            "--resource-status-list",
            "--grant=client_credentials",
        ])
        .new_client(Some(Some(json!({ "keys": [] }))));
        flags(&[
            "--web-origin=",
            "--client-uri=",
            "--access-token-lifetime=default",
            "--access-token-alg=default",
            "--auth-method=any",
            "--access-token-format=default",
            "--status-list=false",
            "--resource-token-format=default",
            "--resource-token-lifetime=default",
            "--resource-status-list=false",
            "--grant=none",
        ])
        .apply(Some(None), &mut metadata);
        assert_eq!(metadata, ClientMetadata::default());
    }

    #[test]
    fn values_that_cannot_be_are_usage_errors() {
        for wrong in [
            "--type=secret",
            "--grant=password",
            "--grant=implicit",
            "--scope=a\"b",
            "--auth-method=client_secret_jwt",
            "--id-token-alg=none",
            "--id-token-alg=default",
            "--access-token-alg=HS256",
            "--access-token-lifetime=1y",
            "--access-token-format=paseto",
            "--resource-token-format=JWT",
            "--no-pkce=maybe",
        ] {
            assert!(Flags::try_parse_from(["x", wrong]).is_err(), "{wrong}");
        }
    }
}
