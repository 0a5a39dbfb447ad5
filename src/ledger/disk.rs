//! What a volume lies on: a block device, or a file.

use alloc::string::String;
use core::fmt;
use core::ops::Range;

/// Bytes that last. Offsets and lengths may be any; an implementation cuts them into blocks.
///
/// A write may stay in caches, be torn, or reach the medium after later ones, until [`Disk::flush`]
/// has returned: then everything written before is there after a power cut.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Bytes that it has now.
    fn bytes(&self) -> u64;

    /// Bytes that it could have: the device's, or as many as a file may grow to.
    fn bytes_max(&self) -> u64;

    /// Makes it that long, where it is a file; what is new reads as zeros. A device that is at
    /// least that long stays as it is.
    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError>;

    /// Makes it as long as this part ends, with room for the part; what lies between its end before
    /// and the part may be a hole.
    fn lengthen(&self, part: Range<u64>) -> Result<(), DiskError> {
        self.set_bytes(part.end)
    }

    /// Sees to it that writing to this part, which lies before the disk's end, finds room: a file
    /// may have holes.
    fn allocate(&self, _part: Range<u64>) -> Result<(), DiskError> {
        Ok(())
    }

    /// What is in this part is not needed any more, and may read as anything.
    fn discard(&self, _part: Range<u64>) {}

    /// Fills `out` from what is at `offset`.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError>;

    /// Writes `bytes` at `offset`.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Writes `bytes` at `offset`, and returns once they are on the medium. What was written
    /// elsewhere may still be in caches then.
    fn write_through(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(offset, bytes)?;
        self.flush()
    }

    /// Returns once everything that was written is on the medium.
    fn flush(&self) -> Result<(), DiskError>;
}

/// Cuts a range of bytes at the ends of pages of that size: number of the page, part of it, part of
/// the range.
pub fn pages(
    page_bytes: u64,
    offset: u64,
    bytes: usize,
) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let end = offset + bytes as u64;
    (offset / page_bytes..end.div_ceil(page_bytes)).map(move |number| {
        let start = number * page_bytes;
        let (from, until) = (offset.max(start), end.min(start + page_bytes));
        let within = |base: u64| (from - base) as usize..(until - base) as usize;
        (number, within(start), within(offset))
    })
}

/// What the device, or the operating system, says went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError(pub String);

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for DiskError {}
