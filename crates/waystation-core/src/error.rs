//! The one table of errors: code, kind, hint. Only an API chooses a status and a shape for them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of problem it is; an API maps it to its own statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller's data is wrong.
    Invalid,
    /// Nothing has that name.
    NotFound,
    /// It contradicts the present state.
    Conflict,
    /// The caller is not known or not allowed.
    Unauthorized,
    /// A policy or a limit forbids it.
    Refused,
    /// Something outside does not answer; later it may.
    Unavailable,
    /// A fault of this program.
    Internal,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $kind:ident, $hint:expr;)*) => {
        /// Every error that a caller can meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code { $($(#[doc = $doc])* #[serde(rename = $text)] $name,)* }

        impl Code {
            /// All codes, for documentation and tests.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }

            /// What sort of problem it is.
            pub fn kind(self) -> Kind {
                match self { $(Code::$name => Kind::$kind),* }
            }

            /// What usually mends it.
            pub fn hint(self) -> Option<&'static str> {
                match self { $(Code::$name => $hint),* }
            }
        }
    };
}

codes! {
    /// The body is no JSON of the expected form.
    BodyInvalid = "body_invalid", Invalid, Some("send a JSON object; docs/api.md shows its fields");
    /// The body is larger than the server takes.
    BodyTooLarge = "body_too_large", Refused, Some("raise WAYSTATION_MAX_BODY_BYTES or send less");
    /// A setting of the server is missing or wrong.
    SettingInvalid = "setting_invalid", Invalid, None;
    /// A part of the request is not of the expected form.
    RequestInvalid = "request_invalid", Invalid, None;
    /// The definition has problems; all of them are listed.
    DefinitionInvalid = "definition_invalid", Invalid, None;
    /// A template or condition could not be evaluated on this run's values.
    ExpressionFailed = "expression_failed", Invalid, Some("give a fallback with `| default(...)` where a value may be missing");
    /// A node was given a value that it cannot work with.
    ValueInvalid = "value_invalid", Invalid, None;
    /// A bound on size, depth, steps or output was exceeded.
    LimitExceeded = "limit_exceeded", Refused, None;
    /// The egress policy refuses the target.
    EgressRefused = "egress_refused", Refused, None;
    /// The server does not answer callers from there.
    Forbidden = "forbidden", Refused, None;
    /// The target could not be reached or broke off.
    Transport = "transport", Unavailable, Some("check the address, and that the service is running");
    /// An attempt took longer than allowed.
    Timeout = "timeout", Unavailable, Some("raise the step's timeout, or make the service answer sooner");
    /// No provider of models has that name.
    ProviderUnknown = "provider_unknown", Invalid, Some("`waystation models` lists the providers");
    /// A provider of models has no key.
    ModelKeyMissing = "model_key_missing", Invalid, Some("set it in the environment or with `waystation secret set`; provider \"echo\" needs none");
    /// A model's answer cannot be used.
    ModelAnswer = "model_answer", Unavailable, None;
    /// A program of the user raised an exception, or is none.
    CodeFailed = "code_failed", Invalid, None;
    /// A program of the user used more memory than it may.
    CodeMemory = "code_memory", Refused, Some("keep less in memory, or raise memory_mb");
    /// The result of a program of the user is too large.
    CodeOutput = "code_output", Refused, Some("give less, for example only what later steps need");
    /// The result of a program of the user is not JSON.
    CodeResult = "code_result", Invalid, Some("give numbers, texts, booleans, null, lists and objects only");
    /// A program of the user tried what no program may.
    CodeViolation = "code_violation", Refused, None;
    /// Programs of users cannot be run here.
    SandboxUnavailable = "sandbox_unavailable", Unavailable, None;
    /// The results that a thread needs are not there.
    ThreadIncomplete = "thread_incomplete", Invalid, None;
    /// The target answered with an error status.
    HttpStatus = "http_status", Unavailable, None;
    /// A mail server refuses the login, an address or the message.
    MailRefused = "mail_refused", Unavailable, None;
    /// An email may have been sent, and nobody knows.
    DeliveryUnknown = "delivery_unknown", Unavailable, Some("ask the recipient or look at the mail server's log, and run it again if it was not sent");
    /// A data source refuses the query, or its answer has no form.
    QueryFailed = "query_failed", Invalid, None;
    /// A write was cut short, and nobody knows whether it happened.
    WriteUncertain = "write_uncertain", Unavailable, Some("look whether it happened, and run it again only if not");
    /// The budget for calls of models is used up.
    BudgetExceeded = "budget_exceeded", Refused, Some("raise the budget, or spend less on each step");
    /// A part of the run was cancelled by somebody.
    Cancelled = "cancelled", Refused, None;
    /// The run took longer than its deadline.
    DeadlineExceeded = "deadline_exceeded", Refused, Some("raise the run's total timeout");
    /// An attempt panicked: a fault of this program, contained.
    NodePanicked = "node_panicked", Internal, Some("please report this with the run's log");
    /// An attempt was cut short by a crash or restart too many times.
    Interrupted = "interrupted", Unavailable, Some("look for a crash that this step causes");
    /// No secret has that name.
    SecretUnknown = "secret_unknown", Invalid, Some("set it with `waystation secret set NAME`");
    /// A secret cannot be opened with the present key.
    SecretUnreadable = "secret_unreadable", Internal, Some("start with the key that sealed it (WAYSTATION_SECRET_KEY)");
    /// Nothing is known under that id.
    NotFound = "not_found", NotFound, None;
    /// The run has already ended.
    RunEnded = "run_ended", Conflict, None;
    /// The request contradicts what is already there.
    Conflict = "conflict", Conflict, None;
    /// The caller has not said who it is, or not truly.
    Unauthorized = "unauthorized", Unauthorized, Some("send a key as x-api-key or as Authorization: Bearer, or a token as the latter");
    /// A signature is missing or does not match.
    SignatureInvalid = "signature_invalid", Unauthorized, Some("sign with the shared webhook secret, and check the sender's clock");
    /// Every place for running work is taken.
    Busy = "busy", Unavailable, Some("try again shortly; WAYSTATION_MAX_RUNS raises the bound");
    /// The caller has asked for it too often.
    RateLimited = "rate_limited", Unavailable, None;
    /// The server is going down; acknowledged runs resume at the next start.
    ShuttingDown = "shutting_down", Unavailable, Some("the run goes on when the server is back; ask for it by its id");
    /// The store refused or failed an operation.
    Store = "store", Internal, Some("check the data directory's disk and permissions");
    /// A fault of this program.
    Internal = "internal", Internal, Some("please report this");
}

