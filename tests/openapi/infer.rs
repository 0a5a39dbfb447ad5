//! Products by the Open Inference Protocol.

use gemmule::inference::Model;
use gemmule::ledger::Scope;
use gemmule::limits::{DIMENSION_MAX, INFERENCE_HEADER_BYTES_MAX, INFERENCE_ID_BYTES_MAX};
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};

use super::core::ask;
use super::document::{Operation, data_uri};
use super::multiply::{JOB_PROBLEMS, PRODUCT_FIELDS, field_parameters, header, product_headers};
use super::schemas::{array, count, number, object, reference, text};
use crate::support::http::{Response, write_request};

const DESCRIPTION: &str = "Inputs are A, B and, if it is to be added, C, of two dimensions and of the \
model's datatype; the output is C. Tensors that have a `binary_data_size` follow the JSON as \
little-endian bytes, in the order of the inputs, and `Inference-Header-Content-Length` is the length \
of the JSON. The output is sent likewise where `binary_data` of the output, or else \
`binary_data_output` of the request, is true. No Content-Type is required. `priority`, `timeout`, \
`sequence_id`, `sequence_start`, `sequence_end` and `content_type` make no difference.";

const LENGTH: &str = "Inference-Header-Content-Length";

/// Of a path that names a model.
pub fn operation(id: String, parameters: &[Value]) -> Operation {
    let (json, binary) = (json_request(), binary_request());
    let length = json!({
        "name": LENGTH,
        "in": "header",
        "description": format!(
            "Bytes of the JSON, where tensors follow it; at most {INFERENCE_HEADER_BYTES_MAX}."
        ),
        "schema": count(),
        "example": binary.1,
    });
    let elsewhere = [ProblemKind::UnsupportedMediaType, ProblemKind::NotAcceptable];
    let here = [
        ProblemKind::UnknownModel,
        ProblemKind::WrongType,
        ProblemKind::UnknownTensor,
        ProblemKind::TextTooLong,
        ProblemKind::NotOffered,
    ];
    let shared = JOB_PROBLEMS.iter().filter(|kind| !elsewhere.contains(kind)).copied();
    Operation {
        status: "200",
        method: "post",
        tag: "inference",
        id,
        summary: "Multiplies: C = alpha A B + beta C",
        description: DESCRIPTION,
        parameters: [parameters, &[length], &field_parameters()].concat(),
        body: Some(json!({"required": true, "content": {
            "application/json": {"schema": reference("InferRequest"), "example": json},
            "application/octet-stream": {"examples": {"binary": {
                "summary": "A and B as bytes behind the JSON",
                "externalValue": data_uri("application/octet-stream", &binary.0),
            }}},
        }})),
        reply: reply(),
        also: Vec::new(),
        problems: shared.chain(here).collect(),
        scope: Some(Scope::Submit),
    }
}

fn reply() -> Value {
    let json = json_request().to_string();
    let in_json = post(json.as_bytes(), None);
    let (binary, length) = binary_request();
    let in_bytes = post(&binary, Some(length));
    let mut headers = product_headers(&PRODUCT_FIELDS);
    headers.insert(
        LENGTH.to_owned(),
        header("Bytes of the JSON, where the output follows it.", &json!({"type": "integer"})),
    );
    json!({
        "description": "The product.",
        "headers": headers,
        "content": {
            "application/json": {"schema": reference("InferReply"), "example": in_json.json()},
            "application/octet-stream": {"examples": {"binary": {
                "summary": "C as bytes behind the JSON",
                "externalValue": data_uri("application/octet-stream", &in_bytes.body),
            }}},
        },
        "links": {"bill": {
            "operationId": "bill",
            "parameters": {"job": "$response.header.Gemmule-Job"},
        }},
    })
}

fn post(body: &[u8], json_bytes: Option<usize>) -> Response {
    let length = json_bytes.map(|bytes| bytes.to_string());
    let fields: Vec<(&str, &str)> = length.iter().map(|length| (LENGTH, length.as_str())).collect();
    let path = "/v2/models/matmul_fp64/infer";
    let response = ask(&[write_request("POST", path, &fields, Some(body))]);
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
    response
}

