//! The body of `POST /v1/multiply` as a table: what is computed, and what is refused, with its
//! problem and the field at fault.

use gemmule::api::{MultiplyReader, MultiplyRequest};
use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::server::{Access, Config, Server};
use gemmule::time::Now;
use serde_json::Value;

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 0 };
const MIB: usize = 1 << 20;

fn server(memory_bytes: usize) -> Server {
    let config = Config {
        memory_bytes,
        sessions_max: 4,
        tariff: Tariff::standard().into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    Server::new(config, [7; 32])
}

/// The status and body of the reply to a body posted to `/v1/multiply`.
fn post(body: &str) -> (u16, Value) {
    let request = format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    reply(&mut server(8 * MIB), request.as_bytes())
}

fn reply(server: &mut Server, request: &[u8]) -> (u16, Value) {
    let session = server.open(NOW).expect("a session is free");
    // What a refused request leaves unread stays in the socket.
    server.receive(session, request, NOW);
    while let Some(mut job) = server.next_job() {
        while !job.advance(&Alone, &|| true) {}
        server.finish(job, NOW);
    }
    let mut text = Vec::new();
    while !server.output(session).is_empty() {
        text.extend_from_slice(server.output(session));
        server.sent(session, server.output(session).len(), NOW);
    }
    server.gone(session);
    assert_eq!(server.promised_bytes(), 0, "all memory is given back");
    let text = String::from_utf8(text).expect("replies are text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a reply has a head");
    let status = head[9..12].parse().expect("a status");
    (status, serde_json::from_str(body).expect("a reply is JSON"))
}

#[rustfmt::skip]
const PRODUCTS: &[(&str, &str, u64)] = &[
    (r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#, "[[19.0,22.0],[43.0,50.0]]", 16),
    (r#" { "b" : [ [ 3 ] ] , "a" : [ [ 2 ] ] } "#, "[[6.0]]", 2),
    (r#"{"a":[[1,2,3]],"b":[[1],[2],[3]]}"#, "[[14.0]]", 6),
    (r#"{"a":[[1],[2]],"b":[[3,4]]}"#, "[[3.0,4.0],[6.0,8.0]]", 8),
    (r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]],"transpose_a":true}"#, "[[26.0,30.0],[38.0,44.0]]", 16),
    (r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]],"transpose_b":true}"#, "[[17.0,23.0],[39.0,53.0]]", 16),
    (r#"{"a":[[1,2],[3,4]],"b":[[5,6]],"transpose_a":false,"transpose_b":true}"#, "[[17.0],[39.0]]", 8),
    (r#"{"a":[[2]],"b":[[3]],"alpha":0.5}"#, "[[3.0]]", 3),
    (r#"{"a":[[2]],"b":[[3]],"alpha":1.0}"#, "[[6.0]]", 2),
    (r#"{"a":[[2]],"b":[[3]],"c":[[1]]}"#, "[[7.0]]", 4),
    (r#"{"a":[[2]],"b":[[3]],"c":[[1]],"beta":-2,"alpha":2}"#, "[[10.0]]", 5),
    (r#"{"a":[[2]],"b":[[3]],"c":[[1]],"beta":0}"#, "[[6.0]]", 2),
    (r#"{"a":[[2]],"b":[[3]],"beta":0.0}"#, "[[6.0]]", 2),
    (r#"{"a":[[0.1]],"b":[[3]]}"#, "[[0.30000000000000004]]", 2),
    (r#"{"a":[[0.1]],"b":[[3]],"dtype":"f32"}"#, "[[0.3]]", 2),
    (r#"{"dtype":"f32","a":[[0.1]],"b":[[1]]}"#, "[[0.1]]", 2),
    (r#"{"dtype":"f64","a":[[1e-320]],"b":[[1]]}"#, "[[1e-320]]", 2),
    // Rounded to f64 first, this would be rounded to f32 a second time, and down.
    (r#"{"a":[[1.00000005960464477540]],"b":[[1]],"dtype":"f32"}"#, "[[1.0000001]]", 2),
    (r#"{"a":[[16777217]],"b":[[1]]}"#, "[[16777217.0]]", 2),
    (r#"{"a":[[-0.0]],"b":[[1]],"c":[[-0.0]]}"#, "[[0.0]]", 4),
    (r#"{"a":[[18446744073709551615]],"b":[[1]]}"#, "[[1.8446744073709552e+19]]", 2),
    // NumPy: zeros((1, 0)) @ zeros((0, 2)), zeros((2, 0)) @ zeros((0, 1)), ones((1, 1)) @ zeros((1,
    // 0)).
    (r#"{"a":[[]],"b":[[],[]],"transpose_b":true}"#, "[[0.0,0.0]]", 0),
    (r#"{"a":[[],[]],"b":[[]],"transpose_b":true,"c":[[1],[2]],"beta":3}"#, "[[3.0],[6.0]]", 4),
    (r#"{"a":[[1]],"b":[[]]}"#, "[[]]", 0),
    (r#"{"a":[[1],[2]],"b":[[]]}"#, "[[],[]]", 0),
    (r#"{"\u0061":[[1]],"b":[[2]]}"#, "[[2.0]]", 2),
    (r#"{"a":{"shape":[2,3],"data":[1,2,3,4,5,6]},"b":[[1],[10],[100]]}"#, "[[321.0],[654.0]]", 12),
    (r#"{"b":[[1],[10],[100]],"a":{ "data":[1,2,3,4,5,6] , "shape":[ 2, 3.0 ] }}"#, "[[321.0],[654.0]]", 12),
    (r#"{"c":{"data":[1],"shape":[1,1]},"a":[[2]],"b":{"shape":[1,1],"d\u0061ta":[3]}}"#, "[[7.0]]", 4),
    (r#"{"a":{"shape":[2,1],"data":[0.1,16777217]},"b":[[1]],"dtype":"f32"}"#, "[[0.1],[16777216.0]]", 4),
    // NumPy: ones((2, 0)) @ zeros((0, 2)), and zeros((0, 2)) @ ones((2, 1)).
    (r#"{"a":[[],[]],"b":{"shape":[0,2],"data":[]}}"#, "[[0.0,0.0],[0.0,0.0]]", 0),
    (r#"{"a":{"shape":[0,2],"data":[]},"b":[[1],[2]]}"#, "[]", 0),
];

#[test]
fn products_and_their_flops() {
    for (body, c, flops) in PRODUCTS {
        let (status, reply) = post(body);
        assert_eq!(status, 200, "{body}: {reply}");
        assert_eq!(reply["c"].to_string(), *c, "{body}");
        assert_eq!(reply["bill"]["flops"], *flops, "{body}");
        assert_eq!(reply["bill"]["bytes_in"], body.len(), "{body}");
        assert_eq!(reply["bill"]["bytes_out"], c.len(), "{body}");
        assert_eq!(reply["bill"]["amount_micros"], 1, "{body}");
    }
}

#[rustfmt::skip]
const REFUSED: &[(&str, u16, &str, Option<&str>)] = &[
    ("", 400, "malformed-json", None),
    ("{", 400, "malformed-json", None),
    ("null", 400, "malformed-json", None),
    ("[]", 400, "malformed-json", None),
    (r#"{"a":[[1]],"b":[[1]]}}"#, 400, "malformed-json", None),
    (r#"{"a":[[1,]],"b":[[1]]}"#, 400, "malformed-json", None),
    (r#"{"a":[[01]],"b":[[1]]}"#, 400, "malformed-json", None),
    (r#"{"a":[[.5]],"b":[[1]]}"#, 400, "malformed-json", None),
    (r#"{"a":[[1]],"b":[[1]]"#, 400, "malformed-json", None),
    ("{\"a\":[[\u{00a0}1]]}", 400, "malformed-json", None),
    ("{}", 422, "missing-field", Some("/a")),
    (r#"{"a":[[1]]}"#, 422, "missing-field", Some("/b")),
    (r#"{"a":[[1]],"b":[[1]],"beta":2}"#, 422, "missing-field", Some("/c")),
    (r#"{"a":[[1]],"b":[[1]],"gamma":2}"#, 422, "unknown-field", Some("/gamma")),
    (r#"{"a":[[1]],"b":[[1]],"A":[[1]]}"#, 422, "unknown-field", Some("/A")),
    (r#"{"~/":1}"#, 422, "unknown-field", Some("/~0~1")),
    (r#"{"a":[[1]],"a":[[1]]}"#, 422, "duplicate-field", Some("/a")),
    (r#"{"alpha":1,"alpha":1}"#, 422, "duplicate-field", Some("/alpha")),
    (r#"{"a":[],"b":[[1]]}"#, 422, "empty-matrix", Some("/a")),
    (r#"{"a":[[1]],"b":[]}"#, 422, "empty-matrix", Some("/b")),
    (r#"{"a":[[1,2],[3]],"b":[[1]]}"#, 422, "ragged-rows", Some("/a/1")),
    (r#"{"a":[[],[3]],"b":[[1]]}"#, 422, "ragged-rows", Some("/a/1")),
    (r#"{"a":[1,2],"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/0")),
    (r#"{"a":1,"b":[[1]]}"#, 422, "not-a-matrix", Some("/a")),
    (r#"{"a":"[[1]]","b":[[1]]}"#, 422, "not-a-matrix", Some("/a")),
    (r#"{"a":{"0":[1]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a")),
    (r#"{"a":[[[1]]],"b":[[1]]}"#, 422, "not-a-number", Some("/a/0/0")),
    (r#"{"a":[[1,true]],"b":[[1]]}"#, 422, "not-a-number", Some("/a/0/1")),
    (r#"{"a":[[null]],"b":[[1]]}"#, 422, "not-a-number", Some("/a/0/0")),
    (r#"{"a":[["1"]],"b":[[1]]}"#, 422, "not-a-number", Some("/a/0/0")),
    (r#"{"alpha":"2"}"#, 422, "not-a-number", Some("/alpha")),
    (r#"{"a":[[1],[NaN]],"b":[[1]]}"#, 422, "number-not-finite", Some("/a/1/0")),
    (r#"{"a":[[nan]],"b":[[1]]}"#, 422, "number-not-finite", Some("/a/0/0")),
    ("{\"a\":\n[[1],\n[Infinity]]}", 422, "number-not-finite", Some("/a/1/0")),
    (r#"{"a":[[-Infinity]],"b":[[1]]}"#, 422, "number-not-finite", Some("/a/0/0")),
    (r#"{"a":[[+inf]],"b":[[1]]}"#, 422, "number-not-finite", Some("/a/0/0")),
    (r#"{"a":[["NaN"]],"b":[[1]]}"#, 422, "number-not-finite", Some("/a/0/0")),
    (r#"{"a":[["-Infinity"]],"b":[[1]]}"#, 422, "number-not-finite", Some("/a/0/0")),
    (r#"{"beta":NaN}"#, 422, "number-not-finite", Some("/beta")),
    (r#"{"a":[[1e400]],"b":[[1]]}"#, 422, "number-out-of-range", Some("/a/0/0")),
    (r#"{"a":[[-1e309]],"b":[[1]]}"#, 422, "number-out-of-range", Some("/a/0/0")),
    (r#"{"dtype":"f32","a":[[0,1e39]],"b":[[1]]}"#, 422, "number-out-of-range", Some("/a/0/1")),
    (r#"{"a":[[1e39]],"b":[[1]],"dtype":"f32"}"#, 422, "number-out-of-range", Some("/a/0/0")),
    (r#"{"dtype":"f32","a":[[3.4028236e38]],"b":[[1]]}"#, 422, "number-out-of-range", Some("/a/0/0")),
    (r#"{"dtype":"f16"}"#, 422, "unknown-dtype", Some("/dtype")),
    (r#"{"dtype":64}"#, 422, "unknown-dtype", Some("/dtype")),
    (r#"{"transpose_a":1}"#, 422, "not-a-boolean", Some("/transpose_a")),
    (r#"{"transpose_b":"true"}"#, 422, "not-a-boolean", Some("/transpose_b")),
    (r#"{"a":[[1,2]],"b":[[1,2]]}"#, 422, "shape-mismatch", Some("/b")),
    (r#"{"a":[[1,2]],"b":[[1],[2]],"transpose_a":true}"#, 422, "shape-mismatch", Some("/b")),
    (r#"{"a":[[1]],"b":[[1]],"c":[[1,2]]}"#, 422, "shape-mismatch", Some("/c")),
    (r#"{"a":[[1]],"b":[[1]],"c":[[1,2]],"beta":0}"#, 422, "shape-mismatch", Some("/c")),
    (r#"{"a":{"shape":[1,1]},"b":[[1]]}"#, 422, "missing-field", Some("/a/data")),
    (r#"{"a":{"data":[1]},"b":[[1]]}"#, 422, "missing-field", Some("/a/shape")),
    (r#"{"a":{},"b":[[1]]}"#, 422, "missing-field", Some("/a/shape")),
    (r#"{"a":{"shape":[1,1],"shape":[1,1]}}"#, 422, "duplicate-field", Some("/a/shape")),
    (r#"{"a":{"data":[1],"data":[1]}}"#, 422, "duplicate-field", Some("/a/data")),
    (r#"{"a":{"shape":[1,1],"data":[1],"order":"C"}}"#, 422, "not-a-matrix", Some("/a")),
    (r#"{"a":{"shape":[2,2],"data":[1,2,3]},"b":[[1]]}"#, 422, "shape-mismatch", Some("/a/data")),
    (r#"{"a":{"data":[1,2,3],"shape":[1,2]},"b":[[1]]}"#, 422, "shape-mismatch", Some("/a/data")),
    (r#"{"a":{"data":[1],"shape":[1]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[1],"shape":[]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[1],"shape":[1,1,1]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[1],"shape":1},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[1],"shape":[1,"1"]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[1],"shape":[0.5,2]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[1],"shape":[-1,-1]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"data":[],"shape":[16777217,0]},"b":[[1]]}"#, 422, "dimension-too-large", Some("/a")),
    (r#"{"a":{"data":[],"shape":[1e999,0]},"b":[[1]]}"#, 422, "dimension-too-large", Some("/a")),
    (r#"{"a":{"shape":[1,1],"data":[[1]]},"b":[[1]]}"#, 422, "not-a-number", Some("/a/data/0")),
    (r#"{"a":{"shape":[1,1],"data":1},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/data")),
    (r#"{"a":{"shape":[1,2],"data":[1,NaN]},"b":[[1]]}"#, 422, "number-not-finite", Some("/a/data/1")),
    (r#"{"a":{"shape":[1,2],"data":[1,1e999]},"b":[[1]]}"#, 422, "number-out-of-range", Some("/a/data/1")),
    (r#"{"a":{"shape":[1,2],"data":[1,2,]},"b":[[1]]}"#, 400, "malformed-json", None),
    (r#"{"a":{"shape":[1,2,],"data":[1,2]},"b":[[1]]}"#, 422, "not-a-matrix", Some("/a/shape")),
    (r#"{"a":{"shape":[1 2],"data":[1,2]},"b":[[1]]}"#, 400, "malformed-json", None),
    (r#"{"a":{"shape":[1,2],"data":[1,2],},"b":[[1]]}"#, 400, "malformed-json", None),
    (r#"{"a":[[1e200]],"b":[[0,1e200]]}"#, 422, "result-not-finite", Some("/c/0/1")),
];

#[test]
fn what_is_refused_names_the_problem_and_the_field() {
    for (body, status, kind, field) in REFUSED {
        let (found, reply) = post(body);
        assert_eq!(reply["type"], format!("/problems/{kind}"), "{body}: {reply}");
        assert_eq!(found, *status, "{body}");
        assert_eq!(reply["status"], *status, "{body}");
        assert_eq!(reply["field"].as_str(), *field, "{body}: {reply}");
        assert!(reply["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
}

#[test]
fn a_body_is_read_in_slices() {
    let row = vec!["0.5"; 1000].join(", ");
    let body = format!(
        "{{{}\"a\":[{}],\"b\":[[1]]}}",
        " ".repeat(1 << 20),
        vec![format!("[{row}]"); 100].join(",")
    );
    let mut reader = MultiplyReader::new(body.clone().into_bytes());
    let mut slices = 0;
    let found = loop {
        slices += 1;
        match reader.advance(&mut || true) {
            Ok(None) => {}
            other => break other,
        }
    };
    // Half a MiB of text takes several looks, and a hundred thousand numbers take dozens.
    assert!(slices > 50, "{slices}");
    let problem = found.expect_err("100 x 1000 times 1 x 1");
    assert_eq!(
        problem.detail,
        MultiplyRequest::parse(body.as_bytes()).expect_err("the same").detail
    );
    assert_eq!(problem.kind.name(), "shape-mismatch");
}

#[test]
fn elements_are_counted_before_they_are_read() {
    for body in [
        r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]],"c":[[9,9],[9,9]]}"#,
        r#"{"c":{"data":[9,9,9,9],"shape":[2,2]},"b":[[5,6],[7,8]],"a":[[1,2],[3,4]],"beta":2}"#,
    ] {
        let Ok(MultiplyRequest::F64(operation)) = MultiplyRequest::parse(body.as_bytes()) else {
            panic!("{body}");
        };
        // The commas behind a matrix count, too, and those of its shape.
        assert!((8..=11).contains(&operation.elements.capacity()), "{body}");
        let c = operation.c.expect("C is added");
        assert!((4..=8).contains(&c.capacity()), "{body}");
    }
}

#[test]
fn any_truncation_or_flipped_byte_is_answered() {
    let whole = br#"{"a":[[1,-2.5e3],[3,4]],"b":[[5,6],[7,8]],"dtype":"f32","transpose_a":true}"#;
    for length in 0..whole.len() {
        assert!(MultiplyRequest::parse(&whole[..length]).is_err(), "{length} bytes");
    }
    for place in 0..whole.len() {
        for byte in 0..=255 {
            let mut body = whole.to_vec();
            body[place] = byte;
            // Taken or refused, it must not panic.
            let _ = MultiplyRequest::parse(&body);
        }
    }
}

#[test]
fn a_job_that_can_never_fit_is_refused_before_its_body() {
    let mut server = server(MIB);
    let head = "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
                Content-Length: 300000\r\n\r\n";
    let (status, problem) = reply(&mut server, head.as_bytes());
    assert_eq!(status, 413);
    assert_eq!(problem["type"], "/problems/body-too-large");
    assert_eq!(problem["limit"], (MIB - 64) / 5);
}

#[test]
fn a_result_that_can_never_fit_is_refused_with_the_limit() {
    // A column times a row: 2 x 600 numbers in, 360,000 out.
    let column = vec!["[1]"; 600].join(",");
    let row = vec!["1"; 600].join(",");
    let body = format!("{{\"a\":[{column}],\"b\":[[{row}]]}}");
    let request = format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, problem) = reply(&mut server(MIB), request.as_bytes());
    assert_eq!(status, 413);
    assert_eq!(problem["type"], "/problems/memory-exceeded");
    assert_eq!(problem["limit"], MIB);
    let (status, product) = reply(&mut server(16 * MIB), request.as_bytes());
    assert_eq!((status, &product["bill"]["flops"]), (200, &Value::from(720_000)));
}

#[test]
fn a_body_of_unknown_length_is_held_to_the_same_limit() {
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let head = "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let body = "{\"a\":[[2]],\"b\":[[3]]}";
    let last = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let fits = format!("{head}{}{last}", chunk.repeat(2));
    let (status, product) = reply(&mut server(MIB), fits.as_bytes());
    assert_eq!((status, product["c"].to_string().as_str()), (200, "[[6.0]]"));
    let too_long = format!("{head}{}{last}", chunk.repeat(4));
    let (status, problem) = reply(&mut server(MIB), too_long.as_bytes());
    assert_eq!(status, 413, "{problem}");
    assert_eq!(problem["type"], "/problems/body-too-large");
}
