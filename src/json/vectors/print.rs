//! Eight numbers of `f64` printed at a time, with the fewest digits that read back.
//!
//! The decimal of a number x > 0 whose last bit is worth 2^b comes as it does in
//! [`print_plain`](crate::json::print_plain): with the power P = 10^s for which 2^b P is from 0.1
//! to 1,
//!
//! ```text
//! V = x P = p + e            exact: the product of `f64` and, by a fused operation, its rest
//! V = whole + fraction       exact: V is below 2^53, and a multiple of 2^(b + s), 2^-49 at least
//! ```
//!
//! `whole` or `whole + 1` are the decimal if they are within half a unit of x, which is 2^(b - 1)
//! P; one that is just there counts where x is even. Otherwise `fraction` takes the digit that is
//! nearest to its tenths, a half to even. As 2^b P is more than a tenth, that is none of 0 and 10.
//!
//! Where the point is, and how many zeros stand before the digits, is looked up by the exponent of
//! ten, without a branch. Zero, powers of two, and what has an exponent in its text are printed by
//! themselves.

use alloc::vec::Vec;
use core::arch::x86_64::*;
use core::array;

use super::{are_here, print_wide};
use crate::gemm::has_byte_vectors;
use crate::json::print::{
    EXPONENT_BIAS, EXPONENTS, LOG10_OF_2, MANTISSA_BITS, PRINTED_BYTES_MAX, decimal_exponent,
    print_rare,
};
use crate::limits::JSON_NUMBER_BYTES_MAX;

/// Numbers of a group.
pub const GROUP: usize = 8;
/// Groups that are printed at a time: so many, or where fewer are left so many, or one.
const GROUPS_MAX: usize = 16;
const GROUPS_SOME: usize = 4;

/// The exponent of two of numbers from 2^-17 on, as it is stored, and for how many of them there
/// are powers: more than for any exponent in [`EXPONENTS`].
pub const BIASED_MIN: i32 = 1023 - 17;
pub const BIASED_COUNT: usize = 48;
/// The least exponent of ten that is in [`FORMS`], and how many there are.
pub const EXPONENT_MIN: i32 = *EXPONENTS.start();
pub const EXPONENT_COUNT: usize = (*EXPONENTS.end() - EXPONENT_MIN) as usize + 1;

/// Powers of ten by the exponent of two that they scale.
static POWERS: [f64; 64] = {
    let mut powers = [1.0; 64];
    let mut at = 0;
    while at < BIASED_COUNT {
        let scale = -decimal_exponent(BIASED_MIN + at as i32 - EXPONENT_BIAS) - 1;
        powers[at] = 10_u128.pow(scale as u32) as f64;
        at += 1;
    }
    powers
};

/// How the digits of a number stand in its text, by the exponent of ten of the first.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Form {
    /// Of the first eight digits, those that are the first bytes of the text.
    kept: u64,
    /// The bytes that are the same whatever the digits are: the point, and zeros.
    fixed: u64,
    /// The bytes that the first digits come to by being shifted, and by how many bits.
    shifted: u64,
    shift: u8,
    /// Where the digits start that are behind the first eight bytes of the text, and behind the
    /// point.
    start: u8,
    /// Digits that are written at least: a point has one behind it.
    digits_min: u8,
}

static FORMS: [Form; 16] = {
    let mut forms = [Form { kept: 0, fixed: 0, shifted: 0, shift: 0, start: 0, digits_min: 0 }; 16];
    let mut at = 0;
    while at < EXPONENT_COUNT {
        let exponent = at as i32 + EXPONENT_MIN;
        forms[at] = if exponent < 0 {
            let start = 1 + exponent.unsigned_abs();
            let before = (1 << (8 * start)) - 1;
            let fixed = u64::from_le_bytes(*b"0.000000") & before;
            let (shift, start) = (8 * start as u8, start as u8);
            Form { kept: 0, fixed, shifted: !before, shift, start, digits_min: 0 }
        } else {
            let point_bits = 8 * (exponent as u32 + 1);
            let kept = (1 << point_bits) - 1;
            let shifted = !(kept << 8 | 0xff);
            let fixed = (b'.' as u64) << point_bits;
            Form { kept, fixed, shifted, shift: 8, start: 1, digits_min: exponent as u8 + 2 }
        };
        at += 1;
    }
    forms
};

