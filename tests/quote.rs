//! `POST /v1/quote`: that jobs cost and take what was quoted, and what is refused.

use gemmule::billing::Tariff;
use gemmule::billing::tariff::{Terms, Tier};
use gemmule::gemm::{Alone, Peak};
use gemmule::limits::SMALL_BODY_BYTES_MAX;
use gemmule::server::{Access, Config, Server};
use gemmule::time::Now;
use serde_json::{Value, json};

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 0 };
const MIB: usize = 1 << 20;

const PEAK: Peak = Peak { f64: 100_000_000_000, f32: 200_000_000_000 };

fn server(memory_bytes: usize, peak: Peak) -> Server {
    server_by(Tariff::standard(), memory_bytes, peak)
}

fn server_by(tariff: Tariff, memory_bytes: usize, peak: Peak) -> Server {
    let config = Config {
        memory_bytes,
        sessions_max: 4,
        tariff: tariff.into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak,
    };
    Server::new(config, [7; 32])
}

/// The status, the head and the body of the reply to a request.
fn reply(server: &mut Server, target: &str, fields: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let session = server.open(NOW).expect("a session is free");
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: g\r\nContent-Length: {length}\r\n{fields}\r\n\r\n"
    );
    let request = [head.as_bytes(), body].concat();
    let mut unsent = &request[..];
    while !unsent.is_empty() && server.wants_input(session) {
        unsent = &unsent[server.receive(session, unsent, NOW)..];
    }
    while let Some(mut job) = server.next_job() {
        while !job.advance(&Alone, &|| false) {}
        server.finish(job, NOW);
    }
    let mut reply = Vec::new();
    while !server.output(session).is_empty() {
        reply.extend_from_slice(server.output(session));
        server.sent(session, server.output(session).len(), NOW);
    }
    server.gone(session);
    assert_eq!(server.promised_bytes(), 0, "all memory is given back");
    let end = 4 + reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let body = reply.split_off(end);
    let head = String::from_utf8(reply).expect("ASCII");
    (head[9..12].parse().expect("a status"), head, body)
}

const JSON: &str = "Content-Type: application/json";

/// The status and body of the reply to a quote's request.
fn ask(body: &str) -> (u16, Value) {
    let (status, _, body) = reply(&mut server(8 * MIB, PEAK), "/v1/quote", JSON, body.as_bytes());
    (status, serde_json::from_slice(&body).expect("a reply is JSON"))
}

fn quote(request: &Value) -> Value {
    let (status, quote) = ask(&request.to_string());
    assert_eq!(status, 200, "{request}: {quote}");
    quote
}

#[test]
fn a_quote_has_all_figures() {
    let found = quote(&json!({
        "m": 1000, "n": 2000, "k": 500, "dtype": "f32", "alpha": true, "c": true,
        "format": "application/octet-stream", "local_gflops": 10, "bandwidth_mbit": 100,
    }));
    let (flops, bytes_in, bytes_out) = (2_006_000_000, 14_000_000, 8_000_000);
    let expected = json!({
        "flops": flops, "bytes_in": bytes_in, "bytes_out": bytes_out, "is_exact": true,
        "tariff": "standard", "tariff_version": 1, "currency": "EUR",
        // 0.4 for the work, 70 in, 80 out.
        "amount_micros": 151, "amount_micros_max": 151,
        "memory_bytes": found["memory_bytes"], "fits": false,
        // At 180 GFLOP/s; 22 MB at 7.5 GB/s, and at 100 Mbit/s.
        "compute_us": 11_145 + 2_934, "transfer_us": 1_760_000, "total_us": 1_774_079,
        "local_us": 200_600, "worth_sending": false,
    });
    assert_eq!(found, expected);
    assert!(found["memory_bytes"].as_u64().expect("a number") >= 14_000_000);
}

