//! Results as JSON, in bounded slices.

use alloc::format;
use alloc::vec::Vec;
use core::array;

use crate::gemm::{Dtype, Element, Shape};
use crate::json::{GROUP, PRINTED_BYTES_MAX, append_text, eight_digits, print_any};
use crate::limits::JSON_NUMBER_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

/// Elements written between two chances to pause; 10 to 20 microseconds.
const ELEMENTS_PER_SLICE: usize = 1024;

/// Room kept behind the matrix for the bill, so that adding it moves nothing.
const BILL_BYTES: usize = 640;

/// How the elements of a result stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// An array for each row, in an array.
    Rows,
    /// One array for all.
    Flat,
}

/// Writes a matrix behind what stands before it in the reply; what stands behind comes later.
#[derive(Debug)]
pub struct Encoder<T> {
    c: Vec<T>,
    layout: Layout,
    prefix_bytes: usize,
    columns: usize,
    rows: usize,
    row: usize,
    column: usize,
    text: Vec<u8>,
}

/// An upper bound of the memory that the text of an m x n result takes, in bytes, what stands
/// before it left out.
pub fn text_bytes_max(shape: Shape) -> Option<usize> {
    let numbers = shape.m.checked_mul(shape.n)?.checked_mul(JSON_NUMBER_BYTES_MAX)?;
    // A row adds its brackets and a comma.
    numbers.checked_add(shape.m.checked_mul(3)?)?.checked_add(2 + BILL_BYTES)
}

impl<T: Element> Encoder<T> {
    /// Sets out to write the m x n result `c`, row by row, behind `prefix`.
    ///
    /// # Errors
    ///
    /// A problem where memory for the text can't be had, though it was promised.
    pub fn new(c: Vec<T>, shape: Shape, prefix: &[u8], layout: Layout) -> Result<Self, Problem> {
        let mut text = Vec::new();
        let reserved = text_bytes_max(shape)
            .is_some_and(|bytes| text.try_reserve_exact(prefix.len() + bytes).is_ok());
        if !reserved {
            return Err(Problem::new(ProblemKind::Overloaded, "no memory for the reply"));
        }
        text.extend_from_slice(prefix);
        let (rows, columns) = match layout {
            Layout::Rows => {
                text.push(b'[');
                (shape.m, shape.n)
            }
            Layout::Flat => (1, shape.m * shape.n),
        };
        let prefix_bytes = prefix.len();
        Ok(Self { c, layout, prefix_bytes, columns, rows, row: 0, column: 0, text })
    }

    /// Writes until `pause` says so, which is asked every so many elements; true once all is
    /// written.
    ///
    /// # Errors
    ///
    /// A problem at the first element that is not finite: JSON has no word for it.
    pub fn advance(&mut self, pause: &mut dyn FnMut() -> bool) -> Result<bool, Problem> {
        loop {
            let mut budget = ELEMENTS_PER_SLICE;
            while budget > 0 && self.row < self.rows {
                budget -= self.write_run(budget)?;
            }
            if self.row == self.rows {
                if self.layout == Layout::Rows {
                    self.text.push(b']');
                }
                return Ok(true);
            }
            if pause() {
                return Ok(false);
            }
        }
    }

    /// Writes up to `budget` elements of the current row; how many of the budget it took.
    fn write_run(&mut self, budget: usize) -> Result<usize, Problem> {
        if self.column == 0 {
            self.text.extend_from_slice(if self.row == 0 { b"[" } else { b",[" });
        }
        let end = (self.column + budget).min(self.columns);
        let row = &self.c[self.row * self.columns..][..self.columns];
        // An empty row takes of the budget too, so that many of them end a slice.
        let taken = (end - self.column).max(1);
        let run = &row[self.column..end];
        write_elements(run, &mut self.text)
            .map_err(|index| self.not_finite(self.column + index))?;
        self.column = end;
        if end == self.columns {
            // In place of the comma behind the last element.
            if self.columns > 0 {
                self.text.pop();
            }
            self.text.push(b']');
            self.row += 1;
            self.column = 0;
        }
        Ok(taken)
    }

    /// The text so far, and how many of its bytes are the matrix.
    pub fn into_text(self) -> (Vec<u8>, u64) {
        let matrix_bytes = (self.text.len() - self.prefix_bytes) as u64;
        (self.text, matrix_bytes)
    }

    fn not_finite(&self, column: usize) -> Problem {
        let row = self.row;
        let (index, place) = match self.layout {
            Layout::Rows => (format!("[{row}][{column}]"), format!("/c/{row}/{column}")),
            Layout::Flat => (format!("{column}"), format!("/outputs/0/data/{column}")),
        };
        let detail = format!("element {index} of the result is not finite");
        Problem::new(ProblemKind::ResultNotFinite, detail).at(place)
    }
}

