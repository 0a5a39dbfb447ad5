//! Jobs that go on by themselves: what waits, what runs, and what became of it.
//!
//! A few run at once, each in the memory that it was admitted with; the others wait, those of a
//! higher priority first, and of one priority those of the account of which the fewest run. The
//! threads that compute take turns among them and the products of requests, so that a job of hours
//! keeps nobody waiting.

mod clerk;
mod deferral;
mod delivery;
mod ended;
mod followers;
mod given_up;
mod open;
mod status;
mod submission;
mod submit;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::billing::{JobId, Tariff};
use crate::job::Job;
use crate::job::queue::AccountIndex;
use crate::large::Resources;
use crate::ledger::hash::Hash;
use crate::ledger::volume::Table;
use crate::limits::{TASKS_ENDED_MAX, TASKS_RUNNING_MAX};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::limits::Allowance;
use crate::server::payer::{Caller, Payer, Retry};
use crate::server::{Server, SessionId};
use crate::store::MatrixNumber;
use crate::task::{Control, Failure, Order, Record, State, TaskRun};
use crate::time::{Now, SECOND_NS};

use delivery::Wish;

pub(crate) use given_up::GivenUp;
pub(crate) use submit::Taken;

/// How soon a job that waits for memory is thought of again, if nothing ends before.
const RETRY_NS: u64 = SECOND_NS;
/// How often those who follow a job are told how far it has come.
const PROGRESS_NS: u64 = SECOND_NS;

/// All that have not ended, and the last that have.
#[derive(Debug, Default)]
pub(in crate::server) struct Tasks {
    by_id: BTreeMap<JobId, Task>,
    /// How many have not ended.
    going: usize,
    running: usize,
    /// Ends without a result that are being written down.
    ending: usize,
    /// Those whose end could not be.
    unwritten: Vec<JobId>,
    /// By what their idempotency keys come to.
    keys: BTreeMap<Hash, JobId>,
    /// When to look after them again, on the monotonic clock.
    due_ns: Option<u64>,
    /// When those who follow were told last.
    told_ns: u64,
    /// Some have ended, and those who follow were not told yet.
    has_news: bool,
    /// What came with jobs that have ended, and the first entry of the ledger that their end does
    /// not rest on: until that is durable they may have to begin again.
    spent: Vec<(u64, AccountIndex, Vec<MatrixNumber>)>,
}

#[derive(Debug)]
struct Task {
    control: Arc<Control>,
    account: AccountIndex,
    tariff: Arc<Tariff>,
    /// What the limits of its account let it have, where it has some.
    allowance: Option<Box<Allowance>>,
    /// Until it is found by its key, nobody else may have that.
    retry: Option<Retry>,
    is_running: bool,
    /// Why it is given up, where its client did not ask for it.
    failure: Option<Failure>,
    /// The ledger's entries before this one are durable before its end is told of.
    told_from: u64,
    /// When it began to run, on the monotonic clock, and how many operations were done then.
    began: Option<(u64, u64)>,
    followers: Vec<SessionId>,
    /// The id of the event that they were told last.
    told_id: String,
    waiters: Vec<Waiter>,
}

/// A session that waits for a job to end, and until when on the monotonic clock.
#[derive(Clone, Debug)]
struct Waiter {
    session: SessionId,
    until_ns: u64,
    wants: Wants,
}

/// What a session is to be told that waits for a job.
#[derive(Clone, Debug)]
enum Wants {
    Status,
    /// The same, and where the job is, for which it has asked.
    Job,
    /// The product that the job is.
    Product(Box<Wish>),
}

/// What is known of a job, which may be long: it is looked at where it is.
pub(in crate::server) enum Known {
    Listed(Arc<Control>),
    /// Of one that has ended, from the volume.
    Row(Box<Record>),
}

impl Known {
    pub fn with<R>(&self, read: impl FnOnce(&Record) -> R) -> R {
        match self {
            Self::Listed(control) => control.with(read),
            Self::Row(record) => read(record),
        }
    }
}

