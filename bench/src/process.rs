//! Servers as child processes, and what the kernel says of them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(30);
/// The pause between two attempts to connect to a server that starts.
const POLL: Duration = Duration::from_millis(1);
/// The clock ticks per second in which Linux states processor time, the same on every machine that
/// this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The command that starts an engine on a directory of data.
pub(crate) fn serve(engine: &Path, address: SocketAddr, data: &Path) -> Command {
    let mut command = Command::new(engine);
    command.args(["serve", "--host", &address.ip().to_string()]);
    command.args(["--port", &address.port().to_string(), "--data"]).arg(data);
    command
}

/// A child process that listens. It ends with this value.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The time from its start until it accepted a connection.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts a command and waits until something listens at the address. What it writes to its
    /// standard error is kept in the log.
    pub(crate) fn start(mut command: Command, address: SocketAddr, log: &Path) -> Result<Server> {
        let log_file = fs::File::create(log).context("create the server's log")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
        let began = Instant::now();
        let child =
            command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let mut server = Server { child, address, started_in: Duration::ZERO };
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}: {}", fs::read_to_string(log)?.trim());
            }
            if began.elapsed() > START_MAX {
                bail!("the server does not listen at {address} after {START_MAX:?}");
            }
            thread::sleep(POLL);
        }
        server.started_in = began.elapsed();
        Ok(server)
    }

    /// The number under which the kernel knows it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(&self.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on this machine at which nothing listens.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}

/// What a process has used since it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time in user and system mode, all threads.
    pub(crate) cpu: Duration,
    /// Bytes that it caused to be written to storage.
    pub(crate) written_bytes: u64,
    /// Memory resident now.
    pub(crate) resident_bytes: u64,
    /// The part of it that is the program's own, and no file's.
    pub(crate) own_bytes: u64,
    /// The most memory that was ever resident.
    pub(crate) resident_bytes_max: u64,
}

impl Usage {
    /// What this process has used.
    pub(crate) fn of_this_process() -> Result<Usage> {
        Usage::of("self")
    }

    fn of(process: &str) -> Result<Usage> {
        let read = |name: &str| {
            let path = PathBuf::from("/proc").join(process).join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let (status, io) = (read("status")?, read("io")?);
        Ok(Usage {
            cpu: cpu_time(&read("stat")?)?,
            written_bytes: field(&io, "write_bytes:")?,
            resident_bytes: field(&status, "VmRSS:")? * 1024,
            own_bytes: field(&status, "RssAnon:")? * 1024,
            resident_bytes_max: field(&status, "VmHWM:")? * 1024,
        })
    }
}

/// What the machine's processors have done since it started, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processors {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl Processors {
    /// Of this machine.
    pub(crate) fn now() -> Result<Processors> {
        Processors::read(&fs::read_to_string("/proc/stat").context("read /proc/stat")?)
    }

    /// The first line counts for all processors: user, nice, system, idle, waiting, interrupts of both kinds,
    /// stolen by other machines on the same hardware.
    fn read(stat: &str) -> Result<Processors> {
        let fields = stat.strip_prefix("cpu ").and_then(|rest| rest.lines().next());
        let fields = fields.context("no line of all processors")?.split_whitespace();
        let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>()?;
        let &[_, _, _, idle, waiting, _, _, stolen] = &*ticks else {
            bail!("times of processors that nobody knows: {stat}");
        };
        Ok(Processors { all: ticks.iter().sum(), idle: idle + waiting, stolen })
    }

    /// The shares since an earlier moment that were idle and stolen, in percent.
    pub(crate) fn since(self, earlier: Processors) -> (f64, f64) {
        let share = |of: fn(&Processors) -> u64| {
            let all = self.all.saturating_sub(earlier.all).max(1);
            of(&self).saturating_sub(of(&earlier)) as f64 * 100.0 / all as f64
        };
        (share(|one| one.idle), share(|one| one.stolen))
    }
}

/// The program's name stands in parentheses and may hold anything, so fields count from its end.
fn cpu_time(stat: &str) -> Result<Duration> {
    let (_, fields) = stat.rsplit_once(')').context("a process state without a name")?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (times.next(), times.next()) else {
        bail!("a process state without times");
    };
    Ok(Duration::from_secs_f64((user + system) as f64 / TICKS_PER_SECOND))
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no field {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 5 0 100";
        assert_eq!(cpu_time(stat).unwrap(), Duration::from_secs(3));
        assert!(cpu_time("7 (a) S 1").is_err());
    }

    #[test]
    fn shares_of_processors_are_of_the_time_between() {
        let stat = |line: &str| Processors::read(&format!("{line}\ncpu0 1 2\n")).unwrap();
        let earlier = stat("cpu  100 0 0 100 0 0 0 0 0 0");
        let later = stat("cpu  150 5 5 120 10 5 0 5 7 7");
        assert_eq!(later.since(earlier), (30.0, 5.0));
        assert!(Processors::read("cpu  1 2 3").is_err());
    }

    #[test]
    fn this_process_has_memory() {
        let usage = Usage::of_this_process().unwrap();
        assert!(usage.resident_bytes > 0 && usage.resident_bytes <= usage.resident_bytes_max);
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such setting >&2; exit 3"]);
        let address = free_address().unwrap();
        let error = Server::start(command, address, &directory.path().join("log")).err().unwrap();
        assert!(error.to_string().contains("no such setting"), "{error}");
    }
}
