//! The words of the pages, by language, and the choice of a language for a request.
//!
//! The texts are Fluent files in `locales/`, embedded in the binary. The choice follows OpenID Connect Core §3.1.2.1
//! (`ui_locales`), then RFC 9110 §12.5.4 (`Accept-Language`); tags are compared by the lookup of RFC 4647 §3.4. A
//! preference is a wish: what can't be read or met is passed over and never an error. This file leaves out where
//! the preferences come from and what the log says, which stays English.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use unic_langid::LanguageIdentifier;

/// A language that the pages speak: BCP 47 tag, writing direction as in HTML's `dir`, Fluent source.
struct Source {
    tag: &'static str,
    direction: &'static str,
    fluent: &'static str,
}

/// All languages. The first is the one for everybody whose own isn't here.
const SOURCES: &[Source] = &[
    Source { tag: "en", direction: "ltr", fluent: include_str!("../locales/en/pages.ftl") },
    Source { tag: "de", direction: "ltr", fluent: include_str!("../locales/de/pages.ftl") },
];

/// How many preferences of one request are looked at, for each of the two sources.
const MAX_PREFERENCES: usize = 16;

/// How many bytes of `Accept-Language` are looked at. Real headers have some 40.
const MAX_HEADER_BYTES: usize = 512;

/// The longest tag that is looked at, in bytes (RFC 5646 §4.4.1 recommends room for 35).
const MAX_TAG_BYTES: usize = 64;

/// One language's texts: a cheap handle that a page carries.
#[derive(Clone)]
pub struct Texts(Arc<Language>);

struct Language {
    tag: &'static str,
    direction: &'static str,
    /// The texts without a variable, formatted once when they are loaded.
    fixed: HashMap<String, String>,
    bundle: FluentBundle<FluentResource>,
}

impl Texts {
    /// The text `id`. An id that no file has gives the id itself, and a line in the log.
    pub fn get(&self, id: &str) -> String {
        self.with(id, &[])
    }

    /// The text `id` with its variables filled in. The values are plain text: the page escapes the result as a whole.
    /// Characters that steer the direction of writing, and control characters, are dropped from them, so that a
    /// client's name can't turn the sentence around it.
    pub fn with(&self, id: &str, args: &[(&str, &str)]) -> String {
        self.find(id, args).unwrap_or_else(|| {
            tracing::warn!(text.id = id, text.language = self.0.tag, "a page asked for a text that doesn't exist");
            id.to_owned()
        })
    }

    /// The text `id`, or nothing if no file has it: for ids made from outside values, such as a scope's name.
    pub fn find(&self, id: &str, args: &[(&str, &str)]) -> Option<String> {
        if let Some(fixed) = self.0.fixed.get(id) {
            return Some(fixed.clone());
        }
        let pattern = self.0.bundle.get_message(id)?.value()?;
        let mut values = FluentArgs::with_capacity(args.len());
        for (name, value) in args {
            values.set((*name).to_owned(), without_controls(value));
        }
        let mut errors = Vec::new();
        let text = self.0.bundle.format_pattern(pattern, Some(&values), &mut errors).into_owned();
        if !errors.is_empty() {
            tracing::warn!(text.id = id, text.language = self.0.tag, ?errors, "a text lacks a value");
        }
        Some(text)
    }

    /// The BCP 47 tag of the language, for `<html lang>` and `Content-Language`.
    pub fn language(&self) -> &str {
        self.0.tag
    }

    /// The direction of writing, `ltr` or `rtl`, for `<html dir>`.
    pub fn direction(&self) -> &str {
        self.0.direction
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Texts").field(&self.0.tag).finish()
    }
}

/// All languages, loaded once.
#[derive(Clone, Debug)]
pub struct Locales {
    fallback: Texts,
    others: Arc<[Texts]>,
}

impl Locales {
    /// Reads the embedded texts. A line that Fluent can't read is logged and left out; a test proves there is none.
    pub fn load() -> Self {
        let mut languages = SOURCES.iter().map(load);
        let fallback = languages.next().unwrap_or_else(|| {
            load(&Source { tag: "en", direction: "ltr", fluent: include_str!("../locales/en/pages.ftl") })
        });
        Self { fallback, others: languages.collect() }
    }

    /// The language for a request: the first of `ui_locales` that we speak, else the most wanted of
    /// `Accept-Language`, else English.
    pub fn choose(&self, ui_locales: &[String], accept_language: Option<&str>) -> Texts {
        // OIDC Core §3.1.2.1: ui_locales are ordered by preference; a locale that isn't supported is no error.
        let asked = ui_locales.iter().take(MAX_PREFERENCES).find_map(|tag| self.lookup(tag));
        asked.or_else(|| self.accepted(accept_language?)).unwrap_or(&self.fallback).clone()
    }

    /// The languages that there are, the default first.
    pub fn languages(&self) -> Vec<Texts> {
        self.all().cloned().collect()
    }

    /// The default language, English.
    pub fn fallback(&self) -> Texts {
        self.fallback.clone()
    }

