//! Jobs that go on by themselves, on a server without a host.

mod chain;
mod deferred;
mod given_up;
mod removed;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use gemmule::ledger::entry::{Entry, Record};
use gemmule::ledger::receipt::{JobReceipts, PublishedKeys, Served};
use serde_json::{Value, json};

use support::http::{Response, parse_response, write_request};
use support::machine::Machine;
use support::power::PowerCut;

const MIB: usize = 1 << 20;
const SECOND_NS: u64 = 1_000_000_000;
/// Where tests begin: some time in 2026.
const START_NS: u64 = 1_790_000_000 * SECOND_NS;

/// A machine in memory on which jobs of some steps run.
fn machine() -> Machine {
    Machine::in_memory_of(256 * MIB, START_NS)
}

/// A request, all that it brings about, and its reply.
fn ask(machine: &mut Machine, method: &str, target: &str, body: Option<&Value>) -> Response {
    ask_with(machine, method, target, &[], body)
}

fn ask_with(
    machine: &mut Machine,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: Option<&Value>,
) -> Response {
    let session = send(machine, method, target, fields, body);
    settle(machine);
    reply(machine, session)
}

fn send(
    machine: &mut Machine,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: Option<&Value>,
) -> gemmule::server::SessionId {
    let body = body.map(|body| body.to_string());
    let mut fields = fields.to_vec();
    if body.is_some() {
        fields.push(("Content-Type", "application/json"));
    }
    let request = write_request(method, target, &fields, body.as_deref().map(str::as_bytes));
    let request = String::from_utf8(request).expect("it is text");
    machine.send(&request)
}

/// Submits a job, and does what comes before it begins.
fn submit(
    machine: &mut Machine,
    fields: &[(&str, &str)],
    job: &Value,
) -> gemmule::server::SessionId {
    let session = send(machine, "POST", "/v1/jobs", fields, Some(job));
    advance(machine);
    session
}

/// Runs the next job to its end.
fn advance(machine: &mut Machine) {
    let mut next = machine.server.next_job().expect("it is ready");
    while !next.advance(&gemmule::gemm::Alone, &|| false) {}
    machine.server.finish(next, machine.now);
}

fn reply(machine: &mut Machine, session: gemmule::server::SessionId) -> Response {
    let text = machine.read(session);
    let (response, _) = parse_response(text.as_bytes(), false, true)
        .unwrap_or_else(|error| panic!("{error}: {text:?}"))
        .expect("a whole reply");
    response
}

/// Runs what waits, and makes durable what has come of it.
fn settle(machine: &mut Machine) {
    for _ in 0..3 {
        machine.server.expire(machine.now);
        machine.run();
        machine.commit().expect("the volume takes it");
    }
}

fn wait(machine: &mut Machine, seconds: u64) {
    machine.now.monotonic_ns += seconds * SECOND_NS;
    machine.now.unix_ns += seconds * SECOND_NS;
}

/// Submits a job and runs it to its end: its status.
fn run(machine: &mut Machine, job: &Value) -> Value {
    let taken = ask(machine, "POST", "/v1/jobs", Some(job));
    assert_eq!(taken.status, 202, "{}", taken.text());
    let url = taken.field("Location").expect("where it is").to_owned();
    let status = ask(machine, "GET", &url, None);
    assert_eq!(status.status, 200);
    status.json()
}

fn id(status: &Value) -> &str {
    status["job"].as_str().expect("an id")
}

fn usage(machine: &mut Machine) -> u64 {
    let usage = ask(machine, "GET", "/v1/usage", None).json();
    usage["total"]["amount_micros"].as_u64().unwrap_or_else(|| panic!("{usage}"))
}

/// (A B) C where A B is the costly order: 4 x 2, 2 x 5, 5 x 1.
fn chain() -> Value {
    json!({
        "operands": {
            "A": {"data": [[1, 2], [3, 4], [5, 6], [7, 8]]},
            "B": {"data": [[1, 0, 2, 0, 1], [0, 1, 0, 3, 1]]},
            "C": {"data": [[1], [2], [3], [4], [5]]},
        },
        "expression": {"multiply": ["A", "B", "C"]},
    })
}

