//! Bodies that are read while they are sent: what clients get, and what is held meanwhile.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::gemm::Alone;
use crate::http::Response;
use crate::http::connection::Event;
use crate::job::reading::BodySource;
use crate::limits::{
    DRAIN_TIMEOUT_NS, STREAM_PIECE_BYTES, STREAM_PIECE_BYTES_MIN, TRANSFER_BYTES_PER_SECOND_MIN,
    TRANSFER_GRACE_NS,
};
use crate::problem::{Problem, ProblemKind};
use crate::server::{Expired, Server, SessionId, test_server};
use crate::time::{Now, SECOND_NS};

const MEMORY_BYTES: usize = 16 << 20;
const GET: &str = "GET /body HTTP/1.1\r\nHost: g\r\n\r\n";
const NEXT: &str = "GET /problems/draining HTTP/1.1\r\nHost: g\r\n\r\n";

/// A body of bytes that tell where they are.
#[derive(Debug)]
struct Fake {
    at: u64,
    end: u64,
    /// The most that one read brings.
    step: usize,
    fails_at: u64,
    reads: Arc<AtomicUsize>,
}

impl Fake {
    fn new(end: u64, step: usize) -> Self {
        Self { at: 0, end, step, fails_at: u64::MAX, reads: Arc::default() }
    }

    fn byte(at: u64) -> u8 {
        (at ^ (at >> 8) ^ (at >> 16)) as u8
    }
}

impl BodySource for Fake {
    fn remaining(&self) -> u64 {
        self.end - self.at
    }

    fn read(&mut self, bytes_max: usize) -> Result<Vec<u8>, Problem> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.at >= self.fails_at {
            return Err(Problem::new(ProblemKind::Overloaded, "the disk is gone"));
        }
        let count = self.remaining().min(bytes_max.min(self.step) as u64);
        let bytes = (self.at..self.at + count).map(Self::byte).collect();
        self.at += count;
        Ok(bytes)
    }
}

struct Bench {
    server: Server,
    now: Now,
    id: SessionId,
    /// All that was sent.
    sent: Vec<u8>,
}

impl Bench {
    /// A client that has asked, and is answered from `source`.
    fn new(memory_bytes: usize, request: &str, source: Fake) -> (Self, Result<(), Problem>) {
        let mut server = test_server(memory_bytes);
        let now = Now { monotonic_ns: SECOND_NS, unix_ns: 1_800_000_000 * SECOND_NS };
        let id = server.open(now).expect("a session");
        let connection = &mut server.session_mut(id).expect("it is open").connection;
        let read = connection.receive(request.as_bytes()).expect("a head");
        assert!(matches!(read, (used, Event::Head(_)) if used == request.len()));
        assert!(matches!(connection.receive(b"").expect("no body"), (0, Event::End)));
        let account = server.anonymous.expect("it is served");
        let response = Response::empty(200).with_field("A", "b");
        let answered = server.answer_from(id, account, response, Box::new(source), now);
        (Self { server, now, id, sent: Vec::new() }, answered)
    }

    fn get(source: Fake) -> Self {
        let (bench, answered) = Self::new(MEMORY_BYTES, GET, source);
        answered.expect("there is memory");
        bench
    }

    /// Runs the job that waits, if there is one.
    fn run(&mut self) -> bool {
        let Some(mut job) = self.server.next_job() else { return false };
        while !job.advance(&Alone, &|| false) {}
        self.server.finish(job, self.now);
        true
    }

    /// Has at most so many bytes sent.
    fn send(&mut self, bytes: usize) -> usize {
        let output = self.server.output(self.id);
        let bytes = bytes.min(output.len());
        self.sent.extend_from_slice(&output[..bytes]);
        self.server.sent(self.id, bytes, self.now);
        bytes
    }

    fn unsent(&self) -> usize {
        self.server.session(self.id).expect("it is open").output.bytes()
    }

    /// Runs and sends until nothing is left to do.
    fn exhaust(&mut self) {
        while self.run() || self.send(usize::MAX) > 0 {}
    }

    fn receive(&mut self, text: &str) -> usize {
        self.server.receive(self.id, text.as_bytes(), self.now)
    }

    fn expire_at(&mut self, now_ns: u64) -> Option<Expired> {
        self.now.monotonic_ns = now_ns;
        self.server.expire(self.now)
    }

    /// The head that was sent, and what was sent behind it.
    fn reply(&self) -> (String, &[u8]) {
        let end = self.sent.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8_lossy(&self.sent[..end]).into_owned(), &self.sent[end..])
    }
}