#[test]
fn what_is_not_known_is_null() {
    let shape = json!({"m": 100, "n": 100, "k": 100});
    let found = quote(&shape);
    assert_eq!(found["is_exact"], false);
    assert_eq!(found["total_us"], found["compute_us"]);
    for name in ["transfer_us", "local_us", "worth_sending"] {
        assert_eq!(found[name], Value::Null, "{name}");
    }
    let body = shape.to_string().into_bytes();
    let (_, _, body) = reply(&mut server(8 * MIB, Peak::default()), "/v1/quote", JSON, &body);
    let found: Value = serde_json::from_slice(&body).expect("JSON");
    for name in ["compute_us", "total_us"] {
        assert_eq!(found[name], Value::Null, "{name} of a machine that was not measured");
    }
}

#[test]
fn the_price_is_that_of_the_next_job_of_the_month() {
    let terms = Terms {
        // A micro-unit for each operation, and nothing else.
        micros_per_tflop_f64: 1_000_000_000_000,
        micros_per_gb_in: 0,
        micros_per_gb_out: 0,
        job_micros_min: 0,
        free_flops_per_month: 1000,
        volume_tiers: vec![Tier { from_flops: 2000, per_mille: 500 }],
        ..Terms::clone(&Tariff::standard())
    };
    let mut server = server_by(Tariff::try_from(terms).expect("sound terms"), 8 * MIB, PEAK);
    let shape = br#"{"m":10,"n":10,"k":5}"#;
    let body = vec![0; 800];
    for expected in [0, 1000, 500, 500] {
        let (_, _, quote) = reply(&mut server, "/v1/quote", JSON, shape);
        let quote: Value = serde_json::from_slice(&quote).expect("JSON");
        assert_eq!(quote["amount_micros"], expected);
        assert_eq!(quote["amount_micros_max"], 1000);
        let raw = "Content-Type: application/octet-stream";
        let (_, head, _) = reply(&mut server, "/v1/multiply?a=10x5&b=5x10", raw, &body);
        assert!(head.contains(&format!("Gemmule-Amount-Micros: {expected}\r\n")), "{head}");
    }
}

#[test]
fn it_is_worth_sending_what_takes_longer_at_home() {
    let of = |gflops: f64, mbit: f64| {
        let format = "application/x-npy";
        quote(&json!({"m": 400, "n": 400, "k": 400, "format": format, "local_gflops": gflops,
            "bandwidth_mbit": mbit}))["worth_sending"]
            .clone()
    };
    assert_eq!(of(1.0, 1000.0), true);
    assert_eq!(of(1.0, 100.0), false);
    assert_eq!(of(10.0, 1000.0), false);
    assert_eq!(of(0.001, 0.001), false);
    assert_eq!(of(1e300, 1e300), false);
}

/// Bodies of a 30 x 50 by 50 x 40 job, and what is quoted for them.
fn jobs() -> Vec<(&'static str, &'static str, Vec<u8>, Value)> {
    let (m, n, k) = (30, 40, 50);
    let rows = |rows: usize, columns: usize| vec![vec!["0.5"; columns]; rows];
    let text =
        format!("{{\"a\":{:?},\"b\":{:?}}}", rows(m, k), rows(k, n)).replace("\"0.5\"", "0.5");
    let transposed = format!(
        "{{\"a\":{:?},\"b\":{:?},\"transpose_a\":true,\"alpha\":2}}",
        rows(k, m),
        rows(k, n)
    )
    .replace("\"0.5\"", "0.5");
    let raw = vec![0; 8 * (m * k + k * n)];
    let all = vec![0; 4 * (m * k + k * n + m * n)];
    let shape = |more: Value| {
        let mut request = json!({"m": m, "n": n, "k": k});
        let fields = request.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        request
    };
    let octets = "application/octet-stream";
    vec![
        ("/v1/multiply", JSON, text.clone().into(), shape(json!({"bytes_in": text.len()}))),
        (
            "/v1/multiply",
            JSON,
            transposed.clone().into(),
            shape(json!({"bytes_in": transposed.len(), "transpose_a": true, "alpha": true})),
        ),
        (
            "/v1/multiply?a=30x50&b=50x40",
            "Content-Type: application/octet-stream",
            raw.clone(),
            shape(json!({"format": octets})),
        ),
        (
            "/v1/multiply?a=50x30&b=40x50&c=30x40&dtype=f32&transpose_a=true&transpose_b=true",
            "Content-Type: application/octet-stream\r\nAccept: application/x-npz",
            all,
            shape(json!({"format": octets, "reply_format": "application/x-npz", "dtype": "f32",
                "transpose_a": true, "transpose_b": true, "c": true})),
        ),
        (
            "/v1/multiply?a=30x50&b=50x40",
            "Content-Type: application/octet-stream\r\nAccept: application/vnd.safetensors",
            raw,
            shape(json!({"format": octets, "reply_format": "application/vnd.safetensors"})),
        ),
    ]
}

