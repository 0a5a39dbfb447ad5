//! What is told of a job that goes on by itself.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use super::{Known, Task, Wants, unknown};
use crate::api::routes::JobCall;
use crate::api::to_json;
use crate::billing::{JobId, TaskBill};
use crate::gemm::Dtype;
use crate::http::{RequestHead, Response, prefer};
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::Caller;
use crate::server::{Server, SessionId};
use crate::store::MatrixId;
use crate::task::{Record, State};
use crate::time::{Civil, Now};

/// How far a job has come.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    job: JobId,
    state: &'static str,
    submitted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<String>,
    priority: u8,
    memory_bytes: usize,
    /// Of all steps, as they are billed.
    flops: u64,
    flops_done: u64,
    saved_flops: u64,
    /// From the speed since the job began to run; absent until something can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    steps: Vec<StepStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<ResultStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemStatus>,
}

#[derive(Debug, Serialize)]
struct StepStatus {
    id: String,
    state: &'static str,
    dtype: Dtype,
    shape: [usize; 2],
    flops: u64,
    executed_flops: u64,
    is_cached: bool,
    bytes_read: u64,
    bytes_written: u64,
}

#[derive(Debug, Serialize)]
struct ResultStatus {
    name: String,
    matrix: MatrixId,
    dtype: Dtype,
    shape: [usize; 2],
}

#[derive(Debug, Serialize)]
struct ProblemStatus {
    r#type: String,
    detail: String,
}

impl Status {
    pub fn new(job: JobId, record: &Record, flops_done: u64, seconds_left: Option<f64>) -> Self {
        let time = |unix_ns: u64| {
            let mut text = String::new();
            Civil::from_unix_ns(unix_ns).push_rfc3339(&mut text);
            text
        };
        let program = &record.program;
        let steps = program.steps.iter().enumerate().map(|(index, step)| {
            let done = record.steps.get(index);
            StepStatus {
                id: step.id.clone(),
                state: match done {
                    Some(done) if done.id.is_some() => "done",
                    Some(_) => "begun",
                    None => "waiting",
                },
                dtype: step.layout.dtype,
                shape: [step.layout.rows, step.layout.columns],
                flops: step.flops,
                executed_flops: done.map_or(0, |done| done.executed_flops),
                is_cached: done.is_some_and(|done| done.is_cached),
                bytes_read: done.map_or(0, |done| done.bytes_read),
                bytes_written: done.map_or(0, |done| done.bytes_written),
            }
        });
        let results = record.results.iter().zip(&program.results).map(|(result, named)| {
            let layout = program.layout_of(named.source);
            ResultStatus {
                name: result.name.clone(),
                matrix: result.matrix,
                dtype: layout.dtype,
                shape: [layout.rows, layout.columns],
            }
        });
        let problem = record.failure.as_ref().map(|failure| ProblemStatus {
            r#type: alloc::format!("/problems/{}", failure.kind),
            detail: failure.detail.clone(),
        });
        Self {
            job,
            state: record.state.name(),
            submitted_at: time(record.submitted_unix_ns),
            started_at: record.started_unix_ns.map(time),
            ended_at: record.ended_unix_ns.map(time),
            deadline_at: record.deadline_unix_ns.map(time),
            priority: record.priority,
            memory_bytes: record.memory_bytes,
            flops: program.flops(),
            flops_done: flops_done.min(program.flops()),
            saved_flops: program.saved_flops,
            seconds_left,
            steps: steps.collect(),
            results: results.collect(),
            problem,
        }
    }
}

impl Task {
    /// How long it will go on at the speed that it has had since it began to run.
    pub fn seconds_left(&self, now: Now) -> Option<f64> {
        let (began_ns, before) = self.began.filter(|_| self.is_running)?;
        let done = self.control.flops_done().checked_sub(before).filter(|done| *done > 0)?;
        let total = self.control.with(|record| record.program.flops());
        let left = total.saturating_sub(before + done);
        let elapsed = now.monotonic_ns.saturating_sub(began_ns) as f64 / 1e9;
        Some(elapsed * left as f64 / done as f64)
    }

    pub fn status(&self, now: Now) -> Status {
        let (flops_done, seconds_left) = (self.control.flops_done(), self.seconds_left(now));
        self.control.with(|record| {
            let is_whole = record.state == State::Finished;
            let flops_done = if is_whole { record.program.flops() } else { flops_done };
            Status::new(self.control.id(), record, flops_done, seconds_left)
        })
    }
}

