//! Jobs that go on by themselves.

use gemmule::http::server_events::CONTENT_TYPE;
use gemmule::ledger::Scope;
use gemmule::limits::{
    IDEMPOTENCY_KEY_BYTES_MAX, OPERAND_NAME_BYTES_MAX, TASKS_RUNNING_MAX, WAIT_SECONDS_MAX,
};
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};

use super::core::Service;
use super::document::{Operation, json_reply, path_parameter};
use super::expressions::JOB_OPERANDS;
use super::multiply::product_headers;
use super::quote::BODY_PROBLEMS;
use super::schemas::{object, reference, text};
use crate::support::http::{Response, write_request};

/// What can be wrong with what is asked, besides its text.
const SUBMIT_PROBLEMS: [ProblemKind; 28] = [
    ProblemKind::SpendingCapReached,
    ProblemKind::CreditExhausted,
    ProblemKind::UnknownMatrix,
    ProblemKind::UnknownReference,
    ProblemKind::NotAMatrix,
    ProblemKind::EmptyMatrix,
    ProblemKind::RaggedRows,
    ProblemKind::NotANumber,
    ProblemKind::NumberNotFinite,
    ProblemKind::NumberOutOfRange,
    ProblemKind::NotABoolean,
    ProblemKind::UnknownDtype,
    ProblemKind::TextTooLong,
    ProblemKind::DimensionTooLarge,
    ProblemKind::ShapeMismatch,
    ProblemKind::LengthMismatch,
    ProblemKind::MalformedIdempotencyKey,
    ProblemKind::IdempotencyKeyInUse,
    ProblemKind::IdempotencyKeyReused,
    ProblemKind::DailyFlopsExceeded,
    ProblemKind::TooManyJobs,
    ProblemKind::RateLimited,
    ProblemKind::NoTariff,
    ProblemKind::LedgerFull,
    ProblemKind::LedgerUnavailable,
    ProblemKind::StorageFull,
    ProblemKind::StorageUnavailable,
    ProblemKind::Draining,
];

/// What is asked of a job of this service.
const JOB_PROBLEMS: [ProblemKind; 2] = [ProblemKind::UnknownJob, ProblemKind::LedgerUnavailable];

const SUBMIT: &str = "The reply comes as soon as the job would outlast a power cut, with what it \
comes to at most. With `Prefer: wait=N` it comes when the job has ended, 200, or after so many \
seconds, 202, and is the job's status.";

const EVENTS: &str = "The status of the job each second in which it has come further, and when its \
state changes, as `data`; `event` is `progress` while it runs, else its state. The stream ends with \
the job. An event tells all there is to tell, so that nobody misses what came while a connection was \
broken; what `Last-Event-ID` names is not repeated, unless it is the end.";

const CANCEL: &str = "It costs nothing. One that runs stops within some milliseconds, so that the \
reply may call it `running` still. It is called `cancelled` when that would outlast a power cut. \
Cancelling it again changes nothing.";

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    let mut service = Service::open();
    let submitted = send(&mut service, "POST", "/v1/jobs", Some(&example()));
    let job = submitted.json()["job"].as_str().expect("an id").to_owned();
    let of_job = |operation: Operation| {
        let mut operation = operation.and(&JOB_PROBLEMS);
        operation.parameters.insert(0, path_parameter("job", reference("JobId"), &job));
        operation
    };
    let path = |behind: &str| format!("/v1/jobs/{{job}}{behind}");
    vec![
        ("/v1/jobs".into(), vec![list(&mut service), submit(&submitted)]),
        (path(""), vec![of_job(status(&mut service, &job))]),
        (path(":cancel"), vec![of_job(cancel())]),
        (path("/events"), vec![of_job(events(&mut service, &job))]),
        (path("/result"), vec![of_job(result(&mut service, &job))]),
        ("/v1/admin/drain".into(), vec![drain()]),
    ]
}

/// The bill of a job of two steps.
pub fn bill_example() -> Value {
    let mut service = Service::open();
    let job = send(&mut service, "POST", "/v1/jobs", Some(&example())).json()["job"].take();
    let path = format!("/v1/jobs/{}/bill", job.as_str().expect("an id"));
    unlike_here(send(&mut service, "GET", &path, None).json())
}

