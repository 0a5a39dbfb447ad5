//! The programs of `docs/usage-feeds.md`, as they stand there.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, process, thread};

use serde_json::{Value, json};

use crate::service::{JOB, key_of};
use crate::support::host::Host;
use crate::support::http::{Client, Response};

const DOCS: &str = include_str!("../../docs/usage-feeds.md");
const TIMEOUT: Duration = Duration::from_secs(20);
const JOBS: usize = 250;

/// The first block of code in a language behind a heading.
fn block(heading: &str, language: &str) -> &'static str {
    let (_, rest) = DOCS.split_once(heading).expect(heading);
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0
}

/// Bodies that were posted, with their heads.
type Posted = Arc<Mutex<Vec<(String, Value)>>>;

/// A receiver that keeps what it is posted: its address, and what it keeps.
fn receiver() -> (String, Posted) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let posted = Posted::default();
    let kept = posted.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            let (head, body) = loop {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).expect("it can be read");
                assert!(count > 0, "the request ends early");
                request.extend_from_slice(&bytes[..count]);
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let lower = head.to_lowercase();
                let length = lower.split_once("content-length: ").expect("a length").1;
                let length: usize = length.lines().next().unwrap_or_default().parse().expect("it");
                if body.len() == length {
                    break (head.to_owned(), serde_json::from_str(body).expect("JSON"));
                }
            };
            kept.lock().expect("no reader panics").push((head, body));
            let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            stream.write_all(reply).expect("it can be answered");
        }
    });
    (url, posted)
}

/// A request that must go well.
fn ask(client: &mut Client, key: &str, method: &str, path: &str, body: Option<Value>) -> Response {
    let bearer = format!("Bearer {key}");
    let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = body.map(|body| body.to_string());
    let body = body.as_ref().map(String::as_bytes);
    let reply = client.request(method, path, &fields, body).expect("a reply");
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply
}

#[test]
fn lago_is_fed_once_with_each_event() {
    let host = Host::start(&["--threads", "0"]);
    let first = host.wait_for_line("admin key");
    let first = first.split("another: ").nth(1).expect("a key").trim().to_owned();
    let mut client = Client::connect(host.addr(), TIMEOUT).expect("a connection");
    let mut post =
        |key: &str, path: &str, body: Value| ask(&mut client, key, "POST", path, Some(body)).json();
    let operator = post(&first, "/v1/admin/accounts/operator/keys", json!({"scopes": ["admin"]}));
    let operator = key_of(&operator);
    post(&operator, "/v1/admin/accounts", json!({"id": "acme"}));
    let key = post(&operator, "/v1/admin/accounts/acme/keys", json!({"scopes": ["submit"]}));
    let key = key_of(&key);
    let job: Value = serde_json::from_str(JOB).expect("JSON");
    let jobs: Vec<String> = (0..JOBS)
        .map(|_| post(&key, "/v1/multiply", job.clone())["bill"]["job"].to_string())
        .collect();
    let correction = json!({"job": serde_json::from_str::<Value>(&jobs[3]).expect("JSON"),
        "amount_micros": 1, "reason": "it was late"});
    post(&operator, "/v1/admin/corrections", correction);

    let (lago, posted) = receiver();
    let cursor = env::temp_dir().join(format!("gemmule-cursor-{}", process::id()));
    let run = || {
        let output = Command::new("python3")
            .args(["-c", block("## Lago", "python")])
            .env("GEMMULE", format!("http://{}", host.addr()))
            .env("GEMMULE_KEY", &operator)
            .envs([("LAGO", lago.as_str()), ("LAGO_KEY", "lago-key")])
            .env("CURSOR_FILE", &cursor)
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::mem::take(&mut *posted.lock().expect("the receiver lives"))
    };
    let batches = run();
    let mut transactions = Vec::new();
    let mut micros = 0;
    for (head, body) in &batches {
        assert!(head.starts_with("POST /api/v1/events/batch HTTP/1.1"), "{head}");
        assert!(head.contains("Bearer lago-key"), "{head}");
        let events = body["events"].as_array().expect("events");
        assert!((1..=100).contains(&events.len()), "Lago takes up to 100");
        for event in events {
            assert_eq!(event["external_subscription_id"], "acme");
            assert!(event["timestamp"].is_u64());
            transactions.push(event["transaction_id"].as_str().expect("an id").to_owned());
            let amount = event["properties"]["amount_micros"].as_i64().expect("a number");
            let is_charge = event["code"] == "gemmule_charge";
            assert!(is_charge || event["code"] == "gemmule_correction");
            assert_eq!(amount > 0, is_charge);
            micros += amount;
        }
    }
    let charged = &transactions[..JOBS];
    let is_of = |(id, job): (&String, &String)| id.starts_with(job.trim_matches('"'));
    assert!(charged.iter().zip(&jobs).all(is_of), "every job, in order");
    assert_eq!(transactions.len(), JOBS + 1);
    let mut reader = Client::connect(host.addr(), TIMEOUT).expect("a connection");
    let total = ask(&mut reader, &operator, "GET", "/v1/usage", None).json()["total"].take();
    let number = |name: &str| total[name].as_i64().expect("a number");
    assert_eq!(micros, number("amount_micros") - number("corrected_micros"));
    // The second time there is nothing new, and what is done after that is sent alone.
    assert_eq!(run(), []);
    ask(&mut reader, &key, "POST", "/v1/multiply", Some(job));
    let batches = run();
    fs::remove_file(&cursor).expect("the cursor was kept");
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].1["events"].as_array().map(Vec::len), Some(1));
}
