//! Arrays of numbers, flat or nested, of any length.

use core::ops::RangeInclusive;

use alloc::vec::Vec;

use super::cursor::{Cursor, is_white_space};
use super::decimal::Number;
use super::error::{Error, Kind};
use super::number::{number, starts_number};
use super::rows::Rows;
use super::vectors;

/// Numbers that are read one by one where many at once were few: so that what this costs is little
/// where it never succeeds.
const SINGLES: usize = 64;

/// Arrays of numbers within each other.
pub const RANK_MAX: usize = 8;

/// Reads an array whose elements are numbers, or arrays of numbers, and so on; all numbers at one
/// depth, and all arrays of a depth with one length. The numbers come in the order of the text,
/// which is row by row.
#[derive(Debug)]
pub struct NumberArray {
    ranks: RangeInclusive<usize>,
    length_max: usize,
    /// The depth of the numbers, once it is known.
    rank: Option<usize>,
    /// How many arrays are open.
    open: usize,
    /// Of each array that is open, how many elements have been read.
    counts: [usize; RANK_MAX],
    /// The length of the first array of each depth, once it has ended.
    lengths: [Option<usize>; RANK_MAX],
    next: Next,
    /// Numbers to be read one by one before another attempt to read many at once.
    singles: usize,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Value,
    ValueOrEnd,
    Separator,
}

impl NumberArray {
    /// An array with one of these ranks: 1 is flat, 2 is an array of rows. No array in it may be
    /// longer than `length_max`.
    ///
    /// # Panics
    ///
    /// Where a rank is not within 1 to [`RANK_MAX`].
    pub fn new(ranks: RangeInclusive<usize>, length_max: usize) -> Self {
        assert!(*ranks.start() >= 1 && *ranks.end() <= RANK_MAX, "ranks are 1 to {RANK_MAX}");
        let rank = (ranks.start() == ranks.end()).then_some(*ranks.start());
        Self {
            ranks,
            length_max,
            rank,
            open: 0,
            counts: [0; RANK_MAX],
            lengths: [None; RANK_MAX],
            next: Next::Value,
            singles: 0,
        }
    }

    /// Reads up to `tokens` more of the array's numbers, brackets and commas and appends the
    /// numbers; true once it has ended. It never grows a vector with room for all of them.
    ///
    /// # Errors
    ///
    /// Where something else stands there; [`Self::place`] tells where.
    #[inline]
    pub fn advance<T: Number>(
        &mut self,
        cursor: &mut Cursor,
        elements: &mut Vec<T>,
        tokens: usize,
    ) -> Result<bool, Error> {
        let mut left = tokens;
        while left > 0 {
            left -= 1;
            match (self.next, cursor.peek_near()) {
                (_, Some(byte)) if is_white_space(byte) => {}
                (Next::Separator, Some(b',')) => {
                    cursor.pass(1);
                    self.next = Next::Value;
                }
                (Next::Separator | Next::ValueOrEnd, Some(b']')) => {
                    cursor.pass(1);
                    self.close()?;
                    if self.open == 0 {
                        return Ok(true);
                    }
                }
                (Next::Separator, _) => return Err(cursor.malformed("a comma or the array's end")),
                (_, Some(b'[')) => self.open(cursor)?,
                (_, Some(b'-' | b'0'..=b'9')) => {
                    left = self.numbers(cursor, elements, left + 1)?;
                }
                _ => return Err(self.mismatch(cursor)),
            }
        }
        Ok(false)
    }

    /// The indices of what is read now, from the outermost array inwards: of the element that is
    /// next, or of the array that was ragged or empty.
    pub fn place(&self) -> &[usize] {
        &self.counts[..self.open]
    }

    /// The lengths of the arrays of each depth, of an array that has been read.
    pub fn shape(&self) -> impl ExactSizeIterator<Item = usize> {
        let rank = self.rank.unwrap_or(0);
        self.lengths[..rank].iter().map(|length| length.unwrap_or(0))
    }

    /// Reads a number, and those that follow it in the same array; how many tokens are left.
    #[inline]
    fn numbers<T: Number>(
        &mut self,
        cursor: &mut Cursor,
        elements: &mut Vec<T>,
        tokens: usize,
    ) -> Result<usize, Error> {
        if self.open == 0
            || self.open < *self.rank.get_or_insert(self.open.max(*self.ranks.start()))
        {
            return Err(self.mismatch(cursor));
        }
        let before = elements.len();
        let mut rows = self.rows(tokens);
        let (ended, is_behind_comma) = run(cursor, elements, tokens, &mut rows, &mut self.singles);
        let count = elements.len() - before;
        let depth = self.open - 1;
        self.counts[depth] += count;
        self.next = if is_behind_comma { Next::Value } else { Next::Separator };
        if rows.ended > 0 {
            self.counts[depth - 1] += rows.ended;
            self.counts[depth] -= rows.ended * rows.length;
            self.next = if self.counts[depth] == 0 { Next::ValueOrEnd } else { Next::Value };
        }
        ended?;
        if self.counts[self.open - 1] > self.length_max {
            return Err(Error::TooLong);
        }
        Ok(tokens.saturating_sub(count))
    }

