//! Results in binary formats: what stands before and behind the elements, which are sent as they
//! lie, little-endian and row by row.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::formats::Format;
use crate::formats::zip::StoredMember;
use crate::gemm::{Dtype, Shape};

/// NumPy aligns the elements behind its header to this, for those that map the file.
const NPY_ALIGNMENT: usize = 64;
/// The version of NumPy's format, whose header has less than 2^16 bytes.
const NPY_VERSION_1: &[u8] = b"\x93NUMPY\x01\x00";
/// safetensors aligns its elements to this.
const SAFETENSORS_ALIGNMENT: usize = 8;

/// The checksum that an archive has of its member, over NumPy's header and the elements.
#[derive(Clone, Debug)]
pub struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Of a result of this dtype and shape, whose elements come next.
    pub fn new(dtype: Dtype, shape: Shape) -> Self {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&npy_head(dtype, shape));
        Self(checksum)
    }

    /// The next elements, as bytes.
    pub fn update(&mut self, elements: &[u8]) {
        self.0.update(elements);
    }

    /// The checksum of all.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// The most that stands before and behind a matrix.
pub const HEAD_AND_TAIL_BYTES_MAX: usize = 1024;

/// Whether [`around`] needs the checksum of the result.
pub const fn needs_checksum(format: Format) -> bool {
    matches!(format, Format::Npz)
}

/// The bytes before and those behind the elements of an m x n result.
///
/// # Panics
///
/// Where the format is JSON, or it needs a checksum and there is none.
pub fn around(
    format: Format,
    dtype: Dtype,
    shape: Shape,
    checksum: Option<u32>,
) -> (Vec<u8>, Vec<u8>) {
    match format {
        Format::Json => panic!("JSON is written element by element"),
        Format::Npy => (npy_head(dtype, shape), Vec::new()),
        Format::Npz => {
            let array_head = npy_head(dtype, shape);
            let bytes = (array_head.len() + result_bytes(dtype, shape)) as u64;
            let checksum = checksum.expect("an archive has a checksum of its member");
            let member = StoredMember { name: "c.npy", bytes, checksum };
            ([member.head(), array_head].concat(), member.tail())
        }
        Format::Safetensors => (safetensors_head(dtype, shape), Vec::new()),
        Format::Raw => (Vec::new(), Vec::new()),
    }
}

fn result_bytes(dtype: Dtype, Shape { m, n, .. }: Shape) -> usize {
    m * n * dtype.bytes()
}

/// What stands before the elements, exactly as NumPy writes it.
pub fn npy_head(dtype: Dtype, shape: Shape) -> Vec<u8> {
    let Shape { m, n, .. } = shape;
    let bytes = dtype.bytes();
    let mut dictionary =
        format!("{{'descr': '<f{bytes}', 'fortran_order': False, 'shape': ({m}, {n}), }}");
    // The length and the line end are part of what is aligned.
    let unaligned = NPY_VERSION_1.len() + size_of::<u16>() + dictionary.len() + 1;
    let padding = unaligned.next_multiple_of(NPY_ALIGNMENT) - unaligned;
    dictionary.extend(core::iter::repeat_n(' ', padding));
    dictionary.push('\n');
    let mut head = Vec::from(NPY_VERSION_1);
    head.extend((dictionary.len() as u16).to_le_bytes());
    head.extend(dictionary.bytes());
    head
}

fn safetensors_head(dtype: Dtype, shape: Shape) -> Vec<u8> {
    let Shape { m, n, .. } = shape;
    let (bits, end) = (8 * dtype.bytes(), result_bytes(dtype, shape));
    let mut text: String = format!(
        "{{\"c\":{{\"dtype\":\"F{bits}\",\"shape\":[{m},{n}],\"data_offsets\":[0,{end}]}}}}"
    );
    let padding = text.len().next_multiple_of(SAFETENSORS_ALIGNMENT) - text.len();
    text.extend(core::iter::repeat_n(' ', padding));
    let mut head = Vec::from((text.len() as u64).to_le_bytes());
    head.extend(text.bytes());
    head
}
