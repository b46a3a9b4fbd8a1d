//! Which statements are sent where a node does not say `write`: those that begin like a question.
//!
//! A transaction that only reads keeps tables as they are, and that is what a query that writes fails
//! on. But a server can do more than write to tables: it starts programs, writes files, takes settings,
//! ends. None of that begins like a question. What a question can do by the functions that it calls is a
//! matter of the rights of its user.

use super::SourceType;

/// How a question begins.
const QUESTIONS: [&str; 6] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN"];
/// How it begins in MySQL, too.
const DESCRIBE: [&str; 2] = ["DESCRIBE", "DESC"];
/// What makes a question of MySQL write a file.
const FILES: [&str; 2] = ["outfile", "dumpfile"];
/// Comments of MySQL and MariaDB that are no comments.
const EXECUTED: [&str; 2] = ["/*!", "/*m!"];

/// Why a statement is not sent without `write`, if it is not. SQLite judges its statements itself.
pub(super) fn problem(source: SourceType, sql: &str) -> Option<String> {
    let is_mysql = match source {
        SourceType::Postgres => false,
        SourceType::Mysql => true,
        _ => return None,
    };
    if is_mysql && let Some(found) = found_in(sql) {
        return Some(format!("`{found}` in a query, also in its texts, needs `write: true`"));
    }
    let word = first_word(sql, is_mysql);
    let more: &[&str] = if is_mysql { &DESCRIBE } else { &[] };
    let mut known = QUESTIONS.iter().chain(more);
    let is_question = known.any(|question| question.eq_ignore_ascii_case(word));
    let questions = QUESTIONS.join(", ");
    (!is_question)
        .then(|| format!("a query that begins with none of {questions} needs `write: true`"))
}

/// What is refused wherever it stands: to tell whether it is part of a text would need all rules of the
/// server for texts.
fn found_in(sql: &str) -> Option<&'static str> {
    let sql = sql.to_ascii_lowercase();
    FILES.into_iter().chain(EXECUTED).find(|what| sql.contains(what))
}

/// The first word after white space, comments and parentheses; empty where something else comes first.
fn first_word(mut sql: &str, is_mysql: bool) -> &str {
    loop {
        let rest = sql.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}', '(']);
        match after_comment(rest, is_mysql) {
            Some(after) => sql = after,
            None => {
                // As a name goes on where a server reads it, so that no name looks like a word.
                let is_word = |letter: char| {
                    !letter.is_ascii() || letter.is_ascii_alphanumeric() || "_$".contains(letter)
                };
                let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
                return &rest[..end];
            }
        }
    }
}

/// What follows the comment that a text begins with. The end of a comment is where the server sees it:
/// otherwise a statement could hide in what looks like one.
fn after_comment(sql: &str, is_mysql: bool) -> Option<&str> {
    if let Some(inner) = sql.strip_prefix("/*") {
        return Some(if is_mysql {
            inner.split_once("*/").map_or("", |(_, after)| after)
        } else {
            after_nested(inner)
        });
    }
    let line = match sql.strip_prefix("--") {
        // In MySQL two dashes alone are two signs.
        Some(line) if is_mysql => line.starts_with([' ', '\t', '\n']).then_some(line)?,
        Some(line) => line,
        None if is_mysql => sql.strip_prefix('#')?,
        None => return None,
    };
    let ends: &[char] = if is_mysql { &['\n'] } else { &['\n', '\r'] };
    Some(line.find(ends).map_or("", |end| &line[end..]))
}

/// What follows a comment in which comments may stand, as in PostgreSQL.
fn after_nested(mut inner: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let Some(at) = inner.find(['/', '*']) else { return "" };
        let (step, length) = match inner.get(at..at + 2) {
            Some("/*") => (1, 2),
            Some("*/") => (-1, 2),
            _ => (0, 1),
        };
        depth += step;
        inner = &inner[at + length..];
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: SourceType, questions: &[&str], others: &[&str]) {
        for sql in questions {
            assert_eq!(problem(source, sql), None, "{sql}");
        }
        for sql in others {
            let problem = problem(source, sql).unwrap_or_else(|| panic!("{sql}: is sent"));
            assert!(problem.contains("write: true"), "{problem}");
        }
    }

    #[test]
    fn questions_are_told_by_their_first_word() {
        let questions = [
            "SELECT 1",
            "select*from t",
            " \t\r\n((values (1)))",
            "WITH x AS (SELECT 1) TABLE x",
            "/* why */ SHOW x",
            "-- why\nEXPLAIN SELECT 1;",
            "/**/(-- a\n/* b */ SELECT 1)",
        ];
        let others = [
            "",
            ";",
            "; SELECT 1",
            "SELECTED",
            "SELECT_1",
            "SELECT$1",
            "SELECTé",
            "\"SELECT\"",
            "\u{a0}SELECT 1",
            "\0SELECT 1",
            "/* SELECT 1",
            "-- SELECT 1",
            "INSERT INTO t VALUES (1)",
            "SET x = 1",
            "BEGIN",
            "EXECUTE p",
            "ANALYZE SELECT 1",
        ];
        check(SourceType::Postgres, &questions, &others);
        check(SourceType::Mysql, &questions, &others);
    }

    #[test]
    fn comments_end_where_the_server_sees_their_end() {
        let questions = [
            "/* /* */ COPY */ SELECT 1",
            "-- COPY\rSELECT 1",
            "--COPY\nSELECT 1",
            "/*/**/*/SELECT 1",
        ];
        let others = [
            "/* /* */ SELECT */ COPY t TO PROGRAM 'x'",
            "/* */ COPY t TO PROGRAM 'x' /* SELECT */",
            "-- \rCOPY t TO PROGRAM 'x' --\n",
            "# \nSELECT 1",
            "DO $$ BEGIN END $$",
            "DESC t",
        ];
        check(SourceType::Postgres, &questions, &others);
        let questions =
            ["/* /* */ SELECT 1", "# SHUTDOWN\nSELECT 1", "-- x\r\nDESC t", "describe t"];
        let others = [
            "/* /* */ SHUTDOWN -- */ SELECT 1",
            "# x\rSELECT 1\nSHUTDOWN",
            "--SELECT 1\nSHUTDOWN",
            "--SHUTDOWN\nSELECT 1",
            "/*! SHUTDOWN */ SELECT 1",
            "SELECT 1 /*M!100 INTO x */",
            "SELECT 1 /*m!100 INTO x */",
            "SELECT 1 INTO OutFile '/tmp/x'",
            "SELECT 1 INTO/**/DUMPFILE '/tmp/x'",
            "SELECT 'outfile'",
            "SET GLOBAL x = 1",
            "FLUSH TABLES",
            "KILL 1",
        ];
        check(SourceType::Mysql, &questions, &others);
    }

    #[test]
    fn other_sources_judge_for_themselves() {
        assert_eq!(problem(SourceType::Sqlite, "PRAGMA x"), None);
    }
}
