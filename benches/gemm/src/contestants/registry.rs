//! The peers from the crates registry.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::Contestant;
use crate::problem::Problem;
use crate::real::Real;
use crate::shape::Shape;

/// Takes its number of threads from the environment: `MATMUL_NUM_THREADS`.
pub struct Matrixmultiply;

impl<T: Real> Contestant<T> for Matrixmultiply {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        let Shape { m, n, k, .. } = problem.shape;
        let (row_a, row_b) = (k as isize, n as isize);
        for (a, b, c) in problem.products() {
            let [a, b, c] = [a.as_ptr(), b.as_ptr(), c.as_mut_ptr().cast_const()];
            // SAFETY: `products` cuts A, B and C to m k, k n and m n elements, row by row, and C
            // overlaps nothing.
            unsafe {
                T::MATRIXMULTIPLY(
                    m,
                    k,
                    n,
                    T::ONE,
                    a,
                    row_a,
                    1,
                    b,
                    row_b,
                    1,
                    T::ZERO,
                    c.cast_mut(),
                    row_b,
                    1,
                );
            }
        }
    }

    fn describe(&self) -> String {
        "matrixmultiply 0.3".to_string()
    }
}

pub struct Gemm {
    pub threads: usize,
}

impl<T: Real> Contestant<T> for Gemm {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        let Shape { m, n, k, .. } = problem.shape;
        let (row_a, row_b) = (k as isize, n as isize);
        let parallelism = match self.threads {
            1 => gemm::Parallelism::None,
            threads => gemm::Parallelism::Rayon(threads),
        };
        for (a, b, c) in problem.products() {
            let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
            // SAFETY: as for matrixmultiply; the strides are column first, then row. C is not read.
            // alpha is the factor of C here, beta that of the product.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    c,
                    1,
                    row_b,
                    false,
                    a,
                    1,
                    row_a,
                    b,
                    1,
                    row_b,
                    T::ZERO,
                    T::ONE,
                    false,
                    false,
                    false,
                    parallelism,
                );
            }
        }
    }

    fn describe(&self) -> String {
        "gemm 0.19, feature x86-v4".to_string()
    }
}

pub struct Faer {
    pub threads: usize,
}

impl<T: Real> Contestant<T> for Faer {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        let Shape { m, n, k, .. } = problem.shape;
        let par = match self.threads {
            1 => Par::Seq,
            threads => Par::rayon(threads),
        };
        for (a, b, c) in problem.products() {
            let a = MatRef::from_row_major_slice(a, m, k);
            let b = MatRef::from_row_major_slice(b, k, n);
            let c = MatMut::from_row_major_slice_mut(c, m, n);
            matmul(c, Accum::Replace, a, b, T::ONE, par);
        }
    }

    fn describe(&self) -> String {
        "faer 0.24".to_string()
    }
}
