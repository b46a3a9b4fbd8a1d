//! A sandbox worker of its own: what `waystation sandbox-worker` is in the whole program. With an
//! argument it tries something that no program may.

use std::net::{TcpStream, UdpSocket};
use std::process::{Command, ExitCode};

use waystation_engine::sandbox::worker::{confined, serve};

fn main() -> ExitCode {
    let attempt: fn() = match std::env::args().nth(1).as_deref() {
        None => return serve(),
        Some("open") => || drop(std::fs::read("/etc/passwd")),
        Some("write") => || drop(std::fs::write("/tmp/waystation-escaped", "x")),
        Some("list") => || drop(std::fs::read_dir("/")),
        Some("connect") => || drop(TcpStream::connect("127.0.0.1:9")),
        Some("send") => || drop(UdpSocket::bind("127.0.0.1:0")),
        Some("start") => || drop(Command::new("/bin/true").status()),
        Some("thread") => || drop(std::thread::Builder::new().spawn(|| ())),
        Some(other) => panic!("{other} is nothing to try"),
    };
    confined(attempt)
}
