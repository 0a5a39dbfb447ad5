//! The first 16 KiB of a volume: what it is, and how long its store is.
//!
//! ```text
//! 0       what it is: magic, format version, id, length of the log. Written once, before all else.
//! 4096    slot 0 \ the store's length, in two slots: the valid one of the higher generation
//! 8192    slot 1 / counts. A disk has a length of its own, which is not the store's.
//! 12288   where the part of the disk behind the store begins, if it has one; written once
//! 16384   the log, if it has one; then the store
//! ```
//!
//! Each of the four is one sector, so that it is written whole or not at all, and has a checksum
//! against disks that break that promise. They lie 4096 bytes apart because a disk may have sectors
//! of that size behind those of 512 that it shows, and would tear neighbours together.

use super::error::VolumeError;
use crate::ledger::disk::{Disk, DiskError};

/// Bytes before the log.
pub const HEAD_BYTES: u64 = 16 * 1024;
/// The latest format. The formats from 1 to this one are read.
pub const FORMAT_VERSION: u32 = 2;
/// The format of a disk that may have a log, and may be [divided](divide): who does not know of
/// that would miss what was committed last, or let the store grow over what lies behind it.
const FORMAT_OF_PARTS: u32 = 2;

const SECTOR_BYTES: usize = 512;
const SLOT_OFFSETS: [u64; 2] = [4096, 8192];
const DIVISION_OFFSET: u64 = 12288;
/// Telling of what it is to whoever looks at the disk; the line's end shows copies that were
/// treated as text.
const MAGIC: &[u8; 16] = b"Gemmule volume\r\n";
/// A new volume is made only where this much is empty at the disk's start, and at its end: file
/// systems, tables of partitions and members of arrays have their marks in one of the two.
const BLANK_BYTES: u64 = 1 << 20;

type Sector = [u8; SECTOR_BYTES];

/// What a disk has on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Blank,
    /// A volume that was never finished: nothing was kept in it yet.
    Begun,
    /// A volume.
    Volume(Id, Extent),
}

/// The name of a volume, of random bits.
pub type Id = [u8; 16];

/// A valid slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which one.
    pub slot: usize,
    pub generation: u64,
    /// Bytes of the store.
    pub bytes: u64,
}

/// Looks at what is on `disk`, and changes nothing.
pub fn find(disk: &dyn Disk) -> Result<Found, VolumeError> {
    if disk.bytes() < HEAD_BYTES {
        return if is_blank(disk)? { Ok(Found::Blank) } else { Err(VolumeError::NotAVolume) };
    }
    let mut sector = [0; SECTOR_BYTES];
    disk.read(0, &mut sector)?;
    if !sector.starts_with(MAGIC) {
        return if is_blank(disk)? { Ok(Found::Blank) } else { Err(VolumeError::NotAVolume) };
    }
    let damaged = |what: &str| VolumeError::Damaged(what.into());
    // The version comes before the checksum: a later format may have another.
    let version = u32::from_le_bytes(field(&sector, 16));
    if version > FORMAT_VERSION {
        return Err(VolumeError::Newer { version });
    }
    if version == 0 || !is_sealed(&sector) {
        return Err(damaged("its first sector is not what was written there"));
    }
    let id = field(&sector, 24);
    let start = HEAD_BYTES.saturating_add(log_bytes_of(&sector));
    let mut newest = None;
    let mut written = 0;
    for (slot, offset) in SLOT_OFFSETS.into_iter().enumerate() {
        disk.read(offset, &mut sector)?;
        if sector.iter().all(|&byte| byte == 0) {
            continue;
        }
        written += 1;
        let extent = Extent {
            slot,
            generation: u64::from_le_bytes(field(&sector, 0)),
            bytes: u64::from_le_bytes(field(&sector, 8)),
        };
        let is_newer = newest.is_none_or(|newest: Extent| newest.generation < extent.generation);
        if is_sealed(&sector) && is_newer {
            newest = Some(extent);
        }
    }
    match newest {
        None if written == 0 => Ok(Found::Begun),
        None => Err(damaged("none of the two records of its length can be read")),
        Some(extent) if disk.bytes() < start.saturating_add(extent.bytes) => {
            Err(damaged("the disk ends before the volume does; was it copied whole?"))
        }
        Some(extent) => Ok(Found::Volume(id, extent)),
    }
}

