//! Products where one operand is a vector, in slices: every element of the matrix is read once, so
//! there is nothing to pack and memory bounds the speed.
//!
//! The matrix is read in several streams, each a run of whole rows.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::ops::Range;
use core::{array, slice};

use ndarray::ArrayView2;

use super::Element;
use super::kernel::{Microkernel, RowsAt, STREAMS, Scale};
use super::matrix::Source;

/// Elements of the matrix that one slice reads.
const SLICE_ELEMENTS: usize = 512 << 10;
/// Columns of the matrix that are summed in one go where its rows are added up: their sums stay in
/// the second-level cache, and the streams are long.
const SUMMED_COLUMNS: usize = 8192;

/// A matrix times a vector.
#[derive(Debug)]
pub struct OnePass<T: 'static> {
    kernel: &'static Microkernel<T>,
    /// The vector meets the rows of the matrix, or else its columns.
    is_along_rows: bool,
    outputs: usize,
    terms: usize,
    /// The first output and term of the block that is next, and what is done of its rows.
    output: usize,
    term: usize,
    done: usize,
}

impl<T: Element> OnePass<T> {
    pub fn new(
        kernel: &'static Microkernel<T>,
        is_along_rows: bool,
        (outputs, terms): (usize, usize),
    ) -> Self {
        Self { kernel, is_along_rows, outputs, terms, output: 0, term: 0, done: 0 }
    }

    pub fn is_complete(&self) -> bool {
        self.output >= self.outputs
    }

    /// One slice. The matrix is outputs x terms; the operations done.
    pub fn advance(
        &mut self,
        matrix: &ArrayView2<T>,
        vector: &[T],
        scale: Scale<T>,
        c: &mut [T],
    ) -> u64 {
        match self.is_along_rows {
            true => self.advance_along_rows(matrix, vector, scale, c),
            false => self.advance_across_rows(matrix, vector, scale, c),
        }
    }

    /// Dot products of some rows with some terms of the vector, which only very long ones need cut.
    fn advance_along_rows(
        &mut self,
        matrix: &ArrayView2<T>,
        vector: &[T],
        scale: Scale<T>,
        c: &mut [T],
    ) -> u64 {
        let terms = self.term..(self.term + SLICE_ELEMENTS / STREAMS).min(self.terms);
        let one = T::from_f64(1.0);
        let scale = if terms.start == 0 { scale } else { Scale { beta: one, ..scale } };
        let groups = Groups::of(self.outputs);
        let vector = &vector[terms.clone()];
        let matrix = Rows::of(matrix, &terms);
        let end = groups.end(self.done, terms.len());
        for group in self.done..end {
            let (rows, count) = (groups.rows(group), groups.distinct(group));
            // SAFETY: the kernel came from `Element::microkernel`, which asks the CPU, and the rows
            // are as long as the vector, which has been cut to the same terms.
            let sums = unsafe { (self.kernel.dots)(matrix.rows_at(&rows[..count]), count, vector) };
            for (i, sum) in rows.into_iter().zip(sums).take(count) {
                c[i] = scale.of(sum, &c[i]);
            }
        }
        let flops = 2 * (groups.count(self.done..end) * terms.len()) as u64;
        self.done = end;
        if end == groups.total() {
            (self.done, self.term) = (0, terms.end);
        }
        if self.term == self.terms {
            self.output = self.outputs;
        }
        flops
    }

