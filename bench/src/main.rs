//! Loads Waystation and the ceilings beside it, and reports how they compare.

mod answer;
mod api;
mod append_cost;
mod cached_answer;
mod ceiling;
mod chain_report;
mod chains;
mod client;
mod disk;
mod engine_cost;
mod faults;
mod graphs;
mod histogram;
mod journal;
mod lists;
mod machine;
mod onlooker;
mod process;
mod report;
mod round;
mod scenario;
mod suite;
mod target;
mod trace;
mod verdict;
mod watched;
mod watchers;
mod workload;

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use ceiling::{Sizes, Work};
use scenario::{Bench, Scenario};

/// Measures Waystation against what the same machine, HTTP server and store can do without it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures every scenario beside its ceiling and writes the report.
    All {
        #[command(flatten)]
        settings: Settings,
        /// Rounds of each scenario; medians are reported.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        #[command(flatten)]
        amounts: graphs::Amounts,
        #[command(flatten)]
        filling: lists::Filling,
        #[command(flatten)]
        watching: watchers::Crowd,
        /// The file for the report instead of the standard output.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Measures one scenario, for a profiler or a quick look.
    One {
        /// Which one.
        scenario: Scenario,
        #[command(flatten)]
        settings: Settings,
        /// Rounds; medians are reported.
        #[arg(long, default_value_t = 1)]
        rounds: usize,
    },
    /// Measures instruction chains alone.
    Chains {
        #[command(flatten)]
        settings: Settings,
    },
    /// Measures lists of runs in a store that holds many.
    Lists {
        /// A directory on the disk to measure; the store is made in it and removed.
        #[arg(long, default_value = ".")]
        data: PathBuf,
        #[command(flatten)]
        filling: lists::Filling,
    },
    /// Measures graphs: many items with a crash in between, many programs, many runs asleep.
    Graphs {
        #[command(flatten)]
        site: Site,
        #[command(flatten)]
        amounts: graphs::Amounts,
    },
    /// Measures thousands of clients that watch one job. Needs two cores and `taskset`.
    Watchers {
        #[command(flatten)]
        site: Site,
        #[command(flatten)]
        amounts: watchers::Crowd,
    },
    /// Loads the engine at 80% of its peak while things go wrong. Needs `redis-server`.
    Faults {
        #[command(flatten)]
        site: Site,
        #[command(flatten)]
        amounts: faults::Amounts,
        /// The file for the report instead of the standard output.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Watches a job; the benchmark starts it.
    #[command(hide = true)]
    Onlookers {
        /// Where the server listens.
        #[arg(long)]
        address: SocketAddr,
        /// The job.
        #[arg(long)]
        job: String,
        /// How many watch it.
        #[arg(long)]
        clients: usize,
    },
    /// Serves ceiling (a); the benchmark starts it.
    #[command(hide = true)]
    CeilingA(CeilingArguments),
    /// Serves ceiling (b); the benchmark starts it.
    #[command(hide = true)]
    CeilingB {
        #[command(flatten)]
        ceiling: CeilingArguments,
        /// The service to call.
        #[arg(long)]
        service: SocketAddr,
    },
    /// Measures the engine alone on a plan of so many nodes; the benchmark starts it.
    #[command(hide = true)]
    EngineCost {
        /// How many.
        #[arg(long)]
        nodes: u32,
        /// Where to put the store.
        #[arg(long)]
        data: PathBuf,
    },
    /// Measures one append through the engine's store; the benchmark starts it.
    #[command(hide = true)]
    AppendCost {
        /// Where to put the store.
        #[arg(long)]
        data: PathBuf,
    },
    /// Serves what the steps call; the benchmark starts it.
    #[command(hide = true)]
    Target {
        /// Where to listen.
        #[arg(long)]
        address: SocketAddr,
    },
}

/// What is measured, and where.
#[derive(Args)]
struct Site {
    /// The engine's program; by default the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// A directory on the disk to measure; databases are made in it and removed.
    #[arg(long, default_value = ".")]
    data: PathBuf,
}

impl Site {
    fn place(&self) -> Result<api::Place<'_>> {
        Ok(api::Place { engine: engine_beside(self.server.clone())?, data: &self.data })
    }
}

#[derive(Args)]
struct Settings {
    #[command(flatten)]
    site: Site,
    /// Connections at work at the same time.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The time that counts in each round, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The time before it, in seconds.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// The sizes that the ceilings write and answer. `all` takes the answers' from the engine.
    #[command(flatten)]
    sizes: Sizes,
}

#[derive(Args)]
struct CeilingArguments {
    /// Where to listen.
    #[arg(long)]
    address: SocketAddr,
    /// Where to put the database.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    sizes: Sizes,
}

