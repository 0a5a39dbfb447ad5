//! The part of a disk that the store lies in, as redb wants its storage: with a length that it
//! sets.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};
use spin::mutex::SpinMutex;

use super::error::VolumeError;
use super::head::{self, Extent, HEAD_BYTES};
use crate::ledger::disk::{Disk, DiskError};

/// What the store's length is a multiple of.
const PAGE_BYTES: u64 = 4096;
/// The smallest disk that a volume is made on.
pub const DISK_BYTES_MIN: u64 = 8 << 20;
/// The part of the disk that is kept for what is in progress when the rest is used up, and its
/// bounds.
const RESERVE_FRACTION: u64 = 8;
const RESERVE_BYTES_MIN: u64 = 1 << 20;
const RESERVE_BYTES_MAX: u64 = 64 << 20;

const _: () = assert!(DISK_BYTES_MIN >= 4 * (HEAD_BYTES + RESERVE_BYTES_MIN), "most is for use");

/// The store's part of a disk.
#[derive(Debug)]
pub struct Area {
    disk: Arc<dyn Disk>,
    /// Where on the disk it begins.
    start: u64,
    /// Where on the disk it ends at the latest.
    end: AtomicU64,
    /// Read at each access, hence not behind the lock.
    bytes: AtomicU64,
    /// Whether the length was ever written: the volume counts from then on.
    is_sealed: AtomicBool,
    /// Whether the store may grow into the reserve.
    is_full: AtomicBool,
    /// The store wanted to grow and could not.
    is_refused: AtomicBool,
    record: SpinMutex<Record>,
}

/// What the disk says of the length.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// The slot that is on the medium. What is written goes to the other one until it is there,
    /// too.
    flushed_slot: usize,
    generation: u64,
    /// Slots that do not have the length yet on the medium: first one, then the other is written,
    /// so that one that rots is not the only one.
    stale_slots: u32,
}

impl Area {
    /// Opens the part from `start` on that `extent` tells of.
    pub fn open(disk: Arc<dyn Disk>, start: u64, end: Option<u64>, extent: Extent) -> Self {
        let area = Self::begin(disk, start);
        area.end.store(end.unwrap_or(u64::MAX), Ordering::Release);
        area.bytes.store(extent.bytes, Ordering::Release);
        area.is_full.store(extent.bytes > area.bytes_limit(false), Ordering::Release);
        area.is_sealed.store(true, Ordering::Release);
        let Extent { slot, generation, .. } = extent;
        *area.record.lock() = Record { flushed_slot: slot, generation, stale_slots: 0 };
        area
    }

    /// Begins an empty one. Its length is not written before it is [sealed](Area::seal).
    pub fn begin(disk: Arc<dyn Disk>, start: u64) -> Self {
        Self {
            disk,
            start,
            end: AtomicU64::new(u64::MAX),
            bytes: AtomicU64::new(0),
            is_sealed: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            record: SpinMutex::new(Record { flushed_slot: 0, generation: 0, stale_slots: 0 }),
        }
    }

    /// Writes the length for the first time. What the store has written must have been flushed.
    pub fn seal(&self) -> Result<(), DiskError> {
        self.is_sealed.store(true, Ordering::Release);
        self.note_length()?;
        self.flush()?;
        self.flush()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// From `offset` of the disk on it is not the store's.
    pub fn end_at(&self, offset: u64) {
        self.end.store(offset, Ordering::Release);
    }

    /// Bytes that the store can grow to without the reserve.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_limit(false)
    }

    /// Bytes that the store is sure to find when it grows, the reserve included.
    pub fn bytes_ahead(&self) -> u64 {
        self.bytes_limit(true).saturating_sub(self.bytes())
    }

    /// Whether the store has grown into the reserve.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// Whether growth was refused since this was last asked.
    pub fn take_refusal(&self) -> bool {
        self.is_refused.swap(false, Ordering::AcqRel)
    }

