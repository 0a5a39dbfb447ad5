//! `POST /v1/jobs`: from a whole request to a job that waits for its turn.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rand_chacha::rand_core::RngCore;
use serde::Serialize;

use super::clerk::{Clerk, Speed, TaskQuote};
use super::delivery::Wish;
use super::submission::Submission;
use super::{Task, Tasks, Wants, at_unix_ns};
use crate::api::to_json;
use crate::billing::JobId;
use crate::http::Response;
use crate::job::memory_problem;
use crate::job::reply::ReplyForm;
use crate::ledger::allowance::LimitReached;
use crate::ledger::hash::Hash;
use crate::limits::TASKS_WAITING_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::{Caller, Payer, Retry};
use crate::server::replies::draining;
use crate::server::{Server, SessionId, replies};
use crate::task::Record;
use crate::time::Now;

/// What is said of a job that was taken.
#[derive(Debug, Serialize)]
struct Accepted {
    job: JobId,
    state: &'static str,
    status_url: String,
    quote: TaskQuote,
}

/// A job that a request has become.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(super) job: JobId,
    /// `None` where it was taken before.
    pub(super) task: Option<Box<Task>>,
    /// How the product is sent that was asked for, where the request was for one.
    pub(super) form: Option<ReplyForm>,
}

impl Server {
    /// Sets out to take a job, or says which job this request was taken as before.
    ///
    /// # Errors
    ///
    /// That its key is another's, or the limit that it exceeds.
    pub(in crate::server) fn submit(
        &mut self,
        session: SessionId,
        text: Vec<u8>,
        caller: Caller,
        key: Option<Hash>,
        now: Now,
    ) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(draining());
        }
        let fingerprint = Hash::of(&text);
        if let Some(job) = key.and_then(|key| self.tasks.job_of_key(&key)) {
            check_is_same(job, self.tasks.fingerprint_of(job), fingerprint)?;
            self.end_submission(session, Taken { job, task: None, form: None }, now);
            return Ok(());
        }
        self.check_room_for_task()?;
        let allowance = self.allow(caller.account, now).map_err(LimitReached::into_problem)?;
        let retry = key.map(|key| self.retry(key, now)).transpose()?;
        if let Some(Retry { done: Some(done), .. }) = &retry {
            check_is_same(done.job, None, fingerprint)?;
        }
        let tariff = self.tariff_of(caller.account, now)?;
        let payer = Payer { account: caller.account, tariff, retry, allowance };
        let clerk = self.clerk(payer, text.len() as u64, now);
        // The text, and what is read of it.
        let needed_bytes = 2 * text.len();
        let promise = self.memory.promise(needed_bytes);
        let promise = promise.map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        let submission = Box::new(Submission { clerk, text, fingerprint });
        self.send_errand(session, caller.account, submission, promise, now);
        Ok(())
    }

    /// A job was made of a request, or was there: answers at once, or when it has ended or the
    /// client has waited for as long as it would. The session, where it has an answer now.
    pub(in crate::server) fn end_submission(
        &mut self,
        session: SessionId,
        taken: Taken,
        now: Now,
    ) -> Option<SessionId> {
        let Taken { job, task, form } = taken;
        let is_replayed = task.is_none();
        if let Some(task) = task {
            let deadline = task.control.with(|record| record.deadline_unix_ns);
            self.tasks.insert(*task);
            if let Some(due_unix_ns) = deadline {
                self.tasks.look_again(at_unix_ns(due_unix_ns, now));
            }
        }
        let wait_ns = self.session_mut(session).and_then(|session| {
            session.job = None;
            session.wait_ns.take()
        });
        let wish = form.map(|form| Box::new(Wish { form, wait_ns, is_replayed }));
        let is_answered = match wait_ns.filter(|wait_ns| *wait_ns > 0) {
            Some(wait_ns) => {
                let wants = wish.map_or(Wants::Job, Wants::Product);
                self.wait_for_task(session, job, (wait_ns, wants), now);
                false
            }
            None => {
                let accepted = match &wish {
                    Some(wish) => self.accepted_product(job, wish),
                    None => self.accepted(job, is_replayed),
                };
                let until = self.book.sequence();
                self.answer_when_durable(session, accepted, None, until, now)
            }
        };
        self.start_tasks(now);
        is_answered.then_some(session)
    }

    /// Who takes a job of a request of so many bytes.
    pub(super) fn clerk(&mut self, payer: Payer, bytes_in: u64, now: Now) -> Clerk {
        Clerk {
            id: self.new_task_id(now),
            desk: self.desk(payer.account, now),
            memory: self.memory.clone(),
            speed: self.speed(),
            payer,
            bytes_in,
        }
    }

    fn speed(&self) -> Speed {
        Speed { peak: self.config.peak, threads: self.config.threads }
    }

    pub(super) fn check_room_for_task(&self) -> Result<(), Problem> {
        self.check_ledger_room()?;
        if self.tasks.going >= TASKS_WAITING_MAX {
            let detail = "as many jobs wait as may wait";
            return Err(Problem::new(ProblemKind::Overloaded, detail)
                .limit(TASKS_WAITING_MAX as u64)
                .with_response_field("Retry-After", "30"));
        }
        Ok(())
    }

    /// That a job is taken, and what it comes to.
    pub(super) fn accepted(&self, job: JobId, is_replayed: bool) -> Response {
        let task = &self.tasks.by_id[&job];
        let (state, quote) = task.control.with(|record| {
            let Record { program, bytes_in, memory_bytes, .. } = record;
            let bytes = (*bytes_in, *memory_bytes);
            (record.state, TaskQuote::of(program, &task.tariff, bytes, self.speed()))
        });
        let status_url = format!("/v1/jobs/{job}");
        let body = Accepted { job, state: state.name(), status_url, quote };
        let response = Response::json(202, to_json(&body)).with_field("Location", &body.status_url);
        let response = match state.has_ended() {
            true => response,
            false => {
                response.with_number("Retry-After", (quote.compute_seconds as u64).clamp(1, 60))
            }
        };
        replies::replayed_if(is_replayed, response)
    }

    /// The ids of its steps are the same but for the last two bytes, which are all ones here.
    fn new_task_id(&mut self, now: Now) -> JobId {
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        JobId::new(now.unix_ns, random).of_step(None)
    }
}

/// Checks that a request whose key is a job's asks for what that was asked for.
pub(super) fn check_is_same(
    job: JobId,
    before: Option<Hash>,
    fingerprint: Hash,
) -> Result<(), Problem> {
    if before == Some(fingerprint) {
        return Ok(());
    }
    let detail = format!("the key belongs to the job {job}, which was asked for otherwise");
    Err(Problem::new(ProblemKind::IdempotencyKeyReused, detail).at("Idempotency-Key"))
}

impl Tasks {
    pub(super) fn insert(&mut self, mut task: Task) {
        let id = task.control.id();
        if let Some(found) = task.control.with(|record| record.idempotency) {
            self.keys.insert(found.key, id);
        }
        task.retry = None;
        self.going += usize::from(!task.control.with(|record| record.state.has_ended()));
        self.by_id.insert(id, task);
    }

    /// The job that a request with this key was taken as.
    pub(super) fn job_of_key(&self, key: &Hash) -> Option<JobId> {
        self.keys.get(key).copied()
    }

    /// What a job was asked for by, where its request had a key.
    pub(super) fn fingerprint_of(&self, job: JobId) -> Option<Hash> {
        let task = self.by_id.get(&job)?;
        task.control.with(|record| record.idempotency.map(|found| found.fingerprint))
    }
}
