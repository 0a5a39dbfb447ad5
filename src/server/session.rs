//! One client's connection, and the request it is in.

use alloc::format;
use alloc::vec::Vec;

use crate::billing::JobId;
use crate::http::{Connection, Output};
use crate::job::{CancelFlag, Job, memory_problem};
use crate::limits::{
    HEAD_TIMEOUT_NS, IDLE_TIMEOUT_NS, JSON_MEMORY_FACTOR, LINGER_TIMEOUT_NS,
    TRANSFER_BYTES_PER_SECOND_MIN, TRANSFER_GRACE_NS,
};
use crate::memory::{MemoryBudget, Promise, Shortage};
use crate::problem::{Problem, ProblemKind};
use crate::server::SessionId;
use crate::time::Now;

#[derive(Debug)]
pub(super) struct Session {
    pub generation: u64,
    pub connection: Connection,
    pub output: Output,
    /// The request whose body is coming in.
    pub pending: Option<PendingRequest>,
    /// When the head of a request for a product had come, until it is answered.
    pub product_asked_ns: Option<u64>,
    /// The job that is running for this session.
    pub job: Option<CancelFlag>,
    /// The memory of the reply that is being sent.
    pub reply_promise: Option<Promise>,
    pub phase: Phase,
    phase_since_ns: u64,
    phase_bytes: u64,
    last_bytes_ns: u64,
    /// The earliest timer set for this session.
    pub armed_ns: Option<u64>,
}

/// What a session waits for, and so how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the next request.
    Idle,
    /// For the rest of a head.
    Head,
    /// For the rest of a body.
    Body,
    /// For its job.
    Work,
    /// For the client to take its reply.
    Write,
    /// For the client to close.
    Linger,
}

impl Session {
    pub fn new(generation: u64, now: Now) -> Self {
        Self {
            generation,
            connection: Connection::new(),
            output: Output::default(),
            pending: None,
            product_asked_ns: None,
            job: None,
            reply_promise: None,
            phase: Phase::Idle,
            phase_since_ns: now.monotonic_ns,
            phase_bytes: 0,
            last_bytes_ns: now.monotonic_ns,
            armed_ns: None,
        }
    }

    /// A client that does not take its replies gets no further request in.
    pub fn wants_input(&self) -> bool {
        self.output.is_empty() && self.connection.wants_input()
    }

    pub fn close_wanted(&self) -> bool {
        self.output.is_empty() && self.connection.is_closing()
    }

    /// No more input will come: what is incomplete is dropped, what is complete is answered.
    pub fn end_input(&mut self) {
        self.pending = None;
        self.connection.end_input();
    }

    /// Notes what the session waits for now, after `bytes` have moved.
    pub fn note_progress(&mut self, bytes: usize, now: Now) {
        let phase = if !self.output.is_empty() {
            Phase::Write
        } else if self.connection.is_closing() {
            Phase::Linger
        } else if self.connection.is_idle() {
            Phase::Idle
        } else if self.connection.is_in_head() {
            Phase::Head
        } else if self.connection.wants_input() {
            Phase::Body
        } else {
            Phase::Work
        };
        if bytes > 0 || phase != self.phase {
            self.last_bytes_ns = now.monotonic_ns;
        }
        if phase == self.phase {
            self.phase_bytes += bytes as u64;
        } else {
            self.phase = phase;
            self.phase_since_ns = now.monotonic_ns;
            self.phase_bytes = 0;
        }
    }

    /// When what it waits for must have come, on the monotonic clock.
    pub fn deadline_ns(&self) -> Option<u64> {
        let since_ns = self.phase_since_ns;
        let due_ns = match self.phase {
            Phase::Idle => since_ns.saturating_add(IDLE_TIMEOUT_NS),
            Phase::Head => since_ns.saturating_add(HEAD_TIMEOUT_NS),
            Phase::Body | Phase::Write => self.transfer_due_ns(),
            Phase::Linger => since_ns.saturating_add(LINGER_TIMEOUT_NS),
            Phase::Work => return None,
        };
        Some(due_ns)
    }

