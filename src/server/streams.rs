//! Replies that go on after their head: with a body that is read while it is sent, or with events.
//!
//! A body that may be longer than memory is read by a job, a piece at a time, on the threads that
//! compute. The piece is put behind what is being sent, and the job rests here until there is no
//! more than a piece left of that: so a reply holds two pieces at most, one that is sent and one
//! that is read, and a client that takes nothing gets nothing read.

use alloc::boxed::Box;

use crate::http::response::Content;
use crate::http::{Piece, Response};
use crate::job::queue::AccountIndex;
use crate::job::reading::{BodySource, ReadPiece, Reading};
use crate::job::{CancelFlag, Job, memory_problem};
use crate::limits::{STREAM_PIECE_BYTES, STREAM_PIECE_BYTES_MIN};
use crate::memory::Promise;
use crate::problem::Problem;
use crate::server::events::Events;
use crate::server::{Server, SessionId};
use crate::time::Now;

/// What a reply goes on with.
#[derive(Debug)]
pub(super) enum Stream {
    Body(Box<Download>),
    Events(Events),
    /// Nothing: it can't be what its head has promised.
    Broken,
}

/// A body that is read while it is sent.
#[derive(Debug)]
pub(super) struct Download {
    /// The head, until there is something to send behind it.
    response: Option<Response>,
    /// Bytes that are still to be read.
    left: u64,
    piece_bytes: usize,
    /// The job that reads, while nothing is to be read.
    resting: Option<Box<Job>>,
    cancel: CancelFlag,
}

impl Server {
    /// Answers with a body that is read while it is sent. `response` has none of its own. The head
    /// is sent with the first piece, so that what is wrong with that is still said as a problem.
    ///
    /// # Errors
    ///
    /// That there is no memory for two pieces.
    pub fn answer_from(
        &mut self,
        id: SessionId,
        account: AccountIndex,
        response: Response,
        source: Box<dyn BodySource>,
        now: Now,
    ) -> Result<(), Problem> {
        let left = source.remaining();
        let Some(session) = self.session_mut(id) else { return Ok(()) };
        if session.connection.is_head() || left == 0 {
            self.begin_answer(id, response, Content::Later(left), now);
            return Ok(());
        }
        let (promise, piece_bytes) = self.promise_pieces(left)?;
        let Some(session) = self.session_mut(id) else { return Ok(()) };
        let cancel = CancelFlag::default();
        let reading = Reading::new(source, piece_bytes);
        let job = Job::reading(id, account, reading, promise, cancel.clone(), now.monotonic_ns);
        session.pending = None;
        session.job = Some(cancel.clone());
        session.stream = Some(Stream::Body(Box::new(Download {
            response: Some(response),
            left,
            piece_bytes,
            resting: None,
            cancel,
        })));
        self.ready_jobs.push(account, job);
        self.note_progress(id, 0, now);
        Ok(())
    }

    /// The memory of two pieces of a body, and how long a piece is. Where that much is not free,
    /// shorter ones do.
    fn promise_pieces(&self, left: u64) -> Result<(Promise, usize), Problem> {
        let piece_of = |most: usize| usize::try_from(left).map_or(most, |left| left.min(most));
        let promise = |piece_bytes: usize| {
            // A body of one piece has no second.
            let held_bytes = usize::try_from(left).unwrap_or(usize::MAX).min(2 * piece_bytes);
            let promise = self.memory.promise(held_bytes);
            promise.map_err(|shortage| memory_problem(shortage, held_bytes))
        };
        let (long, short) = (piece_of(STREAM_PIECE_BYTES), piece_of(STREAM_PIECE_BYTES_MIN));
        match promise(long) {
            Ok(promise) => Ok((promise, long)),
            Err(_) => promise(short).map(|promise| (promise, short)),
        }
    }

