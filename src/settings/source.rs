//! Where settings come from: the file, the environment, `.env`, the flags. This is the one place that reads the
//! process environment.
//!
//! Leaves out: what the texts mean (`load.rs`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::problem::{Place, SettingsError};

/// The texts that settings are made of. It has no `Debug`, for it holds secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The settings file: its name for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// A `.env` file: its name and its text. It counts only when the environment is `development`.
    pub dot_env: Option<(PathBuf, String)>,
    /// Variables of the process environment, by name; those that don't begin with `KEYWARD_` are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags by the dotted path of their setting. Of two for one setting the later wins.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// Fetches the texts from the machine: the environment, then the file (`config`, else `KEYWARD_CONFIG`, else
    /// `keyward.toml` in the working folder if there is one), then in development `.env` if there is one.
    ///
    /// # Errors
    /// When a named file can't be read, or a variable isn't UTF-8.
    pub fn gather(config: Option<PathBuf>, flags: Vec<(String, String)>) -> Result<Self, SettingsError> {
        let environment = environment()?;
        let by_variable = environment.iter().find(|(name, value)| name == "KEYWARD_CONFIG" && !value.is_empty());
        let named = config.or_else(|| by_variable.map(|(_, path)| PathBuf::from(path)));
        let file = match named {
            Some(path) => Some(read(&path)?),
            None => read_if_present(Path::new("keyward.toml"))?,
        };
        let mut sources = Self { file, dot_env: None, environment, flags };
        if sources.is_development() {
            sources.dot_env = read_if_present(Path::new(".env"))?;
        }
        Ok(sources)
    }

    /// Whether `environment` is `development` by flag, environment or file. What `.env` says of it doesn't count, for
    /// otherwise a stray file could relax a production server.
    pub(super) fn is_development(&self) -> bool {
        let flag = self.flags.iter().rev().find(|(path, _)| path == "environment").map(|(_, value)| value.as_str());
        let variable =
            || self.environment.iter().rev().find(|(name, _)| name == "KEYWARD_ENVIRONMENT").map(|(_, v)| v.as_str());
        if let Some(word) = flag.or_else(variable) {
            return word == "development";
        }
        let Some((_, text)) = &self.file else { return false };
        let (table, _) = DeTable::parse_recoverable(text);
        table.get_ref().get("environment").and_then(|value| value.get_ref().as_str()) == Some("development")
    }
}

/// The variables of the process environment that begin with `KEYWARD_`.
///
/// # Errors
/// When one of them isn't UTF-8.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the process environment")]
pub fn environment() -> Result<Vec<(String, String)>, SettingsError> {
    let mut variables = Vec::new();
    // `std::env::vars` would panic on any foreign variable that isn't UTF-8.
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("KEYWARD_")) else { continue };
        match value.into_string() {
            Ok(value) => variables.push((name.to_owned(), value)),
            Err(_) => return Err(SettingsError::one(Place::Variable(name.to_owned()), "isn't UTF-8".to_owned())),
        }
    }
    // The environment has no order of its own; messages shall come in the same one each time.
    variables.sort();
    Ok(variables)
}

/// Reads a file that must be there.
fn read(path: &Path) -> Result<(PathBuf, String), SettingsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(error) => Err(SettingsError::one(Place::File(path.to_owned()), format!("can't be read: {error}"))),
    }
}

/// Reads a file that needn't be there; any other failure is one.
fn read_if_present(path: &Path) -> Result<Option<(PathBuf, String)>, SettingsError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => read(path).map(Some),
    }
}

/// An assignment in a `.env` file: line from 1, name, value.
pub(super) type Assignment = (usize, String, String);

/// Reads a `.env` file: `NAME=value` lines, with an optional `export`, quotes, and `#` comments. A line that is none of
/// these comes back as an error with its number.
pub(super) fn dot_env(text: &str) -> Vec<Result<Assignment, usize>> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let meant = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    meant.map(|(number, line)| assignment(line).map(|(name, value)| (number, name, value)).ok_or(number)).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let (name, behind) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    for quote in ['"', '\''] {
        if let Some(rest) = behind.trim_start().strip_prefix(quote) {
            let (inside, after) = rest.split_once(quote)?;
            let after = after.trim_start();
            return (after.is_empty() || after.starts_with('#')).then(|| (name.to_owned(), inside.to_owned()));
        }
    }
    // Without quotes a comment begins at a `#` behind white space, so that `a#b` stays one value.
    let end = behind.find(" #").or_else(|| behind.find("\t#")).unwrap_or(behind.len());
    Some((name.to_owned(), behind.get(..end)?.trim().to_owned()))
}
