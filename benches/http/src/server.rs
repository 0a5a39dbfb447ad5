//! The servers that are compared, each a process: of one thread on a core of its own, or as it
//! comes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::job::Kind;

/// All servers share this core, since they take turns; the client has the other.
const SERVER_CORE: &str = "1";
const CLIENT_CORE: &str = "0";

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What the processes run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// A server of one thread on a core, and the client on another.
    #[default]
    OneEach,
    /// All on all.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Ours,
    FastApi,
    /// FastAPI again, with its body declared as a model.
    FastApiDeclared,
    /// The same on what comes with FastAPI, uvicorn and NumPy: the event loop and the HTTP of
    /// Python.
    FastApiPlain,
    Axum,
}

impl Name {
    pub const ALL: [Self; 5] =
        [Self::Ours, Self::FastApi, Self::FastApiDeclared, Self::FastApiPlain, Self::Axum];

    pub fn text(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::FastApi => "FastAPI",
            Self::FastApiDeclared => "FastAPI, declared",
            Self::FastApiPlain => "FastAPI, plain",
            Self::Axum => "axum",
        }
    }

    pub fn target(self) -> &'static str {
        match self {
            Self::FastApiDeclared | Self::FastApiPlain => "/declared",
            _ => "/v1/multiply",
        }
    }

    /// Whether it is measured with such jobs.
    pub fn takes(self, kind: Kind) -> bool {
        match self {
            Self::Ours | Self::FastApi => true,
            Self::FastApiDeclared | Self::FastApiPlain | Self::Axum => kind == Kind::SmallJson,
        }
    }

    fn command(self, port: u16, cores: Cores) -> Command {
        let program = match self {
            Self::Ours => target_dir().join("release/gemmule"),
            Self::FastApi | Self::FastApiDeclared | Self::FastApiPlain => {
                peers_dir().join("bin/uvicorn")
            }
            Self::Axum => std::env::current_exe().unwrap_or_default().with_file_name("axum-peer"),
        };
        let mut command = match cores {
            Cores::OneEach => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", SERVER_CORE]).arg(program);
                command
            }
            Cores::Shared => Command::new(program),
        };
        match self {
            Self::Ours => {
                let listen = format!("127.0.0.1:{port}");
                command.args(["serve", "--anonymous", "--listen", &listen]);
                if cores == Cores::OneEach {
                    // Without compute threads the one that does I/O multiplies too, as the peers'
                    // does.
                    command.args(["--threads", "0"]);
                }
            }
            Self::FastApi | Self::FastApiDeclared | Self::FastApiPlain => {
                let [event_loop, http] = match self {
                    Self::FastApiPlain => ["asyncio", "h11"],
                    _ => ["uvloop", "httptools"],
                };
                command.args(["peer:app", "--loop", event_loop, "--http", http]);
                command.args(["--no-access-log", "--no-proxy-headers", "--log-level", "warning"]);
                command.args(["--app-dir", env!("CARGO_MANIFEST_DIR")]);
                command.args(["--port", &port.to_string()]);
                if cores == Cores::OneEach {
                    // NumPy's BLAS would start a thread for each core it may not use.
                    command.env("OPENBLAS_NUM_THREADS", "1");
                }
                command.env("PYTHONDONTWRITEBYTECODE", "1");
            }
            Self::Axum => {
                command.arg(port.to_string());
            }
        }
        command
    }
}

/// A server that takes connections, ended when it is dropped.
pub struct Server {
    pub name: Name,
    pub addr: SocketAddr,
    child: Child,
}

impl Server {
    pub fn start(name: Name, cores: Cores) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        // Our bills go where they would go in service: to a file, or away.
        let child = name.command(port, cores).stdout(Stdio::null()).spawn()?;
        let mut server = Self { name, addr: (Ipv4Addr::LOCALHOST, port).into(), child };
        let end = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(server.addr).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub fn cpu_time(&self) -> io::Result<Duration> {
        cpu_time(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is no error here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this thread, the client's, on its core where it has one.
pub fn place_client(cores: Cores) -> io::Result<()> {
    if cores == Cores::Shared {
        return Ok(());
    }
    let id = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "--pid", CLIENT_CORE, &id]).stdout(Stdio::null());
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("taskset can't keep the client on its core")),
    }
}

/// What a process has used of its cores so far, by proc(5): the 14th and 15th fields, in ticks of a
/// hundredth of a second. The second field ends in the last parenthesis of the line.
pub fn cpu_time(process: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().map_err(io::Error::other)?;
    Ok(Duration::from_millis(10 * ticks))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Where the product was built.
fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where `tools/http-peers` has put the Python peer.
fn peers_dir() -> PathBuf {
    root().join("target/http-peers")
}
