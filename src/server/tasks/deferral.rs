//! `POST /v1/multiply` with `Prefer: respond-async`: a product becomes a job that goes on by
//! itself.
//!
//! Its operands, in whatever format they came, are written to the store, where the job finds them,
//! and go when it has ended.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use super::Taken;
use super::clerk::{Clerk, Wishes};
use super::submit::check_is_same;
use crate::api::{MultiplyReader, MultiplyRequest, Operation};
use crate::billing::JobId;
use crate::expression::{self, Program, operation_key};
use crate::gemm::{Element, Extent};
use crate::http::{RequestHead, prefer};
use crate::inference::Model;
use crate::job::errand::{Errand, Progress};
use crate::job::reply::ReplyForm;
use crate::job::{Input, Request, memory_problem};
use crate::ledger::hash::Hash;
use crate::limits::PRIORITY_DEFAULT;
use crate::memory::{Promise, Shortage};
use crate::problem::{Problem, ProblemKind};
use crate::server::matrices::Desk;
use crate::server::payer::Payer;
use crate::server::replies::draining;
use crate::server::{Server, SessionId};
use crate::store::{
    AddressHasher, Keep, Layout, MatrixId, MatrixNumber, Purpose, RowsWriter, Store,
};
use crate::task::InputRecord;
use crate::time::Now;

/// Bytes that are hashed and written between two chances to pause.
const SLICE_BYTES: usize = 256 * 1024;

/// Names the fingerprint of a request in the place of what it is computed by. Fingerprints are kept
/// on volumes, so another way of making them needs another name.
const REQUEST: &str = "request 1";

impl Server {
    /// Whether a request for a product is to become a job that goes on by itself. One that was
    /// answered before is answered as it was then, and a product that is to be checked is checked,
    /// which one of a job is where it is large alone: preferences may be left alone (RFC 7240,
    /// section 2).
    ///
    /// # Errors
    ///
    /// That its key belongs to a job, while it asks for none, or that there is no room for a job.
    pub(in crate::server) fn is_deferred(
        &self,
        head: &RequestHead,
        model: Option<Model>,
        is_check_asked: bool,
        payer: &Payer,
    ) -> Result<bool, Problem> {
        let is_deferred =
            prefer::is_async(head) && model.is_none() && !is_check_asked && payer.done().is_none();
        let key = payer.retry.as_ref().map(|retry| &retry.key);
        match key.and_then(|key| self.tasks.job_of_key(key)) {
            Some(job) if !is_deferred => {
                let detail = format!("the key belongs to the job {job}");
                Err(Problem::new(ProblemKind::IdempotencyKeyReused, detail).at("Idempotency-Key"))
            }
            None if is_deferred => self.check_room_for_task().map(|()| true),
            _ => Ok(is_deferred),
        }
    }

    /// Sets out to make a job of a whole request.
    ///
    /// # Errors
    ///
    /// That no more are taken.
    pub(in crate::server) fn defer(
        &mut self,
        session: SessionId,
        request: Request,
        payer: Payer,
        now: Now,
    ) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(draining());
        }
        let Request { input, reply: form, promise, bytes_in, .. } = request;
        let known = payer.retry.as_ref().and_then(|retry| self.tasks.job_of_key(&retry.key));
        let known = known.map(|job| (job, self.tasks.fingerprint_of(job)));
        let account = payer.account;
        let clerk = self.clerk(payer, bytes_in, now);
        let deferral = Box::new(Deferral { clerk, form, known, stage: Stage::Read(input) });
        self.send_errand(session, account, deferral, promise, now);
        Ok(())
    }
}

/// A product on its way to be a job.
#[derive(Debug)]
struct Deferral {
    clerk: Clerk,
    form: ReplyForm,
    /// The job that its key belongs to, and what that was asked for by.
    known: Option<(JobId, Option<Hash>)>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Read(Input),
    Move(Box<Moving>),
    Over,
}

#[derive(Debug)]
enum Step {
    More(Box<Deferral>),
    Taken(Box<Taken>),
}

/// Operands on their way to the store.
#[derive(Debug)]
struct Moving {
    program: Program,
    memory_bytes: usize,
    /// Of A and B.
    elements: Elements,
    /// Of C.
    addend: Elements,
    /// Where A and B lie in their bytes.
    starts: [usize; 2],
    /// Whether they are written, and not only looked at.
    is_kept: bool,
    coming: Option<Coming>,
    /// Those that are there, in the program's order.
    inputs: Vec<(Option<MatrixNumber>, MatrixId)>,
    /// What was promised for the request.
    promised_bytes: usize,
}

