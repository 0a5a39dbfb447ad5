//! NumPy's arrays: A, B and perhaps C, as `numpy.save` writes them into one file, one after the
//! other.
//!
//! The format is that of NumPy Enhancement Proposal 1, in its versions 1.0, 2.0 and 3.0.

pub mod header;

use crate::formats::{Operands, Source, Which};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

use header::HeaderReader;

/// Reads arrays that follow each other.
#[derive(Debug)]
pub struct NpyReader {
    operands: Operands,
    /// Bytes of content that are still to come, if that is known.
    bytes_left: Option<u64>,
    array: ArrayReader,
    /// Those that are still to come.
    to_come: &'static [Which],
}

/// Reads one array.
#[derive(Debug)]
pub enum ArrayReader {
    Header(HeaderReader),
    Elements,
}

impl NpyReader {
    pub fn new(operands: Operands, content_length: Option<u64>) -> Self {
        let to_come = operands.in_order();
        Self { operands, bytes_left: content_length, array: ArrayReader::new(), to_come }
    }

    pub fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        let mut used = 0;
        while used < content.len() {
            let [which, later @ ..] = self.to_come else {
                let detail = "the body goes on behind its last array";
                return Err(Problem::new(ProblemKind::MalformedBody, detail));
            };
            let (operands, rest) = (&mut self.operands, &content[used..]);
            let taken = self.array.push(*which, rest, self.bytes_left, operands, promise)?;
            used += taken;
            self.pass(taken, later);
        }
        Ok(used)
    }

    /// See [`Operands::fill`].
    pub fn fill(&mut self, most: usize, source: &mut Source) -> Option<usize> {
        let [_, later @ ..] = self.to_come else { return None };
        let filled = match self.array {
            ArrayReader::Header(_) => None,
            ArrayReader::Elements => self.operands.fill(most, source),
        }?;
        self.pass(filled, later);
        Some(filled)
    }

    /// Notes bytes that were taken, and whether `later` arrays are next.
    fn pass(&mut self, bytes: usize, later: &'static [Which]) {
        self.bytes_left = self.bytes_left.map(|left| left.saturating_sub(bytes as u64));
        if self.array.is_complete(&self.operands) {
            self.array = ArrayReader::new();
            self.to_come = later;
        }
    }

    /// What has come.
    pub fn into_operands(self) -> Result<Operands, Problem> {
        if let (ArrayReader::Header(header), [which, ..]) = (&self.array, self.to_come)
            && !header.is_empty()
        {
            let detail = "the body ends in the header of an array";
            return Err(Problem::new(ProblemKind::MalformedBody, detail).at(which.pointer()));
        }
        Ok(self.operands)
    }
}

impl ArrayReader {
    pub const fn new() -> Self {
        Self::Header(HeaderReader::new())
    }

    /// Takes bytes of an array, up to the end of its header or of itself; how many. `bytes_left` is
    /// how many the file still has, these included.
    pub fn push(
        &mut self,
        which: Which,
        bytes: &[u8],
        bytes_left: Option<u64>,
        operands: &mut Operands,
        promise: &mut Promise,
    ) -> Result<usize, Problem> {
        let Self::Header(reader) = self else { return Ok(operands.push(bytes)) };
        let (taken, description) = reader.push(which, bytes)?;
        if let Some(description) = description {
            let header = description.array_header(which)?;
            let array_bytes = header.bytes().saturating_add(taken as u64);
            operands.declare(which, header)?;
            let following = bytes_left.map(|left| left.saturating_sub(array_bytes));
            operands.begin(which, following, promise)?;
            *self = Self::Elements;
        }
        Ok(taken)
    }

    pub fn is_complete(&self, operands: &Operands) -> bool {
        matches!(self, Self::Elements) && operands.is_complete()
    }
}
