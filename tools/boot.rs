//! `make run` and `make demo`: boots the image in QEMU, posts the README's job with curl, and
//! serves until interrupted, or powers off at once. With a disk, bills are there the next time.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use support::vm::{Guest, Machine, Vm, VmOptions};

/// How long the machine may take to deliver what it owes and power off.
const POWER_OFF_TIMEOUT: Duration = Duration::from_secs(40);

/// The README's job.
const JOB: &str = r#"{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}"#;

/// Bytes of a disk that is made here. They take none of the host's disk before they are written.
const DISK_BYTES: u64 = 256 << 20;

const USAGE: &str = "usage: boot [--machine q35|microvm] [--port N] [--disk FILE] [--once]";

struct Options {
    machine: Machine,
    port: u16,
    disk: Option<PathBuf>,
    is_demo: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("boot: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Options { machine, port, disk, is_demo } = options;
    if let Some(path) = &disk
        && let Err(error) = make_disk(path)
    {
        eprintln!("boot: {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let guest = Guest::image("");
    let options = VmOptions { port, disk, detached: true, ..VmOptions::new(machine, guest) };
    let mut vm = Vm::boot(&options);
    let addr = vm.addr();
    println!("{} answers on http://{addr} after {:?}", machine.name(), vm.ready_after());
    let url = format!("http://{addr}/v1/multiply");
    let arguments = ["-sS", "-i", &url, "-H", "Content-Type: application/json", "-d", JOB];
    println!("$ curl -i {url} -H 'Content-Type: application/json' -d '{JOB}'");
    let curl = Command::new("curl").args(arguments).status();
    println!();
    if !curl.is_ok_and(|status| status.success()) {
        eprintln!("boot: curl has failed\n{}", vm.describe());
        return ExitCode::FAILURE;
    }
    match vm.console_line(Duration::from_secs(5), |line| line.starts_with("bill ")) {
        Some(line) => println!("console: {line}"),
        None => {
            eprintln!("boot: no bill on the console\n{}", vm.describe());
            return ExitCode::FAILURE;
        }
    }
    if !is_demo {
        println!("serving; interrupt to power off");
        wait_for_signal_or_end(&mut vm);
    }
    power_off(&mut vm)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { machine: Machine::Microvm, port: 0, disk: None, is_demo: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--machine" => {
                let name = arguments.next().unwrap_or_default();
                options.machine = Machine::ALL
                    .into_iter()
                    .find(|machine| machine.name() == name)
                    .ok_or_else(|| format!("{name:?} is not a machine"))?;
            }
            "--port" => {
                let number = arguments.next().unwrap_or_default();
                options.port = number.parse().map_err(|_| format!("{number:?} is not a port"))?;
            }
            "--disk" => {
                let path = arguments.next().filter(|path| !path.is_empty());
                options.disk = Some(path.ok_or("--disk needs a file")?.into());
            }
            "--once" => options.is_demo = true,
            _ => return Err(format!("{argument:?} is not an option")),
        }
    }
    Ok(options)
}

/// Makes an empty disk where there is none yet.
fn make_disk(path: &Path) -> io::Result<()> {
    match File::create_new(path) {
        Ok(file) => file.set_len(DISK_BYTES),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns when the user interrupts, or when the machine has ended by itself.
fn wait_for_signal_or_end(vm: &mut Vm) {
    let (mut reader, writer) = UnixStream::pair().expect("a pair of sockets");
    for signal in [SIGINT, SIGTERM] {
        let writer = writer.try_clone().expect("a second handle");
        signal_hook::low_level::pipe::register(signal, writer).expect("a signal can be caught");
    }
    reader.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out can be set");
    while reader.read(&mut [0]).is_err() && vm.wait(Duration::ZERO).is_none() {}
}

fn power_off(vm: &mut Vm) -> ExitCode {
    // A machine that has ended has no monitor any more; its status says why it ended.
    let _ = vm.powerdown();
    match vm.wait(POWER_OFF_TIMEOUT) {
        Some(status) if status.success() => {
            println!("powered off");
            ExitCode::SUCCESS
        }
        status => {
            eprintln!("boot: the machine has ended badly: {status:?}\n{}", vm.describe());
            ExitCode::FAILURE
        }
    }
}