/// Appends elements, a comma behind each; or the index of one that is not finite.
fn write_elements<T: Element>(elements: &[T], text: &mut Vec<u8>) -> Result<(), usize> {
    // All of them are looked at before any is asked for: that is a loop for vectors.
    let all_finite = elements.iter().fold(true, |all, element| all & element.is_finite());
    if !all_finite && let Some(index) = elements.iter().position(|element| !element.is_finite()) {
        return Err(index);
    }
    let (groups, rest) = elements.as_chunks();
    let mut first = 0;
    for (index, group) in groups.iter().enumerate() {
        if let Some(integers) = short_integers(group) {
            append_groups(&groups[first..index], text);
            first = index + 1;
            for integer in integers {
                append_integer(integer, text);
            }
        }
    }
    append_groups(&groups[first..], text);
    if T::DTYPE == Dtype::F64 {
        append_f64(bytemuck::cast_slice(rest), text);
        return Ok(());
    }
    for element in rest {
        append_short(zmij::Buffer::new().format_finite(*element).as_bytes(), text);
    }
    Ok(())
}

/// Appends the elements of groups, a comma behind each.
fn append_groups<T: Element>(groups: &[[T; GROUP]], text: &mut Vec<u8>) {
    if T::DTYPE == Dtype::F32 {
        groups.iter().for_each(|group| append_any(group, text));
        return;
    }
    let groups: &[[f64; GROUP]] = bytemuck::cast_slice(groups);
    let appended_count = append_text(groups, text);
    groups[appended_count..].iter().for_each(|group| append_f64(group, text));
}

/// Appends the elements of a group or less, a comma behind each. They are printed before the first
/// of them is copied: a copy right behind would wait for the stores of the printing, which are of
/// other sizes.
#[inline(never)]
fn append_f64(elements: &[f64], text: &mut Vec<u8>) {
    let mut printed = [0; GROUP * (PRINTED_BYTES_MAX + 1)];
    let mut end = 0;
    for element in elements {
        let Some(place) = printed[end..].first_chunk_mut() else { break };
        let length = print_any(*element, place);
        printed[end + length] = b',';
        end += length + 1;
    }
    text.extend_from_slice(&printed[..end]);
}

/// Appends elements of any type, a comma behind each.
#[inline(always)]
fn append_any<T: Element>(elements: &[T; GROUP], text: &mut Vec<u8>) {
    let mut numbers: [zmij::Buffer; GROUP] = array::from_fn(|_| zmij::Buffer::new());
    let mut elements = elements.iter();
    let printed = numbers.each_mut().map(|number| {
        let element = elements.next().expect("an element for each buffer");
        number.format_finite(*element).as_bytes()
    });
    for number in printed {
        append_short(number, text);
    }
}

/// The integers that elements are, if all of them are, and have up to eight digits: then those are
/// the fewest that read back as the same number.
#[inline(always)]
fn short_integers<T: Element>(elements: &[T; GROUP]) -> Option<[i64; GROUP]> {
    // Beyond 2^24 fewer digits may do for an `f32`.
    let end = match T::DTYPE {
        Dtype::F64 => 100_000_000,
        Dtype::F32 => 1 << 24,
    };
    let mut integers = [0; GROUP];
    for (integer, element) in integers.iter_mut().zip(elements) {
        *integer = element.to_i64();
        // By their bits, because -0 is another text than 0.
        let is_equal = bytemuck::bytes_of(&T::from_i64(*integer)) == bytemuck::bytes_of(element);
        if !is_equal || integer.unsigned_abs() >= end {
            return None;
        }
    }
    Some(integers)
}

/// Appends an integer of up to eight digits, `.0` and a comma. Each part is appended in a constant
/// size and cut to its length, without a branch.
#[inline(always)]
fn append_integer(integer: i64, text: &mut Vec<u8>) {
    let start = text.len() + usize::from(integer < 0);
    text.push(b'-');
    text.truncate(start);
    let digits = eight_digits(integer.unsigned_abs());
    // One digit is written for zero.
    let leading_zeros = (digits | 1 << 56).trailing_zeros() / 8;
    let digits = (digits | 0x3030_3030_3030_3030) >> (8 * leading_zeros);
    text.extend_from_slice(&digits.to_le_bytes());
    text.truncate(start + 8 - leading_zeros as usize);
    text.extend_from_slice(b".0,");
}

/// Appends up to 24 bytes and a comma. What can be is copied by two copies of a constant size, the
/// second over the end of the first: one of any size would be a call.
#[inline(always)]
fn append_short(from: &[u8], text: &mut Vec<u8>) {
    if let (Some(front), Some(back)) = (from.first_chunk::<16>(), from.last_chunk::<8>()) {
        append_overlapping(front, back, from.len(), text);
    } else if let (Some(front), Some(back)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        append_overlapping(front, back, from.len(), text);
    } else if let (Some(front), Some(back)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        append_overlapping(front, back, from.len(), text);
    } else {
        text.extend_from_slice(from);
    }
    text.push(b',');
}

#[inline(always)]
fn append_overlapping<const FRONT: usize, const BACK: usize>(
    front: &[u8; FRONT],
    back: &[u8; BACK],
    length: usize,
    text: &mut Vec<u8>,
) {
    let start = text.len();
    text.extend_from_slice(front);
    text.truncate(start + length - BACK);
    text.extend_from_slice(back);
}
