//! The loop: frames in, requests to the core, jobs to the cores, replies out, and sleep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gemmule::server::{Expired, Server, SessionId};
use gemmule::time::Now;
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::Ipv4Address;

use super::console::Console;
use super::fault::Fault;
use super::net::{ConnectionId, Net};
use super::wait::{self, Bell};
use crate::host::clock::Clock;
use crate::host::keeper::Keeper;
use crate::host::runner::Runner;

/// After the last reply was handed to TCP: how long its peer may take to acknowledge it.
const GOODBYE_NS: u64 = 2_000_000_000;
/// Between two looks at the power button. Pressing it is an interrupt, but interrupts don't say
/// whose they are, and a look is an exit to the hypervisor: too much for each of them.
const LOOK_INTERVAL_NS: u64 = 100_000_000;
/// Looks at a console that is slow to take the last lines.
const FINISH_ATTEMPTS_MAX: u32 = 100_000;

/// Everything the loop moves.
pub struct Loop {
    pub net: Net,
    pub port: u16,
    pub console: Console,
    pub server: Server,
    /// `None`: the ledger is in memory.
    pub keeper: Option<Keeper>,
    pub runner: Runner,
    pub clock: Clock,
    pub bell: Bell,
    /// The session of each connection, by the connection's number.
    pub sessions: Vec<Option<Serving>>,
    /// Sessions that have had their turn and have more to do.
    pub unfinished: Vec<SessionId>,
    pub connection_of: BTreeMap<SessionId, ConnectionId>,
    pub announced: Option<Ipv4Address>,
    pub drained_since_ns: Option<u64>,
    /// When to look at the power button, if there was an interrupt since the last look.
    pub look_at_ns: Option<u64>,
    pub looked_ns: u64,
}

/// A session, and what its connection has told it.
pub struct Serving {
    session: SessionId,
    /// The client has sent its last byte, and the core knows.
    has_ended: bool,
    /// The core has sent its last byte.
    is_closing: bool,
    /// Received since bytes were last sent.
    bytes_unanswered: usize,
    /// The core has left bytes for its next turn: what comes of compressed ones is much.
    has_more: bool,
}

impl Loop {
    /// Serves until the power button was pressed and everything owed is delivered.
    pub fn run(mut self) -> Result<(), Fault> {
        loop {
            let rings = self.bell.count();
            let is_busy = self.turn();
            if let Some(fault) = self.net.nic().fault() {
                return Err(fault);
            }
            if self.is_over() {
                self.console.finish(FINISH_ATTEMPTS_MAX);
                return self.close();
            }
            if !is_busy {
                self.wait(rings);
            }
        }
    }

    /// Closes the volume, so that it is found whole without looking.
    fn close(self) -> Result<(), Fault> {
        let Self { server, keeper, .. } = self;
        drop(server);
        match keeper.map(Keeper::finish).and_then(Arc::into_inner) {
            Some(volume) => Ok(volume.close()?),
            None => Ok(()),
        }
    }

    /// Does what there is to do, in bounded portions; true when there is more.
    fn turn(&mut self) -> bool {
        let now = self.clock.now();
        if self.look_at_ns.is_some_and(|look_at_ns| look_at_ns <= now.monotonic_ns) {
            self.look_at_ns = None;
            self.looked_ns = now.monotonic_ns;
            self.look_at_power_button();
        }
        self.net.receive(instant(now));
        for session in std::mem::take(&mut self.unfinished) {
            self.mark_ready(session);
        }
        self.serve_ready(now);
        let jobs = self.runner.turn(&mut self.server, &self.clock);
        // What was gathered in the last turn is committed in this one, after its frames were sent.
        let keeper = self.keeper.as_mut();
        let durable = keeper.map(|keeper| keeper.turn(&mut self.server, &self.clock, true));
        // Jobs and commits take time, and deadlines are checked against the present.
        let now = self.clock.now();
        for session in jobs.sessions.into_iter().chain(durable.into_iter().flatten()) {
            self.mark_ready(session);
        }
        while let Some(expired) = self.server.expire(now) {
            match expired {
                Expired::Answered(session) => self.mark_ready(session),
                Expired::Stalled(session) => self.reset(session, now),
            }
        }
        self.serve_ready(now);
        self.net.nic().notify();
        self.announce();
        let console_has_more = self.print();
        let has_commit = self.keeper.as_ref().is_some_and(Keeper::has_work);
        let has_more = jobs.more || has_commit || console_has_more || !self.unfinished.is_empty();
        has_more || self.server.has_ready_jobs() || self.has_work(now)
    }

