//! Bytes of clients, in and out.

use crate::formats::{Place, Source};
use crate::http::connection::Event;
use crate::server::session::Session;
use crate::server::{Server, SessionId, replies};
use crate::time::Now;

impl Server {
    /// Whether [`Server::receive`] would use bytes of this client now. While it would not, they
    /// are left in the socket, so that TCP holds the client back.
    pub fn wants_input(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(Session::wants_input)
    }

    /// Whether it is a request's body that is to come from this client.
    pub fn is_in_body(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| session.pending.is_some())
    }

    /// Bytes have come from a client; how many of them were used. The others are to be brought
    /// again when [`Server::wants_input`] says so.
    pub fn receive(&mut self, id: SessionId, bytes: &[u8], now: Now) -> usize {
        let mut used = 0;
        while self.wants_input(id) {
            let Some(session) = self.session_mut(id) else { break };
            let (taken, event) = match session.connection.receive(&bytes[used..]) {
                Ok(progress) => progress,
                Err(broken) => {
                    self.refuse_and_close(id, replies::broken(broken), now);
                    used = bytes.len();
                    break;
                }
            };
            used += taken;
            match event {
                Event::Head(head) => self.begin_request(id, &head, now),
                Event::Content(content) => {
                    let content_bytes = content.len();
                    let left = content_bytes - self.take_content(id, content, now);
                    if left > 0 {
                        let Some(session) = self.session_mut(id) else { break };
                        session.connection.unread(left);
                        used -= left;
                        break;
                    }
                }
                Event::End => self.end_request(id, now),
                Event::More if taken == 0 || used == bytes.len() => break,
                Event::More => {}
            }
        }
        self.counters.received_bytes.add(used as u64);
        self.note_progress(id, used, now);
        used
    }

    /// Has up to `most` bytes of what a client sends next read by `source`, right to where they
    /// belong, which saves a copy; how many there were.
    ///
    /// `None`, without `source` being asked, where there is no such place, as for a head, and for a
    /// body in chunks or compressed: then [`Server::receive`] takes what has come.
    pub fn receive_into(
        &mut self,
        id: SessionId,
        most: usize,
        now: Now,
        source: &mut Source,
    ) -> Option<usize> {
        if !self.wants_input(id) {
            return None;
        }
        let session = self.session_mut(id)?;
        let left = session.connection.content_left()?;
        let (pending, digest) = (session.pending.as_mut()?, &mut session.digest);
        let mut received = None;
        let mut noted = |place: &mut Place| {
            source(place);
            if let Some(digest) = digest {
                digest.update(place.filled());
            }
            received = Some(place.filled().len());
        };
        let most = usize::try_from(left).map_or(most, |left| most.min(left));
        let filled = pending.fill(most, &mut noted);
        let bytes = received.unwrap_or(0);
        session.connection.pass_content(bytes);
        self.counters.received_bytes.add(bytes as u64);
        match filled {
            Ok(None) => return None,
            Ok(Some(_)) if bytes as u64 == left => {
                // Of nothing more, that the body is whole.
                self.receive(id, &[], now);
            }
            Ok(Some(_)) => {}
            Err(problem) => self.refuse(id, problem, now),
        }
        self.note_progress(id, bytes, now);
        Some(bytes)
    }

    /// The client has closed its sending side: what it has asked for is still answered.
    pub fn receive_end(&mut self, id: SessionId, now: Now) {
        if let Some(session) = self.session_mut(id) {
            session.end_input();
            self.note_progress(id, 0, now);
        }
    }

    /// The next bytes to send to a client; empty where there are none.
    pub fn output(&self, id: SessionId) -> &[u8] {
        self.session(id).map_or(&[], |session| session.output.next())
    }

    /// That many bytes of [`Server::output`] were sent.
    pub fn sent(&mut self, id: SessionId, bytes: usize, now: Now) {
        if let Some(session) = self.session_mut(id) {
            session.output.sent(bytes);
            if session.output.is_empty() {
                session.reply_promise = None;
            }
            let is_streaming = session.stream.is_some();
            self.counters.sent_bytes.add(bytes as u64);
            if is_streaming {
                self.read_ahead(id);
            }
            self.note_progress(id, bytes, now);
        }
    }

    /// Whether all is said: the host closes its sending side, and goes on to bring what still
    /// comes, which is dropped, until the client closes or time is up.
    pub fn close_wanted(&self, id: SessionId) -> bool {
        self.session(id).is_none_or(Session::close_wanted)
    }

    /// The connection is over, in whatever way: frees the session and cancels its job.
    pub fn gone(&mut self, id: SessionId) {
        if self.session(id).is_some() {
            let session = self.sessions.remove(id.index);
            if session.held.is_some() {
                self.bad_keys.end_wait();
            }
            if let Some(cancel) = session.job {
                cancel.cancel();
            }
        }
    }
}
