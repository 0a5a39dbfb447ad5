//! A job: from a whole request to the content of its reply, in steps that can be paused.
//!
//! A job owns all it needs, so that it can move to another thread; its memory was promised before
//! it came into being, and is given back when it is dropped.

pub mod queue;

mod work;

mod findings;

mod digest;

pub mod check;

pub mod fingerprint;

pub mod reply;

mod seal;

pub mod reading;

pub(crate) mod errand;

pub(crate) mod timing;

pub(crate) mod waiting;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::api::{MultiplyReader, MultiplyRequest};
use crate::billing::{JobId, Usage};
use crate::formats::{Demand, Format};
use crate::gemm::{Crew, Kernel, Shape};
use crate::http::Response;
use crate::inference::Model;
use crate::inference::load::{Loader, Need};
use crate::ledger::Digests;
use crate::ledger::hash::Hash;
use crate::limits::{SMALL_JOB_BYTES, SMALL_JOB_FLOPS};
use crate::memory::{Promise, Shortage};
use crate::problem::{Problem, ProblemKind};
use crate::server::SessionId;
use crate::server::payer::Payer;
use crate::server::tasks::{GivenUp, Taken};
use crate::task::{Ended, TaskRun};

use check::{Checked, Checking};
use errand::{Errand, Progress};
use fingerprint::Fingerprinting;
use queue::AccountIndex;
use reading::{ReadPiece, Reading};
use reply::{ReplyForm, Written};
use seal::Sealing;
use timing::{Activity, Timing};
use waiting::Ticket;
use work::{Terms, Work};

pub(crate) use work::{besides_bytes, memory_bytes, threads_of};

/// Writing one element costs about as much as this many operations of the kernel.
const FLOPS_PER_ENCODED_ELEMENT: u64 = 100;

/// One job on its way. It is large, and boxed from the first: it passes through queues.
#[derive(Debug)]
pub struct Job {
    pub(crate) id: JobId,
    pub(crate) session: SessionId,
    account: AccountIndex,
    /// Until the job is charged.
    payer: Option<Payer>,
    /// When the request was whole, on the monotonic clock.
    pub(crate) received_ns: u64,
    /// Until somebody begins to work on it.
    waits: Option<Ticket>,
    timing: Timing,
    terms: Terms,
    reply: ReplyForm,
    promise: Promise,
    cancelled: CancelFlag,
    pub(crate) fingerprinting: Fingerprinting,
    /// It is done and billed, and only its reply is not ready.
    pub(crate) is_done: bool,
    /// The entry of the ledger after the one that its reply rests on.
    pub(crate) charged_until: u64,
    stage: Stage,
}

/// Where a job comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub id: JobId,
    pub session: SessionId,
    pub payer: Payer,
    /// When the request was whole, on the monotonic clock.
    pub received_ns: u64,
}

/// A whole request.
#[derive(Debug)]
pub(crate) struct Request {
    pub input: Input,
    pub reply: ReplyForm,
    /// Covers the input, and as much of the work as its shapes have told.
    pub promise: Promise,
    /// Bytes of its body, as they were sent.
    pub bytes_in: u64,
    /// A check of the product is wanted, whatever it costs.
    pub is_check_asked: bool,
}

/// What a request's body has become.
#[derive(Debug)]
pub(crate) enum Input {
    /// The text of a JSON body, as far as it has been read.
    Text(MultiplyReader),
    /// The JSON of a request to a model, unread.
    Inference(Model, Vec<u8>),
    /// Tensors of which the numbers in the JSON are still to be read, if there are some.
    Tensors(Box<Loader>),
    Operation(MultiplyRequest),
}

/// Set when nobody waits for the reply any more.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

#[derive(Debug)]
enum Stage {
    Input(Input),
    F64(Box<Work<f64>>),
    F32(Box<Work<f32>>),
    Seal(Box<Sealing>),
    Read(Box<Reading>),
    Task(Box<TaskRun>),
    Errand(Box<dyn Errand>),
    Finished(Outcome),
}

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Box<Done>),
    Failed(Problem),
    /// The reply to what was done has its digest.
    Sealed(Response),
    /// A piece of a reply is there.
    Read(ReadPiece),
    /// A job that goes on by itself came back.
    Task(Ended),
    /// An errand is done, and this is the reply.
    Errand(Box<Result<Response, Problem>>),
    /// An errand has made a job that goes on by itself.
    Taken(Box<Taken>),
    /// An errand has written down the end of one that has no result, or could not.
    GivenUp(Box<GivenUp>),
    /// The client is gone: there is nothing to send and nothing to bill.
    Cancelled,
}

