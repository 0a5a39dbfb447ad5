//! The reply to a request for a product that became a job and was waited for: the one that it would
//! have got at once.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use crate::billing::{Bill, JobId};
use crate::gemm::{Dtype, Element, Shape};
use crate::http::{Piece, Response};
use crate::job::errand::{self, Errand};
use crate::job::reply::{Progress, ReplyForm, Writer, Written};
use crate::job::zeros;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::{Server, SessionId, replies};
use crate::store::Stored;
use crate::task::{Failure, State};
use crate::time::{Now, SECOND_NS};

/// Bytes read between two chances to pause.
const SLICE_BYTES: usize = 256 * 1024;

/// How somebody who has asked for a product is to be answered.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub form: ReplyForm,
    /// How long its client would wait, where it says so.
    pub wait_ns: Option<u64>,
    /// The job was taken before.
    pub is_replayed: bool,
}

impl Wish {
    /// What of its preferences was done (RFC 7240, section 3).
    fn applied(&self) -> String {
        match self.wait_ns {
            Some(wait_ns) => format!("respond-async, wait={}", wait_ns / SECOND_NS),
            None => "respond-async".into(),
        }
    }
}

impl Server {
    /// That a product has become a job, and what it comes to.
    pub(super) fn accepted_product(&self, job: JobId, wish: &Wish) -> Response {
        let response = self.accepted(job, wish.is_replayed);
        response.with_field("Preference-Applied", &wish.applied())
    }

    /// Answers a request for a product whose job has ended, or that has waited for long enough:
    /// with the product, with why there is none, or, where it can't be sent now, with where it is.
    pub(super) fn answer_wish(&mut self, session: SessionId, job: JobId, wish: Wish, now: Now) {
        let task = &self.tasks.by_id[&job];
        let (state, failure) = task.control.with(|record| (record.state, record.failure.clone()));
        let later = self.accepted_product(job, &wish);
        let response = match state {
            State::Finished => match self.delivery(job, wish, later) {
                Ok((delivery, promise)) => {
                    return self.send_delivery(session, job, delivery, promise, now);
                }
                Err(later) => *later,
            },
            State::Failed | State::Cancelled => {
                let problem = why_not(job, failure);
                self.counters.refused(problem.kind);
                problem.into_response()
            }
            State::Waiting | State::Running => later,
        };
        let until = self.book.sequence();
        self.answer_when_durable(session, response, None, until, now);
        self.tell_host(session);
    }

    /// What sends the result of a job, and its memory; else what is said instead.
    fn delivery(
        &mut self,
        job: JobId,
        wish: Wish,
        later: Response,
    ) -> Result<(Box<Delivery>, Promise), Box<Response>> {
        let task = &self.tasks.by_id[&job];
        let result = task.control.with(|record| {
            let result = record.results.first().map(|result| result.matrix);
            result.and_then(|id| self.store.find(&record.account, id))
        });
        let Some(stored) = result else { return Err(Box::new(later)) };
        let layout = stored.layout();
        let shape = Shape { m: layout.rows, n: layout.columns, k: 0 };
        let bytes = wish.form.bytes_max(shape).map(|bytes| layout.bytes() as usize + bytes);
        let promise = bytes.and_then(|bytes| self.memory.promise(bytes).ok());
        let line = job.of_step(Some(0));
        let bill = self.waiting.bills.iter().find(|bill| bill.charge.job == line).cloned();
        let bill = bill.map_or_else(|| self.bill_of(line).ok().flatten(), Some);
        let (Some(promise), Some(bill)) = (promise, bill) else { return Err(Box::new(later)) };
        let elements = layout.rows * layout.columns;
        let stage = match layout.dtype {
            Dtype::F64 => zeros(elements).map(|zeros| Stage::F64(Part::Read(zeros, 0))),
            Dtype::F32 => zeros(elements).map(|zeros| Stage::F32(Part::Read(zeros, 0))),
        };
        let Ok(stage) = stage else { return Err(Box::new(later)) };
        let delivery = Delivery { stored, shape, job, bill, wish, later, stage };
        Ok((Box::new(delivery), promise))
    }

