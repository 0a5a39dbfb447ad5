//! The log: what was committed last, and is not in the store yet.
//!
//! A commit is one record, written and flushed in one step, where the store would write and flush a
//! dozen pages twice over. The log has two halves. While one is being filled, the store takes what
//! is in the other, in one stroke.
//!
//! ```text
//! 0       checksum: BLAKE3 of all that follows, keyed with the volume's id; the first half of it
//! 16      sequence number of the commit
//! 24      bytes of the body
//! 32      the body: a batch
//! ```
//!
//! A record begins at a multiple of 4096 bytes, so that no later write touches a sector that has
//! any of it. Records of a half follow one another from its start, with consecutive numbers, and
//! each is on the medium before the next is written. The store knows the number of the first commit
//! that it does not have: the half that begins with it counts, then the other, if it goes on from
//! there. Anything else is left from earlier turns, with smaller numbers.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::batch::{Batch, Table};
use super::error::VolumeError;
use super::head::{HEAD_BYTES, Id};
use crate::ledger::disk::{Disk, DiskError};

/// What records begin at multiples of.
const BLOCK_BYTES: u64 = 4096;
const HEADER_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 16;
const HALVES: usize = 2;

/// The part of the disk that is a new volume's log, and its bounds. A larger one has fewer strokes,
/// and takes longer to be read when the volume is opened.
const FRACTION: u64 = 1024;
const BYTES_MIN: u64 = 256 << 10;
const BYTES_MAX: u64 = 8 << 20;

const _: () = assert!(BYTES_MIN.is_multiple_of(HALVES as u64 * BLOCK_BYTES));
const _: () = assert!(HEAD_BYTES.is_multiple_of(BLOCK_BYTES));

/// Bytes of the log of a volume that is made on a disk of that many.
pub fn bytes_of_new(disk_bytes_max: u64) -> u64 {
    let bytes = (disk_bytes_max / FRACTION).clamp(BYTES_MIN, BYTES_MAX);
    bytes - bytes % BYTES_MIN
}

/// The log of a volume, and where it goes on.
pub struct Log {
    place: Place,
    /// Of the next commit.
    sequence: u64,
    half: usize,
    /// Where the next record begins, from the start of the half.
    offset: u64,
    /// The record that is next, whose memory serves again.
    record: Vec<u8>,
}

/// What was found in a log: the commits of each half that counts, the older ones first.
pub type Runs = Vec<Vec<Batch>>;

#[derive(Debug)]
struct Place {
    disk: Arc<dyn Disk>,
    /// Of checksums: a record of another volume, which this disk may have had, is none.
    key: [u8; 32],
    half_bytes: u64,
}

impl Log {
    /// Reads what the log of `bytes` has that the store has not: commits from number `stored_until`
    /// on. Nothing is written.
    ///
    /// # Errors
    ///
    /// What the disk says, or that a record is damaged which others follow. The last one may have
    /// been torn when the power was cut, and was never acknowledged then.
    pub fn open(
        disk: Arc<dyn Disk>,
        id: Id,
        bytes: u64,
        stored_until: u64,
    ) -> Result<(Self, Runs), VolumeError> {
        if bytes == 0 || !bytes.is_multiple_of(HALVES as u64 * BLOCK_BYTES) {
            return Err(VolumeError::Damaged("the length of its log".into()));
        }
        let mut key = *b"................gemmule log 1...";
        key[..id.len()].copy_from_slice(&id);
        let place = Place { disk, key, half_bytes: bytes / HALVES as u64 };
        let mut log =
            Self { place, sequence: stored_until, half: 0, offset: 0, record: Vec::new() };
        let mut runs = Runs::new();
        while runs.len() < HALVES {
            let Some(half) = log.half_that_goes_on()? else { break };
            (log.half, log.offset) = (half, 0);
            runs.push(log.read_run()?);
        }
        log.check_rest()?;
        Ok((log, runs))
    }

