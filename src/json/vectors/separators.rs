//! What stands between numbers.

use crate::json::rows::Rows;

/// What stands between two numbers of a row, and between two rows.
#[derive(Clone, Copy)]
pub struct Separators {
    pub within: Separator,
    pub between: Separator,
}

#[derive(Clone, Copy)]
pub struct Separator {
    pub bytes: usize,
    /// What is expected, in the bytes of the mask.
    pub text: u32,
    pub mask: u32,
}

impl Separators {
    /// What stands before a place is expected between all numbers that follow.
    pub fn before(text: &[u8], at: usize) -> Self {
        match &text[..at] {
            [.., b' '] | [.., b' ', b'['] => {
                Self { within: Separator::new(b", "), between: Separator::new(b"], [") }
            }
            _ => Self { within: Separator::new(b","), between: Separator::new(b"],[") },
        }
    }

    /// What is expected behind the last of so many numbers that are next.
    #[inline(always)]
    pub fn last(self, rows: &Rows, count: usize) -> Separator {
        if rows.position + count == rows.length { self.between } else { self.within }
    }

    /// What is expected behind the next number.
    #[inline(always)]
    pub fn next(self, rows: &Rows) -> Separator {
        self.last(rows, 1)
    }
}

impl Separator {
    fn new(text: &[u8]) -> Self {
        let (mut word, mut mask) = ([0; 4], [0; 4]);
        word[..text.len()].copy_from_slice(text);
        mask[..text.len()].fill(0xff);
        let [text_word, mask] = [word, mask].map(u32::from_le_bytes);
        Self { bytes: text.len(), text: text_word, mask }
    }

    #[inline(always)]
    pub fn is_at(self, text: &[u8], at: usize) -> bool {
        let Some(found) = text.get(at..).and_then(|text| text.first_chunk()) else { return false };
        u32::from_le_bytes(*found) & self.mask == self.text
    }
}
