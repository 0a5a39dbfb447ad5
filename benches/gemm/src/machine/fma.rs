//! The most that the cores can multiply and add: FMAs on registers, none waiting for another.

use std::time::Duration;

use gemmule::gemm::{isa, multiply_add_loop};

use super::{Clock, time_threads};
use crate::contestants::Contestant;
use crate::problem::Problem;
use crate::real::Real;

pub struct FmaLoop {
    pub threads: usize,
}

/// Of a call: some milliseconds.
const ROUNDS: usize = 500_000;

/// Runs the loop once; what it did, in operations.
fn run<T: Real>() -> f64 {
    multiply_add_loop(isa(), T::DTYPE, ROUNDS) as f64
}

impl<T: Real> Contestant<T> for FmaLoop {
    fn multiply(&mut self, _: &mut Problem<T>) {
        run::<T>();
    }

    fn time(&mut self, _: &mut Problem<T>, calls: usize, clock: Clock) -> Duration {
        time_threads(self.threads, clock, |_| {
            for _ in 0..calls {
                run::<T>();
            }
        })
    }

    fn work(&self, _: &Problem<T>) -> f64 {
        run::<T>() * self.threads as f64
    }

    fn describe(&self) -> String {
        "FMAs on registers".to_string()
    }
}