#[test]
fn a_chain_is_computed_in_the_cheapest_order_and_billed_by_the_step() {
    let mut machine = machine();
    let status = run(&mut machine, &chain());
    assert_eq!(status["state"], "finished", "{status}");
    // B C takes 2 x 2 x 5 and A (B C) 2 x 4 x 2 operations; from left to right it would be 80 + 40.
    assert_eq!((&status["flops"], &status["saved_flops"]), (&json!(36), &json!(84)));
    assert_eq!(status["flops_done"], 36);
    assert_eq!(status["results"][0]["shape"], json!([4, 1]));
    let bill = ask(&mut machine, "GET", &format!("/v1/jobs/{}/bill", id(&status)), None).json();
    let lines = bill["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 2);
    assert_eq!(lines.iter().map(|line| line["flops"].as_u64().unwrap()).sum::<u64>(), 36);
    let amounts = lines.iter().map(|line| line["amount_micros"].as_u64().unwrap());
    assert_eq!(bill["amount_micros"], json!(amounts.sum::<u64>()));
    assert_eq!(json!(usage(&mut machine)), bill["amount_micros"]);
    let path = format!("/v1/jobs/{}/receipt", id(&status));
    let reply = ask(&mut machine, "GET", &path, None);
    let Ok(Served::OfJob(JobReceipts { job, receipts })) = Served::parse(&reply.body) else {
        panic!("{}", reply.text());
    };
    assert_eq!((job.to_string().as_str(), receipts.len()), (id(&status), lines.len()));
    let keys: PublishedKeys =
        serde_json::from_value(ask(&mut machine, "GET", "/v1/receipt-keys", None).json()).unwrap();
    let keys: Vec<_> = keys.keys.iter().map(|key| key.public_key).collect();
    for (receipt, line) in receipts.iter().zip(lines) {
        assert_eq!(receipt.verify(&keys), Ok(()));
        let Ok(Entry { record: Record::Charge(charge), .. }) = Entry::parse(&receipt.entry) else {
            panic!("{}", receipt.entry);
        };
        assert_eq!((charge.task, json!(charge.job)), (Some(job), line["job"].clone()));
    }
    let place = ask(&mut machine, "GET", &format!("/v1/jobs/{}/result", id(&status)), None);
    let matrix = status["results"][0]["matrix"].as_str().expect("an address");
    assert_eq!(
        (place.status, place.field("Location")),
        (303, Some(&*format!("/v1/matrices/{matrix}")))
    );
}

#[test]
fn what_came_with_the_request_and_between_steps_goes() {
    let mut machine = machine();
    let before = machine.server.stored_bytes();
    let status = run(&mut machine, &chain());
    assert_eq!(status["state"], "finished");
    // The result alone: 4 numbers, in the least room that there is.
    assert_eq!(machine.server.stored_bytes() - before, 4096);
}

#[test]
fn a_key_takes_a_job_once() {
    let mut machine = machine();
    let key = [("Idempotency-Key", "\"a\"")];
    let first = ask_with(&mut machine, "POST", "/v1/jobs", &key, Some(&chain()));
    let again = ask_with(&mut machine, "POST", "/v1/jobs", &key, Some(&chain()));
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.json()["job"], again.json()["job"]);
    assert_eq!(again.field("Idempotency-Replayed"), Some("true"));
    let mut other = chain();
    other["priority"] = json!(7);
    let refused = ask_with(&mut machine, "POST", "/v1/jobs", &key, Some(&other));
    assert_eq!(refused.json()["type"], "/problems/idempotency-key-reused");
    let list = ask(&mut machine, "GET", "/v1/jobs", None).json();
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_key_is_taken_while_its_request_is_read() {
    let mut machine = machine();
    let key = [("Idempotency-Key", "\"a\"")];
    let first = send(&mut machine, "POST", "/v1/jobs", &key, Some(&chain()));
    let second = send(&mut machine, "POST", "/v1/jobs", &key, Some(&chain()));
    assert_eq!(machine.read(first), "", "nothing of it lasts yet");
    assert_eq!(reply(&mut machine, second).json()["type"], "/problems/idempotency-key-in-use");
    settle(&mut machine);
    assert_eq!(reply(&mut machine, first).status, 202);
    // And one that was a product's is no job's.
    let product = json!({"a": [[1]], "b": [[2]]});
    let key = [("Idempotency-Key", "\"b\"")];
    let done = ask_with(&mut machine, "POST", "/v1/multiply", &key, Some(&product));
    assert_eq!(done.status, 200, "{}", done.text());
    let refused = ask_with(&mut machine, "POST", "/v1/jobs", &key, Some(&chain())).json();
    assert_eq!(refused["type"], "/problems/idempotency-key-reused");
    assert_eq!(machine.server.promised_bytes(), 32, "the result of the job alone");
}

#[test]
fn a_job_that_is_cancelled_costs_nothing() {
    let mut machine = machine();
    let session = submit(&mut machine, &[], &chain());
    let taken = reply(&mut machine, session).json();
    let job = taken["job"].as_str().expect("an id").to_owned();
    let cancelled = ask(&mut machine, "POST", &format!("/v1/jobs/{job}:cancel"), None);
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    let status = ask(&mut machine, "GET", &format!("/v1/jobs/{job}"), None).json();
    assert_eq!(status["state"], "cancelled", "{status}");
    assert_eq!((usage(&mut machine), machine.server.stored_bytes()), (0, 0));
    for path in ["bill", "receipt"] {
        let refused = ask(&mut machine, "GET", &format!("/v1/jobs/{job}/{path}"), None);
        assert_eq!(refused.json()["type"], "/problems/job-not-done");
    }
    assert_eq!(machine.server.promised_bytes(), 0);
}

#[test]
fn a_job_is_given_up_at_its_deadline() {
    let mut machine = machine();
    let mut late = chain();
    late["deadline_seconds"] = json!(10);
    let session = submit(&mut machine, &[], &late);
    let job = reply(&mut machine, session).json()["job"].as_str().expect("an id").to_owned();
    // Nobody computes.
    let held = machine.server.next_job().expect("it is ready");
    wait(&mut machine, 11);
    machine.server.expire(machine.now);
    let mut held = held;
    while !held.advance(&gemmule::gemm::Alone, &|| false) {}
    machine.server.finish(held, machine.now);
    settle(&mut machine);
    let status = ask(&mut machine, "GET", &format!("/v1/jobs/{job}"), None).json();
    assert_eq!(status["state"], "failed", "{status}");
    assert_eq!(status["problem"]["type"], "/problems/deadline-exceeded");
    assert_eq!((usage(&mut machine), machine.server.stored_bytes()), (0, 0));
}

#[test]
fn who_waits_is_answered_at_the_end_or_in_time() {
    let mut machine = machine();
    let session = submit(&mut machine, &[("Prefer", "wait=20")], &chain());
    assert_eq!(machine.read(session), "", "it is not done yet");
    settle(&mut machine);
    let done = reply(&mut machine, session);
    assert_eq!((done.status, &done.json()["state"]), (200, &json!("finished")));
    let session = submit(&mut machine, &[("Prefer", "wait=20")], &chain());
    let held = machine.server.next_job().expect("it is ready");
    wait(&mut machine, 21);
    machine.server.expire(machine.now);
    machine.commit().expect("nothing fails");
    let later = reply(&mut machine, session);
    assert_eq!((later.status, &later.json()["state"]), (202, &json!("running")));
    drop(held);
}

#[test]
fn those_who_follow_are_told_of_the_end_once_it_lasts() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS).expect("it boots");
    let session = submit(&mut machine, &[], &chain());
    let job = reply(&mut machine, session).json()["job"].as_str().expect("an id").to_owned();
    let follower = send(&mut machine, "GET", &format!("/v1/jobs/{job}/events"), &[], None);
    let begun = machine.read(follower);
    assert!(
        begun.contains("text/event-stream") && begun.contains("\"state\":\"running\""),
        "{begun}"
    );
    machine.run();
    assert!(!machine.read(follower).contains("finished"), "its bill is not durable yet");
    machine.commit().expect("the volume takes it");
    let end = machine.read(follower);
    assert!(end.contains("event: finished") && end.ends_with("0\r\n\r\n"), "{end}");
}

