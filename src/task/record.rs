//! What a row of the volume says of a job that goes on by itself.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::expression::Program;
use crate::large::Rules;
use crate::ledger::AccountId;
use crate::ledger::entry::Idempotency;
use crate::problem::Problem;
use crate::store::{MatrixId, MatrixNumber};

/// A job, as it was asked for and as far as it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub account: AccountId,
    pub state: State,
    pub program: Program,
    /// In the program's order.
    pub inputs: Vec<InputRecord>,
    /// The addresses of the inputs that are known; those that came with the request get theirs when
    /// it runs.
    pub input_ids: Vec<Option<MatrixId>>,
    /// Those that were begun, in the program's order.
    pub steps: Vec<StepRecord>,
    /// By the program's results; empty until all are there.
    #[serde(default)]
    pub results: Vec<ResultRecord>,
    /// The names that the results are to be given, in the program's order.
    #[serde(default)]
    pub references: Vec<Option<String>>,
    /// What it holds in memory while it runs. Which parts of a product are computed at once depends
    /// on it, and so do the last bits.
    pub memory_bytes: usize,
    /// And on these.
    #[serde(default)]
    pub rules: Rules,
    pub priority: u8,
    /// How long its results are kept.
    pub keep_seconds: u64,
    /// In force when it was admitted.
    pub tariff: Cow<'static, str>,
    pub tariff_version: u32,
    /// Bytes of the request.
    pub bytes_in: u64,
    pub submitted_unix_ns: u64,
    #[serde(default)]
    pub started_unix_ns: Option<u64>,
    #[serde(default)]
    pub ended_unix_ns: Option<u64>,
    /// It is given up when it has not ended then.
    #[serde(default)]
    pub deadline_unix_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// For its turn, or for memory.
    Waiting,
    Running,
    /// Done, and billed.
    Finished,
    /// It could not be done, and costs nothing.
    Failed,
    /// It was given up, and costs nothing.
    Cancelled,
}

impl State {
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where an operand is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputRecord {
    Stored(MatrixNumber),
    /// Its bytes, in Base64, row by row and in little-endian order.
    Inline(String),
}

/// A step that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    pub output: MatrixNumber,
    /// The address of its result, once it is done.
    #[serde(default)]
    pub id: Option<MatrixId>,
    /// It was there already, from an earlier job.
    #[serde(default)]
    pub is_cached: bool,
    /// Operations that were done, by this algorithm, where there was no interruption.
    #[serde(default)]
    pub executed_flops: u64,
    /// What has computed it.
    #[serde(default)]
    pub kernel: Cow<'static, str>,
    /// For how long.
    #[serde(default)]
    pub elapsed_us: u64,
    /// Bytes of matrices that were read and written for it.
    #[serde(default)]
    pub bytes_read: u64,
    #[serde(default)]
    pub bytes_written: u64,
    /// Blocks that its check called wrong and that were computed again, where it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_again: Option<u64>,
}

impl StepRecord {
    /// One that begins.
    pub fn begun(output: MatrixNumber) -> Self {
        Self {
            output,
            id: None,
            is_cached: false,
            executed_flops: 0,
            kernel: Cow::Borrowed(""),
            elapsed_us: 0,
            bytes_read: 0,
            bytes_written: 0,
            blocks_again: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRecord {
    pub name: String,
    pub matrix: MatrixId,
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name of the kind of problem.
    pub kind: Cow<'static, str>,
    pub detail: String,
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Self {
        Self { kind: Cow::Borrowed(problem.kind.name()), detail: problem.detail.clone() }
    }
}

impl Record {
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has no maps")
    }

    /// `None` where it is not one, or of a later version that knows other steps.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether a step's result was computed.
    pub fn is_step_done(&self, step: usize) -> bool {
        self.steps.get(step).is_some_and(|step| step.id.is_some())
    }

    /// The operands that are not part of this row.
    pub fn stored_inputs(&self) -> impl Iterator<Item = MatrixNumber> {
        self.inputs.iter().filter_map(|input| match input {
            InputRecord::Stored(number) => Some(*number),
            InputRecord::Inline(_) => None,
        })
    }

    /// Operations of the steps that are done, as they are billed.
    pub fn flops_of_done_steps(&self) -> u64 {
        let steps = self.program.steps.iter().enumerate();
        let done = steps.filter(|(index, _)| self.is_step_done(*index));
        done.fold(0, |flops, (_, step)| flops.saturating_add(step.flops))
    }
}
