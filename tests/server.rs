//! The server in virtual time: deadlines, draining, cancelled jobs, memory that is not free.

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::job::Job;
use gemmule::limits::{
    DRAIN_TIMEOUT_NS, HEAD_TIMEOUT_NS, IDLE_TIMEOUT_NS, LINGER_TIMEOUT_NS,
    TRANSFER_BYTES_PER_SECOND_MIN, TRANSFER_GRACE_NS,
};
use gemmule::server::{Access, Config, Expired, Server, SessionId};
use gemmule::time::Now;

const MIB: usize = 1 << 20;
const SECOND_NS: u64 = 1_000_000_000;
const BODY: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;

/// A server and the time it is told.
struct Bench {
    server: Server,
    now_ns: u64,
}

impl Bench {
    fn new(memory_bytes: usize, sessions_max: usize) -> Self {
        let config = Config {
            memory_bytes,
            sessions_max,
            tariff: Tariff::standard().into(),
            access: Access::Anonymous,
            platform: "test",
            threads: 1,
            peak: Peak::default(),
        };
        Self { server: Server::new(config, [1; 32]), now_ns: 5 * SECOND_NS }
    }

    fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ns, unix_ns: 1_700_000_000 * SECOND_NS + self.now_ns }
    }

    fn open(&mut self) -> SessionId {
        let now = self.now();
        self.server.open(now).expect("a session is free")
    }

    fn receive(&mut self, id: SessionId, text: &str) -> usize {
        let now = self.now();
        self.server.receive(id, text.as_bytes(), now)
    }

    /// Takes all output of a session.
    fn read(&mut self, id: SessionId) -> String {
        let mut text = Vec::new();
        while !self.server.output(id).is_empty() {
            text.extend_from_slice(self.server.output(id));
            let (bytes, now) = (self.server.output(id).len(), self.now());
            self.server.sent(id, bytes, now);
        }
        String::from_utf8(text).expect("replies are text")
    }

    fn finish(&mut self, mut job: Box<Job>) -> Option<SessionId> {
        while !job.advance(&Alone, &|| false) {}
        let now = self.now();
        self.server.finish(job, now)
    }

    fn run_jobs(&mut self) -> usize {
        let mut jobs = 0;
        while let Some(job) = self.server.next_job() {
            self.finish(job);
            jobs += 1;
        }
        jobs
    }

    /// What expires when time moves to `ns` after the last step; nothing may have before.
    fn expire_at(&mut self, ns: u64) -> Option<Expired> {
        self.now_ns += ns - 1;
        let now = self.now();
        assert_eq!(self.server.expire(now), None, "one nanosecond early");
        self.now_ns += 1;
        let now = self.now();
        let due_ns = self.server.next_deadline_ns().expect("a deadline is set");
        assert!(due_ns <= self.now_ns, "the host would have been woken in time");
        self.server.expire(now)
    }
}

fn post(body: &str) -> String {
    format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn an_idle_session_is_closed() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    assert_eq!(bench.expire_at(IDLE_TIMEOUT_NS), Some(Expired::Answered(id)));
    assert!(bench.server.close_wanted(id));
    assert_eq!(bench.expire_at(LINGER_TIMEOUT_NS), Some(Expired::Stalled(id)));
}

#[test]
fn a_head_that_never_ends_is_answered_408() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    bench.now_ns += IDLE_TIMEOUT_NS / 2;
    bench.receive(id, "GET / HT");
    // More bytes win no more time.
    bench.now_ns += HEAD_TIMEOUT_NS / 2;
    bench.receive(id, "TP/1.1\r\n");
    assert_eq!(bench.expire_at(HEAD_TIMEOUT_NS / 2), Some(Expired::Answered(id)));
    let reply = bench.read(id);
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert!(bench.server.close_wanted(id));
}

