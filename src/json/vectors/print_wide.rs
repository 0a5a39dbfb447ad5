//! Eight numbers of `f64` printed at a time in vectors of 512 bits.
//!
//! Their digits are found as in [`print`](super::print), and how long the text of each is with
//! them. The text itself is a permutation of the digits, a point and a zero: which one, says the
//! exponent of ten.

use core::arch::x86_64::*;
use core::array;

use super::print::{
    BIASED_COUNT, BIASED_MIN, EXPONENT_COUNT, EXPONENT_MIN, GROUP, Place, write_groups,
};
use crate::json::print::{EXPONENT_BIAS, LOG10_OF_2, MANTISSA_BITS, decimal_exponent};

/// Entries of a table that two vectors hold: more than there are exponents of ten.
const TABLE: usize = 16;

/// Powers of ten by the last bits of the exponent of ten that they scale to one.
static POWERS: [f64; TABLE] = {
    let mut powers = [1.0; TABLE];
    let mut at = 0;
    while at < BIASED_COUNT {
        let exponent = decimal_exponent(BIASED_MIN + at as i32 - EXPONENT_BIAS);
        let power = 10_u128.pow((-exponent - 1) as u32) as f64;
        let place = exponent as usize % TABLE;
        assert!(powers[place] == 1.0 || powers[place] == power, "each has a place of its own");
        powers[place] = power;
        at += 1;
    }
    powers
};

/// Where each byte of a text comes from, by the exponent of ten of the first digit.
#[repr(align(64))]
struct Forms([[u8; TEXT_BYTES]; TABLE]);

/// Where the text begins that is behind the digits.
const TEXT_BYTES: usize = 32;
/// In what a text is taken from: seventeen digits, and these.
const POINT: u8 = 17;
const ZERO: u8 = 18;

static FORMS: Forms = {
    let mut forms = [[ZERO; TEXT_BYTES]; TABLE];
    let mut at = 0;
    while at < EXPONENT_COUNT {
        let exponent = at as i32 + EXPONENT_MIN;
        // The place of the point, and bytes before the first digit.
        let point = if exponent < 0 { 1 } else { exponent as usize + 1 };
        let before = if exponent < 0 { 1 + exponent.unsigned_abs() as usize } else { 0 };
        forms[at][point] = POINT;
        let mut digit = 0;
        while digit < POINT {
            let place = before + digit as usize;
            forms[at][place + (exponent >= 0 && place >= point) as usize] = digit;
            digit += 1;
        }
        at += 1;
    }
    Forms(forms)
};

/// Bytes before the digits that are behind the point, and the least number of digits, by the
/// exponent of ten.
static STARTS: [[i32; TABLE]; 2] = {
    let mut starts = [[1; TABLE], [0; TABLE]];
    let mut at = 0;
    while at < EXPONENT_COUNT {
        let exponent = at as i32 + EXPONENT_MIN;
        if exponent < 0 {
            starts[0][at] = 1 - exponent;
        } else {
            // A digit is behind every point.
            starts[1][at] = exponent + 2;
        }
        at += 1;
    }
    starts
};

/// What the texts of a group are made of.
#[repr(align(64))]
#[derive(Default)]
struct Texts {
    /// Of each number seventeen digits, a point and a zero.
    sources: [[u8; TEXT_BYTES]; GROUP],
    /// The exponent of ten of the first digit, less [`EXPONENT_MIN`].
    exponents: [i32; GROUP],
    /// How long the text is, without a sign.
    lengths: [i32; GROUP],
    /// A bit for each number that is none that this is for.
    others: u8,
}

/// Prints groups, a comma behind each number; how many bytes that took.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
pub fn print<const COUNT: usize>(groups: &[[f64; GROUP]; COUNT], out: &mut [u8]) -> usize {
    let mut found: [Texts; COUNT] = array::from_fn(|_| Texts::default());
    for (group, texts) in groups.iter().zip(&mut found) {
        texts.find(group);
    }
    write_groups(groups, &found, out, |texts: &Texts, index, is_negative, place| {
        texts.write(index, is_negative, place)
    })
}

