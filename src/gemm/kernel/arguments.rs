//! What the code of a tile is told, whatever the width of its vectors.

use super::{Left, Right, Scale, Size, Target};

/// Strides in bytes. `M` is the way in which an instruction set names the lanes of the last vector
/// that are within the tile.
#[repr(C)]
pub struct Arguments<T, M> {
    pub terms: usize,
    pub a: *const T,
    pub a_row_stride: usize,
    pub a_column_stride: usize,
    pub b: *const T,
    pub b_row_stride: usize,
    pub b_ahead: usize,
    pub c: *mut T,
    pub c_row_stride: usize,
    pub mask: M,
    /// `SCALES_SUM`, `READS_C`, `SCALES_C`.
    pub steps: u64,
    pub alpha: T,
    pub beta: T,
}

/// `alpha` is not one.
pub const SCALES_SUM: u64 = 1;
/// `beta` is not zero.
pub const READS_C: u64 = 2;
/// `beta` is neither zero nor one.
pub const SCALES_C: u64 = 4;

impl<T: Copy + PartialEq + From<u8>, M> Arguments<T, M> {
    #[inline]
    pub fn new(
        size: Size,
        a: Left<T>,
        b: Right<T>,
        scale: Scale<T>,
        c: Target<T>,
        mask: M,
    ) -> Self {
        let bytes = size_of::<T>();
        let (zero, one) = (T::from(0), T::from(1));
        let step = |is_taken: bool, step: u64| if is_taken { step } else { 0 };
        Self {
            terms: size.terms,
            a: a.elements.as_ptr(),
            a_row_stride: a.row_stride * bytes,
            a_column_stride: a.column_stride * bytes,
            b: b.elements.as_ptr(),
            b_row_stride: b.row_stride * bytes,
            b_ahead: b.ahead * bytes,
            c: c.elements.as_mut_ptr(),
            c_row_stride: c.row_stride * bytes,
            mask,
            steps: step(scale.alpha != one, SCALES_SUM)
                | step(scale.beta != zero, READS_C)
                | step(scale.beta != zero && scale.beta != one, SCALES_C),
            alpha: scale.alpha,
            beta: scale.beta,
        }
    }
}
