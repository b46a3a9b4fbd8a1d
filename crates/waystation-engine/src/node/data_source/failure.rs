//! Why a source gave nothing, in words that hold no address and no password.

use std::fmt::Display;

use waystation_core::error::{Code, Failure};

use super::SourceType;
use crate::egress::SendError;
use crate::node::http;

/// Letters of a source's own message that are quoted.
const QUOTED_LETTERS: usize = 1_000;

/// No connection.
pub(super) fn unreachable(source: SourceType, error: &SendError) -> Failure {
    let failure = http::send_failure(error);
    Failure { message: format!("{}: {}", source.title(), failure.message), ..failure }
}

/// The connection or the source did not hold; another attempt may find it well.
pub(super) fn broken(source: SourceType, why: impl Display) -> Failure {
    Failure::retryable(Code::Transport, said(source, why), None)
}

/// The source has undone all that was asked; another attempt may fare better.
pub(super) fn undone(source: SourceType, why: impl Display) -> Failure {
    Failure::retryable(Code::QueryFailed, said(source, why), None)
}

/// The source does not let this one in.
pub(super) fn locked_out(source: SourceType, why: impl Display) -> Failure {
    let hint = "check user, password and database of the connection string".to_owned();
    let failure = Failure::fatal(Code::QueryFailed, said(source, why));
    Failure { hint: Some(hint), ..failure }
}

/// The source refuses the query.
pub(super) fn refused(source: SourceType, why: impl Display) -> Failure {
    Failure::fatal(Code::QueryFailed, said(source, why))
}

/// The source refuses the query because it would change something.
pub(super) fn read_only(source: SourceType, why: impl Display) -> Failure {
    let hint = "the query may only read; `write: true` lets it change something".to_owned();
    Failure { hint: Some(hint), ..refused(source, why) }
}

/// A value of a kind that has no form in JSON.
pub(super) fn unknown_type(source: SourceType, column: &str, kind: &str) -> Failure {
    let text = format!("column `{column}` has the type {kind}, which has no form in JSON");
    let hint = "convert it in the query, for example to text".to_owned();
    Failure { hint: Some(hint), ..refused(source, text) }
}

/// More came in than one query may bring.
pub(super) fn too_much(source: SourceType) -> Failure {
    let text = said(source, "the answer is too large");
    let hint = "ask for fewer rows or columns, or smaller values".to_owned();
    Failure { hint: Some(hint), ..Failure::fatal(Code::LimitExceeded, text) }
}

fn said(source: SourceType, why: impl Display) -> String {
    let why: String = why.to_string().chars().take(QUOTED_LETTERS).collect();
    format!("{}: {why}", source.title())
}
