//! The crate `matrixmultiply`, by way of `ndarray`: the oracle of the tests, and the fallback that
//! a build can choose.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayViewMut2, s};

use super::kernel::Scale;
use super::{Element, Extent, Shape};

/// Tile sizes: rows and columns of C, and terms of the inner sum. A tile is 4 million operations;
/// its part of B (256 KiB in f64) stays in the second-level cache.
pub const MC: usize = 64;
pub const NC: usize = 128;
pub const KC: usize = 256;

/// A product by the tiles of another library.
#[derive(Debug)]
pub struct Reference {
    shape: Shape,
    /// The next tile: first row, first column, first term.
    next: (usize, usize, usize),
}

impl Reference {
    pub fn new(shape: Shape) -> Self {
        Self { shape, next: (0, 0, 0) }
    }

    pub fn is_complete(&self) -> bool {
        self.next.0 >= self.shape.m
    }

    /// One tile.
    pub fn advance<T: Element>(
        &mut self,
        operands: &[T],
        (a, b): (Extent, Extent),
        scale: Scale<T>,
        c: &mut [T],
    ) {
        let Shape { m, n, k } = self.shape;
        let (row, column, term) = self.next;
        let rows = row..(row + MC).min(m);
        let columns = column..(column + NC).min(n);
        let terms = term..(term + KC).min(k);
        let a = a.view(operands);
        let b = b.view(operands);
        let mut c =
            ArrayViewMut2::from_shape((m, n), c).expect("Product::new has checked the size of C");
        // The first terms bring beta in; the others add to what is there.
        let beta = if term == 0 { scale.beta } else { T::from_f64(1.0) };
        general_mat_mul(
            scale.alpha,
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
}