#[test]
fn a_machine_goes_on_with_what_the_one_before_it_had_begun() {
    let disk = PowerCut::device(96 * MIB);
    let unix_ns = START_NS;
    let job = {
        let mut machine = Machine::boot_with(&disk, 256 * MIB, unix_ns).expect("it boots");
        let session = submit(&mut machine, &[], &chain());
        let job = reply(&mut machine, session).json()["job"].as_str().expect("an id").to_owned();
        let mut begun = machine.server.next_job().expect("it is ready");
        // Two operands, and half of the first step.
        (0..3).for_each(|_| assert!(!begun.advance(&gemmule::gemm::Alone, &|| true)));
        job
    };
    let mut machine = Machine::boot_with(&disk, 256 * MIB, unix_ns + SECOND_NS).expect("it boots");
    settle(&mut machine);
    let status = ask(&mut machine, "GET", &format!("/v1/jobs/{job}"), None).json();
    assert_eq!(status["state"], "finished", "{status}");
    let bill = ask(&mut machine, "GET", &format!("/v1/jobs/{job}/bill"), None).json();
    assert_eq!(json!(usage(&mut machine)), bill["amount_micros"]);
    // And tells of it after another.
    drop(machine);
    let mut machine =
        Machine::boot_with(&disk, 256 * MIB, unix_ns + 2 * SECOND_NS).expect("it boots");
    let later = ask(&mut machine, "GET", &format!("/v1/jobs/{job}/bill"), None).json();
    assert_eq!(later, bill);
}

