//! `POST /v1/jobs`: from the text of a request to a job that waits for its turn.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rand_chacha::rand_core::RngCore;
use serde::Serialize;

use super::clerk::{Clerk, Speed, TaskQuote, Wishes};
use super::{Task, Tasks, Wants};
use crate::api::to_json;
use crate::base64;
use crate::billing::JobId;
use crate::expression::{self, JobRequest, OperandContent};
use crate::http::Response;
use crate::ledger::AccountId;
use crate::ledger::allowance::LimitReached;
use crate::ledger::entry::Idempotency;
use crate::ledger::hash::Hash;
use crate::limits::TASKS_WAITING_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::{Caller, Payer};
use crate::server::replies::draining;
use crate::server::{Server, SessionId};
use crate::store::{Layout, MatrixId, Store};
use crate::task::{InputRecord, Record};
use crate::time::Now;

/// What is said of a job that was taken.
#[derive(Debug, Serialize)]
struct Accepted {
    job: JobId,
    state: &'static str,
    status_url: String,
    quote: TaskQuote,
}

/// Operands of a request that were found.
#[derive(Debug)]
struct Found {
    layouts: Vec<Layout>,
    inputs: Vec<(InputRecord, Option<MatrixId>)>,
}

impl Server {
    /// Takes a job, or says which job this request was taken as before, and answers: at once, or when it
    /// has ended or the client has waited for as long as it would.
    ///
    /// # Errors
    ///
    /// A problem with what is asked, or the limit that it exceeds.
    pub(in crate::server) fn answer_submission(
        &mut self,
        session: SessionId,
        body: &[u8],
        caller: Caller,
        key: Option<Hash>,
        now: Now,
    ) -> Result<(), Problem> {
        let (job, is_replayed) = self.submit(body, caller, key, now)?;
        match self.session_mut(session).and_then(|session| session.wait_ns.take()) {
            Some(wait_ns) => self.wait_for_task(session, job, (wait_ns, Wants::Job), now),
            None => {
                let response = self.accepted(job, is_replayed);
                let until = self.book.sequence();
                self.answer_when_durable(session, response, None, until, now);
            }
        }
        self.start_tasks(now);
        self.set_task_timer(now);
        Ok(())
    }

    /// The job, and whether it was taken before.
    fn submit(
        &mut self,
        body: &[u8],
        caller: Caller,
        key: Option<Hash>,
        now: Now,
    ) -> Result<(JobId, bool), Problem> {
        if self.is_draining() {
            return Err(draining());
        }
        let fingerprint = Hash::of(body);
        if let Some(job) = key.and_then(|key| self.tasks.job_of_key(&key)) {
            check_is_same(job, self.tasks.fingerprint_of(job), fingerprint)?;
            return Ok((job, true));
        }
        self.check_room_for_task()?;
        let allowance = self.allow(caller.account, now).map_err(LimitReached::into_problem)?;
        let request = JobRequest::parse(body)?;
        let tariff = self.tariff_of(caller.account, now)?;
        let payer = Payer { account: caller.account, tariff, retry: None, allowance };
        let mut clerk = self.clerk(payer, body.len() as u64, now);
        let Found { layouts, inputs } = operands(&request, &clerk.desk.account, &self.store)?;
        let program = expression::plan(&request, &layouts)?;
        let quote = clerk.admit(&program, request.memory_bytes, 0)?;
        // Those that no result needs are not the program's.
        let inputs = program.inputs.iter().map(|input| {
            let at = request.operands.iter().position(|operand| operand.name == input.name);
            inputs[at.expect("an input is an operand")].clone()
        });
        let inputs = inputs.collect();
        let references = program.results.iter().map(|result| request.reference_of(&result.name));
        let wishes = Wishes {
            priority: request.priority,
            deadline_seconds: request.deadline_seconds,
            keep_seconds: request.keep_seconds,
            references: references.collect(),
        };
        let idempotency = key.map(|key| Idempotency { key, fingerprint });
        let taken = clerk.take(program, inputs, wishes, quote.memory_bytes, idempotency)?;
        let job = taken.control.id();
        self.tasks.insert(taken);
        Ok((job, false))
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
        if self.tasks.waiting() >= TASKS_WAITING_MAX {
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
        if is_replayed { response.with_field("Idempotency-Replayed", "true") } else { response }
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

    /// How many have not ended.
    fn waiting(&self) -> usize {
        let has_ended = |task: &&Task| task.control.with(|record| record.state.has_ended());
        self.by_id.values().filter(|task| !has_ended(task)).count()
    }
}

/// Finds the operands among what the account keeps.
fn operands(request: &JobRequest, account: &AccountId, store: &Store) -> Result<Found, Problem> {
    let mut found = Found { layouts: Vec::new(), inputs: Vec::new() };
    for operand in &request.operands {
        let place = || format!("/operands/{}", operand.name);
        let id = match &operand.content {
            OperandContent::Inline(inline) => {
                let mut text = String::new();
                base64::push(&mut text, inline.bytes());
                found.layouts.push(inline.layout());
                found.inputs.push((InputRecord::Inline(text), None));
                continue;
            }
            OperandContent::Matrix(id) => *id,
            OperandContent::Reference(name) => store.reference(account, name).ok_or_else(|| {
                let detail = format!("the account calls no matrix {name}");
                Problem::new(ProblemKind::UnknownReference, detail).at(place())
            })?,
        };
        let stored = store.find(account, id).ok_or_else(|| {
            let detail = format!("the account keeps no matrix {id}");
            Problem::new(ProblemKind::UnknownMatrix, detail).at(place())
        })?;
        found.layouts.push(stored.layout());
        found.inputs.push((InputRecord::Stored(stored.number()), Some(id)));
    }
    Ok(found)
}
