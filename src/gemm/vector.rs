//! Products with a vector: one pass over the matrix, which memory bounds.

use core::ops::{Add, Mul};

use super::kernel::Scale;

impl<T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>> Scale<T> {
    /// What to write for a sum over what is there, which is not read where `beta` is zero.
    #[inline(always)]
    pub fn of(&self, sum: T, present: &T) -> T {
        let scaled = self.alpha * sum;
        if self.beta == T::default() { scaled } else { scaled + self.beta * *present }
    }
}

/// `result[i] <- scale(sum over p of matrix[i * stride + p] * vector[p])`, with the sum taken in
/// `LANES` interleaved parts.
#[inline(always)]
pub fn dots<T, const LANES: usize>(
    matrix: &[T],
    stride: usize,
    vector: &[T],
    scale: Scale<T>,
    result: &mut [T],
) where
    T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>,
{
    for (i, element) in result.iter_mut().enumerate() {
        let row = &matrix[i * stride..][..vector.len()];
        let (chunks, rest) = row.as_chunks::<LANES>();
        let (factors, factors_rest) = vector.as_chunks::<LANES>();
        let mut sums = [T::default(); LANES];
        for (chunk, factors) in chunks.iter().zip(factors) {
            for lane in 0..LANES {
                sums[lane] = sums[lane] + chunk[lane] * factors[lane];
            }
        }
        for (lane, (one, factor)) in rest.iter().zip(factors_rest).enumerate() {
            sums[lane] = sums[lane] + *one * *factor;
        }
        let sum = sums.into_iter().fold(T::default(), |sum, part| sum + part);
        *element = scale.of(sum, element);
    }
}

/// Rows of the matrix that are added in one pass over the result.
const ROWS: usize = 8;

/// `result[j] += sum over p of alpha * vector[p] * matrix[p * stride + j]`.
#[inline(always)]
pub fn axpys<T>(matrix: &[T], stride: usize, vector: &[T], alpha: T, result: &mut [T])
where
    T: Copy + Default + Add<Output = T> + Mul<Output = T>,
{
    let (groups, rest) = vector.as_chunks::<ROWS>();
    let columns = result.len();
    for (group, factors) in groups.iter().enumerate() {
        let factors = factors.map(|factor| alpha * factor);
        let row = |i: usize| &matrix[(group * ROWS + i) * stride..][..columns];
        let rows: [&[T]; ROWS] = core::array::from_fn(row);
        for (j, element) in result.iter_mut().enumerate() {
            let mut sum = *element;
            for (row, factor) in rows.iter().zip(&factors) {
                sum = sum + *factor * row[j];
            }
            *element = sum;
        }
    }
    let done = groups.len() * ROWS;
    for (p, factor) in rest.iter().enumerate() {
        let factor = alpha * *factor;
        let row = &matrix[(done + p) * stride..][..columns];
        for (element, one) in result.iter_mut().zip(row) {
            *element = *element + factor * *one;
        }
    }
}
