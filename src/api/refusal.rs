//! What is wrong with a JSON text, as a problem with the field at fault.

use alloc::format;
use alloc::string::{String, ToString};
use core::str;

use crate::gemm::Dtype;
use crate::json::{Cursor, Error, Kind};
use crate::limits::DIMENSION_MAX;
use crate::problem::{Problem, ProblemKind};

/// The longest spelling of an infinity is `"-Infinity"`, and some write more signs.
const WORD_BYTES_MAX: usize = 12;

/// The problem of a text that is not JSON.
pub(crate) fn malformed(error: &Error, cursor: &Cursor) -> Problem {
    Problem::new(ProblemKind::MalformedJson, error.detail(cursor.text()))
}

/// The problem of a value that was refused at a place, a JSON pointer, where `expected` is the
/// problem of another kind of value.
pub(crate) fn refused(
    error: &Error,
    place: String,
    expected: ProblemKind,
    dtype: Dtype,
    cursor: &Cursor,
) -> Problem {
    let at = match error {
        Error::Malformed { at, .. } => Some(*at),
        Error::Mismatch { found: Kind::String, .. } => Some(cursor.position()),
        _ => None,
    };
    if let Some(word) = at.and_then(|at| non_finite_word(cursor.text(), at)) {
        let detail = format!("{word} is not a JSON number, and not taken as one");
        return Problem::new(ProblemKind::NumberNotFinite, detail).at(place);
    }
    let (kind, detail) = match error {
        Error::Malformed { .. } => return malformed(error, cursor),
        Error::Mismatch { .. } => (expected, error.detail(cursor.text())),
        Error::OutOfRange => {
            let detail = format!("the number is larger than {} can hold", dtype.name());
            (ProblemKind::NumberOutOfRange, detail)
        }
        Error::Ragged { index, length, first } => {
            let detail = format!("row {index} has length {length}, and row 0 has length {first}");
            (ProblemKind::RaggedRows, detail)
        }
        Error::Empty => {
            let detail = "[] has no second dimension; [[]] is 1 x 0".to_string();
            (ProblemKind::EmptyMatrix, detail)
        }
        Error::TooLong => {
            let detail = format!("a matrix may have up to {DIMENSION_MAX} rows and columns");
            let problem = Problem::new(ProblemKind::DimensionTooLarge, detail).at(place);
            return problem.limit(DIMENSION_MAX as u64);
        }
    };
    Problem::new(kind, detail).at(place)
}

/// A member's name as a part of a JSON pointer (RFC 6901, section 3).
pub(crate) fn pointer_part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A JSON pointer to an element of an array, by its indices from the outermost array inwards.
pub(crate) fn element_place(array: String, indices: &[usize]) -> String {
    indices.iter().fold(array, |place, index| place + "/" + &index.to_string())
}

/// The NaN or infinity that stands around a place, if one does.
fn non_finite_word(text: &[u8], at: usize) -> Option<&str> {
    let is_word = |byte: &&u8| byte.is_ascii_alphabetic() || matches!(byte, b'+' | b'-' | b'"');
    let (before, behind) = text.split_at_checked(at)?;
    let start = at - before.iter().rev().take(WORD_BYTES_MAX).take_while(is_word).count();
    let end = at + behind.iter().take(WORD_BYTES_MAX).take_while(is_word).count();
    let word = str::from_utf8(&text[start..end]).ok()?;
    let unsigned = word.trim_matches('"').trim_start_matches(['+', '-']);
    let is_non_finite =
        ["nan", "inf", "infinity"].iter().any(|name| unsigned.eq_ignore_ascii_case(name));
    is_non_finite.then_some(word)
}
