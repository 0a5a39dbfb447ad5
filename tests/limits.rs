//! What accounts may use: nothing beyond a limit, and nothing pending once all jobs have ended.

mod support;

use std::sync::Arc;

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::job::Job;
use gemmule::ledger::hold::{AccountCounters, Hold, Standing};
use gemmule::ledger::{AccountLimits, Volume};
use gemmule::limits::TRANSFER_GRACE_NS;
use gemmule::server::{Access, Config, Expired, Server, SessionId};
use gemmule::time::Now;
use support::accounts::{self, Draft};
use support::http::{Response, parse_response, write_request};
use support::random::Random;

const NONE: AccountLimits = AccountLimits {
    requests_per_second: None,
    burst: None,
    jobs_at_once: None,
    flops_per_day: None,
    amount_micros_per_month: None,
    stored_bytes_max: None,
};

const CAP: u64 = 1000;
const FLOPS: u64 = 50_000;
const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// The ledger in a few numbers, and the jobs in progress with what they hold.
struct World {
    random: Random,
    counters: AccountCounters,
    limits: AccountLimits,
    standing: Standing,
    held: Vec<(Hold, u64, u64)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let limits = AccountLimits {
            amount_micros_per_month: Some(CAP),
            flops_per_day: Some(FLOPS),
            ..AccountLimits::default()
        };
        let standing = Standing { credited_micros: 3000, ..Standing::default() };
        let (random, counters) = (Random::new(seed), AccountCounters::default());
        Self { random, counters, limits, standing, held: Vec::new() }
    }

    /// Most that a job may cost now, and take: what is left of each limit.
    fn left(&self) -> (u64, u64) {
        let held: u64 = self.held.iter().map(|(_, amount, _)| amount).sum();
        let flops: u64 = self.held.iter().map(|(.., flops)| flops).sum();
        let month = CAP - self.standing.month_micros as u64 - held;
        let credit = self.standing.credited_micros - self.standing.charged_micros;
        let day = FLOPS - self.standing.day_flops as u64 - flops;
        (month.min(u64::try_from(credit).expect("never overdrawn") - held), day)
    }

    /// A job asks for what may be too much.
    fn admit(&mut self) {
        let (amount, flops) = (self.random.below(200), self.random.below(10_000));
        let (left, flops_left) = self.left();
        let bounds = self.counters.bounds(&self.limits, true, &self.standing, 0);
        match bounds.hold(amount, flops) {
            Ok(hold) => {
                assert!(amount <= left && flops <= flops_left, "more than is left");
                self.held.push((hold, amount, flops));
            }
            Err(reached) => assert!(amount > left || flops > flops_left, "{reached:?}"),
        }
    }

    /// A job ends: charged for no more than it held, or for nothing.
    fn end(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.random.below(self.held.len() as u64) as usize;
        let (hold, amount, flops) = self.held.swap_remove(index);
        if self.random.chance(300) {
            return drop(hold);
        }
        let charged = self.random.below(amount + 1);
        self.standing.month_micros += u128::from(charged);
        self.standing.charged_micros += i128::from(charged);
        self.standing.day_flops += u128::from(flops);
        self.counters.post(hold, charged, flops);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..50 => self.admit(),
            50..90 => self.end(),
            90..92 => self.standing.credited_micros += i128::from(self.random.below(500)),
            92..94 => {
                let given_back = i128::from(self.random.below(50));
                self.standing.charged_micros -= given_back.min(self.standing.charged_micros);
            }
            // Time passes while nothing is in progress, so that the ledger's numbers say all.
            94 if self.held.is_empty() => {
                (self.standing.day, self.standing.day_flops) = (self.standing.day + 1, 0);
            }
            95 => {
                (0..self.held.len()).for_each(|_| self.end());
                (self.standing.month, self.standing.month_micros) = (self.standing.month + 1, 0);
                (self.standing.day, self.standing.day_flops) = (self.standing.day + 1, 0);
            }
            _ => {}
        }
    }
}

#[test]
fn a_job_is_held_where_all_limits_have_room_and_nothing_is_pending_at_rest() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        (0..2000).for_each(|_| world.step());
        world.held.clear();
        let (left, flops_left) = world.left();
        let bounds = world.counters.bounds(&world.limits, true, &world.standing, DAY_NS);
        assert!(bounds.hold(left + 1, 0).is_err(), "seed {seed}");
        assert!(bounds.hold(0, flops_left + 1).is_err(), "seed {seed}");
        let hold = bounds.hold(left, flops_left);
        assert!(hold.is_ok(), "seed {seed}: {hold:?} where {left} and {flops_left} are left");
    }
}

/// A service with one account, in virtual time.
struct Service {
    server: Server,
    volume: Arc<Volume>,
    now_ns: u64,
    authorization: String,
}

/// 2026-11-24T23:00:00Z.
const START_NS: u64 = 1_795_561_200 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;
/// 16 operations, and the least that a job costs: one micro-unit.
const JOB: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;