impl Server {
    /// `GET /v1/jobs/{id}`. What it says of an end rests on the ledger's entries so far.
    pub(super) fn reply_status(&self, id: JobId, known: &Known, now: Now) -> Response {
        let status = match self.tasks.by_id.get(&id) {
            Some(task) => task.status(now),
            None => {
                known.with(|record| Status::new(id, record, record.flops_of_done_steps(), None))
            }
        };
        let response = Response::json(200, to_json(&status));
        match known.with(|record| record.state.has_ended()) {
            true => response,
            false => response.with_number("Retry-After", 1),
        }
    }

    /// Answers what is asked of a job.
    ///
    /// # Errors
    ///
    /// That there is no such job, or that what is asked for is not there.
    pub(in crate::server) fn reply_job(
        &mut self,
        session: SessionId,
        call: JobCall,
        id: JobId,
        head: &RequestHead,
        caller: Caller,
        now: Now,
    ) -> Result<(), Problem> {
        let response = match call {
            JobCall::Events => return self.follow_task(session, id, caller, head, now),
            JobCall::Status => {
                let known = self.find_task(id, caller)?.ok_or_else(|| unknown(id))?;
                let has_ended = known.with(|record| record.state.has_ended());
                if let Some(wait_ns) = prefer::wait_ns(head).filter(|_| !has_ended) {
                    self.wait_for_task(session, id, (wait_ns, Wants::Status), now);
                    return Ok(());
                }
                self.reply_status(id, &known, now)
            }
            JobCall::Cancel => match self.cancel_task(session, id, caller, now)? {
                Some(response) => response,
                None => return Ok(()),
            },
            JobCall::Result => self.reply_result(id, caller, &head.query)?,
        };
        let until = self.book.sequence();
        self.answer_when_durable(session, response, None, until, now);
        Ok(())
    }

    /// `GET /v1/jobs/{id}/result`, with `name=` where there are several: where it is found.
    fn reply_result(
        &mut self,
        id: JobId,
        caller: Caller,
        query: &str,
    ) -> Result<Response, Problem> {
        let known = self.find_task(id, caller)?.ok_or_else(|| unknown(id))?;
        let (state, results) = known.with(|record| (record.state, record.results.clone()));
        if state != State::Finished {
            let detail = alloc::format!("the job is {}", state.name());
            let problem = Problem::new(ProblemKind::JobNotDone, detail);
            return Err(match state.has_ended() {
                true => problem,
                false => problem.with_response_field("Retry-After", "1"),
            });
        }
        let name = query.strip_prefix("name=");
        let mut results = results.iter();
        let result = results.find(|result| name.is_none_or(|name| result.name == name));
        let result = result.filter(|_| query.is_empty() || name.is_some()).ok_or_else(|| {
            let detail = "the job has no result of this name";
            Problem::new(ProblemKind::InvalidValue, detail).at("name")
        })?;
        let place = alloc::format!("/v1/matrices/{}", result.matrix);
        Ok(Response::empty(303).with_field("Location", &place))
    }

    /// The bill of a job, of a line for each step; `None` where it is none that goes on by itself.
    ///
    /// # Errors
    ///
    /// That the job is not done, or that the volume can't be read.
    pub(in crate::server) fn task_bill(
        &mut self,
        id: JobId,
        caller: Option<Caller>,
    ) -> Result<Option<TaskBill>, Problem> {
        let Some(caller) = caller else { return Ok(None) };
        let Some(known) = self.find_task(id, caller)? else { return Ok(None) };
        let (state, steps) = known.with(|record| (record.state, record.steps.len()));
        if state != State::Finished {
            let detail = alloc::format!("the job is {}, and is not billed", state.name());
            return Err(Problem::new(ProblemKind::JobNotDone, detail));
        }
        let mut lines = Vec::new();
        for step in 0..steps {
            lines.extend(self.bill_of(id.of_step(Some(step)))?);
        }
        Ok(Some(TaskBill::of(id, lines)))
    }

    /// `GET /v1/jobs`: those of the caller's account that have not ended, and the last that have;
    /// the newest first.
    pub(in crate::server) fn reply_tasks(&mut self, caller: Caller, now: Now) -> Response {
        #[derive(Serialize)]
        struct All {
            jobs: Vec<Status>,
        }
        let theirs = self.tasks.by_id.values().rev().filter(|task| task.account == caller.account);
        let jobs = theirs.take(crate::limits::TASKS_PER_REPLY).map(|task| task.status(now));
        Response::json(200, to_json(&All { jobs: jobs.collect() }))
    }
}
