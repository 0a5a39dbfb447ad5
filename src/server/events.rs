//! Replies that stay open: server-sent events, pushed as they come about.
//!
//! A client that reads more slowly than events come loses its connection, and comes back with the
//! id of the last that it has seen: nothing is kept for it but what [`EVENT_BACKLOG_BYTES_MAX`]
//! holds.

use alloc::string::String;
use alloc::vec::Vec;

use crate::http::response::Content;
use crate::http::server_events::{COMMENT, CONTENT_TYPE, ServerEvent};
use crate::http::{Payload, Piece, Response};
use crate::job::memory_problem;
use crate::limits::EVENT_BACKLOG_BYTES_MAX;
use crate::memory::Promise;
use crate::problem::Problem;
use crate::server::streams::Stream;
use crate::server::{Server, SessionId};
use crate::time::Now;

/// A stream of events that is open.
#[derive(Debug)]
pub(super) struct Events {
    /// HTTP/1.0 has no chunks: there the connection's end is the end.
    is_chunked: bool,
    #[expect(dead_code, reason = "it covers what the client has not taken yet")]
    promise: Promise,
}

impl Server {
    /// Answers with a stream of events, of which none has come yet. [`Server::push_event`] adds to
    /// it and [`Server::end_events`] ends it; it ends of itself when the server drains. To `HEAD`
    /// it is a reply like any other.
    ///
    /// # Errors
    ///
    /// That there is no memory for what the client may leave unread.
    pub fn answer_with_events(&mut self, id: SessionId, now: Now) -> Result<(), Problem> {
        let Some(session) = self.session(id) else { return Ok(()) };
        let (is_head, is_chunked) =
            (session.connection.is_head(), session.connection.takes_chunks());
        let response = Response {
            status: 200,
            content_type: CONTENT_TYPE,
            fields: String::new(),
            body: Payload::default(),
        }
        .with_field("Cache-Control", "no-store");
        if is_head {
            self.begin_answer(id, response, Content::Endless { is_chunked }, now);
            return Ok(());
        }
        let promise = self.memory.promise(EVENT_BACKLOG_BYTES_MAX);
        let promise =
            promise.map_err(|shortage| memory_problem(shortage, EVENT_BACKLOG_BYTES_MAX))?;
        self.begin_answer(id, response, Content::Endless { is_chunked }, now);
        if let Some(session) = self.session_mut(id) {
            session.stream = Some(Stream::Events(Events { is_chunked, promise }));
        }
        if self.is_draining() {
            self.end_events(id, now);
        }
        self.note_progress(id, 0, now);
        Ok(())
    }

    /// Adds an event to a session's stream; false where it has none, or has none any more since the
    /// client does not keep up.
    pub fn push_event(&mut self, id: SessionId, event: &ServerEvent<'_>, now: Now) -> bool {
        let mut text = String::new();
        event.push(&mut text);
        self.push_event_text(id, &text, now)
    }

    /// Ends a session's stream of events in order. The connection may carry another request.
    pub fn end_events(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(Stream::Events(events)) = session.stream.as_ref() else { return };
        if events.is_chunked {
            session.output.push(Piece::Static(b"0\r\n\r\n"));
        }
        session.stream = None;
        self.tell_host(id);
        self.note_progress(id, 0, now);
    }

    /// Ends all streams of events: their clients find another server, or this one again.
    pub(super) fn end_all_events(&mut self, now: Now) {
        let open = self
            .sessions
            .iter()
            .filter(|(_, session)| matches!(session.stream.as_ref(), Some(Stream::Events(_))));
        let open: Vec<SessionId> = open
            .map(|(index, session)| SessionId { index, generation: session.generation })
            .collect();
        open.into_iter().for_each(|id| self.end_events(id, now));
    }

    /// Nothing has come about for a while.
    pub(super) fn keep_events_alive(&mut self, id: SessionId, now: Now) {
        self.push_event_text(id, COMMENT, now);
    }

    fn push_event_text(&mut self, id: SessionId, text: &str, now: Now) -> bool {
        let Some(session) = self.session_mut(id) else { return false };
        let Some(Stream::Events(events)) = session.stream.as_ref() else { return false };
        if session.output.bytes() + text.len() > EVENT_BACKLOG_BYTES_MAX {
            self.break_off(id, now);
            return false;
        }
        let bytes = if events.is_chunked {
            alloc::format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
        } else {
            text.as_bytes().to_vec()
        };
        session.output.push(Piece::Bytes(bytes));
        self.tell_host(id);
        self.note_progress(id, 0, now);
        true
    }
}

#[cfg(test)]
mod tests;
