//! The consent page: who asks, for what, and where the answer goes (OpenID Connect Core §3.1.2.4, RFC 6749 §3.1.2 and
//! §10.2, RFC 8252 §8.6). It leaves out when it is shown and what is remembered.

use askama::Template;

use super::Frame;
use crate::locale::Texts;

/// The consent page. Its form goes to `{base}/consent` with `request`, `csrf` and `decision` = `allow` or `deny`.
#[derive(Clone, Debug, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage<'a> {
    /// What every page has.
    pub frame: Frame<'a>,
    /// The name of the app, as registered.
    pub client_name: &'a str,
    /// The host of the app, shown below its name.
    pub client_host: Option<&'a str>,
    /// The app's home page (`client_uri`, RFC 7591 §2).
    pub client_uri: Option<&'a str>,
    /// What the app does with data (`policy_uri`, RFC 7591 §2).
    pub policy_uri: Option<&'a str>,
    /// The app's terms (`tos_uri`, RFC 7591 §2).
    pub tos_uri: Option<&'a str>,
    /// The host, or the scheme of an installed app, to which the answer goes.
    pub redirect_host: &'a str,
    /// The name of the account that is signed in.
    pub account: &'a str,
    /// What the app asks for.
    pub scopes: Vec<ConsentScope<'a>>,
    /// The single details that it asks for beside what these give.
    pub claims: Vec<ConsentClaim<'a>>,
    /// The sealed request that waits for the decision; hidden field `request`.
    pub pending: &'a str,
    /// The token against forged forms; hidden field `csrf`.
    pub csrf: &'a str,
    /// Whether to warn that the answer goes to a program on this device, whose name nobody vouches for (RFC 8252 §8.6).
    pub loopback_warning: bool,
}

/// A scope in people's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentScope<'a> {
    /// The scope's name in the protocol.
    pub name: &'a str,
    /// What it allows, in a few words.
    pub title: String,
    /// What that means, in a sentence; may be empty.
    pub detail: String,
}

impl<'a> ConsentScope<'a> {
    /// The words for a scope: the operator's own (title and sentence) where there are any, else ours, else its bare name.
    pub fn describe(texts: &Texts, name: &'a str, own: Option<(&str, &str)>) -> Self {
        if let Some((title, detail)) = own {
            return Self { name, title: title.to_owned(), detail: detail.to_owned() };
        }
        let ours = |part: &str| texts.find(&format!("scope-{name}-{part}"), &[]);
        let title = ours("title").unwrap_or_else(|| name.to_owned());
        let detail = ours("detail").unwrap_or_else(|| texts.get("scope-other-detail"));
        Self { name, title, detail }
    }
}

/// A claim in people's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentClaim<'a> {
    /// The claim's name in the protocol.
    pub name: &'a str,
    /// What it tells, in a few words.
    pub title: String,
}

impl<'a> ConsentClaim<'a> {
    /// The words for a claim, else its bare name.
    pub fn describe(texts: &Texts, name: &'a str) -> Self {
        Self { name, title: texts.find(&format!("claim-{name}"), &[]).unwrap_or_else(|| name.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use keyward_protocol::claims;

    use super::*;
    use crate::locale::Locales;

    #[test]
    fn every_standard_scope_has_words_in_every_language() {
        for language in ["en", "de"] {
            let texts = Locales::load().choose(&[language.to_owned()], None);
            for name in
                ["openid", "profile", "email", "phone", "address", "offline_access", "roles", "groups", "permissions"]
            {
                let scope = ConsentScope::describe(&texts, name, None);
                assert!(scope.title != name && scope.detail != texts.get("scope-other-detail"), "{language} {name}");
            }
        }
    }

    #[test]
    fn every_claim_of_a_scope_has_words_in_every_language() {
        for language in ["en", "de"] {
            let texts = Locales::load().choose(&[language.to_owned()], None);
            for name in claims::supported().filter(|name| claims::scope_of(name).is_some()) {
                assert_ne!(ConsentClaim::describe(&texts, name).title, name, "{language}");
            }
            assert_eq!(ConsentClaim::describe(&texts, "shoe_size").title, "shoe_size");
        }
    }

    #[test]
    fn the_operators_words_go_before_ours_and_an_unknown_scope_keeps_its_name() {
        let texts = Locales::load().fallback();
        let own = ConsentScope::describe(&texts, "email", Some(("Mail", "")));
        assert_eq!((own.title.as_str(), own.detail.as_str()), ("Mail", ""));
        let unknown = ConsentScope::describe(&texts, "notes:read", None);
        assert_eq!(unknown.title, "notes:read");
        assert_eq!(unknown.detail, texts.get("scope-other-detail"));
    }
}
