//! Numbers printed with the fewest digits that read back as the same number, and of as many digits
//! the nearest.
//!
//! What is here is for numbers as most are, of which it prints the same as `zmij` does, sooner: it
//! has no branch on how many digits there are, which no processor foresees, and writes words over
//! each other instead of moving what it has written.

use core::hint::select_unpredictable;

/// Bytes that a number is printed into: more than it takes, since whole words are written.
pub const PRINTED_BYTES_MAX: usize = 32;

/// The exponents of ten of numbers that are printed here. What is smaller has an exponent in its
/// text; of what is larger, more than a word is in front of the point.
pub const EXPONENTS: core::ops::RangeInclusive<i32> = -5..=6;

pub const MANTISSA_BITS: u32 = 52;
/// The exponent of two of the last bit of a number whose exponent is stored as zero, negated.
pub const EXPONENT_BIAS: i32 = 1075;
/// The logarithm of two to the base of ten, by 2^20: near enough for every exponent to be rounded
/// down as it should be.
pub const LOG10_OF_2: i32 = 315_653;

/// Bits between the upper word of a scaled number and its whole part.
const EXTRA_BITS: i32 = 6;
/// Whole numbers from here on have sixteen digits.
const SIXTEEN_DIGITS: u64 = 1_000_000_000_000_000;

/// Powers of ten, the uppermost bit in the uppermost place. All of their bits are there but zeros.
const POWERS_OF_TEN: [u64; 28] = {
    let mut powers = [0; 28];
    let mut power: u128 = 1;
    let mut at = 0;
    while at < powers.len() {
        let shifted = power << power.leading_zeros();
        assert!(shifted as u64 == 0, "a power of five that a word holds");
        powers[at] = (shifted >> 64) as u64;
        power *= 10;
        at += 1;
    }
    powers
};

/// Prints a number, and returns its length. It must not be infinite or NaN.
#[inline(always)]
pub fn print_any(number: f64, out: &mut [u8; PRINTED_BYTES_MAX]) -> usize {
    print_plain(number, out).unwrap_or_else(|| print_rare(number, out))
}

/// Prints a number that is not for [`print_plain`].
#[cold]
#[inline(never)]
pub fn print_rare(number: f64, out: &mut [u8; PRINTED_BYTES_MAX]) -> usize {
    let mut text = zmij::Buffer::new();
    let text = text.format_finite(number).as_bytes();
    out[..text.len()].copy_from_slice(text);
    text.len()
}

/// Prints a number, and returns its length, if it is one that this is for: none of the numbers
/// without an exponent of ten in [`EXPONENTS`], and no power of two.
#[inline(always)]
fn print_plain(number: f64, out: &mut [u8; PRINTED_BYTES_MAX]) -> Option<usize> {
    let Decimal { digits, last, has_last, exponent } = shortest(number.abs().to_bits())?;
    if !EXPONENTS.contains(&exponent) {
        return None;
    }
    let upper = digits / 100_000_000;
    let [first, second] = [upper, digits - upper * 100_000_000].map(eight_digits);
    let zeros = match second {
        0 => 8 + first.leading_zeros() / 8,
        _ => second.leading_zeros() / 8,
    };
    let count = select_unpredictable(has_last, 17, 16 - zeros as usize);
    let [first, second] = [first, second].map(|digits| digits | 0x3030_3030_3030_3030);
    let last = b'0' + last as u8;
    out[0] = b'-';
    let sign_bytes = usize::from(number.is_sign_negative());
    let out = out[sign_bytes..].first_chunk_mut()?;
    if exponent < 0 {
        // What is too much of the zeros gets digits written over it.
        let start = 1 + exponent.unsigned_abs() as usize;
        put(out, 0, u64::from_le_bytes(*b"0.000000"));
        put(out, start, first);
        put(out, start + 8, second);
        *out.get_mut(start + 16)? = last;
        return Some(sign_bytes + start + count);
    }
    // As if the point stood in front; then the word with the point where it is.
    put(out, 1, first);
    put(out, 9, second);
    out[17] = last;
    let whole_digits = exponent as usize + 1;
    let point_bits = 8 * whole_digits;
    let before = (1 << point_bits) - 1;
    let behind = !(before << 8 | 0xff);
    let point = u64::from(b'.') << point_bits;
    put(out, 0, first & before | point | first << 8 & behind);
    // A digit stands behind every point.
    Some(sign_bytes + 1 + count.max(whole_digits + 1))
}