impl Task {
    fn new(control: Arc<Control>, payer: Payer) -> Self {
        let Payer { account, tariff, retry, allowance } = payer;
        Self {
            control,
            account,
            tariff,
            allowance,
            retry,
            is_running: false,
            failure: None,
            told_from: 0,
            began: None,
            followers: Vec::new(),
            told_id: String::new(),
            waiters: Vec::new(),
        }
    }

    /// Whether it is not to go on, though it may not have ended.
    fn is_given_up(&self) -> bool {
        self.control.ordered() == Order::Cancel
    }

    /// Whether it is still to come to a result.
    fn goes_on(&self) -> bool {
        !self.is_given_up() && self.control.with(|record| !record.state.has_ended())
    }
}

impl Tasks {
    /// Whether some are on the threads that compute, or their ends on the way.
    pub fn are_running(&self) -> bool {
        self.running + self.ending > 0
    }

    pub fn next_ns(&self) -> Option<u64> {
        self.due_ns
    }

    fn look_again(&mut self, at_ns: u64) {
        self.due_ns = Some(self.due_ns.map_or(at_ns, |due_ns| due_ns.min(at_ns)));
    }

    /// The one to run next.
    fn next_waiting(&self) -> Option<JobId> {
        let waiting = self.by_id.iter().filter(|(_, task)| !task.is_running && task.goes_on());
        let running = self.by_id.values().filter(|task| task.is_running);
        let running: Vec<AccountIndex> = running.map(|task| task.account).collect();
        let running_of = |account| running.iter().filter(|other| **other == account).count();
        // Ids are in the order of time.
        let first = waiting.min_by_key(|(id, task)| {
            let priority = task.control.with(|record| record.priority);
            (core::cmp::Reverse(priority), running_of(task.account), **id)
        });
        first.map(|(id, _)| *id)
    }

    /// The oldest of those that have ended make room.
    fn forget_some(&mut self) {
        let has_ended = |task: &Task| task.control.with(|record| record.state.has_ended());
        let ended: Vec<JobId> =
            self.by_id.iter().filter(|(_, task)| has_ended(task)).map(|(id, _)| *id).collect();
        for id in &ended[..ended.len().saturating_sub(TASKS_ENDED_MAX)] {
            let Some(task) = self.by_id.remove(id) else { continue };
            let key = task.control.with(|record| record.idempotency.map(|found| found.key));
            if let Some(key) = key.filter(|key| self.keys.get(key) == Some(id)) {
                self.keys.remove(&key);
            }
        }
    }
}

impl Server {
    /// Begins what can run now.
    pub(in crate::server) fn start_tasks(&mut self, now: Now) {
        while self.tasks.running < TASKS_RUNNING_MAX && !self.is_draining() {
            let Some(id) = self.tasks.next_waiting() else { return };
            let task = &self.tasks.by_id[&id];
            let memory_bytes = task.control.with(|record| record.memory_bytes);
            match self.memory.promise(memory_bytes) {
                Ok(promise) => self.start_task(id, promise, now),
                // It waits for those that hold memory now; none of a lower priority goes before it.
                Err(_) => {
                    self.tasks.look_again(now.monotonic_ns.saturating_add(RETRY_NS));
                    return;
                }
            }
        }
    }

    fn start_task(&mut self, id: JobId, promise: Promise, now: Now) {
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        task.is_running = true;
        let control = task.control.clone();
        task.began = Some((now.monotonic_ns, control.flops_done()));
        control.update(|record| {
            record.state = State::Running;
            record.started_unix_ns.get_or_insert(now.unix_ns);
        });
        let (memory_bytes, rules) = control.with(|record| (record.memory_bytes, record.rules));
        let resources = Resources {
            memory_bytes,
            rules,
            threads: self.config.threads,
            background: self.background.clone(),
        };
        let run = TaskRun::new(control, self.store.clone(), resources, now);
        let job = Job::of_task(id, task.account, run, promise, now.monotonic_ns);
        self.tasks.running += 1;
        self.ready_jobs.push(job.account(), job);
        self.tell_followers(id, now);
    }