/// What has come of a job that was done.
#[derive(Debug)]
pub struct Done {
    pub usage: Usage,
    pub digests: Digests,
    /// Of the request, where it was to be found.
    pub fingerprint: Option<Hash>,
    /// What has multiplied.
    pub kernel: Kernel,
    pub checked: Checked,
    pub(crate) written: Written,
    pub(crate) reply: ReplyForm,
}

impl CancelFlag {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Job {
    pub(crate) fn new(
        origin: Origin,
        request: Request,
        cancelled: CancelFlag,
        waits: Ticket,
        threads: usize,
    ) -> Box<Self> {
        let Origin { id, session, payer, received_ns } = origin;
        let Request { input, reply, promise, bytes_in, is_check_asked } = request;
        let checking = Checking {
            is_asked: is_check_asked,
            seed: id.as_seed(),
            #[cfg(test)]
            faults: 0,
        };
        let (timing, stage) = (Timing::new(received_ns), Stage::Input(input));
        Box::new(Self {
            id,
            session,
            account: payer.account,
            fingerprinting: payer.fingerprinting(),
            payer: Some(payer),
            received_ns,
            waits: Some(waits),
            timing,
            terms: Terms { threads, bytes_in, checking },
            reply,
            promise,
            cancelled,
            is_done: false,
            charged_until: 0,
            stage,
        })
    }

    /// Whose it is.
    pub fn account(&self) -> AccountIndex {
        self.account
    }

    /// Who pays for it, once.
    pub(crate) fn take_payer(&mut self) -> Option<Payer> {
        self.payer.take()
    }

    /// Tells the job the time, on the monotonic clock: before each [`Job::advance`], for the times
    /// that its reply states.
    pub fn note_time(&mut self, now_ns: u64) {
        let activity = match &self.stage {
            Stage::Input(Input::Text(_) | Input::Inference(..)) => Activity::Parse,
            Stage::Input(Input::Tensors(loader)) if loader.need() == Need::Time => Activity::Parse,
            Stage::Input(Input::Tensors(_) | Input::Operation(_)) => Activity::Gemm,
            Stage::F64(work) => work.activity(),
            Stage::F32(work) => work.activity(),
            Stage::Task(_) => Activity::Gemm,
            Stage::Seal(_) | Stage::Read(_) | Stage::Errand(_) | Stage::Finished(_) => {
                Activity::Encode
            }
        };
        if let Stage::Task(run) = &mut self.stage {
            run.note_time(now_ns);
        }
        self.timing.turn_to(activity, now_ns);
    }

    /// Whether what is left to do is so little that moving the job elsewhere would cost more.
    pub fn is_small(&self) -> bool {
        match &self.stage {
            Stage::Input(Input::Text(reader)) => reader.text_bytes() <= SMALL_JOB_BYTES,
            Stage::Input(Input::Inference(_, text)) => text.len() <= SMALL_JOB_BYTES,
            Stage::Input(Input::Tensors(loader)) => loader.text_bytes() <= SMALL_JOB_BYTES,
            Stage::Input(Input::Operation(MultiplyRequest::F64(it))) => is_small(it.shape),
            Stage::Input(Input::Operation(MultiplyRequest::F32(it))) => is_small(it.shape),
            Stage::F64(work) => is_small(work.shape()),
            Stage::F32(work) => is_small(work.shape()),
            Stage::Seal(_) | Stage::Read(_) | Stage::Errand(_) | Stage::Task(_) => false,
            Stage::Finished(_) => true,
        }
    }

    /// Spoils the result so many times.
    #[cfg(test)]
    pub(crate) fn plant_faults(&mut self, faults: usize) {
        self.terms.checking.faults = faults;
    }

    /// The job is done, and its reply is to have a digest before it is sent.
    pub(crate) fn seal(&mut self, response: Response) {
        self.is_done = true;
        self.stage = Stage::Seal(Box::new(Sealing::new(response)));
    }

    /// An errand as a job: it has no id, and nothing is charged for it.
    pub(crate) fn errand(
        session: SessionId,
        account: AccountIndex,
        errand: Box<dyn Errand>,
        promise: Promise,
        now_ns: u64,
    ) -> Box<Self> {
        let job = Self::of_nobody(session, account, promise, CancelFlag::default(), now_ns);
        Box::new(Self { stage: Stage::Errand(errand), ..job })
    }

    /// Whether it is an errand, which is done even where its client is gone.
    pub(crate) fn is_errand(&self) -> bool {
        matches!(
            self.stage,
            Stage::Errand(_)
                | Stage::Finished(Outcome::Errand(_) | Outcome::Taken(_) | Outcome::GivenUp(_))
        )
    }

