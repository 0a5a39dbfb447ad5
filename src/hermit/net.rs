//! The network: an address, and the connections that peers have opened.
//!
//! Every connection has a smoltcp socket set of its own. smoltcp looks at each socket of a set for
//! each frame and each poll; with one socket to a set, and frames sorted to their set here, a
//! frame costs the same whether one connection is open or a thousand. A listening socket isn't
//! kept either: the socket starts to listen when a SYN for it has come.

mod lending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use super::buffers::BufferPlan;
use super::demux::{self, Destination, Peer};
use super::fault::Fault;
use super::nic::Nic;
use lending::{Lending, Own};

/// Frames taken in one turn, so that a flood can't keep the loop from its other work.
const FRAMES_PER_TURN: usize = 64;
/// Frames one connection may send in one turn, so that a large reply leaves room for others.
const FRAMES_PER_CONNECTION: usize = 16;
/// A handshake that isn't finished by then is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing for this long has vanished.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a silent peer is asked whether it is there; several questions fit the time-out.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Until a send that smoltcp asks for, but doesn't do, is tried again. Nothing is known to cause
/// this; it bounds what a mistake would cost.
const RETRY: Duration = Duration::from_millis(1);

const _: () = assert!(KEEP_ALIVE.total_micros() * 2 < SILENCE_TIMEOUT.total_micros());

/// How the interface comes by its address.
pub enum Addressing {
    /// As given, with a router for peers outside the network.
    Static { address: Ipv4Cidr, gateway: Option<Ipv4Address> },
    /// As a DHCP server says.
    Dhcp,
}

/// A connection's number; it is used again after [`Net::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(usize);

impl ConnectionId {
    /// The number, counted from zero, for tables beside this one.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The interface and its connections.
pub struct Net {
    nic: Nic,
    interface: Interface,
    /// ARP, ping, DHCP, and whatever belongs to no connection.
    control: SocketSet<'static>,
    control_due: Option<Instant>,
    dhcp: Option<SocketHandle>,
    port: u16,
    buffers: BufferPlan,
    lending: Lending,
    connections: Vec<Connection>,
    free: Vec<ConnectionId>,
    by_peer: BTreeMap<Peer, ConnectionId>,
    /// Unfinished handshakes, the oldest first.
    handshakes: BTreeSet<(Instant, ConnectionId)>,
    /// When smoltcp wants to look at each connection again.
    due: BTreeSet<(Instant, ConnectionId)>,
    /// Connections on which something happened.
    ready: VecDeque<ConnectionId>,
}

struct Connection {
    set: SocketSet<'static>,
    socket: SocketHandle,
    own: Own,
    peer: Option<Peer>,
    handshake_since: Option<Instant>,
    due: Option<Instant>,
    is_ready: bool,
}

impl Net {
    /// Sets up the interface to serve `port`.
    pub fn start(
        mut nic: Nic,
        addressing: &Addressing,
        port: u16,
        seed: u64,
        buffers: BufferPlan,
        now: Instant,
    ) -> Result<Self, Fault> {
        let mut config = smoltcp::iface::Config::new(HardwareAddress::Ethernet(nic.mac()));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut nic, now);
        let mut control = SocketSet::new(Vec::new());
        let dhcp = match *addressing {
            Addressing::Static { address, gateway } => {
                check_static(address, gateway)?;
                configure(&mut interface, Some(address), gateway);
                None
            }
            Addressing::Dhcp => Some(control.add(dhcpv4::Socket::new())),
        };
        Ok(Self {
            nic,
            interface,
            control,
            control_due: Some(now),
            dhcp,
            port,
            lending: Lending::new(&buffers),
            buffers,
            connections: Vec::new(),
            free: Vec::new(),
            by_peer: BTreeMap::new(),
            handshakes: BTreeSet::new(),
            due: BTreeSet::new(),
            ready: VecDeque::new(),
        })
    }

    /// The interface's address, when it has one.
    pub fn address(&self) -> Option<Ipv4Address> {
        self.interface.ipv4_addr()
    }

    /// The device, for interrupts.
    pub fn nic(&mut self) -> &mut Nic {
        &mut self.nic
    }