#[test]
fn a_drained_machine_stops_where_it_is() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS).expect("it boots");
    let session = submit(&mut machine, &[], &chain());
    let job = reply(&mut machine, session).json()["job"].as_str().expect("an id").to_owned();
    let mut begun = machine.server.next_job().expect("it is ready");
    assert!(!begun.advance(&gemmule::gemm::Alone, &|| false));
    machine.server.drain(machine.now);
    assert!(!machine.server.is_drained(machine.now), "the job is out");
    assert!(begun.advance(&gemmule::gemm::Alone, &|| false), "it comes back at once");
    machine.server.finish(begun, machine.now);
    machine.commit().expect("the volume takes it");
    assert!(machine.server.is_drained(machine.now));
    drop(machine);
    let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS + 1).expect("it boots");
    settle(&mut machine);
    let status = ask(&mut machine, "GET", &format!("/v1/jobs/{job}"), None).json();
    assert_eq!(status["state"], "finished", "{status}");
}

#[test]
fn a_machine_that_ends_answers_those_who_wait() {
    let mut machine = machine();
    let wait = [("Prefer", "wait=60")];
    let session = submit(&mut machine, &wait, &chain());
    let mut begun = machine.server.next_job().expect("it is ready");
    machine.server.drain(machine.now);
    assert!(begun.advance(&gemmule::gemm::Alone, &|| false), "it comes back at once");
    machine.server.finish(begun, machine.now);
    machine.commit().expect("nothing fails");
    let told = reply(&mut machine, session);
    assert_eq!((told.status, told.json()["state"].is_string()), (202, true), "{}", told.text());
}

#[test]
fn a_status_tells_of_a_step_that_goes_on() {
    let mut machine = machine();
    let ones = vec![vec![1; 8]; 8];
    let job = json!({
        "operands": {"A": {"data": ones}},
        "expression": {"iterate": {"a": "A", "x": "A", "steps": 100}},
    });
    let session = submit(&mut machine, &[], &job);
    let path = format!("/v1/jobs/{}", id(&reply(&mut machine, session).json()));
    let mut begun = machine.server.next_job().expect("it is ready");
    let (asked, middle) = (AtomicUsize::new(0), Barrier::new(2));
    // Nobody wants the threads, and the job stands still once to be looked at.
    let pause = || {
        if asked.fetch_add(1, Relaxed) == 20 {
            middle.wait();
            middle.wait();
        }
        false
    };
    let status = thread::scope(|scope| {
        scope.spawn(|| while !begun.advance(&gemmule::gemm::Alone, &pause) {});
        middle.wait();
        let session = send(&mut machine, "GET", &path, &[], None);
        let text = machine.read(session);
        middle.wait();
        text
    });
    let body = status.rsplit("\r\n").next().expect("a body");
    let status: Value = serde_json::from_str(body).expect("JSON");
    let (done, all) = (status["flops_done"].as_u64(), status["flops"].as_u64());
    assert!(done > Some(0) && done < all, "{status}");
}

#[test]
fn problems_name_the_operand() {
    let mut machine = machine();
    let absent = format!("sha256:{}", "0".repeat(64));
    for (operand, kind) in [
        (json!({"matrix": absent}), "/problems/unknown-matrix"),
        (json!({"reference": "weights"}), "/problems/unknown-reference"),
    ] {
        let mut job = chain();
        job["operands"]["B"] = operand;
        let refused = ask(&mut machine, "POST", "/v1/jobs", Some(&job)).json();
        assert_eq!((&refused["type"], &refused["field"]), (&json!(kind), &json!("/operands/B")));
    }
}
