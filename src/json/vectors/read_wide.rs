//! Many numbers read at once in vectors of 512 bits.
//!
//! As in [`read`](super::read), points and commas are found first; but those of some thousand
//! bytes, so that for a batch of sixteen numbers nothing has to be known of the batch before but
//! its last comma. What such numbers have to be, and where their digits are, is found for all of a
//! batch, in lanes; the digits of two of them are read at a time, and the quotients of eight.

use alloc::vec::Vec;
use core::arch::x86_64::*;

use super::quotients::eight_quotients;
use super::read::{AROUND, BATCH, LENGTH_MAX, append_each, append_nearest, append_other};
use super::separators::Separators;
use crate::json::decimal::Number;
use crate::json::rows::Rows;

/// Bytes whose points and commas are found together.
const CHUNK: usize = 4096;
/// Bytes of a vector.
const WIDE: usize = 64;
/// Of numbers in a batch, whose digits are read together.
const PAIRS: usize = BATCH / 2;

/// A chunk, and what is around it.
type Window = [u8; AROUND + CHUNK + AROUND];
/// The points and commas of a chunk, and room for what is written behind them. An entry has the
/// byte within a block in its lower six bits, then one that is set for a point, then the block.
type Marks = [u16; CHUNK + WIDE];

const POINT_BIT: u8 = 1 << 6;

static INDICES: [u8; WIDE] = {
    let mut indices = [0; WIDE];
    let mut at = 0;
    while at < WIDE {
        indices[at] = at as u8;
        at += 1;
    }
    indices
};

/// Appends numbers as [`append_numbers`](super::append_numbers) does, of rows that are no shorter
/// than a batch, as long as whole chunks follow.
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,popcnt"
)]
pub fn append_batches<T: Number>(
    text: &[u8],
    mut at: usize,
    elements: &mut Vec<T>,
    rows: &mut Rows,
) -> usize {
    let separators = Separators::before(text, at);
    let mut marks = [0; CHUNK + WIDE];
    while rows.left > 0
        && let Some(window) = text.get(at.wrapping_sub(AROUND)..).and_then(|it| it.first_chunk())
    {
        let mark_count = mark(window, &mut marks);
        let (start, mut first) = (at, 0);
        while rows.left > 0 && mark_count > first + 1 {
            let limit = BATCH.min(rows.left).min((mark_count - first) / 2);
            let Some(places) = marks[first..].first_chunk() else { break };
            let batch = Batch::find(window, at - start, places, limit, rows, separators);
            let Some((count, end)) = batch.append(window, elements) else {
                // One is of something else than digits, or has to be rounded in another way.
                let left_before = rows.left;
                at = append_each(text, at, separators, rows, batch.count, elements);
                if left_before - rows.left < batch.count {
                    return at;
                }
                first += 2 * batch.count;
                continue;
            };
            if count > 0 {
                at = start + end + separators.last(rows, count).bytes;
                rows.pass(count);
                first += 2 * count;
            }
            if count == limit {
                continue;
            }
            let Some(behind) = append_other(text, at, separators, rows, count, elements) else {
                return at;
            };
            at = behind;
            let places = marks[first..mark_count].iter();
            first += places.take_while(|mark| start + place(**mark) < at).count();
        }
        if at == start {
            break;
        }
    }
    at
}

/// Finds the points and commas of a chunk; how many there are.
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,popcnt"
)]
#[inline]
fn mark(window: &Window, marks: &mut Marks) -> usize {
    /// A point is a comma but for this bit.
    const POINT: u8 = b',' ^ b'.';
    let indices: __m512i = bytemuck::cast(INDICES);
    let [point, point_bit] = [b'.', POINT_BIT].map(|byte| _mm512_set1_epi8(byte as i8));
    let mut count = 0;
    let (blocks, _) = window[AROUND..].as_chunks::<WIDE>();
    for (block, bytes) in blocks.iter().enumerate() {
        let bytes: __m512i = bytemuck::cast(*bytes);
        let is_point = _mm512_cmpeq_epi8_mask(bytes, point);
        let either = _mm512_or_si512(bytes, _mm512_set1_epi8(POINT as i8));
        let is_mark = _mm512_cmpeq_epi8_mask(either, point);
        let entries = _mm512_mask_add_epi8(indices, is_point, indices, point_bit);
        let entries = _mm512_maskz_compress_epi8(is_mark, entries);
        let first = _mm512_set1_epi16((block << 7) as i16);
        let halves = [_mm512_castsi512_si256(entries), _mm512_extracti64x4_epi64::<1>(entries)];
        let Some(places) = marks[count..].first_chunk_mut::<WIDE>() else { break };
        for (places, half) in places.as_chunks_mut::<{ WIDE / 2 }>().0.iter_mut().zip(halves) {
            *places = bytemuck::cast(_mm512_add_epi16(_mm512_cvtepu8_epi16(half), first));
        }
        count += is_mark.count_ones() as usize;
    }
    count
}