/// Writes what the volume is, without a length: until that has been written, too, the volume does
/// not count.
pub fn begin(disk: &dyn Disk, id: Id, log_bytes: u64) -> Result<(), DiskError> {
    let mut sector = [0; SECTOR_BYTES];
    sector[..16].copy_from_slice(MAGIC);
    sector[16..20].copy_from_slice(&FORMAT_OF_PARTS.to_le_bytes());
    sector[24..40].copy_from_slice(&id);
    sector[40..48].copy_from_slice(&log_bytes.to_le_bytes());
    disk.write(0, &sealed(sector))?;
    disk.flush()
}

/// How long the log is on a disk with a volume: a volume of the first format has none.
pub fn log_bytes(disk: &dyn Disk) -> Result<u64, DiskError> {
    let mut sector = [0; SECTOR_BYTES];
    disk.read(0, &mut sector)?;
    Ok(log_bytes_of(&sector))
}

fn log_bytes_of(sector: &Sector) -> u64 {
    u64::from_le_bytes(field(sector, 40))
}

/// Where the part behind the store begins on a disk with a volume, if it is divided.
pub fn division(disk: &dyn Disk) -> Result<Option<u64>, VolumeError> {
    let mut sector = [0; SECTOR_BYTES];
    disk.read(0, &mut sector)?;
    if u32::from_le_bytes(field(&sector, 16)) < FORMAT_OF_PARTS {
        return Ok(None);
    }
    disk.read(DIVISION_OFFSET, &mut sector)?;
    if sector.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    if !is_sealed(&sector) {
        return Err(VolumeError::Damaged("where its store ends can't be read".into()));
    }
    Ok(Some(u64::from_le_bytes(field(&sector, 0))))
}

/// Divides the disk: from `offset` on it is not the store's. The format says so from then on. Power
/// may be cut in between, after which the disk is not divided yet.
pub fn divide(disk: &dyn Disk, offset: u64) -> Result<(), DiskError> {
    let mut sector = [0; SECTOR_BYTES];
    sector[..8].copy_from_slice(&offset.to_le_bytes());
    disk.write(DIVISION_OFFSET, &sealed(sector))?;
    disk.flush()?;
    disk.read(0, &mut sector)?;
    sector[16..20].copy_from_slice(&FORMAT_OF_PARTS.to_le_bytes());
    disk.write(0, &sealed(sector))?;
    disk.flush()
}

/// Writes a slot, without a flush.
pub fn write_extent(disk: &dyn Disk, extent: Extent) -> Result<(), DiskError> {
    let mut sector = [0; SECTOR_BYTES];
    sector[..8].copy_from_slice(&extent.generation.to_le_bytes());
    sector[8..16].copy_from_slice(&extent.bytes.to_le_bytes());
    disk.write(SLOT_OFFSETS[extent.slot], &sealed(sector))
}

const CHECKSUM_OFFSET: usize = SECTOR_BYTES - 4;

fn sealed(mut sector: Sector) -> Sector {
    let checksum = crc32fast::hash(&sector[..CHECKSUM_OFFSET]);
    sector[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
    sector
}

fn is_sealed(sector: &Sector) -> bool {
    sealed(*sector) == *sector
}

fn field<const BYTES: usize>(sector: &Sector, offset: usize) -> [u8; BYTES] {
    core::array::from_fn(|index| sector[offset + index])
}

/// Whether there is nothing on `disk`, as far as it is looked at.
fn is_blank(disk: &dyn Disk) -> Result<bool, DiskError> {
    let bytes = disk.bytes();
    let tail = bytes.saturating_sub(BLANK_BYTES);
    Ok(is_zero(disk, 0, bytes.min(BLANK_BYTES))? && is_zero(disk, tail, bytes)?)
}

fn is_zero(disk: &dyn Disk, from: u64, until: u64) -> Result<bool, DiskError> {
    let mut block = [0; 4096];
    let mut offset = from;
    while offset < until {
        let part = &mut block[..(until - offset).min(4096) as usize];
        disk.read(offset, part)?;
        if part.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        offset += part.len() as u64;
    }
    Ok(true)
}
