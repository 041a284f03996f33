//! The commented example file and the reference page, both made from the table.
//!
//! Leaves out: where they are kept and who prints them.

use super::setting::Setting;
use super::table;

/// Columns of the example's comments.
const WIDTH: usize = 100;

/// A settings file with every setting, its meaning and its default. Settings are commented out by a `#` without a
/// blank; explanations have a blank behind theirs.
#[must_use]
pub fn example() -> String {
    let mut out = String::new();
    comment(
        &mut out,
        "Settings of Keyward. Every setting is listed with its default; remove the # in front of one to change it. A \
         flag wins over an environment variable, and that over this file. Durations are written \"30s\", \"15m\", \
         \"12h\" or \"7d\", or as a number of seconds. `keyward config check` checks this file.",
    );
    for (section, settings) in table::sections() {
        if !section.is_empty() {
            out.push_str(&format!("\n[{section}]\n"));
        }
        for setting in settings {
            out.push('\n');
            comment(&mut out, setting.doc);
            comment(&mut out, &format!("Environment: {}", variables(setting).join(" or ")));
            out.push_str(&format!("#{} = {}\n", setting.name(), setting.default));
        }
    }
    out
}

/// The reference page of all settings, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Settings\n\n\
         Settings come from a TOML file, from environment variables and from flags. A flag wins over a variable, a \
         variable over the file, the file over the default. The file is the one that `--config` or the variable \
         `KEYWARD_CONFIG` names, else `keyward.toml` in the working folder if there is one. `keyward config example` \
         prints a file with every setting.\n\n\
         A name that isn't in this list, a value of the wrong type or out of range, and settings that contradict each \
         other keep the server from starting; all problems are reported at once, each with its line.\n\n\
         In variables and flags the items of a list are separated by commas. An empty text unsets an optional setting. \
         A secret is never taken from a flag; a variable with `_FILE` at its end names a file to read it from. When \
         `environment` is `development`, variables are also read from a file `.env` in the working folder.\n\n\
         SIGHUP has a running server read its settings anew. Those marked with \"needs a new start\" stay as they were; the \
         log names each that differs.\n",
    );
    for (section, settings) in table::sections() {
        let title = if section.is_empty() { "General".to_owned() } else { format!("`[{section}]`") };
        out.push_str(&format!("\n## {title}\n"));
        for setting in settings {
            entry(&mut out, setting);
        }
    }
    out
}

/// One setting of the reference page.
fn entry(out: &mut String, setting: &Setting) {
    let variables: Vec<_> = variables(setting).iter().map(|name| format!("`{name}`")).collect();
    let secret = if setting.secret { " · secret" } else { "" };
    let fixed = if setting.keep.is_some() { " · needs a new start" } else { "" };
    out.push_str(&format!(
        "\n### `{}`\n\n{}\n\nDefault `{}` · {} · {}{secret}{fixed}\n",
        setting.path,
        setting.doc,
        setting.default,
        setting.kind.describe(),
        variables.join(" or "),
    ));
    if let Some(weak) = &setting.weak {
        out.push_str(&format!("\nWarned of at the start: {}.\n", weak.says));
    }
}

/// The environment variables of a setting.
fn variables(setting: &Setting) -> Vec<String> {
    std::iter::once(setting.variable()).chain(setting.file_variable()).collect()
}

/// Writes a text as comment lines, broken at blanks.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() > 1 && line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