/// An error for a caller: public text only. Internal detail goes to the program's log where it arises.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The row of the table.
    pub code: Code,
    /// What is wrong, in words for the user.
    pub message: String,
    /// How to mend this very case; the table's hint where there is none.
    pub hint: Option<String>,
}

impl Error {
    /// An error with the table's hint.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), hint: None }
    }

    /// The same error with a hint of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// How to mend it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref().or(self.code.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Why an attempt failed, and whether another may succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The row of the error table.
    pub code: Code,
    /// What went wrong, in words for the user; never a secret.
    pub message: String,
    /// How to mend this very case; the table's hint where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether another attempt makes sense.
    pub class: Class,
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It may succeed later.
    Retryable {
        /// The least wait that the other side asked for, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
    /// It will fail again.
    Fatal,
}

impl Failure {
    /// A failure that another attempt would only repeat.
    pub fn fatal(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None, class: Class::Fatal }
    }

    /// A failure that may pass.
    pub fn retryable(code: Code, message: impl Into<String>, after_ms: Option<u64>) -> Failure {
        let class = Class::Retryable { after_ms };
        Failure { code, message: message.into(), hint: None, class }
    }

    /// How to mend it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref().or(self.code.hint())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let Error { code, message, hint } = error;
        Failure { code, message, hint, class: Class::Fatal }
    }
}

/// Names that are compared to find the nearest, and their greatest length in bytes: comparing takes as
/// long as the product of two lengths.
const COMPARED_NAMES: usize = 2_000;
const COMPARED_BYTES: usize = 64;

/// The nearest of the known names, best first, for messages about an unknown one; three at most.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if name.len() > COMPARED_BYTES {
        return Vec::new();
    }
    let mut scored: Vec<(f64, &str)> = known
        .filter(|candidate| candidate.len() <= COMPARED_BYTES)
        .take(COMPARED_NAMES)
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_long_ones_are_not_compared() {
        let known = ["fetch", "patch", "fetched", "other"];
        assert_eq!(nearest("fetsh", known.into_iter()), ["fetch", "fetched"]);
        let long = "a".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str()].into_iter()), [""; 0]);
        assert_eq!(nearest("aaa", [long.as_str()].into_iter()), [""; 0]);
    }
}