fn main() -> Result<()> {
    // It fails only where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::All { settings, rounds, amounts, filling, watching, output } => {
            ensure!(rounds > 0, "at least one round");
            let measured = all(&settings, rounds, (&amounts, &filling, &watching))?;
            report::write(&mut output_to(output)?, &measured).context("write the report")
        }
        Command::One { scenario, settings, rounds } => one(&settings, scenario, rounds),
        Command::Chains { settings } => chains(&settings),
        Command::Lists { data, filling } => {
            let runtime = tokio::runtime::Runtime::new()?;
            let section = runtime.block_on(lists::measure(&data, &filling))?;
            Ok(io::stdout().lock().write_all(section.as_bytes())?)
        }
        Command::Graphs { site, amounts } => {
            let place = site.place()?;
            let runtime = tokio::runtime::Runtime::new()?;
            let section = runtime.block_on(graphs::measure(&place, &amounts))?;
            Ok(io::stdout().lock().write_all(section.as_bytes())?)
        }
        Command::Watchers { site, amounts } => {
            let place = site.place()?;
            let runtime = tokio::runtime::Runtime::new()?;
            let section = runtime.block_on(watchers::measure(&place, &amounts))?;
            Ok(io::stdout().lock().write_all(section.as_bytes())?)
        }
        Command::Faults { site, amounts, output } => {
            let place = site.place()?;
            let runtime = tokio::runtime::Runtime::new()?;
            let facts = machine::facts(place.data);
            let section = runtime.block_on(faults::measure(&place, &amounts))?;
            let out = &mut output_to(output)?;
            write!(
                out,
                "# Results with faults\n\nWritten by `waystation-bench faults`.\n\n{section}\n"
            )?;
            Ok(report::facts(out, &facts)?)
        }
        Command::Onlookers { address, job, clients } => {
            on_one_thread(onlooker::run(address, &job, clients, &mut io::stdout()))
        }
        Command::CeilingA(ceiling) => serve_ceiling(&ceiling, Work::OneWrite),
        Command::CeilingB { ceiling, service } => serve_ceiling(&ceiling, Work::Calls { service }),
        Command::EngineCost { nodes, data } => {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(engine_cost::one(&data, nodes, &mut io::stdout().lock()))
        }
        Command::AppendCost { data } => {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(append_cost::run(&data, &mut io::stdout().lock()))
        }
        Command::Target { address } => on_one_thread(target::serve(address)),
    }
}

fn output_to(path: Option<PathBuf>) -> Result<Box<dyn Write>> {
    Ok(match path {
        Some(path) => Box::new(File::create(path).context("create the report")?),
        None => Box::new(io::stdout().lock()),
    })
}

/// Measures everything, one after another.
fn all(
    settings: &Settings,
    rounds: usize,
    (amounts, filling, watching): (&graphs::Amounts, &lists::Filling, &watchers::Crowd),
) -> Result<report::Measured> {
    ensure!(settings.connections > 1, "at least two connections");
    let facts = machine::facts(&settings.site.data);
    let logs = tempfile::tempdir()?;
    let service = Bench::start_service(logs.path())?;
    let mut bench = settings.bench(service.address)?;
    let costs = engine_cost::all(&settings.site.data)?;
    let outcome = on_one_thread(suite::run(&mut bench, settings.connections, rounds))?;
    let chains = on_one_thread(chain_report::measure(&bench, settings.connections))?;
    let place = settings.site.place()?;
    let graphs = tokio::runtime::Runtime::new()?.block_on(graphs::measure(&place, amounts))?;
    let lists =
        tokio::runtime::Runtime::new()?.block_on(lists::measure(&settings.site.data, filling))?;
    let watchers = tokio::runtime::Runtime::new()?.block_on(watchers::measure(&place, watching))?;
    Ok(report::Measured { facts, bench, outcome, costs, chains, graphs, lists, watchers })
}

fn one(settings: &Settings, scenario: Scenario, rounds: usize) -> Result<()> {
    let logs = tempfile::tempdir()?;
    let service = Bench::start_service(logs.path())?;
    let bench = settings.bench(service.address)?;
    let case = on_one_thread(suite::one(&bench, scenario, settings.connections, rounds))?;
    report::write_case(&mut io::stdout().lock(), &case).context("write the report")
}

fn chains(settings: &Settings) -> Result<()> {
    let logs = tempfile::tempdir()?;
    let service = Bench::start_service(logs.path())?;
    let bench = settings.bench(service.address)?;
    let figures = on_one_thread(chain_report::measure(&bench, settings.connections))?;
    chain_report::write(&mut io::stdout().lock(), &figures).context("write the report")
}

impl Settings {
    fn bench(&self, service: SocketAddr) -> Result<Bench> {
        Ok(Bench {
            engine: engine_beside(self.site.server.clone())?,
            data: self.site.data.clone(),
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            measured: Duration::try_from_secs_f64(self.seconds)?,
            sizes_a: self.sizes,
            sizes_b: self.sizes,
            service,
        })
    }
}

/// The engine's program, by default the one beside this program.
fn engine_beside(said: Option<PathBuf>) -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("waystation");
    Ok(said.unwrap_or(beside))
}

/// A ceiling has as many threads as the engine: one a core, and its store's writer.
fn serve_ceiling(arguments: &CeilingArguments, work: Work) -> Result<()> {
    let CeilingArguments { address, data, sizes } = arguments;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(ceiling::serve(*address, data, work, *sizes))
}

/// The load client and the called service leave the cores to the server as far as they can.
fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_one() {
        Arguments::command().debug_assert();
    }
}