    /// The half whose first record is the next commit.
    fn half_that_goes_on(&self) -> Result<Option<usize>, VolumeError> {
        for half in 0..HALVES {
            if self.place.read(half, 0)?.is_some_and(|record| record.sequence == self.sequence) {
                return Ok(Some(half));
            }
        }
        Ok(None)
    }

    fn read_run(&mut self) -> Result<Vec<Batch>, VolumeError> {
        let mut run = Vec::new();
        while let Some(record) = self.place.read(self.half, self.offset)?
            && record.sequence == self.sequence
        {
            self.sequence += 1;
            self.offset += blocks(record.bytes.len());
            let batch = read_batch(&record.bytes[HEADER_BYTES..]);
            let batch = batch.ok_or_else(|| {
                VolumeError::Damaged("its log has what this version does not know".into())
            })?;
            run.push(batch);
        }
        Ok(run)
    }

    /// A record with a later number can't be: it was written when the one before it was on the
    /// medium.
    fn check_rest(&self) -> Result<(), VolumeError> {
        let mut piece = [0; 16 * BLOCK_BYTES as usize];
        for half in 0..HALVES {
            let mut at = 0;
            while at < self.place.half_bytes {
                let bytes = piece.len().min((self.place.half_bytes - at) as usize);
                self.place.disk.read(self.place.offset(half, at), &mut piece[..bytes])?;
                for (number, block) in piece[..bytes].chunks(BLOCK_BYTES as usize).enumerate() {
                    let offset = at + number as u64 * BLOCK_BYTES;
                    if sequence_of(block) >= self.sequence
                        && let Some(record) = self.place.read(half, offset)?
                        && record.sequence >= self.sequence
                    {
                        let sequence = self.sequence;
                        let what = alloc::format!("commit {sequence} in its log can't be read");
                        return Err(VolumeError::Damaged(what));
                    }
                }
                at += bytes as u64;
            }
        }
        Ok(())
    }

    /// The number of the next commit.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether there is no record in the half that is being filled.
    pub fn is_half_empty(&self) -> bool {
        self.offset == 0
    }

    /// Whether most of the half that is being filled is used.
    pub fn is_half_used_up(&self) -> bool {
        self.offset >= self.place.half_bytes / 4 * 3
    }

    /// Makes the record of a batch, to be [written](Log::write); false where no half has room for
    /// it.
    pub fn prepare(&mut self, batch: &Batch) -> bool {
        let Self { record, place, sequence, .. } = self;
        record.clear();
        record.resize(HEADER_BYTES, 0);
        push_batch(batch, record);
        if blocks(record.len()) > place.half_bytes {
            return false;
        }
        let body_bytes = (record.len() - HEADER_BYTES) as u64;
        record[16..24].copy_from_slice(&sequence.to_le_bytes());
        record[24..32].copy_from_slice(&body_bytes.to_le_bytes());
        let checksum = place.checksum(&record[CHECKSUM_BYTES..]);
        record[..CHECKSUM_BYTES].copy_from_slice(&checksum);
        // Whole blocks are written without being read.
        record.resize(blocks(record.len()) as usize, 0);
        true
    }

    /// Whether the half that is being filled has room for the record that was made.
    pub fn has_room(&self) -> bool {
        self.record.len() as u64 <= self.place.half_bytes - self.offset
    }

    /// Goes on in the other half, all of which the store must have.
    pub fn turn(&mut self) {
        self.half = 1 - self.half;
        self.offset = 0;
    }

    /// Writes the record that was made: it is on the medium when this returns.
    pub fn write(&mut self) -> Result<(), DiskError> {
        assert!(self.has_room(), "a record lies in one half");
        self.place.disk.write_through(self.place.offset(self.half, self.offset), &self.record)?;
        self.offset += self.record.len() as u64;
        self.sequence += 1;
        Ok(())
    }
}

/// A record whose checksum is right.
struct Record {
    sequence: u64,
    /// With the header.
    bytes: Vec<u8>,
}

