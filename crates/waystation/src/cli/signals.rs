//! Signals of the operating system that ask the program to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use waystation_core::error::{Code, Error};

/// Listens from now on, so that no moment is left in which the signal would end the process.
pub(super) fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| Error::new(Code::Internal, format!("no signals: {error}")))
}

/// Ctrl-C, and the signal that service managers send.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Stop, Error> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Stop { interrupt: listen(interrupt)?, terminate: listen(terminate)? })
    }

    /// Waits for either.
    pub(super) async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
