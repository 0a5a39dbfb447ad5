//! The microkernel of every CPU: plain Rust, which the compiler turns into what vectors there are.

use core::array;
use core::ops::{Add, Mul};

use super::{Left, Microkernel, Right, Scale, Size, Target};
use crate::gemm::vector::{self, STREAMS};

const MR: usize = 4;
const NR: usize = 8;

pub static F64: Microkernel<f64> = Microkernel {
    mr: MR,
    nr: NR,
    lanes: NR,
    dots: dots::<f64>,
    axpys: vector::axpys::<f64>,
    tile: tile::<f64>,
};

pub static F32: Microkernel<f32> = Microkernel {
    mr: MR,
    nr: NR,
    lanes: NR,
    dots: dots::<f32>,
    axpys: vector::axpys::<f32>,
    tile: tile::<f32>,
};

fn dots<T>(matrix: &[T], stride: usize, vector: &[T], scale: Scale<T>, result: &mut [T])
where
    T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>,
{
    let one = |[row]: [&[T]; 1], vector: &[T]| [dot(row, vector)];
    let some = |rows: [&[T]; STREAMS], vector: &[T]| rows.map(|row| dot(row, vector));
    vector::dots((matrix, stride), vector, scale, result, some, one);
}

/// A sum in as many interleaved parts as the compiler can keep in vectors.
fn dot<T>(row: &[T], vector: &[T]) -> T
where
    T: Copy + Default + Add<Output = T> + Mul<Output = T>,
{
    let (chunks, rest) = row.as_chunks::<NR>();
    let (factors, factors_rest) = vector.as_chunks::<NR>();
    let mut sums = [T::default(); NR];
    for (chunk, factors) in chunks.iter().zip(factors) {
        for lane in 0..NR {
            sums[lane] = sums[lane] + chunk[lane] * factors[lane];
        }
    }
    for (sum, (one, factor)) in sums.iter_mut().zip(rest.iter().zip(factors_rest)) {
        *sum = *sum + *one * *factor;
    }
    sums.into_iter().fold(T::default(), |sum, part| sum + part)
}

fn tile<T>(size: Size, a: Left<T>, b: Right<T>, scale: Scale<T>, c: Target<T>)
where
    T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>,
{
    let mut sums = [[T::default(); NR]; MR];
    // Rows below the tile repeat its last one, and are not written.
    let starts: [usize; MR] = array::from_fn(|i| i.min(size.rows - 1) * a.row_stride);
    for p in 0..size.terms {
        let row = &b.elements[p * b.row_stride..][..size.columns];
        let row: [T; NR] = match row.first_chunk() {
            Some(row) => *row,
            None => array::from_fn(|j| row.get(j).copied().unwrap_or_default()),
        };
        for (sums, start) in sums.iter_mut().zip(&starts) {
            let factor = a.elements[start + p * a.column_stride];
            for (sum, element) in sums.iter_mut().zip(&row) {
                *sum = *sum + factor * *element;
            }
        }
    }
    for (i, sums) in sums.iter().enumerate().take(size.rows) {
        let row = &mut c.elements[i * c.row_stride..][..size.columns];
        for (element, sum) in row.iter_mut().zip(sums) {
            *element = scale.of(*sum, element);
        }
    }
}
