//! Operands that have an exact product, and the check of a result.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::random::Random;
use crate::real::Real;
use crate::shape::Shape;

/// The operands and the result of `shape.count` products; all matrices row by row, without gaps.
pub struct Problem<T> {
    pub shape: Shape,
    /// All A, then all B: one buffer, as Gemmule has a job's.
    pub operands: Vec<T>,
    pub c: Vec<T>,
}

impl<T: Real> Problem<T> {
    /// Integers, as large as they can be for every partial sum to be exact: whatever the order of
    /// the additions, there is one right result.
    pub fn new(shape: Shape) -> Self {
        let Shape { m, n, k, count } = shape;
        let sum_max = (1_u64 << (T::MANTISSA_BITS - 1)) as f64;
        let magnitude = (sum_max / k as f64).sqrt().min(1e6) as i64;
        let mut random = Random::new(1);
        let width = 2 * magnitude as u64 + 1;
        let operands = (0..count * (m * k + k * n))
            .map(|_| T::from_i64(random.below(width) as i64 - magnitude))
            .collect();
        Self { shape, operands, c: vec![T::NAN; count * m * n] }
    }

    /// A, B and C of each product.
    pub fn products(&mut self) -> impl Iterator<Item = (&[T], &[T], &mut [T])> {
        let Shape { m, n, k, count } = self.shape;
        let (a, b) = self.operands.split_at(count * m * k);
        a.chunks_exact(m * k)
            .zip(b.chunks_exact(k * n))
            .zip(self.c.chunks_exact_mut(m * n))
            .map(|((a, b), c)| (a, b, c))
    }

    /// What is read where an operand is a vector: the other one.
    pub fn matrix(&self) -> &[T] {
        let (a, b) = self.operands.split_at(self.shape.count * self.shape.m * self.shape.k);
        if a.len() > b.len() { a } else { b }
    }

    /// Forgets the result. A product with beta = 0 must not read what is in C.
    pub fn spoil(&mut self) {
        self.c.fill(T::NAN);
    }

    /// Compares `C t` with `A (B t)` modulo 2^64, `t` odd and random (Freivalds): a single wrong
    /// element is always found, and any number of them all but surely.
    pub fn check(&mut self) -> Result<(), String> {
        let Shape { n, k, .. } = self.shape;
        let mut random = Random::new(2);
        let t: Vec<u64> = (0..n).map(|_| random.next() | 1).collect();
        for (product, (a, b, c)) in self.products().enumerate() {
            let b_t: Vec<u64> = b
                .chunks_exact(n)
                .map(|row| dot(row, &t))
                .collect::<Option<_>>()
                .expect("operands are integers");
            for (row, (a_row, c_row)) in a.chunks_exact(k).zip(c.chunks_exact(n)).enumerate() {
                let right = dot(a_row, &b_t).expect("operands are integers");
                if dot(c_row, &t) != Some(right) {
                    return Err(format!("row {row} of product {product} is wrong"));
                }
            }
        }
        Ok(())
    }
}

fn dot<T: Real>(row: &[T], t: &[u64]) -> Option<u64> {
    row.iter().zip(t).try_fold(0_u64, |sum, (element, t)| {
        Some(sum.wrapping_add((element.to_integer()? as u64).wrapping_mul(*t)))
    })
}

/// The system's allocator, but every block starts on a cache line, and matrices lie in large pages:
/// as they do in the virtual machine, where there are no others, on Linux under the service, and in
/// NumPy. Otherwise what is measured is how often a page is looked up.
pub struct Matrices;

const CACHE_LINE: usize = 64;
const LARGE_PAGE: usize = 2 << 20;

fn aligned(layout: Layout) -> Layout {
    let bytes = if layout.size() >= 2 * LARGE_PAGE { LARGE_PAGE } else { CACHE_LINE };
    layout.align_to(bytes).expect("a size that leaves room for the alignment")
}

// SAFETY: all that changes is a stricter alignment, the same for a block's whole life, and what the
// kernel is advised of.
unsafe impl GlobalAlloc for Matrices {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = aligned(layout);
        // SAFETY: the caller's layout is not empty, and neither is the aligned one.
        let block = unsafe { System.alloc(layout) };
        if layout.align() == LARGE_PAGE && !block.is_null() {
            // SAFETY: the block's own pages; a kernel that knows no large pages refuses.
            unsafe { libc::madvise(block.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `alloc` with the same layout.
        unsafe { System.dealloc(block, aligned(layout)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multiplied<T: Real>(shape: Shape) -> Problem<T> {
        let mut problem = Problem::new(shape);
        let Shape { n, k, .. } = shape;
        for (a, b, c) in problem.products() {
            for (row, c_row) in a.chunks_exact(k).zip(c.chunks_exact_mut(n)) {
                for (column, element) in c_row.iter_mut().enumerate() {
                    let terms = row.iter().enumerate().map(|(term, a)| *a * b[term * n + column]);
                    *element = terms.fold(T::ZERO, |sum, term| sum + term);
                }
            }
        }
        problem
    }

    fn finds_each_wrong_element<T: Real>() {
        let shape = Shape { m: 3, n: 5, k: 700, count: 2 };
        let mut problem = multiplied::<T>(shape);
        assert_eq!(problem.check(), Ok(()));
        for index in 0..problem.c.len() {
            let right = problem.c[index];
            for wrong in [right + T::ONE, T::ZERO, T::NAN] {
                problem.c[index] = wrong;
                assert!(problem.check().is_err(), "element {index}");
            }
            problem.c[index] = right;
        }
    }

    #[test]
    fn the_check_finds_each_wrong_element() {
        finds_each_wrong_element::<f64>();
        finds_each_wrong_element::<f32>();
    }
}
