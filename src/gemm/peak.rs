//! The most that a core can multiply and add: on registers, no operation waiting for another's.
//!
//! The core has no clock, so this does the work and counts it, and the caller times it.

use core::hint::black_box;

use serde::Serialize;

use super::{Dtype, Isa};

/// The most that one core can do, in floating-point operations a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peak {
    pub f64: u64,
    pub f32: u64,
}

impl Peak {
    pub fn of(self, dtype: Dtype) -> u64 {
        match dtype {
            Dtype::F64 => self.f64,
            Dtype::F32 => self.f32,
        }
    }
}

/// Multiplies and adds in `rounds` rounds, each of a few vectors; the operations done, of which a
/// multiply-add of one element is two.
///
/// # Panics
///
/// Where this CPU does not have the instruction set.
pub fn multiply_add_loop(isa: Isa, dtype: Dtype, rounds: usize) -> u64 {
    assert!(isa.is_here(), "this CPU has no {}", isa.name());
    let elements_per_round = match (isa, dtype) {
        (Isa::Avx512, Dtype::F64) => vectors::f64_avx512(rounds),
        (Isa::Avx512, Dtype::F32) => vectors::f32_avx512(rounds),
        (Isa::Avx2, Dtype::F64) => vectors::f64_avx2(rounds),
        (Isa::Avx2, Dtype::F32) => vectors::f32_avx2(rounds),
        (Isa::Portable, Dtype::F64) => portable_f64(rounds),
        (Isa::Portable, Dtype::F32) => portable_f32(rounds),
    };
    2 * elements_per_round as u64 * rounds as u64
}

/// Registers that are added to, of 16: more than latency times throughput on any processor (8 to
/// 10), and some left for the factor.
const ACCUMULATORS: usize = 12;

macro_rules! portable_loop {
    ($name:ident, $element:ty) => {
        /// A multiplication and an addition, as the compiler puts them for any x86-64, whose
        /// vectors have 16 bytes.
        fn $name(rounds: usize) -> usize {
            const ELEMENTS: usize = ACCUMULATORS * 16 / size_of::<$element>();
            // A fixed point, so that no value grows or fades to a denormal.
            let half: $element = black_box(0.5);
            let mut sums: [$element; ELEMENTS] = [1.0; ELEMENTS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = *sum * half + half;
                }
            }
            black_box(sums);
            ELEMENTS
        }
    };
}

portable_loop!(portable_f64, f64);
portable_loop!(portable_f32, f32);

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod vectors {
    #![allow(unsafe_code)]

    use core::arch::x86_64::*;
    use core::hint::black_box;

    use super::ACCUMULATORS;

    /// Of 32 registers.
    const ACCUMULATORS_AVX512: usize = 24;

    macro_rules! fma_loop {
        ($name:ident, $isa:literal, $count:expr, $lanes:literal, $set1:ident, $fmadd:ident) => {
            pub fn $name(rounds: usize) -> usize {
                #[target_feature(enable = $isa)]
                fn run(rounds: usize) {
                    // A fixed point, as above.
                    let half = black_box($set1(0.5));
                    let mut sums = [$set1(1.0); $count];
                    for _ in 0..rounds {
                        for sum in &mut sums {
                            *sum = $fmadd(*sum, half, half);
                        }
                    }
                    black_box(sums);
                }
                // SAFETY: multiply_add_loop() has asserted that the CPU has the instruction set.
                unsafe { run(rounds) };
                $count * $lanes
            }
        };
    }

    fma_loop!(f64_avx512, "avx512f", ACCUMULATORS_AVX512, 8, _mm512_set1_pd, _mm512_fmadd_pd);
    fma_loop!(f32_avx512, "avx512f", ACCUMULATORS_AVX512, 16, _mm512_set1_ps, _mm512_fmadd_ps);
    fma_loop!(f64_avx2, "avx2,fma", ACCUMULATORS, 4, _mm256_set1_pd, _mm256_fmadd_pd);
    fma_loop!(f32_avx2, "avx2,fma", ACCUMULATORS, 8, _mm256_set1_ps, _mm256_fmadd_ps);
}

// Where the target has no vector registers, no CPU is found to have them.
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
mod vectors {
    pub(super) use super::portable_f32 as f32_avx512;
    pub(super) use super::portable_f32 as f32_avx2;
    pub(super) use super::portable_f64 as f64_avx512;
    pub(super) use super::portable_f64 as f64_avx2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_by_vectors_and_rounds() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            let vectors = match isa {
                Isa::Avx512 => 24 * 64,
                Isa::Avx2 => 12 * 32,
                Isa::Portable => 12 * 16,
            };
            assert_eq!(multiply_add_loop(isa, Dtype::F64, 3), 3 * 2 * vectors / 8, "{isa:?}");
            assert_eq!(multiply_add_loop(isa, Dtype::F32, 3), 3 * 2 * vectors / 4, "{isa:?}");
        }
    }
}
