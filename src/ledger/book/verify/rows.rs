//! The rows beside the chain, held against what the entries come to.
//!
//! Each table is gone through in its order: the first row that should be another, or should not be,
//! is named; then the first that is missing.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use core::fmt::Display;

use super::{Flaw, Walk, beside};
use crate::billing::{JobId, Tariff};
use crate::ledger::book::Done;
use crate::ledger::book::corrections::job_of_row;
use crate::ledger::book::receipts::PUBLIC_ROW;
use crate::ledger::book::rows::AccountRow;
use crate::ledger::key::KeyRecord;
use crate::ledger::receipt::PublishedKeys;
use crate::ledger::usage::UsageKey;
use crate::ledger::volume::{Table, Volume};
use crate::time::{Civil, HOUR_NS};

impl Walk {
    /// The rows beside the chain are what the entries come to.
    pub fn compare(&self, volume: &Volume) -> Result<(), Flaw> {
        self.compare_jobs(volume)?;
        self.compare_usage(volume)?;
        self.compare_accounts(volume)?;
        self.compare_keys(volume)?;
        self.compare_tariffs(volume)?;
        self.compare_corrections(volume)?;
        self.compare_receipt_keys(volume)?;
        self.compare_idempotency(volume)
    }

    fn compare_jobs(&self, volume: &Volume) -> Result<(), Flaw> {
        let mut seen = 0;
        each(volume, Table::Jobs, |key, value| {
            let job = JobId(key.try_into().map_err(|_| "a row of jobs can't be read")?);
            let charged = self.jobs.get(&job);
            let is_same = charged.is_some_and(|charged| charged.sequence.to_be_bytes() == value);
            seen += 1;
            if is_same { Ok(()) } else { Err(format!("the row of job {job} names another entry")) }
        })?;
        // All that were seen are jobs of the entries, and no key of a table comes twice.
        if seen == self.jobs.len() {
            return Ok(());
        }
        let missing = self.jobs.keys().find(|job| !has(volume, Table::Jobs, &job.0));
        missing.map_or(Ok(()), |job| Err(beside(format!("job {job} has no row"))))
    }

    fn compare_usage(&self, volume: &Volume) -> Result<(), Flaw> {
        let mut seen = BTreeSet::new();
        each(volume, Table::Usage, |key, value| {
            let row = self.book.read_usage_row(key, value);
            let (key, totals) = row.ok_or("a row of usage can't be read")?;
            let is_same = self.book.usage.get(&key) == Some(&totals);
            seen.insert(key);
            let wrong = || format!("{} is not what the entries come to", self.usage_name(key));
            if is_same { Ok(()) } else { Err(wrong()) }
        })?;
        first_missing(self.book.usage.keys().copied(), &seen, |key| self.usage_name(key))
    }

    fn usage_name(&self, key: UsageKey) -> String {
        let mut hour = String::new();
        Civil::from_unix_ns(u64::from(key.hour) * HOUR_NS).push_rfc3339(&mut hour);
        let account = &self.book.account(key.account).account.id;
        format!("the usage of {account} in {} from {hour} on", key.kind.name())
    }

    fn compare_accounts(&self, volume: &Volume) -> Result<(), Flaw> {
        let mut seen = BTreeSet::new();
        each(volume, Table::Accounts, |key, value| {
            let row: AccountRow = serde_json::from_slice(value).map_err(unreadable("accounts"))?;
            let id = &row.account.id;
            let state = self.book.account_index(id).map(|index| self.book.account(index));
            let is_same = state.is_some_and(|state| {
                state.account == row.account
                    && state.charged_micros == row.charged_micros
                    && state.credited_micros == row.credited_micros
                    && state.storage == row.storage
            });
            seen.insert(id.clone());
            if is_same && key == id.as_str().as_bytes() {
                Ok(())
            } else {
                Err(other("account", id))
            }
        })?;
        let ids = self.book.account_by_id.keys().cloned();
        first_missing(ids, &seen, |id| format!("account {id}"))
    }

    fn compare_keys(&self, volume: &Volume) -> Result<(), Flaw> {
        let mut seen = BTreeSet::new();
        each(volume, Table::Keys, |key, value| {
            let row: KeyRecord = serde_json::from_slice(value).map_err(unreadable("keys"))?;
            let is_same = self.book.key_of_id(row.id) == Some(&row) && row.hash.0 == *key;
            seen.insert(row.id);
            if is_same { Ok(()) } else { Err(other("key", row.id)) }
        })?;
        first_missing(self.book.keys.keys().copied(), &seen, |id| format!("key {id}"))
    }