    fn has_work(&mut self, now: Now) -> bool {
        self.net.nic().has_news() || self.net.deadline().is_some_and(|due| due <= instant(now))
    }

    fn mark_ready(&mut self, session: SessionId) {
        if let Some(&id) = self.connection_of.get(&session) {
            self.net.mark_ready(id);
        }
    }

    fn serve_ready(&mut self, now: Now) {
        while let Some(id) = self.net.next_ready() {
            self.serve_connection(id, now);
        }
    }

    fn serve_connection(&mut self, id: ConnectionId, now: Now) {
        if self.sessions.len() <= id.index() {
            self.sessions.resize_with(id.index() + 1, || None);
        }
        if self.sessions[id.index()].is_none() && self.net.socket(id).may_send() {
            self.open(id, now);
        }
        if let Some(serving) = &mut self.sessions[id.index()] {
            let (server, net) = (&mut self.server, &mut self.net);
            pump(server, serving, net.socket(id), now);
            net.note_received(id, serving.bytes_unanswered);
            // What is left didn't fit.
            if !server.output(serving.session).is_empty() && net.widen_send(id) {
                pump(server, serving, net.socket(id), now);
            }
            if std::mem::take(&mut serving.has_more) {
                self.unfinished.push(serving.session);
            }
        }
        self.net.send(id, instant(now));
        self.net.narrow_send(id);
        // Sending may have found that the peer is silent, and have closed the socket.
        let is_over = match self.net.socket(id).state() {
            tcp::State::Closed | tcp::State::Listen => true,
            // TIME-WAIT would keep the socket for old duplicates and for a lost last ACK. Here
            // sockets are scarce: a duplicate, or a repeated FIN, is answered with a reset, which
            // ends only a connection that is over.
            tcp::State::TimeWait => !self.net.has_unsent(id, instant(now)),
            _ => false,
        };
        if is_over {
            self.release(id);
        }
    }

    /// The handshake is over.
    fn open(&mut self, id: ConnectionId, now: Now) {
        self.net.established(id);
        match self.server.open(now) {
            Some(session) => {
                self.sessions[id.index()] = Some(Serving {
                    session,
                    has_ended: false,
                    is_closing: false,
                    bytes_unanswered: 0,
                    has_more: false,
                });
                self.connection_of.insert(session, id);
            }
            None => self.net.socket(id).abort(),
        }
    }

    fn release(&mut self, id: ConnectionId) {
        if let Some(serving) = self.sessions[id.index()].take() {
            self.connection_of.remove(&serving.session);
            self.server.gone(serving.session);
        }
        self.net.release(id);
    }

    /// Ends a connection whose client doesn't take what it is sent.
    fn reset(&mut self, session: SessionId, now: Now) {
        match self.connection_of.get(&session).copied() {
            Some(id) => {
                self.net.socket(id).abort();
                self.net.send(id, instant(now));
                self.release(id);
            }
            None => self.server.gone(session),
        }
    }

    /// Says where the service is, whenever that changes.
    fn announce(&mut self) {
        let address = self.net.address();
        if address == self.announced {
            return;
        }
        self.announced = address;
        let line = match address {
            Some(address) => format!("gemmule: serving on {address}:{}", self.port),
            None => "gemmule: the lease of the address has ended".to_owned(),
        };
        println!("{line}");
        if self.console.is_virtio() {
            self.console.line(&line);
        }
    }

    fn print(&mut self) -> bool {
        while self.console.has_room()
            && let Some(line) = self.server.take_console()
        {
            self.console.line(&line);
        }
        self.console.flush()
    }

    fn look_at_power_button(&mut self) {
        if !self.server.is_draining() && wait::power_button() {
            self.server.drain(self.clock.now());
            for &id in self.connection_of.values() {
                self.net.mark_ready(id);
            }
        }
    }

