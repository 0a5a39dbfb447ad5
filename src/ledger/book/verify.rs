//! Verifying a ledger: the chain, the arithmetic, and the rows that are kept beside it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::rows::AccountRow;
use super::{Book, Done};
use crate::billing::JobId;
use crate::ledger::entry::{Charge, Entry, Record};
use crate::ledger::hash::Hash;
use crate::ledger::journal::Journal;
use crate::ledger::key::KeyRecord;
use crate::ledger::usage::{Totals, UsageKey};
use crate::ledger::volume::{Table, Volume, VolumeError};

/// What a ledger that holds comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    pub charges: u64,
    pub amount_micros: u128,
    /// Of the last entry: whoever has noted an earlier one can see that this one follows it.
    pub head: Hash,
}

/// The first thing that is wrong with a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The entry at fault; `None` where a row beside the chain is.
    pub sequence: Option<u64>,
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            Some(sequence) => write!(f, "entry {sequence}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl From<VolumeError> for Flaw {
    fn from(error: VolumeError) -> Self {
        beside(error.to_string())
    }
}

fn beside(what: impl Into<String>) -> Flaw {
    Flaw { sequence: None, what: what.into() }
}

/// The entries so far, folded.
struct Walk {
    journal: Journal,
    book: Book,
    jobs: BTreeMap<JobId, u64>,
    amount_micros: u128,
}

/// Follows the chain from its first entry, makes every amount again by its tariff, and compares what
/// the entries come to with the rows that are kept beside them.
///
/// # Errors
///
/// The first entry at fault, or the first row.
pub fn verify(volume: &Volume) -> Result<Verified, Flaw> {
    let mut walk = Walk {
        journal: Journal::EMPTY,
        book: Book::ephemeral(),
        jobs: BTreeMap::new(),
        amount_micros: 0,
    };
    let mut flaw = None;
    volume.range(Table::Journal, &[], None, &mut |first, lines| {
        flaw = walk.commit(first, lines).err();
        flaw.is_none()
    })?;
    if let Some(flaw) = flaw {
        return Err(flaw);
    }
    walk.compare(volume)?;
    Ok(Verified {
        entries: walk.journal.sequence,
        charges: walk.jobs.len() as u64,
        amount_micros: walk.amount_micros,
        head: walk.journal.head,
    })
}

impl Walk {
    /// The entries of one commit.
    fn commit(&mut self, first: &[u8], lines: &[u8]) -> Result<(), Flaw> {
        let sequence = self.journal.sequence;
        let at = |what: &str| Flaw { sequence: Some(sequence), what: what.into() };
        if first != sequence.to_be_bytes() {
            return Err(at("it is missing: the next row begins with another"));
        }
        let lines = core::str::from_utf8(lines).map_err(|_| at("its row is not text"))?;
        lines.split('\n').try_for_each(|line| self.entry(line))
    }

    fn entry(&mut self, line: &str) -> Result<(), Flaw> {
        let sequence = self.journal.sequence;
        let flaw = |what: String| Flaw { sequence: Some(sequence), what };
        let entry = Entry::parse(line).map_err(|error| flaw(format!("not an entry: {error}")))?;
        if entry.sequence != sequence {
            return Err(flaw(format!("it says that it is entry {}", entry.sequence)));
        }
        if entry.previous != self.journal.head {
            return Err(flaw(format!(
                "it follows {}, and the entry before it is {}",
                entry.previous, self.journal.head
            )));
        }
        let mut again = String::with_capacity(line.len());
        entry.push_line(&mut again);
        if again != line {
            return Err(flaw("it is not written as entries are".into()));
        }
        if let Record::Charge(charge) = &entry.record {
            self.charge(charge, &entry).map_err(flaw)?;
        }
        let applied = self.book.apply(entry.at_unix_ns, &entry.record);
        applied.map_err(|illegal| flaw(illegal.to_string()))?;
        self.journal = Journal { sequence: sequence + 1, head: Hash::of(line.as_bytes()) };
        Ok(())
    }

