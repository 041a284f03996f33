//! Notes in memory, with bounds: nobody can fill the machine.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

const MAX_PEOPLE: usize = 10_000;
const MAX_NOTES_EACH: usize = 100;
const MAX_CHARACTERS: usize = 1000;

/// A note as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNote {
    text: String,
}

impl NewNote {
    /// The text, without space around it, if it has a length that can be kept.
    pub(crate) fn acceptable(&self) -> Option<&str> {
        let text = self.text.trim();
        (1..=MAX_CHARACTERS).contains(&text.chars().count()).then_some(text)
    }
}

/// A note as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Note {
    id: usize,
    text: String,
}

/// No room for another note.
#[derive(Debug, PartialEq)]
pub(crate) struct Full;

/// The notes of all subjects.
#[derive(Default)]
pub(crate) struct Notes {
    by_subject: Mutex<HashMap<String, Vec<Note>>>,
}

impl Notes {
    pub(crate) fn of(&self, subject: &str) -> Vec<Note> {
        self.lock().get(subject).cloned().unwrap_or_default()
    }

    pub(crate) fn keep(&self, subject: &str, text: &str) -> Result<Note, Full> {
        let mut all = self.lock();
        if !all.contains_key(subject) && all.len() >= MAX_PEOPLE {
            return Err(Full);
        }
        let own = all.entry(subject.to_owned()).or_default();
        if own.len() >= MAX_NOTES_EACH {
            return Err(Full);
        }
        let note = Note { id: own.len() + 1, text: text.to_owned() };
        own.push(note.clone());
        Ok(note)
    }

    /// How many subjects have notes, and how many notes there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        let all = self.lock();
        (all.len(), all.values().map(Vec::len).sum())
    }

    /// Each change is one push, so notes are whole even after a panic of another holder.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Note>>> {
        self.by_subject.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_bounded_and_kept_apart() {
        let notes = Notes::default();
        for number in 1..=MAX_NOTES_EACH {
            assert_eq!(notes.keep("alice", "x").unwrap().id, number);
        }
        assert_eq!(notes.keep("alice", "x"), Err(Full));
        assert!(notes.keep("bob", "y").is_ok());
        assert_eq!((notes.of("bob").len(), notes.of("carol").len()), (1, 0));
        assert_eq!(notes.count(), (2, MAX_NOTES_EACH + 1));
        for number in 2..MAX_PEOPLE {
            notes.keep(&number.to_string(), "z").unwrap();
        }
        assert_eq!(notes.keep("one too many", "z"), Err(Full));
        assert!(notes.keep("bob", "y").is_ok());
    }

    #[test]
    fn a_note_has_a_length() {
        let acceptable = |text: &str| NewNote { text: text.to_owned() }.acceptable().map(str::to_owned);
        assert_eq!(acceptable(" milk \n"), Some("milk".to_owned()));
        assert_eq!(acceptable(" \t\n"), None);
        assert!(acceptable(&"é".repeat(MAX_CHARACTERS)).is_some());
        assert!(acceptable(&"é".repeat(MAX_CHARACTERS + 1)).is_none());
    }
}
