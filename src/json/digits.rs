//! Eight bytes at a time.

use super::vectors::commas_of_blocks;

const BYTES: u64 = 0x0101_0101_0101_0101;

/// What a number begins with.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// The digits, as an integer.
    pub significand: u64,
    pub whole_digits: usize,
    /// Bytes of the number, the point included, or eight where it goes on.
    pub length: usize,
    /// Whether it goes on with digits of the fraction, or their end.
    pub is_open: bool,
}

/// What a number has in the eight bytes from a place on, if it is in order, and if either it ends
/// in them or its point is there.
///
/// There are no branches on where its point or its end is: numbers vary in that. Whether it ends
/// is foreseen by the processor where most numbers have that in common.
#[inline(always)]
pub fn beginning(word: u64) -> Option<Beginning> {
    let values = word ^ (0x30 * BYTES);
    // The upper bit of the first byte that is no digit, as adding 0x76 to 10 or more reaches it; if
    // that is a point, also of the second, as no carry comes from a point.
    let others = (values.wrapping_add(0x76 * BYTES) | values) & (0x80 * BYTES);
    let whole_bits = others.trailing_zeros() & !7;
    if whole_bits == 0 || others == 0 || (whole_bits > 8 && values & 0xff == 0) {
        return None;
    }
    let whole_digits = whole_bits as usize / 8;
    if (word >> whole_bits) as u8 != b'.' {
        return is_end(word, whole_bits).then(|| Beginning {
            significand: joined(values << (64 - whole_bits)),
            whole_digits,
            length: whole_digits,
            is_open: false,
        });
    }
    // The digits behind the point take its place.
    let below = (1 << whole_bits) - 1;
    let digits = (values & below) | (values >> 8 & !below);
    let rest = others & (others - 1);
    if rest == 0 {
        let significand = joined(digits << 8);
        return Some(Beginning { significand, whole_digits, length: 8, is_open: true });
    }
    let end_bits = rest.trailing_zeros() & !7;
    // Zeros take the place of the digits that are missing in front; what is behind is shifted out.
    (end_bits > whole_bits + 8 && is_end(word, end_bits)).then(|| Beginning {
        significand: joined(digits << (72 - end_bits)),
        whole_digits,
        length: end_bits as usize / 8,
        is_open: false,
    })
}

/// Whether the byte that is no digit is no exponent's letter either.
#[inline(always)]
fn is_end(word: u64, bits: u32) -> bool {
    (word >> bits) as u8 | 0x20 != b'e'
}

/// The number that the eight bytes from a place on are the digits of, if they are all digits.
#[inline(always)]
pub fn eight_digits(text: &[u8], at: usize) -> Option<u64> {
    let values = word(text, at)? ^ (0x30 * BYTES);
    // Adding 6 to 10 or more reaches the upper half of a byte, and so does what was no digit at
    // all.
    let is_other = (values | values.wrapping_add(0x06 * BYTES)) & (0xf0 * BYTES) != 0;
    (!is_other).then(|| joined(values))
}

/// Eight bytes, the first in the lowest, unless the text ends before.
#[inline(always)]
pub fn word(text: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*text.get(at..)?.first_chunk()?))
}

/// The number of which each byte is a digit: pairs, then fours, then all are joined, each with one
/// multiplication for both halves.
#[inline(always)]
fn joined(digits: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
}

/// The commas before the first quote, and where that is, or the text's length. No number, bracket
/// or brace has a quote: so an array of numbers that starts here has at most one more number than
/// commas are counted from here, block by block, to the first quote.
pub fn commas_before_quote(text: &[u8]) -> (usize, usize) {
    const BLOCK: usize = 64;
    let (mut commas, mut from) = commas_of_blocks(text);
    for block in text[from..].as_chunks::<BLOCK>().0 {
        // A byte counts as far as a block goes, and is what vectors count in.
        let (mut block_commas, mut quotes) = (0_u8, 0_u8);
        for byte in block {
            block_commas += u8::from(*byte == b',');
            quotes |= u8::from(*byte == b'"');
        }
        if quotes != 0 {
            break;
        }
        commas += usize::from(block_commas);
        from += BLOCK;
    }
    for (index, byte) in text[from..].iter().enumerate() {
        match byte {
            b',' => commas += 1,
            b'"' => return (commas, from + index),
            _ => {}
        }
    }
    (commas, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_counted_up_to_the_first_quote() {
        let text: alloc::vec::Vec<u8> =
            (0..400_usize).map(|at| if at * at % 7 < 3 { b',' } else { b'1' }).collect();
        for start in 0..70 {
            for quote in start..text.len() {
                let mut text = text.clone();
                text[quote] = b'"';
                let commas = text[start..quote].iter().filter(|byte| **byte == b',').count();
                assert_eq!(commas_before_quote(&text[start..]), (commas, quote - start));
            }
            let commas = text[start..].iter().filter(|byte| **byte == b',').count();
            assert_eq!(commas_before_quote(&text[start..]), (commas, text.len() - start));
        }
    }
}
