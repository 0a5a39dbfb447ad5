//! The crate `matrixmultiply`, by way of `ndarray`: the oracle of the tests, and the fallback that
//! a build can choose.

use ndarray::linalg::general_mat_mul;
use ndarray::s;

use super::kernel::Scale;
use super::{Element, Operands, Shape};

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

    /// One tile. The operations done.
    pub fn advance<T: Element>(&mut self, operands: &mut Operands<T>, scale: Scale<T>) -> u64 {
        let Shape { m, n, k } = self.shape;
        let (row, column, term) = self.next;
        let rows = row..(row + MC).min(m);
        let columns = column..(column + NC).min(n);
        let terms = term..(term + KC).min(k);
        // The first terms bring beta in; the others add to what is there.
        let beta = if term == 0 { scale.beta } else { T::from_f64(1.0) };
        general_mat_mul(
            scale.alpha,
            &operands.a.slice(s![rows.clone(), terms.clone()]),
            &operands.b.slice(s![terms.clone(), columns.clone()]),
            beta,
            &mut operands.c.slice_mut(s![rows.clone(), columns.clone()]),
        );
        let flops = 2 * (rows.len() * columns.len() * terms.len()) as u64;
        self.next = if terms.end < k {
            (row, column, terms.end)
        } else if columns.end < n {
            (row, columns.end, 0)
        } else {
            (rows.end, 0, 0)
        };
        flops
    }
}
