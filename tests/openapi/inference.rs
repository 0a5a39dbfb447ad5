//! The Open Inference Protocol, version 2.

use gemmule::inference::{MODEL_VERSION, Model};
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};

use super::core::{ask, json_of};
use super::document::{Operation, data_uri, json_reply, path_parameter};
use crate::support::http::write_request;

pub const DESCRIPTION: &str = "The Open Inference Protocol, version 2, as KServe and Triton speak it \
over HTTP. What the protocol offers beyond these paths (loading and unloading, shared memory, trace \
and log settings) is refused with `not-offered`.";

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    let get = |id, summary, schema, target| {
        Operation::get(
            "inference",
            id,
            summary,
            json_reply(summary, schema, json_of("GET", target)),
        )
    };
    let ready = get("serverReady", "Jobs are taken", "Ready", "/v2/health/ready")
        .with(Vec::new(), &[ProblemKind::Draining]);
    let mut index = Operation::get(
        "inference",
        "repositoryIndex",
        "The models",
        json_reply("The models", "Index", json_of("POST", "/v2/repository/index")),
    );
    index.method = "post";
    let shared = |id, target| get(id, "Shared memory, of which there is none", "Regions", target);
    let system = "/v2/systemsharedmemory/status";
    let cuda = "/v2/cudasharedmemory/status";
    let mut paths = vec![
        ("/v2".into(), vec![get("server", "Name, version and extensions", "Server", "/v2")]),
        (
            "/v2/health/live".into(),
            vec![get("serverLive", "The service runs", "Live", "/v2/health/live")],
        ),
        ("/v2/health/ready".into(), vec![ready]),
        (
            "/v2/models/stats".into(),
            vec![get(
                "allStatistics",
                "What all models have done",
                "Statistics",
                "/v2/models/stats",
            )],
        ),
        ("/v2/repository/index".into(), vec![index]),
        (system.into(), vec![shared("systemSharedMemory", system)]),
        (cuda.into(), vec![shared("cudaSharedMemory", cuda)]),
    ];
    paths.extend(model_paths("/v2/models/{model}", &[model()], ""));
    paths.extend(model_paths(
        "/v2/models/{model}/versions/{version}",
        &[model(), version()],
        "OfVersion",
    ));
    paths
}

/// What can be wrong with a request to a model.
const INFER_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::MalformedJson,
    ProblemKind::MalformedBody,
    ProblemKind::UnknownModel,
    ProblemKind::BodyTooLarge,
    ProblemKind::MemoryExceeded,
    ProblemKind::UnsupportedContentCoding,
    ProblemKind::MissingField,
    ProblemKind::UnknownField,
    ProblemKind::DuplicateField,
    ProblemKind::WrongType,
    ProblemKind::UnknownTensor,
    ProblemKind::TextTooLong,
    ProblemKind::NotAMatrix,
    ProblemKind::EmptyMatrix,
    ProblemKind::RaggedRows,
    ProblemKind::NotANumber,
    ProblemKind::NumberNotFinite,
    ProblemKind::NumberOutOfRange,
    ProblemKind::UnknownDtype,
    ProblemKind::NotABoolean,
    ProblemKind::DimensionTooLarge,
    ProblemKind::ShapeMismatch,
    ProblemKind::LengthMismatch,
    ProblemKind::ResultNotFinite,
    ProblemKind::Overloaded,
    ProblemKind::Draining,
];

const INFER_DESCRIPTION: &str = "C = alpha A B + beta C. With the extension for binary tensors, \
inputs that have a `binary_data_size` among their parameters, instead of `data`, follow the JSON as \
bytes, and `Inference-Header-Content-Length` tells how long the JSON is; the reply is made likewise \
where bytes are asked for. Schemas can't say that shapes fit, so that a request that follows them may \
be refused with 422 nevertheless.";

fn infer(parameters: &[Value], suffix: &str) -> Operation {
    let tensor = |name: &str, data: [f64; 4]| json!({"name": name, "shape": [2, 2], "datatype": "FP64", "data": data});
    let inputs = [tensor("A", [1.0, 2.0, 3.0, 4.0]), tensor("B", [5.0, 6.0, 7.0, 8.0])];
    let request = |is_binary: bool| {
        json!({
            "id": "42",
            "inputs": inputs,
            "outputs": [{"name": "C", "parameters": {"binary_data": is_binary}}],
            "parameters": {"alpha": 0.5},
        })
    };
    let reply_to = |request: Value| {
        let body = request.to_string().into_bytes();
        let request = write_request("POST", "/v2/models/matmul_fp64/infer", &[], Some(&body));
        let reply = ask(&[request]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply
    };
    let binary = data_uri("application/octet-stream", &reply_to(request(true)).body);
    let description = "The product: as JSON, or as JSON with the bytes of C behind it.";
    let mut reply = json_reply(description, "InferReply", reply_to(request(false)).json());
    reply["content"]["application/octet-stream"] =
        json!({"examples": {"bytes": {"summary": "C as bytes", "externalValue": binary}}});
    let content = json!({"application/json": {
        "schema": {"$ref": "#/components/schemas/InferRequest"},
        "example": request(false),
    }});
    Operation {
        method: "post",
        tag: "inference",
        id: format!("infer{suffix}"),
        summary: "Multiplies",
        description: INFER_DESCRIPTION,
        parameters: parameters.to_vec(),
        body: Some(json!({"required": true, "content": content})),
        reply,
        problems: INFER_PROBLEMS.to_vec(),
    }
}

/// What can be asked of a model, under a path that names it.
fn model_paths(path: &str, parameters: &[Value], suffix: &str) -> Vec<(String, Vec<Operation>)> {
    let draining = [ProblemKind::Draining].as_slice();
    let infer = (format!("{path}/infer"), vec![infer(parameters, suffix)]);
    [
        ("", "model", "The tensors of a model", "Model", [].as_slice()),
        ("/ready", "modelReady", "The model takes jobs", "ModelReady", draining),
        ("/config", "modelConfig", "The tensors once more", "ModelConfig", &[]),
        ("/stats", "modelStatistics", "What the model has done", "Statistics", &[]),
    ]
    .into_iter()
    .map(|(end, id, summary, schema, problems)| {
        let example = json_of("GET", &format!("/v2/models/matmul_fp64{end}"));
        let id = format!("{id}{suffix}");
        let reply = json_reply(summary, schema, example);
        let problems = [&[ProblemKind::UnknownModel], problems].concat();
        let operation = Operation::get("inference", &id, summary, reply);
        (format!("{path}{end}"), vec![operation.with(parameters.to_vec(), &problems)])
    })
    .chain([infer])
    .collect()
}

fn model() -> Value {
    let names = Model::ALL.map(Model::name);
    path_parameter("model", json!({"type": "string", "enum": names}), names[0])
}

fn version() -> Value {
    path_parameter("version", json!({"type": "string", "const": MODEL_VERSION}), MODEL_VERSION)
}
