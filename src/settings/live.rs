//! The settings of a running server, which an operator may change (SIGHUP, requirement OP-4): what can change at once does,
//! what can't stays as it was at the start.
//!
//! Leaves out: when they are read anew (`serve`).

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::{ExposeSecret, SecretString};

use super::table;
use super::{Place, Settings, SettingsError};

/// Settings that can be replaced while others read them. Who holds a reference keeps what it has read; each new look sees
/// the newest.
///
/// The versions are a chain that only grows: so a look needs neither a lock nor a count, and gives a plain reference. A
/// version is some kilobytes, and there are as many as an operator had the settings read anew.
#[derive(Debug)]
pub struct LiveSettings {
    first: Box<Version>,
    replaced: AtomicUsize,
}

/// Replacements of one run. Far more than any operator makes; it bounds memory and the length of a look.
const MOST_REPLACEMENTS: usize = 1000;

#[derive(Debug)]
struct Version {
    settings: Settings,
    next: OnceLock<Box<Self>>,
}

impl From<Settings> for LiveSettings {
    fn from(settings: Settings) -> Self {
        Self { first: Box::new(Version { settings, next: OnceLock::new() }), replaced: AtomicUsize::new(0) }
    }
}

impl Deref for LiveSettings {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        let mut version = &self.first;
        while let Some(next) = version.next.get() {
            version = next;
        }
        &version.settings
    }
}

impl LiveSettings {
    /// Takes over what can change at once. The names of settings that differ and wait for the next start are the answer.
    ///
    /// # Errors
    /// Where the settings contradict those that stay, or were replaced absurdly often: then nothing changes.
    pub fn replace(&self, mut fresh: Settings) -> Result<Vec<&'static str>, SettingsError> {
        if self.replaced.fetch_add(1, Ordering::Relaxed) >= MOST_REPLACEMENTS {
            let message = "the settings were read anew too often; start the server again";
            return Err(SettingsError::one(Place::Default, message.to_owned()));
        }
        let mut waiting = Vec::new();
        for setting in table::all() {
            let Some(keep) = setting.keep else { continue };
            let differs = keep(&mut fresh, self);
            if differs {
                waiting.push(setting.path);
            }
            // Whether anybody set it stays too, even to the same value: there are rules that ask for it.
            let is_set = |settings: &Settings| *settings.place_of(setting.path) != Place::Default;
            if differs || is_set(&fresh) != is_set(self) {
                fresh.keep_place(setting.path, self);
            }
        }
        fresh.check_together()?;
        let mut fresh = Box::new(Version { settings: fresh, next: OnceLock::new() });
        let mut version = &self.first;
        // Behind the newest, and behind what somebody else appends at the same moment.
        while let Err(refused) = version.next.set(fresh) {
            fresh = refused;
            if let Some(next) = version.next.get() {
                version = next;
            }
        }
        Ok(waiting)
    }
}

/// Keeps what the server was started with; whether the operator wants something else.
pub(super) fn keep<T: Clone + PartialEq>(fresh: &mut T, running: &T) -> bool {
    let differs = fresh != running;
    if differs {
        *fresh = running.clone();
    }
    differs
}

/// The same for a secret.
pub(super) fn keep_secret(fresh: &mut Option<SecretString>, running: &Option<SecretString>) -> bool {
    let text = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
    let differs = text(fresh) != text(running);
    fresh.clone_from(running);
    differs
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::settings::{MasterKeySource, Seconds, Sources};

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let live = LiveSettings::from(Settings::default());
        let mut fresh = Settings::default();
        fresh.tokens.access_token_lifetime = Seconds(60);
        fresh.server.listen = ([127, 0, 0, 1], 4711).into();
        fresh.database.url = "sqlite:other.db".into();
        let before = &live.tokens;
        assert_eq!(live.replace(fresh).unwrap(), ["server.listen", "database.url"]);
        assert_eq!(live.tokens.access_token_lifetime, Seconds(60));
        assert_eq!(before.access_token_lifetime, Seconds::minutes(30), "who has read keeps what was read");
        assert_eq!(live.server.listen.port(), 4000);
        assert_eq!(live.replace(Settings::default()).unwrap(), Vec::<&str>::new());
        assert_eq!(live.tokens.access_token_lifetime, Seconds::minutes(30));
    }

    #[test]
    fn a_master_key_that_moves_waits_for_the_next_start() {
        let load = |file: &str| {
            let file = Some((PathBuf::from("keyward.toml"), file.to_owned()));
            Settings::load(&Sources { file, ..Sources::default() }).unwrap()
        };
        let live = LiveSettings::from(load("keys.master_key_aws = \"keyward\""));
        // A file by the name that is the default, said aloud: no contradiction to the secret that stays until then.
        let fresh = load("keys.master_key_file = \"master.key\"\n[tokens]\naccess_token_lifetime = \"5m\"");
        assert_eq!(live.replace(fresh).unwrap(), ["keys.master_key_aws"]);
        assert!(matches!(live.master_key_source(), MasterKeySource::Aws(_)));
        assert_eq!(live.tokens.access_token_lifetime, Seconds::minutes(5));
    }

    #[test]
    fn what_contradicts_the_settings_that_stay_changes_nothing() {
        let live = LiveSettings::from(Settings::default());
        let mut fresh = Settings::default();
        fresh.sessions.idle_timeout = Seconds::days(60);
        fresh.sessions.absolute_timeout = Seconds::days(30);
        assert!(live.replace(fresh).is_err());
        assert_eq!(live.sessions.idle_timeout, Seconds::hours(12));
    }
}