impl Texts {
    /// Finds those of a group.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
    #[inline]
    fn find(&mut self, group: &[f64; GROUP]) {
        let bits: __m512i = bytemuck::cast(*group);
        let biased = _mm512_srli_epi64::<{ MANTISSA_BITS + 1 }>(_mm512_slli_epi64::<1>(bits));
        let (is_other, decimal) = exponents(bits, biased);
        let Digits { upper, lower, last, has_last, is_short } = digits(bits, decimal);

        // What is behind the last digit that is none of the upper ones are zeros, seen as a number.
        let bits_left = _mm512_mask_add_epi64(
            _mm512_lzcnt_epi64(lower),
            _mm512_testn_epi64_mask(lower, lower),
            _mm512_lzcnt_epi64(upper),
            _mm512_set1_epi64(64),
        );
        let count = _mm512_sub_epi64(_mm512_set1_epi64(16), _mm512_srli_epi64::<3>(bits_left));
        let count = _mm512_mask_mov_epi64(count, has_last, _mm512_set1_epi64(17));
        // Lanes that are short have one digit less in front.
        let exponent = _mm512_add_epi64(decimal, _mm512_set1_epi64(i64::from(16 - EXPONENT_MIN)));
        let exponent = _mm512_mask_sub_epi64(exponent, is_short, exponent, _mm512_set1_epi64(1));
        let is_outside =
            _mm512_cmpge_epu64_mask(exponent, _mm512_set1_epi64(EXPONENT_COUNT as i64));
        let exponent = _mm512_cvtepi64_epi32(exponent);
        let [start, least] = STARTS.each_ref().map(|table| looked_up(table, exponent));
        let count = _mm256_max_epi32(_mm512_cvtepi64_epi32(count), least);
        self.lengths = bytemuck::cast(_mm256_add_epi32(start, count));
        self.exponents = bytemuck::cast(exponent);
        self.others = is_other | is_outside;

        let text = _mm512_set1_epi8(b'0' as i8);
        let [upper, lower] = [upper, lower].map(|digits| _mm512_or_si512(digits, text));
        const BEHIND: i64 = i64::from_le_bytes([b'0', b'.', b'0', 0, 0, 0, 0, 0]);
        let behind = _mm512_or_si512(last, _mm512_set1_epi64(BEHIND));
        for (pair, sources) in self.sources.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let first = _mm512_set1_epi64(2 * pair as i64);
            let lane = _mm512_add_epi64(first, _mm512_setr_epi64(0, 8, 0, 0, 1, 9, 1, 1));
            let digits = _mm512_permutex2var_epi64(upper, lane, lower);
            let source = _mm512_mask_permutexvar_epi64(digits, 0b0100_0100, lane, behind);
            *sources = bytemuck::cast(source);
        }
    }

    /// Writes a number; the length of its text, or nothing where it has to be printed otherwise.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
    #[inline]
    fn write(&self, index: usize, is_negative: bool, place: &mut Place) -> Option<usize> {
        if self.others >> index & 1 != 0 {
            return None;
        }
        let form: __m256i = bytemuck::cast(FORMS.0[self.exponents[index] as usize % TABLE]);
        let text = _mm256_permutexvar_epi8(form, bytemuck::cast(self.sources[index]));
        place[0] = b'-';
        let sign_bytes = usize::from(is_negative);
        *place[sign_bytes..].first_chunk_mut()? = bytemuck::cast::<_, [u8; TEXT_BYTES]>(text);
        Some(sign_bytes + self.lengths[index] as usize % TEXT_BYTES)
    }
}

/// The lanes of numbers that have another decimal than is found here, and the exponents of ten of
/// the last bits of all.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
#[inline]
fn exponents(bits: __m512i, biased: __m512i) -> (__mmask8, __m512i) {
    let mantissa = _mm512_set1_epi64((1 << MANTISSA_BITS) - 1);
    // Zero, and powers of two, to which the number below is nearer than the one above.
    let is_power = _mm512_testn_epi64_mask(bits, mantissa);
    let from_least = _mm512_sub_epi64(biased, _mm512_set1_epi64(BIASED_MIN.into()));
    let is_outside = _mm512_cmpge_epu64_mask(from_least, _mm512_set1_epi64(BIASED_COUNT as i64));
    let binary = _mm512_sub_epi64(biased, _mm512_set1_epi64(EXPONENT_BIAS.into()));
    let decimal = _mm512_mul_epi32(binary, _mm512_set1_epi64(LOG10_OF_2.into()));
    (is_power | is_outside, _mm512_srai_epi64::<20>(decimal))
}