    /// Takes frames that came in, and does what is due. Then connections may be ready.
    pub fn receive(&mut self, now: Instant) {
        for _ in 0..FRAMES_PER_TURN {
            if !self.nic.can_transmit() {
                break;
            }
            let Some(frame) = self.nic.peek() else { break };
            match demux::destination(frame, self.port) {
                Destination::Connection { peer, opens } => self.receive_for(peer, opens, now),
                Destination::ArpReply => {
                    self.receive_control(now);
                    self.retry_all(now);
                }
                Destination::Other => self.receive_control(now),
            }
        }
        if self.control_due.is_some_and(|due| due <= now) {
            self.poll_control(now);
        }
        while let Some(&(due, id)) = self.due.first()
            && due <= now
            && self.nic.can_transmit()
        {
            self.set_due(id, None);
            self.mark_ready(id);
        }
    }

    /// A frame of TCP to the served port.
    fn receive_for(&mut self, peer: Peer, opens: bool, now: Instant) {
        let known = self.by_peer.get(&peer).copied();
        let id = match (known, opens) {
            (Some(id), _) => id,
            (None, true) => match self.admit(peer, now) {
                Some(id) => id,
                // No memory for one more: the peer will ask again, and perhaps there is then.
                None => return self.nic.discard(),
            },
            // Smoltcp answers with a reset.
            (None, false) => return self.receive_control(now),
        };
        let connection = &mut self.connections[id.0];
        self.interface.poll_ingress_single(now, &mut self.nic, &mut connection.set);
        self.mark_ready(id);
    }

