//! From the texts of the sources to checked settings. Everything that is wrong is found in one go, each with its place
//! and, for a mistyped name, the nearest known one.
//!
//! Leaves out: fetching the texts (`source.rs`), the rules of a single value (`table/`, `value.rs`).

use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};
use zeroize::Zeroizing;

use super::problem::{Place, Problem, SettingsError};
use super::setting::{Kind, Setting};
use super::source::{Sources, dot_env};
use super::table;
use super::{Settings, value};

/// A value as a source writes it.
enum Raw<'a> {
    /// From a variable or a flag.
    Text(&'a str),
    /// From the file.
    Toml(&'a DeValue<'a>),
}

/// What is wrong with a value.
struct Wrong {
    /// The item of a list that is meant, where it is one.
    item: Option<usize>,
    message: String,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { item: None, message }
    }
}

impl Settings {
    /// Makes settings of the sources: flags win over the environment, that over `.env` (which counts in development
    /// only), that over the file, that over the defaults.
    ///
    /// Reads nothing but the files that a variable `KEYWARD_…_FILE` names for a secret.
    ///
    /// # Errors
    /// Everything that is wrong: unknown names, wrong types, values out of range, settings that contradict each other.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        let mut loading = Loading { settings: Self::default(), problems: Vec::new() };
        if let Some((file, text)) = &sources.file {
            loading.take_file(file, text);
        }
        if let Some((file, text)) = &sources.dot_env
            && sources.is_development()
        {
            loading.take_dot_env(file, text);
        }
        let variables = sources.environment.iter();
        loading.take_variables(variables.map(|(name, value)| (Place::Variable(name.clone()), name.as_str(), value)));
        for (path, value) in &sources.flags {
            loading.take_flag(path, value);
        }
        loading.check_together();
        let Loading { settings, mut problems } = loading;
        if problems.is_empty() {
            return Ok(settings);
        }
        let settings_file = sources.file.as_ref().map(|(file, _)| file);
        problems.sort_by_key(|problem| match &problem.place {
            Place::File(_) => (0, 0),
            Place::Line { file, line } if Some(file) == settings_file => (0, *line),
            Place::Line { line, .. } => (1, *line),
            Place::Variable(_) => (2, 0),
            Place::Flag(_) | Place::Default => (3, 0),
        });
        Err(SettingsError { problems })
    }
}

impl Settings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// What contradicts what.
    pub(super) fn check_together(&mut self) -> Result<(), SettingsError> {
        let mut loading = Loading { settings: std::mem::take(self), problems: Vec::new() };
        loading.check_together();
        *self = loading.settings;
        if loading.problems.is_empty() { Ok(()) } else { Err(SettingsError { problems: loading.problems }) }
    }
}

/// Settings on their way, and what was wrong so far.
struct Loading {
    settings: Settings,
    problems: Vec<Problem>,
}

impl Loading {
    fn refuse(&mut self, place: Place, path: Option<&'static str>, message: impl Into<String>) {
        self.problems.push(Problem { place, path, message: message.into() });
    }

