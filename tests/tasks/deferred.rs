//! Products that become jobs, since their clients would not wait.

use gemmule::gemm::Alone;
use gemmule::server::SessionId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::support::http::{Response, parse_response, write_request};
use super::support::machine::Machine;
use super::support::power::PowerCut;
use super::{
    MIB, SECOND_NS, START_NS, advance, ask, ask_with, machine, reply, send, settle, usage, wait,
};

const ASYNC: (&str, &str) = ("Prefer", "respond-async");
const WAIT: (&str, &str) = ("Prefer", "respond-async, wait=20");

/// 2 x 2 of whole numbers.
fn product() -> Value {
    json!({"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]})
}

fn multiply(machine: &mut Machine, fields: &[(&str, &str)], body: &Value) -> Response {
    ask_with(machine, "POST", "/v1/multiply", fields, Some(body))
}

/// Sends a product, and does what comes before its job.
fn submit(machine: &mut Machine, fields: &[(&str, &str)]) -> SessionId {
    let session = send(machine, "POST", "/v1/multiply", fields, Some(&product()));
    advance(machine);
    session
}

/// Where a job is.
fn url(taken: &Response) -> String {
    assert_eq!(taken.status, 202, "{}", taken.text());
    taken.field("Location").expect("where it is").to_owned()
}

/// The result of a job that has finished.
fn result(machine: &mut Machine, url: &str) -> Value {
    let place = ask(machine, "GET", &format!("{url}/result"), None);
    let place = place.field("Location").unwrap_or_else(|| panic!("{}", place.text())).to_owned();
    ask_with(machine, "GET", &place, &[("Accept", "application/json")], None).json()
}

#[test]
fn a_product_becomes_a_job_where_its_client_would_not_wait() {
    let mut machine = machine();
    let taken = multiply(&mut machine, &[ASYNC], &product());
    let url = url(&taken);
    assert_eq!(taken.field("Preference-Applied"), Some("respond-async"));
    assert_eq!(taken.field("Retry-After"), Some("1"));
    let accepted = taken.json();
    assert_eq!((&accepted["state"], &accepted["status_url"]), (&json!("waiting"), &json!(url)));
    let quote = &accepted["quote"];
    assert_eq!((&quote["flops"], &quote["storage_bytes"]), (&json!(16), &json!(32)));
    let status = ask(&mut machine, "GET", &url, None).json();
    assert_eq!(status["state"], "finished", "{status}");
    assert_eq!(status["steps"][0]["id"], "1: a*b");
    let found = result(&mut machine, &url);
    assert_eq!(found, json!({"shape": [2, 2], "data": [19.0, 22.0, 43.0, 50.0]}));
    let bill = ask(&mut machine, "GET", &format!("{url}/bill"), None).json();
    assert_eq!((&bill["flops"], bill["lines"].as_array().map(Vec::len)), (&json!(16), Some(1)));
    assert_eq!(bill["lines"][0]["bytes_in"], json!(product().to_string().len()));
    assert_eq!(json!(usage(&mut machine)), bill["amount_micros"]);
    // The result alone is left.
    assert_eq!((machine.server.stored_bytes(), machine.server.promised_bytes()), (4096, 32));
}

#[test]
fn who_waits_for_long_enough_gets_the_product() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS).expect("it boots");
    let session = submit(&mut machine, &[WAIT]);
    assert_eq!(machine.read(session), "", "it is not done yet");
    machine.run();
    assert_eq!(machine.read(session), "", "its bill is not durable yet");
    machine.commit().expect("the volume takes it");
    let done = reply(&mut machine, session);
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(done.field("Preference-Applied"), Some("respond-async, wait=20"));
    let body = done.json();
    assert_eq!(body["c"], json!([[19.0, 22.0], [43.0, 50.0]]));
    let url = done.field("Location").expect("where it is").to_owned();
    assert_eq!(body["bill"]["task"], json!(url.rsplit('/').next().expect("an id")));
    assert_eq!(body["bill"]["job"], json!(done.field("Gemmule-Job").expect("an id")));
    assert_eq!(body["bill"]["amount_micros"], json!(usage(&mut machine)));
    assert_eq!(result(&mut machine, &url)["shape"], json!([2, 2]));
}

#[test]
fn who_has_waited_for_long_enough_is_told_where_it_is() {
    let mut machine = machine();
    let session = submit(&mut machine, &[WAIT]);
    let mut held = machine.server.next_job().expect("it is ready");
    wait(&mut machine, 21);
    machine.server.expire(machine.now);
    let later = reply(&mut machine, session);
    let url = url(&later);
    assert_eq!(later.field("Preference-Applied"), Some("respond-async, wait=20"));
    assert_eq!(
        (&later.json()["state"], &later.json()["quote"]["flops"]),
        (&json!("running"), &json!(16))
    );
    while !held.advance(&Alone, &|| false) {}
    machine.server.finish(held, machine.now);
    assert_eq!(result(&mut machine, &url)["data"], json!([19.0, 22.0, 43.0, 50.0]));
}

