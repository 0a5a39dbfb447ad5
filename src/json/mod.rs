//! JSON (RFC 8259) read where it lies, strictly, at the speed of its numbers.
//!
//! A [`Cursor`] is a place in a text that is held whole: it reads tokens, and what it doesn't copy
//! it borrows. What can be long has a reader that is resumed, so that no slice of work is long:
//! [`NumberArray`] appends numbers, flat or nested, to a vector, and [`Skip`] passes over a value.
//! [`commas_before_quote`] says beforehand how many numbers there can be. What is short is read at
//! once by [`read`], into any type that serde knows.
//!
//! Numbers are rounded once, from their decimal text to the type that is wanted. Where the
//! processor has AVX2, long rows of them are read and printed many at once, by `vectors`, and more
//! at once where it has AVX-512.

mod array;
mod cursor;
mod decimal;
mod digits;
mod error;
mod number;
mod powers;
mod print;
mod read;
mod rows;
mod skip;
mod string;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod vectors;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
#[path = "no_vectors.rs"]
mod vectors;

pub use array::{NumberArray, RANK_MAX};
pub use cursor::{Cursor, is_white_space};
pub use decimal::Number;
pub use digits::commas_before_quote;
pub use error::{Error, Kind};
pub(crate) use print::{PRINTED_BYTES_MAX, eight_digits, print_any};
pub use read::{Fault, ReadError, read};
pub use skip::{NESTING_MAX, Skip};
pub(crate) use vectors::{GROUP, append_text};
