//! `gemmule`: the thin hosts under the core.
//!
//! `gemmule serve` runs the service on Linux sockets, or on the devices of a Hermit virtual
//! machine; `gemmule job FILE` runs one job from a file on either, `gemmule bench` measures either,
//! and `gemmule check` sees whether it multiplies right.

#[cfg(target_os = "hermit")]
mod hermit;
mod host;
#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

use host::options::{Command, USAGE};
use host::{bench, check, job_file, options};

#[cfg(target_os = "hermit")]
use hermit as platform;
#[cfg(target_os = "linux")]
use linux as platform;

fn main() -> ExitCode {
    let status = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Serve(options)) => platform::serve(&options),
        Ok(Command::Job { file, memory_bytes }) => job_file::run(&file, memory_bytes),
        Ok(Command::Bench(options)) => bench::run(&options),
        Ok(Command::Check) => check::run(),
        #[cfg(target_os = "linux")]
        Ok(Command::Admin(call)) => host::admin::run(&call),
        #[cfg(target_os = "linux")]
        Ok(Command::AdminHelp) => {
            println!("{}", host::admin::USAGE);
            0
        }
        #[cfg(target_os = "linux")]
        Ok(Command::VerifyLedger(path)) => host::verify::ledger(&path),
        #[cfg(target_os = "linux")]
        Ok(Command::VerifyReceipt(path, keys)) => host::verify::receipt(&path, &keys),
        Ok(Command::Version) => {
            println!("gemmule {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Ok(Command::Help) => {
            println!("{USAGE}");
            0
        }
        Err(error) => {
            eprintln!("gemmule: {error}\n\n{USAGE}");
            2
        }
    };
    ExitCode::from(status)
}
