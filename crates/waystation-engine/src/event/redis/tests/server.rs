//! A redis-server of our own, on the loopback interface, gone with the test.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// Holds all that could go wrong on its way into an address.
pub(crate) const PASSWORD: &str = "p@ss/w#rd ?%41:é&+";

const DEADLINE: Duration = Duration::from_secs(20);
/// Below the range from which systems give ports to outgoing connections: nobody takes one of these
/// while its server is down for a moment.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

pub(crate) struct Server {
    pub(crate) port: u16,
    child: Child,
}

/// A port that nobody listens on, another one each time.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let first = (std::process::id() % u32::from(span)) as u16;
    loop {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_at(free_port()).await
    }

    /// Starts a server and waits until it answers.
    pub(crate) async fn start_at(port: u16) -> Server {
        let mut child = Command::new("redis-server")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server: install the package redis-server");
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsave \"\"\nappendonly no\nrequirepass \"{PASSWORD}\"\n"
        );
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let server = Server { port, child };
        let start = Instant::now();
        while server.connect().await.is_err() {
            assert!(start.elapsed() < DEADLINE, "redis-server does not answer on port {port}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let address = ConnectionAddr::Tcp("127.0.0.1".into(), self.port).into_connection_info()?;
        let settings = RedisConnectionInfo::default().set_password(PASSWORD);
        let client = redis::Client::open(address.set_redis_settings(settings))?;
        client.get_multiplexed_async_connection().await
    }

    pub(crate) async fn get(&self, key: &str) -> String {
        self.connect().await.unwrap().get(key).await.unwrap()
    }

    pub(crate) async fn seconds_left(&self, key: &str) -> i64 {
        self.connect().await.unwrap().ttl(key).await.unwrap()
    }

    pub(crate) async fn configure(&self, name: &str, value: &str) {
        let mut connection = self.connect().await.unwrap();
        let mut command = redis::cmd("CONFIG");
        let command = command.arg("SET").arg(name).arg(value);
        command.query_async::<()>(&mut connection).await.unwrap();
    }

    /// Stops or continues the process.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
