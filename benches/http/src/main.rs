//! `make bench-http`: Gemmule on Linux against what one would write instead: FastAPI, uvicorn and
//! NumPy in Python, and axum in Rust.
//!
//! Every server is one process of one thread, and all of them share one core, where they take turns;
//! the client has another. A whole answer of each is checked before it is measured, and the start of
//! every answer after that. Prints what was measured, then one line a bar, and exits with 1 if one
//! falls short.

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

use server::{Name, Server};

fn main() -> ExitCode {
    if let Err(error) = server::pin_client() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut servers = Vec::new();
    for name in Name::ALL {
        match Server::start(name) {
            Ok(server) => servers.push(server),
            Err(error) => println!("MISSING: {}: {error}", name.text()),
        }
    }
    let figures = round::measure(&servers);
    println!("{figures}");
    for wrong in &figures.wrongs {
        println!("WRONG: {wrong}");
    }
    if figures.is_disturbed() {
        println!("BUSY MACHINE: others were using the cores; the rates are no measure");
    }
    let bars = bars::judge(&figures);
    for bar in &bars {
        println!("{bar}");
    }
    let is_short = !figures.wrongs.is_empty() || bars.iter().any(|bar| !bar.holds());
    ExitCode::from(u8::from(is_short))
}