    fn take_file(&mut self, file: &Path, text: &str) {
        let place = |offset: Option<usize>| match offset {
            Some(offset) => Place::Line { file: file.to_owned(), line: line_of(text, offset) },
            None => Place::File(file.to_owned()),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        // What the parser makes of a broken file would only lead to problems that aren't there.
        if !errors.is_empty() {
            for error in errors {
                let message = error.message().replace('\n', ", ");
                self.refuse(place(error.span().map(|span| span.start)), None, message);
            }
            return;
        }
        self.take_table(table.get_ref(), "", &place);
    }

    fn take_table(&mut self, table: &DeTable<'_>, section: &str, place: &dyn Fn(Option<usize>) -> Place) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            let here = place(Some(key.span().start));
            // A quoted key with dots is one key for TOML; taken as a path it could set the same thing twice.
            if name.contains('.') {
                self.refuse(here, None, format!("unknown setting {path:?}; write its name without quotes"));
            } else if let Some(setting) = table::find(&path) {
                self.take_toml(setting, value, here, place);
            } else if table::sections().any(|(section, _)| section == path) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.take_table(inner, &path, place),
                    _ => self.refuse(here, None, format!("{path} is a section; write its settings below [{path}]")),
                }
            } else if value.get_ref().is_table() {
                let known = table::sections().map(|(section, _)| section.to_owned());
                let known = known.filter(|section| !section.is_empty());
                self.refuse(here, None, unknown("section", &path, known));
            } else {
                self.refuse(here, None, unknown("setting", &path, table::all().map(|setting| setting.path.to_owned())));
            }
        }
    }

    fn take_toml(
        &mut self,
        setting: &'static Setting,
        value: &Spanned<DeValue<'_>>,
        key: Place,
        place: &dyn Fn(Option<usize>) -> Place,
    ) {
        if let Err(wrong) = put(&mut self.settings, setting, &Raw::Toml(value.get_ref())) {
            let item = wrong.item.and_then(|index| value.get_ref().as_array()?.get(index));
            let at = item.map_or(key, |item| place(Some(item.span().start)));
            self.refuse(at, Some(setting.path), wrong.message);
        } else {
            self.settings.places.insert(setting.path, key);
        }
    }

    fn take_text(&mut self, setting: &'static Setting, text: &str, place: Place) {
        match put(&mut self.settings, setting, &Raw::Text(text)) {
            Ok(()) => {
                self.settings.places.insert(setting.path, place);
            }
            Err(wrong) => self.refuse(place, Some(setting.path), wrong.message),
        }
    }

    fn take_dot_env(&mut self, file: &Path, text: &str) {
        let place = |line| Place::Line { file: file.to_owned(), line };
        let mut assignments = Vec::new();
        for assignment in dot_env(text) {
            match assignment {
                Ok((line, name, value)) => assignments.push((place(line), name, value)),
                Err(line) => self.refuse(place(line), None, "isn't NAME=value, a comment or an empty line"),
            }
        }
        // `.env` is read because the environment is known already; here these two would come too late.
        for (place, name, value) in &assignments {
            if name == "KEYWARD_CONFIG" || (name == "KEYWARD_ENVIRONMENT" && value != "development") {
                self.refuse(place.clone(), None, format!("{name} can't be set in this file, which is read after it"));
            }
        }
        self.take_variables(assignments.iter().map(|(place, name, value)| (place.clone(), name.as_str(), value)));
    }

    fn take_variables<'a>(&mut self, variables: impl Iterator<Item = (Place, &'a str, &'a String)>) {
        let mut seen = Vec::new();
        for (place, name, text) in variables {
            // KEYWARD_TEST_… is for the project's tests, and KEYWARD_CONFIG has named the file already.
            if !name.starts_with("KEYWARD_") || name.starts_with("KEYWARD_TEST_") || name == "KEYWARD_CONFIG" {
                continue;
            }
            if let Some(setting) = table::all().find(|setting| setting.variable() == name) {
                self.take_text(setting, text, place);
            } else if let Some(setting) = table::all().find(|setting| setting.file_variable().as_deref() == Some(name))
            {
                self.take_secret_file(setting, text, place);
            } else {
                let plain = table::all().map(Setting::variable);
                let known = plain.chain(table::all().filter_map(Setting::file_variable));
                self.refuse(place, None, unknown("variable", name, known));
                continue;
            }
            if !text.is_empty() {
                seen.push(name.to_owned());
            }
        }
        // Two sources of equal rank for one secret: which one counts would be an accident.
        for setting in table::all() {
            let Some(file_variable) = setting.file_variable() else { continue };
            let variable = setting.variable();
            if seen.contains(&variable) && seen.contains(&file_variable) {
                let message = format!("is set beside {variable}; keep one of the two");
                self.refuse(Place::Variable(file_variable), Some(setting.path), message);
            }
        }
    }

    /// Reads a secret from the file that a variable names. One line end behind the secret doesn't belong to it.
    fn take_secret_file(&mut self, setting: &'static Setting, file: &str, place: Place) {
        // As with other variables, an empty one is as good as none.
        if file.is_empty() {
            return;
        }
        let text = match std::fs::read_to_string(file) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => return self.refuse(place, Some(setting.path), format!("{file:?} can't be read: {error}")),
        };
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if secret.is_empty() {
            return self.refuse(place, Some(setting.path), format!("{file:?} is empty"));
        }
        self.take_text(setting, secret, place);
    }

    fn take_flag(&mut self, path: &str, text: &str) {
        let place = Place::Flag(path.to_owned());
        let Some(setting) = table::find(path) else {
            let known = table::all().map(|setting| setting.path.to_owned());
            return self.refuse(place, None, unknown("setting", path, known));
        };
        // Arguments of a process are shown to every user of the machine. The path of an SQLite file is no secret.
        if setting.secret && value::sqlite_path(text).is_none() {
            let variable = setting.file_variable().unwrap_or_else(|| setting.variable());
            let message = format!("a secret isn't taken from the command line; use {variable} or the settings file");
            return self.refuse(place, Some(setting.path), message);
        }
        self.take_text(setting, text, place);
    }

    /// Checks settings against each other, but for those that are wrong by themselves.
    fn check_together(&mut self) {
        for rule in RULES {
            let wrong_already = |path: &&str| self.problems.iter().any(|problem| problem.path == Some(*path));
            if rule.paths.iter().any(wrong_already) {
                continue;
            }
            let Some(message) = (rule.broken)(&self.settings) else { continue };
            let set = rule.paths.iter().find(|path| self.settings.places.contains_key(**path));
            let path = set.or(rule.paths.first()).copied();
            let place = self.settings.place_of(path.unwrap_or_default()).clone();
            self.refuse(place, path, message);
        }
    }
}