    /// Adds up some rows of the matrix's transpose, a few at a time, over some columns.
    fn advance_across_rows(
        &mut self,
        matrix: &ArrayView2<T>,
        vector: &[T],
        scale: Scale<T>,
        c: &mut [T],
    ) -> u64 {
        let columns = self.output..(self.output + SUMMED_COLUMNS).min(self.outputs);
        let c = &mut c[columns.clone()];
        if self.done == 0 {
            c.iter_mut().for_each(|element| *element = scale.kept(element));
        }
        let groups = Groups::of(self.terms);
        let transpose = Rows::of(&matrix.t(), &columns);
        let row = |p: usize| transpose.row(p);
        let end = groups.end(self.done, columns.len());
        for group in self.done..end {
            let terms = groups.rows(group);
            let distinct = groups.distinct(group);
            let factors = array::from_fn(|q| match q < distinct {
                true => scale.alpha * vector[terms[q]],
                false => T::default(),
            });
            if distinct == STREAMS {
                // SAFETY: as above; the rows are as long as the result, which has been cut to the
                // same columns.
                unsafe { (self.kernel.axpys)(transpose.rows_at(&terms), factors, c) };
            } else {
                // An infinity in a row that is not added must not show.
                for (term, factor) in terms.into_iter().zip(factors).take(distinct) {
                    for (element, one) in c.iter_mut().zip(row(term)) {
                        *element = *element + factor * *one;
                    }
                }
            }
        }
        let flops = 2 * (groups.count(self.done..end) * columns.len()) as u64;
        self.done = end;
        if end == groups.total() {
            (self.done, self.output) = (0, columns.end);
        }
        flops
    }
}

/// Rows that are contiguous.
struct Rows<'a, T> {
    matrix: Source<T>,
    count: usize,
    columns: Range<usize>,
    lifetime: PhantomData<&'a [T]>,
}

impl<'a, T> Rows<'a, T> {
    /// Some columns of a matrix.
    ///
    /// # Panics
    ///
    /// Where there are no such columns, or a row has gaps.
    fn of(matrix: &ArrayView2<'a, T>, columns: &Range<usize>) -> Self {
        let (count, length) = matrix.dim();
        assert!(length <= 1 || matrix.strides()[1] == 1, "rows have no gaps");
        assert!(columns.start <= columns.end && columns.end <= length, "columns of the matrix");
        let columns = columns.clone();
        Self { matrix: Source::of(matrix), count, columns, lifetime: PhantomData }
    }

    /// Where rows are that lie equally far apart, one at least.
    #[inline]
    fn rows_at(&self, rows: &[usize]) -> RowsAt<T> {
        assert!(rows.iter().all(|row| *row < self.count), "rows of the matrix");
        let apart = if rows.len() > 1 { rows[1] - rows[0] } else { 0 };
        RowsAt {
            first: self.matrix.at(rows[0], self.columns.start),
            distance: self.matrix.row_stride.wrapping_mul(apart as isize),
        }
    }

    #[inline]
    fn row(&self, index: usize) -> &'a [T] {
        assert!(index < self.count, "a row of the matrix");
        let start = self.matrix.at(index, self.columns.start);
        // SAFETY: the view lends the matrix for as long, and the columns of the row are its.
        unsafe { slice::from_raw_parts(start, self.columns.len()) }
    }
}

/// Rows in groups of which each takes one from every stream; what is left over comes last.
struct Groups {
    rows: usize,
    /// Of a stream.
    length: usize,
}

impl Groups {
    fn of(rows: usize) -> Self {
        Self { rows, length: rows / STREAMS }
    }

    fn total(&self) -> usize {
        self.length + usize::from(self.distinct(self.length) > 0)
    }

    /// The rows of a group; a last one that is not full repeats its first.
    fn rows(&self, group: usize) -> [usize; STREAMS] {
        match group < self.length {
            true => array::from_fn(|stream| stream * self.length + group),
            false => {
                let first = STREAMS * self.length;
                array::from_fn(|i| if first + i < self.rows { first + i } else { first })
            }
        }
    }

    fn distinct(&self, group: usize) -> usize {
        if group < self.length { STREAMS } else { self.rows - STREAMS * self.length }
    }

    /// Where a slice ends that starts with a group, by the elements of a row.
    fn end(&self, group: usize, row_elements: usize) -> usize {
        let groups = SLICE_ELEMENTS / (STREAMS * row_elements.max(1));
        (group + groups.max(1)).min(self.total())
    }

    /// The rows in some groups.
    fn count(&self, groups: Range<usize>) -> usize {
        groups.map(|group| self.distinct(group)).sum()
    }
}