    /// Grows as far as it goes: first to the reserve, then into it. redb, which grows by doubling,
    /// must not be open, and takes what it finds when it is opened again.
    pub fn grow_to_end(&self) -> Result<(), VolumeError> {
        let mut limit = self.bytes_limit(false);
        if self.bytes() >= limit {
            limit = self.bytes_limit(true);
            if self.bytes() >= limit {
                return Err(VolumeError::Full);
            }
            self.is_full.store(true, Ordering::Release);
        }
        self.set_bytes(limit)?;
        Ok(self.flush()?)
    }

    fn bytes_limit(&self, with_reserve: bool) -> u64 {
        let disk = self.disk.bytes_max().min(self.end.load(Ordering::Acquire));
        let reserve = (disk / RESERVE_FRACTION).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        let kept = self.start + if with_reserve { 0 } else { reserve };
        disk.saturating_sub(kept) / PAGE_BYTES * PAGE_BYTES
    }

    fn set_bytes(&self, bytes: u64) -> Result<(), DiskError> {
        if bytes > self.bytes() {
            if bytes > self.bytes_limit(self.is_full()) {
                self.is_refused.store(true, Ordering::Release);
                return Err(DiskError("no room is left".into()));
            }
            // A file is never made shorter: a length of its own that is lost with the power, while
            // the other was kept, would look like a volume that was cut off.
            let (from, until) = (self.start + self.bytes(), self.start + bytes);
            if from < self.disk.bytes() {
                self.disk.allocate(from..until.min(self.disk.bytes()))?;
            }
            if until > self.disk.bytes() {
                self.disk.set_bytes(until)?;
                self.disk.flush()?;
            }
        }
        self.bytes.store(bytes, Ordering::Release);
        if self.is_sealed.load(Ordering::Acquire) { self.note_length() } else { Ok(()) }
    }

    fn note_length(&self) -> Result<(), DiskError> {
        let mut record = self.record.lock();
        record.stale_slots = 2;
        self.write_record(&mut record)
    }

    fn write_record(&self, record: &mut Record) -> Result<(), DiskError> {
        record.generation += 1;
        let slot = 1 - record.flushed_slot;
        let extent = Extent { slot, generation: record.generation, bytes: self.bytes() };
        head::write_extent(&*self.disk, extent)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.disk.flush()?;
        let mut record = self.record.lock();
        if record.stale_slots > 0 {
            record.stale_slots -= 1;
            record.flushed_slot = 1 - record.flushed_slot;
        }
        // The second is flushed with whatever is next.
        if record.stale_slots > 0 { self.write_record(&mut record) } else { Ok(()) }
    }

    fn check_bounds(&self, offset: u64, bytes: usize) -> Result<(), DiskError> {
        let end = offset.checked_add(bytes as u64);
        if end.is_some_and(|end| end <= self.bytes()) {
            return Ok(());
        }
        Err(DiskError("the store reaches beyond its end".into()))
    }
}

/// What redb is given; the volume keeps the other hand on it.
#[derive(Debug)]
pub struct Storage(pub Arc<Area>);

impl StorageBackend for Storage {
    fn len(&self) -> Result<u64, BackendError> {
        Ok(self.0.bytes())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), BackendError> {
        self.0.check_bounds(offset, out.len()).map_err(failed)?;
        self.0.disk.read(self.0.start + offset, out).map_err(failed)
    }

    fn set_len(&self, len: u64) -> Result<(), BackendError> {
        self.0.set_bytes(len).map_err(failed)
    }

    fn sync_data(&self) -> Result<(), BackendError> {
        self.0.flush().map_err(failed)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BackendError> {
        self.0.check_bounds(offset, data.len()).map_err(failed)?;
        self.0.disk.write(self.0.start + offset, data).map_err(failed)
    }
}

fn failed(error: DiskError) -> BackendError {
    BackendError::Other(Box::new(error))
}
