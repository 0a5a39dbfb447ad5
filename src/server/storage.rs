//! What accounts have stored: counted as it changes, and charged by the hour.
//!
//! Whoever stores matrices tells [`Server::charge_stored`] what an account has from now on. After a
//! power cut, what was not charged is told again from the matrices that are there: what has gone
//! away before the entry for it was durable is lost to the operator for that hour at most, and is
//! never charged twice.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::billing::{StorageMeter, StorageSpan};
use crate::job::queue::AccountIndex;
use crate::ledger::AccountId;
use crate::server::Server;
use crate::time::{HOUR_NS, Now};

/// The meters of accounts that have stored something since the machine is up.
#[derive(Debug, Default)]
pub(super) struct Storage {
    meters: BTreeMap<AccountIndex, StorageMeter>,
    /// When an hour is over of which something may be charged, on the monotonic clock.
    due_ns: Option<u64>,
}

impl Storage {
    pub fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }
}

impl Server {
    /// Counts all matrices that there are when the machine starts: their account, their bytes, and
    /// when each was stored, in nanoseconds of Unix time.
    pub fn open_storage(
        &mut self,
        matrices: impl IntoIterator<Item = (AccountId, u64, u64)>,
        now: Now,
    ) {
        let mut by_account: BTreeMap<AccountIndex, Vec<(u64, u64)>> = BTreeMap::new();
        for (account, bytes, stored_unix_ns) in matrices {
            if let Some(account) = self.book.account_index(&account) {
                by_account.entry(account).or_default().push((bytes, stored_unix_ns));
            }
        }
        for (account, matrices) in by_account {
            let mark = self.book.account(account).storage;
            let meter = StorageMeter::open(mark.as_ref(), matrices, now.unix_ns);
            self.storage.meters.insert(account, meter);
        }
        self.accrue_storage(now);
    }

    /// An account stores so many bytes from now on, all in all. The number of the first entry that
    /// need not be durable before bytes that are fewer go away: see [`Server::durable_until`].
    pub fn charge_stored(&mut self, account: &AccountId, bytes: u64, now: Now) -> u64 {
        let Some(account) = self.book.account_index(account) else { return self.book.sequence() };
        let mark = self.book.account(account).storage;
        let new = || StorageMeter::open(mark.as_ref(), [], now.unix_ns);
        let meter = self.storage.meters.entry(account).or_insert_with(new);
        for span in meter.change(bytes, now.unix_ns) {
            self.charge_storage(account, span, now);
        }
        self.set_storage_due(now);
        self.book.sequence()
    }

    /// Every entry before this one is durable.
    pub fn durable_until(&self) -> u64 {
        self.book.durable_until()
    }

    /// Charges all accounts for the hours that are over.
    pub fn accrue_storage(&mut self, now: Now) {
        let due = |(account, meter): (&AccountIndex, &mut StorageMeter)| {
            Some((*account, meter.advance(now.unix_ns)?))
        };
        let spans: Vec<_> = self.storage.meters.iter_mut().filter_map(due).collect();
        for (account, span) in spans {
            self.charge_storage(account, span, now);
        }
        self.set_storage_due(now);
    }

    fn set_storage_due(&mut self, now: Now) {
        let is_counting = self.storage.meters.values().any(|meter| meter.is_counting());
        let rest_ns = HOUR_NS - now.unix_ns % HOUR_NS;
        self.storage.due_ns = is_counting.then(|| now.monotonic_ns.saturating_add(rest_ns));
    }

    /// By the tariff that was in force when the time began.
    fn charge_storage(&mut self, account: AccountIndex, span: StorageSpan, now: Now) {
        let name = &self.book.account(account).account.tariff;
        let tariffs = self.book.tariffs();
        let tariff = tariffs.and_then(|all| all.in_force(name, span.from_unix_ns)).cloned();
        // Without one its jobs are refused, and nothing says what its matrices cost.
        let Some(tariff) = tariff else { return };
        self.book.charge_storage(now.unix_ns, account, span, &tariff);
    }
}
