//! The book's rows on a volume: what opening it reads instead of every entry.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Book;
use crate::billing::StorageMark;
use crate::ledger::account::{Account, AccountId};
use crate::ledger::entry::Record;
use crate::ledger::usage::{Totals, UsageKey, UsageKind};
use crate::ledger::volume::{Batch, Table};
use crate::time::{Civil, hour_of};

/// A row of the table of accounts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AccountRow {
    pub account: Account,
    pub charged_micros: i128,
    pub credited_micros: i128,
    /// Where its last record of what it has stored ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageMark>,
}

impl Book {
    /// Notes the rows that an entry changes.
    pub(super) fn mark_dirty(&mut self, at_unix_ns: u64, record: &Record) {
        if self.volume.is_none() {
            return;
        }
        let (account, kind) = match record {
            Record::Opened(_) | Record::ReceiptKey(_) => return,
            Record::Account(account) => (&account.id, None),
            Record::Credit(credit) => (&credit.account, None),
            Record::Charge(charge) => (&charge.account, Some(charge.dtype.into())),
            Record::Correction(correction) => {
                self.dirty.corrected.insert(correction.job);
                (&correction.account, Some(correction.dtype.into()))
            }
            Record::Storage(charge) => (&charge.account, Some(UsageKind::Storage)),
            Record::Key(key) => {
                self.dirty.keys.insert(key.id);
                return;
            }
            Record::Tariff(tariff) => {
                self.dirty.tariffs.insert((tariff.name.clone(), tariff.version));
                return;
            }
        };
        let Some(account) = self.account_index(account) else { return };
        self.dirty.accounts.insert(account);
        if let Some(kind) = kind {
            self.dirty.usage.insert(UsageKey { hour: hour_of(at_unix_ns), account, kind });
        }
    }

    /// The rows as they are now.
    pub(super) fn take_dirty_rows(&mut self) -> Batch {
        let dirty = core::mem::take(&mut self.dirty);
        let mut rows = self.retries.take_rows();
        self.receipt_keys.take_rows(&mut rows);
        for index in dirty.accounts {
            let state = self.account(index);
            let row = AccountRow {
                account: state.account.clone(),
                charged_micros: state.charged_micros,
                credited_micros: state.credited_micros,
                storage: state.storage,
            };
            let key = state.account.id.as_str().as_bytes().to_vec();
            rows.puts.push((Table::Accounts, key, json(&row)));
        }
        for id in dirty.keys {
            let record = &self.keys[&id];
            rows.puts.push((Table::Keys, record.hash.0.to_vec(), json(record)));
        }
        self.push_corrected(dirty.corrected, &mut rows);
        for (name, version) in dirty.tariffs {
            let tariff = self.tariffs.as_ref().and_then(|all| all.find(&name, version));
            let mut key = name.as_bytes().to_vec();
            key.push(0);
            key.extend_from_slice(&version.to_be_bytes());
            rows.puts.extend(tariff.map(|tariff| (Table::Tariffs, key, json(&**tariff))));
        }
        for key in dirty.usage {
            let totals = &self.usage[&key];
            rows.puts.push((Table::Usage, self.usage_row_key(key), json(totals)));
        }
        rows
    }

    pub(super) fn usage_row_key(&self, key: UsageKey) -> Vec<u8> {
        let mut bytes = key.hour.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.account(key.account).account.id.as_str().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(key.kind.name().as_bytes());
        bytes
    }

    pub(super) fn read_usage_row(&self, key: &[u8], value: &[u8]) -> Option<(UsageKey, Totals)> {
        let (hour, rest) = key.split_first_chunk::<4>()?;
        let (account, kind) = core::str::from_utf8(rest).ok()?.split_once('\0')?;
        let account = self.account_index(&account.parse::<AccountId>().ok()?)?;
        let kind = UsageKind::from_name(kind)?;
        let totals = serde_json::from_slice(value).ok()?;
        Some((UsageKey { hour: u32::from_be_bytes(*hour), account, kind }, totals))
    }

    /// Sums that are durable and of earlier months are left to the volume.
    pub(super) fn forget_old_usage(&mut self, now_unix_ns: u64) {
        let first_hour = Civil::month_first_hour(now_unix_ns);
        let is_clean = self.dirty.usage.is_empty();
        if self.volume.is_some() && is_clean && first_hour > self.usage_loaded_from {
            self.usage = self.usage.split_off(&UsageKey::first_of(first_hour));
            self.usage_loaded_from = first_hour;
        }
    }
}

pub(super) fn json<T: Serialize>(row: &T) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows are plain text and numbers")
}
