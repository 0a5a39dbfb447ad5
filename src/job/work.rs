//! The work of a job whose matrices are there: digests of the operands, the product, the result's
//! digest, and the text or the bytes of the reply.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::api::Operation;
use crate::billing::{Usage, meter};
use crate::gemm::{Crew, Element, Extent, Kernel, Product, Shape, WrongRow, workspace_bytes};
use crate::http::Piece;
use crate::job::check::{Check, Checking, check_bytes};
use crate::job::digest::{Hashing, gathered_bytes};
use crate::job::findings::Findings;
use crate::job::fingerprint::Fingerprinting;
use crate::job::reply::{Progress, ReplyForm, Writer};
use crate::job::timing::Activity;
use crate::job::{Outcome, is_small, memory_problem};
use crate::ledger::hash::Hash;
use crate::limits::SMALL_JOB_FLOPS;
use crate::memory::{Promise, Shortage};
use crate::problem::Problem;

/// Operations that a thread is given at least, where several share a product.
const PART_FLOPS_MIN: u64 = SMALL_JOB_FLOPS / 2;

#[derive(Debug)]
pub(super) struct Work<T: 'static> {
    findings: Findings<T>,
    phase: Phase<T>,
}

/// What a job's work depends on besides the matrices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// That the product can be given.
    pub threads: usize,
    pub bytes_in: u64,
    pub checking: Checking,
}

#[derive(Debug)]
enum Phase<T: 'static> {
    Compute(Product<T>, Step, Hashing),
    Write(Writer<T>, Hash),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The operands are hashed, before the product takes the place of C.
    HashOperands,
    Multiply,
    /// The operands are kept, to compute it again should it be wrong.
    HashResult,
}

