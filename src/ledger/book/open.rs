//! From a volume's rows to the book.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::de::DeserializeOwned;

use super::receipts::ReceiptKeys;
use super::rows::AccountRow;
use super::{Book, Month};
use crate::billing::Tariff;
use crate::ledger::entry::Entry;
use crate::ledger::hash::Hash;
use crate::ledger::journal::Journal;
use crate::ledger::key::KeyRecord;
use crate::ledger::volume::{Table, Volume, VolumeError};
use crate::time::Civil;

/// Why a volume is no book.
#[derive(Debug)]
pub enum BookError {
    Volume(VolumeError),
    /// A row, or the last entry, is not what this program writes.
    Damaged(String),
}

impl fmt::Display for BookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "the ledger is damaged: {what}"),
        }
    }
}

impl core::error::Error for BookError {}

impl From<VolumeError> for BookError {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl Book {
    /// Opens the book on a volume, which may be empty. What it reads does not grow with the number
    /// of jobs.
    ///
    /// # Errors
    ///
    /// What the volume says, or which row can't be read.
    pub fn open(volume: Arc<Volume>, now_unix_ns: u64) -> Result<Self, BookError> {
        let mut book = Self::ephemeral();
        let journal = last_entry(&volume)?;
        book.sequence = journal.sequence;
        book.durable_until = journal.sequence;
        book.journal = Some(journal);
        rows(&volume, Table::Accounts, |row: AccountRow| {
            book.set_account(row.account);
            if let Some(state) = book.accounts.last_mut() {
                state.charged_micros = row.charged_micros;
                state.credited_micros = row.credited_micros;
                state.storage = row.storage;
                state.month = Month::default().at(now_unix_ns);
            }
        })?;
        rows(&volume, Table::Keys, |key: KeyRecord| {
            book.keys.insert(key.id, key);
        })?;
        let mut tariffs = Vec::new();
        rows(&volume, Table::Tariffs, |tariff: Tariff| tariffs.push(tariff))?;
        for tariff in tariffs {
            let (name, version) = (tariff.name.clone(), tariff.version);
            book.add_tariff(tariff).map_err(|illegal| {
                BookError::Damaged(format!("version {version} of tariff {name}: {illegal}"))
            })?;
        }
        book.load_usage(&volume, now_unix_ns)?;
        book.receipt_keys = ReceiptKeys::open(&volume)?;
        book.volume = Some(volume);
        Ok(book)
    }

    /// The sums of this month.
    fn load_usage(&mut self, volume: &Volume, now_unix_ns: u64) -> Result<(), BookError> {
        self.usage_loaded_from = Civil::month_first_hour(now_unix_ns);
        let from = self.usage_loaded_from.to_be_bytes();
        let mut damaged = false;
        volume.range(Table::Usage, &from, None, &mut |key, value| {
            match self.read_usage_row(key, value) {
                Some((key, totals)) => {
                    self.usage.insert(key, totals);
                    self.accounts[key.account as usize].month.add(key.hour, &totals);
                }
                None => damaged = true,
            }
            !damaged
        })?;
        if damaged { Err(BookError::Damaged("a row of usage".into())) } else { Ok(()) }
    }
}

/// Where the chain on a volume ends.
fn last_entry(volume: &Volume) -> Result<Journal, BookError> {
    let mut last = None;
    volume.range_backwards(Table::Journal, &[], None, &mut |_, lines| {
        let line = core::str::from_utf8(lines).ok().and_then(|lines| lines.rsplit('\n').next());
        last = Some(line.and_then(|line| {
            let entry = Entry::parse(line).ok()?;
            Some(Journal { sequence: entry.sequence + 1, head: Hash::of(line.as_bytes()) })
        }));
        false
    })?;
    match last {
        None => Ok(Journal::EMPTY),
        Some(Some(journal)) => Ok(journal),
        Some(None) => Err(BookError::Damaged("the last entry".into())),
    }
}

/// Hands over every row of a table of JSON.
fn rows<T: DeserializeOwned>(
    volume: &Volume,
    table: Table,
    mut take: impl FnMut(T),
) -> Result<(), BookError> {
    let mut damage = None;
    volume.range(table, &[], None, &mut |_, value| {
        match serde_json::from_slice(value) {
            Ok(row) => take(row),
            Err(error) => damage = Some(error),
        }
        damage.is_none()
    })?;
    match damage {
        None => Ok(()),
        Some(error) => Err(BookError::Damaged(format!("a row of {table:?}: {error}"))),
    }
}
