//! The book: what the entries come to, in memory, and what of it is not durable yet.
//!
//! An entry takes effect here at once, and is announced only when it is durable: whoever answers a
//! client on the strength of the book waits until [`Book::durable_until`] has passed the entries
//! that the answer rests on.

mod corrections;

mod lines;

mod open;

mod receipts;

mod retries;

mod storage;

mod tasks;

mod rows;

pub mod verify;

mod sums;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::billing::terms::Illegal;
use crate::billing::{JobId, MonthToDate, StorageMark, Tariff, TariffBook};
use crate::job::queue::AccountIndex;
use crate::ledger::account::{Account, AccountId};
use crate::ledger::entry::{Entry, Record};
use crate::ledger::hash::Hash;
use crate::ledger::journal::{Committed, Journal, Pending};
use crate::ledger::key::{KeyId, KeyRecord};
use crate::ledger::usage::{Totals, UsageKey, UsageKind};
use crate::ledger::volume::{Batch, Volume, VolumeError};
use crate::limits::RECENT_BILLS_MAX;
use crate::time::{Civil, day_of, hour_of};

pub use open::BookError;
use receipts::ReceiptKeys;
pub use retries::{Attempt, Done};
pub use tasks::TaskRecorded;

/// All that the service knows about accounts and money.
#[derive(Debug)]
pub struct Book {
    /// `None`: everything is in memory.
    volume: Option<Arc<Volume>>,
    accounts: Vec<AccountState>,
    account_by_id: BTreeMap<AccountId, AccountIndex>,
    keys: BTreeMap<KeyId, KeyRecord>,
    /// `None` until the first is recorded.
    tariffs: Option<TariffBook>,
    receipt_keys: ReceiptKeys,
    /// Of this month; without a volume, all.
    usage: BTreeMap<UsageKey, Totals>,
    /// The first hour of those in memory.
    usage_loaded_from: u32,
    /// Of what jobs were charged, what was given back, where that was in this run.
    corrected: BTreeMap<JobId, u64>,
    retries: retries::Retries,
    /// Where the chain ends, unless it is with the entries that are being made durable.
    journal: Option<Journal>,
    /// Of the entry that comes next.
    sequence: u64,
    /// Every entry before this one is durable; without a volume, every one.
    durable_until: u64,
    /// Entries that are not with the volume yet.
    records: Vec<(u64, Record)>,
    /// Rows that others keep, to be written with them.
    rows: Batch,
    dirty: Dirty,
    /// The last entries, where there is no volume to read them from.
    kept: VecDeque<Entry>,
    /// Where the line of each is written, to be hashed: always the same memory, at hand.
    line: String,
}

/// An account, and what its entries come to.
#[derive(Debug)]
pub struct AccountState {
    pub account: Account,
    /// Everything it was ever charged, less what was given back.
    pub charged_micros: i128,
    /// Everything it was ever given in advance.
    pub credited_micros: i128,
    /// Where its last record of what it has stored ended.
    pub storage: Option<StorageMark>,
    pub month: Month,
}

/// What an account has used in a calendar month, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    /// Its first hour.
    pub first_hour: u32,
    pub flops: u128,
    pub amount_micros: u128,
    /// The day of the last job, in days since 1970, and the operations of that day.
    pub day: u32,
    pub day_flops: u128,
}

/// Rows that have changed since they were last written.
#[derive(Debug, Default)]
struct Dirty {
    accounts: BTreeSet<AccountIndex>,
    keys: BTreeSet<KeyId>,
    corrected: BTreeSet<JobId>,
    tariffs: BTreeSet<(Arc<str>, u32)>,
    usage: BTreeSet<UsageKey>,
}

impl AccountState {
    fn new(account: Account) -> Self {
        Self {
            account,
            charged_micros: 0,
            credited_micros: 0,
            storage: None,
            month: Month::default(),
        }
    }

    /// What it has used in the month of that time.
    pub fn month_at(&self, unix_ns: u64) -> Month {
        self.month.at(unix_ns)
    }
}

