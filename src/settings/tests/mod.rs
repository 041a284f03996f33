//! The settings as a whole: precedence, mistyped names, every bound and rule, secrets, the example and the table.

mod answers;
mod secrets;
mod sources;
mod table;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::table::find;
use super::*;

const FILE: &str = "keyward.toml";

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Sources {
        file: Some((PathBuf::from(FILE), file.to_owned())),
        dot_env: None,
        environment: owned(environment),
        flags: owned(flags),
    }
}

fn load(file: &str) -> Result<Settings, SettingsError> {
    Settings::load(&sources(file, &[], &[]))
}

/// The problems of a file, as an operator reads them.
fn problems(file: &str) -> String {
    load(file).unwrap_err().to_string()
}

/// All values for a comparison, secrets included; not the places.
fn values(settings: &Settings) -> String {
    let mut settings = settings.clone();
    settings.places.clear();
    let secrets = [&settings.keys.master_key, &settings.vault.token, &settings.vault.secret_id];
    let secrets = secrets.map(|secret| secret.as_ref().map(|secret| secret.expose_secret().to_owned()));
    format!("{settings:?} {} {secrets:?}", settings.database.url.expose_secret())
}

/// Writes a file into a folder and answers with its path.
fn file_in(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