    /// The rows that up to so many next numbers stand in, if it is known how long they are.
    fn rows(&self, numbers_max: usize) -> Rows {
        let depth = self.open - 1;
        let position = self.counts[depth];
        match self.lengths[depth] {
            // Only an array within another can have one before it.
            Some(length) if position < length => {
                let left = (self.length_max - self.counts[depth - 1]).saturating_mul(length);
                let left = left.saturating_sub(position).min(numbers_max);
                Rows { length, position, left, ended: 0 }
            }
            _ => Rows { length: usize::MAX, position, left: numbers_max, ended: 0 },
        }
    }

    /// An array within the one that is open, or the outermost.
    fn open(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        if self.open == self.rank.unwrap_or(*self.ranks.end()) {
            return Err(self.mismatch(cursor));
        }
        cursor.pass(1);
        self.counts[self.open] = 0;
        self.open += 1;
        self.next = Next::ValueOrEnd;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let depth = self.open - 1;
        let length = self.counts[depth];
        self.open = depth;
        self.next = Next::Separator;
        // Without numbers, the first array that ends is the innermost.
        let rank = *self.rank.get_or_insert((depth + 1).max(*self.ranks.start()));
        if depth + 1 < rank && length == 0 {
            return Err(Error::Empty);
        }
        let first = *self.lengths[depth].get_or_insert(length);
        if length != first {
            // Only an array within another can have a first beside it.
            return Err(Error::Ragged { index: self.counts[depth - 1], length, first });
        }
        if depth > 0 {
            self.counts[depth - 1] += 1;
            if self.counts[depth - 1] > self.length_max {
                return Err(Error::TooLong);
            }
        }
        Ok(())
    }

    #[cold]
    fn mismatch(&self, cursor: &mut Cursor) -> Error {
        let is_innermost = self.open > 0 && self.open == self.rank.unwrap_or(*self.ranks.end());
        cursor.mismatch(if is_innermost { Kind::Number } else { Kind::Array })
    }
}

/// Reads numbers with commas between them, and maybe on into further rows, at least one unless that
/// fails and at most so many; and whether it stopped behind a comma, or where a row starts. On an
/// error the cursor stands before what is wrong.
#[inline]
fn run<T: Number>(
    cursor: &mut Cursor,
    elements: &mut Vec<T>,
    numbers_max: usize,
    rows: &mut Rows,
    singles: &mut usize,
) -> (Result<(), Error>, bool) {
    let text = cursor.text();
    let mut at = cursor.position();
    let mut ended = (Ok(()), true);
    let mut left = numbers_max;
    let mut left_singles = *singles;
    // Elements that the place within the rows accounts for.
    let mut noted = elements.len();
    while left > 0 {
        if left_singles > 0 {
            left_singles -= 1;
        } else if rows.length != usize::MAX || !text[..at].ends_with(b"[") {
            rows.pass_within(elements.len() - noted);
            let before = elements.len();
            at = vectors::append_numbers(text, at, elements, rows);
            noted = elements.len();
            let count = noted - before;
            left -= count;
            // What they stopped at is none for them.
            left_singles = if count < vectors::APPENDED_MIN { SINGLES } else { 1 };
            if rows.ended > 0 || left == 0 || !starts_number(text, at) {
                break;
            }
        }
        left -= 1;
        match number::<T>(text, at) {
            Ok((element, _)) if !element.is_finite() => {
                ended.0 = Err(Error::OutOfRange);
                break;
            }
            Ok((element, behind)) => {
                elements.push(element);
                at = behind;
            }
            Err(error) => {
                ended.0 = Err(error);
                break;
            }
        }
        if text.get(at) != Some(&b',') {
            ended.1 = false;
            break;
        }
        at += 1;
        // Most write nothing behind a comma, or one space.
        while text.get(at) == Some(&b' ') {
            at += 1;
        }
        if !starts_number(text, at) {
            break;
        }
    }
    *singles = left_singles;
    *cursor = Cursor::from(text, at);
    ended
}
