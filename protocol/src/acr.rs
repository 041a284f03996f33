//! How strongly a person authenticated (OpenID Connect Core §2, `acr`), and what a request asks of it (§3.1.2.1,
//! §5.5.1.1; protocol decision 9).
//!
//! The classes are ordered: who reached one has reached those before it. Left out: which factors reach which class;
//! that is the sign-in's to know.

use serde_json::Value;

/// The classes, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acr {
    /// One factor.
    OneFactor,
    /// Two factors.
    TwoFactors,
    /// Resistant to phishing (OpenID Connect Extended Authentication Profile ACR Values §2).
    PhishingResistant,
    /// Resistant to phishing, with a key that hardware protects (the same).
    PhishingResistantHardware,
}

impl Acr {
    /// Every class, weakest first.
    pub const ALL: [Self; 4] =
        [Self::OneFactor, Self::TwoFactors, Self::PhishingResistant, Self::PhishingResistantHardware];

    /// The value of the claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneFactor => "urn:keyward:acr:1",
            Self::TwoFactors => "urn:keyward:acr:2",
            Self::PhishingResistant => "phr",
            Self::PhishingResistantHardware => "phrh",
        }
    }

    /// The class of this value; nothing for a value that isn't ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// The classes that are reached where this one is the strongest that can be, weakest first.
    pub fn up_to(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |class| *class <= self)
    }
}

/// What a request asks of the authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AcrNeed {
    /// Nothing.
    #[default]
    None,
    /// Core §3.1.2.1, `acr_values`: one of these if it can be had.
    Voluntary(Vec<Acr>),
    /// Core §5.5.1.1: one of these, or the authentication has failed. Empty where none of the named ones is ours.
    Essential(Vec<Acr>),
}

/// What the authentication at hand is worth to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcrVerdict {
    /// It is enough, and this is the class to state.
    Met(Option<Acr>),
    /// Authenticating anew can meet the need.
    StepUp,
    /// Nothing that this server does can meet it.
    Unmet,
}

impl AcrNeed {
    /// The need that a list of values makes, in the order of preference. Values that aren't ours are passed over.
    pub fn voluntary<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<Acr> = values.into_iter().filter_map(Acr::parse).collect();
        if known.is_empty() { Self::None } else { Self::Voluntary(known) }
    }

    /// The need of an essential `acr` claim (Core §5.5.1.1). Without values any class will do.
    pub fn essential(values: &[Value]) -> Self {
        if values.is_empty() {
            return Self::None;
        }
        Self::Essential(values.iter().filter_map(Value::as_str).filter_map(Acr::parse).collect())
    }

    /// Whether the request fails where the need isn't met.
    pub const fn is_essential(&self) -> bool {
        matches!(self, Self::Essential(_))
    }

    /// Judges an authentication. `reachable` is the strongest class that this server can bring a person to;
    /// `just_done` says that the person has authenticated for this very request.
    pub fn judge(&self, reached: Option<Acr>, reachable: Acr, just_done: bool) -> AcrVerdict {
        let reaches = |class: &Acr| reached.is_some_and(|reached| reached >= *class);
        match self {
            Self::None => AcrVerdict::Met(reached),
            // Core §3.1.2.1: voluntary. What can't be had doesn't stop the request.
            Self::Voluntary(classes) => {
                let worth_trying = !just_done && classes.iter().any(|class| *class <= reachable);
                if classes.iter().any(reaches) || !worth_trying { AcrVerdict::Met(reached) } else { AcrVerdict::StepUp }
            }
            // Core §5.5.1.1: the claim must be one of the values; a stronger authentication states the one it was asked.
            Self::Essential(classes) => {
                if reached.is_some_and(|reached| classes.contains(&reached)) {
                    return AcrVerdict::Met(reached);
                }
                if let Some(class) = classes.iter().copied().filter(|class| reaches(class)).max() {
                    return AcrVerdict::Met(Some(class));
                }
                if classes.iter().any(|class| *class <= reachable) && !just_done {
                    AcrVerdict::StepUp
                } else {
                    AcrVerdict::Unmet
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn essential(values: &[&str]) -> AcrNeed {
        AcrNeed::essential(&values.iter().map(|value| json!(value)).collect::<Vec<_>>())
    }

    #[test]
    fn the_classes_are_ordered_and_have_one_name_each() {
        assert!(Acr::ALL.is_sorted());
        for class in Acr::ALL {
            assert_eq!(Acr::parse(class.as_str()), Some(class));
        }
        assert_eq!(Acr::parse("0"), None);
        assert_eq!(Acr::TwoFactors.up_to().collect::<Vec<_>>(), [Acr::OneFactor, Acr::TwoFactors]);
    }

    #[test]
    fn a_voluntary_need_never_refuses() {
        let need = AcrNeed::voluntary(["urn:keyward:acr:2", "unknown", "urn:keyward:acr:1"]);
        let one = Some(Acr::OneFactor);
        assert_eq!(need.judge(one, Acr::OneFactor, false), AcrVerdict::Met(one));
        let strong = AcrNeed::voluntary(["phr"]);
        assert_eq!(strong.judge(one, Acr::OneFactor, false), AcrVerdict::Met(one), "it can't be had");
        assert_eq!(strong.judge(one, Acr::PhishingResistant, false), AcrVerdict::StepUp);
        assert_eq!(strong.judge(one, Acr::PhishingResistant, true), AcrVerdict::Met(one), "it was tried");
        assert_eq!(AcrNeed::voluntary(["x"]), AcrNeed::None);
    }

    #[test]
    fn an_essential_need_is_met_stepped_up_to_or_refused() {
        let (one, two) = (Some(Acr::OneFactor), Some(Acr::TwoFactors));
        let need = essential(&["urn:keyward:acr:2"]);
        assert_eq!(need.judge(one, Acr::OneFactor, false), AcrVerdict::Unmet);
        assert_eq!(need.judge(one, Acr::TwoFactors, false), AcrVerdict::StepUp);
        assert_eq!(need.judge(one, Acr::TwoFactors, true), AcrVerdict::Unmet);
        assert_eq!(need.judge(two, Acr::TwoFactors, false), AcrVerdict::Met(two));
        assert_eq!(essential(&["urn:keyward:acr:1"]).judge(two, Acr::TwoFactors, false), AcrVerdict::Met(one));
        assert_eq!(essential(&["other"]).judge(two, Acr::TwoFactors, false), AcrVerdict::Unmet);
        assert_eq!(essential(&[]).judge(one, Acr::OneFactor, false), AcrVerdict::Met(one));
        assert_eq!(AcrNeed::essential(&[json!(7)]).judge(one, Acr::OneFactor, false), AcrVerdict::Unmet);
        assert_eq!(essential(&["urn:keyward:acr:1"]).judge(None, Acr::OneFactor, false), AcrVerdict::StepUp);
    }
}