/// The decimals of a group.
#[repr(align(64))]
#[derive(Default)]
struct Decimals {
    /// Sixteen digits of each, as numbers.
    digits: [[u8; 16]; GROUP],
    /// One more, as text.
    lasts: [[i32; 4]; GROUP / 4],
    /// Seventeen where that is to be written, or zero.
    counts: [[i32; 4]; GROUP / 4],
    /// The exponent of ten of the first digit, less [`EXPONENT_MIN`].
    exponents: [[i32; 4]; GROUP / 4],
    /// A bit for each number that is none that this is for.
    others: u32,
}

/// Appends groups of numbers, none of which is infinite or NaN, to a text, a comma behind each; how
/// many groups: none where the processor lacks the instructions.
pub fn append_text(groups: &[[f64; GROUP]], text: &mut Vec<u8>) -> usize {
    if groups.is_empty() || !are_here() {
        return 0;
    }
    // Narrow rows, and integers between others, leave few groups at a time.
    let (many, rest) = groups.as_chunks::<GROUPS_MAX>();
    let (some, rest) = rest.as_chunks::<GROUPS_SOME>();
    many.iter().for_each(|groups| append_groups(groups, text));
    some.iter().for_each(|groups| append_groups(groups, text));
    rest.iter().for_each(|group| append_groups(array::from_ref(group), text));
    groups.len()
}

/// Appends groups where the processor has what it takes.
fn append_groups<const COUNT: usize>(groups: &[[f64; GROUP]; COUNT], text: &mut Vec<u8>) {
    let start = text.len();
    let end = start + COUNT * GROUP * JSON_NUMBER_BYTES_MAX;
    text.resize(end + PRINTED_BYTES_MAX, 0);
    // SAFETY: the processor has what it takes: the caller has asked for the one, and the other is
    // asked for here.
    #[allow(unsafe_code)]
    let length = unsafe {
        match has_byte_vectors() {
            true => print_wide::print(groups, &mut text[start..]),
            false => print(groups, &mut text[start..]),
        }
    };
    text.truncate(start + length);
}

/// Prints groups, a comma behind each number; how many bytes that took. First the decimals of all
/// of them are found: each takes long, but none waits for another.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn print<const COUNT: usize>(groups: &[[f64; GROUP]; COUNT], out: &mut [u8]) -> usize {
    let mut found: [Decimals; COUNT] = array::from_fn(|_| Decimals::default());
    for (group, decimals) in groups.iter().zip(&mut found) {
        decimals.find(group);
    }
    write_groups(groups, &found, out, |decimals: &Decimals, index, is_negative, place| {
        decimals.text(index, is_negative, place)
    })
}

/// Room for a number and its sign.
pub type Place = [u8; PRINTED_BYTES_MAX + 1];

/// Writes the numbers of groups, a comma behind each; how many bytes that took. `write` writes one
/// by what was found of its group, and says how long it is, or nothing where it has to be printed
/// otherwise.
#[inline(always)]
pub fn write_groups<F, const COUNT: usize>(
    groups: &[[f64; GROUP]; COUNT],
    found: &[F; COUNT],
    out: &mut [u8],
    write: impl Fn(&F, usize, bool, &mut Place) -> Option<usize>,
) -> usize {
    let mut end = 0;
    for (group, found) in groups.iter().zip(found) {
        for (index, number) in group.iter().enumerate() {
            let place = out[end..].first_chunk_mut().expect("room for the longest texts");
            let length = match write(found, index, number.is_sign_negative(), place) {
                Some(length) => length,
                None => print_rare(*number, place.first_chunk_mut().expect("the shorter array")),
            };
            place[length] = b',';
            end += length + 1;
        }
    }
    end
}

impl Decimals {
    /// Finds those of a group.
    #[target_feature(enable = "avx2,fma,bmi1,popcnt")]
    #[inline]
    fn find(&mut self, group: &[f64; GROUP]) {
        let mut all_others = 0;
        for (index, four) in group.as_chunks::<4>().0.iter().enumerate() {
            let Four { upper, lower, last, has_last, exponent, others } = four_decimals(four);
            self.lasts[index] = bytemuck::cast(_mm_or_si128(last, _mm_set1_epi32(b'0'.into())));
            self.counts[index] = bytemuck::cast(_mm_and_si128(has_last, _mm_set1_epi32(17)));
            self.exponents[index] =
                bytemuck::cast(_mm_sub_epi32(exponent, _mm_set1_epi32(EXPONENT_MIN)));
            all_others |= others << (4 * index);
            let pairs = [_mm_unpacklo_epi32(upper, lower), _mm_unpackhi_epi32(upper, lower)];
            let digits = &mut self.digits.as_chunks_mut::<4>().0[index].as_chunks_mut::<2>().0;
            for (digits, pair) in digits.iter_mut().zip(pairs) {
                *digits = bytemuck::cast(sixteen_digits(pair));
            }
        }
        self.others = all_others;
    }

