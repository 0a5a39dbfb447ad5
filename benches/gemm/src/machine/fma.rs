//! The most that the cores can multiply and add: FMAs on registers, none waiting for another.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::time::Duration;

use gemmule::gemm::Dtype;

use super::{Clock, time_threads};
use crate::contestants::Contestant;
use crate::problem::Problem;
use crate::real::Real;

pub struct FmaLoop {
    pub threads: usize,
}

/// Of a call, and each of as many FMAs as there are accumulators: some milliseconds.
const ITERATIONS: usize = 500_000;

/// 24 of 32 registers, 12 of 16: more than latency times throughput on any processor (8 to 10).
const ACCUMULATORS_AVX512: usize = 24;
const ACCUMULATORS: usize = 12;

macro_rules! fma_loop {
    ($name:ident, $features:literal, $accumulators:expr, $set1:ident, $fmadd:ident) => {
        #[target_feature(enable = $features)]
        fn $name() {
            // A fixed point, so that no value grows or fades to a denormal.
            let half = black_box($set1(0.5));
            let mut sums = [$set1(1.0); $accumulators];
            for _ in 0..ITERATIONS {
                for sum in &mut sums {
                    *sum = $fmadd(*sum, half, half);
                }
            }
            black_box(sums);
        }
    };
}

fma_loop!(f64_avx512, "avx512f", ACCUMULATORS_AVX512, _mm512_set1_pd, _mm512_fmadd_pd);
fma_loop!(f32_avx512, "avx512f", ACCUMULATORS_AVX512, _mm512_set1_ps, _mm512_fmadd_ps);
fma_loop!(f64_avx2, "avx2,fma", ACCUMULATORS, _mm256_set1_pd, _mm256_fmadd_pd);
fma_loop!(f32_avx2, "avx2,fma", ACCUMULATORS, _mm256_set1_ps, _mm256_fmadd_ps);

/// Without FMA: a multiplication and an addition, as the compiler puts them for any x86-64.
fn portable<T: Real>() {
    let half = black_box(T::from_f64(0.5));
    let mut sums = [T::ONE; 64];
    for _ in 0..ITERATIONS {
        for sum in &mut sums {
            *sum = *sum * half + half;
        }
    }
    black_box(sums);
}

/// Runs the loop once; what it did, in operations.
fn run<T: Real>() -> f64 {
    let lanes = |register_bytes: usize| (register_bytes / size_of::<T>()) as f64;
    let flops = |accumulators: usize, lanes: f64| 2.0 * (ITERATIONS * accumulators) as f64 * lanes;
    if is_x86_feature_detected!("avx512f") {
        match T::DTYPE {
            // SAFETY: the processor has AVX-512F.
            Dtype::F64 => unsafe { f64_avx512() },
            // SAFETY: as above.
            Dtype::F32 => unsafe { f32_avx512() },
        }
        return flops(ACCUMULATORS_AVX512, lanes(64));
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        match T::DTYPE {
            // SAFETY: the processor has AVX2 and FMA.
            Dtype::F64 => unsafe { f64_avx2() },
            // SAFETY: as above.
            Dtype::F32 => unsafe { f32_avx2() },
        }
        return flops(ACCUMULATORS, lanes(32));
    }
    portable::<T>();
    flops(64, 1.0)
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
