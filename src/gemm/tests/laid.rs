//! Matrices in any layout, and what is around them.

use alloc::vec::Vec;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, Slice};

use super::{Number, fractions, integers};

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// It is the transpose of what the other fields say.
    turned: bool,
    /// From one row to the next: 2 leaves one out, -1 goes backwards, 0 has one row for all.
    row_step: isize,
    column_step: isize,
    /// Elements between the end of a row and the start of the next.
    gap: usize,
}

impl Strides {
    pub const ROWS: Self = Self { turned: false, row_step: 1, column_step: 1, gap: 0 };
    pub const GAPS: Self = Self { gap: 5, ..Self::ROWS };
    pub const UPSIDE_DOWN: Self = Self { row_step: -1, ..Self::GAPS };
    pub const STEPS: Self = Self { row_step: 2, column_step: 3, ..Self::GAPS };
    pub const MIRRORED: Self = Self { row_step: -1, column_step: -1, ..Self::ROWS };
    pub const BACK_IN_STEPS: Self = Self { row_step: 3, column_step: -2, ..Self::ROWS };
    pub const SAME_ROWS: Self = Self { row_step: 0, ..Self::ROWS };
    pub const SINGLE: Self = Self { row_step: 0, column_step: 0, ..Self::ROWS };

    pub const fn turned(self) -> Self {
        Self { turned: !self.turned, ..self }
    }

    /// Whose rows are contiguous, as [`Parts`] wants them in C.
    pub const OF_C: [Self; 3] = [Self::ROWS, Self::GAPS, Self::UPSIDE_DOWN];
    /// Those that can be written.
    pub const WRITABLE: [Self; 9] = [
        Self::ROWS,
        Self::GAPS,
        Self::UPSIDE_DOWN,
        Self::STEPS,
        Self::MIRRORED,
        Self::ROWS.turned(),
        Self::UPSIDE_DOWN.turned(),
        Self::STEPS.turned(),
        Self::BACK_IN_STEPS.turned(),
    ];
    pub const ALL: [Self; 12] = [
        Self::ROWS,
        Self::GAPS,
        Self::UPSIDE_DOWN,
        Self::STEPS,
        Self::MIRRORED,
        Self::ROWS.turned(),
        Self::UPSIDE_DOWN.turned(),
        Self::STEPS.turned(),
        Self::BACK_IN_STEPS.turned(),
        Self::SAME_ROWS,
        Self::SAME_ROWS.turned(),
        Self::SINGLE,
    ];
}

/// A matrix within a buffer, with something before, between and behind its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Laid<T> {
    pub buffer: Array2<T>,
    pub strides: Strides,
    size: (usize, usize),
}

impl<T: Number> Laid<T> {
    pub fn new(
        size: (usize, usize),
        strides: Strides,
        elements: impl FnOnce(usize) -> Vec<T>,
    ) -> Self {
        let Strides { turned, row_step, column_step, gap } = strides;
        let (rows, columns) = if turned { (size.1, size.0) } else { size };
        let length = |count: usize, step: isize| match step {
            0 => 1,
            _ => count * step.unsigned_abs(),
        };
        let (height, width) = (length(rows, row_step), length(columns, column_step));
        let elements = elements((height + 2) * (width + gap));
        let buffer = Array2::from_shape_vec((height + 2, width + gap), elements);
        Self { buffer: buffer.expect("as many elements"), strides, size }
    }

    pub fn integers(size: (usize, usize), strides: Strides, seed: u64) -> Self {
        Self::new(size, strides, |count| integers(count, seed))
    }

    pub fn fractions(size: (usize, usize), strides: Strides, seed: u64) -> Self {
        Self::new(size, strides, |count| fractions(count, seed))
    }

    fn slices(&self) -> (Slice, Slice) {
        let Strides { row_step, column_step, gap, .. } = self.strides;
        let step = |step: isize| if step == 0 { 1 } else { step };
        let (height, width) = self.buffer.dim();
        (
            Slice::new(1, Some(height as isize - 1), step(row_step)),
            Slice::new(0, Some((width - gap) as isize), step(column_step)),
        )
    }

    pub fn view(&self) -> ArrayView2<'_, T> {
        let Strides { turned, row_step, column_step, .. } = self.strides;
        let (rows, columns) = self.slices();
        let mut view = self.buffer.view();
        view.slice_axis_inplace(Axis(0), rows);
        view.slice_axis_inplace(Axis(1), columns);
        let (m, n) = if turned { (self.size.1, self.size.0) } else { self.size };
        // What a step of 0 leaves is one row or column, to be repeated.
        let view = match (row_step, column_step) {
            (0, 0) => repeated(repeated(view, m).reversed_axes(), n).reversed_axes(),
            (0, _) => repeated(view, m),
            _ => view,
        };
        if turned { view.reversed_axes() } else { view }
    }

    pub fn view_mut(&mut self) -> ArrayViewMut2<'_, T> {
        let (rows, columns) = self.slices();
        let mut view = self.buffer.view_mut();
        view.slice_axis_inplace(Axis(0), rows);
        view.slice_axis_inplace(Axis(1), columns);
        if self.strides.turned { view.reversed_axes() } else { view }
    }

    /// This buffer with other elements of the matrix.
    pub fn with(&self, elements: &[T]) -> Self {
        let mut other = self.clone();
        let elements = ArrayView2::from_shape(self.size, elements).expect("as many elements");
        other.view_mut().assign(&elements);
        other
    }
}

/// One row as many.
fn repeated<T>(row: ArrayView2<T>, count: usize) -> ArrayView2<T> {
    assert_eq!(row.nrows(), 1);
    let column_stride = row.strides()[1];
    #[allow(unsafe_code)]
    // SAFETY: no step leads out of the row.
    unsafe {
        assert!(column_stride >= 0);
        let strides = [0, column_stride as usize];
        let shape = (count, row.ncols()).strides(strides.into());
        ArrayView2::from_shape_ptr(shape, row.as_ptr())
    }
}