/// Where a mark is in its chunk.
fn place(mark: u16) -> usize {
    usize::from(mark >> 7 << 6 | mark & 63)
}

/// Numbers that follow each other, each of digits with a point, and with a separator behind.
struct Batch {
    /// How many there are. What the others have is of no meaning.
    count: usize,
    /// Where they end.
    ends: [u32; BATCH],
    /// Digits behind the point.
    fractions: __m512i,
    /// Of two numbers at a time, of the 32 bytes before the end of each, those that are digits
    /// behind the point; and of the 32 bytes before the last, those that are digits.
    are_behind: [u64; PAIRS],
    are_digits: [u64; PAIRS],
    are_negative: __mmask16,
}

impl Batch {
    /// Finds up to `limit` numbers from an offset on, by where their points and commas should be.
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,popcnt"
    )]
    #[inline]
    fn find(
        window: &Window,
        offset: usize,
        places: &[u16; 2 * BATCH],
        limit: usize,
        rows: &Rows,
        separators: Separators,
    ) -> Self {
        let all = |value: u32| _mm512_set1_epi32(value.cast_signed());
        let Separators { within, between } = separators;
        let row_left = rows.length - rows.position;
        let is_last: __mmask16 = if row_left > BATCH { 0 } else { 1 << (row_left - 1) };

        let marks: __m512i = bytemuck::cast(*places);
        let kinds = _mm512_and_si512(marks, all(u32::from(POINT_BIT) << 16 | u32::from(POINT_BIT)));
        let is_other = _mm512_cmpneq_epi32_mask(kinds, all(POINT_BIT.into()));
        let blocks = _mm512_and_si512(_mm512_srli_epi16::<1>(marks), all(0xffc0_ffc0));
        let places = _mm512_or_si512(_mm512_and_si512(marks, all(0x003f_003f)), blocks);
        let points = _mm512_and_si512(places, all(0xffff));
        let commas = _mm512_srli_epi32::<16>(places);

        // Behind the last of a row are its bracket and, behind the comma, that of the next.
        let ends = _mm512_mask_sub_epi32(commas, is_last, commas, all(1));
        let step = all(within.bytes as u32);
        let before = _mm512_sub_epi32(all(offset as u32), step);
        let starts = _mm512_add_epi32(_mm512_alignr_epi32::<15>(commas, before), step);
        let starts = _mm512_mask_add_epi32(starts, is_last << 1, starts, all(1));
        let by_place =
            |[within, between]: [u32; 2]| _mm512_mask_mov_epi32(all(within), is_last, all(between));
        let separator = by_place([within.text, between.text]);
        let mask = by_place([within.mask, between.mask]);
        let behind = _mm512_and_si512(words(window, ends), mask);
        let is_unseparated = _mm512_cmpneq_epi32_mask(behind, separator);

        let front = words(window, starts);
        let byte = all(0xff);
        let minus = all(b'-'.into());
        let are_negative = _mm512_cmpeq_epi32_mask(_mm512_and_si512(front, byte), minus);
        let front = _mm512_mask_srli_epi32::<8>(front, are_negative, front);
        let is_low = _mm512_cmple_epu32_mask(_mm512_and_si512(front, byte), all(b'0'.into()));
        let firsts = _mm512_mask_add_epi32(starts, are_negative, starts, all(1));
        let whole_counts = _mm512_sub_epi32(points, firsts);
        let is_short = _mm512_cmpeq_epi32_mask(whole_counts, all(1));
        let fractions = _mm512_sub_epi32(_mm512_sub_epi32(ends, points), all(1));
        let has_none = _mm512_cmple_epi32_mask(fractions, all(0));
        let lengths = _mm512_sub_epi32(ends, firsts);
        let is_long = _mm512_cmpgt_epi32_mask(lengths, all(LENGTH_MAX as u32));
        // The first byte is a digit where the point is right behind it; else, one of 1 to 9.
        let is_other = is_other | is_unseparated | is_low & !is_short | has_none | is_long;
        let count = (u32::from(is_other) | 1 << limit).trailing_zeros();
        let is_number = ((1_u32 << count) - 1) as __mmask16;
        let ones = all(u32::MAX);
        let not_behind = _mm512_sub_epi32(all(32), fractions);
        let not_digits = _mm512_sub_epi32(all(33), lengths);
        Self {
            count: count as usize,
            ends: bytemuck::cast(ends),
            fractions,
            are_behind: bytemuck::cast(_mm512_maskz_sllv_epi32(is_number, ones, not_behind)),
            are_digits: bytemuck::cast(_mm512_maskz_sllv_epi32(is_number, ones, not_digits)),
            are_negative,
        }
    }

    /// Appends the numbers, unless one has something else than digits, or would have to be rounded
    /// twice; how many they are, and where the last ends.
    #[target_feature(
        enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,popcnt"
    )]
    #[inline]
    fn append<T: Number>(&self, window: &Window, elements: &mut Vec<T>) -> Option<(usize, usize)> {
        let zero = _mm512_set1_epi8(b'0' as i8);
        let mut most = _mm512_setzero_si512();
        let mut eights = [zero; PAIRS];
        let masks = self.are_digits.iter().zip(&self.are_behind);
        let pairs = self.ends.as_chunks::<2>().0.iter().zip(masks);
        for (eights, (ends, (is_digit, is_behind))) in eights.iter_mut().zip(pairs) {
            let starts = ends.map(|end| AROUND - 32 + end as usize % CHUNK);
            // What ends where the fraction does, and what ends one byte before: behind the point of
            // the one and before the point of the other, digits are where they are to be.
            let behind = pair(window, starts);
            let before = pair(window, starts.map(|start| start - 1));
            let digits = _mm512_maskz_sub_epi8(*is_digit, before, zero);
            let digits = _mm512_mask_sub_epi8(digits, *is_behind, behind, zero);
            most = _mm512_max_epu8(most, digits);
            let pairs = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(0x01_0a));
            let fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x0001_0064));
            let fours = _mm512_packus_epi32(fours, fours);
            *eights = _mm512_madd_epi16(fours, _mm512_set1_epi32(0x0001_2710));
        }
        if _mm512_cmpgt_epu8_mask(most, _mm512_set1_epi8(9)) != 0 {
            return None;
        }
        let [first, second]: [[__m512i; PAIRS / 2]; 2] = bytemuck::cast(eights);
        let fractions: [__m256i; 2] = bytemuck::cast(self.fractions);
        let numbers = [
            eight_quotients(first, fractions[0], self.are_negative as __mmask8),
            eight_quotients(second, fractions[1], (self.are_negative >> 8) as __mmask8),
        ];
        let last = self.count.saturating_sub(1) % BATCH;
        let is_appended = append_nearest(&bytemuck::cast(numbers), self.count, elements);
        is_appended.then_some((self.count, self.ends[last] as usize))
    }
}

/// 32 bytes from each of two places on.
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,popcnt"
)]
#[inline]
fn pair(window: &Window, starts: [usize; 2]) -> __m512i {
    let [first, second] = starts.map(|start| -> __m256i {
        let bytes: &[u8; 32] = window[start..].first_chunk().expect("places are within a window");
        bytemuck::cast(*bytes)
    });
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second)
}

/// The four bytes from each of these places of a chunk on, which may be a few bytes beside it.
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,popcnt"
)]
#[inline]
fn words(window: &Window, places: __m512i) -> __m512i {
    const LAST: usize = size_of::<Window>() - size_of::<u32>();
    let places = _mm512_add_epi32(places, _mm512_set1_epi32(AROUND as i32));
    let places = _mm512_min_epu32(places, _mm512_set1_epi32(LAST as i32));
    // SAFETY: from the last of these places on, the window has four bytes.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_i32gather_epi32::<1>(places, window.as_ptr().cast())
    }
}
