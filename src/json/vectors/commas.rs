//! Commas counted.

use core::arch::x86_64::*;

use super::are_here;

/// Bytes that are looked at together: a cache line.
const BLOCK: usize = 64;
/// So many bytes ahead, cache lines are asked for: a text has often just come, and is not in the
/// nearest cache, and what fetches by itself stops at the end of each page.
const AHEAD: usize = 4096;

/// The commas of whole blocks of a text before the first that has a quote; how many, and how many
/// bytes the blocks are. None of them where the processor lacks the instructions.
pub fn commas_of_blocks(text: &[u8]) -> (usize, usize) {
    if text.len() < BLOCK || !are_here() {
        return (0, 0);
    }
    // SAFETY: the processor has what it takes, as just asked.
    #[allow(unsafe_code)]
    unsafe {
        count(text)
    }
}

#[target_feature(enable = "avx2,fma,bmi1,popcnt")]
fn count(text: &[u8]) -> (usize, usize) {
    let [comma, quote] = [b',', b'"'].map(|byte| _mm256_set1_epi8(byte as i8));
    let mut commas = 0;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        fetch(block.as_ptr().wrapping_add(AHEAD));
        let [lower, upper]: [__m256i; 2] = bytemuck::cast(*block);
        let quotes =
            _mm256_or_si256(_mm256_cmpeq_epi8(lower, quote), _mm256_cmpeq_epi8(upper, quote));
        if _mm256_testz_si256(quotes, quotes) == 0 {
            return (commas, index * BLOCK);
        }
        for half in [lower, upper] {
            let is_comma = _mm256_movemask_epi8(_mm256_cmpeq_epi8(half, comma));
            commas += is_comma.count_ones() as usize;
        }
    }
    (commas, blocks.len() * BLOCK)
}

/// Asks for the cache line of an address, if there is memory.
#[inline(always)]
fn fetch(address: *const u8) {
    // SAFETY: it is a hint, whatever the address is.
    #[allow(unsafe_code)]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
