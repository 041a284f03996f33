//! What a command says: one report on standard output, as text for people or as one JSON document for programs;
//! remarks and errors on standard error. Commands return what they say; only this file writes it.

use std::io::{ErrorKind, Write};

use keyward_protocol::Timestamp;
use serde_json::{Value, json};

use crate::clock::moment;
use crate::fault::Fault;
use crate::settings::SettingsError;

/// For whom a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What a command has to say when it has done its work.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    /// For programs.
    pub(super) json: Value,
    /// For people: lines, each with its end.
    pub(super) text: String,
}

impl Report {
    /// A report of one line.
    pub(super) fn line(json: Value, line: impl AsRef<str>) -> Self {
        Self { json, text: format!("{}\n", printable(line.as_ref())) }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The settings are refused.
    Settings(SettingsError),
    /// Something is broken or away.
    Fault(Fault),
    /// What was asked for can't be done, in words for the operator.
    Refused(String),
}

impl Failure {
    /// A refusal in these words.
    pub(super) fn refused(why: impl std::fmt::Display) -> Self {
        Self::Refused(why.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

/// Writes a report to standard output.
///
/// # Errors
/// Where it can't be written. A reader that went away, such as `head`, is none.
pub(super) fn print(report: &Report, format: Format) -> Result<(), Failure> {
    match write_report(&mut std::io::stdout().lock(), report, format) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::refused(format_args!("standard output can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn write_report(out: &mut impl Write, report: &Report, format: Format) -> std::io::Result<()> {
    match format {
        Format::Text => out.write_all(report.text.as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &report.json)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

/// Says something beside the report.
pub(super) fn remark(text: impl std::fmt::Display) {
    to_stderr(&format!("keyward: {}\n", printable(&text.to_string())));
}

/// Says why the command failed.
pub(super) fn print_failure(failure: &Failure, format: Format) {
    to_stderr(&failure_text(failure, format));
}

fn failure_text(failure: &Failure, format: Format) -> String {
    let mut text: String = failure.to_string().lines().map(|line| format!("keyward: {}\n", printable(line))).collect();
    if format == Format::Json {
        let mut document = json!({ "error": failure.to_string() });
        if let (Failure::Settings(error), Some(members)) = (failure, document.as_object_mut()) {
            let problems = error.problems.iter().map(|problem| {
                json!({ "place": problem.place.to_string(), "setting": problem.path, "message": problem.message })
            });
            members.insert("problems".to_owned(), problems.collect());
        }
        text.push_str(&document.to_string());
        text.push('\n');
    }
    text
}

fn to_stderr(text: &str) {
    // Where standard error is closed there is nobody left to tell; the exit code still says it.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Columns under their headings, aligned; or the sentence for an empty list.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>, empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let rows: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned))
        .chain(rows)
        .map(|row| row.map(|cell| if cell.is_empty() { "-".to_owned() } else { printable(&cell) }))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (&width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one pair a line, the values aligned. Pairs without a value are left out.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let shown = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    shown().map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect()
}

/// The text without control characters: what people and programs enter must not steer the terminal of who lists it.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// As [`moment`], from a column; nothing where there is none.
pub(super) fn moment_of(micros: Option<i64>) -> Option<String> {
    micros.map(|micros| moment(Timestamp::from_micros(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Sources};

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows = vec![["ada".into(), "Ada Lovelace".into()], ["björn".into(), String::new()]];
        assert_eq!(table(["NAME", "FULL NAME"], rows, "nobody"), "NAME   FULL NAME\nada    Ada Lovelace\nbjörn  -\n");
        assert_eq!(table(["NAME"], vec![], "nobody"), "nobody\n");
    }

    #[test]
    fn pairs_without_a_value_are_left_out() {
        let pairs = [("name", "ada".to_owned()), ("nickname", String::new()), ("sub", "x".to_owned())];
        assert_eq!(fields(&pairs), "name  ada\nsub   x\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let rows = vec![["\u{1b}[2Jada\r\n".into()]];
        assert_eq!(table(["NAME"], rows, ""), "NAME\n\u{fffd}[2Jada\u{fffd}\u{fffd}\n");
        assert_eq!(Report::line(Value::Null, "a\u{7}b").text, "a\u{fffd}b\n");
    }

    #[test]
    fn a_report_is_text_or_one_document() {
        let report = Report::line(json!({ "sub": "x" }), "added");
        let written = |format| {
            let mut out = Vec::new();
            write_report(&mut out, &report, format).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(Format::Text), "added\n");
        assert_eq!(serde_json::from_str::<Value>(&written(Format::Json)).unwrap(), json!({ "sub": "x" }));
    }

    #[test]
    fn a_failure_is_said_to_people_and_to_programs() {
        let failure = Failure::refused("no such user");
        assert_eq!(failure_text(&failure, Format::Text), "keyward: no such user\n");
        assert_eq!(failure_text(&failure, Format::Json), "keyward: no such user\n{\"error\":\"no such user\"}\n");
    }

    #[test]
    fn every_problem_of_the_settings_is_said() {
        let flags = vec![("no_such".to_owned(), "1".to_owned()), ("server.listen".to_owned(), "x".to_owned())];
        let error = Settings::load(&Sources { flags, ..Sources::default() }).unwrap_err();
        let text = failure_text(&Failure::Settings(error), Format::Json);
        let (document, lines) = text.trim_end().rsplit_once('\n').map(|(lines, last)| (last, lines)).unwrap();
        assert!(lines.lines().count() >= 2 && lines.lines().all(|line| line.starts_with("keyward: ")), "{lines}");
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["problems"].as_array().unwrap().len(), lines.lines().count());
    }

    #[test]
    fn moments_are_written_by_rfc_3339() {
        assert_eq!(moment(Timestamp::from_micros(1_767_225_600_999_999)), "2026-01-01T00:00:00Z");
        assert_eq!(moment_of(None), None);
    }
}
