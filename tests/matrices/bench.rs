//! A server with two accounts, asked in one go, and matrices to send it.

use std::sync::Arc;

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Dtype, Peak};
use gemmule::ledger::Volume;
use gemmule::server::{Access, Config, Server};
use gemmule::store::{AddressHasher, Layout, MatrixId};
use gemmule::time::{Now, SECOND_NS};
use serde_json::{Value, json};

use crate::support::http::{Response, parse_response, write_request};
use crate::support::power::PowerCut;
use crate::support::random::Random;

pub const START: Now = Now { monotonic_ns: 0, unix_ns: 1_795_507_200 * SECOND_NS };
/// Large enough to be divided.
pub const DISK_BYTES: usize = 80 << 20;
const MEMORY_BYTES: usize = 64 << 20;
const CACHE_BYTES: usize = 1 << 20;

pub struct Bench {
    pub server: Server,
    pub now: Now,
    /// Where it lasts.
    volume: Option<Arc<Volume>>,
    /// The keys of `acme` and of `other`.
    pub keys: [String; 2],
    operator: String,
}

fn config(access: Access) -> Config {
    Config {
        memory_bytes: MEMORY_BYTES,
        sessions_max: 64,
        tariff: Tariff::standard().into(),
        access,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    }
}

impl Bench {
    pub fn in_memory() -> Self {
        Self::new(Server::new(config(Access::Keys), [3; 32]), None)
    }

