//! A wire that loses, repeats and reorders frames, between a VM and an HTTP client of our own.
//!
//! QEMU's `dgram` network carries one Ethernet frame a UDP datagram over the loopback interface. At
//! our end smoltcp is the client's TCP/IP, and between the two a seeded generator decides each
//! frame's fate. The decisions repeat with the seed; which frame meets which decision depends on
//! timing, so a seed makes a failure likely to return, not certain.

pub mod crowd;
pub mod flood;

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Moment;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};

use super::http::{self, Response};
use super::random::Random;
use super::vm::{self, Network};

/// An Ethernet header and an IP packet of the usual 1500 bytes.
const FRAME_BYTES_MAX: usize = 1514;
/// Of our end of the connections.
const FIRST_PORT: u16 = 49152;
const SOCKET_BUFFER_BYTES: usize = 256 * 1024;

/// Chances per frame and direction, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub drop: u32,
    pub duplicate: u32,
    /// The frame is held back until another has passed it.
    pub reorder: u32,
}

/// How often the wire did what; a test of recovery checks that there was something to recover from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub passed: u32,
    pub dropped: u32,
    pub duplicated: u32,
    pub reordered: u32,
}

/// An HTTP client behind a bad wire. Bind it, boot a VM on its `network()`, then request.
pub struct LossyClient {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    network: Network,
    started: Instant,
    next_port: u16,
}

