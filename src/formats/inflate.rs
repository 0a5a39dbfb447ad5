//! Deflate streams (RFC 1951) and those of zlib (RFC 1950), inflated as they come.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{
    DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress, inflate_flags as flags,
};

/// Bytes of memory that one takes: the window, and the tables of its codes.
pub const INFLATER_BYTES: usize = TINFL_LZ_DICT_SIZE + size_of::<DecompressorOxide>();

/// What a stream is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    None,
    /// A header, and a checksum at the end, which is checked.
    Zlib,
}

/// One stream on its way.
pub struct Inflater {
    state: Box<DecompressorOxide>,
    /// The last output, which later output may repeat. It wraps around.
    window: Box<[u8]>,
    position: usize,
    flags: u32,
    is_done: bool,
}

/// The stream is not one of deflate's, or its checksum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl Inflater {
    pub fn new(wrapping: Wrapping) -> Self {
        let flags = match wrapping {
            Wrapping::None => flags::TINFL_FLAG_IGNORE_ADLER32,
            Wrapping::Zlib => flags::TINFL_FLAG_PARSE_ZLIB_HEADER,
        };
        Self {
            state: Box::default(),
            window: vec![0; TINFL_LZ_DICT_SIZE].into_boxed_slice(),
            position: 0,
            flags: flags | flags::TINFL_FLAG_HAS_MORE_INPUT,
            is_done: false,
        }
    }

    /// Inflates a stretch: how many bytes of the input it took, and what came of them, at most a
    /// window. There may be more to come of the same bytes, so it is to be called again, without
    /// input if there is no more, until it takes nothing and gives nothing. Behind the end of the
    /// stream it takes nothing.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, &[u8]), Corrupt> {
        if self.is_done {
            return Ok((0, &[]));
        }
        let start = self.position;
        let (status, used, written) =
            decompress(&mut self.state, input, &mut self.window, start, self.flags);
        match status {
            TINFLStatus::Done => self.is_done = true,
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
            _ => return Err(Corrupt),
        }
        self.position = (start + written) % TINFL_LZ_DICT_SIZE;
        Ok((used, &self.window[start..start + written]))
    }

    /// Whether the stream has ended.
    pub fn is_done(&self) -> bool {
        self.is_done
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}
