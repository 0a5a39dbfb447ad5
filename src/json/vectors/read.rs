//! Many numbers read at once.
//!
//! One number after the other waits to be told where the one before ends, and branches on how many
//! digits there are, which no processor foresees. Here three passes go over a few hundred bytes,
//! and none of them does either: where the points and commas are; the digits of each number, moved
//! to one place of a vector and joined to integers of eight digits; and, for four numbers at a
//! time, the [`quotients`] by powers of ten.

use alloc::vec::Vec;
use core::arch::x86_64::*;

use super::quotients::{DIGITS_MAX, quotients};
use super::separators::{Separator, Separators};
use super::{are_here, read_wide};
use crate::gemm::has_byte_vectors;
use crate::json::decimal::Number;
use crate::json::number::{number, starts_number};
use crate::json::rows::Rows;

/// Numbers that go through the second and the third pass together.
pub const BATCH: usize = 16;
/// Bytes that go through the first pass together: a batch of numbers of 14 digits.
const SPAN: usize = 256;
/// Bytes in front of a span that are loaded with a number at its start, and behind it at its end.
pub const AROUND: usize = 33;
/// Bytes of a number behind its sign: its digits, and its point.
pub const LENGTH_MAX: usize = DIGITS_MAX + 1;
/// Fewer numbers than this at once cost more than one by one, and so do shorter runs between
/// others.
pub const APPENDED_MIN: usize = 12;
const RUN_MIN: usize = 4;
/// Entries of marks that are written at a time.
const OCTET: usize = 8;

type Window = [u8; AROUND + SPAN + AROUND];
/// Where in a span points and commas are.
type Marks = [u8; SPAN + OCTET];

/// The integers of digits, and how many of these are behind the point.
#[repr(align(64))]
struct Batch {
    /// Of each number eight integers of up to eight digits, of which the second, the fifth and the
    /// sixth are in use, the last digits in the last; the first has the sign in its upper bit.
    eights: [[u32; 8]; BATCH],
    fractions: [u32; BATCH],
}

impl Rows {
    /// Notes numbers that another or another row stands behind.
    pub fn pass(&mut self, count: usize) {
        self.left -= count;
        self.position += count;
        while self.position >= self.length {
            self.position -= self.length;
            self.ended += 1;
        }
    }
}

/// As many bytes without a bit as with all, so that a load from within is a mask.
#[repr(align(64))]
struct Ramp([u8; 64]);

static RAMP: Ramp = Ramp({
    let mut ramp = [0; 64];
    let (_, all) = ramp.split_at_mut(32);
    let mut at = 0;
    while at < all.len() {
        all[at] = 0xff;
        at += 1;
    }
    ramp
});

/// Appends numbers of an array from a place on, as long as another or a row of them follows and as
/// many as may; the place where what follows starts. The place is where a number starts, behind
/// another or another row.
///
/// It appends none where the first has no point, near either end of the text, and where the
/// processor lacks the instructions.
#[inline]
pub fn append_numbers<T: Number>(
    text: &[u8],
    at: usize,
    elements: &mut Vec<T>,
    rows: &mut Rows,
) -> usize {
    let is_too_long = rows.position >= rows.length;
    if is_too_long || window(text, at).is_none() || !has_point(text, at) || !are_here() {
        return at;
    }
    let mut at = at;
    // SAFETY: the processor has what each takes, as just asked.
    #[allow(unsafe_code)]
    unsafe {
        // What the wider vectors leave is near the end of the text, or of another kind.
        if rows.length >= BATCH && has_byte_vectors() {
            at = read_wide::append_batches(text, at, elements, rows);
        }
        append_spans(text, at, elements, rows)
    }
}

#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn append_spans<T: Number>(
    text: &[u8],
    mut at: usize,
    elements: &mut Vec<T>,
    rows: &mut Rows,
) -> usize {
    let separators = Separators::before(text, at);
    let mut batch = Batch { eights: [[0; 8]; BATCH], fractions: [0; BATCH] };
    let mut marks = [0; SPAN + OCTET];
    while let Some(window) = window(text, at) {
        let mark_count = mark(window, &mut marks);
        let mut marks = &marks[..mark_count];
        let start = at;
        while rows.left > 0 && marks.len() > 1 {
            let (batch_start, batch_rows) = (at, *rows);
            let mut offset = at - start;
            let count = read_digits(window, &mut offset, marks, separators, rows, &mut batch);
            at = start + offset;
            if !append_quotients(&batch, count, elements) {
                *rows = batch_rows;
                append_each(text, batch_start, separators, rows, count, elements);
            }
            marks = &marks[2 * count..];
            if count == BATCH || rows.left == 0 || marks.len() < 2 {
                continue;
            }
            let Some(behind) = append_other(text, at, separators, rows, count, elements) else {
                return at;
            };
            at = behind;
            let passed = marks.iter().take_while(|mark| start + usize::from(**mark) < at);
            marks = &marks[passed.count()..];
        }
        if rows.left == 0 || at == start {
            break;
        }
    }
    at
}

