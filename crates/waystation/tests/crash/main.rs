//! Durability proved from outside: the process is killed, and the servers that it calls keep a
//! ledger of what they saw.
//!
//! - [`ledger`]: the servers that are called
//! - [`process`]: the server that is killed
//! - [`definition`]: pipelines to run
//! - [`durable`]: what the data directory holds while no server runs
//! - [`fill`]: many runs written at once
//! - [`audit`]: whether ledger, journals and replies agree
//! - [`random`]: chance that can be replayed
//!
//! `WAYSTATION_KILLS` is the number of kills under load, `WAYSTATION_KILL_SEED` replays them.

mod audit;
mod definition;
mod durable;
mod fill;
mod ledger;
mod load;
mod notices;
mod points;
mod process;
mod random;
mod restart;
mod stop;
