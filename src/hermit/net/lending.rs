//! Which connections have large buffers.
//!
//! A buffer to send from is lent when a reply doesn't fit the connection's own, and comes back once
//! the peer has acknowledged everything. One to receive into is lent when much has come; the peer
//! then knows of its size and may at any time fill it, so it is left where it is until another
//! connection needs it.

use std::collections::BTreeSet;

use smoltcp::socket::tcp::{Socket, SocketBuffer};

use super::{Connection, ConnectionId, Net};
use crate::hermit::buffers::{BufferPlan, LargeBuffers};

/// The large buffers, and who has one to receive into.
pub(super) struct Lending {
    large: LargeBuffers,
    receivers: BTreeSet<ConnectionId>,
}

/// A connection's own buffers while large ones are in their place.
#[derive(Default)]
pub(super) struct Own {
    receive: Option<SocketBuffer<'static>>,
    send: Option<SocketBuffer<'static>>,
    /// The peer has had a reply to everything it sent.
    is_at_rest: bool,
}

impl Lending {
    pub fn new(plan: &BufferPlan) -> Self {
        Self { large: LargeBuffers::new(plan), receivers: BTreeSet::new() }
    }
}

impl Net {
    /// To be called when a connection has received something: so many bytes since the last reply.
    pub fn note_received(&mut self, id: ConnectionId, bytes_unanswered: usize) {
        let connection = &mut self.connections[id.0];
        connection.own.is_at_rest = bytes_unanswered == 0;
        if !BufferPlan::is_much(bytes_unanswered) || connection.own.receive.is_some() {
            return;
        }
        let Some(large) = self.lending.large.lend().or_else(|| self.reclaim()) else { return };
        let connection = &mut self.connections[id.0];
        let own = connection.socket().replace_recv_buffer(large);
        connection.own.receive = Some(own);
        self.lending.receivers.insert(id);
    }

    /// Whether a connection whose buffer is full was given a larger one to send from.
    pub fn widen_send(&mut self, id: ConnectionId) -> bool {
        if self.connections[id.0].own.send.is_some() {
            return false;
        }
        let Some(large) = self.lending.large.lend().or_else(|| self.reclaim()) else {
            return false;
        };
        let connection = &mut self.connections[id.0];
        let own = connection.socket().replace_send_buffer(large);
        connection.own.send = Some(own);
        true
    }

    /// Takes back what a connection was lent to send from, if everything is acknowledged.
    pub fn narrow_send(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        if connection.socket().send_queue() == 0
            && let Some(own) = connection.own.send.take()
        {
            let large = connection.socket().replace_send_buffer(own);
            self.lending.large.take_back(large);
        }
    }

    /// Takes back everything of a connection that is over, and whose socket has been emptied.
    pub(super) fn take_back(&mut self, id: ConnectionId) {
        self.narrow_send(id);
        if let Some(large) = self.connections[id.0].narrow_receive() {
            self.lending.large.take_back(large);
        }
        self.lending.receivers.remove(&id);
    }

    /// Takes a buffer from a connection that has one to receive into, and doesn't.
    fn reclaim(&mut self) -> Option<SocketBuffer<'static>> {
        let connections = &mut self.connections;
        let (id, large) = self.lending.receivers.iter().find_map(|&id| {
            let connection = &mut connections[id.0];
            let large = if connection.own.is_at_rest { connection.narrow_receive() } else { None };
            large.map(|large| (id, large))
        })?;
        self.lending.receivers.remove(&id);
        Some(large)
    }
}

impl Connection {
    fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.socket)
    }

    /// Puts the connection's own buffer in the place of the large one, if what has come fits.
    fn narrow_receive(&mut self) -> Option<SocketBuffer<'static>> {
        let own = self.own.receive.take()?;
        let own_bytes = own.capacity();
        let unneeded = self.socket().replace_recv_buffer(own);
        if unneeded.capacity() > own_bytes {
            return Some(unneeded);
        }
        self.own.receive = Some(unneeded);
        None
    }
}
