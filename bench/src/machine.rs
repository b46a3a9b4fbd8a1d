//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use crate::disk;

/// The machine and the programs, in words for the report.
pub(crate) fn facts(data: &Path) -> Vec<(&'static str, String)> {
    let load = read("/proc/loadavg");
    vec![
        ("processor", field("/proc/cpuinfo", "model name")),
        ("cores", available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("file system", disk::file_system(data).unwrap_or_else(|_| "unknown".to_owned())),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("load before the start", load.split(' ').next().unwrap_or_default().to_owned()),
        ("compiler", env!("COMPILER").to_owned()),
        ("date", output("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])),
        ("commit", output("git", &["describe", "--always", "--dirty"])),
    ]
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    value.unwrap_or_else(|| "unknown".to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