    /// What is due: jobs whose time is up, those who wait for one, and those who follow.
    pub(in crate::server) fn look_after_tasks(&mut self, now: Now) {
        if self.tasks.due_ns.is_none_or(|due_ns| due_ns > now.monotonic_ns) {
            return;
        }
        self.tasks.due_ns = None;
        let late: Vec<JobId> = self
            .tasks
            .by_id
            .iter()
            .filter(|(_, task)| {
                let deadline = task.control.with(|record| record.deadline_unix_ns);
                deadline.is_some_and(|due| due <= now.unix_ns) && task.goes_on()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let detail = "the job was not done by its deadline";
            let problem = Problem::new(ProblemKind::DeadlineExceeded, detail);
            self.give_up(id, Some(problem), SessionId::NOBODY, now);
        }
        for id in core::mem::take(&mut self.tasks.unwritten) {
            self.send_end(id, SessionId::NOBODY, now);
        }
        self.start_tasks(now);
        self.end_waits(now);
        if now.monotonic_ns.saturating_sub(self.tasks.told_ns) >= PROGRESS_NS {
            self.tasks.told_ns = now.monotonic_ns;
            self.tell_all_followers(now);
        }
        self.set_task_timer(now);
    }

    /// Sees to it that what is due is looked at when it is. Whatever comes to be due in between
    /// says so
    /// [itself](Tasks::look_again).
    fn set_task_timer(&mut self, now: Now) {
        let mut next_ns: Option<u64> = None;
        let mut at = |ns: u64| next_ns = Some(next_ns.map_or(ns, |next| next.min(ns)));
        for task in self.tasks.by_id.values() {
            if !task.followers.is_empty() {
                at(self.tasks.told_ns.saturating_add(PROGRESS_NS));
            }
            task.waiters.iter().for_each(|waiter| at(waiter.until_ns));
            let deadline = task.control.with(|record| record.deadline_unix_ns);
            if let Some(due) = deadline.filter(|_| task.goes_on()) {
                at(at_unix_ns(due, now));
            }
        }
        if let Some(next_ns) = next_ns {
            self.tasks.look_again(next_ns);
        }
    }

    /// Tells those that run to stop where they are: the volume has what they have done.
    pub(in crate::server) fn pause_tasks(&mut self) {
        for task in self.tasks.by_id.values().filter(|task| task.is_running) {
            task.control.order(Order::Pause);
        }
    }

    /// The job of this id, if it is one that goes on by itself and the caller may know of it.
    ///
    /// # Errors
    ///
    /// That there is none, or that the volume can't be read.
    pub(in crate::server) fn find_task(
        &mut self,
        id: JobId,
        caller: Caller,
    ) -> Result<Option<Known>, Problem> {
        let known = match self.tasks.by_id.get(&id) {
            Some(task) => Some(Known::Listed(task.control.clone())),
            None => self.ended_record(id)?.map(|record| Known::Row(Box::new(record))),
        };
        let is_theirs = |known: &Known| {
            known.with(|record| {
                let account = self.book.account_index(&record.account);
                caller.is_admin || account == Some(caller.account)
            })
        };
        Ok(known.filter(is_theirs))
    }

    /// The record of a job that has ended, from the volume.
    fn ended_record(&mut self, id: JobId) -> Result<Option<Record>, Problem> {
        let Some(volume) = self.book.volume() else { return Ok(None) };
        match volume.get(Table::Tasks, &id.0) {
            Ok(row) => Ok(row.and_then(|row| Record::read(&row))),
            Err(error) => Err(self.ledger_problem(&error)),
        }
    }
}

/// When it is that time, on the monotonic clock.
fn at_unix_ns(unix_ns: u64, now: Now) -> u64 {
    now.monotonic_ns.saturating_add(unix_ns.saturating_sub(now.unix_ns))
}

/// That no job of the caller has this id.
fn unknown(id: JobId) -> Problem {
    let detail: String = alloc::format!("no job {id} of this account is known");
    Problem::new(ProblemKind::UnknownJob, detail)
}
