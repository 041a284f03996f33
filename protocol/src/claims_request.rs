//! The `claims` parameter (OpenID Connect Core §5.5): single claims that a client asks for, for userinfo and for the ID
//! token, beside what scopes name.
//!
//! A claim is a part of what one scope gives (§5.4): who may not have the scope may not have the claim. Claims that no
//! scope gives (`iss`, `auth_time`, …) are in ID tokens anyway; `sub` and `acr` with values are rules about the request.
//! Left out: distributed and aggregated claims; values in several languages, so that `name#de` asks for nothing we have.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::acr::AcrNeed;
use crate::claims::scope_of;
use crate::refusal::{ErrorCode, Refusal};
use crate::scope::ScopeSet;

/// Longest parameter, in bytes.
const MOST_BYTES: usize = 4096;
/// Most claims that one of the two members may name.
const MOST_CLAIMS: usize = 100;
/// Most values that one claim may list.
const MOST_VALUES: usize = 50;

/// One claim that is asked for (§5.5.1). Without values, any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The claim.
    pub name: String,
    /// The client says that it can't do without.
    pub essential: bool,
    /// What the client wants it to be, the more wanted first: `value`, or `values`.
    pub values: Vec<Value>,
}

/// What the parameter asks for. Members that aren't known are left out (§5.5: they are to be ignored).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimsRequest {
    /// To be had at userinfo.
    pub userinfo: Vec<ClaimRequest>,
    /// To be had in the ID token.
    pub id_token: Vec<ClaimRequest>,
}

const MALFORMED: Refusal = Refusal::new(ErrorCode::InvalidRequest, "The claims parameter is malformed.");

impl ClaimsRequest {
    /// Reads the parameter.
    ///
    /// # Errors
    /// `invalid_request` where it is no JSON of the form of §5.5, or longer or deeper than anybody needs. What is accepted
    /// can be kept: [`ClaimsRequest::from_stored`] reads what [`ClaimsRequest::to_json`] makes of it.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MOST_BYTES {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "The claims parameter is longer than 4096 bytes."));
        }
        let request = Self::read_text(text)?;
        // A `value` is kept as one of `values`, which is deeper by one.
        Self::from_stored(request.to_json().as_deref())?;
        Ok(request)
    }

    /// Reads what [`ClaimsRequest::to_json`] wrote, which may be longer than what came: `1e15` is written out.
    ///
    /// # Errors
    /// As [`ClaimsRequest::parse`], whatever the length.
    pub fn from_stored(text: Option<&str>) -> Result<Self, Refusal> {
        text.map_or_else(|| Ok(Self::default()), Self::read_text)
    }

    fn read_text(text: &str) -> Result<Self, Refusal> {
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|_| MALFORMED)?;
        Ok(Self { userinfo: read(members.get("userinfo"))?, id_token: read(members.get("id_token"))? })
    }

    /// As JSON of the form of §5.5; `None` where nothing is asked for.
    pub fn to_json(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        Some(json!({ "userinfo": write(&self.userinfo), "id_token": write(&self.id_token) }).to_string())
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.userinfo.is_empty() && self.id_token.is_empty()
    }

    /// §5.5.1, §3.1.2.2: the only subjects for whom the request may be answered; `None` where any will do.
    ///
    /// # Errors
    /// `invalid_request` where a subject isn't a string.
    pub fn subjects(&self) -> Result<Option<Vec<String>>, Refusal> {
        let mut wanted: Option<Vec<String>> = None;
        for claim in self.userinfo.iter().chain(&self.id_token) {
            if claim.name != "sub" || claim.values.is_empty() {
                continue;
            }
            let subjects: Option<Vec<String>> =
                claim.values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            let subjects = subjects.ok_or(MALFORMED)?;
            wanted = Some(match wanted {
                None => subjects,
                Some(earlier) => earlier.into_iter().filter(|subject| subjects.contains(subject)).collect(),
            });
        }
        Ok(wanted)
    }

    /// §5.5.1.1: what an `acr` that is asked for in the ID token demands; `None` where it isn't asked for.
    pub fn acr(&self) -> Option<AcrNeed> {
        let claim = self.id_token.iter().find(|claim| claim.name == "acr")?;
        if claim.essential {
            return Some(AcrNeed::essential(&claim.values));
        }
        let need = AcrNeed::voluntary(claim.values.iter().filter_map(Value::as_str));
        (need != AcrNeed::None).then_some(need)
    }

    /// What of it a scope gives that is `allowed`: the part that can be released and is kept with the grant.
    #[must_use]
    pub fn releasable(&self, allowed: impl Fn(&str) -> bool) -> Self {
        let keep = |claims: &[ClaimRequest]| {
            claims.iter().filter(|claim| scope_of(&claim.name).is_some_and(&allowed)).cloned().collect()
        };
        Self { userinfo: keep(&self.userinfo), id_token: keep(&self.id_token) }
    }

    /// The claims that the granted scope doesn't give already: what the person is asked about beside the scopes.
    pub fn beyond(&self, scope: &ScopeSet) -> BTreeSet<String> {
        self.userinfo
            .iter()
            .chain(&self.id_token)
            .filter(|claim| scope_of(&claim.name).is_some_and(|of| !scope.contains(of)))
            .map(|claim| claim.name.clone())
            .collect()
    }
}