    fn compare_tariffs(&self, volume: &Volume) -> Result<(), Flaw> {
        let named = |name: &str, version: u32| format!("version {version} of tariff {name}");
        let mut seen = BTreeSet::new();
        each(volume, Table::Tariffs, |key, value| {
            let row: Tariff = serde_json::from_slice(value).map_err(unreadable("tariffs"))?;
            let tariffs = self.book.tariffs();
            let tariff = tariffs.and_then(|all| all.find(&row.name, row.version));
            let place = [row.name.as_bytes(), &[0], &row.version.to_be_bytes()].concat();
            let is_same = tariff.is_some_and(|tariff| **tariff == row) && key == place;
            seen.insert((row.name.clone(), row.version));
            let what = named(&row.name, row.version);
            if is_same { Ok(()) } else { Err(format!("{what} is not what its entry says")) }
        })?;
        let all = self.book.tariffs().into_iter().flat_map(|all| all.tariffs());
        let all = all.map(|tariff| (tariff.name.clone(), tariff.version));
        first_missing(all, &seen, |(name, version)| named(&name, version))
    }

    fn compare_corrections(&self, volume: &Volume) -> Result<(), Flaw> {
        let mut seen = BTreeSet::new();
        each(volume, Table::Meta, |key, value| {
            let Some(job) = job_of_row(key) else { return Ok(()) };
            let job = job.ok_or("the row of a correction can't be read")?;
            seen.insert(job);
            let corrected = self.corrected.get(&job).map(|micros| micros.to_be_bytes());
            let is_same = corrected.is_some_and(|bytes| bytes == value);
            let wrong = || format!("what is given back of job {job} is not what its entries say");
            if is_same { Ok(()) } else { Err(wrong()) }
        })?;
        let name = |job| format!("what is given back of job {job}");
        first_missing(self.corrected.keys().copied(), &seen, name)
    }

    fn compare_receipt_keys(&self, volume: &Volume) -> Result<(), Flaw> {
        let row = volume.get(Table::Meta, PUBLIC_ROW)?;
        let published: PublishedKeys = match row {
            None => PublishedKeys::default(),
            Some(row) => {
                let read = serde_json::from_slice(&row);
                read.map_err(|error| beside(unreadable("receipt keys")(error)))?
            }
        };
        if published == *self.book.receipt_keys() {
            Ok(())
        } else {
            Err(beside("the receipt keys are not those of the entries"))
        }
    }

    /// Rows of days that are over are removed, so that none can be missing.
    fn compare_idempotency(&self, volume: &Volume) -> Result<(), Flaw> {
        each(volume, Table::Idempotency, |_, value| {
            let done = Done::read(value).ok_or("an idempotency key can't be read")?;
            let charged = self.jobs.get(&done.job);
            let is_charged = charged.is_some_and(|charged| charged.sequence == done.sequence);
            let wrong =
                || format!("an idempotency key names job {}, which has no charge", done.job);
            if is_charged { Ok(()) } else { Err(wrong()) }
        })
    }
}

fn other(kind: &str, id: impl Display) -> String {
    format!("{kind} {id} is not what its entries say")
}

fn unreadable(table: &str) -> impl Fn(serde_json::Error) -> String {
    move |error| format!("a row of {table} can't be read: {error}")
}

/// Whether all that should have a row has been seen among them.
fn first_missing<K: Ord>(
    mut wanted: impl Iterator<Item = K>,
    seen: &BTreeSet<K>,
    name: impl FnOnce(K) -> String,
) -> Result<(), Flaw> {
    let missing = wanted.find(|key| !seen.contains(key));
    missing.map_or(Ok(()), |key| Err(beside(format!("{} has no row", name(key)))))
}

fn has(volume: &Volume, table: Table, key: &[u8]) -> bool {
    volume.get(table, key).is_ok_and(|row| row.is_some())
}

/// Shows `look` each row of a table, up to the first that is wrong.
fn each(
    volume: &Volume,
    table: Table,
    mut look: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<(), Flaw> {
    let mut wrong = None;
    volume.range(table, &[], None, &mut |key, value| {
        wrong = look(key, value).err();
        wrong.is_none()
    })?;
    wrong.map_or(Ok(()), |what| Err(beside(what)))
}
