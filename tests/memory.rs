//! How much memory the Linux server takes for matrices that come and go as bytes.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::host::Host;

const MIB: u64 = 1 << 20;
/// Long enough for a product of some 140 GFLOP on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Rows and columns of each matrix: 128 MiB in `f64`.
const LENGTH: usize = 4096;
const MATRIX_BYTES: u64 = (LENGTH * LENGTH * 8) as u64;

/// A request of these heads, then all of A and B: A is the unit matrix times 2, and row i of B is i
/// throughout, so that every element of the result tells its row.
fn post(stream: &mut TcpStream, fields: &str, start: &[u8]) {
    let body_bytes = start.len() as u64 + 2 * MATRIX_BYTES;
    let head = format!("{fields}Host: g\r\nContent-Length: {body_bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the server takes it");
    stream.write_all(start).expect("the server takes it");
    let mut row = vec![0; LENGTH * 8];
    for i in 0..LENGTH {
        row.fill(0);
        row[i * 8..(i + 1) * 8].copy_from_slice(&2.0_f64.to_le_bytes());
        stream.write_all(&row).expect("the server takes it");
    }
    for i in 0..LENGTH {
        row.chunks_exact_mut(8).for_each(|it| it.copy_from_slice(&(i as f64).to_le_bytes()));
        stream.write_all(&row).expect("the server takes it");
    }
}

/// Reads a reply with a binary result, and checks every row of it.
fn check_reply(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a reply");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name));
        value.map(|value| value.trim().parse::<u64>().expect("a number"))
    };
    let body_bytes = field("Content-Length:").expect("a length");
    let start = field("Inference-Header-Content-Length:").unwrap_or(0);
    assert_eq!(body_bytes, start + MATRIX_BYTES);
    let mut start = vec![0; start as usize];
    stream.read_exact(&mut start).expect("all of the reply");
    let mut row = vec![0; LENGTH * 8];
    for i in 0..LENGTH {
        stream.read_exact(&mut row).expect("all of the reply");
        let expected = (2.0 * i as f64).to_le_bytes();
        assert!(row.chunks_exact(8).all(|element| element == expected), "row {i}");
    }
}

#[test]
fn binary_matrices_take_little_more_memory_than_their_size() {
    let host = Host::serve(&["--memory-mib", "600"]);
    let mut stream = TcpStream::connect(host.addr()).expect("a connection");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out can be set");
    let fields = format!(
        "POST /v1/multiply?a={LENGTH}x{LENGTH}&b={LENGTH}x{LENGTH} HTTP/1.1\r\n\
         Content-Type: application/octet-stream\r\n"
    );
    let tensor = |name| {
        format!(
            r#"{{"name":"{name}","shape":[{LENGTH},{LENGTH}],"datatype":"FP64",
            "parameters":{{"binary_data_size":{MATRIX_BYTES}}}}}"#
        )
    };
    let json = format!(
        r#"{{"inputs":[{},{}],"parameters":{{"binary_data_output":true}}}}"#,
        tensor("A"),
        tensor("B")
    );
    let infer = format!(
        "POST /v2/models/matmul_fp64/infer HTTP/1.1\r\nInference-Header-Content-Length: {}\r\n",
        json.len()
    );
    for _ in 0..2 {
        post(&mut stream, &fields, b"");
        check_reply(&mut stream);
        post(&mut stream, &infer, json.as_bytes());
        check_reply(&mut stream);
    }
    let (most, bound) = (host.resident_bytes_max(), MATRIX_BYTES * 3 * 115 / 100 + 32 * MIB);
    assert!(most <= bound, "{} MiB, and {} MiB are enough", most / MIB, bound / MIB);
}
