//! Numbers: the grammar and the value in one pass.

use core::str;

use super::decimal::{self, Number};
use super::digits::{beginning, eight_digits, word};
use super::error::Error;

/// Digits that a `u64` always holds.
const DIGITS_MAX: usize = 19;
/// Beyond this any exponent is one too many, in either direction, for any number of digits that a
/// text can have.
const EXPONENT_BOUND: i64 = 1 << 60;

/// Whether a minus or a digit stands at a place: two ranges, so that there is no branch on the
/// sign, which no processor foresees.
#[inline(always)]
pub fn starts_number(text: &[u8], at: usize) -> bool {
    let byte = text.get(at);
    matches!(byte, Some(b'-'..=b'9')) && !matches!(byte, Some(b'.' | b'/'))
}

/// The number that starts at a place, where a minus or a digit stands, rounded once, and where it
/// ends. It is infinite where it overflows the type.
///
/// What most numbers look like is read here; all others are read again from their beginning, in a
/// function of their own: so the loop that this becomes a part of keeps what it counts in
/// registers.
#[inline(always)]
pub fn number<T: Number>(text: &[u8], start: usize) -> Result<(T, usize), Error> {
    debug_assert!(starts_number(text, start), "the caller has looked");
    match common(text, start) {
        Some(found) => Ok(found),
        None => any(text, start),
    }
}

/// The number that starts at a place, and where it ends, if it has its point or its end within
/// eight digits, no more digits than a `u64` holds, no exponent unless there are many digits, and
/// something behind it.
#[inline(always)]
fn common<T: Number>(text: &[u8], start: usize) -> Option<(T, usize)> {
    // Both words are read before the sign is known, and one is taken by a mask made of the bit that
    // minus lacks and all digits have: a comparison would become a branch.
    let bytes: &[u8; 9] = text.get(start..)?.first_chunk()?;
    let (with_sign, without) = (word(bytes, 0)?, word(bytes, 1)?);
    let mask = !((with_sign << 59) as i64 >> 63) as u64;
    let is_negative = mask & 1 == 1;
    let whole_start = start + (mask & 1) as usize;
    let begins = beginning(with_sign ^ ((with_sign ^ without) & mask))?;
    let mut significand = begins.significand;
    let mut at = whole_start + begins.length;
    let point = usize::from(begins.length > begins.whole_digits);
    if begins.is_open {
        let open_end = at;
        at = many_digits(text, at, &mut significand);
        let digit_count = at - whole_start - 1;
        let is_point_last = at == open_end && begins.whole_digits == 7;
        if is_point_last || digit_count > DIGITS_MAX {
            return None;
        }
    }
    let exponent = (whole_start + begins.whole_digits + point) as i64 - at as i64;
    if begins.is_open && byte(text, at) | 0x20 == b'e' {
        let (number, at) = scaled::<T>(text, at, significand, exponent)?;
        return Some((number.negated_if(is_negative), at));
    }
    let number: T = decimal::round(significand, exponent)?;
    Some((number.negated_if(is_negative), at))
}

/// A number with an exponent, the letter of which is at a place, and where it ends, if both are in
/// order.
#[inline(never)]
fn scaled<T: Number>(
    text: &[u8],
    at: usize,
    significand: u64,
    exponent: i64,
) -> Option<(T, usize)> {
    let (written, at) = written_exponent(text, at + 1).ok()?;
    Some((decimal::round(significand, exponent + written)?, at))
}

/// Reads any number there is.
#[inline(never)]
fn any<T: Number>(text: &[u8], start: usize) -> Result<(T, usize), Error> {
    let is_negative = byte(text, start) == b'-';
    let whole_start = start + usize::from(is_negative);
    // Wraps where there are more digits than it holds, which is seen below.
    let mut significand = 0;
    let mut at = many_digits(text, whole_start, &mut significand);
    if at == whole_start {
        return Err(Error::Malformed { at, wanted: "a digit" });
    }
    if at > whole_start + 1 && text[whole_start] == b'0' {
        return Err(Error::Malformed { at: whole_start, wanted: "no leading zero" });
    }
    let mut digit_count = at - whole_start;
    let mut exponent = 0;
    if byte(text, at) == b'.' {
        let fraction_start = at + 1;
        at = many_digits(text, fraction_start, &mut significand);
        let fraction_count = at - fraction_start;
        if fraction_count == 0 {
            return Err(Error::Malformed { at, wanted: "a digit" });
        }
        digit_count += fraction_count;
        exponent = -(fraction_count as i64);
    }
    if byte(text, at) | 0x20 == b'e' {
        let written;
        (written, at) = written_exponent(text, at + 1)?;
        exponent += written;
    }
    let number: T = if digit_count > DIGITS_MAX {
        round_long(&text[whole_start..at], significand, exponent)
    } else {
        match decimal::round(significand, exponent) {
            Some(number) => number,
            None => round_text(&text[whole_start..at]),
        }
    };
    Ok((number.negated_if(is_negative), at))
}

/// The byte at a place, or zero, which is no part of JSON, behind the end.
#[inline(always)]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// Appends the digits from a place on to a number; where they end.
#[inline(always)]
fn few_digits(text: &[u8], mut at: usize, number: &mut u64) -> usize {
    loop {
        let digit = byte(text, at).wrapping_sub(b'0');
        if digit > 9 {
            return at;
        }
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
}

/// As [`few_digits`], for where there often are eight or more.
///
/// That a word is all digits is asked by a branch, not computed with: the processor foresees it
/// and goes on reading while it computes, where a count of digits would have to be waited for.
#[inline(always)]
fn many_digits(text: &[u8], mut at: usize, number: &mut u64) -> usize {
    while let Some(value) = eight_digits(text, at) {
        *number = number.wrapping_mul(100_000_000).wrapping_add(value);
        at += 8;
    }
    few_digits(text, at, number)
}

/// The exponent behind its letter, and where it ends.
#[inline(never)]
fn written_exponent(text: &[u8], start: usize) -> Result<(i64, usize), Error> {
    let sign = byte(text, start);
    let digits_start = start + usize::from(matches!(sign, b'+' | b'-'));
    let mut at = digits_start;
    let mut exponent = 0_i64;
    while let digit @ b'0'..=b'9' = byte(text, at) {
        exponent = (exponent * 10 + i64::from(digit - b'0')).min(EXPONENT_BOUND / 10);
        at += 1;
    }
    if at == digits_start {
        return Err(Error::Malformed { at, wanted: "a digit" });
    }
    Ok((if sign == b'-' { -exponent } else { exponent }, at))
}

/// Rounds a number of many digits, of which the leading ones may be zeros.
#[cold]
fn round_long<T: Number>(text: &[u8], significand: u64, exponent: i64) -> T {
    let mantissa = text.split(|byte| byte | 0x20 == b'e').next().unwrap_or_default();
    let significant = mantissa.iter().skip_while(|byte| matches!(byte, b'0' | b'.'));
    let digit_count = significant.filter(|byte| byte.is_ascii_digit()).count();
    if digit_count > DIGITS_MAX {
        return round_text(text);
    }
    decimal::round(significand, exponent).unwrap_or_else(|| round_text(text))
}

/// Rounds by the standard library, which takes every number that JSON's grammar does.
#[cold]
fn round_text<T: Number>(text: &[u8]) -> T {
    let parsed = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.expect("digits, a point and an exponent, as just seen")
}
