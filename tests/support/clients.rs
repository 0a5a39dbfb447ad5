//! What every host must bear: many clients, pipelined jobs, and clients that mean no good.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use gemmule::formats::coding::{Coding, Compressor};

use super::http::{Client, write_job, write_request};
use super::load::{Load, Shape};

/// How long a server may take for one reply, under an emulator too.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a bad client may hold what it holds: the grace of a transfer that stands still,
/// and room for a slow machine.
const FREED_WITHIN: Duration = Duration::from_secs(35);

/// Products of many sizes over 64 connections: every product and every bill must be right.
pub fn serve_64_at_once(addr: SocketAddr, requests: usize) {
    let load = Load { shape: Shape::Varied(9), ..Load::new(addr, 64, requests) };
    let report = load.run().expect("the load runs");
    assert_eq!((report.right, report.wrong), (requests, 0), "{:?}", report.complaints);
}

/// The jobs that [`serve_pipelined`] sends.
pub const PIPELINED_JOBS: usize = 20;

/// Jobs sent at once on the only connection are answered in order: nothing else wakes the server.
pub fn serve_pipelined(addr: SocketAddr) {
    let mut client = Client::connect(addr, REPLY_TIMEOUT).expect("a connection");
    let jobs: Vec<u8> = (0..PIPELINED_JOBS)
        .flat_map(|number| write_job(&format!("{{\"a\":[[{number}]],\"b\":[[2]]}}")))
        .collect();
    client.send(&jobs).expect("the server takes it");
    for number in 0..PIPELINED_JOBS {
        let reply = client.receive().expect("a reply in time");
        assert_eq!(reply.json()["c"][0][0], 2.0 * number as f64);
    }
}

/// A body that becomes a thousand times as long, and so comes in many turns of the loop, though all
/// of it is in the socket at once.
pub fn serve_expanding(addr: SocketAddr, blanks: usize) {
    let mut body = Vec::new();
    let mut compressor = Compressor::new(Coding::Gzip, &mut body);
    compressor.push(b"{\"a\":[[6]],", &mut body);
    compressor.push(&vec![b' '; blanks], &mut body);
    compressor.push(b"\"b\":[[7]]}", &mut body);
    compressor.finish(&mut body);
    assert!(body.len() * 100 < blanks, "{} bytes", body.len());
    let fields = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let request = write_request("POST", "/v1/multiply", &fields, Some(&body));
    let mut client = Client::connect(addr, REPLY_TIMEOUT).expect("a connection");
    client.send(&request).expect("the server takes it");
    let reply = client.receive().expect("a reply in time").json();
    assert_eq!(reply["c"][0][0], 42.0);
    assert_eq!(reply["bill"]["bytes_in"], body.len());
}

/// A product of `side`³ terms, which takes many slices, and meanwhile small ones: the network must
/// not starve.
pub fn serve_during_a_long_job(addr: SocketAddr, side: usize) {
    let long = thread::spawn(move || {
        let row = format!("[{}]", vec!["1"; side].join(","));
        let matrix = format!("[{}]", vec![row.as_str(); side].join(","));
        let mut client = Client::connect(addr, REPLY_TIMEOUT).expect("a connection");
        let job = format!("{{\"a\":{matrix},\"b\":{matrix}}}");
        client.post_job(&job).expect("the long job's reply").json()
    });
    let mut served = 0;
    let mut client = Client::connect(addr, REPLY_TIMEOUT).expect("a connection");
    while !long.is_finished() {
        let reply = client.post_job("{\"a\":[[6]],\"b\":[[7]]}").expect("a reply");
        assert_eq!(reply.json()["c"][0][0], 42.0);
        served += 1;
    }
    let product = long.join().expect("the long job's client ends");
    assert_eq!(product["c"][side - 1][side - 1], side as f64);
    assert_eq!(product["bill"]["flops"], 2 * (side as u64).pow(3));
    assert!(served >= 3, "{served} small jobs during the long one");
}

/// Three bad clients at once: one stops reading a reply of `side` x `side` numbers, one never
/// finishes its head, one resets its connection within a body. Others are served meanwhile, and
/// what the three held is freed in bounded time.
pub fn outlast_bad_clients(addr: SocketAddr, side: usize) {
    let begun = Instant::now();
    let stopped_reading = stop_reading(addr, side);
    let mut half_a_head = TcpStream::connect(addr).expect("a connection");
    half_a_head.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").expect("the server takes it");
    reset_within_a_body(addr);
    let late = thread::spawn(move || {
        let mut reply = String::new();
        half_a_head.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a time-out can be set");
        half_a_head.read_to_string(&mut reply).expect("a reply, then the end");
        reply
    });
    loop {
        let mut client = Client::connect(addr, REPLY_TIMEOUT).expect("others are served");
        let product = client.post_job("{\"a\":[[6]],\"b\":[[7]]}").expect("others are served");
        assert_eq!(product.json()["c"][0][0], 42.0);
        let health = client.get("/healthz").expect("others are served").json();
        if health["sessions_open"] == 1 && health["memory_bytes_promised"] == 0 {
            break;
        }
        assert!(begun.elapsed() < FREED_WITHIN, "still held: {health}");
        thread::sleep(Duration::from_millis(50));
    }
    let reply = late.join().expect("the late client ends");
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    drop(stopped_reading);
}

/// A client that asks for more than all buffers on the way hold, and reads none of it. The server
/// works on it when this returns.
fn stop_reading(addr: SocketAddr, side: usize) -> TcpStream {
    let column = vec!["[0.1]"; side].join(",");
    let row = vec!["0.3"; side].join(",");
    let mut client = TcpStream::connect(addr).expect("a connection");
    let job = write_job(&format!("{{\"a\":[{column}],\"b\":[[{row}]]}}"));
    client.write_all(&job).expect("the server takes it");
    let mut first = [0; 12];
    client.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a time-out can be set");
    client.read_exact(&mut first).expect("the reply begins");
    assert_eq!(&first, b"HTTP/1.1 200");
    client
}

/// A socket that is closed with unread bytes sends a reset: a reply that is not read makes some.
fn reset_within_a_body(addr: SocketAddr) {
    let mut client = TcpStream::connect(addr).expect("a connection");
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n").expect("the server takes it");
    client.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a time-out can be set");
    while let Err(error) = client.peek(&mut [0]) {
        assert_eq!(error.kind(), ErrorKind::Interrupted, "the reply has come");
    }
    client
        .write_all(
            b"POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
              Content-Length: 100000\r\n\r\n{\"a\":[[1,2",
        )
        .expect("the server takes it");
}
