//! How many bytes requests and replies have, by the shapes of their matrices.

use alloc::format;

use crate::formats::{Format, write};
use crate::gemm::{Dtype, Shape};
use crate::limits::JSON_NUMBER_BYTES_MAX;

/// Bytes on a job's bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub bytes_in: u64,
    /// However long the numbers are in JSON, if no more white space is written than must be.
    pub bytes_in_max: u64,
    pub bytes_out: u64,
    pub bytes_out_max: u64,
    /// Neither number of bytes is an estimate.
    pub is_exact: bool,
}

/// The text of one number that has all its digits, and its comma: `-0.1234567890123456,`. Many have
/// fewer, and few more.
const JSON_F64_BYTES: u64 = 20;
const JSON_F32_BYTES: u64 = 12;
/// What a JSON body has besides its matrices: names, settings and brackets.
const JSON_BODY_BYTES: u64 = 64;

/// What an archive has for each member besides NumPy's header and the elements: the member's own
/// header, with room for lengths beyond 32 bits and the name `a.npy`, and its line in the
/// directory.
const NPZ_MEMBER_BYTES: u64 = 30 + 20 + 5 + 46 + 5;
/// The end of an archive's directory.
const NPZ_END_BYTES: u64 = 22;
/// What its directory has besides where it lies beyond 32 bits.
const NPZ_LONG_BYTES: u64 = 256;

impl Sizes {
    /// Of A, B and perhaps C as they come, and of the result; rows and columns of each.
    pub fn of(
        dtype: Dtype,
        matrices: [Option<(usize, usize)>; 3],
        result: (usize, usize),
        format: Format,
        reply_format: Format,
    ) -> Self {
        let (bytes_in, bytes_in_max) = body_bytes(dtype, matrices, format);
        let (bytes_out, bytes_out_max) = result_bytes(dtype, result, reply_format);
        let is_exact = ![format, reply_format].contains(&Format::Json) && format != Format::Npz;
        Self { bytes_in, bytes_in_max, bytes_out, bytes_out_max, is_exact }
    }
}

fn body_bytes(dtype: Dtype, matrices: [Option<(usize, usize)>; 3], format: Format) -> (u64, u64) {
    let all = || matrices.into_iter().flatten();
    let elements_bytes: u64 = all().map(|matrix| elements_bytes(dtype, matrix)).sum();
    let heads_bytes: u64 = all().map(|matrix| npy_head_bytes(dtype, matrix)).sum();
    let exact = |bytes| (bytes, bytes);
    match format {
        Format::Json => {
            let sum = |number| all().map(|matrix| json_bytes(matrix, number)).sum::<u64>();
            let (usual, most) = (sum(json_number(dtype)), sum(JSON_NUMBER_BYTES_MAX as u64));
            (usual + JSON_BODY_BYTES, most + JSON_BODY_BYTES)
        }
        Format::Npy => exact(heads_bytes + elements_bytes),
        Format::Npz => {
            let members_bytes = all().count() as u64 * NPZ_MEMBER_BYTES;
            let bytes = heads_bytes + elements_bytes + members_bytes + NPZ_END_BYTES;
            (bytes, bytes + NPZ_LONG_BYTES)
        }
        Format::Safetensors => exact(safetensors_head_bytes(dtype, matrices) + elements_bytes),
        Format::Raw => exact(elements_bytes),
    }
}

/// Of the result as bills count it: in JSON, the matrix alone.
fn result_bytes(dtype: Dtype, (m, n): (usize, usize), format: Format) -> (u64, u64) {
    if format == Format::Json {
        let of = |number| json_bytes((m, n), number);
        return (of(json_number(dtype)), of(JSON_NUMBER_BYTES_MAX as u64));
    }
    let (head, tail) = write::around(format, dtype, Shape { m, n, k: 0 }, Some(0));
    let bytes = elements_bytes(dtype, (m, n)) + (head.len() + tail.len()) as u64;
    (bytes, bytes)
}

fn elements_bytes(dtype: Dtype, (rows, columns): (usize, usize)) -> u64 {
    rows as u64 * columns as u64 * dtype.bytes() as u64
}

const fn json_number(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F64 => JSON_F64_BYTES,
        Dtype::F32 => JSON_F32_BYTES,
    }
}

/// An array of rows, whose brackets and commas add three bytes to each.
fn json_bytes((rows, columns): (usize, usize), number_bytes: u64) -> u64 {
    rows as u64 * columns as u64 * number_bytes + 3 * rows as u64 + 2
}

fn npy_head_bytes(dtype: Dtype, (m, n): (usize, usize)) -> u64 {
    write::around(Format::Npy, dtype, Shape { m, n, k: 0 }, None).0.len() as u64
}

/// The length, and the JSON that describes the tensors, as the library `safetensors` writes it.
fn safetensors_head_bytes(dtype: Dtype, matrices: [Option<(usize, usize)>; 3]) -> u64 {
    let bits = 8 * dtype.bytes();
    let (mut text_bytes, mut start) = (0, 0);
    for (name, (rows, columns)) in ["a", "b", "c"].iter().zip(matrices.into_iter().flatten()) {
        let end = start + elements_bytes(dtype, (rows, columns));
        let tensor = format!(
            "\"{name}\":{{\"dtype\":\"F{bits}\",\"shape\":[{rows},{columns}],\
             \"data_offsets\":[{start},{end}]}}"
        );
        // With a bracket or a comma before it.
        text_bytes += tensor.len() + 1;
        start = end;
    }
    let text_bytes = text_bytes + 1;
    8 + text_bytes.next_multiple_of(8) as u64
}
