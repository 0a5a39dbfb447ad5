//! The server that is measured, and the places of the volumes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use crate::http::Client;

/// All threads of a server share this core, so that what a ledger's thread does is not for nothing;
/// the client has the other.
const SERVER_CORE: &str = "1";
const CLIENT_CORE: &str = "0";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_micros(200);

/// A server, killed when it is dropped.
pub struct Server {
    pub addr: SocketAddr,
    /// From the start of the process to the first answer.
    pub started_in: Duration,
    child: Child,
}

impl Server {
    /// Starts one and waits until it answers. Its bills go away, as they would to a file.
    pub fn start(arguments: &[&str]) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = Instant::now();
        let child = Command::new("taskset")
            .args(["--cpu-list", SERVER_CORE, env!("CARGO_BIN_EXE_gemmule"), "serve"])
            .args(["--listen", &addr.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { addr, started_in: Duration::ZERO, child };
        while !server.is_healthy() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended with {status}")));
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(POLL_PAUSE);
        }
        server.started_in = started.elapsed();
        Ok(server)
    }

    fn is_healthy(&self) -> bool {
        let answer = || Client::connect(self.addr, START_TIMEOUT)?.get("/healthz");
        answer().is_ok_and(|response| response.status == 200)
    }

    /// The most memory that it has had resident since it started.
    pub fn resident_bytes_max(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmHWM in the status"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is no error here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path for a volume, of which nothing is left when this is dropped.
pub struct Place(PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        Self(env::temp_dir().join(format!("gemmule-bench-{name}-{}", process::id())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn text(&self) -> &str {
        self.0.to_str().expect("the directory's name is text")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may not have been made.
        let _ = fs::remove_file(&self.0);
    }
}

/// Keeps this process, the client, on its core.
pub fn pin_client() -> io::Result<()> {
    let id = process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "--pid", CLIENT_CORE, &id]).stdout(Stdio::null());
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("taskset can't keep the client on its core")),
    }
}
