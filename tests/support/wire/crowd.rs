//! Many connections, of which few are busy.
//!
//! They go over the wire, since QEMU's user network looks at every connection for every frame and
//! would hide what the guest does. For the same reason each has a socket set of its own here.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;

use super::{FIRST_PORT, Faults, LossyClient, moment};
use crate::support::http;
use crate::support::vm::Network;

/// One small request and its reply.
const BUFFER_BYTES: usize = 4096;
/// What is behind Ethernet's and IPv4's headers: where a segment names its destination.
const PORT_AT: usize = 14 + 20 + 2;
const JOB: &str = r#"{"a": [[1,2],[3,4]], "b": [[5,6],[7,8]]}"#;
const PRODUCT: &str = r#""c":[[19.0,22.0],[43.0,50.0]]"#;

/// The connections. Bind it, boot a VM on its `network()`, then open.
pub struct Crowd {
    client: LossyClient,
    /// By port.
    members: Vec<Member>,
}

struct Member {
    set: SocketSet<'static>,
    handle: SocketHandle,
    received: Vec<u8>,
}

impl Crowd {
    pub fn bind() -> io::Result<Crowd> {
        let client = LossyClient::bind(Faults::default(), 1)?;
        Ok(Crowd { client, members: Vec::new() })
    }

    pub fn network(&self) -> Network {
        self.client.network()
    }

    /// Connections that are open.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Opens one more connection, which has been answered when this returns.
    pub fn open(&mut self, timeout: Duration) -> io::Result<()> {
        let handle = self.client.connect(BUFFER_BYTES)?;
        // Nothing is left to be repeated once a connection has been answered: while others are
        // opened, a frame for this one would be refused.
        self.client.sockets.get_mut::<tcp::Socket>(handle).set_ack_delay(None);
        let request = http::write_request("GET", "/healthz", &[], None);
        let reply = self.client.converse(handle, &request, Instant::now() + timeout)?;
        if reply.status != 200 {
            return Err(io::Error::other(format!("status {}", reply.status)));
        }
        let set = mem::replace(&mut self.client.sockets, SocketSet::new(Vec::new()));
        self.members.push(Member { set, handle, received: Vec::new() });
        Ok(())
    }

    /// The rate at which the first `busy` connections get jobs done, each its next one after the
    /// answer to its last, while the others are idle.
    pub fn jobs_per_second(
        &mut self,
        busy: usize,
        jobs: usize,
        timeout: Duration,
    ) -> io::Result<f64> {
        let started = Instant::now();
        let (mut begun, mut ended) = (0, 0);
        for index in 0..busy {
            self.begin(index)?;
            begun += 1;
        }
        while ended < jobs {
            if started.elapsed() > timeout {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let Some(index) = self.receive_frame() else {
                self.idle(busy)?;
                continue;
            };
            let Some(member) = self.members.get_mut(index) else { continue };
            if member.has_answer()? {
                ended += 1;
                if begun < jobs {
                    self.begin(index)?;
                    begun += 1;
                }
            }
            self.send(index);
        }
        Ok(jobs as f64 / started.elapsed().as_secs_f64())
    }

    fn begin(&mut self, index: usize) -> io::Result<()> {
        let member = &mut self.members[index];
        let socket = member.set.get_mut::<tcp::Socket>(member.handle);
        socket.send_slice(&http::write_job(JOB)).map_err(io::Error::other)?;
        self.send(index);
        Ok(())
    }

    fn send(&mut self, index: usize) {
        let LossyClient { interface, wire, started, .. } = &mut self.client;
        interface.poll_egress(moment(*started), wire, &mut self.members[index].set);
    }

    /// Gives one frame to the connection it is for, if there is one; others go to no connection.
    fn receive_frame(&mut self) -> Option<usize> {
        let LossyClient { interface, wire, sockets, started, .. } = &mut self.client;
        while wire.inward.frames.is_empty() && wire.take_frame() {}
        let frame = wire.inward.frames.front()?;
        let port = frame.get(PORT_AT..PORT_AT + 2)?;
        let index = u16::from_be_bytes([port[0], port[1]]).wrapping_sub(FIRST_PORT);
        let member = self.members.get_mut(usize::from(index));
        let set = member.map_or(sockets, |member| &mut member.set);
        interface.poll_ingress_single(moment(*started), wire, set);
        Some(usize::from(index))
    }

    /// Waits for a frame, and has TCP repeat what got lost.
    fn idle(&mut self, busy: usize) -> io::Result<()> {
        self.client.wire.wait(None)?;
        if self.client.wire.inward.frames.is_empty() {
            for index in 0..busy {
                self.send(index);
            }
        }
        Ok(())
    }
}

impl Member {
    /// Reads what has come; whether it completes an answer, and the right one.
    fn has_answer(&mut self) -> io::Result<bool> {
        let socket = self.set.get_mut::<tcp::Socket>(self.handle);
        let received = &mut self.received;
        while socket.can_recv() {
            let take = |bytes: &mut [u8]| (bytes.len(), received.extend_from_slice(bytes));
            socket.recv(take).map_err(io::Error::other)?;
        }
        if !socket.may_recv() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let parsed = http::parse_response(received, false, false);
        let Some((reply, _)) = parsed.map_err(io::Error::other)? else { return Ok(false) };
        received.clear();
        if reply.status != 200 || !reply.text().contains(PRODUCT) {
            return Err(io::Error::other(format!("wrong: {}", reply.text())));
        }
        Ok(true)
    }
}
