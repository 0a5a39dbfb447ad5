//! One step of a job over matrices that lie on a disk, in as much memory as it was promised.
//!
//! A product is cut by a [`Plan`](plan::Plan), which depends on its shape, the memory and the
//! kernel alone, and with it the order in which the terms of every element are summed: a step that
//! goes on after a power cut ends with the same bits as one that was never interrupted. Where the
//! host has threads that wait for disks ([`Background`]), what a product needs next is read while
//! it is computed, and what is done is written.
//!
//! # What a cut costs
//!
//! A block of the result lasts when it is committed, and is never computed again. Lost are the
//! block that is computed and, with a background, the one before it if it is still being written:
//! at most two blocks of the plan, and what had been read for them.

mod background;
mod blocks;
mod check;
mod errands;
mod iterate;
pub mod plan;
mod product;
mod strip;
mod tiles;

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

pub use background::Background;
pub use iterate::Steps;
pub use plan::Rules;
pub use tiles::Each;

use crate::expression::StepWork;
use crate::gemm::{Algorithm, Crew, Dtype, Element, Residual, Shape, workspace_bytes_max};
use crate::store::{Draft, Layout, MatrixId, StoreError, Stored};
use iterate::IterateRun;
use plan::{Problem, TooSmall};
use product::ProductRun;
use strip::Job;
use tiles::TilesRun;

/// Terms of a panel, and rows or columns of a piece: the edge of a tile.
const GRAIN: usize = 1024;
/// The same of products that are halved, and it is how much is halved at once: twice at most, since
/// that takes memory.
const GRAIN_HALVED: usize = 2048;

/// What a step may use.
#[derive(Clone, Debug)]
pub struct Resources {
    /// All that it may hold.
    pub memory_bytes: usize,
    /// That it may share products among.
    pub threads: usize,
    /// Where the host has one.
    pub background: Option<Arc<dyn Background>>,
    /// That it was begun by.
    pub rules: Rules,
}

/// Why a step can't be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepError {
    Store(StoreError),
    /// It was promised less memory than the least that it can be done in.
    TooSmall {
        needed_bytes: usize,
    },
    /// The memory that was promised is not there.
    Memory,
    /// A part of the result was wrong twice: the check says so of this row, or column where columns
    /// are checked, of a block that begins here.
    Wrong {
        row: usize,
        column: usize,
        line: usize,
    },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::TooSmall { needed_bytes } => write!(f, "{needed_bytes} bytes are needed"),
            Self::Memory => f.write_str("memory that was promised is not there"),
            Self::Wrong { row, column, line } => {
                write!(
                    f,
                    "line {line} of the block from row {row} and column {column} is wrong twice"
                )
            }
        }
    }
}

impl core::error::Error for StepError {}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TooSmall> for StepError {
    fn from(TooSmall { needed_bytes }: TooSmall) -> Self {
        Self::TooSmall { needed_bytes }
    }
}

impl From<TryReserveError> for StepError {
    fn from(_: TryReserveError) -> Self {
        Self::Memory
    }
}

/// `alpha A B + beta C`, of what lies on the disk or its transposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    pub alpha: f64,
    /// Zero where there is no C.
    pub beta: f64,
    pub transpose_a: bool,
    pub transpose_b: bool,
    /// Of the products of panels and pieces.
    pub algorithm: Algorithm,
}

impl Gemm {
    fn job(
        &self,
        operands: &[Arc<Stored>],
        output: Layout,
        resources: Resources,
    ) -> Result<Job, StepError> {
        let (a, b) = (operands[0].clone(), operands[1].clone());
        let problem = self.problem(a.layout(), b.layout(), resources.rules);
        let Shape { m, n, .. } = problem.shape;
        let c = (self.beta != 0.0).then(|| operands[2].clone());
        assert_eq!((output.rows, output.columns), (m, n), "shape of the result");
        assert!(c.as_ref().is_none_or(|c| c.layout() == output), "layout of C");
        Ok(Job {
            shape: problem.shape,
            plan: problem.plan(resources.memory_bytes)?,
            alpha: self.alpha,
            beta: self.beta,
            transposed: (self.transpose_a, self.transpose_b),
            algorithm: self.algorithm,
            a,
            b,
            c,
            threads: resources.threads,
            background: resources.background,
        })
    }

    /// What is to be planned, for A and B that lie like this.
    pub fn problem(&self, a: Layout, b: Layout, rules: Rules) -> Problem {
        let sides = |layout: Layout, is_transposed| match is_transposed {
            true => (layout.columns, layout.rows),
            false => (layout.rows, layout.columns),
        };
        let ((m, k), (_, n)) = (sides(a, self.transpose_a), sides(b, self.transpose_b));
        let c = Layout { dtype: a.dtype, rows: m, columns: n };
        let shape = Shape { m, n, k };
        let packing_bytes = match a.dtype {
            Dtype::F64 => workspace_bytes_max::<f64>(shape),
            Dtype::F32 => workspace_bytes_max::<f32>(shape),
        };
        let (grain, workspace_bytes) = match self.algorithm {
            Algorithm::Classical => (GRAIN, packing_bytes),
            Algorithm::StrassenWinograd => {
                // Sums of quarters of three matrices, and of their quarters.
                let [m, n, k] = [m, n, k].map(|side| side.min(GRAIN_HALVED));
                let sums = (m * k + k * n + m * n) / 2 * 3 * a.dtype.bytes();
                (GRAIN_HALVED, packing_bytes + sums)
            }
        };
        Problem {
            shape,
            element_bytes: a.dtype.bytes(),
            tile: (c.tile_rows(), c.tile_columns()),
            is_added: self.beta != 0.0,
            grain,
            workspace_bytes,
            is_checked: rules != Rules::First && is_checked(shape, self.alpha, a.dtype),
            rules,
        }
    }
}

