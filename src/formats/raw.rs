//! Elements alone: A, B and perhaps C, little-endian and row by row, one behind the other. Their
//! shapes are in the query.

use alloc::format;
use alloc::vec::Vec;

use crate::formats::{ArrayHeader, Demand, Operands, Settings, Source, Which};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

/// Reads matrices without headers.
#[derive(Debug)]
pub struct RawReader {
    operands: Operands,
    /// Those that have not begun, last first.
    to_come: Vec<Which>,
}

impl RawReader {
    pub fn new(
        settings: Settings,
        content_length: Option<u64>,
        demand: Demand,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        let headers = settings.raw_headers()?;
        Self::of(&headers, Operands::new(settings, demand), content_length, promise)
    }

    /// Of matrices whose headers are known, in the order in which they come. `length` is that of
    /// the elements of all, as the body's length has it.
    pub fn of(
        headers: &[(Which, ArrayHeader)],
        mut operands: Operands,
        length: Option<u64>,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        for (which, header) in headers {
            operands.declare(*which, *header)?;
        }
        let expected: u64 = headers.iter().map(|(_, header)| header.bytes()).sum();
        if let Some(length) = length
            && length != expected
        {
            let detail = format!("the body has {length} bytes of elements, its shapes {expected}");
            return Err(Problem::new(ProblemKind::LengthMismatch, detail).at("Content-Length"));
        }
        let to_come = headers.iter().rev().map(|(which, _)| *which).collect();
        let mut reader = Self { operands, to_come };
        reader.begin_next(promise)?;
        Ok(reader)
    }

    pub fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        let mut used = 0;
        while used < content.len() {
            // What has begun last is the last one, where it is complete.
            if self.operands.is_complete() {
                let detail = "the body has more bytes than its matrices";
                return Err(Problem::new(ProblemKind::LengthMismatch, detail));
            }
            used += self.operands.push(&content[used..]);
            self.begin_next(promise)?;
        }
        Ok(used)
    }

    /// See [`Operands::fill`].
    ///
    /// # Errors
    ///
    /// As for [`RawReader::push`].
    pub fn fill(
        &mut self,
        most: usize,
        source: &mut Source,
        promise: &mut Promise,
    ) -> Result<Option<usize>, Problem> {
        let filled = self.operands.fill(most, source);
        self.begin_next(promise)?;
        Ok(filled)
    }

    /// Begins what comes next, up to one that has elements.
    fn begin_next(&mut self, promise: &mut Promise) -> Result<(), Problem> {
        while self.operands.is_complete()
            && let Some(which) = self.to_come.pop()
        {
            self.operands.begin(which, None, promise)?;
        }
        Ok(())
    }

    /// What has come.
    pub fn into_operands(self) -> Operands {
        self.operands
    }
}