    /// RFC 9110 §12.5.4: ranges with weights; of equal weights the first in the header wins; weight 0 is a refusal.
    fn accepted(&self, header: &str) -> Option<&Texts> {
        let header = header.get(..header.floor_char_boundary(MAX_HEADER_BYTES)).unwrap_or(header);
        let mut best: Option<(u16, &Texts)> = None;
        for item in header.split(',').take(MAX_PREFERENCES) {
            let (range, weight) = match item.split_once(';') {
                None => (item, Some(1000)),
                Some((range, parameter)) => (range, weight(parameter)),
            };
            let Some(weight) = weight.filter(|weight| *weight > 0) else { continue };
            let range = range.trim();
            let found = if range == "*" { Some(&self.fallback) } else { self.lookup(range) };
            if let Some(found) = found
                && best.is_none_or(|(most, _)| weight > most)
            {
                best = Some((weight, found));
            }
        }
        best.map(|(_, texts)| texts)
    }

    /// RFC 4647 §3.4: the tag as it is, then ever less of its end.
    fn lookup(&self, tag: &str) -> Option<&Texts> {
        if tag.len() > MAX_TAG_BYTES {
            return None;
        }
        let mut rest = tag.trim();
        while !rest.is_empty() {
            if let Some(found) = self.all().find(|texts| texts.0.tag.eq_ignore_ascii_case(rest)) {
                return Some(found);
            }
            // Some senders write de_AT for de-AT.
            rest = rest.rfind(['-', '_']).and_then(|end| rest.get(..end))?;
        }
        None
    }

    fn all(&self) -> impl Iterator<Item = &Texts> {
        std::iter::once(&self.fallback).chain(self.others.iter())
    }
}

/// The weight of an `Accept-Language` range in thousandths; nothing if it can't be read.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim();
    // RFC 9110 §12.4.2: at most three decimals, between 0 and 1.
    if !name.trim().eq_ignore_ascii_case("q") || value.len() > 5 {
        return None;
    }
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let thousandths = decimals
        .bytes()
        .chain(*b"000")
        .take(3)
        .try_fold(0u16, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')))?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn load(source: &Source) -> Texts {
    let resource = FluentResource::try_new(source.fluent.to_owned()).unwrap_or_else(|(resource, errors)| {
        tracing::error!(text.language = source.tag, ?errors, "an embedded text can't be read");
        resource
    });
    let language: LanguageIdentifier = source.tag.parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // No invisible isolation marks: the values are cleaned in `with`, and names that stand alone are in <bdi>.
    bundle.set_use_isolating(false);
    if let Err(errors) = bundle.add_resource(resource) {
        tracing::error!(text.language = source.tag, ?errors, "an embedded text is there twice");
    }
    let fixed = message_ids(source.fluent)
        .filter_map(|id| {
            let pattern = bundle.get_message(id)?.value()?;
            let mut errors = Vec::new();
            let text = bundle.format_pattern(pattern, None, &mut errors).into_owned();
            // A text that complains of nothing without values has no variable.
            errors.is_empty().then(|| (id.to_owned(), text))
        })
        .collect();
    Texts(Arc::new(Language { tag: source.tag, direction: source.direction, fixed, bundle }))
}

/// The ids of the messages: in Fluent a message begins at the start of a line, and what continues it is indented.
fn message_ids(fluent: &str) -> impl Iterator<Item = &str> {
    fluent
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_alphabetic()))
        .filter_map(|line| line.split_once('='))
        .map(|(id, _)| id.trim())
}

