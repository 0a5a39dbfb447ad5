//! Clients that repeat a job, under its idempotency key, until they are told its bill: whatever
//! becomes of the server meanwhile.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::Client;
use super::random::Random;

/// How long a server may take for one reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client goes on with one job.
const JOB_TIMEOUT: Duration = Duration::from_secs(120);
/// Before a job that is still running, or was refused for the moment, is asked for again.
const PAUSE: Duration = Duration::from_millis(5);
/// A job out of so many is asked for once more after its bill was told.
const REPEATED: u64 = 8;

/// Several such clients, one job each at a time.
pub struct Payers {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Held while connecting: QEMU's forwarding takes one connection at a time.
    connecting: Mutex<()>,
}

#[derive(Default)]
struct State {
    server: Option<SocketAddr>,
    told: Vec<Value>,
    is_over: bool,
}

impl Payers {
    /// Starts `count` clients, which wait for a server.
    pub fn start(count: usize, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..count).map(|number| {
            let shared = shared.clone();
            thread::spawn(move || pay(&shared, number, seed))
        });
        Self { clients: clients.collect(), shared }
    }

    /// There is a server now, or none to connect to.
    pub fn set_server(&self, addr: Option<SocketAddr>) {
        self.shared.lock().server = addr;
        self.shared.changed.notify_all();
    }

    /// Returns when `count` more bills were told.
    ///
    /// # Panics
    /// If that takes longer than `timeout`.
    pub fn wait_for(&self, count: usize, timeout: Duration) {
        let state = self.shared.lock();
        let enough = state.told.len() + count;
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(state, timeout, |state| state.told.len() < enough);
        let (state, waited) = waited.expect("no client has panicked");
        let told = state.told.len();
        assert!(!waited.timed_out(), "{told} bills, not {enough}");
    }

    /// Lets each client get its last bill; all bills that were told, one for each job.
    pub fn finish(self) -> Vec<Value> {
        self.shared.lock().is_over = true;
        for client in self.clients {
            client.join().expect("a client has got its last bill");
        }
        std::mem::take(&mut self.shared.lock().told)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no client has panicked")
    }

    /// The server, when there is one.
    fn server(&self) -> SocketAddr {
        let none = |state: &mut State| state.server.is_none();
        let waited = self.changed.wait_timeout_while(self.lock(), JOB_TIMEOUT, none);
        waited.expect("no client has panicked").0.server.expect("a server comes in time")
    }
}

fn pay(shared: &Shared, number: usize, seed: u64) {
    let mut random = Random::new(seed + number as u64);
    let mut connection = Connection { shared, client: None };
    for sequence in 0.. {
        if shared.lock().is_over {
            return;
        }
        let [m, n, k] = [(); 3].map(|()| 1 + random.below(12) as usize);
        let key = format!("\"payer-{number}-{sequence}\"");
        let job = ones(m, n, k);
        let bill = connection.bill_of(&key, &job, k);
        assert_eq!(bill["flops"], 2 * m * n * k, "{bill}");
        if random.below(REPEATED) == 0 {
            let again = connection.bill_of(&key, &job, k);
            assert_eq!(again, bill, "a key has one bill");
        }
        shared.lock().told.push(bill);
        shared.changed.notify_all();
    }
}

fn ones(m: usize, n: usize, k: usize) -> String {
    let matrix = |rows: usize, columns: usize| {
        let row = format!("[{}]", vec!["1"; columns].join(","));
        vec![row; rows].join(",")
    };
    format!("{{\"a\":[{}],\"b\":[{}]}}", matrix(m, k), matrix(k, n))
}

struct Connection<'a> {
    shared: &'a Shared,
    client: Option<Client>,
}

impl Connection<'_> {
    fn bill_of(&mut self, key: &str, job: &str, k: usize) -> Value {
        let deadline = Instant::now() + JOB_TIMEOUT;
        while Instant::now() < deadline {
            let Some(client) = &mut self.client else {
                self.connect();
                continue;
            };
            let fields = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
            match client.request("POST", "/v1/multiply", &fields, Some(job.as_bytes())) {
                Ok(reply) if reply.status == 200 => {
                    let mut reply = reply.json();
                    assert_eq!(reply["c"][0][0], k as f64);
                    return reply["bill"].take();
                }
                // Still running, or too much at once.
                Ok(reply) if matches!(reply.status, 409 | 503) => {
                    if reply.closes() {
                        self.client = None;
                    }
                    thread::sleep(PAUSE);
                }
                Ok(reply) => panic!("{key}: {} {}", reply.status, reply.text()),
                Err(_) => self.client = None,
            }
        }
        panic!("{key}: no bill in {JOB_TIMEOUT:?}");
    }

    fn connect(&mut self) {
        let addr = self.shared.server();
        let _one = self.shared.connecting.lock().expect("no client has panicked");
        match Client::connect(addr, REPLY_TIMEOUT) {
            Ok(client) => self.client = Some(client),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
