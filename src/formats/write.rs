//! What stands around the elements of a result, in each format.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::formats::Format;
use crate::gemm::{Dtype, Element, Shape};

/// The most that stands before and behind a matrix.
pub const HEAD_AND_TAIL_BYTES_MAX: usize = 1024;

/// The bytes before and those behind the elements of an m x n result, row by row.
pub fn around<T: Element>(format: Format, shape: Shape) -> (Vec<u8>, Vec<u8>) {
    match format {
        Format::Npy => (npy_head(T::DTYPE, shape), Vec::new()),
        _ => (Vec::new(), Vec::new()),
    }
}

/// Version 1.0 of NumPy's format: magic, version, the header's length, and the header, which is
/// filled up with spaces so that the elements start at a multiple of 64.
fn npy_head(dtype: Dtype, shape: Shape) -> Vec<u8> {
    const PREFIX_BYTES: usize = 10;
    const BOUNDARY_BYTES: usize = 64;
    let descr = match dtype {
        Dtype::F64 => "<f8",
        Dtype::F32 => "<f4",
    };
    let (m, n) = (shape.m, shape.n);
    let header: String =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({m}, {n}), }}");
    let bytes = (PREFIX_BYTES + header.len() + 1).next_multiple_of(BOUNDARY_BYTES);
    let header_bytes = (bytes - PREFIX_BYTES) as u16;
    let mut head = Vec::with_capacity(bytes);
    head.extend_from_slice(b"\x93NUMPY\x01\x00");
    head.extend_from_slice(&header_bytes.to_le_bytes());
    head.extend_from_slice(header.as_bytes());
    head.resize(bytes - 1, b' ');
    head.push(b'\n');
    head
}
