//! What jobs would cost.

use gemmule::api::quote::RATE_MIN;
use gemmule::formats::Format;
use gemmule::ledger::Scope;
use gemmule::limits::{DIMENSION_MAX, SMALL_BODY_BYTES_MAX};
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};

use super::core::ask;
use super::document::{Operation, json_reply};
use super::schemas::{count, object, reference, text};
use crate::support::http::write_request;

/// What can be wrong with a small body in JSON.
pub const BODY_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::MalformedDigest,
    ProblemKind::DigestMismatch,
    ProblemKind::MalformedJson,
    ProblemKind::MalformedBody,
    ProblemKind::BodyTooLarge,
    ProblemKind::MemoryExceeded,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::UnsupportedContentCoding,
    ProblemKind::MissingField,
    ProblemKind::UnknownField,
    ProblemKind::DuplicateField,
    ProblemKind::WrongType,
    ProblemKind::InvalidValue,
    ProblemKind::Overloaded,
];

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    let problems =
        [BODY_PROBLEMS, &[ProblemKind::DimensionTooLarge, ProblemKind::UnknownDtype]].concat();
    let example = json!({
        "m": 4096, "n": 4096, "k": 4096, "format": "application/x-npy",
        "local_gflops": 50, "bandwidth_mbit": 1000,
    });
    let body = example.to_string().into_bytes();
    let fields = [("Content-Type", "application/json")];
    let reply = ask(&[write_request("POST", "/v1/quote", &fields, Some(&body))]);
    assert_eq!(reply.status, 200);
    let mut answer = reply.json();
    // What a machine with other caches packs in has another size.
    answer["memory_bytes"] = json!(406_814_848);
    let quote = Operation {
        status: "200",
        method: "post",
        tag: "jobs",
        id: "quote".into(),
        summary: "What a job would cost and take",
        description: "By the shapes of its matrices. Nothing is computed, held or charged.",
        parameters: Vec::new(),
        body: Some(json!({"required": true, "content": {"application/json": {
            "schema": reference("QuoteRequest"),
            "example": example,
        }}})),
        reply: json_reply("The quote.", "Quote", answer),
        also: Vec::new(),
        problems,
        scope: Some(Scope::Submit),
    };
    vec![("/v1/quote".into(), vec![quote])]
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let described = |mut schema: Value, description: &str| {
        schema["description"] = description.into();
        schema
    };
    let length = json!({"type": "integer", "minimum": 0, "maximum": DIMENSION_MAX});
    let flag = json!({"type": "boolean", "default": false});
    let format = json!({"type": "string", "enum": Format::ALL.map(Format::media_type)});
    let rate = json!({"type": "number", "minimum": RATE_MIN, "maximum": f64::MAX});
    let request = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["m", "n", "k"],
        "description": format!("At most {SMALL_BODY_BYTES_MAX} bytes."),
        "properties": {
            "m": described(length.clone(), "Rows of the result."),
            "n": described(length.clone(), "Columns of the result."),
            "k": described(length, "The inner dimension."),
            "dtype": {"$ref": "#/components/schemas/Dtype", "default": "f64"},
            "transpose_a": described(flag.clone(), "A comes as k x m."),
            "transpose_b": described(flag.clone(), "B comes as n x k."),
            "alpha": described(flag.clone(), "There is an alpha other than 1."),
            "c": described(flag, "A c is added, with a beta other than 0."),
            "format": described(format.clone(), "Of the body; JSON unless given."),
            "reply_format": described(format, "Of the reply; that of the body unless given."),
            "bytes_in": {
                "type": "integer", "minimum": 0, "maximum": u64::MAX,
                "description": "Of the body, where they are known.",
            },
            "local_gflops":
                described(rate.clone(), "10^9 operations a second that the client could do itself."),
            "bandwidth_mbit": described(rate, "10^6 bits a second of the client's connection."),
        },
    });
    let maybe = |schema_type: &str, description: &str| json!({"type": [schema_type, "null"], "description": description});
    let quote = object(&[
        ("flops", count()),
        ("bytes_in", count()),
        ("bytes_out", count()),
        (
            "is_exact",
            json!({"type": "boolean", "description": "Neither number of bytes is an estimate."}),
        ),
        ("tariff", text()),
        ("tariff_version", count()),
        ("amount_micros", count()),
        ("amount_micros_max", count()),
        ("currency", text()),
        ("memory_bytes", count()),
        ("fits", json!({"type": "boolean", "description": "The machine has as much memory."})),
        ("compute_us", maybe("integer", "Microseconds, while no other job is in the way.")),
        ("transfer_us", maybe("integer", "Where `bandwidth_mbit` is given.")),
        ("total_us", maybe("integer", "The two together.")),
        ("local_us", maybe("integer", "Where `local_gflops` is given.")),
        ("worth_sending", maybe("boolean", "It fits, and the total is less than the local time.")),
    ]);
    vec![("QuoteRequest", request), ("Quote", quote)]
}
