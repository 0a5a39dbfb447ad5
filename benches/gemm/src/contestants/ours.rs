//! Gemmule's own multiplication, by the functions that the service is made of.

use std::sync::Arc;

use gemmule::gemm::{Alone, Crew, Kernel, Workspace, multiply, multiply_batch};
use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use super::Contestant;
use crate::pool::Pool;
use crate::problem::Problem;
use crate::real::Real;
use crate::shape::Shape;

pub struct Ours<T> {
    crew: Arc<dyn Crew + Send + Sync>,
    workspace: Workspace<T>,
}

impl<T: Real> Ours<T> {
    /// With the service's own threads, which last as long as the process.
    pub fn new(threads: usize) -> Self {
        if threads == 1 {
            return Self { crew: Arc::new(Alone), workspace: Workspace::default() };
        }
        let pool = Pool::of_helpers(threads - 1).expect("the system has threads");
        Self { crew: pool, workspace: Workspace::default() }
    }
}

impl<T: Real> Contestant<T> for Ours<T> {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        let Shape { m, n, k, count } = problem.shape;
        let (a, b) = problem.operands.split_at(count * m * k);
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), problem.c.as_mut_ptr());
        // SAFETY: `Problem` has m k, k n and m n elements of each product, and C overlaps nothing.
        // The peers are told addresses as well, and nobody's sizes are checked.
        let done = unsafe {
            if count == 1 {
                let a = ArrayView2::from_shape_ptr((m, k), a);
                let b = ArrayView2::from_shape_ptr((k, n), b);
                let mut c = ArrayViewMut2::from_shape_ptr((m, n), c);
                multiply(T::ONE, &a, &b, T::ZERO, &mut c, &*self.crew, &mut self.workspace)
            } else {
                let a = ArrayView3::from_shape_ptr((count, m, k), a);
                let b = ArrayView3::from_shape_ptr((count, k, n), b);
                let mut c = ArrayViewMut3::from_shape_ptr((count, m, n), c);
                multiply_batch(T::ONE, &a, &b, T::ZERO, &mut c, &*self.crew)
            }
        };
        done.expect("memory for the workspace");
    }

    fn describe(&self) -> String {
        format!("gemmule, kernel {}", Kernel::of_this_machine().name())
    }
}