    fn send_delivery(
        &mut self,
        session: SessionId,
        job: JobId,
        delivery: Box<Delivery>,
        promise: Promise,
        now: Now,
    ) {
        let task = &self.tasks.by_id[&job];
        let (account, until) = (task.account, task.told_from);
        self.send_errand_after(session, account, delivery, (promise, until), now);
    }
}

/// Why a job has no result, to whoever waited for one.
fn why_not(job: JobId, failure: Option<Failure>) -> Problem {
    let problem = match failure {
        Some(Failure { kind, detail }) => {
            let known = ProblemKind::ALL.iter().find(|known| known.name() == kind);
            Problem::new(known.copied().unwrap_or(ProblemKind::JobEnded), detail)
        }
        None => Problem::new(ProblemKind::JobEnded, "the job was cancelled"),
    };
    problem.with_response_field("Location", format!("/v1/jobs/{job}"))
}

/// A result on its way into a reply.
#[derive(Debug)]
struct Delivery {
    stored: Arc<Stored>,
    shape: Shape,
    job: JobId,
    bill: Bill,
    wish: Wish,
    /// What is said where the format has no word for an element, or the disk fails: the job is done
    /// nevertheless.
    later: Response,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    F64(Part<f64>),
    F32(Part<f32>),
    Done(Written),
}

#[derive(Debug)]
enum Part<T> {
    /// Up to this byte.
    Read(Vec<T>, usize),
    Write(Writer<T>),
}

impl Errand for Delivery {
    fn advance(
        mut self: Box<Self>,
        promise: &mut Promise,
        pause: &dyn Fn() -> bool,
    ) -> errand::Progress {
        loop {
            let stage = mem::replace(&mut self.stage, Stage::F64(Part::Read(Vec::new(), 0)));
            let (stored, shape, form) = (&self.stored, self.shape, &self.wish.form);
            let next = match stage {
                Stage::F64(part) => part.step(stored, shape, form, pause, Stage::F64),
                Stage::F32(part) => part.step(stored, shape, form, pause, Stage::F32),
                done => Ok(done),
            };
            match next {
                Ok(Stage::Done(written)) => {
                    // What was written is part of what was promised.
                    let _ = promise.resize(written.held_bytes());
                    return errand::Progress::Done(Ok(self.response(written)));
                }
                Ok(stage) => self.stage = stage,
                Err(_) => return errand::Progress::Done(Ok(self.later)),
            }
            if pause() {
                return errand::Progress::Paused(self);
            }
        }
    }
}

impl Delivery {
    fn response(self, written: Written) -> Response {
        let Self { job, bill, wish, .. } = self;
        let response = replies::product(written, &wish.form, &bill)
            .with_field("Location", &format!("/v1/jobs/{job}"))
            .with_field("Preference-Applied", &wish.applied());
        replies::replayed_if(wish.is_replayed, response)
    }
}

impl<T: Element> Part<T>
where
    Piece: From<Vec<T>>,
{
    fn step(
        self,
        stored: &Stored,
        shape: Shape,
        form: &ReplyForm,
        pause: &dyn Fn() -> bool,
        wrap: fn(Self) -> Stage,
    ) -> Result<Stage, Problem> {
        let part = match self {
            Self::Read(mut elements, at) => {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut elements);
                let end = bytes.len().min(at + SLICE_BYTES);
                let is_whole = end == bytes.len();
                stored.read_bytes(at as u64, &mut bytes[at..end])?;
                match is_whole {
                    false => Self::Read(elements, end),
                    true => Self::Write(Writer::new(elements, shape, form)?),
                }
            }
            Self::Write(writer) => match writer.advance(&mut || pause())? {
                Progress::Paused(writer) => Self::Write(writer),
                Progress::Whole(written) => return Ok(Stage::Done(written)),
            },
        };
        Ok(wrap(part))
    }
}