    /// A charge: of an account that there is, once for its job, of the amount that its tariff says.
    fn charge(&mut self, charge: &Charge, entry: &Entry) -> Result<(), String> {
        let account = self.book.account_index(&charge.account);
        let account = account.ok_or_else(|| format!("there is no account {}", charge.account))?;
        if let Some(before) = self.jobs.insert(charge.job, entry.sequence) {
            return Err(format!("job {} was charged by entry {before} already", charge.job));
        }
        let tariffs = self.book.tariffs();
        let tariff = tariffs.and_then(|all| all.find(&charge.tariff, charge.tariff_version));
        let tariff = tariff.ok_or_else(|| {
            format!("there is no version {} of tariff {}", charge.tariff_version, charge.tariff)
        })?;
        let month = self.book.account(account).month_at(entry.at_unix_ns).to_date();
        let amount_micros = tariff.amount_micros(&charge.usage(), month);
        if (charge.amount_micros, charge.currency) != (amount_micros, tariff.currency) {
            return Err(format!(
                "it charges {} {} micros, and its tariff says {amount_micros} {}",
                charge.amount_micros, charge.currency, tariff.currency
            ));
        }
        self.amount_micros += u128::from(amount_micros);
        Ok(())
    }

    /// The rows beside the chain are what the entries come to.
    fn compare(&self, volume: &Volume) -> Result<(), Flaw> {
        let mut jobs = 0_u64;
        each(volume, Table::Jobs, |key, value| {
            jobs += 1;
            let job = JobId(key.try_into().map_err(|_| "a row of jobs can't be read")?);
            let sequence = self.jobs.get(&job).map(|sequence| sequence.to_be_bytes());
            if sequence.as_ref().map(<[u8; 8]>::as_slice) == Some(value) {
                Ok(())
            } else {
                Err(format!("the row of job {job} names another entry"))
            }
        })?;
        if jobs != self.jobs.len() as u64 {
            return Err(beside(format!("{jobs} jobs have a row, {} a charge", self.jobs.len())));
        }
        let mut usage: Vec<(UsageKey, Totals)> = Vec::new();
        each(volume, Table::Usage, |key, value| {
            let row = self.book.read_usage_row(key, value);
            usage.push(row.ok_or("a row of usage can't be read")?);
            Ok(())
        })?;
        // In memory they are in the order of the accounts' places.
        usage.sort_by_key(|(key, _)| *key);
        if !usage.iter().map(|(key, totals)| (key, totals)).eq(&self.book.usage) {
            return Err(beside("the sums of usage are not those of the entries"));
        }
        let mut accounts = 0;
        each(volume, Table::Accounts, |_, value| {
            accounts += 1;
            let row: AccountRow =
                serde_json::from_slice(value).map_err(|error| error.to_string())?;
            let index = self.book.account_index(&row.account.id);
            let state = index.map(|index| self.book.account(index));
            let is_same = state.is_some_and(|state| {
                state.account == row.account
                    && state.charged_micros == row.charged_micros
                    && state.credited_micros == row.credited_micros
            });
            let wrong = || format!("account {} is not what its entries say", row.account.id);
            if is_same { Ok(()) } else { Err(wrong()) }
        })?;
        if accounts != self.book.accounts.len() {
            return Err(beside("there are fewer rows of accounts than accounts"));
        }
        each(volume, Table::Keys, |_, value| {
            let row: KeyRecord =
                serde_json::from_slice(value).map_err(|error| error.to_string())?;
            let is_same = self.book.key_of_id(row.id) == Some(&row);
            if is_same {
                Ok(())
            } else {
                Err(format!("key {} is not what its entries say", row.id))
            }
        })?;
        each(volume, Table::Idempotency, |_, value| {
            let done = Done::read(value).ok_or("an idempotency key can't be read")?;
            let is_charged = self.jobs.get(&done.job) == Some(&done.sequence);
            let wrong =
                || format!("an idempotency key names job {}, which has no charge", done.job);
            if is_charged { Ok(()) } else { Err(wrong()) }
        })
    }
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
