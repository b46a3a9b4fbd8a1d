//! One scenario: its server started fresh, loaded, and measured.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::time::{sleep, sleep_until};

use crate::ceiling::{COMMITS, Sizes};
use crate::client::{Connection, Load, Request};
use crate::process::{Server, Usage, free_address, serve};
use crate::round::{AtRest, Round, Snapshot};
use crate::{trace, workload};

/// How long a started server is left alone before its memory at rest is read.
const SETTLE: Duration = Duration::from_millis(300);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// The engine: three steps that only compute.
    Pure,
    /// The engine: three steps that call a service.
    Http,
    /// One group-committed write of the same bytes.
    CeilingA,
    /// Three calls to the service and their commits.
    CeilingB,
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Scenario::Pure => "three pure steps",
            Scenario::Http => "three HTTP steps",
            Scenario::CeilingA => "ceiling (a): one write",
            Scenario::CeilingB => "ceiling (b): three calls",
        })
    }
}

/// Everything that the scenarios share.
pub(crate) struct Bench {
    /// The engine's program.
    pub(crate) engine: PathBuf,
    /// Where the databases are put.
    pub(crate) data: PathBuf,
    /// The time before anything is counted.
    pub(crate) warm_up: Duration,
    /// The time that counts.
    pub(crate) measured: Duration,
    /// The sizes of ceiling (a)'s write and answer.
    pub(crate) sizes_a: Sizes,
    /// The sizes of ceiling (b)'s writes and answer.
    pub(crate) sizes_b: Sizes,
    /// The service that the steps call.
    pub(crate) service: SocketAddr,
}

/// A server with the directory it writes to, which goes when the server has ended.
pub(crate) struct Launched {
    server: Server,
    directory: TempDir,
}

impl Bench {
    /// Starts the service that the steps call.
    pub(crate) fn start_service(directory: &Path) -> Result<Server> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["target", "--address", &address.to_string()]);
        Server::start(command, address, &directory.join("target.log"))
    }

    /// One round with a fresh server and an empty store. A traced round counts the syncs, and its
    /// other figures suffer from the tracing.
    pub(crate) async fn round(
        &self,
        scenario: Scenario,
        connections: usize,
        traced: bool,
    ) -> Result<Round> {
        let launched = self.launch(scenario, traced)?;
        let address = launched.server.address;
        let request = self.request(scenario);
        sleep(SETTLE).await;
        let at_rest = AtRest {
            started_in: launched.server.started_in,
            resident_bytes: launched.server.usage()?.resident_bytes,
        };
        self.probe(scenario, address, request.clone()).await?;
        let (warm_up, measured) = (self.warm_up, self.measured);
        let running = Load { address, request, connections, warm_up, measured }.start();
        sleep_until(running.from).await;
        let before = launched.snapshot().await?;
        sleep_until(running.until).await;
        let after = launched.snapshot().await?;
        Ok(Round::new(&at_rest, &before, &after, measured, running.finish().await?))
    }

    /// The size of the answer to one run of a scenario.
    pub(crate) async fn reply_bytes(&self, scenario: Scenario) -> Result<usize> {
        let launched = self.launch(scenario, false)?;
        self.probe(scenario, launched.server.address, self.request(scenario)).await
    }

    /// Makes sure that a run works and that the engine's answer depends on its input; answers the
    /// answer's size.
    async fn probe(
        &self,
        scenario: Scenario,
        address: SocketAddr,
        mut request: Request,
    ) -> Result<usize> {
        const NUMBER: u64 = 777_000_000_777;
        request.set_number(NUMBER);
        let mut connection = Connection::open(address).await?;
        let answer = connection.exchange(&request).await?;
        let shown = String::from_utf8_lossy(answer.body);
        ensure!(answer.is_success(), "{scenario}: status {}: {shown}", answer.status);
        let expected = match scenario {
            Scenario::Pure => format!("Order {NUMBER} for Ada Lovelace: 1250"),
            Scenario::Http => "accepted".to_owned(),
            Scenario::CeilingA | Scenario::CeilingB => String::new(),
        };
        ensure!(shown.contains(&expected), "{scenario}: the answer lacks {expected:?}: {shown}");
        Ok(answer.body.len())
    }

    /// What a scenario's server is sent; a ceiling gets the same as the engine.
    pub(crate) fn body(&self, scenario: Scenario) -> String {
        match scenario {
            Scenario::Pure | Scenario::CeilingA => workload::pure(),
            Scenario::Http | Scenario::CeilingB => workload::http(self.service),
        }
    }

    fn request(&self, scenario: Scenario) -> Request {
        Request::post("/execute", &self.body(scenario))
    }

    /// The engine on an empty store.
    pub(crate) fn launch_engine(&self) -> Result<Launched> {
        self.launch(Scenario::Pure, false)
    }

    fn launch(&self, scenario: Scenario, traced: bool) -> Result<Launched> {
        let directory = tempfile::tempdir_in(&self.data).context("create a data directory")?;
        let data = directory.path().join("data");
        std::fs::create_dir(&data)?;
        let address = free_address()?;
        let mut command = self.command(scenario, address, &data)?;
        if traced {
            command = trace::traced(&command, &trace::file_in(directory.path()));
        }
        let server = Server::start(command, address, &directory.path().join("server.log"))?;
        Ok(Launched { server, directory })
    }

    fn command(&self, scenario: Scenario, address: SocketAddr, data: &Path) -> Result<Command> {
        let (name, sizes) = match scenario {
            Scenario::Pure | Scenario::Http => {
                return Ok(serve(&self.engine, address, data));
            }
            Scenario::CeilingA => ("ceiling-a", self.sizes_a),
            Scenario::CeilingB => ("ceiling-b", self.sizes_b),
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args([name, "--address", &address.to_string(), "--data"]).arg(data);
        command.args(["--journal-bytes", &sizes.journal_bytes.to_string()]);
        command.args(["--reply-bytes", &sizes.reply_bytes.to_string()]);
        if scenario == Scenario::CeilingB {
            command.args(["--service", &self.service.to_string()]);
        }
        Ok(command)
    }
}

impl Launched {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            server: self.server.usage()?,
            client: Usage::of_this_process()?,
            commits: counter(self.server.address, COMMITS).await?,
            syncs: trace::syncs(&trace::file_in(self.directory.path())),
        })
    }
}

/// What a counter of a server has come to, if it counts that.
pub(crate) async fn counter(address: SocketAddr, name: &str) -> Result<Option<u64>> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.exchange(&Request::get("/metrics")).await?;
    Ok(sum_of(name, &String::from_utf8_lossy(answer.body)))
}

/// The sum of a counter over all its labels in a page of metrics.
fn sum_of(name: &str, page: &str) -> Option<u64> {
    let samples = page.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with([' ', '{']));
    let values = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
    values.map(|value| value as u64).reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let page = "# TYPE commits counter\ncommits{kind=\"run\"} 3\ncommits{kind=\"x y\"} 4\n\
                    commits_total 9\n";
        assert_eq!(sum_of("commits", page), Some(7));
        assert_eq!(sum_of("absent", page), None);
    }
}
