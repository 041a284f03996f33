//! `keyward config`: checks the settings, and prints the commented example and the reference page.

use clap::Subcommand;
use serde_json::json;

use super::output::{Failure, Report, table};
use crate::settings::{self, Place, Settings};

/// What to do with settings.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the settings, show weak choices and where each one that isn't a default comes from
    Check,
    /// Print a settings file with every setting, its meaning and its default
    Example,
    /// Print the reference page of all settings, in Markdown
    Reference,
}

/// Runs it; `load` reads the settings where they are needed.
pub(super) fn run(command: ConfigCommand, load: impl FnOnce() -> Result<Settings, Failure>) -> Result<Report, Failure> {
    match command {
        ConfigCommand::Check => Ok(check(&load()?)),
        ConfigCommand::Example => {
            let text = settings::example();
            Ok(Report { json: json!({ "example": text }), text })
        }
        ConfigCommand::Reference => {
            let text = settings::reference();
            Ok(Report { json: json!({ "reference": text }), text })
        }
    }
}

/// The values stay out of the report: some are secrets, and the place says where to look.
fn check(settings: &Settings) -> Report {
    let set: Vec<(&str, String)> = settings::all()
        .map(|setting| (setting.path, settings.place_of(setting.path)))
        .filter(|(_, place)| **place != Place::Default)
        .map(|(path, place)| (path, place.to_string()))
        .collect();
    let warnings = settings.warnings();
    let json = json!({
        "issuer": settings.issuer(),
        "settings": set.iter().map(|(path, place)| json!({ "name": path, "place": place })).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    let rows = set.into_iter().map(|(path, place)| [path.to_owned(), place]).collect();
    let mut text = table(["SETTING", "SET BY"], rows, "every setting has its default");
    for warning in &warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str("the settings are in order\n");
    Report { json, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    #[test]
    fn a_check_names_places_and_weak_choices_but_no_values() {
        let flags = vec![("passwords.min_length".to_owned(), "7".to_owned())];
        let environment = vec![("KEYWARD_KEYS_MASTER_KEY".to_owned(), "A".repeat(43))];
        let settings = Settings::load(&Sources { flags, environment, ..Sources::default() }).unwrap();
        let report = check(&settings);
        assert!(report.text.contains("passwords.min_length  flag passwords.min_length\n"), "{}", report.text);
        assert!(report.text.contains("warning: "), "{}", report.text);
        assert!(report.json["settings"].as_array().unwrap().iter().any(|row| row["name"] == "keys.master_key"));
        assert!(!report.json.to_string().contains("AAAA") && !report.text.contains("AAAA"));
    }

    #[test]
    fn defaults_are_in_order() {
        let report = check(&Settings::default());
        assert_eq!(report.json["settings"], json!([]));
        assert!(report.text.starts_with("every setting has its default\n"));
    }
}