    fn new(server: Server, volume: Option<Arc<Volume>>) -> Self {
        let keys = [String::new(), String::new()];
        let operator = String::new();
        let mut bench = Self { server, now: START, volume, keys, operator };
        bench.server.make_first_key(START);
        let line = bench.server.take_console().expect("a new service prints a key");
        let operator = line.rsplit(' ').next().expect("it ends with the key").to_owned();
        bench.operator.clone_from(&operator);
        for (index, name) in ["acme", "other"].into_iter().enumerate() {
            let made = json!({"id": name}).to_string();
            bench.ask_json(&operator, "POST", "/v1/admin/accounts", &made);
            let path = format!("/v1/admin/accounts/{name}/keys");
            let reply = bench.ask_json(&operator, "POST", &path, r#"{"scopes":["submit","read"]}"#);
            bench.keys[index] = reply.json()["key"].as_str().expect("a key").to_owned();
        }
        bench
    }

    /// One for anybody, on a disk that may lose power.
    pub fn boot(disk: &PowerCut, unix_ns: u64) -> Result<Self, String> {
        let volume = Volume::open(Box::new(disk.clone()), [7; 16], CACHE_BYTES);
        let volume = Arc::new(volume.map_err(|error| error.to_string())?);
        let now = Now { monotonic_ns: 0, unix_ns };
        let server = Server::new(config(Access::Anonymous), [(unix_ns % 251) as u8; 32]);
        let server = server.with_volume(volume.clone(), now).map_err(|error| error.to_string())?;
        let keys = [String::new(), String::new()];
        let operator = String::new();
        let mut bench = Self { server, now, volume: Some(volume), keys, operator };
        bench.commit()?;
        Ok(bench)
    }

    fn commit(&mut self) -> Result<(), String> {
        let Some(volume) = &self.volume else { return Ok(()) };
        while let Some(pending) = self.server.take_pending(self.now).map_err(|e| e.to_string())? {
            let committed = pending.commit(volume).map_err(|error| error.to_string())?;
            self.server.committed(committed, self.now);
        }
        Ok(())
    }

    /// Acme may keep so many bytes from now on.
    pub fn limit(&mut self, stored_bytes_max: u64) {
        let limits = json!({"limits": {"stored_bytes_max": stored_bytes_max}}).to_string();
        let operator = self.operator.clone();
        self.ask_json(&operator, "POST", "/v1/admin/accounts/acme", &limits);
    }

    pub fn run(&mut self) {
        while let Some(mut job) = self.server.next_job() {
            // Looks at the clock as often as it can.
            while !job.advance(&Alone, &|| true) {}
            self.server.finish(job, self.now);
        }
    }

    /// Lets time pass, and what happens by itself happen.
    pub fn wait(&mut self, seconds: u64) {
        self.now.monotonic_ns += seconds * SECOND_NS;
        self.now.unix_ns += seconds * SECOND_NS;
        while self.server.expire(self.now).is_some() {}
        self.run();
    }

    pub fn send(&mut self, request: &[u8]) -> Response {
        let session = self.server.open(self.now).expect("a session is free");
        let (mut unsent, mut bytes) = (request, Vec::new());
        loop {
            while !unsent.is_empty() && self.server.wants_input(session) {
                let used = self.server.receive(session, unsent, self.now);
                unsent = &unsent[used..];
            }
            self.run();
            if self.commit().is_err() {
                break;
            }
            let output = self.server.output(session);
            if output.is_empty() {
                break;
            }
            bytes.extend_from_slice(output);
            let sent = output.len();
            self.server.sent(session, sent, self.now);
        }
        self.server.gone(session);
        let parsed = parse_response(&bytes, request.starts_with(b"HEAD "), false);
        parsed.expect("a sound reply").expect("a whole reply").0
    }

    /// What is said before any job runs.
    pub fn ask_without_running(&mut self, method: &str, target: &str) -> Response {
        let bearer = format!("Bearer {}", self.keys[0]);
        let request = write_request(method, target, &[("Authorization", &bearer)], None);
        let session = self.server.open(self.now).expect("a session is free");
        self.server.receive(session, &request, self.now);
        let reply = parse_response(self.server.output(session), false, false);
        self.server.gone(session);
        reply.expect("a sound reply").expect("a whole reply").0
    }

    /// A request of an account; of nobody's where it has no key.
    pub fn ask(
        &mut self,
        account: usize,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Response {
        let bearer = format!("Bearer {}", self.keys[account]);
        let mut all = fields.to_vec();
        if !self.keys[account].is_empty() {
            all.push(("Authorization", &bearer));
        }
        self.send(&write_request(method, target, &all, body))
    }

    fn ask_json(&mut self, key: &str, method: &str, target: &str, body: &str) -> Response {
        let bearer = format!("Bearer {key}");
        let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let reply = self.send(&write_request(method, target, &fields, Some(body.as_bytes())));
        assert!(reply.status < 300, "{method} {target}: {}", reply.text());
        reply
    }

    /// Acme's, in JSON.
    pub fn change(&mut self, method: &str, target: &str, body: &Value) -> Response {
        let fields = [("Content-Type", "application/json")];
        self.ask(0, method, target, &fields, Some(body.to_string().as_bytes()))
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.ask(0, "GET", target, &[], None)
    }

    /// Stores a matrix whole, as raw elements.
    pub fn store(&mut self, account: usize, matrix: &Raw, query: &str) -> Response {
        let target = format!("/v1/matrices?{}{query}", matrix.query());
        let fields = [("Content-Type", "application/octet-stream")];
        self.ask(account, "POST", &target, &fields, Some(&matrix.bytes))
    }
}

/// The kind of a problem.
pub fn kind(reply: &Response) -> String {
    let problem = reply.json()["type"].as_str().expect("a problem").to_owned();
    problem.trim_start_matches("/problems/").to_owned()
}

/// A matrix as its elements' bytes.
#[derive(Clone, Debug)]
pub struct Raw {
    pub layout: Layout,
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn random(dtype: Dtype, rows: usize, columns: usize, seed: u64) -> Self {
        let layout = Layout { dtype, rows, columns };
        let mut random = Random::new(seed);
        let elements = (0..rows * columns).map(|_| (random.below(2000) as f64) - 1000.0);
        let bytes = match dtype {
            Dtype::F64 => elements.flat_map(f64::to_le_bytes).collect(),
            Dtype::F32 => elements.flat_map(|it| (it as f32).to_le_bytes()).collect(),
        };
        Self { layout, bytes }
    }

    pub fn id(&self) -> MatrixId {
        let mut hasher = AddressHasher::new(&self.layout);
        hasher.update(&self.bytes);
        hasher.finish()
    }

    pub fn query(&self) -> String {
        let Layout { dtype, rows, columns } = self.layout;
        format!("dtype={}&shape={rows}x{columns}", dtype.name())
    }

    pub fn path(&self) -> String {
        format!("/v1/matrices/{}", self.id())
    }

    /// As NumPy's `save` writes it.
    pub fn npy(&self) -> Vec<u8> {
        [self.layout.npy_head(), self.bytes.clone()].concat()
    }
}
