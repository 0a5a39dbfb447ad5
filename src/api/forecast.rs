//! A first look at a body: how many elements it has, and of which type, before one is read.
//!
//! It goes from string to string. In a body that is in order, a string is the name of a field, or of
//! a part of a matrix, or the dtype; in any other, the reader stops at the first that is none of
//! these, having read no more than is foreseen here.

use crate::gemm::Dtype;
use crate::json::{Cursor, commas_before_quote};

/// What is known of a body.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// The most elements that A and B can have.
    pub operand_elements: usize,
    /// The most elements that C can have.
    pub addend_elements: usize,
    pub dtype: Option<Dtype>,
    /// Bytes that have been looked at.
    at: usize,
    within: Within,
}

/// Whose text it is that comes before the next string.
#[derive(Clone, Copy, Debug, Default)]
enum Within {
    Operand,
    Addend,
    Dtype,
    #[default]
    Other,
}

impl Forecast {
    /// Looks at so many bytes more; true once all have been seen.
    pub fn advance(&mut self, text: &[u8], bytes: usize) -> bool {
        let end = text.len().min(self.at.saturating_add(bytes));
        while self.at < end {
            let (commas, length) = commas_before_quote(&text[self.at..end]);
            match self.within {
                Within::Operand => self.operand_elements += commas,
                Within::Addend => self.addend_elements += commas,
                Within::Dtype | Within::Other => {}
            }
            self.at += length;
            if self.at < end {
                self.pass_string(text);
            }
        }
        self.at >= text.len()
    }

    fn pass_string(&mut self, text: &[u8]) {
        let mut cursor = Cursor::from(text, self.at);
        let Ok(string) = cursor.string() else {
            // The reader won't come any further.
            self.at = text.len();
            return;
        };
        self.at = cursor.position();
        if matches!(self.within, Within::Dtype) {
            self.dtype = self.dtype.or(Dtype::from_name(&string));
        }
        // A matrix has one element more than commas.
        self.within = match (&*string, self.within) {
            ("a" | "b", _) => {
                self.operand_elements += 1;
                Within::Operand
            }
            ("c", _) => {
                self.addend_elements += 1;
                Within::Addend
            }
            ("dtype", _) => Within::Dtype,
            ("shape" | "data", within) => within,
            _ => Within::Other,
        };
    }
}
