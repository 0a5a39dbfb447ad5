//! `gemmule job FILE`: one job from a file, through the same front door as any other.

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, mpsc};

use gemmule::billing::Tariff;
use gemmule::gemm::Peak;
use gemmule::server::{Access, Config, Server};

use super::clock::Clock;
use super::runner::Runner;
use crate::platform;

/// Runs the job in `file` and prints its reply, product and bill; the exit status.
pub fn run(file: &str, memory_bytes: Option<usize>) -> u8 {
    let body = match fs::read(file) {
        Ok(body) => body,
        Err(error) => {
            eprintln!("gemmule: {file}: {error}");
            return 1;
        }
    };
    match reply_to(&body, memory_bytes) {
        Ok((status, reply)) => {
            let mut out = io::stdout().lock();
            let written = out.write_all(&reply).and_then(|()| out.write_all(b"\n"));
            if let Err(error) = written.and_then(|()| out.flush()) {
                eprintln!("gemmule: standard output: {error}");
                return 1;
            }
            if status == "200" { 0 } else { 1 }
        }
        Err(error) => {
            eprintln!("gemmule: {error}");
            1
        }
    }
}

/// The status and the body of the reply to `body`.
fn reply_to(body: &[u8], memory_bytes: Option<usize>) -> Result<(String, Vec<u8>), io::Error> {
    platform::start_vectors()?;
    let threads = platform::compute_threads_default();
    let config = Config {
        memory_bytes: memory_bytes.unwrap_or_else(platform::memory_bytes_default),
        sessions_max: 1,
        tariff: Tariff::standard().into(),
        platform: platform::NAME,
        threads: threads.max(1),
        access: Access::Anonymous,
        // Nobody asks for it.
        peak: Peak::default(),
    };
    let mut server = Server::new(config, platform::seed()?);
    let (wake, woken) = mpsc::channel();
    // Once the reply is there, nobody listens any more.
    let wake = move || {
        let _ = wake.send(());
    };
    let clock = Clock::new();
    let mut runner = Runner::new(threads, clock, Arc::new(wake))?;
    let broken = || io::Error::other("the server does not take its own request");
    let session = server.open(clock.now()).ok_or_else(broken)?;
    let head = format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: job\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server.receive(session, head.as_bytes(), clock.now());
    server.receive(session, body, clock.now());
    while server.output(session).is_empty() {
        if !runner.turn(&mut server, &clock).more && server.output(session).is_empty() {
            woken.recv().map_err(io::Error::other)?;
        }
    }
    let mut reply = Vec::new();
    while !server.output(session).is_empty() {
        let bytes = server.output(session).len();
        reply.extend_from_slice(server.output(session));
        server.sent(session, bytes, clock.now());
    }
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    let status = reply.get(9..12).ok_or_else(broken)?;
    Ok((String::from_utf8_lossy(status).into_owned(), reply.split_off(end + 4)))
}