/// A rule between settings.
struct Rule {
    /// The settings it binds. A breach is reported at the first of them that somebody set.
    paths: &'static [&'static str],
    /// The sentence to say when it is broken.
    broken: fn(&Settings) -> Option<String>,
}

/// The sentence, when the rule is broken.
fn says(broken: bool, sentence: &str) -> Option<String> {
    broken.then(|| sentence.to_owned())
}

/// The sentence, when the first span is longer than the second.
fn longer(first: (&str, value::Seconds), second: (&str, value::Seconds)) -> Option<String> {
    (first.1 > second.1).then(|| format!("{} ({}) is longer than {} ({})", first.0, first.1, second.0, second.1))
}

/// The rules between settings.
static RULES: &[Rule] = &[
    Rule {
        paths: &["server.tls_certificate_file", "server.tls_key_file"],
        broken: |s| {
            let one = s.server.tls_certificate_file.is_some() != s.server.tls_key_file.is_some();
            says(one, "server.tls_certificate_file and server.tls_key_file need each other")
        },
    },
    Rule {
        paths: &["server.tls_certificate_file", "public_url"],
        broken: |s| {
            let mixed = s.serves_tls() && !s.is_https();
            says(mixed, "the server speaks TLS, so public_url must begin with https://")
        },
    },
    Rule {
        paths: &["server.http_redirect_listen", "public_url"],
        broken: |s| {
            let nowhere = s.server.http_redirect_listen.is_some() && !s.is_https();
            says(nowhere, "redirects to public_url, which must begin with https:// for that")
        },
    },
    Rule {
        paths: &["server.http_redirect_listen", "server.listen"],
        broken: |s| {
            let same = s.server.listen.port() != 0 && s.server.http_redirect_listen == Some(s.server.listen);
            says(same, "server.http_redirect_listen and server.listen are the same address")
        },
    },
    Rule {
        // Which of two counts would be an accident.
        paths: &["keys.master_key", "keys.master_key_vault", "keys.master_key_aws", "keys.master_key_file"],
        broken: |s| {
            let set = [
                ("keys.master_key", s.keys.master_key.is_some()),
                ("keys.master_key_vault", s.keys.master_key_vault.is_some()),
                ("keys.master_key_aws", s.keys.master_key_aws.is_some()),
                ("keys.master_key_file", *s.place_of("keys.master_key_file") != Place::Default),
            ];
            let set: Vec<_> = set.into_iter().filter_map(|(path, is_set)| is_set.then_some(path)).collect();
            (set.len() > 1).then(|| format!("{} are set together; keep one of them", set.join(" and ")))
        },
    },
    Rule {
        paths: &["keys.master_key_vault", "vault.address"],
        broken: |s| {
            let nowhere = s.keys.master_key_vault.is_some() && s.vault.address.is_none();
            says(nowhere, "keys.master_key_vault needs vault.address")
        },
    },
    Rule {
        paths: &["keys.master_key_vault", "vault.token", "vault.role_id"],
        broken: |s| {
            let unknown = s.keys.master_key_vault.is_some() && s.vault.token.is_none() && s.vault.role_id.is_none();
            says(unknown, "keys.master_key_vault needs vault.token, or vault.role_id")
        },
    },
    Rule {
        paths: &["vault.token", "vault.role_id"],
        broken: |s| {
            let both = s.vault.token.is_some() && s.vault.role_id.is_some();
            says(both, "vault.token and vault.role_id are both set; keep one of the two")
        },
    },
    Rule {
        paths: &["vault.secret_id", "vault.role_id"],
        broken: |s| {
            let alone = s.vault.secret_id.is_some() && s.vault.role_id.is_none();
            says(alone, "vault.secret_id needs vault.role_id")
        },
    },
    Rule {
        paths: &["tokens.access_token_algorithm", "keys.algorithms"],
        broken: |s| {
            let without_key = !s.keys.algorithms.contains(&s.tokens.access_token_algorithm);
            says(without_key, "tokens.access_token_algorithm must be one of keys.algorithms")
        },
    },
    Rule {
        paths: &["tokens.refresh_token_idle_lifetime", "tokens.refresh_token_absolute_lifetime"],
        broken: |s| {
            longer(
                ("tokens.refresh_token_idle_lifetime", s.tokens.refresh_token_idle_lifetime),
                ("tokens.refresh_token_absolute_lifetime", s.tokens.refresh_token_absolute_lifetime),
            )
        },
    },
    Rule {
        paths: &["tokens.refresh_grace", "tokens.refresh_token_idle_lifetime"],
        broken: |s| {
            longer(
                ("tokens.refresh_grace", s.tokens.refresh_grace),
                ("tokens.refresh_token_idle_lifetime", s.tokens.refresh_token_idle_lifetime),
            )
        },
    },
    Rule {
        // A key is published for some minutes before it signs and for the life of its tokens afterwards: rotating more
        // often than hourly only makes the JWK Set long.
        paths: &["keys.rotation_interval"],
        broken: |s| {
            let interval = s.keys.rotation_interval.as_secs();
            says(interval > 0 && interval < 3600, "keys.rotation_interval must be 0 or at least 1h")
        },
    },
    Rule {
        paths: &["sessions.idle_timeout", "sessions.absolute_timeout"],
        broken: |s| {
            longer(
                ("sessions.idle_timeout", s.sessions.idle_timeout),
                ("sessions.absolute_timeout", s.sessions.absolute_timeout),
            )
        },
    },
    Rule {
        // A session whose use is written down too late would end while it is in use.
        paths: &["sessions.touch_interval", "sessions.idle_timeout"],
        broken: |s| {
            longer(
                ("sessions.touch_interval", s.sessions.touch_interval),
                ("sessions.idle_timeout", s.sessions.idle_timeout),
            )
        },
    },
    Rule {
        paths: &["outbound.connect_timeout", "outbound.timeout"],
        broken: |s| {
            longer(("outbound.connect_timeout", s.outbound.connect_timeout), ("outbound.timeout", s.outbound.timeout))
        },
    },
    Rule {
        paths: &["passwords.argon2_memory_kib", "passwords.argon2_parallelism"],
        broken: |s| {
            // RFC 9106 §3.1: at least 8 KiB of memory for each lane.
            let least = s.passwords.argon2_parallelism.saturating_mul(8);
            says(
                s.passwords.argon2_memory_kib < least,
                "passwords.argon2_memory_kib must be at least 8 times passwords.argon2_parallelism (RFC 9106 §3.1)",
            )
        },
    },
];

