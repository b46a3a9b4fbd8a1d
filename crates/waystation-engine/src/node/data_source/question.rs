//! Statements in SQL that ask. That they change nothing is the database's own affair: its transaction only
//! reads. But it guards its tables, and not the machine that it runs on: commands that act beside them are
//! not sent.

use waystation_core::error::Failure;

use super::{SourceType, failure};

/// What a statement that asks begins with.
const BEGINNINGS: [&str; 6] = ["select", "with", "values", "table", "show", "explain"];
/// Likewise, in MySQL.
const MORE_OF_MYSQL: [&str; 2] = ["describe", "desc"];
/// What makes a question of MySQL write files on its machine, or holds statements that only some servers
/// read.
const NEVER_IN_MYSQL: [&str; 4] = ["outfile", "dumpfile", "/*!", "/*m!"];

/// Refuses a statement that is no question.
pub(super) fn check(source: SourceType, sql: &str) -> Result<(), Failure> {
    let lower = sql.to_ascii_lowercase();
    let is_mysql = matches!(source, SourceType::Mysql);
    let word = first_word(&lower, is_mysql);
    let begins = BEGINNINGS.contains(&word) || (is_mysql && MORE_OF_MYSQL.contains(&word));
    if !begins {
        let text = format!("a statement that begins with `{}` is no question", cut(word));
        return Err(failure::read_only(source, text));
    }
    let never = NEVER_IN_MYSQL.into_iter().find(|never| is_mysql && lower.contains(never));
    match never {
        Some(never) => {
            let text = format!("a question has no `{}` in it", never.to_ascii_uppercase());
            Err(failure::read_only(source, text))
        }
        None => Ok(()),
    }
}

/// The first word behind space, comments and parentheses.
fn first_word(sql: &str, is_mysql: bool) -> &str {
    let mut rest = sql.trim_start_matches(is_space);
    loop {
        let behind = if rest.starts_with("--") || (is_mysql && rest.starts_with('#')) {
            rest.split_once('\n').map_or("", |(_, behind)| behind)
        } else if rest.starts_with("/*") {
            behind_comment(rest, !is_mysql)
        } else {
            break;
        };
        rest = behind.trim_start_matches(is_space);
    }
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    &rest[..end.unwrap_or(rest.len())]
}

fn is_space(letter: char) -> bool {
    letter.is_whitespace() || letter == '('
}

/// What follows a comment, which in PostgreSQL may hold others.
fn behind_comment(text: &str, is_nested: bool) -> &str {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") && (is_nested || depth == 0) {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
            continue;
        }
        if depth == 0 {
            return &text[at..];
        }
    }
    ""
}

fn cut(word: &str) -> &str {
    word.get(..20).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_begin_like_questions() {
        for sql in [
            "SELECT 1",
            "\n -- a\n /* b /* c */ */ ((select 1) union select 2)",
            "with a as (select 1) table a",
            "VALUES (1)",
            "explain select 1",
            "SHOW server_version",
        ] {
            assert!(check(SourceType::Postgres, sql).is_ok(), "{sql}");
        }
        for sql in ["# a\nselect 1", "DESC t", "describe t", "select 'profile'"] {
            assert!(check(SourceType::Mysql, sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn whatever_else_is_refused() {
        for sql in [
            "COPY (SELECT 1) TO PROGRAM 'x'",
            "/* select */ do $$ $$",
            "--select\ncall p()",
            "selected",
            "# a\nselect 1",
            "/* select 1",
            "",
            "🦀",
            "describe t",
        ] {
            assert!(check(SourceType::Postgres, sql).is_err(), "{sql}");
        }
        for sql in [
            "SHUTDOWN",
            "SET GLOBAL a = 1",
            "SELECT 1 INTO/**/OutFile '/tmp/x'",
            "/*!50000 SHUTDOWN */",
            "select 1 /*M! into dumpfile 'x' */",
            // MySQL ends this comment at the first end.
            "/* /* */ SHUTDOWN -- */ select 1",
        ] {
            assert!(check(SourceType::Mysql, sql).is_err(), "{sql}");
        }
    }
}
