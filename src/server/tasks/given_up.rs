//! The end of a job that has no result: it has failed or was cancelled, and costs nothing.
//!
//! That is an [errand](Errand), and nobody is told before its row is on the medium. What came with
//! the job and was made for it goes after that: a machine that ends in between leaves matrices of
//! no job, which the next one removes, and never a job without its operands.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;

use super::{Known, RETRY_NS, unknown};
use crate::billing::JobId;
use crate::http::Response;
use crate::job::errand::{Errand, Progress};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::Caller;
use crate::server::{Server, SessionId};
use crate::store::{Purpose, Store, StoreError};
use crate::task::{Control, Failure, Order, Record, State};
use crate::time::Now;

/// An end that was to be written down.
#[derive(Debug)]
pub(crate) struct GivenUp {
    ending: Ending,
    /// Whether it is.
    written: Result<(), StoreError>,
    /// Whether what belonged to the job is gone.
    discarded: Result<(), StoreError>,
}

#[derive(Debug)]
struct Ending {
    store: Arc<Store>,
    control: Arc<Control>,
    /// `None`: its client did not want it any more.
    failure: Option<Failure>,
    unix_ns: u64,
}

impl Server {
    /// `POST /v1/jobs/{id}:cancel`. `None`: the session is answered when the end is written down.
    ///
    /// # Errors
    ///
    /// That there is no such job, or that it has ended.
    pub(super) fn cancel_task(
        &mut self,
        session: SessionId,
        id: JobId,
        caller: Caller,
        now: Now,
    ) -> Result<Option<Response>, Problem> {
        let known = self.find_task(id, caller)?.ok_or_else(|| unknown(id))?;
        let state = known.with(|record| record.state);
        match state {
            State::Waiting | State::Running => {
                if self.give_up(id, None, session, now) {
                    return Ok(None);
                }
            }
            State::Cancelled => {}
            State::Finished | State::Failed => {
                let detail = format!("the job has {}", state.name());
                return Err(Problem::new(ProblemKind::JobEnded, detail));
            }
        }
        Ok(Some(self.reply_status(id, &known, now)))
    }

    /// Stops a job for good. `problem` says why where its client did not ask for it. Whether its
    /// end is on its way now, and the session answered with it: one that runs comes back first.
    pub(super) fn give_up(
        &mut self,
        id: JobId,
        problem: Option<Problem>,
        session: SessionId,
        now: Now,
    ) -> bool {
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return false };
        if task.is_given_up() {
            return false;
        }
        task.failure = problem.as_ref().map(Failure::from);
        task.control.order(Order::Cancel);
        if task.is_running {
            return false;
        }
        self.send_end(id, session, now);
        true
    }

    /// Has the end of a job written down, which is not on the threads that compute.
    pub(super) fn send_end(&mut self, id: JobId, session: SessionId, now: Now) {
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        task.control.order(Order::Cancel);
        let ending = Ending {
            store: self.store.clone(),
            control: task.control.clone(),
            failure: task.failure.clone(),
            unix_ns: now.unix_ns,
        };
        let account = task.account;
        self.tasks.ending += 1;
        let promise = self.memory.promise(0).expect("nothing is always there");
        self.send_errand(session, account, Box::new(ending), promise, now);
    }

    /// Tells of an end that is written down. One that could not be is tried again after a while,
    /// and its job has not ended until then. The session, where it has an answer now.
    pub(in crate::server) fn end_given_up(
        &mut self,
        session: SessionId,
        given_up: GivenUp,
        now: Now,
    ) -> Option<SessionId> {
        let GivenUp { ending, written, discarded } = given_up;
        let id = ending.control.id();
        self.tasks.ending -= 1;
        for error in [&written, &discarded].into_iter().filter_map(|it| it.as_ref().err()) {
            self.print(format!("job={id}: {error}"));
        }
        if written.is_ok() {
            self.note_given_up(&ending, now);
        } else {
            self.tasks.unwritten.push(id);
            self.tasks.look_again(now.monotonic_ns.saturating_add(RETRY_NS));
        }
        self.session_mut(session)?.job = None;
        if let Err(error) = written {
            self.refuse(session, error.into(), now);
            self.note_progress(session, 0, now);
            return Some(session);
        }
        let response = self.reply_status(id, &Known::Listed(ending.control), now);
        let until = self.book.sequence();
        self.answer_when_durable(session, response, None, until, now).then_some(session)
    }

    fn note_given_up(&mut self, ending: &Ending, now: Now) {
        let id = ending.control.id();
        ending.control.update(|record| ending.note(record));
        if let Some(task) = self.tasks.by_id.get_mut(&id) {
            // What was held is void.
            task.allowance = None;
        }
        self.tasks.going -= 1;
        self.tell_followers(id, now);
        self.answer_waiters(id, now);
        self.tasks.forget_some();
        self.start_tasks(now);
    }
}

impl Ending {
    fn note(&self, record: &mut Record) {
        record.state = if self.failure.is_some() { State::Failed } else { State::Cancelled };
        record.failure.clone_from(&self.failure);
        record.ended_unix_ns = Some(self.unix_ns);
    }
}

impl Errand for Ending {
    fn advance(self: Box<Self>, _: &mut Promise, _: &dyn Fn() -> bool) -> Progress {
        let mut record = self.control.record();
        self.note(&mut record);
        let written = self.store.commit(&self.control.row_of(&record));
        let discarded = match written {
            Ok(()) => discard(&self.store, &record),
            Err(_) => Ok(()),
        };
        Progress::GivenUp(Box::new(GivenUp { ending: *self, written, discarded }))
    }
}

/// Removes what came with a job that came to nothing, and what was made for it.
fn discard(store: &Store, record: &Record) -> Result<(), StoreError> {
    record.stored_inputs().try_for_each(|number| store.release(number))?;
    for step in &record.steps {
        if store.draft(step.output).is_some() {
            store.abandon(step.output)?;
        } else if let Some(stored) = store.by_number(step.output)
            && stored.purpose() == Purpose::Result
        {
            store.remove(&stored)?;
        }
    }
    Ok(())
}