    /// Writes a number; the length of its text, or nothing where it has to be printed otherwise.
    #[target_feature(enable = "avx2,fma,bmi1,popcnt")]
    #[inline]
    fn text(&self, index: usize, is_negative: bool, place: &mut Place) -> Option<usize> {
        let exponent = self.exponents.as_flattened()[index] as usize;
        if self.others >> index & 1 != 0 || exponent >= EXPONENT_COUNT {
            return None;
        }
        let form = &FORMS[exponent];
        let digits: __m128i = bytemuck::cast(self.digits[index]);
        let zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(digits, _mm_setzero_si128()));
        let digit_count = u32::BITS - (!zeros & 0xffff).leading_zeros();
        let digit_count = digit_count.max(self.counts.as_flattened()[index] as u32);
        let digits = _mm_or_si128(digits, _mm_set1_epi8(b'0' as i8));
        let first = _mm_cvtsi128_si64(digits).cast_unsigned();
        let word = first & form.kept | form.fixed | first << form.shift & form.shifted;
        place[0] = b'-';
        let sign_bytes = usize::from(is_negative);
        let place: &mut [u8; PRINTED_BYTES_MAX] = place[sign_bytes..].first_chunk_mut()?;
        let start = usize::from(form.start % 8);
        *place[start..].first_chunk_mut()? = bytemuck::cast::<_, [u8; 16]>(digits);
        place[start + 16] = self.lasts.as_flattened()[index] as u8;
        *place.first_chunk_mut()? = word.to_le_bytes();
        Some(sign_bytes + start + digit_count.max(u32::from(form.digits_min)) as usize)
    }
}

/// The decimals of four numbers: the lanes have the first eight and the next eight digits, one more
/// digit and whether that is written, and the exponent of ten of the first digit.
struct Four {
    upper: __m128i,
    lower: __m128i,
    last: __m128i,
    has_last: __m128i,
    exponent: __m128i,
    /// A bit for each number that has another decimal than this.
    others: u32,
}

