//! The service without a host: requests in, replies out, in time that the test tells.

use std::sync::Arc;

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::ledger::Volume;
use gemmule::server::{Access, Config, Server, SessionId};
use gemmule::time::Now;

use super::power::PowerCut;

const CACHE_BYTES: usize = 1 << 20;
const MEMORY_BYTES: usize = 1 << 20;

/// A server for whoever comes, and the volume that it is on.
pub struct Machine {
    pub server: Server,
    /// `None`: its ledger is in memory.
    pub volume: Option<Arc<Volume>>,
    pub now: Now,
}

fn server(seed: [u8; 32], memory_bytes: usize) -> Server {
    let config = Config {
        memory_bytes,
        sessions_max: 64,
        tariff: Tariff::standard().into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    Server::new(config, seed)
}

impl Machine {
    pub fn in_memory(unix_ns: u64) -> Self {
        let server = server([1; 32], MEMORY_BYTES);
        Self { server, volume: None, now: Now { monotonic_ns: 0, unix_ns } }
    }

    /// With more memory than others.
    pub fn in_memory_of(memory_bytes: usize, unix_ns: u64) -> Self {
        let server = server([1; 32], memory_bytes);
        Self { server, volume: None, now: Now { monotonic_ns: 0, unix_ns } }
    }

    /// Boots on a disk, up to the first commit.
    pub fn boot(disk: &PowerCut, unix_ns: u64) -> Result<Self, String> {
        Self::boot_with(disk, MEMORY_BYTES, unix_ns)
    }

    /// The same, with so much memory.
    pub fn boot_with(disk: &PowerCut, memory_bytes: usize, unix_ns: u64) -> Result<Self, String> {
        let now = Now { monotonic_ns: 0, unix_ns };
        let volume = Volume::open(Box::new(disk.clone()), [7; 16], CACHE_BYTES);
        let volume = Arc::new(volume.map_err(|error| error.to_string())?);
        // Ids are drawn from the seed and the time.
        let seed = [(unix_ns % 251) as u8; 32];
        let server = server(seed, memory_bytes).with_volume(volume.clone(), now);
        let server = server.map_err(|error| error.to_string())?;
        let mut machine = Self { server, volume: Some(volume), now };
        machine.commit()?;
        Ok(machine)
    }

    /// Where its ledger lasts.
    pub fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("it was booted on a disk")
    }

    /// Makes durable what is pending.
    pub fn commit(&mut self) -> Result<(), String> {
        let Some(volume) = &self.volume else { return Ok(()) };
        while let Some(pending) = self.server.take_pending(self.now).map_err(|e| e.to_string())? {
            let committed = pending.commit(volume).map_err(|error| error.to_string())?;
            self.server.committed(committed, self.now);
        }
        Ok(())
    }

    /// Sends a request on a session of its own.
    pub fn send(&mut self, request: &str) -> SessionId {
        let session = self.server.open(self.now).expect("a session is free");
        self.server.receive(session, request.as_bytes(), self.now);
        session
    }

    /// Runs all jobs that wait.
    pub fn run(&mut self) {
        while let Some(mut job) = self.server.next_job() {
            while !job.advance(&Alone, &|| false) {}
            self.server.finish(job, self.now);
        }
    }

    /// Takes all output of a session.
    pub fn read(&mut self, session: SessionId) -> String {
        let mut text = Vec::new();
        while !self.server.output(session).is_empty() {
            let bytes = self.server.output(session).len();
            text.extend_from_slice(self.server.output(session));
            self.server.sent(session, bytes, self.now);
        }
        String::from_utf8(text).expect("replies are text")
    }
}

/// A product of JSON, with the value of an `Idempotency-Key` or without.
pub fn post(key: Option<&str>, body: &str) -> String {
    let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
    format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n{key}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
