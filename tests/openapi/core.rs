//! The service itself, from which the examples of replies come.

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::job::Job;
use gemmule::limits::{MEMORY_BYTES_DEFAULT, SESSIONS_MAX_DEFAULT};
use gemmule::server::{Access, Config, Server};
use gemmule::time::Now;
use serde_json::{Value, json};

use crate::support::http::{Response, parse_response, write_request};

/// 2026-11-24T08:00:00Z
const NOW: Now = Now { monotonic_ns: 0, unix_ns: 1_795_507_200_000_000_000 };

/// Sends requests to a new server one by one; the last reply.
pub fn ask(requests: &[Vec<u8>]) -> Response {
    let mut service = Service::new(Access::Anonymous);
    let replies = requests.iter().map(|request| service.ask(request));
    replies.last().expect("a request")
}

/// A server, and jobs that nobody computes.
pub struct Service(Server, Vec<Job>);

impl Service {
    fn new(access: Access) -> Self {
        let config = Config {
            memory_bytes: MEMORY_BYTES_DEFAULT,
            sessions_max: SESSIONS_MAX_DEFAULT,
            tariff: Tariff::standard().into(),
            access,
            platform: "linux",
            threads: 2,
            peak: Peak { f64: 139_000_000_000, f32: 278_000_000_000 },
        };
        Self(Server::new(config, [3; 32]), Vec::new())
    }

    /// One that asks for keys.
    pub fn with_keys() -> Self {
        Self::new(Access::Keys)
    }

    /// The key of its operator, which it prints.
    pub fn operator(&mut self) -> String {
        self.0.make_first_key(NOW);
        let line = self.0.take_console().expect("a new service prints a key");
        line.rsplit(' ').next().expect("it ends with the key").to_owned()
    }

    /// A request with a key that must go well, its body in JSON.
    pub fn send(&mut self, key: &str, method: &str, path: &str, body: Option<&Value>) -> Response {
        let bearer = format!("Bearer {key}");
        let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = body.map(Value::to_string);
        let request = write_request(method, path, &fields, body.as_ref().map(String::as_bytes));
        let reply = self.ask(&request);
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
        reply
    }

    /// One that serves everybody.
    pub fn open() -> Self {
        Self::new(Access::Anonymous)
    }

    /// The reply to a request, once all that it brings about is done.
    pub fn ask(&mut self, request: &[u8]) -> Response {
        self.exchange(request, true)
    }

    /// The same while nobody computes.
    pub fn ask_idle(&mut self, request: &[u8]) -> Response {
        self.exchange(request, false)
    }

    fn exchange(&mut self, request: &[u8], is_computing: bool) -> Response {
        let Self(server, held) = self;
        let session = server.open(NOW).expect("a session is free");
        // What a refused request leaves unread stays in the socket.
        let mut unsent = request;
        while !unsent.is_empty() && server.wants_input(session) {
            unsent = &unsent[server.receive(session, unsent, NOW)..];
        }
        while let Some(mut job) = server.next_job() {
            // What is ready once the reply is there goes on by itself.
            if !is_computing && !server.output(session).is_empty() {
                held.push(*job);
                continue;
            }
            while !job.advance(&Alone, &|| false) {}
            server.finish(job, NOW);
        }
        let mut bytes = Vec::new();
        while !server.output(session).is_empty() {
            bytes.extend_from_slice(server.output(session));
            server.sent(session, server.output(session).len(), NOW);
        }
        server.gone(session);
        let parsed = parse_response(&bytes, request.starts_with(b"HEAD "), false);
        parsed.expect("a sound reply").expect("a whole reply").0
    }
}

/// The JSON that a path gives, without what differs from machine to machine.
pub fn json_of(method: &str, target: &str) -> Value {
    let body = (method == "POST").then_some(b"".as_slice());
    let response = ask(&[write_request(method, target, &[], body)]);
    assert_eq!(response.status, 200, "{method} {target}");
    without_machine(response.json())
}

/// Puts figures of one machine in the place of those of this one.
pub fn without_machine(mut value: Value) -> Value {
    let masks = [
        ("/kernel", json!("avx512")),
        ("/bill/kernel", json!("avx512")),
        ("/caches", json!({"l1_bytes": 32 << 10, "l2_bytes": 1 << 20})),
    ];
    for (pointer, mask) in masks {
        if let Some(place) = value.pointer_mut(pointer) {
            *place = mask;
        }
    }
    value
}