#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn four_decimals(numbers: &[f64; 4]) -> Four {
    const STORED_BITS: i32 = MANTISSA_BITS as i32;
    let (zero, one, ten) = (_mm256_setzero_pd(), _mm256_set1_pd(1.0), _mm256_set1_pd(10.0));
    let bits: __m256i = bytemuck::cast(*numbers);
    let mantissa = _mm256_and_si256(bits, _mm256_set1_epi64x((1 << MANTISSA_BITS) - 1));
    // Zero, and powers of two, to which the number below is nearer than the one above.
    let is_power = _mm256_cmpeq_epi64(mantissa, _mm256_setzero_si256());
    let biased = narrowed(_mm256_srli_epi64::<STORED_BITS>(_mm256_slli_epi64::<1>(bits)));
    let biased = _mm_srli_epi32::<1>(biased);
    let is_small = _mm_cmpgt_epi32(_mm_set1_epi32(BIASED_MIN), biased);
    let is_large = _mm_cmpgt_epi32(biased, _mm_set1_epi32(BIASED_MIN + BIASED_COUNT as i32 - 1));
    let others = _mm_or_si128(_mm_or_si128(is_small, is_large), narrowed(is_power));
    let binary = _mm_sub_epi32(biased, _mm_set1_epi32(EXPONENT_BIAS));
    let decimal = _mm_srai_epi32::<20>(_mm_mullo_epi32(binary, _mm_set1_epi32(LOG10_OF_2)));

    let power = |index: usize| {
        let biased = (numbers[index].to_bits() << 1 >> (MANTISSA_BITS + 1)) as usize;
        POWERS[biased.wrapping_sub(BIASED_MIN as usize) % POWERS.len()]
    };
    let power = _mm256_setr_pd(power(0), power(1), power(2), power(3));
    let exponent_bits = _mm256_and_si256(bits, _mm256_set1_epi64x(0x7ff << MANTISSA_BITS));
    let bits_of_half = _mm256_set1_epi64x(i64::from(MANTISSA_BITS + 1) << MANTISSA_BITS);
    let half_unit = _mm256_castsi256_pd(_mm256_sub_epi64(exponent_bits, bits_of_half));
    let half_unit = _mm256_mul_pd(half_unit, power);
    // The next below excludes what is just there, and no other.
    let is_odd = _mm256_and_si256(bits, _mm256_set1_epi64x(1));
    let half_unit = _mm256_sub_epi64(_mm256_castpd_si256(half_unit), is_odd);
    let half_unit = _mm256_castsi256_pd(half_unit);

    let number = _mm256_andnot_pd(_mm256_set1_pd(-0.0), _mm256_castsi256_pd(bits));
    let most = _mm256_mul_pd(number, power);
    let rest = _mm256_fmsub_pd(number, power, most);
    let whole = _mm256_floor_pd(most);
    let fraction = _mm256_add_pd(_mm256_sub_pd(most, whole), rest);
    let borrow = _mm256_and_pd(_mm256_cmp_pd::<_CMP_LT_OQ>(fraction, zero), one);
    let whole = _mm256_sub_pd(whole, borrow);
    let fraction = _mm256_add_pd(fraction, borrow);
    let is_up = _mm256_cmp_pd::<_CMP_LE_OQ>(_mm256_sub_pd(one, fraction), half_unit);
    let is_down = _mm256_cmp_pd::<_CMP_LE_OQ>(fraction, half_unit);
    let has_none = _mm256_or_pd(is_up, is_down);
    let whole = _mm256_add_pd(whole, _mm256_and_pd(is_up, one));
    let last = _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_pd(
        fraction, ten,
    ));

    // Of fifteen digits and one more are made sixteen. The quotient may be one too many, as the
    // inverse is rounded up.
    let is_short = _mm256_cmp_pd::<_CMP_LT_OQ>(whole, _mm256_set1_pd(1e15));
    let divisor = _mm256_blendv_pd(_mm256_set1_pd(1e8), _mm256_set1_pd(1e7), is_short);
    let inverse = [1e-8_f64, 1e-7].map(|inverse| _mm256_set1_pd(inverse.next_up()));
    let inverse = _mm256_blendv_pd(inverse[0], inverse[1], is_short);
    let upper = _mm256_floor_pd(_mm256_mul_pd(whole, inverse));
    let lower = _mm256_fnmadd_pd(upper, divisor, whole);
    let is_below = _mm256_cmp_pd::<_CMP_LT_OQ>(lower, zero);
    let upper = _mm256_sub_pd(upper, _mm256_and_pd(is_below, one));
    let lower = _mm256_add_pd(lower, _mm256_and_pd(is_below, divisor));
    let sixteenth = _mm256_andnot_pd(has_none, last);
    let lower = _mm256_blendv_pd(lower, _mm256_fmadd_pd(lower, ten, sixteenth), is_short);

    let is_short = _mm256_castpd_si256(is_short);
    let has_none = _mm256_or_si256(_mm256_castpd_si256(has_none), is_short);
    // Lanes that are true are less by one.
    let exponent = _mm_add_epi32(decimal, _mm_set1_epi32(16));
    Four {
        upper: _mm256_cvttpd_epi32(upper),
        lower: _mm256_cvttpd_epi32(lower),
        last: _mm256_cvttpd_epi32(last),
        has_last: _mm_xor_si128(narrowed(has_none), _mm_set1_epi32(-1)),
        exponent: _mm_add_epi32(exponent, narrowed(is_short)),
        others: _mm_movemask_ps(_mm_castsi128_ps(others)).cast_unsigned(),
    }
}

/// The lower half of each lane.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn narrowed(lanes: __m256i) -> __m128i {
    let (first, second) = (_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let (first, second) = (_mm_castsi128_ps(first), _mm_castsi128_ps(second));
    _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(first, second))
}

