//! The chain of entries, and the part of it that is to be made durable next.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ledger::entry::{Entry, Record};
use crate::ledger::hash::Hash;
use crate::ledger::volume::{Batch, Table, Volume, VolumeError};

/// Where the chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Of the entry that comes next.
    pub sequence: u64,
    /// Of the last entry.
    pub head: Hash,
}

/// A line is about that long.
const LINE_BYTES: usize = 1024;

impl Journal {
    /// Before the first entry.
    pub const EMPTY: Self = Self { sequence: 0, head: Hash::ZERO };

    /// Chains a record: its line is appended, without the line's end. The entry.
    pub fn append(&mut self, at_unix_ns: u64, record: Record, lines: &mut String) -> Entry {
        let start = lines.len();
        lines.reserve(LINE_BYTES);
        let entry = Entry { sequence: self.sequence, previous: self.head, at_unix_ns, record };
        entry.push_line(lines);
        self.head = Hash::of(&lines.as_bytes()[start..]);
        self.sequence += 1;
        entry
    }
}

/// Entries that were gathered, and the rows that change with them: on their way to the volume.
#[derive(Debug)]
pub struct Pending {
    pub(crate) journal: Journal,
    /// With their times, in order.
    pub(crate) records: Vec<(u64, Record)>,
    /// Rows of the other tables.
    pub(crate) rows: Batch,
}

/// They are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub(crate) journal: Journal,
}

impl Pending {
    /// Chains the entries and makes them durable, with all that changes with them, or nothing of
    /// it.
    ///
    /// # Errors
    ///
    /// What the volume says; nothing of it may be announced then.
    pub fn commit(self, volume: &Volume) -> Result<Committed, VolumeError> {
        let Self { mut journal, records, mut rows } = self;
        let first = journal.sequence;
        let mut lines = String::with_capacity(records.len() * LINE_BYTES);
        for (at_unix_ns, record) in records {
            if let Record::Charge(charge) = &record {
                let sequence = journal.sequence.to_be_bytes().to_vec();
                rows.puts.push((Table::Jobs, charge.job.0.to_vec(), sequence));
            }
            if !lines.is_empty() {
                lines.push('\n');
            }
            journal.append(at_unix_ns, record, &mut lines);
        }
        if !lines.is_empty() {
            let key = first.to_be_bytes().to_vec();
            rows.puts.push((Table::Journal, key, lines.into_bytes()));
        }
        volume.keep(rows)?;
        Ok(Committed { journal })
    }
}

/// The line of an entry on a volume.
///
/// # Errors
///
/// What the volume says.
pub fn line_of(volume: &Volume, sequence: u64) -> Result<Option<String>, VolumeError> {
    let mut found = None;
    visit_lines(volume, sequence, &mut |at, line| {
        found = (at == sequence).then(|| String::from(line));
        false
    })?;
    Ok(found)
}

/// Shows `visit` the lines on a volume from an entry on, with their sequence numbers, in order, for
/// as long as it says true. The lines of one commit are read in one piece.
///
/// # Errors
///
/// What the volume says.
pub fn visit_lines(
    volume: &Volume,
    from: u64,
    visit: &mut dyn FnMut(u64, &str) -> bool,
) -> Result<(), VolumeError> {
    // The row that the entry is in has the number of its first one.
    let mut row = from.to_be_bytes();
    let until = from.saturating_add(1).to_be_bytes();
    volume.range_backwards(Table::Journal, &[], Some(&until), &mut |key, _| {
        row = key.try_into().unwrap_or(row);
        false
    })?;
    let mut is_damaged = false;
    volume.range(Table::Journal, &row, None, &mut |key, lines| {
        let (Ok(key), Ok(lines)) = (key.try_into(), core::str::from_utf8(lines)) else {
            is_damaged = true;
            return false;
        };
        let lines = (u64::from_be_bytes(key)..).zip(lines.split('\n'));
        lines.skip_while(|(at, _)| *at < from).all(|(at, line)| visit(at, line))
    })?;
    if is_damaged { Err(VolumeError::Damaged("a row of the journal".into())) } else { Ok(()) }
}
