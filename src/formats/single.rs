//! One matrix that has come, whatever it is for.

use alloc::vec::Vec;
use core::ops::Range;

use crate::gemm::{Dtype, Element, Extent};

/// A matrix in memory, by element type.
#[derive(Debug)]
pub enum Matrix {
    F64(Elements<f64>),
    F32(Elements<f32>),
}

/// Elements, and how they lie.
#[derive(Debug)]
pub struct Elements<T> {
    pub elements: Vec<T>,
    pub extent: Extent,
}

impl Matrix {
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F64(_) => Dtype::F64,
            Self::F32(_) => Dtype::F32,
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::F64(matrix) => matrix.extent.shape(),
            Self::F32(matrix) => matrix.extent.shape(),
        }
    }

    /// Appends the bytes of whole rows to `out`, row by row and in little-endian order.
    pub fn push_rows(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Self::F64(matrix) => matrix.push_rows(rows, out),
            Self::F32(matrix) => matrix.push_rows(rows, out),
        }
    }
}

impl<T: Element> Elements<T> {
    fn push_rows(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        let Extent { start, columns: stride, transposed, .. } = self.extent;
        let (_, columns) = self.extent.shape();
        let elements = &self.elements[start..];
        if !transposed {
            let run = &elements[rows.start * columns..rows.end * columns];
            out.extend_from_slice(bytemuck::cast_slice(run));
            return;
        }
        let (before, size) = (out.len(), size_of::<T>());
        out.resize(before + rows.len() * columns * size, 0);
        for column in 0..columns {
            let run = &elements[column * stride..][rows.clone()];
            for (row, element) in run.iter().enumerate() {
                let place = before + (row * columns + column) * size;
                out[place..place + size].copy_from_slice(bytemuck::bytes_of(element));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn rows_come_in_order_however_they_lie() {
        let by_rows = vec![9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let by_columns = vec![9.0, 1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
        let extent = |rows, columns, transposed| Extent { start: 1, rows, columns, transposed };
        for matrix in [
            Elements { elements: by_rows, extent: extent(3, 2, false) },
            Elements { elements: by_columns, extent: extent(2, 3, true) },
        ] {
            let matrix = Matrix::F64(matrix);
            assert_eq!(matrix.shape(), (3, 2));
            let mut bytes = vec![7];
            matrix.push_rows(1..3, &mut bytes);
            let found: &[[u8; 8]] = bytes[1..].as_chunks().0;
            let found: Vec<f64> = found.iter().map(|it| f64::from_le_bytes(*it)).collect();
            assert_eq!(found, [3.0, 4.0, 5.0, 6.0]);
        }
    }
}
