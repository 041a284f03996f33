//! Tasks in memory, with bounds: nobody can fill the machine.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAX_PEOPLE: usize = 10_000;
const MAX_TASKS: usize = 100;
/// The longest task. In characters.
const MAX_LENGTH: usize = 500;

/// Why a task isn't kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Empty or too long.
    Unfit,
    /// There is no room.
    Full,
}

/// Everybody's tasks, by subject.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<HashMap<String, Vec<String>>>);

impl Tasks {
    /// The tasks of one person, in the order in which they came.
    pub(crate) fn of(&self, subject: &str) -> Vec<String> {
        self.all().get(subject).cloned().unwrap_or_default()
    }

    /// Keeps a task and says how many there are now.
    pub(crate) fn add(&self, subject: &str, text: &str) -> Result<usize, Refused> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_LENGTH {
            return Err(Refused::Unfit);
        }
        let mut all = self.all();
        if !all.contains_key(subject) && all.len() == MAX_PEOPLE {
            return Err(Refused::Full);
        }
        let own = all.entry(subject.to_owned()).or_default();
        if own.len() == MAX_TASKS {
            return Err(Refused::Full);
        }
        own.push(text.to_owned());
        Ok(own.len())
    }

    /// A thread that panicked has left no half-made change behind: each change is one push.
    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_have_bounds_and_owners() {
        let tasks = Tasks::default();
        for unfit in ["", "  ", &"x".repeat(MAX_LENGTH + 1)] {
            assert_eq!(tasks.add("ada", unfit), Err(Refused::Unfit));
        }
        for count in 1..=MAX_TASKS {
            assert_eq!(tasks.add("ada", " milk "), Ok(count));
        }
        assert_eq!(tasks.add("ada", "bread"), Err(Refused::Full));
        assert_eq!(tasks.of("ada").first().unwrap(), "milk");
        assert_eq!(tasks.of("bob"), Vec::<String>::new());
    }
}
