//! `POST /v1/jobs`: from the text of a request to a job that waits for its turn.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use rand_chacha::rand_core::RngCore;
use serde::Serialize;

use super::{Task, Tasks};
use crate::api::to_json;
use crate::base64;
use crate::billing::{Currency, JobId, Tariff, Usage};
use crate::expression::{self, JobRequest, OperandContent, Program};
use crate::gemm::Dtype;
use crate::http::Response;
use crate::large::Work;
use crate::ledger::AccountId;
use crate::ledger::allowance::LimitReached;
use crate::ledger::entry::Idempotency;
use crate::ledger::hash::Hash;
use crate::limits::{JOB_KEEP_SECONDS_DEFAULT, TASKS_WAITING_MAX};
use crate::memory::Shortage;
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::Caller;
use crate::server::replies::draining;
use crate::server::{Server, SessionId};
use crate::store::{Layout, MatrixId};
use crate::task::{Control, InputRecord, Record, State};
use crate::time::{Now, SECOND_NS};

/// What is said of a job that was taken.
#[derive(Debug, Serialize)]
struct Accepted {
    job: JobId,
    state: &'static str,
    status_url: String,
    quote: TaskQuote,
}

/// What a job comes to, before it is done.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TaskQuote {
    pub flops: u64,
    /// Operations that the order chosen for chains of products saves.
    pub saved_flops: u64,
    /// The most that it costs.
    pub amount_micros_max: u64,
    pub currency: Currency,
    pub memory_bytes: usize,
    /// Bytes of the disk that it takes at once for intermediate results, and for results.
    pub storage_bytes: u64,
    /// At the speed that this machine was measured to have, with nothing else to do.
    pub compute_seconds: f64,
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
        let (job, response) = self.submit(body, caller, key, now)?;
        match self.session_mut(session).and_then(|session| session.wait_ns.take()) {
            Some(wait_ns) => self.wait_for_task(session, job, (wait_ns, true), now),
            None => {
                let until = self.book.sequence();
                self.answer_when_durable(session, response, None, until, now);
            }
        }
        Ok(())
    }

    fn submit(
        &mut self,
        body: &[u8],
        caller: Caller,
        key: Option<Hash>,
        now: Now,
    ) -> Result<(JobId, Response), Problem> {
        if self.is_draining() {
            return Err(draining());
        }
        let fingerprint = Hash::of(body);
        if let Some(job) = key.and_then(|key| self.tasks.keys.get(&key).copied()) {
            return Ok((job, self.submitted_before(job, fingerprint)?));
        }
        self.check_room_for_task()?;
        let mut allowance = self.allow(caller.account, now).map_err(LimitReached::into_problem)?;
        let request = JobRequest::parse(body)?;
        let account = self.book.account(caller.account).account.id.clone();
        let Found { layouts, inputs } = self.operands(&request, &account)?;
        let program = expression::plan(&request, &layouts)?;
        let memory_bytes = self.memory_for(&program, request.memory_bytes)?;
        let storage_bytes = storage_bytes(&program);
        if storage_bytes > self.store.free_bytes() {
            let detail = format!("its results take {storage_bytes} bytes at once");
            return Err(
                Problem::new(ProblemKind::StorageFull, detail).limit(self.store.free_bytes())
            );
        }
        self.check_quota(caller.account, program.result_bytes(), now)?;
        let tariff = self.tariff_of(caller.account, now)?;
        let bytes_in = body.len() as u64;
        let quote = self.quote_task(&program, &tariff, bytes_in, memory_bytes);
        if let Some(allowance) = &mut allowance {
            allowance.hold(quote.amount_micros_max, quote.flops)?;
        }
        let id = self.new_task_id(now);
        let after = |seconds: u64| now.unix_ns.saturating_add(seconds.saturating_mul(SECOND_NS));
        // Those that no result needs are not the program's.
        let inputs = program.inputs.iter().map(|input| {
            let at = request.operands.iter().position(|operand| operand.name == input.name);
            inputs[at.expect("an input is an operand")].clone()
        });
        let (inputs, input_ids) = inputs.unzip();
        let references = program.results.iter().map(|result| request.reference_of(&result.name));
        let record = Record {
            account,
            state: State::Waiting,
            inputs,
            input_ids,
            references: references.collect(),
            steps: Vec::new(),
            results: Vec::new(),
            memory_bytes,
            priority: request.priority,
            keep_seconds: request.keep_seconds.unwrap_or(JOB_KEEP_SECONDS_DEFAULT),
            tariff: String::from(&*tariff.name).into(),
            tariff_version: tariff.version,
            bytes_in,
            submitted_unix_ns: now.unix_ns,
            started_unix_ns: None,
            ended_unix_ns: None,
            deadline_unix_ns: request.deadline_seconds.map(after),
            idempotency: key.map(|key| Idempotency { key, fingerprint }),
            failure: None,
            program,
        };
        let control = Control::new(id, record);
        self.store.commit(&control.row())?;
        let account = caller.account;
        self.tasks.insert(Task::new(control, account, tariff, allowance));
        self.start_tasks(now);
        self.set_task_timer(now);
        Ok((id, accepted(id, quote)))
    }

    /// A request with this key was taken before.
    fn submitted_before(&mut self, job: JobId, fingerprint: Hash) -> Result<Response, Problem> {
        let task = &self.tasks.by_id[&job];
        let is_same = task.control.with(|record| {
            record.idempotency.is_some_and(|found| found.fingerprint == fingerprint)
        });
        if !is_same {
            let detail = format!("the key belongs to the job {job}, which was asked for otherwise");
            return Err(
                Problem::new(ProblemKind::IdempotencyKeyReused, detail).at("Idempotency-Key")
            );
        }
        let quote = task.control.with(|record| {
            let Record { program, bytes_in, memory_bytes, .. } = record;
            self.quote_task(program, &task.tariff, *bytes_in, *memory_bytes)
        });
        Ok(accepted(job, quote).with_field("Idempotency-Replayed", "true"))
    }

    fn quote_task(
        &self,
        program: &Program,
        tariff: &Tariff,
        bytes_in: u64,
        memory_bytes: usize,
    ) -> TaskQuote {
        TaskQuote {
            flops: program.flops(),
            saved_flops: program.saved_flops,
            amount_micros_max: tariff.task_amount_micros_max(&usages(program, bytes_in)),
            currency: tariff.currency,
            memory_bytes,
            storage_bytes: storage_bytes(program),
            compute_seconds: self.compute_seconds(program),
        }
    }

    fn check_room_for_task(&self) -> Result<(), Problem> {
        self.check_ledger_room()?;
        if self.tasks.waiting() >= TASKS_WAITING_MAX {
            let detail = "as many jobs wait as may wait";
            return Err(Problem::new(ProblemKind::Overloaded, detail)
                .limit(TASKS_WAITING_MAX as u64)
                .with_response_field("Retry-After", "30"));
        }
        Ok(())
    }

    /// Finds the operands among what the account keeps.
    fn operands(&self, request: &JobRequest, account: &AccountId) -> Result<Found, Problem> {
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
                OperandContent::Reference(name) => {
                    self.store.reference(account, name).ok_or_else(|| {
                        let detail = format!("the account calls no matrix {name}");
                        Problem::new(ProblemKind::UnknownReference, detail).at(place())
                    })?
                }
            };
            let stored = self.store.find(account, id).ok_or_else(|| {
                let detail = format!("the account keeps no matrix {id}");
                Problem::new(ProblemKind::UnknownMatrix, detail).at(place())
            })?;
            found.layouts.push(stored.layout());
            found.inputs.push((InputRecord::Stored(stored.number()), Some(id)));
        }
        Ok(found)
    }

    /// The memory that a job is to hold while it runs: as much as is of use, but no more than half of
    /// what there is, or than was asked for.
    fn memory_for(&self, program: &Program, asked: Option<u64>) -> Result<usize, Problem> {
        let total_bytes = self.config.memory_bytes;
        let bounds = program.steps.iter().map(|step| {
            let layouts: Vec<_> =
                step.operands.iter().map(|source| program.layout_of(*source)).collect();
            Work::from(&step.work).memory_bytes(&layouts, step.layout)
        });
        let (least, most) = bounds.fold((0, 0), |(least, most), (step_least, step_most)| {
            (step_least.max(least), step_most.max(most))
        });
        let wanted = match asked {
            Some(asked) => usize::try_from(asked).unwrap_or(usize::MAX).min(total_bytes),
            None => (total_bytes / 2).max(least),
        };
        if least > wanted {
            let detail = format!("a step of the job needs at least {least} bytes of memory");
            return Err(Problem::new(ProblemKind::MemoryExceeded, detail)
                .at("/memory_bytes")
                .limit(wanted as u64));
        }
        let memory_bytes = most.clamp(least, wanted);
        match self.memory.promise(memory_bytes) {
            Err(Shortage::Never { total_bytes }) => {
                let detail = format!("the job needs {memory_bytes} bytes of memory");
                Err(Problem::new(ProblemKind::MemoryExceeded, detail).limit(total_bytes as u64))
            }
            // It may have to wait for what is held now.
            _ => Ok(memory_bytes),
        }
    }

    fn compute_seconds(&self, program: &Program) -> f64 {
        let peak = self.config.peak;
        let seconds = program.steps.iter().map(|step| {
            let core = match step.layout.dtype {
                Dtype::F64 => peak.f64,
                Dtype::F32 => peak.f32,
            };
            let rate = core as f64 * self.config.threads as f64;
            if rate > 0.0 { step.flops as f64 / rate } else { 0.0 }
        });
        seconds.sum()
    }

    /// The ids of its steps are the same but for the last two bytes, which are all ones here.
    fn new_task_id(&mut self, now: Now) -> JobId {
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        JobId::new(now.unix_ns, random).of_step(None)
    }
}

