//! Gemmule's own multiplication, by the interface that a job uses.

use std::hint::black_box;
use std::mem;
use std::time::Duration;

use gemmule::gemm::{Extent, Kernel, Product};

use super::Contestant;
use crate::machine::Clock;
use crate::problem::Problem;
use crate::real::Real;
use crate::shape::Shape;

/// The library has no pool yet: one thread, whatever it is granted. The table marks the figures.
pub const THREADS_MAX: usize = 1;

/// From so many operations on, reading the clock before and after each product costs nothing.
const CLOCKED_FLOPS: f64 = 1e7;

pub struct Ours<T> {
    /// A then B of each product.
    operands: Vec<Vec<T>>,
    c: Vec<Vec<T>>,
    a: Extent,
    b: Extent,
}

impl<T: Real> Ours<T> {
    pub fn new(problem: &Problem<T>) -> Self {
        let Shape { m, n, k, count } = problem.shape;
        let (a, b) = problem.operands.split_at(count * m * k);
        let operands = a.chunks_exact(m * k).zip(b.chunks_exact(k * n));
        Self {
            operands: operands.map(|(a, b)| [a, b].concat()).collect(),
            c: vec![vec![T::NAN; m * n]; count],
            a: Extent { start: 0, rows: m, columns: k, transposed: false },
            b: Extent { start: m * k, rows: k, columns: n, transposed: false },
        }
    }

    /// A product takes its operands with it: that it wants a copy of them and frees them is this
    /// harness's cost, and none of a job's.
    fn multiply_one(&mut self, index: usize, operands: Vec<T>) -> Product<T> {
        let c = mem::take(&mut self.c[index]);
        let mut product = Product::new(operands, self.a, self.b, T::ONE, T::ZERO, c)
            .expect("memory for the workspace");
        while !product.advance(&mut || false) {}
        product
    }

    fn multiply_all(&mut self) {
        for index in 0..self.operands.len() {
            let operands = black_box(self.operands[index].clone());
            self.c[index] = self.multiply_one(index, operands).into_result();
        }
    }

    fn copy_all(&self) {
        for operands in &self.operands {
            black_box(operands.clone());
        }
    }
}

impl<T: Real> Contestant<T> for Ours<T> {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        for c in &mut self.c {
            c.fill(T::NAN);
        }
        self.multiply_all();
        for (c, (_, _, result)) in self.c.iter().zip(problem.products()) {
            result.copy_from_slice(c);
        }
    }

    fn time(&mut self, problem: &mut Problem<T>, calls: usize, clock: Clock) -> Duration {
        if problem.shape.flops() / problem.shape.count as f64 >= CLOCKED_FLOPS {
            return (0..calls).map(|_| self.time_apart(clock)).sum();
        }
        let before = clock.now();
        (0..calls).for_each(|_| self.multiply_all());
        let between = clock.now();
        (0..calls).for_each(|_| self.copy_all());
        let copying = clock.now() - between;
        (between - before).saturating_sub(copying).max(Duration::from_nanos(1))
    }

    fn describe(&self) -> String {
        format!("gemmule, kernel {}", Kernel::of_this_machine().name())
    }
}

impl<T: Real> Ours<T> {
    fn time_apart(&mut self, clock: Clock) -> Duration {
        let mut total = Duration::ZERO;
        for index in 0..self.operands.len() {
            let operands = self.operands[index].clone();
            let before = clock.now();
            let product = self.multiply_one(index, operands);
            total += clock.now() - before;
            self.c[index] = product.into_result();
        }
        total
    }
}
