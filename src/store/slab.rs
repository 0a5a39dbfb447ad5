//! The part of a disk that elements lie on.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::mutex::SpinMutex;

use super::error::StoreError;
use super::memory::MemoryDisk;
use super::space::{Extent, Space};
use crate::ledger::{Disk, DiskError};

/// A file grows by so much at least.
const GROWTH_BYTES: u64 = 64 << 20;
/// What is left free on the file system that a file grows on: the volume's tables, which grow in
/// the same file, come first.
const SPARE_FRACTION: u64 = 16;
const SPARE_BYTES_MAX: u64 = 1 << 30;

/// The disk from an offset on.
#[derive(Debug)]
pub struct Slab {
    disk: Arc<dyn Disk>,
    offset: u64,
    space: SpinMutex<Space>,
}

impl Slab {
    /// All of it free.
    pub fn new(disk: Arc<dyn Disk>, offset: u64) -> Self {
        let bytes = disk.bytes().saturating_sub(offset);
        Self { disk, offset, space: Space::new(bytes).into() }
    }

    pub fn in_memory(bytes: u64) -> Self {
        Self::new(Arc::new(MemoryDisk::new(bytes)), 0)
    }

    pub fn taken_bytes(&self) -> u64 {
        let space = self.space.lock();
        space.bytes() - space.free_bytes()
    }

    /// Bytes that can be taken, those included by which it can grow.
    pub fn free_bytes(&self) -> u64 {
        let space = self.space.lock();
        self.bytes_max().saturating_sub(space.bytes()) + space.free_bytes()
    }

    /// Takes what a row says is taken.
    pub fn take(&self, extents: &[Extent]) -> Result<(), StoreError> {
        let mut space = self.space.lock();
        match extents.iter().all(|extent| space.take(*extent)) {
            true => Ok(()),
            false => Err(StoreError::Overlap),
        }
    }

    /// Takes room for so many bytes; grows for it where it must.
    pub fn allocate(&self, bytes: u64) -> Result<Vec<Extent>, StoreError> {
        let mut space = self.space.lock();
        if let Some(extents) = space.allocate(bytes) {
            return Ok(extents);
        }
        let room = self.bytes_max();
        let missing = bytes.saturating_sub(space.free_bytes()).next_multiple_of(GROWTH_BYTES);
        let grown = space.bytes().saturating_add(missing).min(room);
        if grown > space.bytes() && space.free_bytes() + (grown - space.bytes()) >= bytes {
            self.disk.lengthen(self.offset + space.bytes()..self.offset + grown)?;
            space.grow(grown);
            if let Some(extents) = space.allocate(bytes) {
                return Ok(extents);
            }
        }
        let free_bytes = space.free_bytes() + room.saturating_sub(space.bytes());
        Err(StoreError::Full { needed_bytes: bytes, free_bytes })
    }

    pub fn free(&self, extents: &[Extent]) {
        for extent in extents {
            let part = extent.range();
            self.disk.discard(self.offset + part.start..self.offset + part.end);
            self.space.lock().give(*extent);
        }
    }

    /// Reads from `offset` of what these parts make up.
    pub fn read(
        &self,
        extents: &[Extent],
        offset: u64,
        mut out: &mut [u8],
    ) -> Result<(), DiskError> {
        for (place, bytes) in runs(extents, offset, out.len()) {
            let (run, rest) = out.split_at_mut(bytes);
            self.disk.read(self.offset + place, run)?;
            out = rest;
        }
        Ok(())
    }

    /// Writes at `offset` of what these parts make up.
    pub fn write(
        &self,
        extents: &[Extent],
        offset: u64,
        mut bytes: &[u8],
    ) -> Result<(), DiskError> {
        for (place, length) in runs(extents, offset, bytes.len()) {
            let (run, rest) = bytes.split_at(length);
            self.disk.write(self.offset + place, run)?;
            bytes = rest;
        }
        Ok(())
    }

    pub fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()
    }

    /// What it can grow to.
    fn bytes_max(&self) -> u64 {
        let (bytes, most) = (self.disk.bytes(), self.disk.bytes_max());
        let spare = if most > bytes { (most / SPARE_FRACTION).min(SPARE_BYTES_MAX) } else { 0 };
        most.saturating_sub(spare).max(bytes).saturating_sub(self.offset)
    }
}

/// The runs on the slab, by offset and length, of so many bytes from `offset` of these parts.
fn runs(extents: &[Extent], mut offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut left = bytes as u64;
    extents.iter().filter_map(move |extent| {
        if offset >= extent.bytes {
            offset -= extent.bytes;
            return None;
        }
        let length = (extent.bytes - offset).min(left);
        let place = extent.offset + offset;
        offset = 0;
        left -= length;
        (length > 0).then_some((place, length as usize))
    })
}
