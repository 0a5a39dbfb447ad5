//! Numbers read and printed many at once, where the processor has AVX2.

mod print;
mod quotients;
mod read;
mod separators;
mod wide;

pub use print::{GROUP, append_text};
pub use read::{APPENDED_MIN, append_numbers};

use crate::gemm::{Isa, has_bit_counts, isa};

/// Whether the processor has AVX2, FMA, BMI1 and POPCNT.
fn are_here() -> bool {
    isa() <= Isa::Avx2 && has_bit_counts()
}
