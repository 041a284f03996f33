//! What is wrong with the settings, and where it stands.
//!
//! Leaves out: finding the problems (`load.rs`) and the words for a single value (`value.rs`).

use std::fmt;
use std::path::PathBuf;

/// Where a setting got its value, or where a problem stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody set it: the default of the table.
    Default,
    /// A line of a file: the settings file or `.env`. Lines count from 1.
    Line {
        /// The file as it was named at the start.
        file: PathBuf,
        /// Line in the file, from 1.
        line: usize,
    },
    /// A file as a whole, for example one that can't be read.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line, named by the path of its setting.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::Line { file, line } => write!(out, "{}:{line}", file.display()),
            Self::File(file) => write!(out, "{}", file.display()),
            Self::Variable(name) => out.write_str(name),
            Self::Flag(path) => write!(out, "flag {path}"),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The setting concerned, as a dotted path; `None` when it is none of the known ones.
    pub path: Option<&'static str>,
    /// What is wrong, as one sentence. Never holds the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.place)?;
        if let Some(path) = self.path {
            write!(out, "{path}: ")?;
        }
        out.write_str(&self.message)
    }
}

/// The settings were refused. Holds everything that was found wrong, not only the first thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The problems, those of the file first, in the order of their lines.
    pub problems: Vec<Problem>,
}

impl SettingsError {
    /// An error with a single problem that belongs to no setting.
    pub(super) fn one(place: Place, message: String) -> Self {
        Self { problems: vec![Problem { place, path: None, message }] }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
