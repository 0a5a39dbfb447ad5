//! The most that memory delivers: the matrix of the problem read, each element once.

use std::hint::black_box;
use std::time::Duration;

use super::{Clock, time_threads};
use crate::contestants::Contestant;
use crate::problem::Problem;
use crate::real::Real;

/// Reads from `streams` places at a time, which is faster or slower by the processor.
pub struct ReadLoop {
    pub threads: usize,
    pub streams: usize,
}

/// A round of the loop: 8 registers of 64 bytes in f64, in no order that anything waits for.
const LANES: usize = 64;

#[inline(always)]
fn sum<T: Real, const STREAMS: usize>(elements: &[T]) {
    let part = elements.len() / STREAMS;
    let streams: [&[T]; STREAMS] =
        std::array::from_fn(|stream| &elements[stream * part..(stream + 1) * part]);
    let mut sums = [T::ZERO; LANES];
    for start in (0..part / LANES).map(|round| round * LANES) {
        for stream in streams {
            for (sum, element) in sums.iter_mut().zip(&stream[start..start + LANES]) {
                *sum += *element;
            }
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx512f")]
fn sum_avx512<T: Real, const STREAMS: usize>(elements: &[T]) {
    sum::<T, STREAMS>(elements);
}

#[target_feature(enable = "avx2")]
fn sum_avx2<T: Real, const STREAMS: usize>(elements: &[T]) {
    sum::<T, STREAMS>(elements);
}

fn read<T: Real, const STREAMS: usize>(elements: &[T]) {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F.
        unsafe { sum_avx512::<T, STREAMS>(elements) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { sum_avx2::<T, STREAMS>(elements) }
    } else {
        sum::<T, STREAMS>(elements);
    }
}

impl<T: Real> Contestant<T> for ReadLoop {
    fn multiply(&mut self, problem: &mut Problem<T>) {
        read::<T, 1>(problem.matrix());
    }

    fn time(&mut self, problem: &mut Problem<T>, calls: usize, clock: Clock) -> Duration {
        let matrix = problem.matrix();
        let part = matrix.len() / self.threads;
        time_threads(self.threads, clock, |thread| {
            let elements = &matrix[thread * part..(thread + 1) * part];
            for _ in 0..calls {
                match self.streams {
                    1 => read::<T, 1>(black_box(elements)),
                    _ => read::<T, 4>(black_box(elements)),
                }
            }
        })
    }

    fn work(&self, problem: &Problem<T>) -> f64 {
        size_of_val(problem.matrix()) as f64
    }

    fn describe(&self) -> String {
        format!("reads, {} at a time", self.streams)
    }
}
