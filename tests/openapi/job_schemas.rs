//! What is told of jobs that go on by themselves, and what they are asked for by.

use gemmule::gemm::Algorithm;
use gemmule::limits::{
    JOB_DEADLINE_SECONDS_MAX, JOB_KEEP_SECONDS_DEFAULT, KEEP_SECONDS_MAX, PRIORITY_MAX,
    SMALL_BODY_BYTES_MAX, TASKS_PER_REPLY,
};
use gemmule::problem::ProblemKind;
use gemmule::task::State;
use serde_json::{Value, json};

use super::expressions::job_request;
use super::schemas::{array, count, object, reference, text};

/// Why a job fails that was taken.
const FAILURES: [ProblemKind; 7] = [
    ProblemKind::DeadlineExceeded,
    ProblemKind::UnknownMatrix,
    ProblemKind::MemoryExceeded,
    ProblemKind::Overloaded,
    ProblemKind::StorageFull,
    ProblemKind::StorageDamaged,
    ProblemKind::StorageUnavailable,
];

pub fn schemas() -> Vec<(&'static str, Value)> {
    let time = json!({"type": "string", "format": "date-time"});
    let states = [State::Waiting, State::Running, State::Finished, State::Failed, State::Cancelled];
    let shape = json!({"type": "array", "minItems": 2, "maxItems": 2, "items": count()});
    let quote = object(&[
        ("flops", count()),
        ("saved_flops", saved()),
        ("amount_micros_max", count()),
        ("currency", text()),
        ("memory_bytes", count()),
        ("storage_bytes", count()),
        ("compute_seconds", json!({"type": "number", "minimum": 0})),
    ]);
    let accepted = object(&[
        ("job", reference("JobId")),
        ("state", json!({"enum": states.map(State::name)})),
        ("status_url", json!({"type": "string", "format": "uri-reference"})),
        ("quote", quote),
    ]);
    let step = object(&[
        ("id", text()),
        ("state", json!({"enum": ["waiting", "begun", "done"]})),
        ("dtype", reference("Dtype")),
        ("shape", shape.clone()),
        ("flops", count()),
        ("executed_flops", count()),
        ("is_cached", json!({"type": "boolean"})),
        ("bytes_read", count()),
        ("bytes_written", count()),
    ]);
    let result = object(&[
        ("name", text()),
        ("matrix", json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})),
        ("dtype", reference("Dtype")),
        ("shape", shape),
    ]);
    let kinds = FAILURES.map(|kind| format!("/problems/{}", kind.name()));
    let mut problem = object(&[("type", json!({"enum": kinds})), ("detail", text())]);
    problem["description"] = "Why it has failed.".into();
    let mut status = object(&[
        ("job", reference("JobId")),
        ("state", json!({"enum": states.map(State::name)})),
        ("submitted_at", time.clone()),
        ("priority", json!({"type": "integer", "minimum": 0, "maximum": PRIORITY_MAX})),
        ("memory_bytes", count()),
        ("flops", count()),
        ("flops_done", count()),
        ("saved_flops", saved()),
        ("steps", array(step)),
    ]);
    let optional = [
        ("started_at", time.clone()),
        ("ended_at", time.clone()),
        ("deadline_at", time),
        ("seconds_left", json!({"type": "number", "minimum": 0})),
        ("results", array(result)),
        ("problem", problem),
    ];
    for (name, schema) in optional {
        status["properties"][name] = schema;
    }
    let list = object(&[("jobs", {
        let mut jobs = array(reference("JobStatus"));
        jobs["maxItems"] = TASKS_PER_REPLY.into();
        jobs
    })]);
    let bill = object(&[
        ("job", reference("JobId")),
        ("account", text()),
        ("amount_micros", count()),
        ("flops", count()),
        ("executed_flops", count()),
        ("currency", text()),
        ("lines", array(reference("Bill"))),
    ]);
    vec![
        ("JobRequest", request_schema()),
        ("AcceptedJob", accepted),
        ("JobStatus", status),
        ("JobList", list),
        ("JobBill", bill),
        ("Draining", object(&[("status", json!({"const": "draining"}))])),
    ]
}

fn saved() -> Value {
    let mut saved = count();
    saved["description"] =
        "Operations that the order of products saves, against that from left to \
        right."
            .into();
    saved
}

/// The body of a job, and what of it is not its expressions.
fn request_schema() -> Value {
    let whole = |least: u64, most: u64, description: &str| json!({"type": "integer", "minimum": least, "maximum": most, "description": description});
    let mut schema = job_request();
    schema["description"] = format!(
        "At most {SMALL_BODY_BYTES_MAX} bytes. A product's `algorithm` is one of: {}.",
        Algorithm::ALL.map(Algorithm::name).join(", ")
    )
    .into();
    let kept = format!("How long the results are kept; {JOB_KEEP_SECONDS_DEFAULT} unless given.");
    let properties = json!({
        "priority": whole(0, PRIORITY_MAX.into(), "Higher ones go first; 5 unless given."),
        "deadline_seconds":
            whole(1, JOB_DEADLINE_SECONDS_MAX, "From now; what has not ended then has failed."),
        "memory_bytes": whole(1, (1 << 53) - 1, "The most that it is to hold at once."),
        "keep": whole(1, KEEP_SECONDS_MAX, &kept),
    });
    let all = schema["properties"].as_object_mut().expect("properties");
    all.extend(properties.as_object().expect("properties").clone());
    schema
}
