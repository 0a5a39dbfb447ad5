//! The server in a simulated world: many clients, good ones and broken ones, in virtual time.
//!
//! Whatever clients do, and in whatever order bytes, jobs, closes and deadlines meet: a good client
//! gets each of its products, right and billed once; every reply is sound HTTP; and when all are
//! gone, nothing is held. A seed repeats a run: `make sim SEED=7 RUNS=1`.

mod support;

use std::collections::{HashSet, VecDeque};
use std::env;
use std::ops::Range;

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::job::Job as RunningJob;
use gemmule::limits::{IDLE_TIMEOUT_NS, LINGER_TIMEOUT_NS};
use gemmule::server::{Access, Config, Expired, Server, SessionId};
use gemmule::time::Now;
use support::http::parse_response;
use support::load::Shape;
use support::load::job::Job;
use support::random::Random;

const CLIENTS_PER_RUN: usize = 200;
/// Clients that are there at once.
const CLIENTS_AT_ONCE: usize = 12;
const JOBS_PER_CLIENT_MAX: u64 = 4;
/// Per mille of clients that send what is not right, or stop half-way.
const BROKEN_CLIENTS: u32 = 400;
/// A step of the world takes up to this long, so that a good client is never too slow.
const STEP_NS_MAX: u64 = 2_000_000;

/// One client, and what it still has to do.
struct Client {
    session: SessionId,
    unsent: VecDeque<u8>,
    received: Vec<u8>,
    /// The jobs of a good client, in the order of their replies.
    owed: VecDeque<Job>,
    is_broken: bool,
    has_ended_input: bool,
}

