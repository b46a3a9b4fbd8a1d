//! What it takes to begin a run, in every format.

use std::sync::Arc;

use waystation_core::error::Error;
use waystation_engine::driver::plans::Definition;
use waystation_engine::driver::{Origin, Submitted};

use crate::auth::principal::Scope;

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

/// On what terms somebody begins runs.
pub struct Terms {
    /// Where they may.
    pub scope: Scope,
    /// The span of theirs that the run is a part of, as the header `traceparent` writes it.
    pub trace: Option<String>,
}

impl Terms {
    /// Those of this program itself, and of whoever runs it.
    pub fn own() -> Terms {
        Terms { scope: Scope::All, trace: None }
    }

    /// What is kept of where the run comes from.
    pub fn origin(&self) -> Origin {
        Origin { trace: self.trace.clone(), ..Origin::default() }
    }
}

/// A run that has begun.
pub struct Begun {
    /// The run.
    pub submitted: Submitted,
    /// What it runs.
    pub definition: Arc<Definition>,
}
