//! Matrices as the microkernels see them: addresses and strides.

use ndarray::{ArrayView2, ArrayViewMut2};

/// A matrix to read, of any two strides.
#[derive(Clone, Copy, Debug)]
pub struct Source<T> {
    start: *const T,
    /// In elements.
    pub row_stride: isize,
    pub column_stride: isize,
}

impl<T> Source<T> {
    #[inline]
    pub fn of(view: &ArrayView2<T>) -> Self {
        let strides = view.strides();
        Self { start: view.as_ptr(), row_stride: strides[0], column_stride: strides[1] }
    }

    /// Where the element is; its address may be used if it is within the matrix.
    #[inline]
    pub fn at(&self, row: usize, column: usize) -> *const T {
        let offset = (row as isize).wrapping_mul(self.row_stride)
            + (column as isize).wrapping_mul(self.column_stride);
        self.start.wrapping_offset(offset)
    }

    /// The matrix from an element on.
    #[inline]
    pub fn from(&self, row: usize, column: usize) -> Self {
        Self { start: self.at(row, column), ..*self }
    }

    /// The matrix so many elements away.
    #[inline]
    pub fn moved(&self, elements: isize) -> Self {
        Self { start: self.start.wrapping_offset(elements), ..*self }
    }

    pub fn transposed(&self) -> Self {
        let Self { start, row_stride, column_stride } = *self;
        Self { start, row_stride: column_stride, column_stride: row_stride }
    }
}

/// A result whose rows are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Target<T> {
    start: *mut T,
    /// In elements.
    pub row_stride: isize,
}

impl<T> Target<T> {
    /// # Panics
    ///
    /// Where the rows of the view are not contiguous.
    #[inline]
    pub fn of(view: &mut ArrayViewMut2<T>) -> Self {
        let (columns, strides) = (view.ncols(), view.strides());
        assert!(strides[1] == 1 || columns <= 1, "rows are contiguous");
        Self { row_stride: strides[0], start: view.as_mut_ptr() }
    }

    /// Where the element is, as for a source.
    #[inline]
    pub fn at(&self, row: usize, column: usize) -> *mut T {
        let offset = (row as isize).wrapping_mul(self.row_stride) + column as isize;
        self.start.wrapping_offset(offset)
    }

    /// The result so many elements away.
    #[inline]
    pub fn moved(&self, elements: isize) -> Self {
        Self { start: self.start.wrapping_offset(elements), ..*self }
    }

    /// The result from an element on.
    pub fn from(&self, row: usize, column: usize) -> Self {
        Self { start: self.at(row, column), ..*self }
    }

    /// Whether every row starts on a boundary of so many bytes.
    pub fn is_aligned(&self, bytes: usize) -> bool {
        self.start.addr().is_multiple_of(bytes)
            && (self.row_stride.unsigned_abs() * size_of::<T>()).is_multiple_of(bytes)
    }
}
