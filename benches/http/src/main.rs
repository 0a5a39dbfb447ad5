//! `make bench-http`: Gemmule on Linux against what one would write instead: FastAPI, uvicorn and
//! NumPy in Python, and axum in Rust.
//!
//! Every server is one process of one thread, and all of them share one core, where they take
//! turns; the client has another. With `--all-cores`, each is one process as it comes, with the
//! threads that it starts by itself, and it shares all cores with the client. Any other argument is
//! a part of the names of the jobs to measure, as in `"512x512 JSON"`. A whole answer of each is
//! checked before it is measured, and the start of every answer after that. Prints what was
//! measured, then one line a bar, and exits with 1 if one falls short.

use std::process::ExitCode;

mod server;

mod job;

mod client;
mod round;

mod bars;

#[allow(dead_code)]
#[path = "../../../tests/support/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../../../tests/support/random.rs"]
mod random;

use job::Kind;
use server::{Cores, Name, Server};

fn main() -> ExitCode {
    let (mut cores, mut kinds) = (Cores::OneEach, Kind::ALL.to_vec());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--all-cores" => cores = Cores::Shared,
            part => kinds.retain(|kind| kind.text().contains(part)),
        }
    }
    if let Err(error) = server::place_client(cores) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut servers = Vec::new();
    for name in Name::ALL.into_iter().filter(|name| kinds.iter().any(|kind| name.takes(*kind))) {
        match Server::start(name, cores) {
            Ok(server) => servers.push(server),
            Err(error) => println!("MISSING: {}: {error}", name.text()),
        }
    }
    let figures = round::measure(&servers, &kinds, cores);
    println!("{figures}");
    for wrong in &figures.wrongs {
        println!("WRONG: {wrong}");
    }
    if figures.is_disturbed() {
        println!("BUSY MACHINE: others were using the cores; the rates are no measure");
    }
    let bars = bars::judge(&figures, &kinds);
    for bar in &bars {
        println!("{bar}");
    }
    let is_short = !figures.wrongs.is_empty() || bars.iter().any(|bar| !bar.holds());
    ExitCode::from(u8::from(is_short))
}
