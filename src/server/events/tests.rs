//! Streams of events: what clients of both versions get, when, and how they end.

use alloc::string::String;
use alloc::vec::Vec;

use crate::http::connection::Event;
use crate::http::server_events::ServerEvent;
use crate::limits::{DRAIN_TIMEOUT_NS, EVENT_BACKLOG_BYTES_MAX, EVENTS_KEEP_ALIVE_NS};
use crate::problem::ProblemKind;
use crate::server::{Expired, Server, SessionId, test_server};
use crate::time::{Now, SECOND_NS};

const GET: &str = "GET /events HTTP/1.1\r\nHost: g\r\n\r\n";
const GET_1_0: &str = "GET /events HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const HEAD: &str = "HEAD /events HTTP/1.1\r\nHost: g\r\n\r\n";
const NEXT: &str = "GET /problems/draining HTTP/1.1\r\nHost: g\r\n\r\n";
const NOW: Now = Now { monotonic_ns: SECOND_NS, unix_ns: 1_800_000_000 * SECOND_NS };

/// A client that has asked for events.
fn open(request: &str) -> (Server, SessionId) {
    let mut server = test_server(1 << 20);
    let id = server.open(NOW).expect("a session");
    let connection = &mut server.session_mut(id).expect("it is open").connection;
    let read = connection.receive(request.as_bytes()).expect("a head");
    assert!(matches!(read, (_, Event::Head(_))));
    assert!(matches!(connection.receive(b"").expect("no body"), (0, Event::End)));
    server.answer_with_events(id, NOW).expect("there is memory");
    (server, id)
}

fn sent(server: &mut Server, id: SessionId, now: Now) -> String {
    let mut sent = Vec::new();
    while let output @ [_, ..] = server.output(id) {
        sent.extend_from_slice(output);
        server.sent(id, output.len(), now);
    }
    String::from_utf8(sent).expect("text")
}

fn event<'a>(id: &'a str, data: &'a str) -> ServerEvent<'a> {
    ServerEvent { id, data, ..ServerEvent::default() }
}

fn at(now_ns: u64) -> Now {
    Now { monotonic_ns: now_ns, ..NOW }
}

