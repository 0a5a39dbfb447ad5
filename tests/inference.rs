//! `infer` of the Open Inference Protocol as tables: what is computed and what is refused, of
//! bodies that the protocol's own client never writes. Each is read whole and byte by byte.

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::server::{Access, Config, Server};
use gemmule::time::Now;
use serde_json::Value;

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 0 };
const MIB: usize = 1 << 20;

/// A reply, taken apart.
#[derive(Debug, PartialEq)]
struct Reply {
    status: u16,
    head: String,
    /// The JSON of the content.
    json: Value,
    /// What stands behind it.
    tensors: Vec<u8>,
}

/// Posts a body, whose first `header_bytes` are JSON where that is said.
fn post(path: &str, header_bytes: Option<&str>, body: &[u8]) -> Reply {
    let header = header_bytes
        .map_or(String::new(), |bytes| format!("Inference-Header-Content-Length: {bytes}\r\n"));
    let head = format!(
        "POST /v2/models/{path}/infer HTTP/1.1\r\nHost: g\r\n{header}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let whole = exchange(request.chunks(usize::MAX), false);
    for (piece_bytes, is_placed) in [(1, false), (1, true), (13, true), (usize::MAX, true)] {
        let other = exchange(request.chunks(piece_bytes), is_placed);
        assert_eq!(mask(&whole), mask(&other), "{}", String::from_utf8_lossy(&request));
    }
    whole
}

/// Without what differs from job to job.
fn mask(reply: &Reply) -> (u16, String, Vec<u8>) {
    let mut json = reply.json.clone();
    if let Some(parameters) = json.get_mut("parameters") {
        parameters["gemmule_job"] = Value::Null;
    }
    (reply.status, json.to_string(), reply.tensors.clone())
}

/// Sends a request in pieces, of which those of tensors may go right to their places.
fn exchange<'a>(pieces: impl Iterator<Item = &'a [u8]>, is_placed: bool) -> Reply {
    let config = Config {
        memory_bytes: 16 * MIB,
        sessions_max: 4,
        tariff: Tariff::standard().into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    let mut server = Server::new(config, [7; 32]);
    let session = server.open(NOW).expect("a session is free");
    for mut piece in pieces {
        // What a refused request leaves unread stays in the socket.
        while !piece.is_empty() && server.wants_input(session) {
            let placed = is_placed.then(|| {
                server.receive_into(session, usize::MAX, NOW, &mut |place| {
                    place.push(piece);
                })
            });
            let used = placed.flatten().unwrap_or_else(|| server.receive(session, piece, NOW));
            piece = &piece[used..];
        }
    }
    while let Some(mut job) = server.next_job() {
        while !job.advance(&Alone, &|| true) {}
        server.finish(job, NOW);
    }
    let mut bytes = Vec::new();
    while !server.output(session).is_empty() {
        bytes.extend_from_slice(server.output(session));
        server.sent(session, server.output(session).len(), NOW);
    }
    server.gone(session);
    assert_eq!(server.promised_bytes(), 0, "all memory is given back");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Reply {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a reply has a head");
    let (head, content) = (&bytes[..end], &bytes[end + 4..]);
    let head = String::from_utf8(head.to_vec()).expect("heads are text");
    let status = head[9..12].parse().expect("a status");
    let json_bytes = field(&head, "Inference-Header-Content-Length")
        .map_or(content.len(), |bytes| bytes.parse().expect("a number"));
    let json = serde_json::from_slice(&content[..json_bytes]).expect("JSON");
    Reply { status, json, tensors: content[json_bytes..].to_vec(), head }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

const A: &str = r#"{"name":"A","shape":[2,2],"datatype":"FP64","data":[1,2,3,4]}"#;
const B: &str = r#"{"name":"B","shape":[2,2],"datatype":"FP64","data":[5,6,7,8]}"#;
const C: &str = r#"{"name":"C","shape":[2,2],"datatype":"FP64","data":[1,0,0,1]}"#;

#[rustfmt::skip]
const PRODUCTS: &[(&str, &str)] = &[
    (r#"{"inputs":[@A,@B]}"#, "[19.0,22.0,43.0,50.0]"),
    (r#"{"inputs":[@B,@A]}"#, "[19.0,22.0,43.0,50.0]"),
    (r#"{"inputs":[@C,@B,@A]}"#, "[20.0,22.0,43.0,51.0]"),
    (r#"{"parameters":{"alpha":2,"beta":-1},"inputs":[@A,@C,@B]}"#, "[37.0,44.0,86.0,99.0]"),
    (r#"{"inputs":[@A,@B],"parameters":{"transpose_a":true}}"#, "[26.0,30.0,38.0,44.0]"),
    (r#"{"inputs":[@A,@B],"parameters":{"transpose_b":true,"transpose_a":false}}"#, "[17.0,23.0,39.0,53.0]"),
    (r#"{"inputs":[@A,@B,@C],"parameters":{"beta":0}}"#, "[19.0,22.0,43.0,50.0]"),
    (r#"{"inputs":[@A,@B],"parameters":{"beta":0.0}}"#, "[19.0,22.0,43.0,50.0]"),
    // Nested data, fields in any order, spaces.
    (r#"{"inputs":[@A,{"data":[[5,6],[7,8]],"datatype":"FP64","shape":[2,2],"name":"B"}]}"#, "[19.0,22.0,43.0,50.0]"),
    (r#"{"inputs":[{"data":[1,0,0,1],"name":"C","shape":[2,2],"datatype":"FP64"},@A,@B]}"#, "[20.0,22.0,43.0,51.0]"),
    (r#" { "inputs" : [ @B , { "shape" : [ 2 , 2 ] , "name" : "A" , "data" : [ [ 1 , 2 ] , [ 3 , 4 ] ] , "datatype" : "FP64" } ] } "#, "[19.0,22.0,43.0,50.0]"),
    // Matrices without elements.
    (r#"{"inputs":[{"name":"A","shape":[2,0],"datatype":"FP64","data":[]},{"name":"B","shape":[0,1],"datatype":"FP64","data":[]}]}"#, "[0.0,0.0]"),
    (r#"{"inputs":[{"name":"A","shape":[0,1],"datatype":"FP64","data":[]},{"name":"B","shape":[1,1],"datatype":"FP64","data":[1]}]}"#, "[]"),
    (r#"{"inputs":[{"name":"A","shape":[2,0],"datatype":"FP64","data":[[],[]]},{"name":"B","shape":[0,1],"datatype":"FP64","data":[]}]}"#, "[0.0,0.0]"),
    // What has no meaning here.
    (r#"{"inputs":[@A,@B],"outputs":[],"parameters":{"priority":1,"timeout":5,"sequence_id":"x","sequence_start":true,"sequence_end":false}}"#, "[19.0,22.0,43.0,50.0]"),
    (r#"{"inputs":[@A,@B],"outputs":[{"name":"C"}],"parameters":{"binary_data_output":false}}"#, "[19.0,22.0,43.0,50.0]"),
    (r#"{"inputs":[@A,@B],"outputs":[{"name":"C","parameters":{"binary_data":false}}],"parameters":{"binary_data_output":true}}"#, "[19.0,22.0,43.0,50.0]"),
];

fn fill(template: &str) -> String {
    template.replace("@A", A).replace("@B", B).replace("@C", C)
}

#[test]
fn products_in_json() {
    for (template, data) in PRODUCTS {
        let reply = post("matmul_fp64", None, fill(template).as_bytes());
        assert_eq!(reply.status, 200, "{template}: {reply:?}");
        assert_eq!(field(&reply.head, "Content-Type"), Some("application/json"), "{template}");
        let output = &reply.json["outputs"][0];
        assert_eq!(output["data"].to_string(), *data, "{template}");
        assert_eq!(output["name"], "C");
        assert_eq!(output["datatype"], "FP64");
        let shape = output["shape"].as_array().expect("a shape");
        let elements: u64 = shape.iter().map(|length| length.as_u64().expect("a length")).product();
        assert_eq!(output["data"].as_array().map(|data| data.len() as u64), Some(elements));
    }
}

#[test]
fn numbers_are_rounded_once_to_the_type_of_the_model() {
    // Rounded to f64 first, this would be rounded to f32 a second time, and down.
    let body = r#"{"inputs":[{"name":"A","shape":[1,1],"datatype":"FP32","data":[1.00000005960464477540]},
        {"name":"B","shape":[1,1],"datatype":"FP32","data":[1]}]}"#;
    let reply = post("matmul_fp32/versions/1", None, body.as_bytes());
    assert_eq!(reply.json["outputs"][0]["data"].to_string(), "[1.0000001]");
    assert_eq!(reply.json["model_name"], "matmul_fp32");
}

#[test]
fn an_id_comes_back_as_it_was() {
    let body = fill(r#"{"id":"a\u0020\"b\"\n€","inputs":[@A,@B]}"#);
    assert_eq!(post("matmul_fp64", None, body.as_bytes()).json["id"], "a \"b\"\n€");
}

/// A tensor of two by two whose elements are bytes behind the JSON.
fn binary(name: &str, bytes: usize) -> String {
    format!(
        r#"{{"name":"{name}","shape":[2,2],"datatype":"FP64","parameters":{{"binary_data_size":{bytes}}}}}"#
    )
}

fn bytes_of(elements: [f64; 4]) -> Vec<u8> {
    elements.iter().flat_map(|element| element.to_le_bytes()).collect()
}

#[test]
fn bytes_and_json_in_any_mixture() {
    let (a, b) = (bytes_of([1.0, 2.0, 3.0, 4.0]), bytes_of([5.0, 6.0, 7.0, 8.0]));
    for (json, tensors) in [
        (
            format!(r#"{{"inputs":[{},{}]}}"#, binary("A", 32), binary("B", 32)),
            [&a[..], &b].concat(),
        ),
        (
            format!(r#"{{"inputs":[{},{}]}}"#, binary("B", 32), binary("A", 32)),
            [&b[..], &a].concat(),
        ),
        (format!(r#"{{"inputs":[{A},{}]}}"#, binary("B", 32)), b.clone()),
        (format!(r#"{{"inputs":[{},{B}]}}"#, binary("A", 32)), a.clone()),
    ] {
        let header_bytes = json.len().to_string();
        let reply = post("matmul_fp64", Some(&header_bytes), &[json.as_bytes(), &tensors].concat());
        assert_eq!(
            reply.json["outputs"][0]["data"].to_string(),
            "[19.0,22.0,43.0,50.0]",
            "{reply:?}"
        );

        let json = json.replacen('{', r#"{"parameters":{"binary_data_output":true},"#, 1);
        let header_bytes = json.len().to_string();
        let reply = post("matmul_fp64", Some(&header_bytes), &[json.as_bytes(), &tensors].concat());
        assert_eq!(reply.tensors, bytes_of([19.0, 22.0, 43.0, 50.0]));
        assert_eq!(field(&reply.head, "Content-Type"), Some("application/octet-stream"));
        let output = &reply.json["outputs"][0];
        assert_eq!(output["parameters"]["binary_data_size"], 32);
        assert_eq!(output.get("data"), None);
    }
}

#[test]
fn a_header_that_is_the_whole_body_is_json() {
    let body = fill(r#"{"inputs":[@A,@B]}"#);
    let reply = post("matmul_fp64", Some(&body.len().to_string()), body.as_bytes());
    assert_eq!(reply.json["outputs"][0]["data"].to_string(), "[19.0,22.0,43.0,50.0]");
}

#[rustfmt::skip]
const REFUSALS: &[(&str, u16, &str, &str)] = &[
    ("", 400, "malformed-json", ""),
    ("[]", 400, "malformed-json", ""),
    (r#"{"inputs":[@A,@B]"#, 400, "malformed-json", ""),
    (r#"{"inputs":[@A,@B]}x"#, 400, "malformed-json", ""),
    (r#"{"inputs":[{"name":"A","shape":[1,1],"datatype":"FP64","data":[1"#, 400, "malformed-json", ""),
    ("{}", 422, "missing-field", "/inputs"),
    (r#"{"inputs":{}}"#, 422, "wrong-type", "/inputs"),
    (r#"{"inputs":[@A,@B],"inputs":[@A,@B]}"#, 422, "duplicate-field", "/inputs"),
    (r#"{"inputs":[@A,@B],"output":[]}"#, 422, "unknown-field", "/output"),
    (r#"{"inputs":[@A,@B],"id":5}"#, 422, "wrong-type", "/id"),
    (r#"{"inputs":[@A,5]}"#, 422, "wrong-type", "/inputs/1"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64"}]}"#, 422, "missing-field", "/inputs/1/data"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"data":[1,2,3,4]}]}"#, 422, "missing-field", "/inputs/1/datatype"),
    (r#"{"inputs":[@A,{"name":"B","datatype":"FP64","data":[1,2,3,4]}]}"#, 422, "missing-field", "/inputs/1/shape"),
    (r#"{"inputs":[{"shape":[2,2],"datatype":"FP64","data":[1,2,3,4]},@B]}"#, 422, "missing-field", "/inputs/0/name"),
    (r#"{"inputs":[@A,@B,{"name":"a","shape":[2,2],"datatype":"FP64","data":[1,2,3,4]}]}"#, 422, "unknown-tensor", "/inputs/2/name"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}]}"#, 422, "unknown-dtype", "/inputs/1/datatype"),
    (r#"{"inputs":[@A,{"name":"B","shape":[4],"datatype":"FP64","data":[1,2,3,4]}]}"#, 422, "not-a-matrix", "/inputs/1/shape"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,-2],"datatype":"FP64","data":[1,2,3,4]}]}"#, 422, "wrong-type", "/inputs/1/shape/1"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,1.5],"datatype":"FP64","data":[1,2,3,4]}]}"#, 422, "wrong-type", "/inputs/1/shape/1"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,16777217],"datatype":"FP64","data":[1]}]}"#, 422, "dimension-too-large", "/inputs/1/shape"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","data":[1,2,3]}]}"#, 422, "shape-mismatch", "/inputs/1/data"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","data":[[1,2,3,4]]}]}"#, 422, "shape-mismatch", "/inputs/1/data"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","data":[[1,2],[3]]}]}"#, 422, "ragged-rows", "/inputs/1/data/1"),
    (r#"{"inputs":[@A,{"name":"B","shape":[1,2],"datatype":"FP64","data":[1,2]}]}"#, 422, "shape-mismatch", "/inputs/1"),
    (r#"{"inputs":[{"name":"C","shape":[1,2],"datatype":"FP64","data":[1,2]},@A,@B]}"#, 422, "shape-mismatch", "/inputs/0"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","data":[1,2,3,"4"]}]}"#, 422, "not-a-number", "/inputs/1/data/3"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","data":[1,2,3,1e999]}]}"#, 422, "number-out-of-range", "/inputs/1/data/3"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","data":[1,2,3,4],"parameters":{"binary_data_size":32}}]}"#, 422, "duplicate-field", "/inputs/1/data"),
    (r#"{"inputs":[@A,{"name":"B","shape":[2,2],"datatype":"FP64","parameters":{"binary_data_size":32}}]}"#, 400, "malformed-body", "/inputs/1"),
    (r#"{"inputs":[@A,@B],"parameters":{"alpha":true}}"#, 422, "not-a-number", "/parameters/alpha"),
    (r#"{"inputs":[@A,@B],"parameters":{"alpha":1e999}}"#, 422, "number-out-of-range", "/parameters/alpha"),
    (r#"{"inputs":[@A,@B],"parameters":{"alpha":1,"alpha":1}}"#, 422, "duplicate-field", "/parameters/alpha"),
    (r#"{"inputs":[@A,@B],"parameters":{"beta":1}}"#, 422, "missing-field", "/inputs"),
    (r#"{"inputs":[@A,@B],"outputs":[{"name":"C"},{"name":"C"}]}"#, 422, "duplicate-field", "/outputs/1"),
    (r#"{"inputs":[@A,@B],"outputs":[{}]}"#, 422, "missing-field", "/outputs/0/name"),
];

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (template, status, kind, place) in REFUSALS {
        check_refusal(
            &post("matmul_fp64", None, fill(template).as_bytes()),
            template,
            *status,
            kind,
            place,
        );
    }
    let too_long = format!(r#"{{"id":"{}","inputs":[]}}"#, "x".repeat(2000));
    let reply = post("matmul_fp64", None, too_long.as_bytes());
    check_refusal(&reply, "a long id", 422, "text-too-long", "/id");
}

#[test]
fn bytes_that_are_too_few_too_many_or_not_announced() {
    let both = format!(r#"{{"inputs":[{},{}]}}"#, binary("A", 32), binary("B", 32));
    let short = format!(r#"{{"inputs":[{},{}]}}"#, binary("A", 31), binary("B", 32));
    let length = both.len().to_string();
    for (header_bytes, json, tensors, status, kind, place) in [
        (length.as_str(), &both, 63, 422, "length-mismatch", ""),
        (&length, &both, 65, 422, "length-mismatch", ""),
        (&length, &short, 64, 422, "shape-mismatch", "/inputs/0/parameters/binary_data_size"),
        ("1000000", &both, 64, 422, "length-mismatch", "Inference-Header-Content-Length"),
        ("-1", &both, 64, 400, "malformed-request", "Inference-Header-Content-Length"),
        ("", &both, 64, 400, "malformed-request", "Inference-Header-Content-Length"),
        ("3", &both, 64, 400, "malformed-json", ""),
    ] {
        let body = [json.as_bytes(), &vec![0; tensors]].concat();
        let reply = post("matmul_fp64", Some(header_bytes), &body);
        check_refusal(&reply, header_bytes, status, kind, place);
    }
}

fn check_refusal(reply: &Reply, case: &str, status: u16, kind: &str, place: &str) {
    assert_eq!(reply.json["type"], format!("/problems/{kind}"), "{case}: {reply:?}");
    assert_eq!(reply.status, status, "{case}");
    assert_eq!(reply.json["field"].as_str().unwrap_or(""), place, "{case}: {reply:?}");
    let error = reply.json["error"].as_str().expect("an error");
    assert!(error.starts_with(kind), "{case}: {error}");
}
