//! Numbers read and printed many at once, where the processor has AVX2; by steps of their own where
//! it has AVX-512.

mod commas;
mod print;
mod print_wide;
mod quotients;
mod read;
mod read_wide;
mod separators;

pub use commas::commas_of_blocks;
pub use print::{GROUP, append_text};
pub use read::{APPENDED_MIN, append_numbers};

use crate::gemm::{Isa, has_bit_counts, isa};

/// Whether the processor has AVX2, FMA, BMI1 and POPCNT.
fn are_here() -> bool {
    isa() <= Isa::Avx2 && has_bit_counts()
}
