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

    /// Chains a record: its line.
    pub fn append(&mut self, at_unix_ns: u64, record: Record) -> String {
        let mut line = String::with_capacity(LINE_BYTES);
        let entry = Entry { sequence: self.sequence, previous: self.head, at_unix_ns, record };
        entry.push_line(&mut line);
        self.head = Hash::of(line.as_bytes());
        self.sequence += 1;
        line
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
    /// Chains the entries and makes them durable, with all that changes with them, or nothing of it.
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
            lines.push_str(&journal.append(at_unix_ns, record));
        }
        if !lines.is_empty() {
            let key = first.to_be_bytes().to_vec();
            rows.puts.push((Table::Journal, key, lines.into_bytes()));
        }
        volume.commit(&rows)?;
        Ok(Committed { journal })
    }
}

/// The line of an entry on a volume.
///
/// # Errors
///
/// What the volume says.
pub fn line_of(volume: &Volume, sequence: u64) -> Result<Option<String>, VolumeError> {
    let mut line = None;
    let until = sequence.saturating_add(1).to_be_bytes();
    volume.range_backwards(Table::Journal, &[], Some(&until), &mut |key, lines| {
        if let (Ok(key), Ok(lines)) = (key.try_into(), core::str::from_utf8(lines)) {
            let before = sequence - u64::from_be_bytes(key);
            let nth = usize::try_from(before).ok().and_then(|nth| lines.split('\n').nth(nth));
            line = nth.map(String::from);
        }
        false
    })?;
    Ok(line)
}