impl LossyClient {
    pub fn bind(faults: Faults, seed: u64) -> io::Result<LossyClient> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let test_port = socket.local_addr()?.port();
        let qemu_port = vm::free_udp_port();
        socket.connect(("127.0.0.1", qemu_port))?;
        socket.set_nonblocking(true)?;
        let mut wire = Wire::new(socket, faults, seed);
        // Locally administered, like QEMU's own but not one it hands out.
        let address = EthernetAddress([0x02, 0, 0, 0, 0, 0x02]);
        let mut config = Config::new(address.into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, Moment::ZERO);
        interface.update_ip_addrs(|addresses| {
            let gateway = IpAddress::v4(10, 0, 2, 2);
            addresses.push(IpCidr::new(gateway, 24)).expect("room for one address");
        });
        Ok(LossyClient {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            network: Network::Datagrams { qemu_port, test_port },
            started: Instant::now(),
            next_port: FIRST_PORT,
        })
    }

    pub fn network(&self) -> Network {
        self.network
    }

    /// Towards the guest, and from it.
    pub fn tallies(&self) -> [Tally; 2] {
        [self.wire.outward.tally, self.wire.inward.tally]
    }

    /// Opens a connection, sends `bytes`, waits for one whole response and resets the connection.
    /// `timeout` covers all of it.
    pub fn exchange(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<Response> {
        let deadline = Instant::now() + timeout;
        let handle = self.connect(SOCKET_BUFFER_BYTES)?;
        let outcome = self.converse(handle, bytes, deadline);
        self.sockets.get_mut::<tcp::Socket>(handle).abort();
        self.interface.poll(moment(self.started), &mut self.wire, &mut self.sockets);
        self.sockets.remove(handle);
        outcome
    }

    fn connect(&mut self, buffer_bytes: usize) -> io::Result<SocketHandle> {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer_bytes]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let guest: Ipv4Address = vm::GUEST_ADDRESS.parse().expect("a constant IPv4 address");
        socket
            .connect(self.interface.context(), (guest, vm::GUEST_PORT), self.next_port)
            .map_err(io::Error::other)?;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        Ok(self.sockets.add(socket))
    }

    /// Posts a JSON job to /v1/multiply.
    pub fn post_job(&mut self, json: &str, timeout: Duration) -> io::Result<Response> {
        self.exchange(&http::write_job(json), timeout)
    }

    fn converse(
        &mut self,
        handle: SocketHandle,
        mut unsent: &[u8],
        deadline: Instant,
    ) -> io::Result<Response> {
        let mut received = Vec::new();
        while Instant::now() < deadline {
            self.interface.poll(moment(self.started), &mut self.wire, &mut self.sockets);
            let socket = self.sockets.get_mut::<tcp::Socket>(handle);
            if socket.can_send() && !unsent.is_empty() {
                let count = socket.send_slice(unsent).map_err(io::Error::other)?;
                unsent = &unsent[count..];
            }
            while socket.can_recv() {
                let take = |bytes: &mut [u8]| (bytes.len(), received.extend_from_slice(bytes));
                socket.recv(take).map_err(io::Error::other)?;
            }
            let connecting = matches!(socket.state(), tcp::State::SynSent | tcp::State::Closed);
            let closed = !connecting && !socket.may_recv();
            let parsed = http::parse_response(&received, false, closed);
            if let Some((response, _)) = parsed.map_err(io::Error::other)? {
                return Ok(response);
            }
            if closed || !socket.is_open() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let delay = self.interface.poll_delay(moment(self.started), &self.sockets);
            self.wire.wait(delay.map(|delay| Duration::from_micros(delay.total_micros())))?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn moment(started: Instant) -> Moment {
    Moment::from_micros(started.elapsed().as_micros() as i64)
}

struct Wire {
    socket: UdpSocket,
    outward: Lane,
    inward: Lane,
}

/// One direction: what is on its way, and who decides about the next frame.
struct Lane {
    faults: Faults,
    random: Random,
    tally: Tally,
    held: Option<Vec<u8>>,
    frames: VecDeque<Vec<u8>>,
}

impl Lane {
    fn new(faults: Faults, seed: u64) -> Lane {
        let random = Random::new(seed);
        Lane { faults, random, tally: Tally::default(), held: None, frames: VecDeque::new() }
    }

    /// Decides one frame's fate. All three chances are drawn for every frame, so that the sequence
    /// of decisions does not depend on their outcome.
    fn admit(&mut self, frame: Vec<u8>) {
        let dropped = self.random.chance(self.faults.drop);
        let duplicated = self.random.chance(self.faults.duplicate);
        let reordered = self.random.chance(self.faults.reorder);
        let passes_held = self.held.take();
        if dropped {
            self.tally.dropped += 1;
        } else if reordered && passes_held.is_none() {
            self.tally.reordered += 1;
            self.held = Some(frame);
        } else {
            self.tally.passed += 1;
            if duplicated {
                self.tally.duplicated += 1;
                self.frames.push_back(frame.clone());
            }
            self.frames.push_back(frame);
        }
        self.frames.extend(passes_held);
    }
}

impl Wire {
    fn new(socket: UdpSocket, faults: Faults, seed: u64) -> Wire {
        let outward = Lane::new(faults, seed);
        Wire { socket, outward, inward: Lane::new(faults, !seed) }
    }

    /// Waits for a frame from the guest or for `delay`, at most for the fiftieth of a second that
    /// keeps deadlines honest.
    fn wait(&mut self, delay: Option<Duration>) -> io::Result<()> {
        let delay = delay.unwrap_or(Duration::MAX).min(Duration::from_millis(20));
        // A timeout of zero would mean none at all.
        self.socket.set_read_timeout(Some(delay.max(Duration::from_micros(10))))?;
        self.socket.set_nonblocking(false)?;
        self.take_frame();
        self.socket.set_nonblocking(true)
    }

    /// Moves one datagram, if there is one, into the inward lane. An error is that of an earlier
    /// send while QEMU was not listening yet: a frame lost, like others.
    fn take_frame(&mut self) -> bool {
        let mut frame = vec![0; FRAME_BYTES_MAX];
        let Ok(bytes) = self.socket.recv(&mut frame) else { return false };
        frame.truncate(bytes);
        self.inward.admit(frame);
        true
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Moment) -> Option<(Received, Sending<'_>)> {
        while self.inward.frames.is_empty() && self.take_frame() {}
        let frame = self.inward.frames.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sending<'a>(&'a mut Wire);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.outward.admit(frame);
        while let Some(frame) = self.0.outward.frames.pop_front() {
            // A full buffer, or QEMU not listening yet, loses the frame: the wire is allowed to.
            let _ = self.0.socket.send(&frame);
        }
        result
    }
}
