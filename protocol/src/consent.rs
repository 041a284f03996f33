//! What a person allowed a client, and whether that covers what is asked (OpenID Connect Core §3.1.2.4, §5.5).

use std::collections::BTreeSet;

use crate::claims::scope_of;
use crate::scope::ScopeSet;

/// What a person allowed a client: scopes, and single claims beside what these give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consented {
    /// The scopes.
    pub scope: ScopeSet,
    /// The claims.
    pub claims: BTreeSet<String>,
}

impl Consented {
    /// Whether what is asked was allowed; an empty record covers nothing. A claim is covered by itself, or by the scope
    /// that gives it.
    pub fn covers(&self, scope: &ScopeSet, claims: &BTreeSet<String>) -> bool {
        !self.scope.is_empty()
            && scope.is_subset_of(&self.scope)
            && claims.iter().all(|claim| {
                self.claims.contains(claim) || scope_of(claim).is_some_and(|scope| self.scope.contains(scope))
            })
    }

    /// Both together: what was allowed before stays allowed.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { scope: self.scope.union(&other.scope), claims: self.claims.union(&other.claims).cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consented(scope: &str, claims: &[&str]) -> Consented {
        Consented { scope: ScopeSet::parse(scope).unwrap(), claims: names(claims) }
    }

    fn names(claims: &[&str]) -> BTreeSet<String> {
        claims.iter().map(|&claim| claim.to_owned()).collect()
    }

    #[test]
    fn claims_are_covered_by_themselves_or_by_their_scope() {
        let openid = ScopeSet::parse("openid").unwrap();
        assert!(consented("openid", &[]).covers(&openid, &names(&[])));
        assert!(!consented("openid", &[]).covers(&openid, &names(&["email"])));
        assert!(consented("openid", &["email"]).covers(&openid, &names(&["email"])));
        assert!(consented("openid email", &[]).covers(&openid, &names(&["email"])));
        assert!(!consented("openid email", &[]).covers(&openid, &names(&["email", "name"])));
        assert!(!consented("openid", &["email"]).covers(&ScopeSet::parse("openid email").unwrap(), &names(&[])));
        assert!(!Consented::default().covers(&ScopeSet::default(), &names(&[])));
    }
}
