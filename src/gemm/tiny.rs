//! Products that are over before they could be planned.
#![allow(unsafe_code)]

use ndarray::{ArrayView2, ArrayViewMut2};

use super::Element;
use super::direct::{Order, multiply_block};
use super::kernel::{Microkernel, Scale, Tile};
use super::matrix::{Source, Target};

/// The most rows, columns and terms.
const SIZE_MAX: usize = 64;

/// Whether a product is tiny, not empty, and lies as the microkernel wants it.
#[inline]
pub fn is_tiny<T>(a: &ArrayView2<T>, b: &ArrayView2<T>, c: &ArrayViewMut2<T>) -> bool {
    let ((m, k), n) = (a.dim(), b.ncols());
    let in_range = |length: usize| length.wrapping_sub(1) < SIZE_MAX;
    in_range(m)
        && in_range(n)
        && in_range(k)
        && (n == 1 || (b.strides()[1] == 1 && c.strides()[1] == 1))
}

/// A tiny product.
#[derive(Clone, Copy, Debug)]
pub struct Tiny<T> {
    a: Source<T>,
    b: Source<T>,
    c: Target<T>,
    size: (usize, usize),
    terms: usize,
}

impl<T: Element> Tiny<T> {
    /// Of views for which `is_tiny` holds.
    #[inline]
    pub fn new(a: &ArrayView2<T>, b: &ArrayView2<T>, c: &mut ArrayViewMut2<T>) -> Self {
        let (size, terms) = (c.dim(), a.ncols());
        Self { a: Source::of(a), b: Source::of(b), c: Target::of(c), size, terms }
    }

    /// The product that lies so many times the strides of A, B and C away.
    #[inline]
    pub fn moved(&self, times: usize, strides: [isize; 3]) -> Self {
        let [a, b, c] = strides.map(|stride| stride.wrapping_mul(times as isize));
        Self { a: self.a.moved(a), b: self.b.moved(b), c: self.c.moved(c), ..*self }
    }

    /// Multiplies.
    ///
    /// # Safety
    ///
    /// The matrices hold what the first views did, and nothing else uses C; the kernel came from
    /// `Element::microkernel`, which asks the CPU.
    #[inline]
    pub unsafe fn multiply(&self, kernel: &Microkernel<T>, scale: Scale<T>) {
        let mut tile = Tile::new(scale);
        tile.terms = self.terms;
        let operands = (self.a, self.b, self.c, 0);
        // SAFETY: the caller's promise; the rows of B and C are contiguous, as `is_tiny` says.
        unsafe { multiply_block(kernel, &mut tile, operands, self.size, Order::Down) };
    }
}
