//! Writes happen once: one of which it is not known that it never reached its source is not tried again.

use quick_cache::sync::Cache;
use waystation_core::error::{Class, Code, Failure};

use super::SourceType;
use crate::limits::SOURCE_WRITES_REMEMBERED;
use crate::node::Call;

/// What is known of writes that failed.
pub(super) struct Writes {
    /// Those that never reached their source, by idempotency key.
    unsent: Cache<String, ()>,
}

impl Writes {
    pub(super) fn new() -> Writes {
        Writes { unsent: Cache::new(SOURCE_WRITES_REMEMBERED) }
    }

    /// Refuses a write of which an earlier attempt may have been carried out: that attempt was cut
    /// short by its timeout, a crash or a restart.
    pub(super) fn check(&self, source: SourceType, call: &Call) -> Result<(), Failure> {
        let is_first = call.context.attempt() == 1 && !call.is_repeated;
        if is_first || self.unsent.remove(&call.idempotency_key).is_some() {
            return Ok(());
        }
        Err(uncertain(source, "an earlier attempt was cut short"))
    }

    /// What a failed write means: it may be tried again only where it was never sent.
    pub(super) fn judge(
        &self,
        failure: Failure,
        is_sent: bool,
        (source, key): (SourceType, &str),
    ) -> Failure {
        match failure.class {
            Class::Fatal => failure,
            Class::Retryable { .. } if is_sent => uncertain(source, &failure.message),
            Class::Retryable { .. } => {
                self.unsent.insert(key.to_owned(), ());
                failure
            }
        }
    }
}

fn uncertain(source: SourceType, why: &str) -> Failure {
    let text = format!("The write to {} may have happened, or not: {why}", source.title());
    Failure::fatal(Code::WriteUncertain, text)
}