impl Service {
    fn new(limits: AccountLimits, credit_micros: Option<i64>) -> Self {
        let draft = Draft { id: "acme", limits, credit_micros };
        let authorization = draft.authorization();
        let (_, volume) = accounts::volume(&[draft], START_NS);
        let config = Config {
            memory_bytes: 1 << 20,
            sessions_max: 8,
            tariff: Arc::new(Tariff::standard()),
            access: Access::Keys,
            platform: "test",
            threads: 1,
            peak: Peak::default(),
        };
        let now = Now { monotonic_ns: 0, unix_ns: START_NS };
        let server = Server::new(config, [1; 32]).with_volume(volume.clone(), now);
        let server = server.expect("its volume opens");
        let mut service = Self { server, volume, now_ns: 0, authorization };
        service.commit();
        service
    }

    fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ns, unix_ns: START_NS + self.now_ns }
    }

    fn commit(&mut self) {
        let now = self.now();
        while let Some(pending) = self.server.take_pending(now).expect("the disk has power") {
            let committed = pending.commit(&self.volume).expect("the disk has power");
            self.server.committed(committed, now);
        }
    }

    fn request(&self, body: &str) -> Vec<u8> {
        let fields = [("Content-Type", "application/json"), ("Authorization", &self.authorization)];
        write_request("POST", "/v1/multiply", &fields, Some(body.as_bytes()))
    }

    /// A client that has sent so much; of a request that is refused, the body is not read.
    fn send(&mut self, bytes: &[u8]) -> SessionId {
        let now = self.now();
        let id = self.server.open(now).expect("a session is free");
        self.server.receive(id, bytes, now);
        id
    }

    /// Does so many steps of a job; whether it is finished.
    fn advance(job: &mut Job, steps: usize) -> bool {
        (0..steps).any(|_| job.advance(&Alone, &|| true))
    }

    fn run_jobs(&mut self) {
        while let Some(mut job) = self.server.next_job() {
            while !Self::advance(&mut job, 1) {}
            let now = self.now();
            self.server.finish(job, now);
        }
        self.commit();
    }

    fn read(&mut self, id: SessionId) -> Option<Response> {
        let mut bytes = Vec::new();
        let now = self.now();
        while !self.server.output(id).is_empty() {
            bytes.extend_from_slice(self.server.output(id));
            self.server.sent(id, self.server.output(id).len(), now);
        }
        let response = parse_response(&bytes, false, false).expect("a sound reply");
        response.map(|(response, _)| response)
    }

    /// One request from its first byte to its reply, on a connection of its own.
    fn post(&mut self, body: &str) -> Response {
        let id = self.send(&self.request(body));
        self.run_jobs();
        let response = self.read(id).expect("a reply");
        self.server.gone(id);
        response
    }

    /// Jobs that go through before one is refused; with that refusal.
    fn jobs_left(&mut self) -> (usize, Response) {
        let mut jobs = 0;
        loop {
            let response = self.post(JOB);
            if response.status != 200 {
                return (jobs, response);
            }
            jobs += 1;
        }
    }
}

fn assert_refused(response: &Response, problem: &str, retry_after: Option<&str>) {
    let json = response.json();
    assert_eq!(json["type"], format!("/problems/{problem}"), "{json}");
    assert_eq!(response.field("Retry-After"), retry_after, "{json}");
}

#[test]
fn requests_come_back_at_their_rate() {
    let limits = AccountLimits { requests_per_second: Some(2), burst: Some(3), ..NONE };
    let mut service = Service::new(limits, None);
    let first = service.post(JOB);
    assert_eq!(first.field("RateLimit-Policy"), Some("\"burst\";q=3;w=2"));
    assert_eq!(first.field("RateLimit"), Some("\"burst\";r=2;t=1"));
    let (jobs, refusal) = service.jobs_left();
    assert_eq!((jobs, refusal.status), (2, 429));
    assert_refused(&refusal, "rate-limited", Some("1"));
    assert_eq!(refusal.field("RateLimit"), Some("\"burst\";r=0;t=1"));
    service.now_ns += SECOND_NS / 2;
    assert_eq!(service.jobs_left().0, 1);
    service.now_ns += 60 * SECOND_NS;
    assert_eq!(service.jobs_left().0, 3);
}

