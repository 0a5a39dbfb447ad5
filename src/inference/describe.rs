//! What the service is and what its models take, in the words of the protocol.

use alloc::vec::Vec;

use serde::Serialize;

use crate::inference::{MODEL_VERSION, Model};

const PLATFORM: &str = "gemmule";

/// `GET /v2`
#[derive(Debug, Serialize)]
pub struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    /// What is offered beyond the protocol's core.
    extensions: [&'static str; 5],
}

/// `GET /v2/models/{model}`
#[derive(Debug, Serialize)]
pub struct ModelMetadata {
    name: &'static str,
    versions: [&'static str; 1],
    platform: &'static str,
    inputs: [TensorMetadata; 3],
    outputs: [TensorMetadata; 1],
}

#[derive(Debug, Serialize)]
struct TensorMetadata {
    name: &'static str,
    datatype: &'static str,
    /// -1 where any length will do.
    shape: [i64; 2],
}

/// `GET /v2/models/{model}/config`
#[derive(Debug, Serialize)]
pub struct ModelConfig {
    name: &'static str,
    platform: &'static str,
    backend: &'static str,
    version_policy: VersionPolicy,
    /// No batches: a tensor's first dimension is its own.
    max_batch_size: u32,
    input: [InputConfig; 3],
    output: [OutputConfig; 1],
}

#[derive(Debug, Serialize)]
struct VersionPolicy {
    latest: LatestVersions,
}

#[derive(Debug, Serialize)]
struct LatestVersions {
    num_versions: u32,
}

#[derive(Debug, Serialize)]
struct InputConfig {
    name: &'static str,
    data_type: &'static str,
    format: &'static str,
    dims: [i64; 2],
    is_shape_tensor: bool,
    allow_ragged_batch: bool,
    optional: bool,
}

#[derive(Debug, Serialize)]
struct OutputConfig {
    name: &'static str,
    data_type: &'static str,
    dims: [i64; 2],
    label_filename: &'static str,
    is_shape_tensor: bool,
}

/// One row of `POST /v2/repository/index`.
#[derive(Debug, Serialize)]
pub struct IndexRow {
    name: &'static str,
    version: &'static str,
    state: &'static str,
    reason: &'static str,
}

/// `GET /v2/health/live`
#[derive(Debug, Serialize)]
pub struct Live {
    pub live: bool,
}

/// `GET /v2/health/ready`
#[derive(Debug, Serialize)]
pub struct Ready {
    pub ready: bool,
}

/// `GET /v2/models/{model}/ready`
#[derive(Debug, Serialize)]
pub struct ModelReady {
    pub name: &'static str,
    pub ready: bool,
}

pub fn server() -> ServerMetadata {
    ServerMetadata {
        name: "gemmule",
        version: env!("CARGO_PKG_VERSION"),
        extensions: [
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "parameters",
            "statistics",
        ],
    }
}

pub fn metadata(model: Model) -> ModelMetadata {
    let tensor = |name| TensorMetadata { name, datatype: model.datatype(), shape: [-1, -1] };
    ModelMetadata {
        name: model.name(),
        versions: [MODEL_VERSION],
        platform: PLATFORM,
        inputs: [tensor("A"), tensor("B"), tensor("C")],
        outputs: [tensor("C")],
    }
}

pub fn config(model: Model) -> ModelConfig {
    let data_type = match model {
        Model::MatmulFp64 => "TYPE_FP64",
        Model::MatmulFp32 => "TYPE_FP32",
    };
    let input = |name, optional| InputConfig {
        name,
        data_type,
        format: "FORMAT_NONE",
        dims: [-1, -1],
        is_shape_tensor: false,
        allow_ragged_batch: false,
        optional,
    };
    ModelConfig {
        name: model.name(),
        platform: PLATFORM,
        backend: PLATFORM,
        version_policy: VersionPolicy { latest: LatestVersions { num_versions: 1 } },
        max_batch_size: 0,
        input: [input("A", false), input("B", false), input("C", true)],
        output: [OutputConfig {
            name: "C",
            data_type,
            dims: [-1, -1],
            label_filename: "",
            is_shape_tensor: false,
        }],
    }
}

/// Every model that can be asked for; while the machine is shutting down, none can.
pub fn index(is_draining: bool) -> Vec<IndexRow> {
    let (state, reason) =
        if is_draining { ("UNAVAILABLE", "shutting down") } else { ("READY", "") };
    let row = |model: Model| IndexRow { name: model.name(), version: MODEL_VERSION, state, reason };
    Model::ALL.into_iter().map(row).collect()
}