    /// A job that reads the body of a reply, a piece each time. It is nobody's product: it has no
    /// id, and nothing is charged for it.
    pub(crate) fn reading(
        session: SessionId,
        account: AccountIndex,
        reading: Box<Reading>,
        promise: Promise,
        cancelled: CancelFlag,
        now_ns: u64,
    ) -> Box<Self> {
        let job = Self::of_nobody(session, account, promise, cancelled, now_ns);
        Box::new(Self { stage: Stage::Read(reading), ..job })
    }

    /// One that multiplies for no request: there is nothing to do, and nobody to charge for it.
    fn of_nobody(
        session: SessionId,
        account: AccountIndex,
        promise: Promise,
        cancelled: CancelFlag,
        now_ns: u64,
    ) -> Self {
        let checking = Checking {
            is_asked: false,
            seed: [0; 32],
            #[cfg(test)]
            faults: 0,
        };
        Self {
            id: JobId::new(0, [0; 10]),
            session,
            account,
            payer: None,
            received_ns: now_ns,
            waits: None,
            timing: Timing::new(now_ns),
            terms: Terms { threads: 1, bytes_in: 0, checking },
            reply: ReplyForm { format: Format::Raw, coding: None, inference: None },
            promise,
            cancelled,
            fingerprinting: Fingerprinting::Off,
            // Its end is none that is counted.
            is_done: true,
            charged_until: 0,
            stage: Stage::Finished(Outcome::Cancelled),
        }
    }

    /// A job that goes on by itself: it is no session's.
    pub(crate) fn of_task(
        id: JobId,
        account: AccountIndex,
        run: Box<TaskRun>,
        promise: Promise,
        now_ns: u64,
    ) -> Box<Self> {
        let unheard = CancelFlag::default();
        let job = Self::of_nobody(SessionId::NOBODY, account, promise, unheard, now_ns);
        Box::new(Self { id, stage: Stage::Task(run), ..job })
    }

    /// Whether it goes on by itself.
    pub(crate) fn is_task(&self) -> bool {
        self.session == SessionId::NOBODY
    }

    /// How a job that goes on by itself came back.
    pub(crate) fn into_task_end(mut self: Box<Self>) -> Option<Ended> {
        match self.take_outcome() {
            Outcome::Task(ended) => Some(ended),
            _ => None,
        }
    }

    /// The next piece is to be read.
    pub(crate) fn read_on(&mut self, reading: Box<Reading>) {
        self.stage = Stage::Read(reading);
    }

    /// Works on the job until it is finished, which returns true, or `pause` says to stop. `pause`
    /// is asked between slices, some tiles of the product or some thousand elements of text, by
    /// every thread of the crew that works on it. A call returns after each of reading, hashing,
    /// multiplying and writing, though the job goes on.
    pub fn advance(&mut self, crew: &dyn Crew, pause: &(dyn Fn() -> bool + Sync)) -> bool {
        self.waits = None;
        if self.cancelled.is_set() {
            self.stage = Stage::Finished(Outcome::Cancelled);
        }
        let (reply, fingerprinting) = (&self.reply, self.fingerprinting);
        let asked = &|| self.cancelled.is_set() || pause();
        let ended = match &mut self.stage {
            Stage::F64(work) => work.advance(reply, fingerprinting, crew, asked),
            Stage::F32(work) => work.advance(reply, fingerprinting, crew, asked),
            _ => {
                let cancelled = self.cancelled.clone();
                return self.advance_otherwise(crew, &|| cancelled.is_set() || pause());
            }
        };
        ended.is_some_and(|outcome| {
            self.stage = Stage::Finished(outcome);
            true
        })
    }

    /// The same, of what is no product on its way.
    fn advance_otherwise(&mut self, crew: &dyn Crew, pause: &(dyn Fn() -> bool + Sync)) -> bool {
        let stage = mem::replace(&mut self.stage, Stage::Finished(Outcome::Cancelled));
        self.stage = match stage {
            Stage::Input(input) => self.begin(input, pause).unwrap_or_else(failed),
            Stage::Seal(sealing) => sealing
                .advance(pause)
                .map_or_else(Stage::Seal, |response| Stage::Finished(Outcome::Sealed(response))),
            Stage::Task(mut run) => match run.advance(crew, pause) {
                None => Stage::Task(run),
                Some(ended) => Stage::Finished(Outcome::Task(ended)),
            },
            Stage::Read(reading) => {
                reading.advance().map_or_else(failed, |piece| Stage::Finished(Outcome::Read(piece)))
            }
            Stage::Errand(errand) => match errand.advance(&mut self.promise, pause) {
                Progress::Paused(errand) => Stage::Errand(errand),
                Progress::Done(done) => Stage::Finished(Outcome::Errand(Box::new(done))),
                Progress::Taken(taken) => Stage::Finished(Outcome::Taken(taken)),
                Progress::GivenUp(given_up) => Stage::Finished(Outcome::GivenUp(given_up)),
            },
            stage @ (Stage::F64(_) | Stage::F32(_) | Stage::Finished(_)) => stage,
        };
        matches!(self.stage, Stage::Finished(_))
    }