impl Tasks {
    pub(super) fn insert(&mut self, task: Task) {
        let id = task.control.id();
        if let Some(found) = task.control.with(|record| record.idempotency) {
            self.keys.insert(found.key, id);
        }
        self.by_id.insert(id, task);
    }

    /// How many have not ended.
    fn waiting(&self) -> usize {
        let has_ended = |task: &&Task| task.control.with(|record| record.state.has_ended());
        self.by_id.values().filter(|task| !has_ended(task)).count()
    }
}

/// Bytes of the disk that a job takes at once for intermediate results, and for results.
fn storage_bytes(program: &Program) -> u64 {
    program.peak_intermediate_bytes().saturating_add(program.result_bytes())
}

/// What the steps are billed for; the request's bytes are the first one's.
pub(super) fn usages(program: &Program, bytes_in: u64) -> Vec<Usage> {
    let steps = program.steps.iter().enumerate();
    let usages = steps.map(|(index, step)| Usage {
        dtype: step.layout.dtype,
        shape: program.shape_of(index),
        flops: step.flops,
        bytes_in: if index == 0 { bytes_in } else { 0 },
        bytes_out: 0,
        cached: false,
    });
    usages.collect()
}

fn accepted(job: JobId, quote: TaskQuote) -> Response {
    let status_url = format!("/v1/jobs/{job}");
    let seconds = (quote.compute_seconds as u64).clamp(1, 60);
    let body = Accepted { job, state: State::Waiting.name(), status_url, quote };
    Response::json(202, to_json(&body))
        .with_field("Location", &body.status_url)
        .with_number("Retry-After", seconds)
}