#[test]
fn a_body_is_whole_and_no_more_than_two_pieces_are_held() {
    let piece = STREAM_PIECE_BYTES as u64;
    for end in [1, 65_537, piece - 1, piece, piece + 1, 2 * piece, 3 * piece + 5] {
        for (step, sent_at_once) in [
            (usize::MAX, usize::MAX),
            (usize::MAX, 1460),
            (99_999, 70_000),
            (STREAM_PIECE_BYTES, 1 << 20),
        ] {
            let mut bench = Bench::get(Fake::new(end, step));
            let mut held_most = 0;
            while bench.run() || bench.send(sent_at_once) > 0 {
                held_most = held_most.max(bench.unsent());
                assert!(bench.server.promised_bytes() <= 2 * STREAM_PIECE_BYTES);
                assert!(bench.unsent() <= bench.server.promised_bytes().max(256) + 256);
            }
            assert!(held_most <= 2 * STREAM_PIECE_BYTES + 256, "{held_most} of {end}");
            let (head, body) = bench.reply();
            assert!(head.contains(&format!("\r\nContent-Length: {end}\r\nA: b\r\n")), "{head}");
            assert_eq!(body.len() as u64, end);
            assert!(body.iter().zip(0..).all(|(byte, at)| *byte == Fake::byte(at)), "{end}");
            assert_eq!(bench.server.promised_bytes(), 0, "all was given back");
            // The connection goes on.
            assert_eq!(bench.receive(NEXT), NEXT.len());
            assert!(bench.send(usize::MAX) > 0);
        }
    }
}

#[test]
fn where_memory_is_short_pieces_are_or_the_reply_waits() {
    let end = 1_000_000;
    let (mut bench, answered) =
        Bench::new(2 * STREAM_PIECE_BYTES_MIN, GET, Fake::new(end, usize::MAX));
    answered.expect("two short pieces");
    while bench.run() || bench.send(1460) > 0 {
        assert!(bench.unsent() <= 2 * STREAM_PIECE_BYTES_MIN + 256);
    }
    assert_eq!(bench.reply().1.len() as u64, end);
    let (_, refused) = Bench::new(2 * STREAM_PIECE_BYTES_MIN - 1, GET, Fake::new(end, 1));
    assert_eq!(refused.unwrap_err().kind, ProblemKind::MemoryExceeded);
    let (_, fits) = Bench::new(1000, GET, Fake::new(1000, 1));
    fits.expect("a short body has no two pieces");
}

#[test]
fn for_a_client_that_takes_nothing_no_more_is_read() {
    let source = Fake::new(100 << 20, usize::MAX);
    let reads = source.reads.clone();
    let mut bench = Bench::get(source);
    while bench.run() {}
    assert_eq!(reads.load(Ordering::Relaxed), 2, "one to send and one ahead");
    // All but a byte of the first piece is sent, and its memory is still held: nothing is read.
    let surplus = bench.unsent() - STREAM_PIECE_BYTES;
    let mut left = surplus - 1;
    while left > 0 {
        left -= bench.send(left);
    }
    assert!(!bench.run(), "more than a piece is left");
    bench.send(1);
    assert!(bench.run() && !bench.run(), "one piece more");
    // The clock of a client that stands still runs.
    let stopped_ns = bench.now.monotonic_ns;
    assert_eq!(bench.expire_at(stopped_ns + TRANSFER_GRACE_NS - 1), None);
    assert_eq!(bench.expire_at(stopped_ns + TRANSFER_GRACE_NS), Some(Expired::Stalled(bench.id)));
}

#[test]
fn a_slow_client_is_served_and_a_slow_disk_is_not_held_against_it() {
    let mut bench = Bench::get(Fake::new(3 << 20, usize::MAX));
    // Nothing is there to be sent: the client can't be late.
    assert_eq!(bench.expire_at(1_000 * SECOND_NS), None);
    while bench.run() || bench.unsent() > 0 {
        let from_ns = bench.now.monotonic_ns;
        assert_eq!(bench.expire_at(from_ns + SECOND_NS), None, "fast enough");
        let mut left = TRANSFER_BYTES_PER_SECOND_MIN as usize;
        while left > 0 && bench.unsent() > 0 {
            left -= bench.send(left);
        }
    }
    assert_eq!(bench.reply().1.len(), 3 << 20);
}