/// Whether the blocks of a product have their residuals checked: where that costs little, and
/// something can be said.
fn is_checked(shape: Shape, alpha: f64, dtype: Dtype) -> bool {
    match dtype {
        Dtype::F64 => Residual::is_cheap::<f64>(shape) && Residual::is_possible(shape, alpha),
        Dtype::F32 => {
            Residual::is_cheap::<f32>(shape) && Residual::is_possible(shape, alpha as f32)
        }
    }
}

/// What a step does with its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Of A, B and, where beta is not zero, C.
    Gemm(Gemm),
    /// Of one matrix or two.
    Each(Each),
    /// Of A and the first state. The result has states side by side.
    Iterate(Steps),
}

impl From<&StepWork> for Work {
    fn from(work: &StepWork) -> Self {
        match *work {
            StepWork::Gemm { alpha, beta, transpose_a, transpose_b, algorithm } => {
                Self::Gemm(Gemm { alpha, beta, transpose_a, transpose_b, algorithm })
            }
            StepWork::Add { alpha, beta } => Self::Each(Each::Add { alpha, beta }),
            StepWork::Scale { alpha } => Self::Each(Each::Scale { alpha }),
            StepWork::Transpose => Self::Each(Each::Transpose),
            StepWork::Iterate { steps, snapshot_every } => {
                Self::Iterate(Steps { steps, snapshot_every })
            }
        }
    }
}

impl Work {
    /// The least memory that it can be done in, and the most that is of use.
    pub fn memory_bytes(
        &self,
        operands: &[Layout],
        output: Layout,
        rules: Rules,
    ) -> (usize, usize) {
        match *self {
            Self::Gemm(gemm) => {
                let problem = gemm.problem(operands[0], operands[1], rules);
                (problem.least_bytes(), problem.most_bytes())
            }
            Self::Each(_) => (Each::memory_bytes(output), Each::memory_bytes(output)),
            Self::Iterate(steps) => match output.dtype {
                Dtype::F64 => steps.memory_bytes::<f64>(operands[0], output),
                Dtype::F32 => steps.memory_bytes::<f32>(operands[0], output),
            },
        }
    }
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations, as they are billed, that were done before it began, and since.
    pub flops_before: u64,
    pub flops: u64,
    /// Those that were executed since: fewer, by an algorithm that takes fewer.
    pub executed_flops: u64,
    /// Bytes of matrices; those written may still be on their way.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Blocks that were wrong by their residuals, and were computed again; `None` where no
    /// residuals are found.
    pub blocks_again: Option<u64>,
}

/// Work that goes on in small steps.
trait Running: Send {
    /// One step; true once the result is there, lasts, and its address is known.
    fn step(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError>;

    fn counts(&self) -> Counts;

    /// The result's address, when all steps are done.
    fn id(&self) -> Option<MatrixId>;
}

/// A step on its way.
pub struct StepRun(Box<dyn Running>);

impl fmt::Debug for StepRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StepRun").field(&self.counts()).finish()
    }
}

impl StepRun {
    /// Goes on where `output` has come to.
    ///
    /// # Errors
    ///
    /// The memory is too small, or not there.
    ///
    /// # Panics
    ///
    /// Where layouts do not go together: the caller has checked the job.
    pub fn new(
        work: Work,
        operands: Vec<Arc<Stored>>,
        output: Arc<Draft>,
        resources: Resources,
    ) -> Result<Self, StepError> {
        match output.layout().dtype {
            Dtype::F64 => Self::of::<f64>(work, operands, output, resources),
            Dtype::F32 => Self::of::<f32>(work, operands, output, resources),
        }
    }

    fn of<T: Element>(
        work: Work,
        operands: Vec<Arc<Stored>>,
        output: Arc<Draft>,
        resources: Resources,
    ) -> Result<Self, StepError> {
        let layouts: Vec<_> = operands.iter().map(|operand| operand.layout()).collect();
        let (needed_bytes, _) = work.memory_bytes(&layouts, output.layout(), resources.rules);
        if resources.memory_bytes < needed_bytes {
            return Err(StepError::TooSmall { needed_bytes });
        }
        Ok(Self(match work {
            Work::Gemm(gemm) => {
                let job = gemm.job(&operands, output.layout(), resources)?;
                Box::new(ProductRun::<T>::new(job, output))
            }
            Work::Each(each) => Box::new(TilesRun::<T>::new(each, operands, output)),
            Work::Iterate(steps) => {
                let (a, x) = (operands[0].clone(), &operands[1]);
                Box::new(IterateRun::<T>::new(steps, (a, x), output, resources)?)
            }
        }))
    }

    /// Goes on until `pause`, which every thread asks after each slice, says so; true once the
    /// whole result lasts and its address is known.
    pub fn advance(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        loop {
            if self.0.step(crew, pause)? {
                return Ok(true);
            }
            if pause() {
                return Ok(false);
            }
        }
    }

    /// A small part of what [`StepRun::advance`] does: true as there. What is done can be told
    /// behind it.
    pub fn step(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        self.0.step(crew, pause)
    }

    /// Operations that are done, those of earlier runs included; in the end, as many as the step is
    /// billed.
    pub fn flops_done(&self) -> u64 {
        let Counts { flops_before, flops, .. } = self.counts();
        flops_before + flops
    }

    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// The address of the result, once [`StepRun::advance`] has said that it is there.
    pub fn id(&self) -> Option<MatrixId> {
        self.0.id()
    }
}

#[cfg(test)]
mod tests;
