//! Elements alone: A, B and perhaps C, little-endian and row by row, one behind the other. Their
//! shapes are in the query.

use alloc::format;
use alloc::vec::Vec;

use crate::api::operation::MultiplyRequest;
use crate::formats::{Demand, Operands, Settings, Which};
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
        let expected_bytes: u64 = headers.iter().map(|(_, header)| header.bytes()).sum();
        let mut operands = Operands::new(settings, demand);
        for (which, header) in &headers {
            operands.declare(*which, *header)?;
        }
        if let Some(length) = content_length
            && length != expected_bytes
        {
            let detail = format!("the body has {length} bytes, and its matrices {expected_bytes}");
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
            if self.operands.is_whole() {
                let detail = "the body has more bytes than its matrices";
                return Err(Problem::new(ProblemKind::LengthMismatch, detail));
            }
            used += self.operands.push(&content[used..]);
            self.begin_next(promise)?;
        }
        Ok(used)
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

    pub fn finish(self) -> Result<MultiplyRequest, Problem> {
        self.operands.finish()
    }
}