    /// Whether everything owed is delivered, or won't be.
    fn is_over(&mut self) -> bool {
        if !self.server.is_draining() {
            return false;
        }
        let now = self.clock.now();
        if !self.server.is_drained(now) {
            return false;
        }
        let now_ns = now.monotonic_ns;
        let since_ns = *self.drained_since_ns.get_or_insert(now_ns);
        self.connection_of.is_empty() || now_ns.saturating_sub(since_ns) >= GOODBYE_NS
    }

    /// Sleeps until a frame, a job's end, a deadline or the power button. Polling for a while first
    /// was measured, at 30 and 100 microseconds: it costs a quarter and more of the requests, since
    /// it takes the processor from whoever is to produce the next frame.
    fn wait(&mut self, rings: u32) {
        self.net.nic().set_interrupts(true);
        self.console.set_interrupts(true);
        let timeout = self.timeout();
        let (net, console) = (&mut self.net, &self.console);
        self.bell.wait(rings, timeout, || net.nic().has_news() || console.has_news());
        self.net.nic().set_interrupts(false);
        self.console.set_interrupts(false);
        self.look_at_ns = self.look_at_ns.or(Some(self.looked_ns + LOOK_INTERVAL_NS));
    }

    /// Until the earliest deadline.
    fn timeout(&mut self) -> Option<Duration> {
        let now_ns = self.clock.now().monotonic_ns;
        let net_ns = self.net.deadline().map(|due| due.total_micros().max(0) as u64 * 1_000);
        let goodbye_ns = self.drained_since_ns.map(|since_ns| since_ns + GOODBYE_NS);
        let all = [net_ns, self.server.next_deadline_ns(), goodbye_ns, self.look_at_ns];
        let due_ns = all.into_iter().flatten().min();
        due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }
}

/// Moves bytes between a socket and its session until one of them has none, or no room, or the core
/// has had its turn.
fn pump(server: &mut Server, serving: &mut Serving, socket: &mut tcp::Socket, now: Now) {
    let session = serving.session;
    loop {
        let received = receive(server, serving, socket, now);
        let mut sent = 0;
        while socket.can_send() && !server.output(session).is_empty() {
            let Ok(bytes) = socket.send_slice(server.output(session)) else { break };
            server.sent(session, bytes, now);
            sent += bytes;
        }
        serving.bytes_unanswered = if sent > 0 { 0 } else { serving.bytes_unanswered + received };
        if serving.has_more || (received == 0 && sent == 0) {
            break;
        }
    }
    if !serving.is_closing && server.close_wanted(session) {
        serving.is_closing = true;
        // The last ACK must not be delayed: the socket goes when nothing is left to send.
        socket.set_ack_delay(None);
        socket.close();
    }
}

fn receive(
    server: &mut Server,
    serving: &mut Serving,
    socket: &mut tcp::Socket,
    now: Now,
) -> usize {
    let session = serving.session;
    let mut received = 0;
    while !serving.has_more && socket.can_recv() && server.wants_input(session) {
        // The closure's first result is what the socket lets go of.
        let used = socket.recv(|bytes| {
            let used = server.receive(session, bytes, now).min(bytes.len());
            (used, (used, used < bytes.len()))
        });
        match used {
            Ok((used, is_part)) if used > 0 => {
                received += used;
                serving.has_more = is_part && server.wants_input(session);
            }
            _ => break,
        }
    }
    if !serving.has_ended && has_peer_ended(socket) {
        serving.has_ended = true;
        server.receive_end(session, now);
    }
    received
}

/// Whether the peer's FIN has come, and everything before it was read.
fn has_peer_ended(socket: &tcp::Socket) -> bool {
    let has_fin = matches!(
        socket.state(),
        tcp::State::CloseWait | tcp::State::Closing | tcp::State::LastAck | tcp::State::TimeWait
    );
    has_fin && !socket.can_recv()
}

/// The monotonic clock in smoltcp's terms.
pub fn instant(now: Now) -> Instant {
    Instant::from_micros((now.monotonic_ns / 1_000) as i64)
}
