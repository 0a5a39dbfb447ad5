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

/// How many powers there are: more than are in use.
const POWERS_COUNT: usize = 32;

/// By their exponents; those above the largest that is in use are there for the index to need no
/// check.
static POWERS: [Power; POWERS_COUNT] = {
    let mut powers = [Power([1.0; 2]); POWERS_COUNT];
    let mut at = 0;
    while at <= DIGITS_MAX {
        let power = 10_u64.pow(at as u32) as f64;
        powers[at] = Power([power, 1.0 / power]);
        at += 1;
    }
    powers
};

/// The powers, and one by each, apart.
static POWERS_ALONE: [f64; POWERS_COUNT] = parts(0);
static INVERSES: [f64; POWERS_COUNT] = parts(1);

const fn parts(part: usize) -> [f64; POWERS_COUNT] {
    let mut parts = [0.0; POWERS_COUNT];
    let mut at = 0;
    while at < POWERS_COUNT {
        parts[at] = POWERS[at].0[part];
        at += 1;
    }
    parts
}

/// The quotients of integers, each of three by their digits, and powers of which the inverses are
/// given too: in vectors of any width, by their operations.
macro_rules! quotients {
    (
        ($upper:ident, $middle:ident, $lower:ident) by ($power:ident, $inverse:ident):
        $all:ident, $add:ident, $sub:ident, $mul:ident, $less_product:ident
    ) => {{
        // Both products and the first rest are exact.
        let upper = $mul($upper, $all(1e16));
        let middle = $mul($middle, $all(1e8));
        let most = $add(upper, middle);
        let rest = $sub(middle, $sub(most, upper));
        let rest = $add(rest, $lower);
        let high = $add(most, rest);
        let low = $sub(rest, $sub(high, most));

        let quotient = $mul(high, $inverse);
        let remainder = $less_product(quotient, $power, high);
        let correction = $mul($add(remainder, low), $inverse);
        $add(quotient, correction)
    }};
}

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

    let sum = quotients!(
        (upper, middle, lower) by (power, inverse):
        _mm256_set1_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_fnmadd_pd
    );
    _mm256_xor_pd(sum, _mm256_castsi256_pd(signs))
}

/// Eight numbers, two of which are given in each vector in the same way, but for their signs.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
#[inline]
pub fn eight_quotients(
    eights: [__m512i; 4],
    fractions: __m256i,
    are_negative: __mmask8,
) -> __m512d {
    // Transposed: the upper digits of all eight, and the middle and lower digits.
    let [first, second, third, fourth] = eights;
    let lanes = _mm512_setr_epi64(0, 4, 8, 12, 2, 6, 10, 14);
    let four = _mm512_permutex2var_epi64(first, lanes, second);
    let others = _mm512_permutex2var_epi64(third, lanes, fourth);
    let front = _mm512_shuffle_i64x2::<0b01_00_01_00>(four, others);
    let back = _mm512_shuffle_i64x2::<0b11_10_11_10>(four, others);
    let upper = _mm512_cvtepi64_pd(_mm512_srli_epi64::<32>(front));
    let middle = _mm512_cvtepi64_pd(_mm512_and_si512(back, _mm512_set1_epi64(u32::MAX.into())));
    let lower = _mm512_cvtepi64_pd(_mm512_srli_epi64::<32>(back));

    let fractions = _mm512_cvtepu32_epi64(fractions);
    let power = looked_up(&POWERS_ALONE, fractions);
    let inverse = looked_up(&INVERSES, fractions);

    let sum = quotients!(
        (upper, middle, lower) by (power, inverse):
        _mm512_set1_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_fnmadd_pd
    );
    _mm512_mask_xor_pd(sum, are_negative, sum, _mm512_set1_pd(-0.0))
}

/// The entries of a table by the last bits of indices.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")]
#[inline]
fn looked_up(table: &[f64; POWERS_COUNT], indices: __m512i) -> __m512d {
    let [first, second, third, fourth]: [__m512d; 4] = bytemuck::cast(*table);
    let low = _mm512_permutex2var_pd(first, indices, second);
    let high = _mm512_permutex2var_pd(third, indices, fourth);
    let is_high = _mm512_test_epi64_mask(indices, _mm512_set1_epi64(16));
    _mm512_mask_mov_pd(low, is_high, high)
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
