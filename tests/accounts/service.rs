//! A service with keys, and who asks it.

use std::sync::Arc;

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::ledger::{ApiKey, Volume};
use gemmule::server::{Access, Config, Server, SessionId};
use gemmule::time::Now;
use serde_json::{Value, json};

use crate::support::http::{Response, parse_response, write_request};
use crate::support::power::PowerCut;

pub const SECOND_NS: u64 = 1_000_000_000;
pub const JOB: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;
pub const SESSIONS_MAX: usize = 40;

const START: Now = Now { monotonic_ns: 0, unix_ns: 1_795_507_200 * SECOND_NS };
const SEED: [u8; 32] = [1; 32];
const CACHE_BYTES: usize = 1 << 20;

/// A service, the time it is told, and what it has printed.
pub struct Service {
    pub server: Server,
    pub now_ns: u64,
    console: String,
    volume: Option<Arc<Volume>>,
}

impl Service {
    /// Without a volume.
    pub fn new() -> Self {
        Self::begin(Server::new(config(), SEED), None)
    }

    /// With its ledger on a disk.
    pub fn on(disk: &PowerCut) -> Self {
        let volume = Volume::open(Box::new(disk.clone()), [1; 16], CACHE_BYTES);
        let volume = Arc::new(volume.expect("a sound volume"));
        // No two runs of a machine have one seed.
        let mut seed = SEED;
        seed[1] = disk.moments() as u8;
        let server = Server::new(config(), seed);
        let server = server.with_volume(volume.clone(), START).expect("a sound ledger");
        Self::begin(server, Some(volume))
    }

    fn begin(mut server: Server, volume: Option<Arc<Volume>>) -> Self {
        server.make_first_key(START);
        let mut service = Self { server, now_ns: 0, console: String::new(), volume };
        service.commit();
        service
    }

    /// Makes durable what there is to be.
    pub fn commit(&mut self) {
        let now = self.now();
        let Some(volume) = &self.volume else { return };
        while let Some(pending) = self.server.take_pending(now).expect("a sound volume") {
            self.server.committed(pending.commit(volume).expect("there is power"), now);
        }
    }

    /// Where its ledger lasts.
    pub fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("its ledger is on a disk")
    }

    pub fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ns, unix_ns: START.unix_ns + self.now_ns }
    }

    pub fn pass_seconds(&mut self, seconds: u64) {
        self.now_ns += seconds * SECOND_NS;
    }

    pub fn open(&mut self) -> SessionId {
        let now = self.now();
        self.server.open(now).expect("a session is free")
    }

    pub fn send(&mut self, id: SessionId, request: &[u8]) -> usize {
        let now = self.now();
        self.server.receive(id, request, now)
    }

    /// Runs what is to be run; all output of a session.
    pub fn read(&mut self, id: SessionId) -> Vec<u8> {
        let now = self.now();
        while let Some(mut job) = self.server.next_job() {
            while !job.advance(&Alone, &|| false) {}
            self.server.finish(job, now);
        }
        self.commit();
        let mut bytes = Vec::new();
        while !self.server.output(id).is_empty() {
            bytes.extend_from_slice(self.server.output(id));
            self.server.sent(id, self.server.output(id).len(), now);
        }
        bytes
    }

    /// One request on a session that stays.
    pub fn ask_on(&mut self, id: SessionId, request: &[u8]) -> Response {
        let used = self.send(id, request);
        let reply = reply(&self.read(id));
        // The body of one that was refused, which is dropped.
        self.send(id, &request[used..]);
        reply
    }

    pub fn ask(&mut self, key: &str, method: &str, path: &str, body: Option<&str>) -> Response {
        let id = self.open();
        let response = self.ask_on(id, &request(key, method, path, body));
        self.server.gone(id);
        response
    }

    pub fn get(&mut self, key: &str, path: &str) -> Response {
        self.ask(key, "GET", path, None)
    }

    pub fn post(&mut self, key: &str, path: &str, body: &Value) -> Response {
        self.ask(key, "POST", path, Some(&body.to_string()))
    }

    /// A change that must go well.
    pub fn change(&mut self, key: &str, path: &str, body: Value) -> Value {
        let response = self.post(key, path, &body);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.json()
    }

    pub fn multiply(&mut self, key: &str) -> Response {
        self.ask(key, "POST", "/v1/multiply", Some(JOB))
    }

    /// The key that was printed, if one was since the last call.
    pub fn printed_key(&mut self) -> Option<String> {
        self.console.clear();
        while let Some(line) = self.server.take_console() {
            self.console += &line;
            self.console.push('\n');
        }
        let keys: Vec<&str> =
            self.console.lines().filter_map(|line| line.split("another: ").nth(1)).collect();
        assert!(keys.len() <= 1, "{}", self.console);
        keys.first().map(|key| (*key).to_owned())
    }

    /// A lasting key of the operator's.
    pub fn operator(&mut self) -> String {
        let first = self.printed_key().expect("a new service prints a key");
        let path = "/v1/admin/accounts/operator/keys";
        key_of(&self.change(&first, path, json!({"scopes": ["admin"]})))
    }

    /// An account, and a key of it.
    pub fn account(&mut self, operator: &str, id: &str, scopes: &[&str]) -> String {
        self.change(operator, "/v1/admin/accounts", json!({"id": id}));
        let path = format!("/v1/admin/accounts/{id}/keys");
        key_of(&self.change(operator, &path, json!({"scopes": scopes})))
    }
}

pub fn config() -> Config {
    Config {
        memory_bytes: 1 << 24,
        sessions_max: SESSIONS_MAX,
        tariff: Tariff::standard().into(),
        access: Access::Keys,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    }
}

pub fn request(key: &str, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
    let bearer = format!("Bearer {key}");
    let mut fields = vec![("Content-Type", "application/json")];
    if !key.is_empty() {
        fields.push(("Authorization", &bearer));
    }
    write_request(method, path, &fields, body.map(str::as_bytes))
}

pub fn reply(bytes: &[u8]) -> Response {
    let parsed = parse_response(bytes, false, false).expect("a sound reply");
    parsed.expect("a whole reply").0
}

pub fn key_of(made: &Value) -> String {
    let key = made["key"].as_str().expect("a key").to_owned();
    assert!(ApiKey::parse(key.as_bytes()).is_ok());
    key
}

/// The last part of a problem's type, after its status.
pub fn problem(response: &Response) -> (u16, String) {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    (response.status, kind.trim_start_matches("/problems/").to_owned())
}

pub fn expect(response: &Response, status: u16, kind: &str) {
    assert_eq!(problem(response), (status, kind.to_owned()), "{}", response.text());
}
