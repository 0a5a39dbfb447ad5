//! The steps that a job takes, in their order. This is what a job is kept as while it waits and
//! runs.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::gemm::{Algorithm, Shape};
use crate::store::Layout;

/// What a job computes: every step's operands are inputs or results of earlier steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Program {
    /// The operands that steps or results use.
    pub inputs: Vec<Input>,
    pub steps: Vec<Step>,
    pub results: Vec<NamedResult>,
    /// Operations that the order chosen for chains of products saves, against the products done
    /// from left to right.
    pub saved_flops: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// As the request calls it.
    pub name: String,
    pub layout: Layout,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedResult {
    pub name: String,
    pub source: Source,
}

/// Where a matrix comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Input(usize),
    Step(usize),
}

/// One line of the bill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its number, from 1, and what it computes, as `2: #1*B' + C`: `#1` is the result of the first
    /// step, and `'` is a transpose.
    pub id: String,
    pub work: StepWork,
    pub operands: Vec<Source>,
    /// Of its result.
    pub layout: Layout,
    /// Floating-point operations as they are billed; see [`StepWork`].
    pub flops: u64,
}

/// What a step does with its operands. The operations that it counts depend on shapes and factors
/// alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepWork {
    /// `alpha A B + beta C` of two operands, or three where C is one: counted as by
    /// [`crate::billing::meter::flops`]. Without C, beta is 0; with it, it is not.
    Gemm { alpha: f64, beta: f64, transpose_a: bool, transpose_b: bool, algorithm: Algorithm },
    /// `alpha X + beta Y`: an operation for each element, and one more for each factor that is not
    /// 1.
    Add { alpha: f64, beta: f64 },
    /// An operation for each element.
    Scale { alpha: f64 },
    /// No operations.
    Transpose,
    /// `x <- A x` so many times, for operands A and x: `2 n^2` operations a step for each column of
    /// x. The result has the columns of x after every `snapshot_every` steps and after the last,
    /// side by side.
    Iterate { steps: u64, snapshot_every: u64 },
}

impl Program {
    pub fn layout_of(&self, source: Source) -> Layout {
        match source {
            Source::Input(index) => self.inputs[index].layout,
            Source::Step(index) => self.steps[index].layout,
        }
    }

    /// Operations of all steps, as they are billed.
    pub fn flops(&self) -> u64 {
        self.steps.iter().fold(0, |flops, step| flops.saturating_add(step.flops))
    }

    /// The shape that a step is billed with: its result is m x n, and k is the length of the sums
    /// that its elements are, or 0 where they are none.
    pub fn shape_of(&self, step: usize) -> Shape {
        let Step { work, operands, layout, .. } = &self.steps[step];
        let (m, n) = (layout.rows, layout.columns);
        let k = match work {
            StepWork::Gemm { transpose_a, .. } => {
                let a = self.layout_of(operands[0]);
                if *transpose_a { a.rows } else { a.columns }
            }
            StepWork::Iterate { .. } => m,
            StepWork::Add { .. } | StepWork::Scale { .. } | StepWork::Transpose => 0,
        };
        Shape { m, n, k }
    }

    pub fn is_result(&self, source: Source) -> bool {
        self.results.iter().any(|result| result.source == source)
    }

    /// What this step is the last to read, and what is not a result: the job needs it no more.
    pub fn released_after(&self, step: usize) -> Vec<Source> {
        let mut released = self.steps[step].operands.clone();
        released.sort_unstable();
        released.dedup();
        let later = &self.steps[step + 1..];
        released.retain(|source| {
            !self.is_result(*source) && !later.iter().any(|step| step.operands.contains(source))
        });
        released
    }

    /// The most bytes that results of steps take at once, those that are results of the job left
    /// out, where each is let go behind the step that reads it last.
    pub fn peak_intermediate_bytes(&self) -> u64 {
        let (mut bytes, mut peak) = (0_u64, 0);
        for index in 0..self.steps.len() {
            let own = Source::Step(index);
            if !self.is_result(own) {
                bytes += self.steps[index].layout.bytes();
            }
            peak = peak.max(bytes);
            let released = self.released_after(index).into_iter();
            let freed = released.filter(|source| matches!(source, Source::Step(_)));
            bytes -= freed.map(|source| self.layout_of(source).bytes()).sum::<u64>();
        }
        peak
    }

    /// Bytes of the job's results that steps compute, each once.
    pub fn result_bytes(&self) -> u64 {
        let steps = self.steps.iter().enumerate();
        let results = steps.filter(|(index, _)| self.is_result(Source::Step(*index)));
        results.fold(0, |bytes, (_, step)| bytes.saturating_add(step.layout.bytes()))
    }
}

/// A program as it was written down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    inputs: Vec<Input>,
    steps: Vec<Step>,
    results: Vec<NamedResult>,
    saved_flops: u64,
}

impl TryFrom<Unchecked> for Program {
    type Error = &'static str;

    fn try_from(unchecked: Unchecked) -> Result<Self, &'static str> {
        let Unchecked { inputs, steps, results, saved_flops } = unchecked;
        let is_known = |source: Source, steps_done| match source {
            Source::Input(index) => index < inputs.len(),
            Source::Step(index) => index < steps_done,
        };
        for (index, step) in steps.iter().enumerate() {
            let operands = step.operands.len();
            let is_right = match step.work {
                StepWork::Gemm { beta, .. } => operands == if beta == 0.0 { 2 } else { 3 },
                StepWork::Add { .. } | StepWork::Iterate { .. } => operands == 2,
                StepWork::Scale { .. } | StepWork::Transpose => operands == 1,
            };
            if !is_right {
                return Err("a step has another number of operands");
            }
            if !step.operands.iter().all(|operand| is_known(*operand, index)) {
                return Err("an operand of a step is not computed before it");
            }
        }
        if !results.iter().all(|result| is_known(result.source, steps.len())) {
            return Err("a result of the program is not computed");
        }
        Ok(Self { inputs, steps, results, saved_flops })
    }
}
