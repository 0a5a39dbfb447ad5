//! What a job's work finds beside the product: digests, the fingerprint, and what a check says.

use alloc::boxed::Box;
use alloc::format;

use crate::billing::Usage;
use crate::gemm::{Element, Kernel, Product, WrongRow};
use crate::job::check::{Check, Checked};
use crate::job::digest::{Hashing, gathered_bytes};
use crate::job::fingerprint::{Asked, Fingerprinting};
use crate::job::reply::{ReplyForm, Written};
use crate::job::{Done, Outcome, memory_problem};
use crate::ledger::Digests;
use crate::ledger::hash::Hash;
use crate::memory::Shortage;
use crate::problem::{Problem, ProblemKind};

/// What is known of the work, whatever its phase.
#[derive(Debug)]
pub(super) struct Findings<T> {
    pub usage: Usage,
    pub adds_c: bool,
    pub fingerprint: Option<Hash>,
    /// Of A, B, and C where it is added, as they are found.
    pub digests: [Option<Hash>; 3],
    pub check: Option<Box<Check<T>>>,
    pub kernel: Kernel,
    #[cfg(test)]
    pub faults: usize,
}

impl<T: Element> Findings<T> {
    /// Hashes operands until `pause` says so, and shows them to the check; whether all are hashed.
    pub fn hash_operands(
        &mut self,
        product: &Product<T>,
        hashing: &mut Hashing,
        pause: &dyn Fn() -> bool,
    ) -> Result<bool, Outcome> {
        let Self { digests, check, .. } = self;
        let (buffer, [a, b]) = product.operands();
        // The check needs B first.
        for (index, extent) in [(1, b), (0, a)] {
            if digests[index].is_some() {
                continue;
            }
            let mut see = |first: usize, elements: &[T]| match check {
                Some(check) if index == 1 => check.residual.see_b(first, elements),
                Some(check) => check.residual.see_a(first, elements),
                None => {}
            };
            digests[index] =
                hashing.advance_operand(buffer, extent, &mut see, pause).map_err(|_| {
                    Outcome::Failed(memory_problem(Shortage::Now, gathered_bytes::<T>(extent)))
                })?;
            if digests[index].is_none() {
                return Ok(false);
            }
            *hashing = Hashing::default();
        }
        if self.adds_c {
            let mut see = |first: usize, elements: &[T]| {
                if let Some(check) = check {
                    check.see_addend(first, elements);
                }
            };
            digests[2] = hashing.advance(product.c(), &mut see, pause);
        }
        Ok(!self.adds_c || digests[2].is_some())
    }

    /// Finds the request's fingerprint, where it is wanted.
    pub fn find_fingerprint(
        &mut self,
        product: &Product<T>,
        reply: &ReplyForm,
        fingerprinting: Fingerprinting,
    ) -> Result<(), Outcome> {
        if fingerprinting == Fingerprinting::Off {
            return Ok(());
        }
        let (shape, factors) = (product.shape(), product.factors());
        let found = Asked { shape, factors, operands: self.digests, reply }.fingerprint();
        self.fingerprint = Some(found);
        match fingerprinting {
            Fingerprinting::Expect(expected) if expected != found => {
                let detail = "the key came before, with another request";
                let problem = Problem::new(ProblemKind::IdempotencyKeyReused, detail);
                Err(Outcome::Failed(problem.at("Idempotency-Key")))
            }
            _ => Ok(()),
        }
    }

    /// Hashes the result until `pause` says so, and shows it to the check; its digest and the
    /// verdict, once all of it is hashed.
    pub fn hash_result(
        &mut self,
        product: &Product<T>,
        hashing: &mut Hashing,
        pause: &dyn Fn() -> bool,
    ) -> Option<(Hash, Result<(), WrongRow>)> {
        let check = &mut self.check;
        let mut see = |first: usize, elements: &[T]| {
            if let Some(check) = check {
                check.residual.see_result(first, elements);
            }
        };
        let digest = hashing.advance(product.c(), &mut see, pause)?;
        let verdict = self.check.as_ref().map_or(Ok(()), |check| check.residual.judge::<T>());
        Some((digest, verdict))
    }

    /// The same product, to be computed once more, by a kernel that has no code in common with the
    /// one that was wrong.
    pub fn compute_again(
        &mut self,
        product: Product<T>,
        row: WrongRow,
    ) -> Result<Product<T>, Outcome> {
        let WrongRow(number) = row;
        let fault = |detail| Outcome::Failed(Problem::new(ProblemKind::ArithmeticFault, detail));
        let (operands, [a, b], factors, mut c) = product.into_parts();
        let check = self.check.as_deref_mut().expect("a check has called the row wrong");
        if check.wrong_row.is_some() {
            let (first, again) = (Kernel::of_this_machine().name(), self.kernel.name());
            return Err(fault(format!("row {number} is wrong, by {first} and by {again}")));
        }
        if self.adds_c && check.addend.len() != c.len() {
            let detail = "there is no memory to compute it again";
            return Err(fault(format!("row {number} is wrong, and {detail}")));
        }
        if self.adds_c {
            c.copy_from_slice(&check.addend);
        }
        check.wrong_row = Some(row);
        check.residual.forget_result();
        self.kernel = self.kernel.to_compute_again();
        Product::by_kernel(self.kernel, operands, (a, b), factors, c, 1)
            .map_err(|_| fault(format!("row {number} is wrong, and there is no memory")))
    }

    /// Adds to an element of the result what no rounding does, as long as there are faults to come.
    #[cfg(test)]
    pub fn spoil(&mut self, product: &mut Product<T>) {
        if let Some(left) = self.faults.checked_sub(1) {
            self.faults = left;
            let element = product.c_mut().last_mut().expect("an element");
            *element = *element + T::from_f64(1.0);
        }
    }

    pub fn done(&self, written: Written, result: Hash, reply: &ReplyForm) -> Done {
        let mut usage = self.usage;
        usage.bytes_out = written.result_bytes();
        let [a, b, c] = self.digests;
        let (a, b) = a.zip(b).expect("operands are hashed before they are multiplied");
        Done {
            usage,
            digests: Digests { a, b, c, result },
            fingerprint: self.fingerprint,
            kernel: self.kernel,
            checked: match self.check.as_ref().map(|check| check.wrong_row) {
                None => Checked::Not,
                Some(None) => Checked::Passed,
                Some(Some(WrongRow(row))) => Checked::Recomputed { row },
            },
            written,
            reply: reply.clone(),
        }
    }
}