#[test]
fn who_waits_is_told_why_there_is_no_product() {
    let mut machine = machine();
    let session = submit(&mut machine, &[WAIT]);
    let mut held = machine.server.next_job().expect("it is ready");
    let asked = send(&mut machine, "GET", "/v1/jobs", &[], None);
    let job =
        reply(&mut machine, asked).json()["jobs"][0]["job"].as_str().expect("an id").to_owned();
    let cancel = send(&mut machine, "POST", &format!("/v1/jobs/{job}:cancel"), &[], None);
    assert_eq!(reply(&mut machine, cancel).status, 200);
    while !held.advance(&Alone, &|| false) {}
    machine.server.finish(held, machine.now);
    settle(&mut machine);
    let told = reply(&mut machine, session);
    assert_eq!((told.status, &told.json()["type"]), (409, &json!("/problems/job-ended")));
    assert_eq!((usage(&mut machine), machine.server.stored_bytes()), (0, 0));
    assert_eq!(machine.server.promised_bytes(), 0);
}

#[test]
fn one_that_never_began_leaves_nothing() {
    let mut machine = machine();
    let session = submit(&mut machine, &[ASYNC]);
    let url = url(&reply(&mut machine, session));
    assert!(machine.server.stored_bytes() > 0, "its operands");
    let cancel = send(&mut machine, "POST", &format!("{url}:cancel"), &[], None);
    assert_eq!(reply(&mut machine, cancel).status, 200);
    settle(&mut machine);
    assert_eq!((usage(&mut machine), machine.server.stored_bytes()), (0, 0));
}

/// A file of `tests/fixtures/formats`, as `cases.json` has it.
#[derive(Deserialize)]
struct Case {
    file: String,
    format: String,
    query: String,
}

/// Posts bytes, and runs what comes of them.
fn post(machine: &mut Machine, case: &Case, body: &[u8], prefer: Option<(&str, &str)>) -> Response {
    let content_type = match case.format.as_str() {
        "npy" => "application/x-npy",
        "npz" => "application/x-npz",
        "safetensors" => "application/vnd.safetensors",
        _ => "application/octet-stream",
    };
    let fields = [("Content-Type", content_type), ("Accept", "application/json")];
    let fields: Vec<_> = fields.into_iter().chain(prefer).collect();
    let target = format!("/v1/multiply?{}", case.query);
    let mut request = &*write_request("POST", &target, &fields, Some(body));
    let session = machine.server.open(machine.now).expect("a session is free");
    while !request.is_empty() && machine.server.wants_input(session) {
        request = &request[machine.server.receive(session, request, machine.now)..];
    }
    settle(machine);
    let text = machine.read(session);
    machine.server.gone(session);
    let (response, _) = parse_response(text.as_bytes(), false, true)
        .unwrap_or_else(|error| panic!("{}: {error}: {text:?}", case.file))
        .unwrap_or_else(|| panic!("{}: {text:?}", case.file));
    response
}

#[test]
fn every_format_is_taken_and_what_is_wrong_refused_at_once() {
    let directory = format!("{}/tests/fixtures/formats", env!("CARGO_MANIFEST_DIR"));
    let cases = std::fs::read(format!("{directory}/cases.json")).expect("the list of cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("cases");
    let mut machine = machine();
    let mut done = 0;
    for case in &cases {
        let body = std::fs::read(format!("{directory}/{}", case.file)).expect(&case.file);
        let mut at_once = post(&mut machine, case, &body, None);
        let mut waited = post(&mut machine, case, &body, Some(WAIT));
        assert_eq!(at_once.status, waited.status, "{}: {}", case.file, waited.text());
        if at_once.status == 200 {
            let products = [&mut at_once, &mut waited].map(|reply| reply.json());
            assert_eq!(products[0]["c"], products[1]["c"], "{}", case.file);
            for name in ["dtype", "m", "n", "k", "flops", "bytes_in"] {
                assert_eq!(products[0]["bill"][name], products[1]["bill"][name], "{}", case.file);
            }
            done += 1;
        } else {
            assert_eq!(at_once.json(), waited.json(), "{}", case.file);
        }
    }
    assert!(done > 20, "{done} products");
    let jobs = ask(&mut machine, "GET", "/v1/jobs", None).json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(done.min(100)));
}

