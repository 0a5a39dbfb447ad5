//! Commits: to the log, and from there to the store in strokes.

use redb::WriteTransaction;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::batch::{Batch, Table};
use super::error::VolumeError;
use super::log::Log;
use super::recent::{Layer, store_bytes};
use super::{Volume, change};

/// The store's table with the number of the first commit that is not in it.
const STORED: TableDefinition<'static, &'static [u8], u64> = TableDefinition::new("log");
const STORED_UNTIL: &[u8] = b"stored until";

/// What a stroke takes besides its rows: the pages above them, and those that say which are free,
/// of which there is a bit for each page and more.
const STROKE_BYTES: u64 = 256 << 10;
const STORE_BYTES_PER_BYTE_OF_FREE_PAGES: u64 = 1024;

impl Volume {
    /// Makes all changes of `batch`, which are on the medium when this returns. One that fails may
    /// have been made or not, but not in part.
    ///
    /// # Errors
    ///
    /// What the disk says, or that it is full.
    pub fn commit(&self, batch: &Batch) -> Result<(), VolumeError> {
        self.keep(batch.clone())
    }

    /// The same, with the memory of the batch's rows.
    ///
    /// # Errors
    ///
    /// As of [`Volume::commit`].
    pub fn keep(&self, batch: Batch) -> Result<(), VolumeError> {
        let Some(log) = &self.log else {
            let _storing = self.storing.lock();
            return self.store(|transaction| put_batch(transaction, &batch));
        };
        let mut log = log.lock();
        let fits = log.prepare(&batch);
        if !fits || !self.has_room_ahead(&batch) {
            self.store_both(&mut log)?;
            if !fits || !self.has_room_ahead(&batch) {
                let _storing = self.storing.lock();
                return self.store(|transaction| {
                    put_batch(transaction, &batch)?;
                    put_stored_until(transaction, log.sequence())
                });
            }
        } else if !log.has_room() {
            self.turn(&mut log)?;
        }
        log.write()?;
        self.recent.write().add(batch);
        Ok(())
    }

    /// Whether there is something that the store is to take: a host that has a thread for it has it
    /// [make the stroke](Volume::stroke). A commit that needs the room does it otherwise.
    pub fn has_stroke(&self) -> bool {
        self.recent.read().older().is_some()
    }

    /// Whether commits will soon have to wait for the stroke.
    pub fn needs_stroke(&self) -> bool {
        self.has_stroke() && self.log.as_ref().is_some_and(|log| log.lock().is_half_used_up())
    }

    /// Has the store take what is in the half of the log that is not being filled. Commits go on
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn stroke(&self) -> Result<(), VolumeError> {
        let _storing = self.storing.lock();
        let Some(layer) = self.recent.read().older().cloned() else { return Ok(()) };
        self.store(|transaction| {
            put_layer(transaction, &layer)?;
            put_stored_until(transaction, layer.until)
        })?;
        self.recent.write().forget_older();
        Ok(())
    }

    /// Has the store take everything.
    pub(super) fn store_all(&self) -> Result<(), VolumeError> {
        match &self.log {
            Some(log) => self.store_both(&mut log.lock()),
            None => Ok(()),
        }
    }

    fn store_both(&self, log: &mut Log) -> Result<(), VolumeError> {
        self.turn(log)?;
        self.stroke()
    }

    /// Goes on in the other half of the log, once the store has what is there.
    fn turn(&self, log: &mut Log) -> Result<(), VolumeError> {
        if log.is_half_empty() {
            return Ok(());
        }
        self.stroke()?;
        self.recent.write().turn(log.sequence());
        log.turn();
        Ok(())
    }

    /// Whether the store is sure to find room for the batch, and for all that is in the log: what
    /// is there was acknowledged.
    fn has_room_ahead(&self, batch: &Batch) -> bool {
        let free_pages = self.area.bytes() / STORE_BYTES_PER_BYTE_OF_FREE_PAGES;
        let rows = self.recent.read().store_bytes() + store_bytes(batch);
        rows + 2 * (STROKE_BYTES + free_pages) <= self.area.bytes_ahead()
    }

    /// Writes to the store, which nobody else does meanwhile.
    fn store(
        &self,
        work: impl Fn(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), VolumeError> {
        loop {
            let result = self.with(|database| change(database, &work));
            if !self.area.take_refusal() {
                return result;
            }
            // redb doubles its storage and takes no for a failure of the disk. What is left of the
            // disk is given to it while it is closed. The changes may have been made already, and
            // to make them again makes no difference.
            self.reopen_larger()?;
        }
    }
}

/// The number of the first commit that a store does not have.
pub fn stored_until(database: &Database) -> Result<u64, VolumeError> {
    let read = || -> Result<u64, redb::Error> {
        match database.begin_read()?.open_table(STORED) {
            Ok(table) => Ok(table.get(STORED_UNTIL)?.map_or(0, |number| number.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    };
    Ok(read()?)
}

fn put_stored_until(transaction: &WriteTransaction, sequence: u64) -> Result<(), redb::Error> {
    transaction.open_table(STORED)?.insert(STORED_UNTIL, sequence)?;
    Ok(())
}

fn put_batch(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    for &table in Table::ALL {
        let mut deletes = batch.deletes.iter().filter(|row| row.0 == table).peekable();
        let mut puts = batch.puts.iter().filter(|row| row.0 == table).peekable();
        if deletes.peek().is_none() && puts.peek().is_none() {
            continue;
        }
        let mut rows = transaction.open_table(table.definition())?;
        for (_, key) in deletes {
            rows.remove(key.as_slice())?;
        }
        for (_, key, value) in puts {
            rows.insert(key.as_slice(), value.as_slice())?;
        }
    }
    Ok(())
}

fn put_layer(transaction: &WriteTransaction, layer: &Layer) -> Result<(), redb::Error> {
    for &table in Table::ALL {
        let Some(changes) = layer.rows(table).filter(|changes| !changes.is_empty()) else {
            continue;
        };
        let mut rows = transaction.open_table(table.definition())?;
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key.as_slice(), value.as_slice())?,
                None => rows.remove(key.as_slice())?,
            };
        }
    }
    Ok(())
}
