//! Products where one operand is a vector, in slices: every element of the matrix is read once, so
//! there is nothing to pack and memory bounds the speed.

use super::kernel::{Microkernel, Scale};
use super::plan::SLICE_FLOPS;

/// Elements of the matrix that one slice reads.
const SLICE_ELEMENTS: usize = SLICE_FLOPS / 8;
/// Columns of the matrix that are summed in one go where its rows are added up: their sums stay in
/// the first-level cache.
const SUMMED_COLUMNS: usize = 1024;

/// A matrix times a vector.
#[derive(Debug)]
pub struct OnePass<T: 'static> {
    kernel: &'static Microkernel<T>,
    /// The vector meets the rows of the matrix, or else its columns.
    is_along_rows: bool,
    outputs: usize,
    terms: usize,
    /// The next output and term.
    output: usize,
    term: usize,
}

impl<T: Copy> OnePass<T> {
    pub fn new(
        kernel: &'static Microkernel<T>,
        is_along_rows: bool,
        (outputs, terms): (usize, usize),
    ) -> Self {
        Self { kernel, is_along_rows, outputs, terms, output: 0, term: 0 }
    }

    pub fn is_complete(&self) -> bool {
        self.output >= self.outputs
    }

    /// One slice. The matrix is as it lies in memory, with the distance of its rows.
    pub fn advance(
        &mut self,
        matrix: (&[T], usize),
        vector: &[T],
        scale: Scale<T>,
        one: T,
        c: &mut [T],
    ) where
        T: Default + PartialEq + core::ops::Mul<Output = T>,
    {
        let (elements, stride) = matrix;
        let (output, term) = (self.output, self.term);
        let (outputs, terms) = self.slice_size();
        let vector = &vector[term..term + terms];
        let c = &mut c[output..output + outputs];
        let scale = if term == 0 { scale } else { Scale { beta: one, ..scale } };
        if self.is_along_rows {
            let start = output * stride + term;
            (self.kernel.dots)(&elements[start..], stride, vector, scale, c);
        } else {
            if scale.beta != one {
                super::scale_in_place(c, scale.beta);
            }
            let start = term * stride + output;
            (self.kernel.axpys)(&elements[start..], stride, vector, scale.alpha, c);
        }
        self.term += terms;
        if self.term == self.terms {
            self.term = 0;
            self.output += outputs;
        }
    }

    fn slice_size(&self) -> (usize, usize) {
        let (outputs_left, terms_left) = (self.outputs - self.output, self.terms - self.term);
        if self.is_along_rows {
            let terms = terms_left.min(SLICE_ELEMENTS);
            // A dot product that is cut is cut alone.
            let outputs = if self.terms > SLICE_ELEMENTS { 1 } else { SLICE_ELEMENTS / terms };
            (outputs.min(outputs_left), terms)
        } else {
            let outputs = outputs_left.min(SUMMED_COLUMNS);
            (outputs, terms_left.min(SLICE_ELEMENTS / outputs))
        }
    }
}
