//! Idempotency keys: which requests are running, and which were done.
//!
//! A key is known by its hash. While its request runs, whoever holds the [`Attempt::First`] guard
//! holds the key: the guard lives in the session and then in the job, and the key is free again
//! when it is dropped without a charge. With the charge, the key becomes a row of the same commit.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use super::Book;
use crate::billing::JobId;
use crate::ledger::hash::Hash;
use crate::ledger::volume::{Batch, Table, VolumeError};
use crate::limits::RECENT_KEYS_MAX;
use crate::time::day_of;

/// Rows of past days that one commit removes at most.
const PURGED_ROWS_MAX: usize = 256;
/// Guards of ended requests are swept when there are this many.
const SWEEP_AT: usize = 1024;

/// What a request with an idempotency key is.
#[derive(Debug)]
pub enum Attempt {
    /// The first, to be run while the guard is held.
    First(Arc<()>),
    /// One whose key is in use.
    Running,
    /// A retry of one that was done.
    Done(Done),
}

/// A request that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub job: JobId,
    /// Of its charge.
    pub sequence: u64,
    pub fingerprint: Hash,
}

#[derive(Debug, Default)]
pub(super) struct Retries {
    running: BTreeMap<Hash, Weak<()>>,
    /// Done and not durable yet.
    posted: BTreeMap<Hash, Done>,
    /// Without a volume: the last that were done, oldest first.
    done: BTreeMap<Hash, Done>,
    done_order: VecDeque<Hash>,
    /// Rows to be written.
    rows: Batch,
    purged_until_day: u32,
}

impl Retries {
    pub fn take_rows(&mut self) -> Batch {
        core::mem::take(&mut self.rows)
    }

    pub fn committed(&mut self, durable_until: u64) {
        self.posted.retain(|_, done| done.sequence >= durable_until);
    }
}

impl Book {
    /// What a request with this key is.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn attempt(&mut self, key: Hash, now_unix_ns: u64) -> Result<Attempt, VolumeError> {
        let is_running = |guard: &Weak<()>| guard.strong_count() > 0;
        let retries = &mut self.retries;
        if retries.posted.contains_key(&key) || retries.running.get(&key).is_some_and(is_running) {
            return Ok(Attempt::Running);
        }
        if let Some(done) = self.done_before(&key, now_unix_ns)? {
            return Ok(Attempt::Done(done));
        }
        let retries = &mut self.retries;
        if retries.running.len() >= SWEEP_AT {
            retries.running.retain(|_, guard| is_running(guard));
        }
        let guard = Arc::new(());
        retries.running.insert(key, Arc::downgrade(&guard));
        Ok(Attempt::First(guard))
    }

    fn done_before(&self, key: &Hash, now_unix_ns: u64) -> Result<Option<Done>, VolumeError> {
        let Some(volume) = &self.volume else { return Ok(self.retries.done.get(key).copied()) };
        let today = day_of(now_unix_ns);
        // A key lasts for the day it was used on, in UTC, and the one after.
        for day in [today, today.saturating_sub(1)] {
            if let Some(row) = volume.get(Table::Idempotency, &row_key(day, key))? {
                let done = Done::read(&row);
                return done
                    .map(Some)
                    .ok_or_else(|| VolumeError::Damaged("an idempotency key".into()));
            }
        }
        Ok(None)
    }

    /// A request with a key was charged.
    pub fn note_done(&mut self, key: Hash, done: Done, at_unix_ns: u64) {
        let retries = &mut self.retries;
        retries.running.remove(&key);
        if self.volume.is_some() {
            retries.posted.insert(key, done);
            let row = (Table::Idempotency, row_key(day_of(at_unix_ns), &key), done.row());
            retries.rows.puts.push(row);
            return;
        }
        if retries.done.insert(key, done).is_none() {
            retries.done_order.push_back(key);
        }
        if retries.done_order.len() > RECENT_KEYS_MAX
            && let Some(oldest) = retries.done_order.pop_front()
        {
            retries.done.remove(&oldest);
        }
    }

    /// Has rows of days that are over removed with the next commit, some at a time.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub(super) fn purge_keys(&mut self, now_unix_ns: u64) -> Result<(), VolumeError> {
        let Some(volume) = &self.volume else { return Ok(()) };
        let until = day_of(now_unix_ns).saturating_sub(1);
        if self.retries.purged_until_day >= until {
            return Ok(());
        }
        let mut keys = Vec::new();
        volume.range(Table::Idempotency, &[], Some(&until.to_be_bytes()), &mut |key, _| {
            keys.push((Table::Idempotency, key.to_vec()));
            keys.len() < PURGED_ROWS_MAX
        })?;
        if keys.len() < PURGED_ROWS_MAX {
            self.retries.purged_until_day = until;
        }
        self.retries.rows.deletes.append(&mut keys);
        Ok(())
    }
}

/// The row of a key: rows of one day lie together.
fn row_key(day: u32, key: &Hash) -> Vec<u8> {
    let mut bytes = day.to_be_bytes().to_vec();
    bytes.extend_from_slice(&key.0);
    bytes
}

impl Done {
    fn row(&self) -> Vec<u8> {
        let mut bytes = self.job.0.to_vec();
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.fingerprint.0);
        bytes
    }

    /// Reads a row.
    pub fn read(row: &[u8]) -> Option<Self> {
        let (job, rest) = row.split_first_chunk::<16>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let fingerprint = Hash(rest.try_into().ok()?);
        Some(Self { job: JobId(*job), sequence: u64::from_be_bytes(*sequence), fingerprint })
    }
}
