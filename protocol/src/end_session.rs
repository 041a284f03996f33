//! RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0 §2, §3, §6).

/// What is known of a logout request after its hint was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutFacts {
    /// Somebody is signed in at this browser.
    pub signed_in: bool,
    /// A hint was there and is one of our ID tokens, for the client that the request names.
    pub hint_verified: bool,
    /// The hint's subject and session are those of this browser's session.
    pub hint_is_this_session: bool,
    /// A post-logout redirect URI was there and is registered for the client.
    pub redirect_proven: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoutStep {
    /// End the session without a question.
    EndSession {
        /// Whether the browser goes back to the client.
        redirect: bool,
    },
    /// Ask the person (§2: the hint is absent, changed or foreign); no redirect follows.
    Confirm,
    /// Nobody is signed in: there is nothing to end.
    AlreadyOut {
        /// Whether the browser goes back to the client.
        redirect: bool,
    },
}

/// Decides about a logout request (protocol decision 29).
pub fn decide(facts: LogoutFacts) -> LogoutStep {
    // §3: a redirect needs a registered URI and confidence in the request, which only a verified hint gives.
    let redirect = facts.hint_verified && facts.redirect_proven;
    if !facts.signed_in {
        return LogoutStep::AlreadyOut { redirect };
    }
    // §2: the hint's session is this one: the client speaks for the person.
    if facts.hint_verified && facts.hint_is_this_session {
        return LogoutStep::EndSession { redirect };
    }
    LogoutStep::Confirm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_verified_hint_of_this_session_ends_it_unasked() {
        for bits in 0..16u8 {
            let facts = LogoutFacts {
                signed_in: bits & 1 != 0,
                hint_verified: bits & 2 != 0,
                hint_is_this_session: bits & 4 != 0,
                redirect_proven: bits & 8 != 0,
            };
            let step = decide(facts);
            if matches!(step, LogoutStep::EndSession { .. }) {
                assert!(facts.signed_in && facts.hint_verified && facts.hint_is_this_session);
            }
            if matches!(step, LogoutStep::EndSession { redirect: true } | LogoutStep::AlreadyOut { redirect: true }) {
                assert!(facts.hint_verified && facts.redirect_proven);
            }
        }
    }
}