#[test]
fn a_job_counts_from_its_head_to_its_end_whatever_that_is() {
    let limits = AccountLimits { jobs_at_once: Some(1), ..NONE };
    let mut service = Service::new(limits, None);
    let request = service.request(JOB);
    let head = &request[..request.len() - JOB.len()];

    let first = service.send(head);
    // Refused before its body comes.
    let second = service.send(head);
    let refusal = service.read(second).expect("a reply");
    assert_eq!(refusal.status, 429);
    assert_refused(&refusal, "too-many-jobs", Some("1"));
    assert_eq!(refusal.field("RateLimit"), Some("\"jobs\";r=0"));
    service.server.gone(second);

    // Being run, it counts; done, it does not.
    let now = service.now();
    service.server.receive(first, JOB.as_bytes(), now);
    let mut job = service.server.next_job().expect("a job");
    assert_refused(&service.post(JOB), "too-many-jobs", Some("1"));
    while !Service::advance(&mut job, 1) {}
    service.server.finish(job, now);
    service.commit();
    assert_eq!(service.read(first).expect("a reply").status, 200);
    assert_eq!(service.post(JOB).field("RateLimit"), Some("\"jobs\";r=1"));

    // Its client is gone before its body has come, while it waits, and while it is run.
    let gone = service.send(head);
    service.server.gone(gone);
    let gone = service.send(&request);
    service.server.gone(gone);
    assert!(service.server.next_job().is_none());
    let gone = service.send(&request);
    let mut job = service.server.next_job().expect("a job");
    service.server.gone(gone);
    assert!(Service::advance(&mut job, 1));
    service.server.finish(job, now);
    assert_eq!(service.post(JOB).status, 200);

    // It comes too slowly.
    let slow = service.send(head);
    service.now_ns += TRANSFER_GRACE_NS + SECOND_NS;
    let now = service.now();
    let mut is_answered = false;
    while let Some(expired) = service.server.expire(now) {
        is_answered |= expired == Expired::Answered(slow);
    }
    assert!(is_answered);
    assert_eq!(service.read(slow).expect("a reply").status, 408);
    assert_eq!(service.post(JOB).status, 200);
}

#[test]
fn operations_of_a_day_are_used_up_until_midnight() {
    let limits = AccountLimits { flops_per_day: Some(40), ..NONE };
    let mut service = Service::new(limits, None);
    let (jobs, refusal) = service.jobs_left();
    assert_eq!((jobs, refusal.status), (2, 429));
    assert_refused(&refusal, "daily-flops-exceeded", Some("3600"));
    let policy = Some("\"flops\";q=0;qu=\"gflops\";w=86400");
    assert_eq!(refusal.field("RateLimit-Policy"), policy);
    assert_eq!(refusal.field("RateLimit"), Some("\"flops\";r=0;t=3600"));
    service.now_ns = 3600 * SECOND_NS - 1;
    assert_refused(&service.post(JOB), "daily-flops-exceeded", Some("1"));
    service.now_ns += 1;
    assert_eq!(service.jobs_left().0, 2);
    // No day has that many.
    let large = r#"{"a":[[1,2,3,4,5,6,7,8,9,1,2]],"b":[[1,2],[1,2],[1,2],[1,2],[1,2],[1,2],[1,2],[1,2],[1,2],[1,2],[1,2]]}"#;
    assert_refused(&service.post(large), "daily-flops-exceeded", None);
}

#[test]
fn a_month_is_charged_no_more_than_its_cap() {
    let limits = AccountLimits { amount_micros_per_month: Some(3), ..NONE };
    let mut service = Service::new(limits, None);
    let (jobs, refusal) = service.jobs_left();
    assert_eq!((jobs, refusal.status), (3, 402));
    assert_refused(&refusal, "spending-cap-reached", None);
    assert_eq!(refusal.json()["limit"], 3);
    assert_eq!(refusal.field("RateLimit"), None, "it is no rate");
    // In December.
    service.now_ns = 7 * 86_400 * SECOND_NS;
    assert_eq!(service.jobs_left().0, 3);
}

#[test]
fn who_pays_in_advance_is_charged_no_more_than_that() {
    let mut service = Service::new(NONE, Some(2));
    let (jobs, refusal) = service.jobs_left();
    assert_eq!((jobs, refusal.status), (2, 402));
    assert_refused(&refusal, "credit-exhausted", None);
    assert_eq!(refusal.json()["limit"], 2);
}

#[test]
fn jobs_at_once_hold_what_they_may_cost_and_give_it_back_when_they_cost_nothing() {
    let limits =
        AccountLimits { amount_micros_per_month: Some(3), flops_per_day: Some(48), ..NONE };
    let mut service = Service::new(limits, None);
    let request = service.request(JOB);
    let sessions: Vec<SessionId> = (0..4).map(|_| service.send(&request)).collect();
    let mut jobs: Vec<Box<Job>> =
        (0..4).map(|_| service.server.next_job().expect("a job")).collect();
    // Read, and set up: the fourth would be one too many.
    let are_finished: Vec<bool> = jobs.iter_mut().map(|job| Service::advance(job, 2)).collect();
    assert_eq!(are_finished, [false, false, false, true]);
    let now = service.now();
    service.server.finish(jobs.pop().expect("the fourth"), now);
    assert_refused(&service.read(sessions[3]).expect("a reply"), "spending-cap-reached", None);

    // One is done, one fails, and one's client is gone.
    while !Service::advance(&mut jobs[0], 1) {}
    service.server.gone(sessions[1]);
    assert!(Service::advance(&mut jobs[1], 1));
    for job in jobs.drain(..2) {
        service.server.finish(job, now);
    }
    service.commit();
    assert_eq!(service.read(sessions[0]).expect("a reply").status, 200);
    let overflow = r#"{"a":[[1e300]],"b":[[1e300]]}"#;
    assert_refused(&service.post(overflow), "result-not-finite", None);
    drop(jobs);
    let (jobs, refusal) = service.jobs_left();
    assert_eq!(jobs, 2, "nothing is pending");
    assert_refused(&refusal, "spending-cap-reached", None);
}