fn json_request() -> Value {
    let tensor = |name: &str, data: [u32; 4]| json!({"name": name, "shape": [2, 2], "datatype": "FP64", "data": data});
    json!({
        "id": "1",
        "inputs": [tensor("A", [1, 2, 3, 4]), tensor("B", [5, 6, 7, 8])],
        "parameters": {"alpha": 0.5},
    })
}

/// A body with bytes behind its JSON, and the length of the JSON.
fn binary_request() -> (Vec<u8>, usize) {
    let tensor = |name: &str| {
        json!({
            "name": name,
            "shape": [2, 2],
            "datatype": "FP64",
            "parameters": {"binary_data_size": 32},
        })
    };
    let mut request = json_request();
    request["inputs"] = json!([tensor("A"), tensor("B")]);
    request["parameters"]["binary_data_output"] = true.into();
    let mut body = request.to_string().into_bytes();
    let json_bytes = body.len();
    for element in 1..=8_u32 {
        body.extend_from_slice(&f64::from(element).to_le_bytes());
    }
    (body, json_bytes)
}

/// What requests and replies in JSON look like.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![("InferRequest", request_schema()), ("InferReply", reply_schema())]
}

fn datatype() -> Value {
    json!({"type": "string", "enum": Model::ALL.map(Model::datatype)})
}

fn shape() -> Value {
    let length = json!({"type": "integer", "minimum": 0, "maximum": DIMENSION_MAX});
    json!({"type": "array", "minItems": 2, "maxItems": 2, "items": length})
}

/// An object that may have these properties, and no others.
fn closed(required: &[&str], properties: &[(&str, Value)]) -> Value {
    let mut schema = object(properties);
    schema["required"] = json!(required);
    schema["additionalProperties"] = false.into();
    schema
}

fn request_schema() -> Value {
    let flag = json!({"type": "boolean"});
    let data = json!({
        "description": "Row by row, flat or nested.",
        "anyOf": [array(number()), array(array(number()))],
    });
    let input = closed(
        &["name", "shape", "datatype"],
        &[
            ("name", json!({"type": "string", "enum": ["A", "B", "C"]})),
            ("shape", shape()),
            ("datatype", datatype()),
            ("data", data),
            (
                "parameters",
                closed(&[], &[("binary_data_size", count()), ("content_type", json!({}))]),
            ),
        ],
    );
    let output = closed(
        &["name"],
        &[
            ("name", json!({"const": "C"})),
            ("parameters", closed(&[], &[("binary_data", flag.clone())])),
        ],
    );
    let ignored = ["priority", "timeout", "sequence_id", "sequence_start", "sequence_end"];
    let mut parameters = vec![
        ("alpha", number()),
        ("beta", number()),
        ("transpose_a", flag.clone()),
        ("transpose_b", flag.clone()),
        ("binary_data_output", flag),
        ("content_type", json!({})),
    ];
    parameters.extend(ignored.map(|name| (name, json!({}))));
    let mut id = text();
    id["description"] = format!("At most {INFERENCE_ID_BYTES_MAX} bytes.").into();
    let mut inputs = array(input);
    inputs["minItems"] = 2.into();
    inputs["maxItems"] = 3.into();
    let mut outputs = array(output);
    outputs["maxItems"] = 1.into();
    closed(
        &["inputs"],
        &[
            ("id", id),
            ("inputs", inputs),
            ("outputs", outputs),
            ("parameters", closed(&[], &parameters)),
        ],
    )
}

fn reply_schema() -> Value {
    let output = object(&[
        ("name", json!({"const": "C"})),
        ("datatype", datatype()),
        ("shape", shape()),
        ("data", array(number())),
    ]);
    let bill = object(&[
        ("gemmule_job", reference("JobId")),
        ("gemmule_flops", count()),
        ("gemmule_amount_micros", count()),
        ("gemmule_currency", text()),
    ]);
    let mut reply = object(&[
        ("model_name", text()),
        ("model_version", text()),
        ("id", text()),
        ("outputs", array(output)),
        ("parameters", bill),
    ]);
    reply["required"] = json!(["model_name", "model_version", "outputs", "parameters"]);
    reply
}
