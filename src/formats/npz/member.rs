//! A member of an archive on its way: its array, and what it must agree with.

use crate::formats::inflate::{Inflater, Wrapping};
use crate::formats::npy::ArrayReader;
use crate::formats::npz::malformed;
use crate::formats::npz::record::{Facts, LocalHeader, Method};
use crate::formats::{Operands, Which};
use crate::memory::Promise;
use crate::problem::Problem;

/// A member whose array is coming.
#[derive(Debug)]
pub struct Member {
    which: Which,
    array: ArrayReader,
    /// What is compressed, if it is.
    inflater: Option<Inflater>,
    /// What the archive says.
    stated: Option<Facts>,
    is_zip64: bool,
    /// What has come.
    checksum: crc32fast::Hasher,
    compressed_bytes: u64,
    bytes: u64,
}

impl Member {
    pub fn new(which: Which, header: LocalHeader) -> Self {
        let is_deflated = header.method == Method::Deflated;
        Self {
            which,
            array: ArrayReader::new(),
            inflater: is_deflated.then(|| Inflater::new(Wrapping::None)),
            stated: header.facts,
            is_zip64: header.is_zip64,
            checksum: crc32fast::Hasher::new(),
            compressed_bytes: 0,
            bytes: 0,
        }
    }

    pub fn is_zip64(&self) -> bool {
        self.is_zip64
    }

    /// Takes content of the member, up to its end: how many bytes, and how many came of them.
    pub fn push(
        &mut self,
        content: &[u8],
        bytes_left: Option<u64>,
        operands: &mut Operands,
        promise: &mut Promise,
    ) -> Result<(usize, usize), Problem> {
        // Not beyond the size that the header states.
        let room = self.stated.map_or(u64::MAX, |stated| {
            stated.compressed_bytes.saturating_sub(self.compressed_bytes)
        });
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let content = &content[..content.len().min(room)];
        let Some(inflater) = &mut self.inflater else {
            let used = take(&mut self.array, self.which, content, bytes_left, operands, promise)?;
            self.checksum.update(&content[..used]);
            self.bytes += used as u64;
            self.compressed_bytes += used as u64;
            return Ok((used, used));
        };
        let (used, output) =
            inflater.step(content).map_err(|_| malformed("a member is not deflated"))?;
        if used == 0 && output.is_empty() {
            return match inflater.is_done() {
                true => Ok((0, 0)),
                false => Err(malformed("a deflated member ends behind its size")),
            };
        }
        let mut taken = 0;
        while taken < output.len() {
            // How long the others are is not known from what they are compressed to.
            let rest = &output[taken..];
            taken += take(&mut self.array, self.which, rest, None, operands, promise)?;
        }
        self.checksum.update(output);
        self.bytes += output.len() as u64;
        self.compressed_bytes += used as u64;
        Ok((used, taken))
    }

    /// Whether no more content is the member's: its array is whole, or its size is reached.
    pub fn has_ended(&self, operands: &Operands) -> bool {
        let stated = self.stated.map(|stated| stated.compressed_bytes);
        match &self.inflater {
            Some(inflater) => inflater.is_done(),
            None => match stated {
                Some(bytes) => self.bytes == bytes,
                None => self.array.is_complete(operands),
            },
        }
    }

    /// What the member's header says; `None` where it is said behind the member.
    pub fn stated(&self) -> Option<Facts> {
        self.stated
    }

    /// Compares what has come with what the archive says.
    pub fn check(self, stated: Facts, operands: &Operands) -> Result<(), Problem> {
        let found = Facts {
            checksum: self.checksum.finalize(),
            compressed_bytes: self.compressed_bytes,
            bytes: self.bytes,
        };
        let pointer = self.which.pointer();
        if !self.array.is_complete(operands) {
            return Err(malformed("a member ends before its array does").at(pointer));
        }
        if found != stated {
            return Err(malformed("the checksum or a size of a member is wrong").at(pointer));
        }
        Ok(())
    }
}

/// Gives an array some of its bytes, of which there are more than none unless its member has ended
/// too early; how many it took.
fn take(
    array: &mut ArrayReader,
    which: Which,
    bytes: &[u8],
    bytes_left: Option<u64>,
    operands: &mut Operands,
    promise: &mut Promise,
) -> Result<usize, Problem> {
    if array.is_complete(operands) && !bytes.is_empty() {
        return Err(malformed("a member goes on behind its array").at(which.pointer()));
    }
    array.push(which, bytes, bytes_left, operands, promise)
}