#[test]
fn a_body_may_be_slow_but_not_too_slow() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    let request = post(&format!("{BODY}{}", " ".repeat(20_000)));
    let (head, body) = request.split_at(request.len() - 20_000);
    bench.receive(id, head);
    for piece in body.as_bytes().chunks(TRANSFER_BYTES_PER_SECOND_MIN as usize) {
        bench.now_ns += SECOND_NS;
        let now = bench.now();
        assert_eq!(bench.server.expire(now), None);
        bench.server.receive(id, piece, now);
    }
    assert_eq!(bench.run_jobs(), 1);
    assert!(bench.read(id).starts_with("HTTP/1.1 200 "));

    let slow = bench.open();
    bench.receive(slow, head);
    assert_eq!(bench.expire_at(TRANSFER_GRACE_NS), Some(Expired::Answered(slow)));
    assert!(bench.read(slow).starts_with("HTTP/1.1 408 "));
    bench.server.gone(slow);
    assert_eq!(bench.server.promised_bytes(), 0);
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_holds_no_memory() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    let request = post(BODY);
    bench.receive(id, &request);
    assert_eq!(bench.run_jobs(), 1);
    assert!(!bench.server.wants_input(id), "no further request until this reply is taken");
    assert_eq!(bench.receive(id, &request), 0);
    assert!(bench.server.promised_bytes() >= bench.server.output(id).len() / 2, "its reply counts");
    assert_eq!(bench.expire_at(TRANSFER_GRACE_NS), Some(Expired::Stalled(id)));
    bench.server.gone(id);
    assert_eq!((bench.server.sessions(), bench.server.promised_bytes()), (0, 0));
}

#[test]
fn a_client_that_was_fast_and_stops_is_dropped_as_soon_as_one_that_never_read() {
    let mut bench = Bench::new(64 * MIB, 4);
    let id = bench.open();
    let column = vec!["[1]"; 500].join(",");
    let row = vec!["1"; 500].join(",");
    bench.receive(id, &post(&format!("{{\"a\":[{column}],\"b\":[[{row}]]}}")));
    assert_eq!(bench.run_jobs(), 1);
    let head_bytes = bench.server.output(id).len();
    let now = bench.now();
    bench.server.sent(id, head_bytes, now);
    bench.server.sent(id, 900_000, now);
    assert_eq!(bench.expire_at(TRANSFER_GRACE_NS), Some(Expired::Stalled(id)));
}

#[test]
fn a_client_that_takes_a_byte_at_a_time_is_dropped() {
    let mut bench = Bench::new(64 * MIB, 4);
    let id = bench.open();
    bench.receive(id, &post(BODY));
    assert_eq!(bench.run_jobs(), 1);
    let mut expired = None;
    for _ in 0..TRANSFER_GRACE_NS / SECOND_NS {
        bench.now_ns += SECOND_NS;
        let now = bench.now();
        expired = bench.server.expire(now);
        bench.server.sent(id, 1, now);
    }
    assert_eq!(expired, None, "the grace is not over, but for the time of some bytes");
    bench.now_ns += SECOND_NS;
    let now = bench.now();
    assert_eq!(bench.server.expire(now), Some(Expired::Stalled(id)));
}

#[test]
fn sessions_are_bounded_and_a_stale_name_reaches_nobody() {
    let mut bench = Bench::new(MIB, 2);
    let (first, _second) = (bench.open(), bench.open());
    let now = bench.now();
    assert_eq!(bench.server.open(now), None);
    bench.server.gone(first);
    let third = bench.open();
    assert_eq!(third.index(), first.index());
    assert_eq!(bench.receive(first, "GET / HTTP/1.1\r\n"), 0);
    bench.server.gone(first);
    assert_eq!(bench.server.sessions(), 2);
    assert!(bench.server.wants_input(third));
}

#[test]
fn a_job_whose_client_is_gone_is_neither_run_nor_billed() {
    let mut bench = Bench::new(MIB, 4);
    let waiting = bench.open();
    bench.receive(waiting, &post(BODY));
    bench.server.gone(waiting);
    assert_eq!(bench.run_jobs(), 0);

    let running = bench.open();
    bench.receive(running, &post(BODY));
    let mut job = bench.server.next_job().expect("a job");
    assert!(!job.advance(&Alone, &|| false), "only the request is read");
    bench.server.gone(running);
    assert_eq!(bench.finish(job), None);
    assert_eq!(bench.server.take_console(), None, "no bill");
    assert_eq!(bench.server.promised_bytes(), 0);
}

#[test]
fn memory_that_others_hold_is_worth_another_try() {
    let mut bench = Bench::new(MIB, 4);
    let (big, late) = (bench.open(), bench.open());
    let request = post(&format!("{BODY}{}", " ".repeat(150_000)));
    let (head, body) = request.split_at(150);
    bench.receive(big, head);
    bench.receive(late, head);
    let reply = bench.read(late);
    assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains("Retry-After: 1\r\n"), "{reply}");
    bench.receive(big, body);
    assert_eq!(bench.run_jobs(), 1);
    assert!(bench.read(big).starts_with("HTTP/1.1 200 "));
    let again = bench.open();
    bench.receive(again, head);
    bench.receive(again, body);
    assert_eq!(bench.run_jobs(), 1);
    assert!(bench.read(again).starts_with("HTTP/1.1 200 "));
}