/// Whether one of the eight bytes from a place on is a point.
fn has_point(text: &[u8], at: usize) -> bool {
    text[at..].first_chunk::<8>().is_some_and(|bytes| bytes.contains(&b'.'))
}

/// The span from a place on, and what is around it.
#[inline(always)]
fn window(text: &[u8], at: usize) -> Option<&Window> {
    text.get(at.checked_sub(AROUND)?..)?.first_chunk()
}

/// Appends so many numbers, or those before the first that is none or has no separator behind it,
/// one after the other; the place behind the last separator.
#[cold]
#[inline(never)]
pub fn append_each<T: Number>(
    text: &[u8],
    mut at: usize,
    separators: Separators,
    rows: &mut Rows,
    count: usize,
    elements: &mut Vec<T>,
) -> usize {
    for _ in 0..count {
        let separator = separators.next(rows);
        // White space may stand there, in front of the number.
        if !starts_number(text, at) {
            break;
        }
        match number::<T>(text, at) {
            Ok((number, end)) if number.is_finite() && separator.is_at(text, end) => {
                elements.push(number);
                rows.pass(1);
                at = end + separator.bytes;
            }
            _ => break,
        }
    }
    at
}

/// Appends a number of another kind, which stands behind `count` of those that are read at once:
/// without a point, with an exponent, or of very many digits; the place behind its separator. None
/// where it is none at all, or where so few were before it that all are sooner read one by one.
#[inline(always)]
pub fn append_other<T: Number>(
    text: &[u8],
    at: usize,
    separators: Separators,
    rows: &mut Rows,
    count: usize,
    elements: &mut Vec<T>,
) -> Option<usize> {
    if count < RUN_MIN {
        return None;
    }
    let behind = append_each(text, at, separators, rows, 1, elements);
    (behind > at).then_some(behind)
}

/// Where the points and commas of a span are; how many.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn mark(window: &Window, marks: &mut Marks) -> usize {
    /// A point is a comma but for this bit.
    const POINT: u8 = b',' ^ b'.';
    let mut count = 0;
    for start in (0..SPAN).step_by(64) {
        let [lower, upper] = [start, start + 32].map(|start| {
            let bytes = load(window, AROUND + start);
            let bytes = _mm256_or_si256(bytes, _mm256_set1_epi8(POINT as i8));
            let is_mark = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'.' as i8));
            u64::from(_mm256_movemask_epi8(is_mark).cast_unsigned())
        });
        let mut bits = lower | upper << 32;
        let count_before = count;
        count += bits.count_ones() as usize;
        // All entries of an octet are written, those behind the last mark with whatever comes, so
        // that only the number of octets is branched on.
        for octet in (count_before..count).step_by(OCTET) {
            let Some(entries) = marks[octet..].first_chunk_mut::<OCTET>() else { break };
            for entry in entries {
                *entry = (start as u8).wrapping_add(bits.trailing_zeros() as u8);
                bits &= bits.wrapping_sub(1);
            }
        }
    }
    count
}

/// Puts numbers of digits with a point, and a separator behind, from an offset in the span on into
/// a batch, as long as there is room and they are such; how many. It goes by the marks from the
/// offset on, and moves that behind the last separator.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn read_digits(
    window: &Window,
    offset: &mut usize,
    marks: &[u8],
    separators: Separators,
    rows: &mut Rows,
    batch: &mut Batch,
) -> usize {
    let marks = marks.as_chunks::<2>().0;
    let limit = BATCH.min(rows.left).min(marks.len());
    let mut start = AROUND + *offset;
    let mut row_left = rows.length - rows.position;
    let mut count = 0;
    'batch: while count < limit {
        // All but the last of a row, which has something else behind it.
        let end = limit.min(count + row_left.min(BATCH + 1) - 1);
        let places = batch.eights[count..end].iter_mut().zip(&mut batch.fractions[count..end]);
        for ((eights, fraction), [point, comma]) in places.zip(&marks[count..end]) {
            let (point, end) = (AROUND + usize::from(*point), AROUND + usize::from(*comma));
            let within = separators.within;
            let Some(digits) = digits(window, start, point, end, within) else { break 'batch };
            (*eights, *fraction) = digits;
            start = end + within.bytes;
            row_left -= 1;
            count += 1;
        }
        if row_left == 1 && count < limit {
            let [point, comma] = marks[count].map(|mark| AROUND + usize::from(mark));
            // Behind the bracket.
            let (end, between) = (comma - 1, separators.between);
            let Some(digits) = digits(window, start, point, end, between) else { break };
            (batch.eights[count], batch.fractions[count]) = digits;
            start = end + between.bytes;
            row_left = rows.length;
            count += 1;
        }
    }
    rows.pass(count);
    *offset = start - AROUND;
    count
}