/// (A B) x where A (B x) takes fewer operations.
fn example() -> Value {
    json!({
        "operands": JOB_OPERANDS.clone(),
        "expression": {"multiply": ["A", "B", "x"]},
        "deadline_seconds": 3600,
    })
}

fn send(service: &mut Service, method: &str, path: &str, body: Option<&Value>) -> Response {
    let response = service.ask(&request(method, path, body));
    assert!(response.status < 400, "{method} {path}: {}", response.text());
    response
}

fn request(method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).or((method == "POST").then(String::new));
    let fields = [("Content-Type", "application/json")];
    write_request(method, path, &fields, body.as_ref().map(String::as_bytes))
}

/// Puts figures of one machine in the place of those of this one.
fn unlike_here(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                *member = match name.as_str() {
                    "memory_bytes" => json!(9_437_184),
                    "kernel" => json!("avx512"),
                    _ => unlike_here(member.take()),
                };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = unlike_here(item.take())),
        _ => {}
    }
    value
}

fn list(service: &mut Service) -> Operation {
    let all = unlike_here(send(service, "GET", "/v1/jobs", None).json());
    let reply = json_reply("The newest first.", "JobList", all);
    let mut operation =
        Operation::get("jobs", "jobs", "Jobs that go on, and the last that have ended", reply)
            .needs(Scope::Read);
    operation.description = "Those of the key's account that were asked for by `POST`.";
    operation
}

fn submit(submitted: &Response) -> Operation {
    let accepted = unlike_here(submitted.json());
    let mut reply = json_reply("It is taken.", "AcceptedJob", accepted);
    let schema = json!({"oneOf": [reference("AcceptedJob"), reference("JobStatus")]});
    reply["content"]["application/json"]["schema"] = schema;
    let names =
        ["Location", "Retry-After", "Idempotency-Replayed", "RateLimit-Policy", "RateLimit"];
    reply["headers"] = product_headers(&names).into();
    let key = json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request with the key of a job is that job again, if its body is the same.",
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX},
    });
    Operation {
        method: "post",
        tag: "jobs",
        id: "submit".into(),
        summary: "Takes a job that goes on by itself",
        description: SUBMIT,
        parameters: vec![key, wait()],
        body: Some(json!({"required": true, "content": {"application/json": {
            "schema": reference("JobRequest"),
            "example": example(),
        }}})),
        reply,
        status: "202",
        also: vec![("200", status_reply("It was waited for, and has ended.", None))],
        problems: [BODY_PROBLEMS, &SUBMIT_PROBLEMS].concat(),
        scope: Some(Scope::Submit),
    }
}

/// The reply to a product that has become a job.
pub fn deferred_reply() -> Value {
    let mut service = Service::open();
    let fields = [("Content-Type", "application/json"), ("Prefer", "respond-async")];
    let body = br#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;
    let reply = service.ask(&write_request("POST", "/v1/multiply", &fields, Some(body)));
    assert_eq!(reply.status, 202, "{}", reply.text());
    let accepted = unlike_here(reply.json());
    let mut reply = json_reply("It has become a job.", "AcceptedJob", accepted);
    let names = ["Preference-Applied", "Location", "Retry-After", "Idempotency-Replayed"];
    reply["headers"] = product_headers(&names).into();
    reply
}

pub fn prefer_async() -> Value {
    json!({
        "name": "Prefer",
        "in": "header",
        "description": format!(
            "`respond-async`: to be told of a job instead of the product; with `wait=N`, unless that \
             is there after N seconds, of at most {WAIT_SECONDS_MAX} (RFC 7240).",
        ),
        "schema": text(),
        "example": "respond-async, wait=10",
    })
}

fn wait() -> Value {
    json!({
        "name": "Prefer",
        "in": "header",
        "description": format!(
            "`wait=N`: to be answered when the job has ended, or after N seconds, of at most \
             {WAIT_SECONDS_MAX} (RFC 7240).",
        ),
        "schema": text(),
        "example": "wait=10",
    })
}

fn status_reply(description: &str, example: Option<Value>) -> Value {
    let mut reply = json_reply(description, "JobStatus", example.unwrap_or_default());
    if reply["content"]["application/json"]["example"].is_null() {
        let content = reply["content"]["application/json"].as_object_mut();
        content.expect("an object").remove("example");
    }
    reply["headers"] = product_headers(&["Retry-After"]).into();
    reply
}

