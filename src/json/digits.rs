//! Eight bytes at a time.

/// The eight bytes from a place on, the first in the lowest; zeros behind the end.
#[inline(always)]
pub fn word(text: &[u8], at: usize) -> u64 {
    match text.get(at..at + 8) {
        Some(bytes) => u64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        None => last_word(text, at),
    }
}

#[cold]
fn last_word(text: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = text.get(at..).unwrap_or_default();
    for (byte, from) in bytes.iter_mut().zip(rest) {
        *byte = *from;
    }
    u64::from_le_bytes(bytes)
}

/// The digits that a word begins with, as a number, and how many they are.
#[inline(always)]
pub fn leading_digits(word: u64) -> (u64, usize) {
    const BYTES: u64 = 0x0101_0101_0101_0101;
    let values = word ^ (0x30 * BYTES);
    // The upper bit of each byte that is above 9: adding 0x76 to 10 or more reaches it.
    let others = (((values & (0x7f * BYTES)) + 0x76 * BYTES) | values) & (0x80 * BYTES);
    let bits = others.trailing_zeros() & !7;
    // Zeros take the place of the digits that are missing in front; what is behind is shifted out.
    let values = values.checked_shl(64 - bits).unwrap_or(0);
    (eight_digits(values), (bits / 8) as usize)
}

/// The number whose eight digits are the bytes, the first in the lowest: pairs, then fours, then
/// all, each with one multiplication for both halves.
#[inline(always)]
fn eight_digits(values: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    first.wrapping_add(second) >> 32
}

/// The commas before the first quote, and where that is, or the text's length. No number, bracket
/// or brace has a quote: so an array of numbers that starts here has at most one more number than
/// commas are counted from here, block by block, to the first quote.
pub fn commas_before_quote(text: &[u8]) -> (usize, usize) {
    const BLOCK: usize = 64;
    let mut commas = 0;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        // A byte counts as far as a block goes, and is what vectors count in.
        let (mut block_commas, mut quotes) = (0_u8, 0_u8);
        for byte in block {
            block_commas += u8::from(*byte == b',');
            quotes |= u8::from(*byte == b'"');
        }
        if quotes != 0 {
            return scalar(text, index * BLOCK, commas);
        }
        commas += usize::from(block_commas);
    }
    scalar(text, blocks.len() * BLOCK, commas)
}

fn scalar(text: &[u8], from: usize, mut commas: usize) -> (usize, usize) {
    for (index, byte) in text[from..].iter().enumerate() {
        match byte {
            b',' => commas += 1,
            b'"' => return (commas, from + index),
            _ => {}
        }
    }
    (commas, text.len())
}
