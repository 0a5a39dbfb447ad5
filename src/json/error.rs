//! What can be wrong with a text.

use alloc::format;
use alloc::string::{String, ToString};

/// Why a value can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not JSON, from this byte on.
    Malformed { at: usize, wanted: &'static str },
    /// It is JSON, but a value of another kind. The cursor stands before it.
    Mismatch { wanted: Kind, found: Kind },
    /// The number overflows the type.
    OutOfRange,
    /// An array, of this index in the one around it, has another length than the first at its
    /// depth.
    Ragged { index: usize, length: usize, first: usize },
    /// An array that was to hold arrays is empty, so that their length can't be known.
    Empty,
    /// An array is longer than was allowed.
    TooLong,
}

/// The kinds of JSON's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Error {
    /// What is wrong, for people. `text` is what was read.
    pub fn detail(&self, text: &[u8]) -> String {
        match self {
            Self::Malformed { at, wanted } => {
                let (line, column) = line_and_column(text, *at);
                format!("expected {wanted} at line {line} column {column}")
            }
            Self::Mismatch { wanted, found } => {
                format!("expected {}, found {}", wanted.name(), found.name())
            }
            Self::OutOfRange => "the number is too large".to_string(),
            Self::Ragged { index, length, first } => {
                format!("array {index} has length {length}, and the first has length {first}")
            }
            Self::Empty => "an array of arrays is empty".to_string(),
            Self::TooLong => "an array is too long".to_string(),
        }
    }
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Both count from 1, and columns are bytes.
fn line_and_column(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    (line, column)
}