struct World {
    random: Random,
    server: Server,
    now_ns: u64,
    clients: Vec<Client>,
    #[expect(clippy::vec_box, reason = "they go back as they came")]
    running: Vec<Box<RunningJob>>,
    jobs_seen: HashSet<String>,
    bills: HashSet<String>,
    /// Makes the check of the next good product expect another: the canary.
    is_mistaken: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = Config {
            memory_bytes: 1 << 20,
            sessions_max: CLIENTS_AT_ONCE,
            tariff: Tariff::standard().into(),
            access: Access::Anonymous,
            platform: "sim",
            threads: 1,
            peak: Peak::default(),
        };
        Self {
            random: Random::new(seed),
            server: Server::new(config, [seed as u8; 32]),
            now_ns: 0,
            clients: Vec::new(),
            running: Vec::new(),
            jobs_seen: HashSet::new(),
            bills: HashSet::new(),
            is_mistaken: false,
        }
    }

    fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ns, unix_ns: self.now_ns }
    }

    /// Lets all clients come and go.
    fn run(&mut self) {
        let mut to_come = CLIENTS_PER_RUN;
        while to_come > 0 || !self.clients.is_empty() {
            self.now_ns += self.random.below(STEP_NS_MAX);
            if to_come > 0 && self.clients.len() < CLIENTS_AT_ONCE && self.random.chance(100) {
                self.open();
                to_come -= 1;
            }
            self.advance_jobs();
            if !self.clients.is_empty() {
                let index = self.random.below(self.clients.len() as u64) as usize;
                self.act(index);
            }
            self.expire();
            self.read_console();
        }
        self.settle();
    }

    fn open(&mut self) {
        let now = self.now();
        let session = self.server.open(now).expect("a session is free");
        let is_broken = self.random.chance(BROKEN_CLIENTS);
        let mut unsent = Vec::new();
        let mut owed = VecDeque::new();
        for _ in 0..1 + self.random.below(JOBS_PER_CLIENT_MAX) {
            let job = Job::random(&mut self.random, Shape::Varied(5));
            unsent.extend(job.request());
            owed.push_back(job);
        }
        if is_broken {
            self.break_bytes(&mut unsent);
            owed.clear();
        }
        let unsent = unsent.into();
        let received = Vec::new();
        let client = Client { session, unsent, received, owed, is_broken, has_ended_input: false };
        self.clients.push(client);
    }

    /// Changes, drops and adds bytes, and perhaps cuts the end off.
    fn break_bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.random.below(4) {
            let place = self.random.below(bytes.len() as u64) as usize;
            match self.random.below(5) {
                0 => bytes[place] = self.random.next() as u8,
                1 => drop(bytes.drain(place..(place + 9).min(bytes.len()))),
                2 => drop(bytes.splice(place..place, *b"\r\n\r\n")),
                3 => drop(bytes.splice(place..place, *b"0, [1e9")),
                _ => bytes.truncate(place),
            }
            if bytes.is_empty() {
                bytes.push(b'G');
            }
        }
    }

    /// Runs what waits, a slice at a time and in no order.
    fn advance_jobs(&mut self) {
        self.running.extend(std::iter::from_fn(|| self.server.next_job()));
        if self.running.is_empty() {
            return;
        }
        let index = self.random.below(self.running.len() as u64) as usize;
        if self.running[index].advance(&Alone, &|| true) {
            let job = self.running.swap_remove(index);
            let now = self.now();
            self.server.finish(job, now);
        }
    }

    /// One client does one thing.
    fn act(&mut self, index: usize) {
        let is_broken = self.clients[index].is_broken;
        match self.random.below(10) {
            0..4 => self.send(index),
            4..8 => self.receive(index),
            8 if is_broken && self.random.chance(50) => return self.leave(index),
            8 if is_broken && self.clients[index].unsent.is_empty() => self.end_input(index),
            _ => {}
        }
        let client = &self.clients[index];
        let is_served = client.owed.is_empty() && !client.is_broken;
        if is_served && !client.has_ended_input && self.random.chance(500) {
            self.end_input(index);
        }
        if self.server.close_wanted(self.clients[index].session) {
            let client = &self.clients[index];
            assert!(client.owed.is_empty(), "closed, and {} replies owed", client.owed.len());
            self.leave(index);
        }
    }

    fn send(&mut self, index: usize) {
        let bytes = 1 + self.random.below(400) as usize;
        let now = self.now();
        let client = &mut self.clients[index];
        if !self.server.wants_input(client.session) {
            return;
        }
        let piece: Vec<u8> = client.unsent.iter().copied().take(bytes).collect();
        let used = self.server.receive(client.session, &piece, now);
        client.unsent.drain(..used);
    }

    fn receive(&mut self, index: usize) {
        let bytes = 1 + self.random.below(400) as usize;
        let now = self.now();
        let client = &mut self.clients[index];
        let output = self.server.output(client.session);
        let taken = bytes.min(output.len());
        client.received.extend_from_slice(&output[..taken]);
        self.server.sent(client.session, taken, now);
        while let Some((response, length)) =
            parse_response(&client.received, false, false).expect("a sound reply")
        {
            client.received.drain(..length);
            let Some(job) = client.owed.pop_front() else {
                assert!(client.is_broken, "a reply that nobody asked for: {response:?}");
                continue;
            };
            let mut checked = job.check(&response, &mut self.jobs_seen);
            if std::mem::take(&mut self.is_mistaken) {
                checked = Job::random(&mut self.random, Shape::Varied(5))
                    .check(&response, &mut HashSet::new());
            }
            checked.unwrap_or_else(|complaint| panic!("{complaint}"));
        }
    }

    fn end_input(&mut self, index: usize) {
        let now = self.now();
        let client = &mut self.clients[index];
        if !std::mem::replace(&mut client.has_ended_input, true) {
            self.server.receive_end(client.session, now);
        }
    }

    fn leave(&mut self, index: usize) {
        let client = self.clients.swap_remove(index);
        self.server.gone(client.session);
    }

    fn expire(&mut self) {
        let now = self.now();
        while let Some(expired) = self.server.expire(now) {
            if let Expired::Stalled(id) = expired {
                let index = self.clients.iter().position(|client| client.session == id);
                self.leave(index.expect("only a client that is there stalls"));
            }
        }
    }

    /// Every line is a bill, and no job is billed twice.
    fn read_console(&mut self) {
        while let Some(line) = self.server.take_console() {
            let job = line.split(' ').find_map(|word| word.strip_prefix("job="));
            let job = job.unwrap_or_else(|| panic!("not a bill: {line}"));
            assert!(self.bills.insert(job.to_owned()), "billed twice: {line}");
        }
    }

    /// When nobody is there any more, nothing is held.
    fn settle(&mut self) {
        while !self.running.is_empty() {
            self.advance_jobs();
        }
        self.now_ns += IDLE_TIMEOUT_NS + LINGER_TIMEOUT_NS;
        self.expire();
        assert_eq!(self.server.next_deadline_ns(), None, "no timer is left");
        assert_eq!((self.server.sessions(), self.server.promised_bytes()), (0, 0));
        assert!(self.jobs_seen.is_subset(&self.bills), "a product without its bill");
        assert!(self.jobs_seen.len() > CLIENTS_PER_RUN / 2, "the good clients were served");
    }
}

/// `RUNS` seeds from `SEED` on; by default some that take a second.
fn seeds() -> Range<u64> {
    let number = |name: &str, default: u64| match env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().expect("SEED and RUNS are numbers"),
        _ => default,
    };
    let first = number("SEED", 1);
    first..first + number("RUNS", 200)
}

#[test]
fn good_clients_are_served_and_billed_once_whatever_the_others_do() {
    for seed in seeds() {
        println!("SEED={seed}");
        World::new(seed).run();
    }
}

#[test]
#[should_panic(expected = "product")]
fn the_simulation_notices_a_wrong_product() {
    let mut world = World::new(1);
    world.is_mistaken = true;
    world.run();
}