/// Checks a value and puts it into its field. On an error the settings stay as they were.
fn put(settings: &mut Settings, setting: &Setting, raw: &Raw<'_>) -> Result<(), Wrong> {
    let wanted = |found: &str| format!("must be {}, not {found}", setting.kind.describe());
    match (&setting.kind, raw) {
        (Kind::Flag(put), Raw::Text("true") | Raw::Toml(DeValue::Boolean(true))) => put(settings, true),
        (Kind::Flag(put), Raw::Text("false") | Raw::Toml(DeValue::Boolean(false))) => put(settings, false),
        (Kind::Integer { least, most, put }, Raw::Text(_) | Raw::Toml(DeValue::Integer(_))) => {
            let number = match raw {
                Raw::Text(text) => value::whole_number(text),
                Raw::Toml(value) => value.as_integer().and_then(unsigned).and_then(|number| u32::try_from(number).ok()),
            };
            put(
                settings,
                number.filter(|number| (least..=most).contains(&number)).ok_or_else(|| wanted(&shown(setting, raw)))?,
            );
        }
        (Kind::Duration { least, most, put }, Raw::Text(_) | Raw::Toml(DeValue::Integer(_) | DeValue::String(_))) => {
            let span = match raw {
                Raw::Text(text) => value::seconds(text),
                Raw::Toml(DeValue::Integer(number)) => unsigned(number).map(value::Seconds),
                Raw::Toml(value) => value.as_str().and_then(value::seconds),
            };
            put(
                settings,
                span.filter(|span| (least..=most).contains(&span)).ok_or_else(|| wanted(&shown(setting, raw)))?,
            );
        }
        (Kind::Choice { among, put }, Raw::Text(_) | Raw::Toml(DeValue::String(_))) => {
            let text = text_of(raw);
            let word = among.iter().find(|word| **word == text).ok_or_else(|| wanted(&shown(setting, raw)))?;
            put(settings, word);
        }
        (Kind::Text { put, .. }, Raw::Text(_) | Raw::Toml(DeValue::String(_))) => put(settings, text_of(raw))?,
        (Kind::List { put, .. }, Raw::Text(text)) => {
            let items: Vec<&str> =
                if text.trim().is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() };
            put(settings, &items).map_err(|(item, message)| Wrong { item: Some(item), message })?;
        }
        (Kind::List { put, .. }, Raw::Toml(DeValue::Array(array))) => {
            let mut items = Vec::new();
            for (index, item) in array.iter().enumerate() {
                match item.get_ref().as_str() {
                    Some(text) => items.push(text),
                    None => {
                        let message = wanted(&format!("one with {}", type_of(item.get_ref())));
                        return Err(Wrong { item: Some(index), message });
                    }
                }
            }
            put(settings, &items).map_err(|(item, message)| Wrong { item: Some(item), message })?;
        }
        (_, raw) => return Err(wanted(&shown(setting, raw)).into()),
    }
    Ok(())
}

