//! One client's connection, and the request it is in.

use alloc::boxed::Box;

use crate::api::{Route, SmallBody};
use crate::formats::Source;
use crate::http::digest::DigestCheck;
use crate::http::{Connection, Output};
use crate::inference::Model;
use crate::job::CancelFlag;
use crate::job::queue::AccountIndex;
use crate::limits::{
    BAD_KEY_DELAY_NS, EVENTS_KEEP_ALIVE_NS, HEAD_TIMEOUT_NS, IDLE_TIMEOUT_NS, LINGER_TIMEOUT_NS,
    TRANSFER_BYTES_PER_SECOND_MIN, TRANSFER_GRACE_NS,
};
use crate::memory::Promise;
use crate::problem::Problem;
use crate::server::intake::Intake;
use crate::server::matrices::{ChunkBody, MatrixBody};
use crate::server::payer::{Caller, Payer};
use crate::server::streams::Stream;
use crate::time::Now;

#[derive(Debug)]
pub(super) struct Session {
    pub generation: u64,
    pub connection: Connection,
    pub output: Output,
    /// The request whose body is coming in.
    pub pending: Option<Pending>,
    /// Whose limits the reply tells of.
    pub account: Option<AccountIndex>,
    /// When the head of a request for a product had come, until it is answered.
    pub product_asked_ns: Option<u64>,
    /// The model that is asked for it.
    pub model: Option<Model>,
    /// The request now being served is one of the inference protocol.
    pub is_inference: bool,
    /// The digest that the content of the pending request should have.
    pub digest: Option<DigestCheck>,
    /// The client wants one with the reply.
    pub digest_wanted: bool,
    /// What its reply goes on with.
    pub stream: Option<Stream>,
    /// How long the client would wait for the end of the job that it asks for.
    pub wait_ns: Option<u64>,
    /// The job that is running for this session.
    pub job: Option<CancelFlag>,
    /// That its key was refused, which is not said yet.
    pub held: Option<Box<Problem>>,
    /// The memory of the reply that is being sent.
    pub reply_promise: Option<Promise>,
    pub phase: Phase,
    phase_since_ns: u64,
    phase_bytes: u64,
    last_bytes_ns: u64,
    /// The earliest timer set for this session.
    pub armed_ns: Option<u64>,
}

/// A request whose head was taken, while its body comes in.
#[derive(Debug)]
pub(super) enum Pending {
    /// For a product.
    Product(Intake, Payer),
    /// For one that is to become a job that goes on by itself.
    Deferred(Intake, Payer),
    /// With a matrix to be kept.
    Matrix(Box<MatrixBody>),
    /// With a chunk of one.
    Chunk(Box<ChunkBody>),
    /// For anything else, with a small body.
    Other(Route, SmallBody, Option<Caller>),
}

impl Pending {
    /// Takes content: how many bytes of it were used.
    ///
    /// # Errors
    ///
    /// A problem with what came.
    pub fn push(&mut self, content: &[u8]) -> Result<usize, Problem> {
        match self {
            Self::Product(intake, _) | Self::Deferred(intake, _) => intake.push(content),
            Self::Matrix(body) => body.intake.push(content),
            Self::Chunk(body) => body.push(content).map(|()| content.len()),
            Self::Other(_, body, _) => body.push(content).map(|()| content.len()),
        }
    }

    /// Has up to `most` bytes of content read right to where they belong; how many. `None` where
    /// that can't be: then they are to be pushed.
    ///
    /// # Errors
    ///
    /// As for [`Pending::push`].
    pub fn fill(&mut self, most: usize, source: &mut Source) -> Result<Option<usize>, Problem> {
        match self {
            Self::Product(intake, _) | Self::Deferred(intake, _) => intake.fill(most, source),
            Self::Matrix(body) => body.intake.fill(most, source),
            Self::Chunk(_) | Self::Other(..) => Ok(None),
        }
    }
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
    /// For the next event.
    Events,
    /// For the host to end it.
    Broken,
    /// For the time at which it is told that its key was refused.
    Held,
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
            account: None,
            product_asked_ns: None,
            model: None,
            is_inference: false,
            digest: None,
            digest_wanted: false,
            stream: None,
            wait_ns: None,
            job: None,
            held: None,
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
        self.is_answered() && self.connection.wants_input()
    }

    pub fn close_wanted(&self) -> bool {
        self.is_answered() && self.connection.is_closing()
    }

    /// Whether all that was given in answer is sent.
    fn is_answered(&self) -> bool {
        self.held.is_none() && self.output.is_empty() && self.stream.is_none()
    }

    /// No more input will come: what is incomplete is dropped, what is complete is answered.
    pub fn end_input(&mut self) {
        self.pending = None;
        self.connection.end_input();
    }

    /// Notes what the session waits for now, after `bytes` have moved.
    pub fn note_progress(&mut self, bytes: usize, now: Now) {
        let phase = if self.held.is_some() {
            Phase::Held
        } else if !self.output.is_empty() {
            Phase::Write
        } else if let Some(stream) = &self.stream {
            match stream {
                Stream::Body(_) => Phase::Work,
                Stream::Events(_) => Phase::Events,
                Stream::Broken => Phase::Broken,
            }
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
            Phase::Held => since_ns.saturating_add(BAD_KEY_DELAY_NS),
            Phase::Linger => since_ns.saturating_add(LINGER_TIMEOUT_NS),
            Phase::Events => since_ns.saturating_add(EVENTS_KEEP_ALIVE_NS),
            Phase::Broken => since_ns,
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
