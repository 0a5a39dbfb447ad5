//! Results as JSON, in bounded slices.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::gemm::{Element, Shape};
use crate::limits::JSON_NUMBER_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

/// Elements written between two chances to pause; about 20 microseconds.
const ELEMENTS_PER_SLICE: usize = 1024;

/// What stands before the matrix in a reply.
const PREFIX: &[u8] = b"{\"c\":";

/// Room kept behind the matrix for the bill, so that adding it moves nothing.
const BILL_BYTES: usize = 640;

/// Writes `{"c":[[…],…]` row by row; the bill and the closing brace come later.
#[derive(Debug)]
pub struct Encoder<T> {
    c: Vec<T>,
    columns: usize,
    rows: usize,
    row: usize,
    column: usize,
    text: Vec<u8>,
}

/// An upper bound of the memory that the text of an m x n result takes, in bytes.
pub fn text_bytes_max(shape: Shape) -> Option<usize> {
    let numbers = shape.m.checked_mul(shape.n)?.checked_mul(JSON_NUMBER_BYTES_MAX)?;
    // A row adds its brackets and a comma.
    numbers.checked_add(shape.m.checked_mul(3)?)?.checked_add(PREFIX.len() + 2 + BILL_BYTES)
}

impl<T: Element> Encoder<T> {
    /// Sets out to write the m x n result `c`, row by row.
    ///
    /// # Errors
    ///
    /// A problem where memory for the text can't be had, though it was promised.
    pub fn new(c: Vec<T>, shape: Shape) -> Result<Self, Problem> {
        let mut text = Vec::new();
        let reserved =
            text_bytes_max(shape).is_some_and(|bytes| text.try_reserve_exact(bytes).is_ok());
        if !reserved {
            return Err(Problem::new(ProblemKind::Overloaded, "no memory for the reply"));
        }
        text.extend_from_slice(PREFIX);
        text.push(b'[');
        Ok(Self { c, columns: shape.n, rows: shape.m, row: 0, column: 0, text })
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
                self.text.push(b']');
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
        let row = self.row * self.columns;
        let mut number = zmij::Buffer::new();
        for column in self.column..end {
            let element = self.c[row + column];
            if !element.is_finite() {
                return Err(not_finite(self.row, column));
            }
            if column > 0 {
                self.text.push(b',');
            }
            self.text.extend_from_slice(number.format_finite(element).as_bytes());
        }
        // An empty row takes of the budget too, so that many of them end a slice.
        let taken = (end - self.column).max(1);
        self.column = end;
        if end == self.columns {
            self.text.push(b']');
            self.row += 1;
            self.column = 0;
        }
        Ok(taken)
    }

    /// The text so far, and how many of its bytes are the matrix.
    pub fn into_text(self) -> (Vec<u8>, u64) {
        let matrix_bytes = (self.text.len() - PREFIX.len()) as u64;
        (self.text, matrix_bytes)
    }
}

fn not_finite(row: usize, column: usize) -> Problem {
    let detail: String = format!("element [{row}][{column}] of the result is not finite");
    Problem::new(ProblemKind::ResultNotFinite, detail).at(format!("/c/{row}/{column}"))
}