/// Of each number the first eight digits and the next eight, as bytes of its lane; one more, and
/// the lanes that have that; and those of which there were fifteen digits before one was added.
struct Digits {
    upper: __m512i,
    lower: __m512i,
    last: __m512i,
    has_last: __mmask8,
    is_short: __mmask8,
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
#[inline]
fn digits(bits: __m512i, decimal: __m512i) -> Digits {
    const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let (zero, one, ten) = (_mm512_setzero_pd(), _mm512_set1_pd(1.0), _mm512_set1_pd(10.0));
    let [powers, others] = bytemuck::cast::<_, [__m512d; 2]>(POWERS);
    let power = _mm512_permutex2var_pd(powers, decimal, others);
    let exponent_bits = _mm512_and_si512(bits, _mm512_set1_epi64(0x7ff << MANTISSA_BITS));
    let bits_of_half = _mm512_set1_epi64(i64::from(MANTISSA_BITS + 1) << MANTISSA_BITS);
    let half_unit = _mm512_castsi512_pd(_mm512_sub_epi64(exponent_bits, bits_of_half));
    let half_unit = _mm512_castpd_si512(_mm512_mul_pd(half_unit, power));
    // The next below excludes what is just there, and no other.
    let is_odd = _mm512_and_si512(bits, _mm512_set1_epi64(1));
    let half_unit = _mm512_castsi512_pd(_mm512_sub_epi64(half_unit, is_odd));

    let number = _mm512_abs_pd(_mm512_castsi512_pd(bits));
    let most = _mm512_mul_pd(number, power);
    let rest = _mm512_fmsub_pd(number, power, most);
    let whole = _mm512_roundscale_pd::<DOWN>(most);
    let fraction = _mm512_add_pd(_mm512_sub_pd(most, whole), rest);
    let borrows = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(fraction, zero);
    let whole = _mm512_mask_sub_pd(whole, borrows, whole, one);
    let fraction = _mm512_mask_add_pd(fraction, borrows, fraction, one);
    let is_up = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(_mm512_sub_pd(one, fraction), half_unit);
    let is_down = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(fraction, half_unit);
    let whole = _mm512_mask_add_pd(whole, is_up, whole, one);
    let has_more = !(is_up | is_down);
    let more = _mm512_roundscale_pd::<NEAREST>(_mm512_mul_pd(fraction, ten));

    // Of fifteen digits and one more are made sixteen. The quotient may be one too many, as the
    // inverse is rounded up.
    let is_short = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(whole, _mm512_set1_pd(1e15));
    let by_length =
        |long, short| _mm512_mask_mov_pd(_mm512_set1_pd(long), is_short, _mm512_set1_pd(short));
    let (divisor, inverse) =
        (by_length(1e8, 1e7), by_length(1e-8_f64.next_up(), 1e-7_f64.next_up()));
    let upper = _mm512_roundscale_pd::<DOWN>(_mm512_mul_pd(whole, inverse));
    let lower = _mm512_fnmadd_pd(upper, divisor, whole);
    let is_below = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(lower, zero);
    let upper = _mm512_mask_sub_pd(upper, is_below, upper, one);
    let lower = _mm512_mask_add_pd(lower, is_below, lower, divisor);
    let sixteenth = _mm512_maskz_mov_pd(has_more, more);
    let lower = _mm512_mask_mov_pd(lower, is_short, _mm512_fmadd_pd(lower, ten, sixteenth));
    Digits {
        upper: eight_digits(_mm512_cvttpd_epi64(upper)),
        lower: eight_digits(_mm512_cvttpd_epi64(lower)),
        last: _mm512_cvttpd_epi64(more),
        has_last: has_more & !is_short,
        is_short,
    }
}

/// The digits of eight numbers of eight digits each: they are split into fours, pairs and ones, as
/// in
/// [`print`](super::print).
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
#[inline]
fn eight_digits(eights: __m512i) -> __m512i {
    let upper = _mm512_mul_epu32(eights, _mm512_set1_epi64(3_518_437_209));
    let upper = _mm512_srli_epi64::<45>(upper);
    let lower = _mm512_sub_epi64(eights, _mm512_mul_epu32(upper, _mm512_set1_epi64(10_000)));
    let fours = _mm512_or_si512(upper, _mm512_slli_epi64::<32>(lower));
    let upper = _mm512_srli_epi16::<3>(_mm512_mulhi_epu16(fours, _mm512_set1_epi16(5243)));
    let lower = _mm512_sub_epi16(fours, _mm512_mullo_epi16(upper, _mm512_set1_epi16(100)));
    let pairs = _mm512_or_si512(upper, _mm512_slli_epi32::<16>(lower));
    let upper = _mm512_mulhi_epu16(pairs, _mm512_set1_epi16(6554));
    let lower = _mm512_sub_epi16(pairs, _mm512_mullo_epi16(upper, _mm512_set1_epi16(10)));
    _mm512_or_si512(upper, _mm512_slli_epi16::<8>(lower))
}

/// The entries of a table by the last bits of indices.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi")]
#[inline]
fn looked_up(table: &[i32; TABLE], indices: __m256i) -> __m256i {
    let [first, second] = bytemuck::cast::<_, [__m256i; 2]>(*table);
    _mm256_permutex2var_epi32(first, indices, second)
}