#[test]
fn when_its_client_goes_nothing_is_read_and_nothing_held() {
    // While a piece is read, before its turn, and while the job rests.
    for (runs, is_out) in [(0, true), (0, false), (1, true), (1, false), (2, false)] {
        let source = Fake::new(100 << 20, usize::MAX);
        let reads = source.reads.clone();
        let mut bench = Bench::get(source);
        (0..runs).for_each(|_| assert!(bench.run()));
        let out = if is_out { bench.server.next_job() } else { None };
        assert_eq!(out.is_some(), is_out);
        bench.server.gone(bench.id);
        if let Some(mut job) = out {
            assert!(job.advance(&Alone, &|| false), "it is cancelled");
            assert_eq!(bench.server.finish(job, bench.now), None);
        }
        assert!(bench.server.next_job().is_none());
        assert_eq!(reads.load(Ordering::Relaxed), runs);
        assert_eq!(bench.server.promised_bytes(), 0);
    }
}

#[test]
fn a_source_that_fails_at_once_is_answered_with_its_problem() {
    let mut bench = Bench::get(Fake { fails_at: 0, ..Fake::new(5 << 20, usize::MAX) });
    bench.exhaust();
    let (head, body) = bench.reply();
    assert!(head.starts_with("HTTP/1.1 503 ") && !head.contains("A: b"), "{head}");
    assert!(String::from_utf8_lossy(body).contains("the disk is gone"));
    assert_eq!(bench.server.promised_bytes(), 0);
    assert_eq!(bench.receive(NEXT), NEXT.len(), "the connection goes on");
}

#[test]
fn a_source_that_fails_midway_breaks_the_reply_off() {
    let source = Fake { fails_at: 1 << 20, ..Fake::new(5 << 20, usize::MAX) };
    let mut bench = Bench::get(source);
    assert!(bench.run());
    bench.send(1000);
    assert!(bench.run(), "this is the one that fails");
    assert_eq!(bench.server.output(bench.id), b"", "no more is sent");
    assert!(!bench.server.close_wanted(bench.id), "it does not end in order");
    assert_eq!(bench.receive(NEXT), 0, "and no other request is taken");
    assert_eq!(bench.server.expire(bench.now), Some(Expired::Stalled(bench.id)));
    bench.server.gone(bench.id);
    assert_eq!(bench.server.promised_bytes(), 0);
}

#[test]
fn head_gets_the_head_and_nothing_is_read() {
    let source = Fake::new(5 << 20, usize::MAX);
    let reads = source.reads.clone();
    let head_request = GET.replacen("GET", "HEAD", 1);
    let (mut bench, answered) = Bench::new(1, &head_request, source);
    answered.expect("no memory is needed");
    assert!(!bench.run());
    bench.exhaust();
    let (head, body) = bench.reply();
    assert!(head.contains("\r\nContent-Length: 5242880\r\n") && body.is_empty(), "{head}");
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    assert_eq!(bench.receive(NEXT), NEXT.len());
}

#[test]
fn an_empty_body_is_a_reply_without_one() {
    let mut bench = Bench::get(Fake::new(0, 1));
    assert!(!bench.run());
    bench.exhaust();
    assert!(bench.reply().0.contains("\r\nContent-Length: 0\r\n") && bench.reply().1.is_empty());
}

#[test]
fn a_pipelined_request_waits_for_the_end_of_the_body() {
    let mut bench = Bench::get(Fake::new(3 << 20, usize::MAX));
    let mut is_taken = false;
    while bench.run() || bench.send(100_000) > 0 {
        let is_whole = bench.sent.len() > 3 << 20 && bench.unsent() == 0;
        if !is_taken {
            is_taken = bench.receive(NEXT) > 0;
            assert_eq!(is_taken, is_whole);
        }
    }
    let (_, behind) = bench.reply();
    let (body, next) = behind.split_at(3 << 20);
    assert!(body.iter().zip(0..).all(|(byte, at)| *byte == Fake::byte(at)));
    assert!(next.starts_with(b"HTTP/1.1 200 OK\r\n"), "{is_taken}");
}

#[test]
fn draining_waits_for_a_body_that_is_sent() {
    let mut bench = Bench::get(Fake::new(3 << 20, usize::MAX));
    assert!(bench.run());
    bench.server.drain(bench.now);
    while !bench.server.is_drained(bench.now) {
        assert!(bench.run() || bench.send(1 << 20) > 0, "it comes to an end");
    }
    assert_eq!(bench.reply().1.len(), 3 << 20);
    assert!(bench.server.close_wanted(bench.id));
    let mut bench = Bench::get(Fake::new(3 << 20, usize::MAX));
    bench.server.drain(bench.now);
    bench.now.monotonic_ns += DRAIN_TIMEOUT_NS;
    assert!(bench.server.is_drained(bench.now), "but not for ever");
}
