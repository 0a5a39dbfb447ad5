//! A disk in memory, which takes as much of it as was written.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use core::fmt;
use core::ops::Range;

use spin::rwlock::RwLock;

use crate::ledger::disk::{Disk, DiskError, pages};

const PAGE_BYTES: u64 = 64 * 1024;

/// Pages by their number; those that are not there are zero.
pub struct MemoryDisk {
    bytes: u64,
    pages: RwLock<BTreeMap<u64, Box<[u8]>>>,
}

impl MemoryDisk {
    pub fn new(bytes: u64) -> Self {
        Self { bytes, pages: RwLock::new(BTreeMap::new()) }
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<(), DiskError> {
        let end = offset.checked_add(bytes as u64);
        if end.is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        Err(DiskError("beyond the end".into()))
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Disk for MemoryDisk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn bytes_max(&self) -> u64 {
        self.bytes
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.check(bytes, 0)
    }

    fn discard(&self, part: Range<u64>) {
        let whole = part.start.div_ceil(PAGE_BYTES)..part.end / PAGE_BYTES;
        let mut held = self.pages.write();
        whole.for_each(|number| drop(held.remove(&number)));
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, out.len())?;
        let held = self.pages.read();
        for (number, part, place) in pages(PAGE_BYTES, offset, out.len()) {
            match held.get(&number) {
                Some(page) => out[place].copy_from_slice(&page[part]),
                None => out[place].fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check(offset, bytes.len())?;
        let mut held = self.pages.write();
        for (number, part, place) in pages(PAGE_BYTES, offset, bytes.len()) {
            let empty = || vec![0; PAGE_BYTES as usize].into_boxed_slice();
            held.entry(number).or_insert_with(empty)[part].copy_from_slice(&bytes[place]);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