impl<T: Element> Work<T>
where
    Piece: From<Vec<T>>,
{
    /// Holds what the job may come to cost and promises the memory that it needs, now that its
    /// shapes are known, and sets it up. `hold` is told of the job with the most bytes that its
    /// result can have.
    ///
    /// # Errors
    ///
    /// What `hold` says, and a problem where there isn't that much memory.
    pub fn new(
        operation: Operation<T>,
        terms: Terms,
        reply: &ReplyForm,
        promise: &mut Promise,
        hold: impl FnOnce(&Usage) -> Result<(), Problem>,
    ) -> Result<Self, Problem> {
        let Terms { threads, bytes_in, checking } = terms;
        let Operation { a, b, shape, .. } = operation;
        let threads = threads_of(shape, threads);
        let adds_c = operation.c.is_some();
        let flops = meter::flops(shape, operation.alpha != T::from_f64(1.0), adds_c);
        let operand_elements = operation.elements.capacity();
        let is_asked = checking.is_asked;
        let needed_bytes = memory_bytes::<T>(operand_elements, (a, b), threads, is_asked, reply);
        let bytes_out_max = reply.result_bytes_max::<T>(shape);
        let (Some(flops), Some(needed_bytes), Some(bytes_out_max)) =
            (flops, needed_bytes, bytes_out_max)
        else {
            return Err(memory_problem(Shortage::Never { total_bytes: 0 }, usize::MAX));
        };
        let bytes_out = bytes_out_max as u64;
        let mut usage = Usage { dtype: T::DTYPE, shape, flops, bytes_in, bytes_out, cached: false };
        hold(&usage)?;
        usage.bytes_out = 0;
        promise.resize(needed_bytes).map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        let no_memory = |_| memory_problem(Shortage::Now, needed_bytes);
        let check = Check::of(&operation, checking, needed_bytes, promise).map_err(no_memory)?;
        let Operation { elements, c, alpha, beta, .. } = operation;
        let outputs = shape.m * shape.n;
        let mut result = c.unwrap_or_default();
        result.try_reserve_exact(outputs - result.len()).map_err(no_memory)?;
        result.resize(outputs, T::from_f64(0.0));
        let product = Product::new(elements, (a, b), (alpha, beta), result, threads);
        let product = product.map_err(no_memory)?;
        let phase = Phase::Compute(product, Step::HashOperands, Hashing::default());
        let findings = Findings {
            usage,
            adds_c,
            fingerprint: None,
            digests: [None; 3],
            check: check.map(Box::new),
            kernel: Kernel::of_this_machine(),
            #[cfg(test)]
            faults: checking.faults,
        };
        Ok(Self { findings, phase })
    }

    pub fn shape(&self) -> Shape {
        self.findings.usage.shape
    }

    /// What comes next. Nothing of a small job is worth a look at the clock but all of it.
    pub fn activity(&self) -> Activity {
        match self.phase {
            Phase::Compute(_, Step::HashOperands | Step::HashResult, _)
                if !is_small(self.shape()) =>
            {
                Activity::Proof
            }
            Phase::Compute(..) => Activity::Gemm,
            Phase::Write(..) | Phase::Over => Activity::Encode,
        }
    }

    /// One more stretch; how it ended, if it has. Of a small job, that is all up to writing.
    pub fn advance(
        &mut self,
        reply: &ReplyForm,
        fingerprinting: Fingerprinting,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Option<Outcome> {
        let ended = match self.phase {
            Phase::Compute(..) => self.compute(reply, fingerprinting, crew, pause),
            Phase::Write(..) | Phase::Over => self.write(reply, pause),
        };
        ended.err()
    }

    /// Hashes and multiplies until `pause` says so, or one step is done, or of a small job all.
    fn compute(
        &mut self,
        reply: &ReplyForm,
        fingerprinting: Fingerprinting,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Outcome> {
        let is_small = is_small(self.shape());
        while let Phase::Compute(product, step, hashing) = &mut self.phase {
            let findings = &mut self.findings;
            match step {
                Step::HashOperands => {
                    if !findings.hash_operands(product, hashing, pause)? {
                        break;
                    }
                    findings.find_fingerprint(product, reply, fingerprinting)?;
                    (*step, *hashing) = (Step::Multiply, Hashing::default());
                }
                Step::Multiply => {
                    if !product.advance(crew, pause) {
                        break;
                    }
                    #[cfg(test)]
                    findings.spoil(product);
                    *step = Step::HashResult;
                }
                Step::HashResult => {
                    let found = findings.hash_result(product, hashing, pause);
                    let Some((digest, verdict)) = found else { break };
                    self.end_computing(digest, verdict, reply)?;
                }
            }
            if !is_small {
                break;
            }
        }
        Ok(())
    }

    /// Goes on to write the result, or computes it once more where a row is wrong.
    fn end_computing(
        &mut self,
        digest: Hash,
        verdict: Result<(), WrongRow>,
        reply: &ReplyForm,
    ) -> Result<(), Outcome> {
        let Phase::Compute(product, ..) = mem::replace(&mut self.phase, Phase::Over) else {
            unreachable!("what ends is being computed");
        };
        self.phase = match verdict {
            Ok(()) => {
                let shape = product.shape();
                let writer = Writer::new(product.into_result(), shape, reply);
                Phase::Write(writer.map_err(Outcome::Failed)?, digest)
            }
            Err(row) => {
                let product = self.findings.compute_again(product, row)?;
                Phase::Compute(product, Step::Multiply, Hashing::default())
            }
        };
        Ok(())
    }

    fn write(&mut self, reply: &ReplyForm, pause: &dyn Fn() -> bool) -> Result<(), Outcome> {
        let Phase::Write(writer, digest) = mem::replace(&mut self.phase, Phase::Over) else {
            unreachable!("work that has ended is let go");
        };
        match writer.advance(&mut || pause()).map_err(Outcome::Failed)? {
            Progress::Paused(writer) => {
                self.phase = Phase::Write(writer, digest);
                Ok(())
            }
            Progress::Whole(written) => {
                Err(Outcome::Done(Box::new(self.findings.done(written, digest, reply))))
            }
        }
    }
}

/// Bytes that a product takes besides its matrices: for packing them, for hashing one, and for a
/// check.
pub(crate) fn besides_bytes<T: Element>(
    a: Extent,
    b: Extent,
    threads: usize,
    is_check_asked: bool,
) -> usize {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let gathered = gathered_bytes::<T>(a).max(gathered_bytes::<T>(b));
    let check = check_bytes::<T>(Shape { m, n, k }, is_check_asked);
    (workspace_bytes::<T>(a, b, threads) + gathered).saturating_add(check)
}

/// Threads, of so many, that share a product: what is small is over before another would wake.
pub(crate) fn threads_of(shape: Shape, threads: usize) -> usize {
    let parts_max = usize::try_from(shape.flops() / PART_FLOPS_MIN).unwrap_or(usize::MAX);
    threads.min(parts_max).max(1)
}

/// The most memory that a job holds at once: its operands and what the product takes besides with
/// its result, or its result with what is written of it. `None` where that can't be counted, and so
/// can't be had.
pub(crate) fn memory_bytes<T: Element>(
    operand_elements: usize,
    (a, b): (Extent, Extent),
    threads: usize,
    is_check_asked: bool,
    reply: &ReplyForm,
) -> Option<usize> {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let element_bytes = mem::size_of::<T>();
    let besides = besides_bytes::<T>(a, b, threads, is_check_asked);
    let operands = operand_elements.checked_mul(element_bytes)?.checked_add(besides)?;
    let result = m.checked_mul(n)?.checked_mul(element_bytes)?;
    result.checked_add(operands.max(reply.bytes_max(Shape { m, n, k })?))
}

#[cfg(test)]
mod tests;
