//! The Linux host: an event loop over non-blocking sockets.

mod connection;
mod heap;
mod serve;
pub mod volume;

use std::fs::{self, File};
use std::io::{self, Read};
use std::thread;

pub use serve::serve;

/// The machine, as `GET /v1/version` names it.
pub const NAME: &str = "linux";

/// Linux keeps all vector registers there are.
pub fn start_vectors() -> io::Result<()> {
    Ok(())
}

/// Threads that compute besides the one that does I/O, unless told otherwise: that one mostly
/// sleeps.
pub fn compute_threads_default() -> usize {
    match thread::available_parallelism().map_or(1, usize::from) {
        1 => 0,
        cores => cores,
    }
}

/// 32 bytes from the kernel's generator.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

/// Half of the machine's memory; the core's default where it can't be read.
pub fn memory_bytes_default() -> usize {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
            kib.checked_mul(1024 / 2)
        })
        .unwrap_or(gemmule::limits::MEMORY_BYTES_DEFAULT)
}
