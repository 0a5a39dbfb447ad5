//! Results as JSON, in bounded slices.

use alloc::format;
use alloc::vec::Vec;

use crate::gemm::{Element, Shape};
use crate::limits::JSON_NUMBER_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

/// Elements written between two chances to pause; about 20 microseconds.
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

/// An upper bound of the memory that the text of an m x n result takes, in bytes, what stands before
/// it left out.
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
        let row = self.row * self.columns;
        let mut number = zmij::Buffer::new();
        for column in self.column..end {
            let element = self.c[row + column];
            if !element.is_finite() {
                return Err(self.not_finite(column));
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
