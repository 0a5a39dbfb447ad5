//! General matrix multiplication, `C <- alpha A B + beta C`, in bounded slices.
//!
//! [`Product`] owns the operands and the result of one job and is advanced tile by tile, so that
//! a machine with one core can serve its network in between. The tiles and their order depend on
//! the shape alone: the result is the same to the bit however the work was sliced.

mod element;

use alloc::vec::Vec;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, s};

pub use element::{Dtype, Element};

/// The name on the bill of what multiplies a tile: the crate `matrixmultiply`, by way of `ndarray`.
pub const KERNEL: &str = "matrixmultiply";

/// Tile sizes: rows and columns of C, and terms of the inner sum. A tile is 4 million operations,
/// under a millisecond on any machine of this century; its part of B (256 KiB in f64) stays in
/// the second-level cache.
const MC: usize = 64;
const NC: usize = 128;
const KC: usize = 256;

/// The shape of a product: an m x k operand times a k x n operand is an m x n result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// A matrix within a shared buffer, row by row, `rows * columns` elements from `start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub start: usize,
    pub rows: usize,
    pub columns: usize,
    /// The operand is the transpose of what lies in the buffer.
    pub transposed: bool,
}

impl Extent {
    /// Rows and columns of the operand, the transpose taken.
    pub fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    fn view<'a, T>(&self, buffer: &'a [T]) -> ArrayView2<'a, T> {
        let elements = &buffer[self.start..self.start + self.rows * self.columns];
        let view = ArrayView2::from_shape((self.rows, self.columns), elements)
            .expect("the slice was cut to rows x columns");
        if self.transposed { view.reversed_axes() } else { view }
    }
}

/// One product on its way.
#[derive(Debug)]
pub struct Product<T> {
    operands: Vec<T>,
    a: Extent,
    b: Extent,
    alpha: T,
    beta: T,
    /// m x n, row by row. Holds the caller's C to begin with where beta is not zero.
    c: Vec<T>,
    shape: Shape,
    /// The next tile: first row, first column, first term.
    next: (usize, usize, usize),
}

impl<T: Element> Product<T> {
    /// Sets up `alpha A B + beta C`. `a` (m x k) and `b` (k x n) lie in `operands`; `c` has m n
    /// elements, which are never read where `beta` is zero.
    ///
    /// # Panics
    ///
    /// Where the inner dimensions differ, an extent leaves the buffer, or `c` has another size:
    /// the caller has checked the request.
    pub fn new(operands: Vec<T>, a: Extent, b: Extent, alpha: T, beta: T, c: Vec<T>) -> Self {
        let (m, k) = a.shape();
        let (b_rows, n) = b.shape();
        assert_eq!(k, b_rows, "inner dimensions");
        assert_eq!(c.len(), m * n, "size of C");
        let shape = Shape { m, n, k };
        let mut product = Self { operands, a, b, alpha, beta, c, shape, next: (0, 0, 0) };
        if k == 0 {
            // An empty sum is zero: no tile would ever write C.
            let zero = T::from_f64(0.0);
            for element in &mut product.c {
                *element = if beta == zero { zero } else { beta * *element };
            }
        }
        product
    }

    /// Rows, columns and terms.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Multiplies tiles until `pause` says so, which is asked after each; true once C is complete.
    pub fn advance(&mut self, pause: &mut dyn FnMut() -> bool) -> bool {
        while !self.is_complete() {
            self.multiply_tile();
            if pause() {
                break;
            }
        }
        self.is_complete()
    }

    fn is_complete(&self) -> bool {
        let Shape { m, n, k } = self.shape;
        k == 0 || n == 0 || self.next.0 >= m
    }

    fn multiply_tile(&mut self) {
        let Shape { m, n, k } = self.shape;
        let (row, column, term) = self.next;
        let rows = row..(row + MC).min(m);
        let columns = column..(column + NC).min(n);
        let terms = term..(term + KC).min(k);
        let a = self.a.view(&self.operands);
        let b = self.b.view(&self.operands);
        let mut c = ArrayViewMut2::from_shape((m, n), &mut self.c)
            .expect("new() has checked the size of C");
        // The first terms bring beta in; the others add to what is there.
        let beta = if term == 0 { self.beta } else { T::from_f64(1.0) };
        general_mat_mul(
            self.alpha,
            &a.slice(s![rows.clone(), terms.clone()]),
            &b.slice(s![terms.clone(), columns.clone()]),
            beta,
            &mut c.slice_mut(s![rows.clone(), columns.clone()]),
        );
        self.next = if terms.end < k {
            (row, column, terms.end)
        } else if columns.end < n {
            (row, columns.end, 0)
        } else {
            (rows.end, 0, 0)
        };
    }

    /// The finished result, row by row; the operands are freed.
    pub fn into_result(self) -> Vec<T> {
        self.c
    }
}

#[cfg(test)]
mod tests;