    /// A transfer may not stand still for longer than the grace, nor be slower on average than the
    /// least rate, counted from the end of the grace.
    fn transfer_due_ns(&self) -> u64 {
        let bytes_ns = u128::from(self.phase_bytes) * 1_000_000_000
            / u128::from(TRANSFER_BYTES_PER_SECOND_MIN);
        let bytes_ns = u64::try_from(bytes_ns).unwrap_or(u64::MAX);
        let at_least_rate_ns = self.phase_since_ns.saturating_add(bytes_ns);
        at_least_rate_ns.min(self.last_bytes_ns).saturating_add(TRANSFER_GRACE_NS)
    }
}

/// A request that was admitted, while its body comes in.
#[derive(Debug)]
pub(super) struct PendingRequest {
    body: Vec<u8>,
    promise: Promise,
}

/// What the smallest request is promised, so that parsing has a few bytes of room.
const REQUEST_BYTES_MIN: usize = 64;

/// The first reservation for a body whose length is not known.
const CHUNKED_BODY_BYTES: usize = 16 * 1024;

impl PendingRequest {
    /// Admits a body of that many bytes, or of unknown length.
    ///
    /// # Errors
    ///
    /// A problem where the memory it may need is more than there is, or more than is free.
    pub fn admit(length: Option<u64>, memory: &MemoryBudget) -> Result<Self, Problem> {
        let mut pending = Self {
            body: Vec::new(),
            promise: memory.promise(0).map_err(|shortage| memory_problem(shortage, 0))?,
        };
        let length = match length {
            Some(length) => usize::try_from(length)
                .map_err(|_| too_large(u128::from(length), memory.total_bytes()))?,
            None => CHUNKED_BODY_BYTES.min(memory.total_bytes() / JSON_MEMORY_FACTOR / 2),
        };
        pending.reserve(length)?;
        Ok(pending)
    }

    /// Adds content; grows what a body of unknown length was given.
    pub fn push(&mut self, content: &[u8]) -> Result<(), Problem> {
        let length = self.body.len() + content.len();
        if length > self.body.capacity() {
            self.reserve(length.max(2 * self.body.capacity())).or_else(|_| self.reserve(length))?;
        }
        self.body.extend_from_slice(content);
        Ok(())
    }

    /// Makes room for a body of `length` bytes, after promising the memory that it and the
    /// numbers in it may take.
    fn reserve(&mut self, length: usize) -> Result<(), Problem> {
        let needed_bytes =
            length.saturating_mul(JSON_MEMORY_FACTOR).saturating_add(REQUEST_BYTES_MIN);
        self.promise.resize(needed_bytes).map_err(|shortage| match shortage {
            Shortage::Never { total_bytes } => too_large(length as u128, total_bytes),
            Shortage::Now => memory_problem(shortage, needed_bytes),
        })?;
        self.body
            .try_reserve_exact(length - self.body.len())
            .map_err(|_| memory_problem(Shortage::Now, needed_bytes))
    }

    /// The whole request becomes a job.
    pub fn into_job(
        self,
        id: JobId,
        session: SessionId,
        now: Now,
        threads: usize,
    ) -> (Job, CancelFlag) {
        let cancel = CancelFlag::default();
        let Self { body, promise, .. } = self;
        let received_ns = now.monotonic_ns;
        let job = Job::new(id, session, body, promise, cancel.clone(), received_ns, threads);
        (job, cancel)
    }
}

/// The largest JSON body that a budget of `total_bytes` admits.
pub(super) fn body_bytes_max(total_bytes: usize) -> usize {
    total_bytes.saturating_sub(REQUEST_BYTES_MIN) / JSON_MEMORY_FACTOR
}

fn too_large(length: u128, total_bytes: usize) -> Problem {
    let limit = body_bytes_max(total_bytes);
    let detail = format!("a body of {length} bytes may need more memory than there is");
    Problem::new(ProblemKind::BodyTooLarge, detail).limit(limit as u64)
}