/// The digits of two numbers of sixteen, each given by two of eight: these are split into fours,
/// pairs and ones, each with one multiplication for all. 3518437209 / 2^45 is a ten thousandth,
/// 5243 / 2^19 a hundredth, and 6554 / 2^16 a tenth, exact enough for the numbers that are divided.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn sixteen_digits(eights: __m128i) -> __m256i {
    let eights = _mm256_cvtepu32_epi64(eights);
    let upper = _mm256_mul_epu32(eights, _mm256_set1_epi64x(3_518_437_209));
    let upper = _mm256_srli_epi64::<45>(upper);
    let lower = _mm256_sub_epi64(eights, _mm256_mul_epu32(upper, _mm256_set1_epi64x(10_000)));
    let fours = _mm256_or_si256(upper, _mm256_slli_epi64::<32>(lower));
    let upper = _mm256_srli_epi16::<3>(_mm256_mulhi_epu16(fours, _mm256_set1_epi16(5243)));
    let lower = _mm256_sub_epi16(fours, _mm256_mullo_epi16(upper, _mm256_set1_epi16(100)));
    let pairs = _mm256_or_si256(upper, _mm256_slli_epi32::<16>(lower));
    let upper = _mm256_mulhi_epu16(pairs, _mm256_set1_epi16(6554));
    let lower = _mm256_sub_epi16(pairs, _mm256_mullo_epi16(upper, _mm256_set1_epi16(10)));
    _mm256_or_si256(upper, _mm256_slli_epi16::<8>(lower))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::print::tests::random;

    #[test]
    fn most_numbers_are_printed_by_groups() {
        if !are_here() {
            let mut text = Vec::new();
            assert_eq!((append_text(&[[0.3; GROUP]], &mut text), text.len()), (0, 0));
            return;
        }
        let sizes = [1.1e-5, 0.003, 0.3, -0.3, 3.0, 300.3, 123_456.7, 9.9e6];
        let mut found = Decimals::default();
        // SAFETY: the processor has what it takes, as just asked.
        #[allow(unsafe_code)]
        unsafe {
            found.find(&sizes)
        };
        assert_eq!(found.others, 0);
        let exponents = found.exponents.as_flattened();
        assert_eq!(exponents, [0, 2, 4, 4, 5, 7, 10, 11]);
        let mut found = Decimals::default();
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            found.find(&[0.0, -0.0, 1.0, 0.25, 1e300, 1e-300, 5e-324, 0.3]);
        }
        assert_eq!(found.others, 0b0111_1111);
    }

    /// Numbers of all magnitudes that are printed here, and some that are not, with few digits and
    /// many.
    fn numbers(count: usize) -> Vec<[f64; GROUP]> {
        let mut bits = random();
        let mut random = || bits.next().expect("it has no end") >> 11;
        let mut number = || {
            let scale = 10_f64.powi((random() % 14) as i32 - 6);
            let digits = 10_u64.pow((random() % 17) as u32 + 1);
            let sign = if random() % 2 == 0 { 1.0 } else { -1.0 };
            match random() % 4 {
                0 => sign * f64::from_bits((random() % 64 + 990) << MANTISSA_BITS | random() >> 1),
                1 => sign * scale * (random() % 1000) as f64,
                2 => sign * 2_f64.powi((random() % 60) as i32 - 30),
                _ => sign * scale * ((random() % digits) as f64 / digits as f64),
            }
        };
        (0..count).map(|_| array::from_fn(|_| number())).collect()
    }

    #[test]
    fn the_widest_vectors_print_what_others_do() {
        let numbers = numbers(20_000);
        let mut expected = Vec::new();
        for number in numbers.as_flattened() {
            let mut text = [0; PRINTED_BYTES_MAX];
            let length = print_rare(*number, &mut text);
            expected.extend_from_slice(&text[..length]);
            expected.push(b',');
        }
        type Print<'a> = &'a dyn Fn(&[[f64; GROUP]; 4], &mut [u8]) -> usize;
        let print_all = |print: Print| {
            let (mut text, mut end) = (alloc::vec![0; expected.len() + 4096], 0);
            for groups in numbers.as_chunks().0 {
                end += print(groups, &mut text[end..]);
            }
            text.truncate(end);
            text
        };
        // SAFETY: the processor has what it takes, as each is asked for.
        #[allow(unsafe_code)]
        unsafe {
            if are_here() {
                assert!(print_all(&|groups, out| print(groups, out)) == expected);
            }
            if has_byte_vectors() {
                assert!(print_all(&|groups, out| print_wide::print(groups, out)) == expected);
            }
        }
    }

    #[test]
    fn room_is_made_once_and_given_back() {
        let longest = [[-1.234_567_890_123_456_7e-5; GROUP]; GROUPS_MAX + 1];
        let longest_bytes = longest.as_flattened().len() * JSON_NUMBER_BYTES_MAX;
        let mut text = Vec::with_capacity(longest_bytes + PRINTED_BYTES_MAX);
        let capacity = text.capacity();
        let count = append_text(&longest, &mut text);
        assert!(count == 0 || count == longest.len());
        assert!(text.iter().all(|byte| *byte != 0));
        assert_eq!(text.capacity(), capacity);
    }
}