/// The text of a variable, a flag or a TOML string; anything else has been told apart before.
fn text_of<'a>(raw: &Raw<'a>) -> &'a str {
    match raw {
        Raw::Text(text) => text,
        Raw::Toml(value) => value.as_str().unwrap_or_default(),
    }
}

/// A wrong value for a message; of a secret only its type.
fn shown(setting: &Setting, raw: &Raw<'_>) -> String {
    match raw {
        Raw::Toml(value) if setting.secret => type_of(value).to_owned(),
        Raw::Text(_) if setting.secret => "what was given".to_owned(),
        Raw::Text(text) => format!("{text:?}"),
        Raw::Toml(DeValue::String(text)) => format!("{text:?}"),
        Raw::Toml(DeValue::Integer(number)) => number.to_string(),
        Raw::Toml(value) => type_of(value).to_owned(),
    }
}

/// The type of a TOML value, for a message.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value of an integer that isn't negative.
fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The line, from 1, that an offset in bytes lies on.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The sentence for a name that nobody knows, with the nearest known one where one is near.
fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {what} {name:?}; did you mean {near:?}?"),
        None => format!("unknown {what} {name:?}"),
    }
}

/// The known name nearest to a mistyped one. A right name in the wrong section is near too.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(name, candidate);
        let end = strsim::normalized_damerau_levenshtein(&last(name), &last(candidate));
        whole.max(end * 0.9)
    };
    let scored = known.map(|candidate| (likeness(&candidate), candidate));
    // Of equals the first in the table, hence not `max_by`, which keeps the last.
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(likeness, _)| *likeness >= 0.65).map(|(_, candidate)| candidate)
}