impl Place {
    fn offset(&self, half: usize, offset: u64) -> u64 {
        HEAD_BYTES + half as u64 * self.half_bytes + offset
    }

    fn checksum(&self, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let hash = blake3::keyed_hash(&self.key, bytes);
        core::array::from_fn(|index| hash.as_bytes()[index])
    }

    /// The record at an offset of a half, if there is one.
    fn read(&self, half: usize, offset: u64) -> Result<Option<Record>, DiskError> {
        let room = self.half_bytes.saturating_sub(offset);
        if room < BLOCK_BYTES {
            return Ok(None);
        }
        let mut bytes = alloc::vec![0; BLOCK_BYTES as usize];
        self.disk.read(self.offset(half, offset), &mut bytes)?;
        let length = word(&bytes, 24).saturating_add(HEADER_BYTES as u64);
        if length > room {
            return Ok(None);
        }
        let read = bytes.len().min(length as usize);
        bytes.resize(length as usize, 0);
        self.disk.read(self.offset(half, offset) + read as u64, &mut bytes[read..])?;
        let is_whole = self.checksum(&bytes[CHECKSUM_BYTES..]) == bytes[..CHECKSUM_BYTES];
        Ok(is_whole.then(|| Record { sequence: sequence_of(&bytes), bytes }))
    }
}

fn blocks(bytes: usize) -> u64 {
    (bytes as u64).next_multiple_of(BLOCK_BYTES)
}

fn sequence_of(record: &[u8]) -> u64 {
    word(record, 16)
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|index| bytes[offset + index]))
}

/// For each table that changes: its name, how many rows go and how many are put, and those rows.
/// All lengths and numbers are 32 bits.
fn push_batch(batch: &Batch, to: &mut Vec<u8>) {
    let push_number = |to: &mut Vec<u8>, number: usize| {
        let number = u32::try_from(number).expect("a batch is in memory, and has no 4 GiB");
        to.extend_from_slice(&number.to_le_bytes());
    };
    for &table in Table::ALL {
        let deletes = || batch.deletes.iter().filter(|row| row.0 == table);
        let puts = || batch.puts.iter().filter(|row| row.0 == table);
        let counts = [deletes().count(), puts().count()];
        if counts == [0, 0] {
            continue;
        }
        push_number(to, table.name().len());
        to.extend_from_slice(table.name().as_bytes());
        counts.into_iter().for_each(|count| push_number(to, count));
        for (_, key) in deletes() {
            push_number(to, key.len());
            to.extend_from_slice(key);
        }
        for (_, key, value) in puts() {
            push_number(to, key.len());
            push_number(to, value.len());
            to.extend_from_slice(key);
            to.extend_from_slice(value);
        }
    }
}

/// `None` for what [`push_batch`] does not make.
fn read_batch(mut bytes: &[u8]) -> Option<Batch> {
    let bytes = &mut bytes;
    let mut batch = Batch::default();
    while !bytes.is_empty() {
        let length = take_number(bytes)?;
        let name = take(bytes, length)?;
        let table = *Table::ALL.iter().find(|table| table.name().as_bytes() == name)?;
        let [deletes, puts] = [take_number(bytes)?, take_number(bytes)?];
        for _ in 0..deletes {
            let length = take_number(bytes)?;
            batch.delete(table, take(bytes, length)?);
        }
        for _ in 0..puts {
            let [key_length, value_length] = [take_number(bytes)?, take_number(bytes)?];
            let key = take(bytes, key_length)?;
            batch.put(table, key, take(bytes, value_length)?);
        }
    }
    Some(batch)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    bytes.split_off(..count)
}

fn take_number(bytes: &mut &[u8]) -> Option<usize> {
    let number = take(bytes, 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(number)).ok()
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, half, offset, .. } = self;
        f.write_str(&[sequence.to_string(), half.to_string(), offset.to_string()].join(" "))
    }
}
