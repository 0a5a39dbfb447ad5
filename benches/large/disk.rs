//! A file that counts what is read and written.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gemmule::ledger::{Disk, DiskError};

use super::volume::FileDisk;

#[derive(Debug, Default)]
pub struct Counts {
    read: AtomicU64,
    written: AtomicU64,
}

impl Counts {
    /// Bytes read and written.
    pub fn both(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
pub struct Counting {
    file: FileDisk,
    bytes_max: u64,
    counts: Arc<Counts>,
}

impl Counting {
    /// A file that grows to so many bytes at most.
    pub fn open(path: &Path, bytes_max: u64) -> Self {
        let file = FileDisk::open(path).expect("the file opens");
        assert!(file.bytes_max() >= bytes_max, "{bytes_max} bytes are free on its file system");
        Self { file, bytes_max, counts: Arc::default() }
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

impl Disk for Counting {
    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.file.set_bytes(bytes)
    }

    fn allocate(&self, part: Range<u64>) -> Result<(), DiskError> {
        self.file.allocate(part)
    }

    fn discard(&self, part: Range<u64>) {
        self.file.discard(part);
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.counts.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        self.file.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.counts.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write(offset, bytes)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.file.flush()
    }
}
