//! Products that are over before they could be planned.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use super::crew::{Crew, Exclusive};
use super::direct::{Order, multiply_block};
use super::kernel::{self, Microkernel, Scale, Tile, caches};
use super::matrix::{Source, Target};
use super::{Element, plan};

/// The most rows, columns and terms of a product that needs no look at the caches.
const TINY: usize = 64;
/// And of one that does.
const SMALL: usize = 256;

/// Whether a product is one block, not empty, and lies as the microkernel wants it.
#[inline]
pub fn is_small<T: Element>(
    kernel: &Microkernel<T>,
    a: &ArrayView2<T>,
    b: &ArrayView2<T>,
    c: &ArrayViewMut2<T>,
) -> bool {
    let ((m, k), n) = (a.dim(), b.ncols());
    // Vectors are summed in another order, which must not depend on the crew.
    let is_of_matrices = m > 1 && n > 1 && k > 0;
    let is_within = |limit: usize| m <= limit && n <= limit && k <= limit;
    let lies_right = b.strides()[1] == 1 && c.strides()[1] == 1;
    is_of_matrices
        && lies_right
        && (is_within(TINY) || is_within(SMALL) && is_one_block(kernel, n, k))
}

#[inline(never)]
fn is_one_block<T: Element>(kernel: &Microkernel<T>, n: usize, k: usize) -> bool {
    let caches = caches();
    k <= plan::block_terms_max(kernel, caches) && plan::fits_directly::<T>(caches, n, k)
}

/// A small product.
#[derive(Clone, Copy, Debug)]
pub struct Small<T> {
    a: Source<T>,
    b: Source<T>,
    c: Target<T>,
    size: (usize, usize),
    terms: usize,
}

// SAFETY: these are addresses. Whoever multiplies promises that they may be used, and knows by what
// thread.
unsafe impl<T: Send> Send for Small<T> {}

/// How many rows of a small product each of so many threads gets, if all get as many: whole tiles
/// of them, with no more than a thirty-second of the work to spare.
pub fn shared_rows<T>(kernel: &Microkernel<T>, m: usize, threads: usize) -> Option<usize> {
    let rows = plan::part_length(m, threads, kernel.mr);
    (rows * threads <= m + m / 32).then_some(rows)
}

impl<T: Element> Small<T> {
    /// Of views for which `is_small` holds.
    #[inline]
    pub fn new(a: &ArrayView2<T>, b: &ArrayView2<T>, c: &mut ArrayViewMut2<T>) -> Self {
        let (size, terms) = (c.dim(), a.ncols());
        let (a, b, c) = (Source::of(a), Source::of(b), Target::of(c));
        Self { a, b, c, size, terms }
    }

    /// The tile to multiply by.
    #[inline]
    pub fn tile(&self, scale: Scale<T>) -> Tile<T> {
        let mut tile = Tile::new(scale);
        tile.terms = self.terms;
        tile
    }

    /// The product that lies so many times the strides of A, B and C away.
    #[inline]
    pub fn moved(&self, times: usize, strides: [isize; 3]) -> Self {
        let [a, b, c] = strides.map(|stride| stride.wrapping_mul(times as isize));
        Self { a: self.a.moved(a), b: self.b.moved(b), c: self.c.moved(c), ..*self }
    }

    /// Some rows of it.
    fn part(&self, rows: Range<usize>) -> Self {
        let (first, size) = (rows.start, (rows.len(), self.size.1));
        Self { a: self.a.from(first, 0), c: self.c.from(first, 0), size, ..*self }
    }

    /// Multiplies, so many rows at a time, by the threads of a crew. The sums are `multiply`'s.
    ///
    /// # Safety
    ///
    /// As for `multiply`.
    pub unsafe fn multiply_shared(
        &self,
        kernel: &Microkernel<T>,
        scale: Scale<T>,
        rows: usize,
        crew: &dyn Crew,
    ) {
        let m = self.size.0;
        let starts = (0..m).step_by(rows);
        let shares: Vec<_> =
            starts.map(|row| Exclusive::new(self.part(row..m.min(row + rows)))).collect();
        crew.run(shares.len(), &|index| {
            // SAFETY: the caller's promise; no two shares have a row in common, and no two threads
            // have the same share.
            shares[index].with(|part| unsafe { part.multiply(kernel, &mut part.tile(scale)) });
        });
    }

    /// Has A and B fetched, if they have no gaps.
    #[inline]
    pub fn fetch(&self) {
        let bytes = |rows: usize| rows * self.terms * size_of::<T>();
        kernel::fetch(self.a.at(0, 0), bytes(self.size.0));
        kernel::fetch(self.b.at(0, 0), bytes(self.size.1));
    }

    /// Multiplies by the product's tile, or that of another of the same size.
    ///
    /// # Safety
    ///
    /// The matrices hold what the first views did, and nothing else uses C; the kernel came from
    /// `Element::microkernel`, which asks the CPU.
    #[inline]
    pub unsafe fn multiply(&self, kernel: &Microkernel<T>, tile: &mut Tile<T>) {
        let operands = (self.a, self.b, self.c, 0);
        // SAFETY: the caller's promise; the rows of B and C are contiguous, as `is_small` says.
        unsafe { multiply_block(kernel, tile, operands, self.size, Order::Down) };
    }
}
