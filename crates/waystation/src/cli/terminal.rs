//! What commands print: results to standard output, everything for people to standard error.

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

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &Value) {
    print(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

/// Says what is wrong and how to mend it.
pub(super) fn error(error: &Error) {
    say(&format!("{} {}", style("error:").red().bold(), error.message));
    if let Some(hint) = error.hint() {
        say(&format!("{} {hint}", style(" hint:").cyan()));
    }
}

/// Says all that is wrong with a definition.
pub(super) fn problems(problems: &[String]) {
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    say(&format!("{} the definition has {count} {noun}", style("error:").red().bold()));
    for problem in problems {
        say(&format!("  {} {problem}", style("-").red()));
    }
}

/// Says what has no effect.
pub(super) fn warnings(warnings: &[String]) {
    for warning in warnings {
        say(&format!("{} {warning}", style("warning:").yellow().bold()));
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
