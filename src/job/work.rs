//! The work of a job whose matrices are there: digests of the operands, the product, the result's
//! digest, and the text or the bytes of the reply.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::api::Operation;
use crate::billing::{Usage, meter};
use crate::gemm::{Crew, Element, Extent, Product, Shape, workspace_bytes};
use crate::http::Piece;
use crate::job::digest::{Hashing, gathered_bytes};
use crate::job::fingerprint::{Asked, Fingerprinting};
use crate::job::reply::{Progress, ReplyForm, Writer};
use crate::job::timing::Activity;
use crate::job::{Done, Outcome, is_small, memory_problem};
use crate::ledger::Digests;
use crate::ledger::hash::Hash;
use crate::limits::SMALL_JOB_FLOPS;
use crate::memory::{Promise, Shortage};
use crate::problem::{Problem, ProblemKind};

/// Operations that a thread is given at least, where several share a product.
const PART_FLOPS_MIN: u64 = SMALL_JOB_FLOPS / 2;

#[derive(Debug)]
pub(super) struct Work<T: 'static> {
    usage: Usage,
    adds_c: bool,
    fingerprint: Option<Hash>,
    /// Of A, B, and C where it is added, as they are found.
    digests: [Option<Hash>; 3],
    phase: Phase<T>,
}

