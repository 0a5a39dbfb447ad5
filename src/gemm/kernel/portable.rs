//! The microkernel of every CPU: plain Rust, which the compiler turns into what vectors there are.
#![allow(unsafe_code)]

use core::ops::{Add, Mul};
use core::{array, slice};

use super::{Microkernel, Panel, RowsAt, STREAMS, Scale, Steps, Tile, TileCode};

const MR: usize = 4;
const NR: usize = 8;
/// A millisecond.
const SLICE_FLOPS: usize = 4 << 20;

macro_rules! microkernel {
    ($name:ident, $element:ty) => {
        pub static $name: Microkernel<$element> = Microkernel {
            mr: MR,
            nr: NR,
            lanes: NR,
            slice_flops: SLICE_FLOPS,
            panel: |columns| {
                static TILES: [TileCode<$element>; MR] = [
                    tiles::<$element, 1>,
                    tiles::<$element, 2>,
                    tiles::<$element, 3>,
                    tiles::<$element, 4>,
                ];
                Panel { mask: columns as u64, codes: &TILES }
            },
            copying: None,
            packing: None,
            streaming: None,
            dots,
            axpys,
        };
    };
}

microkernel!(F64, f64);
microkernel!(F32, f32);

/// # Safety
///
/// That of `Dots`.
unsafe fn dots<T>(rows: RowsAt<T>, count: usize, vector: &[T]) -> [T; STREAMS]
where
    T: Copy + Default + Add<Output = T> + Mul<Output = T>,
{
    array::from_fn(|row| match row < count {
        // SAFETY: there is such a row, as long as the vector: the caller's promise.
        true => dot(unsafe { slice::from_raw_parts(rows.at(row), vector.len()) }, vector),
        false => T::default(),
    })
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

/// # Safety
///
/// That of `Axpys`.
unsafe fn axpys<T>(rows: RowsAt<T>, factors: [T; STREAMS], result: &mut [T])
where
    T: Copy + Add<Output = T> + Mul<Output = T>,
{
    let columns = result.len();
    // SAFETY: there is such a row, as long as the result: the caller's promise.
    let row = |row| unsafe { slice::from_raw_parts(rows.at(row), columns) };
    let rows: [&[T]; STREAMS] = array::from_fn(row);
    for (j, element) in result.iter_mut().enumerate() {
        for (row, factor) in rows.iter().zip(factors) {
            *element = *element + factor * row[j];
        }
    }
}

/// The mask is the number of columns.
///
/// # Safety
///
/// That of `TileCode`.
unsafe fn tiles<T, const ROWS: usize>(tile: *mut Tile<T>)
where
    T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>,
{
    // SAFETY: the caller's tile.
    let tile = unsafe { &mut *tile };
    while tile.tiles > 0 {
        // SAFETY: the next tile of the run: the caller's promise.
        unsafe { one_tile::<T, ROWS>(tile) };
        let Steps { a, b, c, .. } = tile.steps;
        tile.a = tile.a.wrapping_byte_offset(a);
        tile.b = tile.b.wrapping_byte_offset(b);
        tile.c = tile.c.wrapping_byte_offset(c);
        tile.tiles -= 1;
    }
}

/// # Safety
///
/// That of `TileCode`, for the first tile of the run.
unsafe fn one_tile<T, const ROWS: usize>(tile: &Tile<T>)
where
    T: Copy + Default + PartialEq + Add<Output = T> + Mul<Output = T>,
{
    let columns = tile.mask as usize;
    let mut sums = [[T::default(); NR]; ROWS];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.terms {
        let row: [T; NR] = match columns {
            // SAFETY: B holds terms x columns elements: the caller's promise.
            NR => unsafe { b.cast::<[T; NR]>().read_unaligned() },
            _ => array::from_fn(|j| match j < columns {
                // SAFETY: as above.
                true => unsafe { b.add(j).read() },
                false => T::default(),
            }),
        };
        for (i, sums) in sums.iter_mut().enumerate() {
            let from = a.wrapping_byte_offset(i as isize * tile.a_row_stride);
            // SAFETY: A holds rows x terms elements: the caller's promise.
            let factor = unsafe { from.read() };
            for (sum, element) in sums.iter_mut().zip(&row) {
                *sum = *sum + factor * *element;
            }
        }
        a = a.wrapping_byte_offset(tile.a_column_stride);
        b = b.wrapping_byte_offset(tile.b_row_stride);
    }
    let scale = Scale { alpha: tile.alpha, beta: tile.beta };
    for (i, sums) in sums.iter().enumerate() {
        let row = tile.c.wrapping_byte_offset(i as isize * tile.c_row_stride);
        for (j, sum) in sums.iter().enumerate().take(columns) {
            let to = row.wrapping_add(j);
            let kept = match scale.beta == T::default() {
                true => T::default(),
                // SAFETY: C holds rows x columns elements: the caller's promise.
                false => unsafe { to.read() },
            };
            // SAFETY: as above, and nothing else uses them meanwhile.
            unsafe { to.write(scale.of(*sum, &kept)) };
        }
    }
}
