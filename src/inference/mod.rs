//! The Open Inference Protocol, version 2, as Triton speaks it over HTTP: products by clients that
//! were made for models.
//!
//! A model is a multiplication in one element type: `matmul_fp64` and `matmul_fp32`, each with
//! version 1. The modules stand in the order in which a client meets them: what the service is,
//! what a request says, where its tensors go, how it is replied to, and what has been done.

pub mod describe;

mod outline;
mod walk;

pub mod load;

pub mod reader;

pub mod reply;

pub mod stats;

use alloc::format;

pub use reader::Reader;
pub use reply::Reply;

use crate::gemm::Dtype;
use crate::problem::{Problem, ProblemKind};

/// The only version of every model.
pub const MODEL_VERSION: &str = "1";

/// A multiplication in one element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    MatmulFp64,
    MatmulFp32,
}

/// What a request under `/v2` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /v2`
    Server,
    /// `GET /v2/health/live`
    Live,
    /// `GET /v2/health/ready`
    Ready,
    /// `POST /v2/repository/index`
    Index,
    /// `GET /v2/models/stats`
    AllStats,
    /// `GET /v2/models/{model}`
    Model(Model),
    /// `GET /v2/models/{model}/ready`
    ModelReady(Model),
    /// `GET /v2/models/{model}/config`
    ModelConfig(Model),
    /// `GET /v2/models/{model}/stats`
    ModelStats(Model),
    /// `POST /v2/models/{model}/infer`
    Infer(Model),
    /// The regions of shared memory, of which there are none.
    SharedMemory,
}

impl Model {
    pub const ALL: [Self; 2] = [Self::MatmulFp64, Self::MatmulFp32];

    /// Finds a model by its name and version; an empty version stands for any.
    ///
    /// # Errors
    ///
    /// A problem where there is no such model, or no such version of it.
    pub fn find(name: &str, version: &str) -> Result<Self, Problem> {
        let model = Self::ALL.into_iter().find(|model| model.name() == name);
        let Some(model) = model else {
            let detail = format!("there is no model {name:?}; matmul_fp64 and matmul_fp32 are");
            return Err(Problem::new(ProblemKind::UnknownModel, detail));
        };
        if !version.is_empty() && version != MODEL_VERSION {
            let detail = format!("model {name} has no version {version:?}; its only one is 1");
            return Err(Problem::new(ProblemKind::UnknownModel, detail));
        }
        Ok(model)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::MatmulFp64 => "matmul_fp64",
            Self::MatmulFp32 => "matmul_fp32",
        }
    }

    /// The element type of all its tensors.
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::MatmulFp64 => Dtype::F64,
            Self::MatmulFp32 => Dtype::F32,
        }
    }

    /// The protocol's name of the element type.
    pub const fn datatype(self) -> &'static str {
        match self {
            Self::MatmulFp64 => "FP64",
            Self::MatmulFp32 => "FP32",
        }
    }
}

/// Whether a path is one of the protocol's, so that its clients are told of errors in their way.
pub fn is_path(path: &str) -> bool {
    path.strip_prefix("/v2").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