/// Bytes that are written to behind the sign.
const UNSIGNED_BYTES: usize = PRINTED_BYTES_MAX - 1;

#[inline(always)]
fn put(out: &mut [u8; UNSIGNED_BYTES], at: usize, word: u64) {
    let place = out.get_mut(at..).and_then(|behind| behind.first_chunk_mut());
    if let Some(place) = place {
        *place = word.to_le_bytes();
    }
}

/// The exponent of the greatest power of ten that is no more than this one of two.
#[inline(always)]
pub const fn decimal_exponent(binary: i32) -> i32 {
    (binary * LOG10_OF_2) >> 20
}

struct Decimal {
    /// Sixteen digits, the first of which is not zero.
    digits: u64,
    /// One more, which is to be written if `has_last`.
    last: u64,
    has_last: bool,
    /// The exponent of ten of the first.
    exponent: i32,
}

/// The decimal of a positive number, after Zverovich's Żmij, which comes of Giulietti's Schubfach:
/// a power of ten scales the number to a whole part of 15 or 16 digits. If a whole number is within
/// half a unit in the last place of the binary, that is the decimal; else it takes one more digit,
/// and the nearest of those reads back. Here the power is exact, and so is its product.
#[inline(always)]
fn shortest(bits: u64) -> Option<Decimal> {
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    // Zero, and powers of two, to which the number below is nearer than the one above.
    if mantissa == 0 {
        return None;
    }
    let binary = (bits >> MANTISSA_BITS) as i32 - EXPONENT_BIAS;
    let decimal = decimal_exponent(binary);
    let scale = (-decimal - 1) as usize;
    let power = *POWERS_OF_TEN.get(scale)?;
    // The logarithm of ten to the base of two, as near.
    let shift = (binary + ((scale as i32 * 217_707) >> 16) + 1 + EXTRA_BITS) as u32;
    let significand = (mantissa | 1 << MANTISSA_BITS) << (shift & 63);
    let product = u128::from(significand) * u128::from(power);
    let (upper, lower) = ((product >> 64) as u64, product as u64);
    let fraction = upper << (64 - EXTRA_BITS) | lower >> EXTRA_BITS;
    // What is just half a unit away reads back where ties go to it: where its last bit is zero.
    let is_even = mantissa & 1 == 0;
    let half_unit =
        (power >> ((EXTRA_BITS as u32 + 1).wrapping_sub(shift) & 63)) + u64::from(is_even);
    let is_up = fraction.checked_add(half_unit).is_none();
    let is_down = half_unit > fraction;
    let has_last = !(is_up | is_down);
    let whole = (upper >> EXTRA_BITS) + u64::from(is_up);
    // The fraction lacks its last bits, for which there is the six. A half goes up, but 2.5 to 2.
    let tenths = (u128::from(fraction) * 10 + ((1 << 63) + 6)) >> 64;
    let last = if fraction == 1 << 62 { 2 } else { tenths as u64 };
    // Of fifteen digits and one more are made sixteen.
    let is_short = whole < SIXTEEN_DIGITS;
    let sixteenth = select_unpredictable(has_last, last, 0);
    Some(Decimal {
        digits: select_unpredictable(is_short, whole * 10 + sixteenth, whole),
        last,
        has_last: has_last & !is_short,
        exponent: decimal + 16 - i32::from(is_short),
    })
}