#[test]
fn settings_in_json_count() {
    let mut machine = machine();
    let body = json!({
        "a": [[1, 2, 3], [4, 5, 6]], "b": [[1, 2, 3], [3, 2, 1]], "c": [[1, 1], [1, 1]],
        "transpose_b": true, "alpha": 0.5, "beta": 2, "dtype": "f32",
    });
    let at_once = multiply(&mut machine, &[], &body).json();
    let waited = multiply(&mut machine, &[WAIT], &body).json();
    assert_eq!(
        (&at_once["c"], &at_once["bill"]["flops"]),
        (&waited["c"], &waited["bill"]["flops"])
    );
    assert_eq!(waited["bill"]["node"], "1: 0.5*a*b' + 2*c");
    for empty in [
        json!({"a": {"shape": [2, 0], "data": []}, "b": {"shape": [0, 3], "data": []}}),
        json!({"a": {"shape": [0, 2], "data": []}, "b": {"shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}}),
    ] {
        let [at_once, waited] =
            [multiply(&mut machine, &[], &empty), multiply(&mut machine, &[WAIT], &empty)];
        assert_eq!((at_once.status, waited.status), (200, 200), "{}", waited.text());
        assert_eq!(at_once.json()["c"], waited.json()["c"]);
    }
}

#[test]
fn a_key_makes_one_job_of_a_product() {
    let mut machine = machine();
    let key = ("Idempotency-Key", "\"a\"");
    let first = multiply(&mut machine, &[ASYNC, key], &product());
    let again = multiply(&mut machine, &[ASYNC, key], &product());
    assert_eq!(url(&first), url(&again));
    assert_eq!(first.field("Idempotency-Replayed"), None);
    assert_eq!(again.field("Idempotency-Replayed"), Some("true"));
    let billed = usage(&mut machine);
    let waited = multiply(&mut machine, &[WAIT, key], &product());
    assert_eq!((waited.status, waited.field("Idempotency-Replayed")), (200, Some("true")));
    assert_eq!(waited.json()["c"], json!([[19.0, 22.0], [43.0, 50.0]]));
    let mut other = product();
    other["a"][0][0] = json!(2);
    for (fields, body) in [(&[ASYNC, key][..], &other), (&[key], &product())] {
        let refused = multiply(&mut machine, fields, body);
        assert_eq!(refused.json()["type"], "/problems/idempotency-key-reused", "{fields:?}");
    }
    assert_eq!(usage(&mut machine), billed, "it is billed once");
    let jobs = ask(&mut machine, "GET", "/v1/jobs", None).json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1));
    // One that was answered with its product is again, whatever its client would rather have.
    let key = ("Idempotency-Key", "\"b\"");
    let first = multiply(&mut machine, &[key], &product());
    let again = multiply(&mut machine, &[ASYNC, key], &product());
    assert_eq!((first.status, again.status), (200, 200), "{}", again.text());
    assert_eq!(first.json()["bill"]["job"], again.json()["bill"]["job"]);
}

#[test]
fn one_key_is_taken_while_its_request_is_read() {
    let mut machine = machine();
    let key = [ASYNC, ("Idempotency-Key", "\"a\"")];
    let first = send(&mut machine, "POST", "/v1/multiply", &key, Some(&product()));
    let second = send(&mut machine, "POST", "/v1/multiply", &key, Some(&product()));
    let told = reply(&mut machine, second).json();
    assert_eq!(told["type"], "/problems/idempotency-key-in-use");
    settle(&mut machine);
    assert_eq!(reply(&mut machine, first).status, 202);
}

#[test]
fn what_is_to_be_checked_or_is_a_models_is_done_at_once() {
    let mut machine = machine();
    let checked = multiply(&mut machine, &[ASYNC, ("Gemmule-Check", "residual")], &product());
    assert_eq!((checked.status, checked.field("Gemmule-Check")), (200, Some("residual")));
    assert_eq!(checked.field("Preference-Applied"), None);
    let tensor =
        |name: &str| json!({"name": name, "datatype": "FP64", "shape": [1, 1], "data": [2]});
    let body = json!({"inputs": [tensor("A"), tensor("B")]});
    let target = "/v2/models/matmul_fp64/infer";
    let inferred = ask_with(&mut machine, "POST", target, &[ASYNC], Some(&body));
    assert_eq!(inferred.status, 200, "{}", inferred.text());
}

#[test]
fn a_product_outlasts_its_machine() {
    let disk = PowerCut::device(96 * MIB);
    let key = [ASYNC, ("Idempotency-Key", "\"a\"")];
    let (taken, rows) = {
        let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS).expect("it boots");
        let session = submit(&mut machine, &key);
        let taken = url(&reply(&mut machine, session));
        let mut begun = machine.server.next_job().expect("it is ready");
        // All of it, though nothing of its end lasts.
        while !begun.advance(&Alone, &|| true) {}
        machine.server.finish(begun, machine.now);
        machine.server.expire(machine.now);
        (taken, machine.server.stored_bytes())
    };
    assert!(rows > 4096, "its operands are there until its end lasts");
    for later in 1..3 {
        let unix_ns = START_NS + later * SECOND_NS;
        let mut machine = Machine::boot_with(&disk, 256 * MIB, unix_ns).expect("it boots");
        settle(&mut machine);
        assert_eq!(result(&mut machine, &taken)["data"], json!([19.0, 22.0, 43.0, 50.0]));
        let again = multiply(&mut machine, &key, &product());
        assert_eq!(
            (url(&again), again.field("Idempotency-Replayed")),
            (taken.clone(), Some("true"))
        );
        let bill = ask(&mut machine, "GET", &format!("{taken}/bill"), None).json();
        assert_eq!(bill["amount_micros"], json!(usage(&mut machine)));
        assert_eq!(machine.server.stored_bytes(), 4096, "the result alone");
    }
}