/// `value` without control characters and without the marks that override or embed a direction (Unicode UAX #9 §2).
fn without_controls(value: &str) -> String {
    value
        .chars()
        .filter(|c| !c.is_control())
        .filter(
            |c| !matches!(c, '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'),
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::*;

    /// For each message its variables.
    fn messages(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut all = BTreeMap::new();
        let mut current = String::new();
        for line in source.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with(|first: char| first.is_ascii_alphabetic()) {
                current = line.split_once('=').unwrap().0.trim().to_owned();
                assert!(all.insert(current.clone(), BTreeSet::new()).is_none(), "{current} is there twice");
            }
            for part in line.split("{ $").skip(1) {
                let name = part.split([' ', '}']).next().unwrap();
                all.get_mut(&current).unwrap().insert(name.to_owned());
            }
        }
        all
    }

    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }

    /// The literal ids that templates and code ask for; this file's own tests ask for some that don't exist.
    fn used_ids() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        files(&root.join("templates"), &mut paths);
        files(&root.join("src"), &mut paths);
        paths.retain(|path| !path.ends_with("src/locale.rs"));
        assert!(paths.len() > 15);
        let mut ids = BTreeSet::new();
        for path in paths {
            let source = std::fs::read_to_string(&path).unwrap();
            for asking in ["texts.get(\"", "texts.with(\"", "texts.find(\""] {
                ids.extend(source.split(asking).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
        assert!(ids.len() > 50);
        ids
    }

    fn choose(ui_locales: &[&str], accept_language: Option<&str>) -> String {
        let ui_locales: Vec<String> = ui_locales.iter().map(|tag| (*tag).to_owned()).collect();
        Locales::load().choose(&ui_locales, accept_language).language().to_owned()
    }

    #[test]
    fn every_language_has_the_same_messages_with_the_same_variables() {
        let first = messages(SOURCES[0].fluent);
        assert!(first.len() > 100);
        for source in SOURCES {
            assert!(FluentResource::try_new(source.fluent.to_owned()).is_ok(), "{} doesn't parse", source.tag);
            assert_eq!(first, messages(source.fluent), "{} differs from {}", source.tag, SOURCES[0].tag);
        }
    }

    #[test]
    fn every_text_a_page_asks_for_exists_and_none_is_dead() {
        let known: BTreeSet<String> = messages(SOURCES[0].fluent).into_keys().collect();
        let used = used_ids();
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "no text for {missing:?}");
        // These are asked for with ids that are put together, or by handlers.
        let composed = ["claim-", "error-", "scope-", "password", "username-"];
        let dead: Vec<_> =
            known.difference(&used).filter(|id| !composed.iter().any(|prefix| id.starts_with(prefix))).collect();
        assert!(dead.is_empty(), "nobody asks for {dead:?}");
    }

    #[test]
    fn every_text_can_be_formatted_with_its_variables() {
        let locales = Locales::load();
        for texts in locales.all() {
            for (id, variables) in messages(SOURCES[0].fluent) {
                let args: Vec<(&str, &str)> = variables.iter().map(|name| (name.as_str(), "VALUE")).collect();
                let text = texts.find(&id, &args).unwrap();
                assert!(!text.trim().is_empty() && !text.contains('{'), "{id}: {text}");
                assert!(text.matches("VALUE").count() >= variables.len(), "{id} drops a value: {text}");
            }
        }
    }

    #[test]
    fn the_texts_that_handlers_use_exist() {
        let texts = Locales::load().fallback();
        for id in [
            "password-too-short",
            "password-too-long",
            "passwords-differ",
            "username-needed",
            "username-taken",
            "password-same-as-name",
        ] {
            assert!(texts.find(id, &[("min", "15")]).is_some(), "{id}");
        }
        assert!(texts.with("password-too-short", &[("min", "15")]).contains("15"));
    }

    #[test]
    fn a_missing_text_is_its_id() {
        let texts = Locales::load().fallback();
        assert_eq!(texts.get("no-such-text"), "no-such-text");
        assert_eq!(texts.find("no-such-text", &[]), None);
    }

    #[test]
    fn a_value_cannot_turn_the_sentence_around_it() {
        let texts = Locales::load().fallback();
        let text = texts.with("password-too-short", &[("min", "1\u{202E}5\n\u{2066}")]);
        assert!(text.contains("15") && !text.contains(['\u{202E}', '\u{2066}', '\n']));
    }

    #[test]
    fn ui_locales_go_before_the_header() {
        assert_eq!(choose(&["fr", "de-CH"], Some("en")), "de");
        assert_eq!(choose(&["fr"], Some("de")), "de");
        assert_eq!(choose(&["fr"], None), "en");
        assert_eq!(choose(&["DE-Latn-DE-1996"], None), "de");
        assert_eq!(choose(&["de_AT"], None), "de");
        assert_eq!(choose(&["den", "d", "-", "", "de\u{0}"], None), "en");
    }

    #[test]
    fn the_header_is_read_by_weight() {
        assert_eq!(choose(&[], Some("de-CH, de;q=0.9, en;q=0.8")), "de");
        assert_eq!(choose(&[], Some("en;q=0.4,de;q=0.7")), "de");
        assert_eq!(choose(&[], Some("fr, de;q=0.5")), "de");
        assert_eq!(choose(&[], Some("de;q=0, fr")), "en");
        assert_eq!(choose(&[], Some("*, de;q=0.5")), "en");
        assert_eq!(choose(&[], Some("*;q=0.1, DE ; Q = 0.5")), "de");
        assert_eq!(choose(&[], Some("en, de")), "en");
    }

    #[test]
    fn unreadable_preferences_are_passed_over() {
        for header in
            ["", ",,,;;;", "de;q", "de;q=2", "de;q=0.5x", "de;q=-1", "de;q=1.001", "ß;q=ü", "de;level=1", "\u{1F511}"]
        {
            assert_eq!(choose(&[], Some(header)), "en", "{header}");
        }
        // The work is bounded: what comes after the first sixteen isn't looked at, nor what comes after 512 bytes.
        assert_eq!(choose(&[], Some(&format!("{}de", "fr,".repeat(16)))), "en");
        assert_eq!(choose(&[], Some(&format!("{}de", "fr,".repeat(15)))), "de");
        assert_eq!(choose(&[], Some(&format!("{},de", "\u{1F511}".repeat(400)))), "en");
        assert_eq!(choose(&vec!["fr"; 100_000], Some("de")), "de");
        assert_eq!(choose(&["de-".repeat(1000).as_str()], None), "en");
    }

    #[test]
    fn handles_are_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>() {}
        shared::<Texts>();
        shared::<Locales>();
    }
}