fn status(service: &mut Service, job: &str) -> Operation {
    let example = unlike_here(send(service, "GET", &format!("/v1/jobs/{job}"), None).json());
    let mut operation = Operation::get(
        "jobs",
        "jobStatus",
        "How far a job has come",
        status_reply("Its status; `Retry-After` where it has not ended.", Some(example)),
    )
    .needs(Scope::Read);
    operation.also = vec![("202", status_reply("It was waited for, and has not ended.", None))];
    operation.parameters = vec![wait()];
    operation
}

/// Of a job that waits for those before it.
fn cancel() -> Operation {
    let mut service = Service::open();
    let mut last = String::new();
    for _ in 0..=TASKS_RUNNING_MAX {
        let reply = service.ask_idle(&request("POST", "/v1/jobs", Some(&example())));
        last = reply.json()["job"].as_str().expect("an id").to_owned();
    }
    let reply = service.ask_idle(&request("POST", &format!("/v1/jobs/{last}:cancel"), None));
    assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("cancelled")));
    let reply = status_reply("Its status.", Some(unlike_here(reply.json())));
    let mut operation = Operation::get("jobs", "cancelJob", "Gives a job up", reply)
        .and(&[ProblemKind::JobEnded, ProblemKind::StorageUnavailable])
        .needs(Scope::Submit);
    operation.method = "post";
    operation.description = CANCEL;
    operation
}

fn events(service: &mut Service, job: &str) -> Operation {
    let stream = send(service, "GET", &format!("/v1/jobs/{job}/events"), None);
    let (before, data) = stream.text().split_once("data: ").expect("an event");
    let status: Value = serde_json::from_str(data.trim_end()).expect("JSON");
    let reply = json!({
        "description": "Server-sent events, with a comment where nothing else is sent for a while.",
        "content": {CONTENT_TYPE: {
            "schema": object(&[("event", text()), ("id", text()), ("data", text())]),
            "example": format!("{before}data: {}\n\n", unlike_here(status)),
        }},
    });
    let last = json!({
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The `id` of the last event that was read.",
        "schema": text(),
    });
    let mut operation = Operation::get("jobs", "jobEvents", "How a job comes along", reply)
        .and(&[ProblemKind::Overloaded, ProblemKind::MemoryExceeded])
        .needs(Scope::Read);
    operation.description = EVENTS;
    operation.parameters = vec![last];
    operation
}

fn result(service: &mut Service, job: &str) -> Operation {
    let found = service.ask(&request("GET", &format!("/v1/jobs/{job}/result"), None));
    assert_eq!(found.status, 303);
    let mut headers = product_headers(&["Location"]);
    headers["Location"] = json!({
        "description": "The matrix.",
        "schema": text(),
        "example": found.field("Location").expect("a place"),
    });
    let reply = json!({"description": "The result is a stored matrix.", "headers": headers});
    let mut operation = Operation::get("jobs", "jobResult", "Where a result is", reply)
        .and(&[ProblemKind::JobNotDone, ProblemKind::InvalidValue])
        .needs(Scope::Read);
    operation.status = "303";
    operation.parameters = vec![json!({
        "name": "name",
        "in": "query",
        "description": "Which of several; the first unless given.",
        "schema": {
            "type": "string",
            "pattern": format!("^[A-Za-z0-9_]{{1,{OPERAND_NAME_BYTES_MAX}}}([.][0-9]+)?$"),
        },
    })];
    operation
}

fn drain() -> Operation {
    let mut service = Service::with_keys();
    let key = service.operator();
    let bearer = format!("Bearer {key}");
    let fields = [("Authorization", bearer.as_str())];
    let reply = service.ask(&write_request("POST", "/v1/admin/drain", &fields, Some(b"")));
    assert_eq!(reply.status, 202, "{}", reply.text());
    let reply = json_reply("It will end.", "Draining", reply.json());
    let mut operation = Operation::get("admin", "drain", "Ends the machine in order", reply);
    operation.method = "post";
    operation.status = "202";
    operation.description = "No more jobs are taken. Products that were begun are finished and \
        answered; jobs that go on by themselves stop where they are, and go on when the next machine \
        opens the volume. Then the machine powers off, or the process ends, with status 0.";
    operation.needs(Scope::Admin)
}