/// The integers of a number's digits, and how many of these are behind the point, which is given
/// and where the number ends; none if it is not such a number, or has no separator behind it.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn digits(
    window: &Window,
    start: usize,
    point: usize,
    end: usize,
    separator: Separator,
) -> Option<([u32; 8], u32)> {
    let is_negative = usize::from(window[start] == b'-');
    let first = start + is_negative;
    let whole_count = point.wrapping_sub(first);
    let fraction_count = end.wrapping_sub(point + 1);
    let length = end.wrapping_sub(first);
    // The first byte is a digit where the point is right behind it; else, one of 1 to 9.
    let is_other = (window[point] != b'.')
        | ((window[first] <= b'0') & (whole_count != 1))
        | (fraction_count == 0)
        | (length > LENGTH_MAX)
        | !separator.is_at(window, end);
    if is_other {
        return None;
    }
    // What ends where the fraction does, and what ends one byte before: behind the point of the one
    // and before the point of the other, digits are where they are to be.
    let (behind, before) = (load(window, end - 32), load(window, end - 33));
    let is_behind = load(&RAMP.0, fraction_count % 32);
    let is_digit = load(&RAMP.0, (length - 1) % 32);
    let bytes = _mm256_blendv_epi8(before, behind, is_behind);
    let values = _mm256_sub_epi8(bytes, _mm256_set1_epi8(b'0' as i8));
    let digits = _mm256_and_si256(values, is_digit);
    let others = _mm256_subs_epu8(digits, _mm256_set1_epi8(9));
    if _mm256_testz_si256(others, others) == 0 {
        return None;
    }
    let pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x01_0a));
    let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_0064));
    let fours = _mm256_packus_epi32(fours, fours);
    let integers = _mm256_madd_epi16(fours, _mm256_set1_epi32(0x0001_2710));
    let sign = _mm256_zextsi128_si256(_mm_cvtsi32_si128((is_negative as i32) << 31));
    Some((bytemuck::cast(_mm256_or_si256(integers, sign)), fraction_count as u32))
}

/// Appends the numbers of a batch's digits, as [`append_nearest`] does.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn append_quotients<T: Number>(batch: &Batch, count: usize, elements: &mut Vec<T>) -> bool {
    let mut numbers = [[0.0; 4]; BATCH / 4];
    let fours = batch.eights.as_chunks().0.iter().zip(batch.fractions.as_chunks().0);
    for (numbers, (eights, fractions)) in numbers.iter_mut().zip(fours).take(count.div_ceil(4)) {
        *numbers = bytemuck::cast(quotients(eights, fractions));
    }
    append_nearest(&bytemuck::cast(numbers), count, elements)
}

/// Appends the first of a batch of numbers, unless one of them would have to be rounded twice.
#[inline(always)]
pub fn append_nearest<T: Number>(
    numbers: &[f64; BATCH],
    count: usize,
    elements: &mut Vec<T>,
) -> bool {
    if numbers.iter().any(|number| T::is_middle(*number)) {
        return false;
    }
    let numbers = numbers.map(T::nearest);
    // Copying all of them takes no loop, where there is room.
    if elements.capacity() - elements.len() >= BATCH {
        elements.extend_from_slice(&numbers);
        elements.truncate(elements.len() - (BATCH - count));
    } else {
        elements.extend_from_slice(&numbers[..count]);
    }
    true
}

/// 32 bytes from a place on.
#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
#[inline]
fn load<const LENGTH: usize>(bytes: &[u8; LENGTH], at: usize) -> __m256i {
    let bytes: &[u8; 32] = bytes[at..].first_chunk().expect("places are within a window");
    bytemuck::cast(*bytes)
}

#[cfg(test)]
mod tests;