/// The operand that is being written.
#[derive(Debug)]
struct Coming {
    hasher: AddressHasher,
    writer: Option<Box<RowsWriter>>,
    bytes_done: usize,
}

#[derive(Debug)]
enum Elements {
    F64(Vec<f64>),
    F32(Vec<f32>),
}

impl Elements {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::F64(elements) => bytemuck::cast_slice(elements),
            Self::F32(elements) => bytemuck::cast_slice(elements),
        }
    }
}

impl Errand for Deferral {
    fn advance(mut self: Box<Self>, promise: &mut Promise, pause: &dyn Fn() -> bool) -> Progress {
        loop {
            self = match self.step(promise, pause) {
                Ok(Step::More(deferral)) => deferral,
                Ok(Step::Taken(taken)) => return Progress::Taken(taken),
                Err(problem) => return Progress::Done(Err(problem)),
            };
            if pause() {
                return Progress::Paused(self);
            }
        }
    }
}

impl Deferral {
    fn step(
        mut self: Box<Self>,
        promise: &mut Promise,
        pause: &dyn Fn() -> bool,
    ) -> Result<Step, Problem> {
        self.stage = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Read(Input::Text(mut reader)) => match read(&mut reader, pause)? {
                None => Stage::Read(Input::Text(reader)),
                Some(request) => self.set_out(request, promise)?,
            },
            Stage::Read(Input::Operation(request)) => self.set_out(request, promise)?,
            Stage::Move(mut moving) => match moving.go_on(&self.clerk.desk, promise) {
                Ok(true) => Stage::Move(moving),
                Ok(false) => return self.take(*moving).map(|taken| Step::Taken(Box::new(taken))),
                Err(problem) => {
                    moving.give_up(&self.clerk.desk.store);
                    return Err(problem);
                }
            },
            Stage::Read(_) | Stage::Over => unreachable!("what is asked of models is not deferred"),
        };
        Ok(Step::More(self))
    }

    /// The shapes are known, and so what the job comes to.
    fn set_out(&mut self, request: MultiplyRequest, promise: &Promise) -> Result<Stage, Problem> {
        let moving = match request {
            MultiplyRequest::F64(operation) => Moving::of(operation, Elements::F64),
            MultiplyRequest::F32(operation) => Moving::of(operation, Elements::F32),
        };
        let uncountable = || memory_problem(Shortage::Never { total_bytes: 0 }, usize::MAX);
        let mut moving = moving.ok_or_else(uncountable)?;
        moving.promised_bytes = promise.bytes();
        if self.known.is_none() {
            let bytes = moving.program.inputs.iter().map(|input| input.layout.bytes()).sum();
            moving.memory_bytes = self.clerk.admit(&moving.program, None, bytes)?.memory_bytes;
            moving.is_kept = true;
        }
        Ok(Stage::Move(Box::new(moving)))
    }

    /// All operands are there.
    fn take(self: Box<Self>, moving: Moving) -> Result<Taken, Problem> {
        let Self { clerk, form, known, .. } = *self;
        let ids: Vec<MatrixId> = moving.inputs.iter().map(|(_, id)| *id).collect();
        let fingerprint = operation_key(&moving.program.steps[0], &ids, REQUEST);
        if let Some((job, before)) = known {
            check_is_same(job, before, fingerprint)?;
            return Ok(Taken { job, task: None, form: Some(form) });
        }
        let (job, store) = (clerk.id, clerk.desk.store.clone());
        let wishes = Wishes {
            priority: PRIORITY_DEFAULT,
            deadline_seconds: None,
            keep_seconds: None,
            references: alloc::vec![None],
        };
        let inputs = moving.inputs.iter().map(|(number, id)| {
            (InputRecord::Stored(number.expect("a new job's are written")), Some(*id))
        });
        let (inputs, program) = (inputs.collect(), moving.program.clone());
        match clerk.take(program, inputs, wishes, moving.memory_bytes, fingerprint) {
            Ok(task) => Ok(Taken { job, task: Some(Box::new(task)), form: Some(form) }),
            Err(problem) => {
                moving.give_up(&store);
                Err(problem)
            }
        }
    }
}