#[test]
fn events_are_chunks_until_the_last() {
    let (mut server, id) = open(GET);
    let head = sent(&mut server, id, NOW);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
    assert!(head.ends_with("\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n"));
    assert!(!head.contains("Content-Length") && !head.contains("Connection"), "{head}");
    assert_eq!(server.expire(NOW), None, "there is nothing to tell the host");
    assert!(server.push_event(id, &event("7", "a"), NOW));
    assert!(server.push_event(id, &event("8", "b"), NOW));
    assert_eq!(server.next_deadline_ns(), Some(0), "the host is to look at once");
    assert_eq!(server.expire(NOW), Some(Expired::Answered(id)));
    assert_eq!(server.expire(NOW), None, "it is told once");
    let chunks = "f\r\nid: 7\ndata: a\n\n\r\nf\r\nid: 8\ndata: b\n\n\r\n";
    assert_eq!(sent(&mut server, id, NOW), chunks);
    assert_eq!(server.receive(id, NEXT.as_bytes(), NOW), 0, "the next request waits");
    assert!(!server.close_wanted(id));
    server.end_events(id, NOW);
    assert_eq!(server.expire(NOW), Some(Expired::Answered(id)));
    assert_eq!(sent(&mut server, id, NOW), "0\r\n\r\n");
    assert!(!server.push_event(id, &event("9", "c"), NOW), "it is over");
    assert_eq!(server.promised_bytes(), 0);
    assert_eq!(server.receive(id, NEXT.as_bytes(), NOW), NEXT.len(), "and answered");
    assert!(sent(&mut server, id, NOW).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn to_version_1_0_events_are_sent_plain_and_the_connection_ends_with_them() {
    let (mut server, id) = open(GET_1_0);
    let head = sent(&mut server, id, NOW);
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert!(!head.contains("Transfer-Encoding") && !head.contains("Content-Length"), "{head}");
    assert!(server.push_event(id, &event("", "a"), NOW));
    assert!(!server.close_wanted(id));
    assert_eq!(sent(&mut server, id, NOW), "data: a\n\n");
    assert!(!server.close_wanted(id), "there may be more");
    server.end_events(id, NOW);
    assert_eq!(sent(&mut server, id, NOW), "");
    assert!(server.close_wanted(id));
}

#[test]
fn head_gets_the_head_alone() {
    let (mut server, id) = open(HEAD);
    let head = sent(&mut server, id, NOW);
    assert!(head.contains("text/event-stream") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(!server.push_event(id, &event("", "a"), NOW), "it has no stream");
    assert_eq!(server.receive(id, NEXT.as_bytes(), NOW), NEXT.len());
}

#[test]
fn while_nothing_comes_about_a_comment_says_that_the_stream_lives() {
    let (mut server, id) = open(GET);
    sent(&mut server, id, NOW);
    let mut last_ns = NOW.monotonic_ns;
    for _ in 0..20 {
        let due_ns = last_ns + EVENTS_KEEP_ALIVE_NS;
        assert_eq!(server.expire(at(due_ns - 1)), None);
        assert_eq!(server.expire(at(due_ns)), Some(Expired::Answered(id)));
        assert_eq!(sent(&mut server, id, at(due_ns)), "3\r\n:\n\n\r\n");
        while server.expire(at(due_ns)).is_some() {}
        last_ns = due_ns;
    }
    // An event puts it off.
    let event_ns = last_ns + EVENTS_KEEP_ALIVE_NS - 1;
    assert!(server.push_event(id, &event("", "a"), at(event_ns)));
    sent(&mut server, id, at(event_ns));
    assert_eq!(server.expire(at(event_ns)), Some(Expired::Answered(id)));
    assert_eq!(server.expire(at(event_ns + EVENTS_KEEP_ALIVE_NS - 1)), None);
    assert_eq!(server.expire(at(event_ns + EVENTS_KEEP_ALIVE_NS)), Some(Expired::Answered(id)));
}

#[test]
fn a_client_that_does_not_keep_up_loses_its_connection() {
    let (mut server, id) = open(GET);
    let data = "x".repeat(1000);
    let mut pushed = 0;
    while server.push_event(id, &event("", &data), NOW) {
        pushed += 1000;
        assert!(pushed <= EVENT_BACKLOG_BYTES_MAX, "there is an end");
    }
    assert!(pushed > EVENT_BACKLOG_BYTES_MAX / 2, "only {pushed} bytes");
    assert_eq!(server.output(id), b"");
    assert!(!server.close_wanted(id), "it does not end in order");
    let mut told = Vec::new();
    while let Some(expired) = server.expire(NOW) {
        told.push(expired);
        if expired == Expired::Stalled(id) {
            server.gone(id);
        }
    }
    assert_eq!(told.last(), Some(&Expired::Stalled(id)));
    assert_eq!(server.promised_bytes(), 0);
    assert!(!server.push_event(id, &event("", "a"), NOW), "it is gone");
}

#[test]
fn draining_ends_streams_in_order() {
    let (mut server, id) = open(GET);
    sent(&mut server, id, NOW);
    server.drain(NOW);
    assert_eq!(server.expire(NOW), Some(Expired::Answered(id)));
    assert!(!server.is_drained(NOW), "the end is to be sent");
    assert_eq!(sent(&mut server, id, NOW), "0\r\n\r\n");
    assert!(server.is_drained(NOW) && server.close_wanted(id));
    assert!(server.drain_until_ns.is_some_and(|ns| ns == NOW.monotonic_ns + DRAIN_TIMEOUT_NS));
}

#[test]
fn each_stream_has_memory_for_what_is_not_taken() {
    let (server, _) = open(GET);
    assert_eq!(server.promised_bytes(), EVENT_BACKLOG_BYTES_MAX);
    let mut server = test_server(EVENT_BACKLOG_BYTES_MAX - 1);
    let id = server.open(NOW).expect("a session");
    let connection = &mut server.session_mut(id).expect("it is open").connection;
    connection.receive(GET.as_bytes()).expect("a head");
    let refused = server.answer_with_events(id, NOW).unwrap_err();
    assert_eq!(refused.kind, ProblemKind::MemoryExceeded);
}
