//! A first look at a body: how many elements it has, and of which type, before one is read.
//!
//! It goes from string to string. In a body that is in order, a string is the name of a field, or
//! of a part of a matrix, or the dtype; in any other, the reader stops at the first that is none of
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
    /// A string has begun there that has not ended yet.
    is_in_string: bool,
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
    /// Looks at so many bytes more of a text that is still coming. From a string on that ends later
    /// it waits for all of the text: looking for that end again and again could take forever.
    pub fn look_ahead(&mut self, text: &[u8], bytes: usize) {
        if !self.is_in_string {
            self.look(text, bytes, false);
        }
    }

    /// Looks at so many bytes more of a text that is whole; true once all have been seen.
    pub fn advance(&mut self, text: &[u8], bytes: usize) -> bool {
        self.look(text, bytes, true);
        self.at >= text.len()
    }

    fn look(&mut self, text: &[u8], bytes: usize, is_whole: bool) {
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
                self.is_in_string = !self.pass_string(text);
            }
            if self.is_in_string {
                if is_whole {
                    // The reader won't come any further.
                    self.at = text.len();
                }
                return;
            }
        }
    }

    /// Whether there is a whole string.
    fn pass_string(&mut self, text: &[u8]) -> bool {
        let mut cursor = Cursor::from(text, self.at);
        let Ok(string) = cursor.string() else { return false };
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
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of a text that comes so many bytes at a time.
    fn forecast(text: &[u8], step: usize) -> (usize, usize, Option<Dtype>) {
        let mut forecast = Forecast::default();
        for end in (0..text.len()).step_by(step) {
            forecast.look_ahead(&text[..end], 7);
        }
        while !forecast.advance(text, 5) {}
        (forecast.operand_elements, forecast.addend_elements, forecast.dtype)
    }

    #[test]
    fn however_a_text_comes_the_same_is_known_of_it() {
        let text =
            br#" {"a":[[1,2],[3,4]], "x\"," : 3,"dtype":"f32","c":[1,2,3],"b":{"data":[[5,6]]}}"#;
        for step in 1..text.len() {
            // One more than there are, for each comma behind a matrix.
            assert_eq!(forecast(text, step), (7, 4, Some(Dtype::F32)), "{step}");
        }
        // The last string does not end, and nothing behind it is looked at.
        assert_eq!(forecast(br#"{"a":[1,2],"b,,,"#, 3), (3, 0, None));
        let mut unfinished = Forecast::default();
        unfinished.look_ahead(br#"{"a":[1,2],"b"#, usize::MAX);
        assert_eq!((unfinished.at, unfinished.is_in_string), (11, true));
    }
}
