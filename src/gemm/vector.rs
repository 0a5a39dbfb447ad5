//! Products with a vector: one pass over the matrix, which memory bounds.

use core::array;
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

/// Rows of the matrix that are multiplied at once, so that the vector is loaded once for them and
/// memory is read in as many streams.
pub const STREAMS: usize = 4;

/// `result[i] <- scale(sum over p of matrix[i * stride + p] * vector[p])`, by functions that sum up
/// some rows at once, and one. Both must take a row's sum in the same order.
#[inline(always)]
pub fn dots<T>(
    (matrix, stride): (&[T], usize),
    vector: &[T],
    scale: Scale<T>,
    result: &mut [T],
    sums_of_some: impl Fn([&[T]; STREAMS], &[T]) -> [T; STREAMS],
    sum_of_one: impl Fn([&[T]; 1], &[T]) -> [T; 1],
) where
    T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>,
{
    let row = |i: usize| &matrix[i * stride..][..vector.len()];
    let (groups, rest) = result.as_chunks_mut::<STREAMS>();
    let done = groups.len() * STREAMS;
    for (group, elements) in groups.iter_mut().enumerate() {
        let sums = sums_of_some(array::from_fn(|i| row(group * STREAMS + i)), vector);
        for (element, sum) in elements.iter_mut().zip(sums) {
            *element = scale.of(sum, element);
        }
    }
    for (i, element) in rest.iter_mut().enumerate() {
        let [sum] = sum_of_one([row(done + i)], vector);
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
        let rows: [&[T]; ROWS] = array::from_fn(row);
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
