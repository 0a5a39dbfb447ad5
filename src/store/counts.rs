//! What matrices come to by account, and when the time of the next one is up, kept as they change.

use alloc::collections::{BTreeMap, BTreeSet};

use super::MatrixNumber;
use super::record::{Purpose, Record};
use crate::ledger::AccountId;

/// What all matrices count for.
#[derive(Debug, Default)]
pub(super) struct Counts {
    bytes: BTreeMap<AccountId, Bytes>,
    /// When their time is up, in nanoseconds of Unix time.
    dues: BTreeSet<(u64, MatrixNumber)>,
}

/// What an account has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes {
    /// That it is billed for.
    pub billed: u64,
    /// The same, with the operands that its jobs still need.
    pub held: u64,
}

/// What one matrix counts for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    bytes: Bytes,
    due_unix_ns: Option<u64>,
}

impl Share {
    pub fn of(record: &Record) -> Self {
        let bytes = record.layout.bytes();
        let (billed, held) = match record.purpose {
            Purpose::Upload => (bytes, bytes),
            Purpose::Operand => (0, bytes),
            Purpose::Result | Purpose::Cache => (0, 0),
        };
        Self { bytes: Bytes { billed, held }, due_unix_ns: record.due_unix_ns() }
    }
}

impl Counts {
    /// A matrix counts for something else from now on.
    pub fn change(&mut self, account: &AccountId, number: MatrixNumber, before: Share, now: Share) {
        if !self.bytes.contains_key(account) {
            self.bytes.insert(account.clone(), Bytes::default());
        }
        if let Some(bytes) = self.bytes.get_mut(account) {
            bytes.billed = bytes.billed - before.bytes.billed + now.bytes.billed;
            bytes.held = bytes.held - before.bytes.held + now.bytes.held;
            if bytes.held == 0 {
                self.bytes.remove(account);
            }
        }
        if let Some(due) = before.due_unix_ns {
            self.dues.remove(&(due, number));
        }
        if let Some(due) = now.due_unix_ns {
            self.dues.insert((due, number));
        }
    }

    pub fn bytes_of(&self, account: &AccountId) -> Bytes {
        self.bytes.get(account).copied().unwrap_or_default()
    }

    pub fn next_due_unix_ns(&self) -> Option<u64> {
        self.dues.first().map(|(due, _)| *due)
    }

    /// Those whose time is up.
    pub fn due(&self, now_unix_ns: u64) -> impl Iterator<Item = MatrixNumber> {
        self.dues.range(..=(now_unix_ns, MatrixNumber(u64::MAX))).map(|(_, number)| *number)
    }
}