/// The digits of a number below 10^8, each a byte, the first in the lowest: halves, then fours,
/// then pairs are split, each with one multiplication for all. 5243 / 2^19 is a hundredth, and 103
/// / 2^10 a tenth, exact enough for the numbers that are divided.
#[inline(always)]
pub fn eight_digits(number: u64) -> u64 {
    let upper = number / 10_000;
    let fours = upper | (number - upper * 10_000) << 32;
    let hundreds = ((fours * 5243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

#[cfg(test)]
pub mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::str;

    use super::*;
    use crate::json::append_text;

    /// Of so many numbers, how many were printed here; those must be what zmij prints, and so must
    /// all of them where they are printed by groups.
    fn printed_count(numbers: impl Iterator<Item = f64>) -> usize {
        let numbers: Vec<f64> = numbers.collect();
        let mut expected = zmij::Buffer::new();
        let mut out = [b'x'; PRINTED_BYTES_MAX];
        let mut count = 0;
        for number in &numbers {
            if let Some(length) = print_plain(*number, &mut out) {
                let expected = expected.format_finite(*number).as_bytes();
                assert_eq!(&out[..length], expected, "{number:e}");
                count += 1;
            }
        }
        let (groups, _) = numbers.as_chunks();
        let mut text = b"text before".to_vec();
        let group_count = append_text(groups, &mut text);
        let text = str::from_utf8(&text).ok().and_then(|text| text.strip_prefix("text before"));
        let mut texts = text.expect("text behind the text before").split(',');
        for number in groups[..group_count].as_flattened() {
            assert_eq!(texts.next(), Some(expected.format_finite(*number)));
        }
        assert_eq!(texts.collect::<String>(), "");
        count
    }

    /// Numbers that look random, from Vigna's xorshift.
    pub fn random() -> impl Iterator<Item = u64> {
        core::iter::successors(Some(88_172_645_463_325_252_u64), |last| {
            let next = last ^ (last << 13);
            let next = next ^ (next >> 7);
            Some(next ^ (next << 17))
        })
    }

    #[test]
    fn numbers_of_every_size_are_printed_as_zmij_does() {
        const COUNT: usize = 400_000;
        let unit = |bits: u64| (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        let sizes = (-7..=9).map(|size| 10_f64.powi(size)).cycle();
        let numbers = random().zip(sizes).map(|(bits, size)| unit(bits) * size);
        // Those of twelve of the seventeen sizes, or nearly.
        let count = printed_count(numbers.take(COUNT));
        assert!((COUNT * 2 / 3..COUNT * 3 / 4).contains(&count), "{count}");
    }

    #[test]
    fn numbers_of_few_digits_are_printed_as_zmij_does() {
        let numbers = random().zip(0..400_000).map(|(bits, index)| {
            let digits = (bits % 10_u64.pow(1 + index % 9)) as f64;
            (if bits >> 63 == 1 { -digits } else { digits }) / 10_f64.powi(index as i32 % 11)
        });
        assert!(printed_count(numbers) > 200_000);
    }

    /// Decimals with ties and carries are near those of few digits, and the ends of what is printed
    /// here are near powers of ten; ends of mantissas are near powers of two.
    #[test]
    fn numbers_beside_round_ones_are_printed_as_zmij_does() {
        let tens = (-8..=17).map(|exponent| 10_f64.powi(exponent));
        let twos = (-80..=80).map(|exponent| 2_f64.powi(exponent));
        let quarters = (1..40).map(|quarters| f64::from(quarters) / 4.0 + (1_u64 << 50) as f64);
        let round = tens.chain(twos).chain(quarters);
        let multiples =
            round.flat_map(|round| (1..100).map(move |factor| round * f64::from(factor)));
        let near = multiples.flat_map(|number| {
            (-20..=20).map(move |step| f64::from_bits(number.to_bits().wrapping_add_signed(step)))
        });
        assert!(printed_count(near.flat_map(|number| [number, -number])) > 100_000);
    }

    #[test]
    fn what_is_not_for_this_is_left_alone() {
        let mut out = [0; PRINTED_BYTES_MAX];
        for number in [0.0, -0.0, 1.0, 0.5, 9.9e-6, 1.0e7 + 0.1, 1e300, f64::from_bits(1), f64::NAN]
        {
            assert_eq!(print_plain(number, &mut out), None, "{number:e}");
        }
    }

    #[test]
    fn words_have_their_digits() {
        for number in [0, 1, 9, 10, 99, 100, 9999, 10_000, 12_345_678, 99_999_999] {
            let digits = alloc::format!("{number:08}");
            assert_eq!(
                (eight_digits(number) | 0x3030_3030_3030_3030).to_le_bytes(),
                digits.as_bytes()
            );
        }
    }
}
