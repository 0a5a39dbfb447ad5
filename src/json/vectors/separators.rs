//! What stands between numbers.

use core::array;

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
    text: u32,
    mask: u32,
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

    /// What is expected behind the next number.
    #[inline(always)]
    pub fn next(self, rows: &Rows) -> Separator {
        if rows.position + 1 == rows.length { self.between } else { self.within }
    }
}

impl Separator {
    fn new(text: &[u8]) -> Self {
        let word = |bytes: &mut dyn Iterator<Item = u8>| {
            u32::from_le_bytes(array::from_fn(|_| bytes.next().unwrap_or(0)))
        };
        let mask = word(&mut text.iter().map(|_| 0xff));
        Self { bytes: text.len(), text: word(&mut text.iter().copied()), mask }
    }

    #[inline(always)]
    pub fn is_at(self, text: &[u8], at: usize) -> bool {
        let Some(found) = text.get(at..).and_then(|text| text.first_chunk()) else { return false };
        u32::from_le_bytes(*found) & self.mask == self.text
    }
}