#[test]
fn pipelined_requests_are_answered_in_order_each_with_its_bill() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    let input = post(BODY).repeat(3);
    let mut used = 0;
    let mut jobs = Vec::new();
    while used < input.len() {
        used += bench.receive(id, &input[used..]);
        assert_eq!(bench.run_jobs(), 1);
        let reply = bench.read(id);
        assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains("[[19.0,22.0],[43.0,50.0]]"));
        let line = bench.server.take_console().expect("a bill on the console");
        let job = line.split(' ').find_map(|word| word.strip_prefix("job=")).expect("its job");
        assert!(reply.contains(&format!("Gemmule-Job: {job}\r\n")), "{line}\n{reply}");
        jobs.push(job.to_owned());
    }
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 3);
    for job in jobs {
        bench.receive(id, &format!("GET /v1/jobs/{job}/bill HTTP/1.1\r\nHost: g\r\n\r\n"));
        let bill = bench.read(id);
        assert!(bill.starts_with("HTTP/1.1 200 ") && bill.contains(&job), "{bill}");
    }
}

#[test]
fn a_drain_answers_what_was_asked_and_takes_no_more() {
    let mut bench = Bench::new(MIB, 8);
    let (idle, sending, working) = (bench.open(), bench.open(), bench.open());
    let request = post(BODY);
    let (front, back) = request.split_at(request.len() - 5);
    bench.receive(sending, front);
    bench.receive(working, &request);
    let now = bench.now();
    bench.server.drain(now);
    assert_eq!(bench.server.open(now), None);
    assert!(bench.server.close_wanted(idle));
    assert!(!bench.server.is_drained(now));
    bench.receive(sending, back);
    assert_eq!(bench.run_jobs(), 2);
    for id in [sending, working] {
        let reply = bench.read(id);
        assert!(reply.starts_with("HTTP/1.1 200 ") && reply.contains("Connection: close\r\n"));
        assert!(bench.server.close_wanted(id));
    }
    assert!(bench.server.is_drained(now));
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let mut bench = Bench::new(MIB, 8);
    let id = bench.open();
    bench.receive(id, &post(BODY));
    let _running = bench.server.next_job().expect("a job");
    let now = bench.now();
    bench.server.drain(now);
    bench.now_ns += DRAIN_TIMEOUT_NS - 1;
    assert!(!bench.server.is_drained(bench.now()));
    bench.now_ns += 1;
    assert!(bench.server.next_deadline_ns().is_some_and(|due_ns| due_ns <= bench.now_ns));
    assert!(bench.server.is_drained(bench.now()));
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_reply() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    bench.receive(id, &post(BODY));
    let now = bench.now();
    bench.server.receive_end(id, now);
    assert!(!bench.server.close_wanted(id));
    bench.run_jobs();
    assert!(bench.read(id).contains("Connection: close\r\n"));
    assert!(bench.server.close_wanted(id));

    // In a head, in a body, and in the body of a request that was refused.
    let refused = post(BODY).replace("/v1/multiply", "/v0/multiply");
    for incomplete in ["POST /v1/mul??????", &post(BODY), &refused] {
        let incomplete = &incomplete[..incomplete.len() - 6];
        let id = bench.open();
        bench.receive(id, incomplete);
        bench.read(id);
        let now = bench.now();
        bench.server.receive_end(id, now);
        assert!(bench.server.close_wanted(id), "{incomplete}");
        assert_eq!(bench.read(id), "");
    }
    assert_eq!(bench.server.promised_bytes(), 0);
}

#[test]
fn a_console_that_is_not_read_is_bounded() {
    let mut bench = Bench::new(MIB, 4);
    let id = bench.open();
    let jobs = gemmule::limits::CONSOLE_LINES_MAX + 3;
    for _ in 0..jobs {
        bench.receive(id, &post(BODY));
        bench.run_jobs();
        bench.read(id);
    }
    let first = bench.server.take_console().expect("a line");
    assert_eq!(first, "3 lines were dropped: the console is too slow");
    let lines = std::iter::from_fn(|| bench.server.take_console()).count();
    assert_eq!(lines, gemmule::limits::CONSOLE_LINES_MAX);
}
