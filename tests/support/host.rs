//! The service as a Linux process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const LINE_TIMEOUT: Duration = Duration::from_secs(20);

/// A running `gemmule serve`, ended when it is dropped.
pub struct Host {
    child: Child,
    addr: SocketAddr,
    console: Arc<Mutex<String>>,
}

impl Host {
    /// Starts the server on a free port, with `arguments` behind, and waits until it serves whoever
    /// comes.
    pub fn serve(arguments: &[&str]) -> Self {
        Self::start(&[&["--anonymous"], arguments].concat())
    }

    /// The same, for those who have keys.
    pub fn start(arguments: &[&str]) -> Self {
        // Cargo names it to tests and benchmarks, which are all that start one.
        let binary = option_env!("CARGO_BIN_EXE_gemmule").unwrap_or_default();
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let addr = lines.by_ref().find_map(|line| {
            let line = line.expect("it is text");
            line.strip_prefix("gemmule: serving on ").map(|addr| addr.parse().expect("an address"))
        });
        let addr = addr.expect("the address it serves on");
        let console = Arc::new(Mutex::new(String::new()));
        let sink = console.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut console = sink.lock().expect("no reader panics");
                console.push_str(&line);
                console.push('\n');
            }
        });
        Self { child, addr, console }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The most memory that it has had resident since it started, in bytes.
    pub fn resident_bytes_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("the kernel tells");
        kib.trim().parse::<u64>().expect("a number") * 1024
    }

    /// What it has printed since it serves.
    pub fn console(&self) -> String {
        self.console.lock().expect("no writer panics").clone()
    }

    /// Waits for a line that contains `text`, among those printed since it serves.
    pub fn wait_for_line(&self, text: &str) -> String {
        let end = Instant::now() + LINE_TIMEOUT;
        loop {
            let console = self.console();
            if let Some(line) = console.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no {text:?} after {LINE_TIMEOUT:?}: {console}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop, as `kill` does.
    pub fn terminate(&self) {
        // The shell's own command: a small system has no program of that name.
        let command = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell runs");
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn wait(mut self, timeout: Duration) -> ExitStatus {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "it still runs after {timeout:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already, which is no error here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
