//! What it takes to begin a run, in every format.

use std::sync::Arc;

use waystation_core::error::Error;
use waystation_engine::driver::Submitted;
use waystation_engine::driver::plans::Definition;

/// Why a run did not begin.
#[derive(Debug)]
pub enum Refusal {
    /// The definition has problems.
    Invalid(Vec<String>),
    /// The request or the server's state does not allow it.
    Error(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Error(error)
    }
}

/// A run that has begun.
pub struct Begun {
    /// The run.
    pub submitted: Submitted,
    /// What it runs.
    pub definition: Arc<Definition>,
}