/// What is asked for in one member that is released, of claims that are there. §5.5.1: a claim with values is asked for
/// with one of these, and another value is of no use to anybody.
pub fn released<'a>(
    asked: &'a [ClaimRequest],
    value_of: impl Fn(&str) -> Option<Value> + 'a,
) -> impl Iterator<Item = (String, Value)> + 'a {
    asked.iter().filter_map(move |claim| {
        let value = value_of(&claim.name)?;
        let wanted = claim.values.is_empty() || claim.values.contains(&value);
        wanted.then(|| (claim.name.clone(), value))
    })
}

fn read(member: Option<&Value>) -> Result<Vec<ClaimRequest>, Refusal> {
    let members = match member {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(MALFORMED),
    };
    if members.len() > MOST_CLAIMS {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "The claims parameter names too many claims."));
    }
    members.iter().map(|(name, wish)| read_claim(name, wish)).collect()
}

/// §5.5.1: null, or an object with `essential`, `value`, `values`.
fn read_claim(name: &str, wish: &Value) -> Result<ClaimRequest, Refusal> {
    let mut claim = ClaimRequest { name: name.to_owned(), essential: false, values: Vec::new() };
    let members = match wish {
        Value::Null => return Ok(claim),
        Value::Object(members) => members,
        _ => return Err(MALFORMED),
    };
    claim.essential = match members.get("essential") {
        None => false,
        Some(Value::Bool(essential)) => *essential,
        Some(_) => return Err(MALFORMED),
    };
    match (members.get("value"), members.get("values")) {
        (None, None) => {}
        (Some(value), None) => claim.values.push(value.clone()),
        (None, Some(Value::Array(values))) if (1..=MOST_VALUES).contains(&values.len()) => {
            claim.values.clone_from(values);
        }
        // Both at once contradict each other, and a list of nothing can't be met.
        _ => return Err(MALFORMED),
    }
    Ok(claim)
}

