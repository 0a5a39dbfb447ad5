//! The Open Inference Protocol, version 2.

use gemmule::inference::{MODEL_VERSION, Model};
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};

use super::core::json_of;
use super::document::{Operation, json_reply, path_parameter};
use super::infer;

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

/// What can be asked of a model, under a path that names it.
fn model_paths(path: &str, parameters: &[Value], suffix: &str) -> Vec<(String, Vec<Operation>)> {
    let draining = [ProblemKind::Draining].as_slice();
    let asked = [
        ("", "model", "The tensors of a model", "Model", [].as_slice()),
        ("/ready", "modelReady", "The model takes jobs", "ModelReady", draining),
        ("/config", "modelConfig", "The tensors once more", "ModelConfig", &[]),
        ("/stats", "modelStatistics", "What the model has done", "Statistics", &[]),
    ];
    let infer = infer::operation(format!("infer{suffix}"), parameters);
    let infer = (format!("{path}/infer"), vec![infer]);
    let asked = asked.into_iter().map(|(end, id, summary, schema, problems)| {
        let example = json_of("GET", &format!("/v2/models/matmul_fp64{end}"));
        let id = format!("{id}{suffix}");
        let reply = json_reply(summary, schema, example);
        let problems = [&[ProblemKind::UnknownModel], problems].concat();
        let operation = Operation::get("inference", &id, summary, reply);
        (format!("{path}{end}"), vec![operation.with(parameters.to_vec(), &problems)])
    });
    asked.chain([infer]).collect()
}

fn model() -> Value {
    let names = Model::ALL.map(Model::name);
    path_parameter("model", json!({"type": "string", "enum": names}), names[0])
}

fn version() -> Value {
    path_parameter("version", json!({"type": "string", "const": MODEL_VERSION}), MODEL_VERSION)
}
