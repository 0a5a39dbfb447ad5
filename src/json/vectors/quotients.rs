//! Decimals of up to nineteen digits as quotients of `f64`, four at a time.
//!
//! A number is S / P, where S is the integer of its digits, below 10^19, and P is 10^f for the f
//! digits behind the point, at most 18. With operations of `f64`
//!
//! ```text
//! high + low = S             exact: sums of two terms, the larger first (Dekker, 1971)
//! q = high (1 / P)           within two units in its last place
//! r = high - q P             exact, in one fused operation: a multiple of 2^f by less than 2^44
//! c = (r + low) (1 / P)      at most four units of q, and within 2^-51 of itself
//! sum = q + c
//! ```
//!
//! so that `sum` is rounded from what is within 2^-49 units of S / P. That makes it the nearest
//! number. For what S / P is away from the middle of two, if it is not the middle, is at least 1 /
//! (2 5^f) units, or 2^-43: a multiple of 2^f, or of a lower power where units are larger, by P and
//! by the power of two that the middle is a fraction of. And if it is the middle, it is an odd
//! number of 54 bits or more by 2^f at most, so that 5^f is below 10^19 / 2^53 and f at most 4; for
//! these powers c is exact where it is a few halves of a unit, and the sum goes to even as it
//! should.
//!
//! The nearest `f64` rounded to `f32` is right unless that is the middle of two.

use core::arch::x86_64::*;

/// Digits of a number: an integer below 10^19 fits a `u64`, and is exact in two `f64`.
pub const DIGITS_MAX: usize = 19;

/// A power of ten, exact, and one by it.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Power([f64; 2]);

/// By their exponents; those above the largest that is in use are there for the index to need no
/// check.
static POWERS: [Power; 32] = {
    let mut powers = [Power([1.0; 2]); 32];
    let mut at = 0;
    while at <= DIGITS_MAX {
        let power = 10_u64.pow(at as u32) as f64;
        powers[at] = Power([power, 1.0 / power]);
        at += 1;
    }
    powers
};

/// Four numbers, of each of which the integers of eight digits are given as in a batch of
/// [`read`](super::read), and how many digits are behind the point.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
pub fn quotients(eights: &[[u32; 8]; 4], fractions: &[u32; 4]) -> __m256d {
    // Transposed: signs and the middle digits of all four, and the upper and lower digits.
    let [first, second, third, fourth] = eights.map(bytemuck::cast::<_, __m256>);
    let two = _mm256_shuffle_ps::<0b01_00_01_00>(first, second);
    let others = _mm256_shuffle_ps::<0b01_00_01_00>(third, fourth);
    let even = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(two, others));
    let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(two, others));
    let upper = _mm256_cvtepi32_pd(_mm256_castsi256_si128(odd));
    let middle = _mm256_cvtepi32_pd(_mm256_extracti128_si256::<1>(even));
    let lower = _mm256_cvtepi32_pd(_mm256_extracti128_si256::<1>(odd));
    let signs = _mm256_slli_epi64::<32>(_mm256_cvtepu32_epi64(_mm256_castsi256_si128(even)));

    let powers = fractions.map(|fraction| bytemuck::cast(POWERS[fraction as usize % 32].0));
    let [first, second, third, fourth] = powers.map(|power| _mm256_castpd128_pd256(power));
    let low = |pair: __m256d| _mm256_castpd256_pd128(pair);
    let (two, others) = (
        _mm256_insertf128_pd::<1>(first, low(third)),
        _mm256_insertf128_pd::<1>(second, low(fourth)),
    );
    let power = _mm256_unpacklo_pd(two, others);
    let inverse = _mm256_unpackhi_pd(two, others);

    // Both products and the first rest are exact.
    let upper = _mm256_mul_pd(upper, _mm256_set1_pd(1e16));
    let middle = _mm256_mul_pd(middle, _mm256_set1_pd(1e8));
    let most = _mm256_add_pd(upper, middle);
    let rest = _mm256_sub_pd(middle, _mm256_sub_pd(most, upper));
    let rest = _mm256_add_pd(rest, lower);
    let high = _mm256_add_pd(most, rest);
    let low = _mm256_sub_pd(rest, _mm256_sub_pd(high, most));

    let quotient = _mm256_mul_pd(high, inverse);
    let remainder = _mm256_fnmadd_pd(quotient, power, high);
    let correction = _mm256_mul_pd(_mm256_add_pd(remainder, low), inverse);
    let sum = _mm256_add_pd(quotient, correction);
    _mm256_xor_pd(sum, _mm256_castsi256_pd(signs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_exact_and_so_are_halves_by_those_that_make_middles() {
        for (exponent, Power([power, inverse])) in POWERS.iter().enumerate().take(DIGITS_MAX + 1) {
            assert_eq!(*power as u128, 10_u128.pow(exponent as u32));
            assert_eq!(*inverse, 1.0 / power);
        }
        for Power([power, inverse]) in &POWERS[..=4] {
            for halves in 1..=16 {
                assert_eq!(f64::from(halves) * power * inverse, f64::from(halves));
            }
        }
    }
}