fn write(claims: &[ClaimRequest]) -> Value {
    let members = claims.iter().map(|claim| {
        let mut wish = Map::new();
        if claim.essential {
            wish.insert("essential".to_owned(), Value::Bool(true));
        }
        if !claim.values.is_empty() {
            wish.insert("values".to_owned(), Value::Array(claim.values.clone()));
        }
        (claim.name.clone(), if wish.is_empty() { Value::Null } else { Value::Object(wish) })
    });
    Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acr::Acr;

    fn parse(value: Value) -> ClaimsRequest {
        ClaimsRequest::parse(&value.to_string()).unwrap()
    }

    /// The example of Core §5.5.
    #[test]
    fn the_example_of_the_specification_is_read() {
        let request = parse(json!({
            "userinfo": {
                "given_name": {"essential": true},
                "nickname": null,
                "email": {"essential": true},
                "http://example.info/claims/groups": null
            },
            "id_token": {
                "auth_time": {"essential": true},
                "acr": {"values": ["urn:mace:incommon:iap:silver"]}
            }
        }));
        assert_eq!((request.userinfo.len(), request.id_token.len()), (4, 2));
        assert_eq!(request.acr(), None, "a voluntary value that isn't ours asks for nothing");
        let kept = request.releasable(|_| true);
        let mut names: Vec<&str> = kept.userinfo.iter().map(|claim| claim.name.as_str()).collect();
        // The order of a document's members means nothing, and depends on how the parser was built.
        names.sort_unstable();
        assert_eq!(names, ["email", "given_name", "nickname"]);
        assert!(kept.id_token.is_empty(), "what every ID token has isn't kept");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bad in [
            "",
            "null",
            "[]",
            "7",
            "{",
            "{\"userinfo\":[]}",
            "{\"userinfo\":true}",
            "{\"userinfo\":{\"email\":true}}",
            "{\"userinfo\":{\"email\":{\"essential\":\"true\"}}}",
            "{\"id_token\":{\"acr\":{\"values\":\"1\"}}}",
            "{\"id_token\":{\"acr\":{\"values\":[]}}}",
            "{\"id_token\":{\"acr\":{\"value\":\"1\",\"values\":[\"1\"]}}}",
        ] {
            assert_eq!(ClaimsRequest::parse(bad).unwrap_err().code, ErrorCode::InvalidRequest, "{bad}");
        }
        let many: Map<String, Value> = (0..=MOST_CLAIMS).map(|at| (format!("c{at}"), Value::Null)).collect();
        assert!(ClaimsRequest::parse(&json!({ "userinfo": many }).to_string()).is_err());
        assert!(ClaimsRequest::parse(&json!({ "x": "y".repeat(MOST_BYTES) }).to_string()).is_err());
        let deep = format!("{{\"userinfo\":{{\"email\":{{\"value\":{}{}}}}}}}", "[".repeat(1500), "]".repeat(1500));
        assert!(ClaimsRequest::parse(&deep).is_err());
        assert!(parse(json!({ "other": [1], "userinfo": null })).is_empty(), "unknown members are ignored");
        assert_eq!(parse(json!({"userinfo": {"name#de": null}})).releasable(|_| true), ClaimsRequest::default());
    }

    #[test]
    fn subjects_with_values_bind_the_answer() {
        let subjects = |value: Value| parse(value).subjects();
        assert_eq!(subjects(json!({"id_token": {"sub": null}})).unwrap(), None);
        assert_eq!(subjects(json!({"id_token": {"sub": {"value": "a"}}})).unwrap().unwrap(), ["a"]);
        let both = json!({"id_token": {"sub": {"values": ["a", "b"]}}, "userinfo": {"sub": {"value": "b"}}});
        assert_eq!(subjects(both).unwrap().unwrap(), ["b"]);
        assert!(subjects(json!({"id_token": {"sub": {"value": 7}}})).is_err());
    }

    #[test]
    fn acr_is_essential_or_a_wish() {
        let acr = |wish: Value| parse(json!({"id_token": {"acr": wish}})).acr();
        assert_eq!(
            acr(json!({"essential": true, "value": "phr"})),
            Some(AcrNeed::Essential(vec![Acr::PhishingResistant]))
        );
        assert_eq!(acr(json!({"value": "phr"})), Some(AcrNeed::Voluntary(vec![Acr::PhishingResistant])));
        assert_eq!(acr(json!({"essential": true})), Some(AcrNeed::None));
        assert_eq!(acr(Value::Null), None);
        assert_eq!(parse(json!({"userinfo": {"acr": {"essential": true, "value": "x"}}})).acr(), None);
    }

    #[test]
    fn claims_are_a_part_of_a_scope() {
        let request = parse(json!({"userinfo": {"email": null, "name": null}, "id_token": {"phone_number": null}}));
        let kept = request.releasable(|scope| scope != "phone");
        assert!(kept.id_token.is_empty() && kept.userinfo.len() == 2);
        let beyond = kept.beyond(&ScopeSet::parse("openid email").unwrap());
        assert_eq!(beyond.into_iter().collect::<Vec<_>>(), ["name"]);
    }

    #[test]
    fn a_claim_with_values_is_released_with_one_of_them() {
        let request = parse(json!({"userinfo": {
            "email": {"value": "ada@example.org"}, "name": {"values": ["Grace"]}, "nickname": null
        }}));
        let values = json!({"email": "ada@example.org", "name": "Ada", "locale": "en"});
        let released: Map<String, Value> = released(&request.userinfo, |name| values.get(name).cloned()).collect();
        assert_eq!(Value::Object(released), json!({"email": "ada@example.org"}));
    }

    #[test]
    fn what_is_accepted_can_be_kept_whatever_its_length_and_depth() {
        // Each value is written out with four times as many characters.
        let long = |claims: usize| {
            let values = vec!["1e15"; MOST_VALUES].join(",");
            let claims: Vec<String> = (0..claims).map(|at| format!("\"c{at}\":{{\"values\":[{values}]}}")).collect();
            format!("{{\"userinfo\":{{{}}}}}", claims.join(","))
        };
        let text = long(15);
        assert!(text.len() > MOST_BYTES - 256 && text.len() <= MOST_BYTES, "{}", text.len());
        let request = ClaimsRequest::parse(&text).unwrap();
        let stored = request.to_json().unwrap();
        assert!(stored.len() > MOST_BYTES, "{}", stored.len());
        assert_eq!(ClaimsRequest::from_stored(Some(&stored)).unwrap(), request);
        assert!(ClaimsRequest::parse(&long(16)).is_err());
        let mut accepted = 0;
        for depth in 100..140 {
            let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let text = format!("{{\"userinfo\":{{\"email\":{{\"value\":{value}}}}}}}");
            if let Ok(request) = ClaimsRequest::parse(&text) {
                assert_eq!(ClaimsRequest::from_stored(request.to_json().as_deref()).unwrap(), request, "{depth}");
                accepted += 1;
            }
        }
        assert!((1..40).contains(&accepted), "the limit is within: {accepted}");
    }

    /// JSON text of a value: numbers in forms that are written otherwise, words, and lists of lists.
    fn value_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("1e15".to_owned()),
            Just("-0.0".to_owned()),
            (1u32..10, -20i32..22).prop_map(|(digit, exponent)| format!("{digit}e{exponent}")),
            any::<i64>().prop_map(|number| number.to_string()),
            "[\\PC]{0,20}".prop_map(|text| Value::String(text).to_string()),
        ];
        (leaf, prop_oneof![0usize..4, 110usize..130])
            .prop_map(|(leaf, depth)| format!("{}{leaf}{}", "[".repeat(depth), "]".repeat(depth)))
    }

    proptest! {
        /// Up to the limits of length and depth, what is accepted can be kept.
        #[test]
        fn what_is_accepted_comes_back(values in prop::collection::vec(value_text(), 1..60), single: bool) {
            let claims: Vec<String> = values
                .chunks(if single { 1 } else { MOST_VALUES })
                .enumerate()
                .map(|(at, values)| match values {
                    [value] if single => format!("\"c{at}\":{{\"value\":{value}}}"),
                    values => format!("\"c{at}\":{{\"values\":[{}]}}", values.join(",")),
                })
                .collect();
            let text = format!("{{\"id_token\":{{{}}}}}", claims.join(","));
            if let Ok(request) = ClaimsRequest::parse(&text) {
                prop_assert_eq!(ClaimsRequest::from_stored(request.to_json().as_deref()), Ok(request));
            }
        }

        /// Whatever comes is read or refused, and what was read comes back from its own text.
        #[test]
        fn what_is_kept_comes_back(text in "[\\PC]{0,200}", name in "[a-z_#]{1,12}", essential: bool, value in "[\\PC]{0,20}") {
            let _ = ClaimsRequest::parse(&text);
            let request = parse(json!({"id_token": {name: {"essential": essential, "value": value}}}));
            prop_assert_eq!(ClaimsRequest::from_stored(request.to_json().as_deref()).unwrap(), request);
        }
    }
}
