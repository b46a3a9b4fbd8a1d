//! Servers of our own, on the loopback interface, gone with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::egress::install_tls;
use crate::egress::tls::Trust;
pub(super) use crate::event::redis::tests::server::free_port;

/// Holds all that could go wrong on its way into an address or a message.
pub(super) const PASSWORD: &str = "p@ss/w#rd ?%41:é&+'";
/// The same, as it stands in an address.
pub(super) const ENCODED: &str = "p%40ss%2Fw%23rd%20%3F%2541%3A%C3%A9%26%2B%27";

const DEADLINE: Duration = Duration::from_secs(60);

/// A running server and its files.
pub(super) struct Server {
    pub(super) port: u16,
    child: Child,
    _files: TempDir,
}

impl Server {
    /// Waits until the server takes connections.
    async fn ready(child: Child, port: u16, files: TempDir) -> Server {
        let mut server = Server { port, child, _files: files };
        server.wait(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        server
    }

    async fn wait(&mut self, is_ready: impl AsyncFn() -> bool) {
        let port = self.port;
        let start = Instant::now();
        while !is_ready().await {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(start.elapsed() < DEADLINE, "the server does not answer on port {port}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the server as its own kind of signal for that says, with all its processes.
    pub(super) fn stop(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-s", signal, &id]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop("QUIT");
    }
}

/// A PostgreSQL server with a superuser `waystation`.
pub(super) async fn postgres(certificate: Option<&Certificate>) -> Server {
    let files = TempDir::new().expect("a directory");
    let (data, port) = (files.path().join("data"), free_port());
    let password = files.path().join("password");
    fs::write(&password, PASSWORD).expect("a file");
    give_to_database_user(files.path());
    let binary = |name: &str| postgres_binary(name).to_string_lossy().into_owned();
    succeed(as_database_user(&binary("initdb")).args([
        "--no-sync",
        "--no-instructions",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "-A",
        "scram-sha-256",
        "-U",
        "waystation",
        "--pwfile",
        &password.to_string_lossy(),
        "-D",
        &data.to_string_lossy(),
    ]));
    let mut settings = vec![
        "fsync=off".to_owned(),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
    ];
    if let Some(certificate) = certificate {
        let (chain, key) = certificate.write(files.path());
        give_to_database_user(files.path());
        settings.push("ssl=on".to_owned());
        settings.push(format!("ssl_cert_file={}", chain.display()));
        settings.push(format!("ssl_key_file={}", key.display()));
    }
    let mut server = as_database_user(&binary("postgres"));
    server.args(["-D", &data.to_string_lossy(), "-p", &port.to_string()]);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let child =
        server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres starts");
    let mut server = Server::ready(child, port, files).await;
    // It takes connections before it answers queries.
    let ready = postgres_binary("pg_isready");
    let ask = || Command::new(&ready).args(["-h", "127.0.0.1", "-p", &port.to_string()]).output();
    server.wait(async || ask().expect("pg_isready").status.success()).await;
    server
}

/// The server's programs, which Debian keeps out of the path.
fn postgres_binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name));
    found.filter(|path| path.exists()).max().unwrap_or_else(|| name.into())
}

/// PostgreSQL refuses to run as root.
fn as_database_user(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
    command
}

fn give_to_database_user(files: &Path) {
    if is_root() {
        succeed(Command::new("chown").args(["-R", "postgres:postgres"]).arg(files));
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id");
    output.stdout.trim_ascii() == b"0"
}

/// A MariaDB server with a user `waystation` who may do anything in the database `test`.
pub(super) async fn mariadb(certificate: Option<&Certificate>) -> Server {
    let files = TempDir::new().expect("a directory");
    let (data, port) = (files.path().join("data"), free_port());
    let (data, socket) = (data.to_string_lossy(), files.path().join("socket"));
    let user = if is_root() { "--user=root" } else { "--skip-name-resolve" };
    succeed(Command::new("mariadb-install-db").args([
        "--no-defaults",
        user,
        "--skip-test-db",
        "--auth-root-authentication-method=normal",
        &format!("--datadir={data}"),
    ]));
    let script = files.path().join("init.sql");
    let password = PASSWORD.replace('\'', "''");
    let statements = format!(
        "CREATE DATABASE test CHARACTER SET utf8mb4;\n\
         CREATE USER waystation@'%' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON test.* TO waystation@'%';\n"
    );
    fs::write(&script, statements).expect("a file");
    let mut server = Command::new("mariadbd");
    server.args([
        "--no-defaults",
        user,
        "--bind-address=127.0.0.1",
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=0",
        &format!("--datadir={data}"),
        &format!("--port={port}"),
        &format!("--socket={}", socket.display()),
        &format!("--init-file={}", script.display()),
    ]);
    if let Some(certificate) = certificate {
        let (chain, key) = certificate.write(files.path());
        server.arg(format!("--ssl-cert={}", chain.display()));
        server.arg(format!("--ssl-key={}", key.display()));
    }
    let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.expect("these tests need mariadbd: install the package mariadb-server");
    Server::ready(child, port, files).await
}

/// A server with the wire protocol of MongoDB, which `.ci/tools` installs.
pub(super) async fn mongodb() -> Server {
    let files = TempDir::new().expect("a directory");
    let home = std::env::var("HOME").expect("a home directory");
    let program = Path::new(&home).join(".cache/waystation/servers-venv/bin/nx-27017");
    let port = free_port();
    let child = Command::new(&program)
        .args(["--db", "memory", "--port", &port.to_string()])
        .arg("--log-file")
        .arg(files.path().join("log"))
        .arg("--pid-file")
        .arg(files.path().join("pid"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("{program:?}: run .ci/tools: {error}"));
    Server::ready(child, port, files).await
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} is not there: run .ci/tools, which installs what tests need: {error}")
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A certificate for `localhost` of an authority that only this test trusts.
pub(in super::super) struct Certificate {
    authority: CertificateDer<'static>,
    chain: String,
    key: String,
}

impl Certificate {
    pub(in super::super) fn for_localhost() -> Certificate {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("a name");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).expect("a certificate");
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let own = own.signed_by(&key, &issuer).expect("a certificate");
        Certificate { authority: root.der().clone(), chain: own.pem(), key: key.serialize_pem() }
    }

    /// The files of certificate and key.
    pub(super) fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&chain, &self.chain).expect("a file");
        fs::write(&key, &self.key).expect("a file");
        succeed(Command::new("chmod").arg("600").arg(&key));
        (chain, key)
    }

    /// What a server with it says of itself.
    pub(in super::super) fn server(&self) -> Arc<ServerConfig> {
        install_tls();
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(chain, key).expect("a certificate"))
    }

    /// Trusts this authority alone.
    pub(in super::super) fn trust(&self) -> Trust {
        install_tls();
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("a root");
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Trust { config: config.into(), roots: vec![self.authority.clone()] }
    }
}
