//! Which products are checked by their residual, and what a check needs.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::api::Operation;
use crate::gemm::{Element, Residual, Shape, WrongRow};
use crate::memory::Promise;

/// What a job is told of checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checking {
    /// The client or the operator wants one, whatever it costs.
    pub is_asked: bool,
    /// Nobody could foresee it when the request was made.
    pub seed: [u8; 32],
    /// How often an element of the result is spoilt.
    #[cfg(test)]
    pub faults: usize,
}

/// What a check has said of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The product was too small for one, or nothing can be said about it.
    Not,
    Passed,
    /// This row was wrong. The product was computed again, by another kernel, and passed.
    Recomputed {
        row: usize,
    },
}

/// A check on its way.
#[derive(Debug)]
pub(super) struct Check<T> {
    pub residual: Residual,
    /// C as it came, to compute again from, where there was memory to keep it.
    pub addend: Vec<T>,
    /// The row that was wrong when the product was computed first.
    pub wrong_row: Option<WrongRow>,
}

/// Whether a product is checked.
fn is_checked<T: Element>(shape: Shape, alpha: T, is_asked: bool) -> bool {
    (is_asked || Residual::is_cheap::<T>(shape)) && Residual::is_possible(shape, alpha)
}

/// Bytes that the check of a product takes, if it has one.
pub(super) fn check_bytes<T: Element>(shape: Shape, is_asked: bool) -> usize {
    if is_asked || Residual::is_cheap::<T>(shape) { Residual::bytes(shape) } else { 0 }
}

impl<T: Element> Check<T> {
    /// Of a product that is to be checked; C is kept where there is memory for it beyond the
    /// `needed_bytes` that are promised.
    pub fn of(
        operation: &Operation<T>,
        checking: Checking,
        needed_bytes: usize,
        promise: &mut Promise,
    ) -> Result<Option<Self>, TryReserveError> {
        let Operation { shape, alpha, beta, .. } = *operation;
        if !is_checked(shape, alpha, checking.is_asked) {
            return Ok(None);
        }
        let residual = Residual::new(shape, (alpha, beta), checking.seed)?;
        let mut addend = Vec::new();
        if let Some(c) = &operation.c {
            let kept_bytes = needed_bytes.saturating_add(size_of_val(c.as_slice()));
            // Without it, a fault ends the job: no reason to refuse the job now.
            if promise.resize(kept_bytes).is_ok() && addend.try_reserve_exact(c.len()).is_err() {
                addend = Vec::new();
            }
        }
        Ok(Some(Self { residual, addend, wrong_row: None }))
    }

    /// A piece of C as it came.
    pub fn see_addend(&mut self, first: usize, elements: &[T]) {
        self.residual.see_addend(first, elements);
        if self.addend.capacity() > 0 {
            self.addend.extend_from_slice(elements);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_in_all_directions_is_worth_a_check() {
        for (m, n, k, in_f64, in_f32) in [
            (1199, 1199, 1199, false, false),
            (1200, 1200, 1200, true, false),
            (2400, 2400, 2400, true, true),
            (4096, 4096, 32, false, false),
            (4096, 1, 4096, false, false),
            (0, 4096, 4096, false, false),
            (1 << 24, 1 << 24, 1 << 24, true, true),
        ] {
            let shape = Shape { m, n, k };
            assert_eq!(Residual::is_cheap::<f64>(shape), in_f64, "{shape:?}");
            assert_eq!(Residual::is_cheap::<f32>(shape), in_f32, "{shape:?}");
        }
    }
}