impl Month {
    /// The same where it is still that month, and that day; else a new one.
    fn at(mut self, unix_ns: u64) -> Self {
        let day = day_of(unix_ns);
        if self.day == day {
            return self;
        }
        let first_hour = Civil::month_first_hour(unix_ns);
        if self.first_hour != first_hour {
            self = Self { first_hour, ..Self::default() };
        }
        Self { day, day_flops: 0, ..self }
    }

    /// As tariffs ask for it.
    pub fn to_date(&self) -> MonthToDate {
        MonthToDate { flops: self.flops }
    }

    fn add(&mut self, hour: u32, totals: &Totals) {
        self.flops += totals.flops;
        self.amount_micros += totals.amount_micros;
        if hour / 24 == self.day {
            self.day_flops += totals.flops;
        }
    }
}

impl Book {
    /// An empty book in memory.
    pub fn ephemeral() -> Self {
        Self {
            volume: None,
            accounts: Vec::new(),
            account_by_id: BTreeMap::new(),
            keys: BTreeMap::new(),
            tariffs: None,
            receipt_keys: ReceiptKeys::default(),
            usage: BTreeMap::new(),
            usage_loaded_from: 0,
            corrected: BTreeMap::new(),
            retries: retries::Retries::default(),
            journal: Some(Journal::EMPTY),
            sequence: 0,
            durable_until: 0,
            records: Vec::new(),
            rows: Batch::default(),
            dirty: Dirty::default(),
            kept: VecDeque::new(),
            line: String::new(),
        }
    }

    /// Where it lasts.
    pub fn volume(&self) -> Option<&Arc<Volume>> {
        self.volume.as_ref()
    }

