//! What a setting is: its name, default, kind, meaning, and when a choice is weak. The settings themselves are in
//! `table/`.

use super::table::find;
use super::{Seconds, Settings};

/// What is wrong with an item of a list: its index and a sentence.
pub(super) type ItemProblem = (usize, String);

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name: `section.name`, or a lone name.
    pub path: &'static str,
    /// Its default, as TOML writes it.
    pub default: &'static str,
    /// What values it takes, and the field they go to.
    pub kind: Kind,
    /// Its meaning, in one or a few sentences.
    pub doc: &'static str,
    /// Whether its value is a secret: never shown, never taken from a flag, and readable from a file.
    pub secret: bool,
    /// When its value is weaker than it should be.
    pub weak: Option<Weak>,
    /// For a setting that can't change while the server runs: puts the running server's value into fresh settings, and
    /// says whether they had another.
    pub keep: Option<fn(&mut Settings, &Settings) -> bool>,
}

/// A choice that works but that an operator should know to be weak.
#[derive(Debug)]
pub struct Weak {
    /// Whether the settings make this choice.
    pub when: fn(&Settings) -> bool,
    /// What the choice means, in one sentence.
    pub says: &'static str,
}

/// What values a setting takes, and the field they go to.
#[derive(Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag(fn(&mut Settings, bool)),
    /// A whole number within bounds, both included.
    Integer {
        /// Least value.
        least: u32,
        /// Greatest value.
        most: u32,
        /// Puts the value into its field.
        put: fn(&mut Settings, u32),
    },
    /// A span of time within bounds, both included.
    Duration {
        /// Shortest span.
        least: Seconds,
        /// Longest span.
        most: Seconds,
        /// Puts the value into its field.
        put: fn(&mut Settings, Seconds),
    },
    /// One of a few words.
    Choice {
        /// The words.
        among: &'static [&'static str],
        /// Puts a word into its field. It is given only words of the list.
        put: fn(&mut Settings, &str),
    },
    /// A text with a form of its own.
    Text {
        /// What the text is, for people: "a URL".
        what: &'static str,
        /// Checks the text and puts it into its field, or says what is wrong.
        put: fn(&mut Settings, &str) -> Result<(), String>,
    },
    /// A list of texts.
    List {
        /// What its items are, for people: "networks".
        what: &'static str,
        /// Checks the items and puts them into their field, or says what is wrong with which.
        put: fn(&mut Settings, &[&str]) -> Result<(), ItemProblem>,
    },
}

impl Kind {
    /// The values in words: "a whole number from 1 to 1000".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Flag(_) => "true or false".to_owned(),
            Self::Integer { least, most, .. } => format!("a whole number from {least} to {most}"),
            Self::Duration { least, most, .. } => {
                format!("a duration from {least} to {most}, such as \"30s\", \"15m\", \"12h\" or \"7d\"")
            }
            Self::Choice { among, .. } => format!("\"{}\"", among.join("\" or \"")),
            Self::Text { what, .. } => (*what).to_owned(),
            Self::List { what, .. } => format!("a list of {what}"),
        }
    }
}

impl Setting {
    /// The environment variable of this setting: `KEYWARD_SERVER_LISTEN` for `server.listen`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("KEYWARD_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// For a secret: the environment variable that names a file to read it from. `None` where a setting of that very
    /// name exists (`keys.master_key_file`), which serves the same end.
    #[must_use]
    pub fn file_variable(&self) -> Option<String> {
        let file = format!("{}_file", self.path);
        (self.secret && find(&file).is_none()).then(|| format!("{}_FILE", self.variable()))
    }

    /// Its section, or `""` for a setting outside of all sections.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its name within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    pub(super) const fn new(path: &'static str, default: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { path, default, kind, doc, secret: false, weak: None, keep: None }
    }

    pub(super) const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Marks a setting that waits for the next start.
    pub(super) const fn fixed(self, keep: fn(&mut Settings, &Settings) -> bool) -> Self {
        Self { keep: Some(keep), ..self }
    }

    pub(super) const fn weak(self, when: fn(&Settings) -> bool, says: &'static str) -> Self {
        Self { weak: Some(Weak { when, says }), ..self }
    }
}
