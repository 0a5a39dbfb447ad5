//! Verifying a ledger: the chain, the arithmetic, and the rows that are kept beside it.

mod rows;

mod storage;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;

use super::Book;
use crate::billing::{Currency, JobId, Tariff};
use crate::gemm::Dtype;
use crate::job::queue::AccountIndex;
use crate::ledger::entry::{Charge, Correction, Entry, Record};
use crate::ledger::hash::Hash;
use crate::ledger::journal::Journal;
use crate::ledger::volume::{Table, Volume, VolumeError};

/// What a ledger that holds comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    pub charges: u64,
    pub amount_micros: u128,
    /// Jobs of which something was given back, and how much of all.
    pub corrected_jobs: u64,
    pub corrected_micros: u128,
    pub accounts: u64,
    pub keys: u64,
    /// In all their versions.
    pub tariffs: u64,
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
    jobs: BTreeMap<JobId, Charged>,
    amount_micros: u128,
    /// What was given back of jobs.
    corrected: BTreeMap<JobId, u64>,
    /// The job whose steps' charges come now.
    task: Option<TaskSoFar>,
}

/// A job of several steps, of which some charges have come.
struct TaskSoFar {
    id: JobId,
    amount_micros: u64,
    /// The least that it costs, by the tariff of its steps.
    micros_min: u64,
    /// Its last step, which was raised to that, has come.
    is_raised: bool,
}

/// The charge of a job, as far as other entries and rows rest on it.
#[derive(Clone, Copy)]
struct Charged {
    sequence: u64,
    account: AccountIndex,
    dtype: Dtype,
    amount_micros: u64,
}

/// Follows the chain from its first entry, makes every amount again by its tariff, and compares
/// what the entries come to with the rows that are kept beside them.
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
        corrected: BTreeMap::new(),
        task: None,
    };
    let mut flaw = None;
    volume.range(Table::Journal, &[], None, &mut |first, lines| {
        flaw = walk.commit(first, lines).err();
        flaw.is_none()
    })?;
    if let Some(flaw) = flaw {
        return Err(flaw);
    }
    let end = walk.journal.sequence;
    walk.end_task(None).map_err(|what| Flaw { sequence: end.checked_sub(1), what })?;
    walk.compare(volume)?;
    Ok(Verified {
        entries: walk.journal.sequence,
        charges: walk.jobs.len() as u64,
        amount_micros: walk.amount_micros,
        corrected_jobs: walk.corrected.len() as u64,
        corrected_micros: walk.corrected.values().map(|micros| u128::from(*micros)).sum(),
        accounts: walk.book.accounts.len() as u64,
        keys: walk.book.keys.len() as u64,
        tariffs: walk.book.tariffs().into_iter().flat_map(|all| all.tariffs()).count() as u64,
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
        let task = match &entry.record {
            Record::Charge(charge) => charge.task,
            _ => None,
        };
        self.end_task(task).map_err(|what| Flaw { sequence: sequence.checked_sub(1), what })?;
        match &entry.record {
            Record::Charge(charge) => self.charge(charge, &entry).map_err(flaw)?,
            Record::Storage(charge) => self.storage(charge, &entry).map_err(flaw)?,
            Record::Correction(correction) => self.correction(correction).map_err(flaw)?,
            _ => {}
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
        let Charge { job, dtype, amount_micros, .. } = *charge;
        let charged = Charged { sequence: entry.sequence, account, dtype, amount_micros };
        if let Some(Charged { sequence, .. }) = self.jobs.insert(job, charged) {
            return Err(format!("job {job} was charged by entry {sequence} already"));
        }
        let tariff = self.tariff(&charge.tariff, charge.tariff_version)?;
        let month = self.book.account(account).month_at(entry.at_unix_ns).to_date();
        let usage = charge.usage();
        let amount_micros = match charge.task {
            None => tariff.amount_micros(&usage, month),
            Some(id) => {
                let line_micros = tariff.line_micros(&usage, month);
                TaskSoFar::amount_of(&mut self.task, id, charge, line_micros, &tariff)?
            }
        };
        same_amount((charge.amount_micros, charge.currency), (amount_micros, tariff.currency))?;
        self.amount_micros += u128::from(amount_micros);
        Ok(())
    }

    fn tariff(&self, name: &str, version: u32) -> Result<Arc<Tariff>, String> {
        let tariffs = self.book.tariffs();
        let tariff = tariffs.and_then(|all| all.find(name, version)).cloned();
        tariff.ok_or_else(|| format!("there is no version {version} of tariff {name}"))
    }

    /// The steps of a job come one behind the other: where the entry that comes is none of them,
    /// the job has cost what it costs at least.
    fn end_task(&mut self, next: Option<JobId>) -> Result<(), String> {
        match self.task.take_if(|task| Some(task.id) != next) {
            Some(task) if task.amount_micros < task.micros_min => Err(format!(
                "job {} came to {} micros with its last step, and its tariff says {} at least",
                task.id, task.amount_micros, task.micros_min
            )),
            _ => Ok(()),
        }
    }

    /// A correction: of a job that was charged, to its account, and of no more than is left of it.
    fn correction(&mut self, correction: &Correction) -> Result<(), String> {
        let Correction { job, amount_micros, .. } = *correction;
        let charged = self.jobs.get(&job);
        let charged = charged.ok_or_else(|| format!("job {job} was never charged"))?;
        let account = self.book.account_index(&correction.account);
        if (account, correction.dtype) != (Some(charged.account), charged.dtype) {
            return Err(format!("it is not of the account and the dtype of job {job}"));
        }
        let corrected_micros = self.corrected.entry(job).or_default();
        *corrected_micros = corrected_micros.saturating_add(amount_micros);
        if *corrected_micros > charged.amount_micros {
            return Err(format!(
                "{corrected_micros} of the {} micros of job {job} are given back",
                charged.amount_micros
            ));
        }
        Ok(())
    }
}

/// An entry charges what its tariff says.
fn same_amount(charged: (u64, Currency), said: (u64, Currency)) -> Result<(), String> {
    if charged == said {
        return Ok(());
    }
    Err(format!(
        "it charges {} {} micros, and its tariff says {} {}",
        charged.0, charged.1, said.0, said.1
    ))
}

impl TaskSoFar {
    /// What a step is to be charged: its price, or what is missing to the least of the job where it
    /// is the last.
    fn amount_of(
        this: &mut Option<Self>,
        id: JobId,
        charge: &Charge,
        line_micros: u64,
        tariff: &Tariff,
    ) -> Result<u64, String> {
        let micros_min = tariff.job_micros_min;
        let task = this.get_or_insert(Self { id, amount_micros: 0, micros_min, is_raised: false });
        if task.is_raised {
            return Err(format!("job {id} has had the step that was raised to its least price"));
        }
        let raised = micros_min.saturating_sub(task.amount_micros).max(line_micros);
        let amount_micros = if charge.amount_micros == raised { raised } else { line_micros };
        task.is_raised = amount_micros > line_micros;
        task.amount_micros = task.amount_micros.saturating_add(amount_micros);
        Ok(amount_micros)
    }
}
