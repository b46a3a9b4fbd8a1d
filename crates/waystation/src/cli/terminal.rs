//! What commands print: results to standard output, everything for people to standard error.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use indicatif::HumanDuration;
use serde_json::Value;
use waystation_core::error::Error;

/// Prints a line of results. A reader that has gone away is no error.
pub(super) fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a line for people.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Text from elsewhere without what a terminal would obey: control characters, and those that turn the
/// direction of writing.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |letter: char| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    match text.contains(obeyed) {
        true => text.replace(obeyed, "\u{fffd}").into(),
        false => text.into(),
    }
}

/// A value whose texts are harmless to a terminal.
pub(super) fn plain_value(value: &Value) -> Value {
    match value {
        Value::String(text) => plain(text).into(),
        Value::Array(items) => items.iter().map(plain_value).collect(),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, field)| (plain(name).into(), plain_value(field)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &Value) {
    print(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

/// Says what is wrong and how to mend it.
pub(super) fn error(error: &Error) {
    say(&format!("{} {}", style("error:").red().bold(), plain(&error.message)));
    if let Some(hint) = error.hint() {
        say(&format!("{} {}", style(" hint:").cyan(), plain(hint)));
    }
}

/// Says all that is wrong with a definition.
pub(super) fn problems(problems: &[String]) {
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    say(&format!("{} the definition has {count} {noun}", style("error:").red().bold()));
    for problem in problems {
        say(&format!("  {} {}", style("-").red(), plain(problem)));
    }
}

/// Says what has no effect.
pub(super) fn warnings(warnings: &[String]) {
    for warning in warnings {
        say(&format!("{} {}", style("warning:").yellow().bold(), plain(warning)));
    }
}

/// Text that may be coloured where a person reads it.
pub(super) fn style(text: &str) -> console::StyledObject<&str> {
    console::style(text).for_stderr()
}

/// Whether a person reads what is said.
pub(super) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Seconds as people say them.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        short if short < 1.0 => format!("{:.0}ms", short * 1_000.0),
        short if short < 60.0 => format!("{short:.1}s"),
        long => HumanDuration(std::time::Duration::from_secs_f64(long)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_made_harmless() {
        assert_eq!(
            plain("a\u{1b}[2Jb\u{7}\u{9b}c\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d"
        );
        assert!(matches!(plain("Zoë\n—"), Cow::Borrowed("Zoë\n—")));
    }
}
