//! A disk whose changes stay in memory, so that a volume can be looked at and be left as it is: the
//! store writes when it is opened, even if it is only read.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::mutex::SpinMutex;

use crate::ledger::disk::{Disk, DiskError, pages};

const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];

/// What is on a disk, and pages over it.
pub struct Overlay {
    disk: Box<dyn Disk>,
    bytes: AtomicU64,
    /// By their number.
    pages: SpinMutex<BTreeMap<u64, Box<Page>>>,
}

impl Overlay {
    pub fn new(disk: Box<dyn Disk>) -> Self {
        let bytes = disk.bytes().into();
        Self { disk, bytes, pages: SpinMutex::new(BTreeMap::new()) }
    }

    /// The page as it is on the disk, with zeros behind the disk's end.
    fn read_under(&self, number: u64) -> Result<Box<Page>, DiskError> {
        let mut page = Box::new([0; PAGE_BYTES as usize]);
        let offset = number * PAGE_BYTES;
        let bytes = self.disk.bytes().saturating_sub(offset).min(PAGE_BYTES);
        self.disk.read(offset, &mut page[..bytes as usize])?;
        Ok(page)
    }

    fn check_bounds(&self, offset: u64, bytes: usize) -> Result<(), DiskError> {
        let end = offset.checked_add(bytes as u64);
        if end.is_some_and(|end| end <= self.bytes()) {
            return Ok(());
        }
        Err(DiskError("beyond the end".into()))
    }
}

impl Disk for Overlay {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Memory is what there is of.
    fn bytes_max(&self) -> u64 {
        i64::MAX as u64
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        self.bytes.fetch_max(bytes, Ordering::AcqRel);
        Ok(())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.check_bounds(offset, out.len())?;
        let held = self.pages.lock();
        let end = offset + out.len() as u64;
        let is_covered = held.range(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).next().is_some();
        if !is_covered && end <= self.disk.bytes() {
            return self.disk.read(offset, out);
        }
        for (number, of_page, of_out) in pages(PAGE_BYTES, offset, out.len()) {
            let out = &mut out[of_out];
            match held.get(&number) {
                Some(page) => out.copy_from_slice(&page[of_page]),
                None => out.copy_from_slice(&self.read_under(number)?[of_page]),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.check_bounds(offset, bytes.len())?;
        let mut held = self.pages.lock();
        for (number, of_page, of_bytes) in pages(PAGE_BYTES, offset, bytes.len()) {
            let page = match held.remove(&number) {
                Some(page) => page,
                None => self.read_under(number)?,
            };
            held.entry(number).or_insert(page)[of_page].copy_from_slice(&bytes[of_bytes]);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("disk", &self.disk).finish_non_exhaustive()
    }
}
