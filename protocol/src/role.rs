//! Roles with inheritance, and what a token may carry of them (RFC 9068 §2.2.3.1, requirements RB-1 and RB-2).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::scope::ScopeSet;

/// A role as the decision sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The name in the token.
    pub name: String,
    /// The client whose role it is; none: the server's.
    pub client: Option<Uuid>,
    /// The roles it includes.
    pub includes: Vec<Uuid>,
    /// The permissions it gives by itself.
    pub permissions: Vec<String>,
}

/// All roles, by id.
pub type RoleGraph = BTreeMap<Uuid, Role>;

/// The roles that a holder of these roles has, with everything they include.
pub fn closure(graph: &RoleGraph, held: impl IntoIterator<Item = Uuid>) -> BTreeSet<Uuid> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<Uuid> = held.into_iter().collect();
    while let Some(id) = open.pop() {
        if let Some(role) = graph.get(&id)
            && reached.insert(id)
        {
            open.extend(&role.includes);
        }
    }
    reached
}

/// Whether `role` may come to include `included`: not where that closes a circle.
pub fn may_include(graph: &RoleGraph, role: Uuid, included: Uuid) -> bool {
    !closure(graph, [included]).contains(&role)
}

/// What of a person's roles a token carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleClaims {
    /// The claim `roles`, absent where the scope isn't granted.
    pub roles: Option<Vec<String>>,
    /// The claim `groups`, absent where the scope isn't granted.
    pub groups: Option<Vec<String>>,
    /// The claim `permissions`, absent where no scope allows any.
    pub permissions: Option<Vec<String>>,
}

/// Requirement RB-2: a token carries only the roles and permissions that its scopes and its audience allow.
///
/// `roles` and `groups` come by the scopes of these names. Permissions come all by the scope `permissions`, or one by
/// one by scopes that name them (`permissions_of_scope`). Roles of a client, and the permissions that come by them, are
/// only for tokens whose audience is that client's (`audience_clients`); the server's own roles are for every audience.
pub fn role_claims<'a>(
    graph: &RoleGraph,
    held: &BTreeSet<Uuid>,
    groups: &[String],
    scopes: &ScopeSet,
    audience_clients: &[Uuid],
    permissions_of_scope: impl Fn(&str) -> &'a [String],
) -> RoleClaims {
    let visible: Vec<&Role> = closure(graph, held.iter().copied())
        .iter()
        .filter_map(|id| graph.get(id))
        .filter(|role| role.client.is_none_or(|client| audience_clients.contains(&client)))
        .collect();
    let roles = scopes
        .contains("roles")
        .then(|| visible.iter().map(|role| role.name.clone()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    let groups = scopes.contains("groups").then(|| groups.to_vec());
    let held_permissions: BTreeSet<&str> =
        visible.iter().flat_map(|role| role.permissions.iter().map(String::as_str)).collect();
    let permissions = if scopes.contains("permissions") {
        Some(held_permissions.iter().map(|&permission| permission.to_owned()).collect())
    } else {
        let named: BTreeSet<&str> =
            scopes.iter().flat_map(|scope| permissions_of_scope(scope).iter().map(String::as_str)).collect();
        let allowed: Vec<String> =
            named.intersection(&held_permissions).map(|&permission| permission.to_owned()).collect();
        (!named.is_empty()).then_some(allowed)
    };
    RoleClaims { roles, groups, permissions }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn role(name: &str, client: Option<u128>, includes: &[u128], permissions: &[&str]) -> Role {
        Role {
            name: name.into(),
            client: client.map(id),
            includes: includes.iter().map(|&number| id(number)).collect(),
            permissions: permissions.iter().map(|&permission| permission.to_owned()).collect(),
        }
    }

    /// admin (1) > moderator (2) > user (3); a client's role (4) of client 9.
    fn graph() -> RoleGraph {
        [
            (id(1), role("admin", None, &[2], &["ban"])),
            (id(2), role("moderator", None, &[3], &["edit"])),
            (id(3), role("user", None, &[], &["read"])),
            (id(4), role("shop-owner", Some(9), &[], &["sell"])),
        ]
        .into()
    }

    #[test]
    fn roles_are_inherited_and_circles_refused() {
        let graph = graph();
        assert_eq!(closure(&graph, [id(1)]).len(), 3);
        assert!(!may_include(&graph, id(3), id(1)));
        assert!(!may_include(&graph, id(1), id(1)));
        assert!(may_include(&graph, id(4), id(1)));
    }

    #[test]
    fn a_circle_in_the_data_ends() {
        let mut graph = graph();
        graph.get_mut(&id(3)).unwrap().includes.push(id(1));
        assert_eq!(closure(&graph, [id(2)]).len(), 3);
    }

    #[test]
    fn a_token_carries_what_scopes_and_audience_allow() {
        let (graph, held) = (graph(), BTreeSet::from([id(2), id(4)]));
        let claims = |scope: &str, audience: &[Uuid]| {
            role_claims(&graph, &held, &["staff".into()], &ScopeSet::parse(scope).unwrap(), audience, |scope| {
                if scope == "shop" { std::slice::from_ref(Box::leak(Box::new("sell".to_owned()))) } else { &[] }
            })
        };
        assert_eq!(claims("openid", &[]), RoleClaims::default());
        assert_eq!(claims("roles", &[]).roles.unwrap(), ["moderator", "user"]);
        assert_eq!(claims("roles", &[id(9)]).roles.unwrap(), ["moderator", "shop-owner", "user"]);
        assert_eq!(claims("permissions", &[]).permissions.unwrap(), ["edit", "read"]);
        assert_eq!(claims("shop", &[]).permissions.unwrap(), Vec::<String>::new());
        assert_eq!(claims("shop", &[id(9)]).permissions.unwrap(), ["sell"]);
        assert_eq!(claims("groups", &[]).groups.unwrap(), ["staff"]);
    }
}