    /// A socket that listens, for a peer that is about to connect.
    fn admit(&mut self, peer: Peer, now: Instant) -> Option<ConnectionId> {
        let id = self.free.pop().or_else(|| self.grow()).or_else(|| self.replace_handshake())?;
        let connection = &mut self.connections[id.0];
        connection.peer = Some(peer);
        connection.handshake_since = Some(now);
        let socket = connection.set.get_mut::<tcp::Socket>(connection.socket);
        // Nagle's algorithm would hold back the end of a reply until its start is acknowledged.
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(HANDSHAKE_TIMEOUT));
        socket.set_keep_alive(None);
        // Renewed, because it would go on from what it learnt about the last peer's path.
        socket.set_congestion_control(socket.congestion_control());
        // Fails only for port 0, or for a socket that is open; this one was released.
        let _ = socket.listen(self.port);
        socket.set_recv_capacity_max(self.buffers.large_bytes);
        self.handshakes.insert((now, id));
        self.by_peer.insert(peer, id);
        Some(id)
    }

    fn grow(&mut self) -> Option<ConnectionId> {
        if self.connections.len() >= self.buffers.connections_max {
            return None;
        }
        let (receive, send) = self.buffers.own()?;
        let socket = tcp::Socket::new(receive, send);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let socket = set.add(socket);
        self.connections.push(Connection {
            set,
            socket,
            own: Own::default(),
            peer: None,
            handshake_since: None,
            due: None,
            is_ready: false,
        });
        Some(ConnectionId(self.connections.len() - 1))
    }

    /// Gives up the oldest unfinished handshake for a new one: a flood of SYNs then only gets in
    /// the way of handshakes that take longer than the flood needs to fill all sockets.
    fn replace_handshake(&mut self) -> Option<ConnectionId> {
        let &(_, id) = self.handshakes.first()?;
        self.release(id);
        self.free.pop()
    }

    fn receive_control(&mut self, now: Instant) {
        self.interface.poll_ingress_single(now, &mut self.nic, &mut self.control);
        self.control_due = Some(now);
    }

    fn poll_control(&mut self, now: Instant) {
        self.interface.poll_egress(now, &mut self.nic, &mut self.control);
        if let Some(handle) = self.dhcp {
            match self.control.get_mut::<dhcpv4::Socket>(handle).poll() {
                Some(dhcpv4::Event::Configured(config)) => {
                    configure(&mut self.interface, Some(config.address), config.router);
                }
                Some(dhcpv4::Event::Deconfigured) => configure(&mut self.interface, None, None),
                None => {}
            }
        }
        let due = self.interface.poll_at(now, &self.control);
        self.control_due = due.map(|due| if due <= now { now + RETRY } else { due });
    }

    /// A neighbour's hardware address has become known, and smoltcp doesn't say who waits for it.
    fn retry_all(&mut self, now: Instant) {
        for id in (0..self.connections.len()).map(ConnectionId) {
            if self.connections[id.0].peer.is_some() {
                self.set_due(id, Some(now));
            }
        }
    }

    /// The next connection on which something happened. After serving it: [`Self::send`].
    pub fn next_ready(&mut self) -> Option<ConnectionId> {
        let id = self.ready.pop_front()?;
        self.connections[id.0].is_ready = false;
        Some(id)
    }

    /// Has [`Self::next_ready`] give this connection, if it is still there.
    pub fn mark_ready(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.0];
        if connection.peer.is_some() && !connection.is_ready {
            connection.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// A connection's socket.
    pub fn socket(&mut self, id: ConnectionId) -> &mut tcp::Socket<'static> {
        let connection = &mut self.connections[id.0];
        connection.set.get_mut(connection.socket)
    }

    /// To be called once when the handshake is over: the peer has proven that it is there.
    pub fn established(&mut self, id: ConnectionId) {
        self.end_handshake(id);
        let socket = self.socket(id);
        socket.set_timeout(Some(SILENCE_TIMEOUT));
        socket.set_keep_alive(Some(KEEP_ALIVE));
    }

    /// Sends what the connection's socket has to send now.
    pub fn send(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id.0];
        let mut frames = 0;
        while frames < FRAMES_PER_CONNECTION
            && self.interface.poll_egress(now, &mut self.nic, &mut connection.set)
                == PollResult::SocketStateChanged
        {
            frames += 1;
        }
        let due = self.interface.poll_at(now, &connection.set);
        let is_stuck = frames == 0 && self.nic.can_transmit();
        let due = due.map(|due| if due <= now && is_stuck { now + RETRY } else { due });
        self.set_due(id, due);
    }

    /// Whether [`Self::send`] left something unsent.
    pub fn has_unsent(&self, id: ConnectionId, now: Instant) -> bool {
        self.connections[id.0].due.is_some_and(|due| due <= now)
    }

    /// Forgets a connection; its socket serves the next peer.
    pub fn release(&mut self, id: ConnectionId) {
        self.end_handshake(id);
        self.set_due(id, None);
        let connection = &mut self.connections[id.0];
        let Some(peer) = connection.peer.take() else { return };
        let socket = connection.set.get_mut::<tcp::Socket>(connection.socket);
        socket.abort();
        // Empties the buffers, which a closed socket keeps for whoever might still read them. It
        // fails only for an open socket, and this one was just aborted.
        let _ = socket.listen(self.port);
        socket.abort();
        self.take_back(id);
        self.by_peer.remove(&peer);
        self.free.push(id);
    }

    /// When there will be something to do without a frame coming in; `now` or earlier when there
    /// is now. Nothing that needs sending counts while the device takes no frames.
    pub fn deadline(&mut self) -> Option<Instant> {
        if !self.nic.can_transmit() {
            return None;
        }
        let connection = self.due.first().map(|&(due, _)| due);
        [connection, self.control_due].into_iter().flatten().min()
    }

    fn end_handshake(&mut self, id: ConnectionId) {
        if let Some(since) = self.connections[id.0].handshake_since.take() {
            self.handshakes.remove(&(since, id));
        }
    }

    fn set_due(&mut self, id: ConnectionId, due: Option<Instant>) {
        let connection = &mut self.connections[id.0];
        if connection.due == due {
            return;
        }
        if let Some(before) = connection.due {
            self.due.remove(&(before, id));
        }
        connection.due = due;
        if let Some(due) = due {
            self.due.insert((due, id));
        }
    }
}

fn check_static(address: Ipv4Cidr, gateway: Option<Ipv4Address>) -> Result<(), Fault> {
    let is_host = |address: Ipv4Address| {
        !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
    };
    if !is_host(address.address()) {
        return Err(Fault::Settings("the given address isn't one of a host"));
    }
    match gateway {
        Some(gateway) if !is_host(gateway) || !address.contains_addr(&gateway) => {
            Err(Fault::Settings("the given gateway isn't in the network of the given address"))
        }
        _ => Ok(()),
    }
}

fn configure(interface: &mut Interface, address: Option<Ipv4Cidr>, gateway: Option<Ipv4Address>) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        // The list was just emptied, and holds at least one.
        addresses.extend(address.map(IpCidr::Ipv4));
    });
    interface.routes_mut().remove_default_ipv4_route();
    if let Some(gateway) = gateway {
        // The table was just emptied of its only entry, so it isn't full.
        let _ = interface.routes_mut().add_default_ipv4_route(gateway);
    }
}