    /// `durable` or `ephemeral`.
    pub fn kind(&self) -> &'static str {
        if self.volume.is_some() { "durable" } else { "ephemeral" }
    }

    /// The sequence number of the entry that comes next.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Every entry before this one may be announced.
    pub fn durable_until(&self) -> u64 {
        self.durable_until
    }

    pub fn account_index(&self, id: &AccountId) -> Option<AccountIndex> {
        self.account_by_id.get(id).copied()
    }

    /// An account of this book.
    pub fn account(&self, index: AccountIndex) -> &AccountState {
        &self.accounts[index as usize]
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountState> {
        self.account_by_id.values().map(|index| self.account(*index))
    }

    /// The key with this hash. Whether there is none, or one whose hash begins alike, takes as
    /// long.
    pub fn key(&self, hash: &Hash) -> Option<&KeyRecord> {
        let record = self.keys.get(&KeyId::of(hash));
        let is_same = KeyRecord::same_hash(record.map_or(&Hash::ZERO, |it| &it.hash), hash);
        record.filter(|_| is_same)
    }

    /// The key that is called so.
    pub fn key_of_id(&self, id: KeyId) -> Option<&KeyRecord> {
        self.keys.get(&id)
    }

    /// All keys, in no order that means anything.
    pub fn keys(&self) -> impl Iterator<Item = &KeyRecord> {
        self.keys.values()
    }

    /// All tariffs; `None` until one is recorded.
    pub fn tariffs(&self) -> Option<&TariffBook> {
        self.tariffs.as_ref()
    }

    /// An entry is made: its sequence number.
    pub fn record(&mut self, at_unix_ns: u64, record: Record) -> u64 {
        let applied = self.apply(at_unix_ns, &record);
        applied.expect("whoever records a tariff has seen that it follows the others");
        self.mark_dirty(at_unix_ns, &record);
        let sequence = self.sequence;
        self.sequence += 1;
        if self.volume.is_some() {
            self.records.push((at_unix_ns, record));
        } else {
            self.keep_entry(at_unix_ns, record);
            self.durable_until = self.sequence;
        }
        sequence
    }

    /// The chain in memory: its last entries.
    fn keep_entry(&mut self, at_unix_ns: u64, record: Record) {
        let journal = self.journal.as_mut().expect("without a volume, the chain stays here");
        if self.kept.len() == RECENT_BILLS_MAX {
            self.kept.pop_front();
        }
        self.line.clear();
        self.kept.push_back(journal.append(at_unix_ns, record, &mut self.line));
    }

    /// What an entry changes: the fold that verifying a volume repeats.
    ///
    /// # Errors
    ///
    /// A tariff that does not follow the others, which changes nothing.
    fn apply(&mut self, at_unix_ns: u64, record: &Record) -> Result<(), Illegal> {
        let hour = hour_of(at_unix_ns);
        match record {
            Record::Opened(_) => {}
            Record::ReceiptKey(key) => self.receipt_keys.follow(key, at_unix_ns),
            Record::Account(account) => self.set_account(account.clone()),
            Record::Key(key) => {
                self.keys.insert(key.id, key.clone());
            }
            Record::Tariff(tariff) => {
                self.add_tariff(tariff.clone())?;
            }
            Record::Charge(charge) => {
                let Some(account) = self.account_index(&charge.account) else { return Ok(()) };
                let totals = Totals::of_job(&charge.usage(), charge.amount_micros);
                let key = UsageKey { hour, account, kind: charge.dtype.into() };
                *self.usage.entry(key).or_default() += &totals;
                let state = &mut self.accounts[account as usize];
                state.charged_micros += i128::from(charge.amount_micros);
                state.month = state.month.at(at_unix_ns);
                state.month.add(hour, &totals);
            }
            Record::Storage(charge) => {
                let Some(account) = self.account_index(&charge.account) else { return Ok(()) };
                let totals = Totals::of_storage(charge.byte_hours, charge.amount_micros);
                let key = UsageKey { hour, account, kind: UsageKind::Storage };
                *self.usage.entry(key).or_default() += &totals;
                let state = &mut self.accounts[account as usize];
                state.charged_micros += i128::from(charge.amount_micros);
                state.storage = Some(charge.mark());
                state.month = state.month.at(at_unix_ns);
                state.month.add(hour, &totals);
            }
            Record::Credit(credit) => {
                if let Some(account) = self.account_index(&credit.account) {
                    let state = &mut self.accounts[account as usize];
                    state.credited_micros += i128::from(credit.amount_micros);
                }
            }
            Record::Correction(correction) => {
                let Some(account) = self.account_index(&correction.account) else { return Ok(()) };
                let key = UsageKey { hour, account, kind: correction.dtype.into() };
                let totals = Totals::of_correction(correction.amount_micros);
                *self.usage.entry(key).or_default() += &totals;
                let state = &mut self.accounts[account as usize];
                state.charged_micros -= i128::from(correction.amount_micros);
            }
        }
        Ok(())
    }

    fn add_tariff(&mut self, tariff: Tariff) -> Result<(), Illegal> {
        match &mut self.tariffs {
            None => self.tariffs = Some(TariffBook::new(tariff)),
            Some(tariffs) => {
                tariffs.add(tariff, 0)?;
            }
        }
        Ok(())
    }

    fn set_account(&mut self, account: Account) {
        match self.account_index(&account.id) {
            Some(index) => self.accounts[index as usize].account = account,
            None => {
                let index = self.accounts.len() as AccountIndex;
                self.account_by_id.insert(account.id.clone(), index);
                self.accounts.push(AccountState::new(account));
            }
        }
    }

    /// Whether there are entries or rows that are not on their way to the volume yet.
    pub fn has_pending(&self) -> bool {
        !self.records.is_empty() || !self.rows.is_empty()
    }

    /// The entries that were made since the last call, to be made durable; `None` where there are
    /// none, or where those of the last call are still on their way.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn take_pending(&mut self, now_unix_ns: u64) -> Result<Option<Pending>, VolumeError> {
        if !self.has_pending() {
            return Ok(None);
        }
        let Some(journal) = self.journal.take() else { return Ok(None) };
        self.purge_keys(now_unix_ns)?;
        let mut rows = self.take_dirty_rows();
        rows.puts.append(&mut self.rows.puts);
        rows.deletes.append(&mut self.rows.deletes);
        Ok(Some(Pending { journal, records: core::mem::take(&mut self.records), rows }))
    }

    /// They are durable.
    pub fn committed(&mut self, committed: Committed, now_unix_ns: u64) {
        self.durable_until = committed.journal.sequence;
        self.journal = Some(committed.journal);
        self.retries.committed(self.durable_until);
        self.forget_old_usage(now_unix_ns);
    }
}