    /// How it ended.
    pub(crate) fn take_outcome(&mut self) -> Outcome {
        let stage = mem::replace(&mut self.stage, Stage::Finished(Outcome::Cancelled));
        let outcome = match stage {
            Stage::Finished(outcome) => outcome,
            _ => Outcome::Cancelled,
        };
        let held_bytes = match &outcome {
            Outcome::Done(done) => done.written.held_bytes(),
            Outcome::Sealed(_)
            | Outcome::Read(_)
            | Outcome::Task(_)
            | Outcome::Errand(_)
            | Outcome::Taken(_)
            | Outcome::GivenUp(_) => return outcome,
            _ => 0,
        };
        // What was written is part of what was promised, so this gives memory back and can't fail.
        let shrunk = self.promise.resize(held_bytes);
        debug_assert!(shrunk.is_ok(), "a promise shrinks");
        outcome
    }

    /// Where its time went.
    pub(crate) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The promise of the memory that its outcome still holds.
    pub(crate) fn into_promise(self: Box<Self>) -> Promise {
        self.promise
    }

    /// Reads what is not read yet, and sets the work up.
    fn begin(&mut self, input: Input, pause: &dyn Fn() -> bool) -> Result<Stage, Problem> {
        match input {
            Input::Text(mut reader) => match reader.advance(&mut || pause())? {
                None => Ok(Stage::Input(Input::Text(reader))),
                Some(request) => self.set_up(request),
            },
            Input::Inference(model, text) => {
                let demand = Demand {
                    threads: self.terms.threads,
                    is_check_asked: self.terms.checking.is_asked,
                    reply_is_text: true,
                    kept_bytes: 0,
                };
                let loader = Loader::new(text, model, demand, None, &mut self.promise)?;
                Ok(Stage::Input(Input::Tensors(Box::new(loader))))
            }
            Input::Tensors(loader) => self.load(loader, pause),
            Input::Operation(request) => self.set_up(request),
        }
    }

    /// Reads numbers until `pause` says so, and sets the work up once there are no more.
    fn load(
        &mut self,
        mut loader: Box<Loader>,
        pause: &dyn Fn() -> bool,
    ) -> Result<Stage, Problem> {
        while loader.need() == Need::Time {
            loader.advance(&mut self.promise)?;
            if pause() {
                return Ok(Stage::Input(Input::Tensors(loader)));
            }
        }
        let (request, reply) = loader.finish()?;
        self.reply.answer_inference(reply);
        self.set_up(request)
    }

    fn set_up(&mut self, request: MultiplyRequest) -> Result<Stage, Problem> {
        let (reply, promise) = (&self.reply, &mut self.promise);
        let payer = self.payer.as_mut();
        let hold = |usage: &Usage| payer.map_or(Ok(()), |payer| payer.hold(usage));
        match request {
            MultiplyRequest::F64(operation) => {
                Work::new(operation, self.terms, reply, promise, hold)
                    .map(|work| Stage::F64(Box::new(work)))
            }
            MultiplyRequest::F32(operation) => {
                Work::new(operation, self.terms, reply, promise, hold)
                    .map(|work| Stage::F32(Box::new(work)))
            }
        }
    }
}

fn failed(problem: Problem) -> Stage {
    Stage::Finished(Outcome::Failed(problem))
}

fn is_small(shape: Shape) -> bool {
    let encoding = FLOPS_PER_ENCODED_ELEMENT.saturating_mul((shape.m as u64) * (shape.n as u64));
    shape.flops().saturating_add(encoding) <= SMALL_JOB_FLOPS
}

/// Too little memory, as a problem: forever, or for now.
pub(crate) fn memory_problem(shortage: Shortage, needed_bytes: usize) -> Problem {
    match shortage {
        Shortage::Never { total_bytes } => Problem::new(
            ProblemKind::MemoryExceeded,
            alloc::format!("the job needs up to {needed_bytes} bytes of memory"),
        )
        .limit(total_bytes as u64),
        Shortage::Now => Problem::new(
            ProblemKind::Overloaded,
            alloc::format!("{needed_bytes} bytes of memory are not free now"),
        )
        .with_response_field("Retry-After", "1"),
    }
}

/// So many zeros.
///
/// # Errors
///
/// A problem where memory that was promised for them can't be had.
pub(crate) fn zeros<T: Clone + Default>(count: usize) -> Result<Vec<T>, Problem> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(count).map_err(|_| memory_problem(Shortage::Now, count))?;
    zeros.resize(count, T::default());
    Ok(zeros)
}
