//! Asking the operator: passwords without echo, questions, confirmation. A password comes from the terminal or from
//! standard input and never from an argument, which other users of the machine could read.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::output::Failure;

/// Octets of standard input that are looked at; every password that the settings can allow is shorter.
const MOST_INPUT: u64 = 64 * 1024;

/// Where a new password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PasswordSource {
    /// Standard input, up to its end.
    Stdin,
    /// The terminal, asked for twice.
    Terminal,
}

/// Whether somebody sits at a terminal and can be asked.
pub(super) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Reads a new password.
///
/// # Errors
/// Where there is no terminal, the two entries differ, or the input isn't one line of UTF-8.
pub(super) fn new_password(source: PasswordSource) -> Result<SecretString, Failure> {
    match source {
        PasswordSource::Stdin => password_of(std::io::stdin().lock()),
        PasswordSource::Terminal => {
            if !std::io::stdin().is_terminal() {
                return Err(Failure::refused(
                    "a password is needed and there is no terminal to ask for it; give it by --password-stdin",
                ));
            }
            let first = prompt_password("Password: ")?;
            let second = prompt_password("The same again: ")?;
            if first.expose_secret() != second.expose_secret() {
                return Err(Failure::refused("the two passwords differ"));
            }
            Ok(first)
        }
    }
}

/// Reads one line from standard input that others shouldn't see.
///
/// # Errors
/// Where the input isn't one line of UTF-8.
pub(super) fn secret_line(what: &str) -> Result<SecretString, Failure> {
    if std::io::stdin().is_terminal() {
        return prompt_password(&format!("{what}: "));
    }
    password_of(std::io::stdin().lock())
}

fn prompt_password(prompt: &str) -> Result<SecretString, Failure> {
    rpassword::prompt_password(prompt)
        .map(SecretString::from)
        .map_err(|error| Failure::refused(format_args!("the terminal can't be read: {error}")))
}

/// A secret text from a file, or from standard input where none is named; never from an argument.
///
/// # Errors
/// Where it can't be read, is too long, or isn't UTF-8.
pub(super) fn secret_text(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    match file {
        Some(path) => {
            let unreadable = |error: std::io::Error| Failure::refused(format_args!("{}: {error}", path.display()));
            text_of(std::fs::File::open(path).map_err(unreadable)?)
        }
        None => text_of(std::io::stdin().lock()),
    }
}

fn text_of(input: impl Read) -> Result<Zeroizing<String>, Failure> {
    // The buffer never grows, so that no copy of the secret stays behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(MOST_INPUT as usize + 1));
    input
        .take(MOST_INPUT + 1)
        .read_to_end(&mut octets)
        .map_err(|error| Failure::refused(format_args!("the input can't be read: {error}")))?;
    if octets.len() as u64 > MOST_INPUT {
        return Err(Failure::refused("the input is too long"));
    }
    let text = std::str::from_utf8(&octets).map_err(|_| Failure::refused("the input isn't UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// One line, whose end doesn't belong to the password.
fn password_of(input: impl Read) -> Result<SecretString, Failure> {
    let text = text_of(input)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.contains(['\n', '\r']) {
        return Err(Failure::refused("standard input holds more than one line, where one is wanted"));
    }
    Ok(SecretString::from(text))
}

/// Asks before something is deleted for good. Without a terminal the answer is no, with what to do instead.
///
/// # Errors
/// Where the answer isn't yes, or nobody can be asked.
pub(super) fn confirm_deletion(what: &str) -> Result<(), Failure> {
    confirm(&format!("deleting {what}"), &format!("Delete {what} for good?"))
}

/// Asks before something is done that can't be undone. Without a terminal the answer is no, with what to do instead.
///
/// # Errors
/// Where the answer isn't yes, or nobody can be asked.
pub(super) fn confirm(doing: &str, question: &str) -> Result<(), Failure> {
    if !is_interactive() {
        return Err(Failure::refused(format_args!(
            "{doing} can't be undone, and there is no terminal to ask; say --yes if you are sure"
        )));
    }
    if is_yes(&ask(&format!("{question} [y/N] "))?) { Ok(()) } else { Err(Failure::refused("nothing was changed")) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks on standard error, so that standard output stays the report's, and reads one line.
///
/// # Errors
/// Where the terminal can't be read.
pub(super) fn ask(question: &str) -> Result<String, Failure> {
    let broken = |error| Failure::refused(format_args!("the terminal can't be read: {error}"));
    let mut out = std::io::stderr().lock();
    out.write_all(question.as_bytes()).and_then(|()| out.flush()).map_err(broken)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(broken)?;
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_end_is_not_part_of_the_password() {
        for input in ["correct horse", "correct horse\n", "correct horse\r\n"] {
            assert_eq!(password_of(input.as_bytes()).unwrap().expose_secret(), "correct horse");
        }
        assert_eq!(password_of(" padded ".as_bytes()).unwrap().expose_secret(), " padded ");
    }

    #[test]
    fn more_than_one_line_and_foreign_octets_are_refused() {
        let long = vec![b'x'; 64 * 1024 + 1];
        for input in [&b"one\ntwo\n"[..], b"one\n\n", b"a\rb", b"\xff\xfe", &long] {
            assert!(password_of(input).is_err());
        }
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(["y", "Y", "yes", " YES "].iter().all(|answer| is_yes(answer)));
        assert!(["", "n", "no", "yep", "j"].iter().all(|answer| !is_yes(answer)));
    }
}