#[test]
fn a_job_is_billed_as_quoted() {
    for (target, fields, body, request) in jobs() {
        let quote = quote(&request);
        let mut server = server(8 * MIB, PEAK);
        let (status, head, _) = reply(&mut server, target, fields, &body);
        assert_eq!(status, 200, "{target}");
        let (_, job) = head.split_once("Gemmule-Job: ").expect("a job's id");
        let bill = bill(&mut server, &job[..32]);
        for name in ["flops", "bytes_in", "amount_micros", "tariff", "currency"] {
            assert_eq!(bill[name], quote[name], "{target} {name}");
        }
        if quote["is_exact"] == true {
            assert_eq!(bill["bytes_out"], quote["bytes_out"], "{target}");
        }
    }
}

fn bill(server: &mut Server, job: &str) -> Value {
    let session = server.open(NOW).expect("a session is free");
    let request = format!("GET /v1/jobs/{job}/bill HTTP/1.1\r\nHost: g\r\n\r\n");
    server.receive(session, request.as_bytes(), NOW);
    let reply = String::from_utf8(server.output(session).to_vec()).expect("text");
    let (_, body) = reply.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn a_job_needs_the_memory_that_is_quoted() {
    for (target, fields, body, request) in jobs() {
        let needed = quote(&request)["memory_bytes"].as_u64().expect("a number") as usize;
        let (status, head, _) = reply(&mut server(needed, PEAK), target, fields, &body);
        assert_eq!(status, 200, "{target} in {needed}: {head}");
        // Of numbers in JSON, a few are counted that are none.
        let less = if fields == JSON { needed - 64 } else { needed - 1 };
        let (status, ..) = reply(&mut server(less, PEAK), target, fields, &body);
        assert_eq!(status, 413, "{target} in {less}");
    }
}

#[test]
fn bodies_have_the_bytes_that_files_have() {
    for (file, format, adds_c) in [
        ("npy-f8-little.npy", "application/x-npy", false),
        ("npz-stored.npz", "application/x-npz", true),
        ("st-f64.safetensors", "application/vnd.safetensors", true),
    ] {
        let path = format!("{}/tests/fixtures/formats/{file}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::metadata(&path).expect("a fixture").len();
        let quote = quote(&json!({"m": 2, "n": 4, "k": 3, "format": format, "c": adds_c}));
        assert_eq!(quote["bytes_in"], bytes, "{file}");
    }
}

#[test]
fn what_is_refused_names_the_problem_and_the_field() {
    for (body, status, kind, field) in [
        ("", 400, "malformed-json", None),
        ("[]", 400, "malformed-json", None),
        ("{}", 422, "missing-field", Some("/m")),
        (r#"{"m":1,"n":1}"#, 422, "missing-field", Some("/k")),
        (r#"{"m":1,"n":1,"k":1,}"#, 400, "malformed-json", None),
        (r#"{"m":1,"n":1,"k":1,"a":[[1]]}"#, 422, "unknown-field", Some("/a")),
        (r#"{"m":1,"n":1,"k":1,"~/":1}"#, 422, "unknown-field", Some("/~0~1")),
        (r#"{"m":1,"n":1,"k":1,"k":1}"#, 422, "duplicate-field", Some("/k")),
        (r#"{"m":1,"n":-1,"k":1}"#, 422, "invalid-value", Some("/n")),
        (r#"{"m":1.5,"n":1,"k":1}"#, 422, "wrong-type", Some("/m")),
        (r#"{"m":"1","n":1,"k":1}"#, 422, "wrong-type", Some("/m")),
        (r#"{"m":1,"n":1,"k":16777217}"#, 422, "dimension-too-large", Some("/k")),
        (r#"{"m":1,"n":1,"k":1,"dtype":"f16"}"#, 422, "unknown-dtype", Some("/dtype")),
        (r#"{"m":1,"n":1,"k":1,"dtype":null}"#, 422, "wrong-type", Some("/dtype")),
        (r#"{"m":1,"n":1,"k":1,"alpha":2}"#, 422, "wrong-type", Some("/alpha")),
        (r#"{"m":1,"n":1,"k":1,"format":"npy"}"#, 422, "invalid-value", Some("/format")),
        (r#"{"m":1,"n":1,"k":1,"reply_format":""}"#, 422, "invalid-value", Some("/reply_format")),
        (r#"{"m":1,"n":1,"k":1,"local_gflops":0}"#, 422, "invalid-value", Some("/local_gflops")),
        (
            r#"{"m":1,"n":1,"k":1,"bandwidth_mbit":-1}"#,
            422,
            "invalid-value",
            Some("/bandwidth_mbit"),
        ),
        (
            r#"{"m":1,"n":1,"k":1,"bandwidth_mbit":1e999}"#,
            422,
            "invalid-value",
            Some("/bandwidth_mbit"),
        ),
        // More operations than can be counted.
        (r#"{"m":16777216,"n":16777216,"k":16777216}"#, 413, "memory-exceeded", None),
    ] {
        let (found, problem) = ask(body);
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{body}: {problem}");
        assert_eq!(found, status, "{body}");
        assert_eq!(problem["field"].as_str(), field, "{body}: {problem}");
    }
}

#[test]
fn a_small_body_is_of_bounded_length_and_of_json() {
    let shape = r#"{"m":1,"n":1,"k":1}"#;
    let padded = |bytes: usize| shape.to_owned() + &" ".repeat(bytes - shape.len());
    let whole = padded(SMALL_BODY_BYTES_MAX);
    assert_eq!(ask(&whole).0, 200);
    let (status, problem) = ask(&padded(SMALL_BODY_BYTES_MAX + 1));
    assert_eq!((status, &problem["type"]), (413, &json!("/problems/body-too-large")));
    assert_eq!(problem["limit"], SMALL_BODY_BYTES_MAX);
    let (status, _, problem) =
        reply(&mut server(MIB, PEAK), "/v1/quote?k=1", JSON, shape.as_bytes());
    let problem: Value = serde_json::from_slice(&problem).expect("JSON");
    assert_eq!((status, &problem["field"]), (422, &json!("?k")));
    for (fields, expected) in [
        ("Content-Type: application/json; charset=utf-8", 200),
        ("Content-Type: text/plain", 415),
        ("Accept: */*", 415),
        ("Content-Type: application/json\r\nContent-Encoding: br", 415),
        ("Content-Type: application/json\r\nContent-Encoding: gzip", 400),
        ("Content-Type: application/json\r\nContent-Digest: sha-256=:AAAA:", 400),
    ] {
        let (status, head, _) =
            reply(&mut server(MIB, PEAK), "/v1/quote", fields, shape.as_bytes());
        assert_eq!(status, expected, "{fields}: {head}");
    }
}