    /// Writes the head of a reply whose content comes later.
    pub(super) fn begin_answer(
        &mut self,
        id: SessionId,
        response: Response,
        content: Content,
        now: Now,
    ) {
        self.note_answer(id, response.status, now);
        let response = self.with_limits(id, response, now);
        let Some(session) = self.session_mut(id) else { return };
        session.digest_wanted = false;
        session.pending = None;
        session.connection.begin_response(response, content, now, &mut session.output);
        self.note_progress(id, 0, now);
    }

    /// A piece of a body was read: it is sent, and the next is read once there is room for it.
    pub(super) fn take_piece(
        &mut self,
        id: SessionId,
        mut job: Box<Job>,
        read: ReadPiece,
        now: Now,
    ) -> Option<SessionId> {
        let download = self.download_mut(id)?;
        let (response, left) = (download.response.take(), download.left);
        let ReadPiece { bytes, rest } = read;
        let after = left.checked_sub(bytes.len() as u64);
        let is_sound = !bytes.is_empty()
            && bytes.len() <= download.piece_bytes
            && after.is_some_and(|after| (after == 0) == rest.is_none());
        debug_assert!(is_sound, "a source brings what it says");
        if !is_sound {
            return self.break_off(id, now);
        }
        download.left = after.unwrap_or_default();
        let is_first = response.is_some();
        if let Some(response) = response {
            self.begin_answer(id, response, Content::Later(left), now);
        }
        let session = self.session_mut(id)?;
        session.output.push(Piece::Bytes(bytes));
        match rest {
            None => {
                session.stream = None;
                session.reply_promise = Some(job.into_promise());
            }
            Some(rest) => {
                job.read_on(rest);
                if let Some(Stream::Body(download)) = session.stream.as_mut() {
                    download.resting = Some(job);
                }
                // What is sent is the head and this one piece, so that there is room.
                if is_first { self.read_next(id) } else { self.read_ahead(id) }
            }
        }
        self.note_progress(id, 0, now);
        Some(id)
    }

    /// A piece could not be read: the reply, or the end of it.
    pub(super) fn piece_failed(
        &mut self,
        id: SessionId,
        problem: Problem,
        now: Now,
    ) -> Option<SessionId> {
        if self.download_mut(id)?.response.is_none() {
            return self.break_off(id, now);
        }
        self.session_mut(id)?.stream = None;
        self.refuse(id, problem, now);
        self.note_progress(id, 0, now);
        Some(id)
    }

    /// Has the next piece of a body read, where there is room for it.
    pub(super) fn read_ahead(&mut self, id: SessionId) {
        let Some(session) = self.session(id) else { return };
        let Some(Stream::Body(download)) = session.stream.as_ref() else { return };
        if session.output.bytes() <= download.piece_bytes {
            self.read_next(id);
        }
    }

    fn read_next(&mut self, id: SessionId) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(Stream::Body(download)) = session.stream.as_mut() else { return };
        if let Some(job) = download.resting.take() {
            session.job = Some(download.cancel.clone());
            self.ready_jobs.push(job.account(), job);
        }
    }

    /// Whether a session's job reads for its reply.
    pub(super) fn is_reading(&self, id: SessionId) -> bool {
        let stream = self.session(id).and_then(|session| session.stream.as_ref());
        matches!(stream, Some(Stream::Body(_)))
    }

    /// The reply can't go on: what was not sent of it is dropped, and [`Server::expire`] has the
    /// host end the connection. Ending it in order would let a client without a length take it for
    /// whole.
    pub(super) fn break_off(&mut self, id: SessionId, now: Now) -> Option<SessionId> {
        let session = self.session_mut(id)?;
        session.output.clear();
        session.stream = Some(Stream::Broken);
        self.note_progress(id, 0, now);
        Some(id)
    }

    fn download_mut(&mut self, id: SessionId) -> Option<&mut Download> {
        match self.session_mut(id)?.stream.as_mut()? {
            Stream::Body(download) => Some(download),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