#[derive(Debug)]
enum Phase<T: 'static> {
    /// The operands are hashed, before the product takes the place of C.
    HashOperands(Product<T>, Hashing),
    Multiply(Product<T>),
    HashResult(Vec<T>, Hashing),
    Write(Writer<T>, Hash),
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
        threads: usize,
        bytes_in: u64,
        reply: &ReplyForm,
        promise: &mut Promise,
        hold: impl FnOnce(&Usage) -> Result<(), Problem>,
    ) -> Result<Self, Problem> {
        let Operation { elements, a, b, c, alpha, beta, shape } = operation;
        let threads = threads_of(shape, threads);
        let adds_c = c.is_some();
        let flops = meter::flops(shape, alpha != T::from_f64(1.0), adds_c);
        let needed_bytes = memory_bytes::<T>(elements.capacity(), (a, b), threads, reply);
        let bytes_out_max = reply.result_bytes_max::<T>(shape);
        let (Some(flops), Some(needed_bytes), Some(bytes_out_max)) =
            (flops, needed_bytes, bytes_out_max)
        else {
            return Err(memory_problem(Shortage::Never { total_bytes: 0 }, usize::MAX));
        };
        let mut usage =
            Usage { dtype: T::DTYPE, shape, flops, bytes_in, bytes_out: bytes_out_max as u64 };
        hold(&usage)?;
        usage.bytes_out = 0;
        promise.resize(needed_bytes).map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        let outputs = shape.m * shape.n;
        let mut result = c.unwrap_or_default();
        result
            .try_reserve_exact(outputs - result.len())
            .map_err(|_| memory_problem(Shortage::Now, needed_bytes))?;
        result.resize(outputs, T::from_f64(0.0));
        let product = Product::new(elements, (a, b), (alpha, beta), result, threads)
            .map_err(|_| memory_problem(Shortage::Now, needed_bytes))?;
        let phase = Phase::HashOperands(product, Hashing::default());
        Ok(Self { usage, adds_c, fingerprint: None, digests: [None; 3], phase })
    }

    pub fn shape(&self) -> Shape {
        self.usage.shape
    }

    /// What comes next. Nothing of a small job is worth a look at the clock but all of it.
    pub fn activity(&self) -> Activity {
        match self.phase {
            Phase::HashOperands(..) | Phase::HashResult(..) if !is_small(self.shape()) => {
                Activity::Proof
            }
            Phase::HashOperands(..) | Phase::Multiply(_) | Phase::HashResult(..) => Activity::Gemm,
            Phase::Write(..) => Activity::Encode,
        }
    }

    /// One more stretch: what is left, or how it ended. Of a small job, that is all up to writing.
    pub fn advance(
        mut self,
        reply: &ReplyForm,
        fingerprinting: Fingerprinting,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, Outcome> {
        loop {
            let phase = mem::discriminant(&self.phase);
            self = self.step(reply, fingerprinting, crew, pause)?;
            let is_next_written = matches!(self.phase, Phase::Write(..));
            let is_paused = mem::discriminant(&self.phase) == phase;
            if is_paused || is_next_written || !is_small(self.shape()) {
                return Ok(self);
            }
        }
    }

    fn step(
        mut self,
        reply: &ReplyForm,
        fingerprinting: Fingerprinting,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self, Outcome> {
        self.phase = match self.phase {
            Phase::HashOperands(product, mut hashing) => {
                let digests = &mut self.digests;
                if hash_operands(&product, self.adds_c, &mut hashing, digests, pause)? {
                    self.fingerprint = fingerprint(&product, *digests, reply, fingerprinting)?;
                    Phase::Multiply(product)
                } else {
                    Phase::HashOperands(product, hashing)
                }
            }
            Phase::Multiply(mut product) => {
                if product.advance(crew, pause) {
                    Phase::HashResult(product.into_result(), Hashing::default())
                } else {
                    Phase::Multiply(product)
                }
            }
            Phase::HashResult(c, mut hashing) => match hashing.advance(&c, pause) {
                None => Phase::HashResult(c, hashing),
                Some(digest) => {
                    let writer = Writer::new(c, self.usage.shape, reply);
                    Phase::Write(writer.map_err(Outcome::Failed)?, digest)
                }
            },
            Phase::Write(writer, result) => match writer.advance(&mut || pause()) {
                Ok(Progress::Paused(writer)) => Phase::Write(writer, result),
                Ok(Progress::Whole(written)) => {
                    let mut usage = self.usage;
                    usage.bytes_out = written.result_bytes();
                    let [a, b, c] = self.digests;
                    let (a, b) = a.zip(b).expect("operands are hashed before they are multiplied");
                    let (digests, reply) = (Digests { a, b, c, result }, reply.clone());
                    let fingerprint = self.fingerprint;
                    let done = Done { usage, digests, fingerprint, written, reply };
                    return Err(Outcome::Done(Box::new(done)));
                }
                Err(problem) => return Err(Outcome::Failed(problem)),
            },
        };
        Ok(self)
    }
}

/// Hashes operands until `pause` says so; whether all are.
fn hash_operands<T: Element>(
    product: &Product<T>,
    adds_c: bool,
    hashing: &mut Hashing,
    digests: &mut [Option<Hash>; 3],
    pause: &dyn Fn() -> bool,
) -> Result<bool, Outcome> {
    let (buffer, extents) = product.operands();
    let [of_operands @ .., of_c] = digests;
    for (digest, extent) in of_operands.iter_mut().zip(extents) {
        if digest.is_none() {
            *digest = hashing.advance_operand(buffer, extent, pause).map_err(|_| {
                Outcome::Failed(memory_problem(Shortage::Now, gathered_bytes::<T>(extent)))
            })?;
            if digest.is_none() {
                return Ok(false);
            }
            *hashing = Hashing::default();
        }
    }
    if adds_c && of_c.is_none() {
        *of_c = hashing.advance(product.c(), pause);
    }
    Ok(!adds_c || of_c.is_some())
}

/// The request's fingerprint, where it is wanted.
fn fingerprint<T: Element>(
    product: &Product<T>,
    operands: [Option<Hash>; 3],
    reply: &ReplyForm,
    fingerprinting: Fingerprinting,
) -> Result<Option<Hash>, Outcome> {
    if fingerprinting == Fingerprinting::Off {
        return Ok(None);
    }
    let (shape, factors) = (product.shape(), product.factors());
    let found = Asked { shape, factors, operands, reply }.fingerprint();
    match fingerprinting {
        Fingerprinting::Expect(expected) if expected != found => {
            let detail = "the key came before, with another request";
            let problem = Problem::new(ProblemKind::IdempotencyKeyReused, detail);
            Err(Outcome::Failed(problem.at("Idempotency-Key")))
        }
        _ => Ok(Some(found)),
    }
}

/// Bytes that a product takes besides its matrices: for packing them, and for hashing one.
pub(crate) fn besides_bytes<T: Element>(a: Extent, b: Extent, threads: usize) -> usize {
    let gathered = gathered_bytes::<T>(a).max(gathered_bytes::<T>(b));
    workspace_bytes::<T>(a, b, threads) + gathered
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
    reply: &ReplyForm,
) -> Option<usize> {
    let ((m, k), (_, n)) = (a.shape(), b.shape());
    let element_bytes = mem::size_of::<T>();
    let besides = besides_bytes::<T>(a, b, threads);
    let operands = operand_elements.checked_mul(element_bytes)?.checked_add(besides)?;
    let result = m.checked_mul(n)?.checked_mul(element_bytes)?;
    result.checked_add(operands.max(reply.bytes_max(Shape { m, n, k })?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Format;
    use crate::gemm::Alone;
    use crate::memory::MemoryBudget;
    use alloc::vec;

    fn operation(c: Option<Vec<f64>>) -> Operation<f64> {
        let extent = |start, rows, columns, transposed| Extent { start, rows, columns, transposed };
        Operation {
            elements: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            // 2 x 1 and 1 x 4.
            a: extent(0, 2, 1, false),
            b: extent(2, 4, 1, true),
            beta: if c.is_some() { 1.0 } else { 0.0 },
            c,
            alpha: 2.0,
            shape: Shape { m: 2, n: 4, k: 1 },
        }
    }

    fn run(c: Option<Vec<f64>>, format: Format, fingerprinting: Fingerprinting) -> Outcome {
        let reply = ReplyForm { format, coding: None, inference: None };
        let mut promise = MemoryBudget::new(1 << 20).promise(0).expect("memory");
        let mut work =
            Work::new(operation(c), 1, 0, &reply, &mut promise, |_| Ok(())).expect("memory");
        loop {
            match work.advance(&reply, fingerprinting, &Alone, &|| true) {
                Ok(more) => work = more,
                Err(outcome) => return outcome,
            }
        }
    }

    fn done(c: Option<Vec<f64>>, format: Format, fingerprinting: Fingerprinting) -> Done {
        match run(c, format, fingerprinting) {
            Outcome::Done(done) => *done,
            other => panic!("{other:?}"),
        }
    }

    fn digest(elements: &[f64]) -> Hash {
        let bytes: Vec<u8> = elements.iter().flat_map(|it| it.to_le_bytes()).collect();
        Hash(blake3::hash(&bytes).into())
    }

    #[test]
    fn what_is_done_has_the_digests_of_its_matrices_as_they_came_and_as_they_went() {
        let c = vec![-1.0; 8];
        let result = [5.0, 7.0, 9.0, 11.0, 11.0, 15.0, 19.0, 23.0];
        let expected = Digests {
            a: digest(&[1.0, 2.0]),
            b: digest(&[3.0, 4.0, 5.0, 6.0]),
            c: Some(digest(&c)),
            result: digest(&result),
        };
        let found = done(Some(c), Format::Raw, Fingerprinting::Off);
        assert_eq!((found.digests, found.fingerprint), (expected, None));
        let without = done(None, Format::Raw, Fingerprinting::Off);
        let result = digest(&result.map(|element| element + 1.0));
        assert_eq!(without.digests, Digests { c: None, result, ..expected });
    }

    #[test]
    fn a_request_of_another_fingerprint_is_not_multiplied() {
        let first = done(None, Format::Raw, Fingerprinting::Find).fingerprint;
        let expected = Fingerprinting::Expect(first.expect("it was to be found"));
        assert_eq!(done(None, Format::Raw, expected).fingerprint, first);
        for (c, format) in [(None, Format::Json), (Some(vec![0.0; 8]), Format::Raw)] {
            let Outcome::Failed(problem) = run(c, format, expected) else {
                panic!("another request must fail");
            };
            assert_eq!(problem.kind, ProblemKind::IdempotencyKeyReused);
        }
    }
}