fn read(
    reader: &mut MultiplyReader,
    pause: &dyn Fn() -> bool,
) -> Result<Option<MultiplyRequest>, Problem> {
    reader.advance(&mut || pause())
}

impl Moving {
    /// `None` where the operations can't be counted.
    fn of<T: Element>(operation: Operation<T>, wrap: fn(Vec<T>) -> Elements) -> Option<Self> {
        let Operation { elements, a, b, c, alpha, beta, shape } = operation;
        // What lies column by column is stored as it lies, and transposed by the product.
        let layout =
            |extent: Extent| Layout { dtype: T::DTYPE, rows: extent.rows, columns: extent.columns };
        let of_c = Layout { dtype: T::DTYPE, rows: shape.m, columns: shape.n };
        let product = expression::Product {
            a: layout(a),
            b: layout(b),
            c: c.as_ref().map(|_| of_c),
            transpose_a: a.transposed,
            transpose_b: b.transposed,
            alpha: alpha.to_f64(),
            beta: beta.to_f64(),
        };
        Some(Self {
            program: product.program()?,
            memory_bytes: 0,
            elements: wrap(elements),
            addend: wrap(c.unwrap_or_default()),
            starts: [a.start, b.start].map(|start| start * size_of::<T>()),
            is_kept: false,
            coming: None,
            inputs: Vec::new(),
            promised_bytes: 0,
        })
    }

    /// Goes on a little; false once all operands are there.
    fn go_on(&mut self, desk: &Desk, promise: &mut Promise) -> Result<bool, Problem> {
        let Some(input) = self.program.inputs.get(self.inputs.len()) else { return Ok(false) };
        let layout = input.layout;
        let mut coming = match self.coming.take() {
            Some(coming) => coming,
            None => {
                let hasher = AddressHasher::new(&layout);
                let writer =
                    self.is_kept.then(|| self.writer(layout, desk, promise)).transpose()?;
                Coming { hasher, writer, bytes_done: 0 }
            }
        };
        let bytes = self.bytes_of(self.inputs.len());
        let end = bytes.len().min(coming.bytes_done + SLICE_BYTES);
        let slice = &bytes[coming.bytes_done..end];
        coming.hasher.update(slice);
        let written = match &mut coming.writer {
            Some(writer) => writer.push(slice),
            None => Ok(()),
        };
        let is_whole = end == bytes.len();
        coming.bytes_done = end;
        let coming = self.coming.insert(coming);
        written?;
        if is_whole {
            let id = coming.hasher.clone().finish();
            if let Some(writer) = &coming.writer {
                let draft = writer.draft();
                draft.commit()?;
                desk.store.finish(draft, id, Keep::default(), desk.now_unix_ns)?;
            }
            let number = coming.writer.as_ref().map(|writer| writer.draft().number());
            self.inputs.push((number, id));
            self.coming = None;
        }
        Ok(true)
    }

    /// Takes room for an operand.
    fn writer(
        &self,
        layout: Layout,
        desk: &Desk,
        promise: &mut Promise,
    ) -> Result<Box<RowsWriter>, Problem> {
        let (account, now_unix_ns) = (&desk.account, desk.now_unix_ns);
        let draft = desk.store.begin(layout, Purpose::Operand, account, now_unix_ns)?;
        let number = draft.number();
        let writer = Box::new(draft.rows_writer());
        let needed_bytes = self.promised_bytes.saturating_add(writer.memory_bytes());
        if let Err(shortage) = promise.resize(needed_bytes) {
            desk.abandon(number);
            return Err(memory_problem(shortage, needed_bytes));
        }
        Ok(writer)
    }

    fn bytes_of(&self, input: usize) -> &[u8] {
        let bytes = self.program.inputs[input].layout.bytes() as usize;
        let range = |start: usize| -> Range<usize> { start..start + bytes };
        match self.starts.get(input) {
            Some(start) => &self.elements.bytes()[range(*start)],
            None => &self.addend.bytes()[range(0)],
        }
    }

    /// Removes what was written.
    fn give_up(&self, store: &Store) {
        let coming = self.coming.iter().filter_map(|coming| coming.writer.as_ref());
        let coming = coming.map(|writer| writer.draft().number());
        let written = self.inputs.iter().filter_map(|(number, _)| *number);
        for number in coming.chain(written) {
            // Where not even that can be written, it goes when the volume is opened again.
            let _ = store.abandon(number);
        }
    }
}
