//! One client's socket, and what the core has to do with it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use gemmule::formats::{Place, STRIDE_BYTES};
use gemmule::server::{Server, SessionId};
use gemmule::time::Now;
use mio::event::Event;
use mio::net::TcpStream;

/// Reads from one client before others get their turn.
const READS_PER_TURN: usize = 4;
/// The most that is read where a head is to come: of a large body behind it, all but its start goes
/// right to its place.
const HEAD_READ_BYTES: usize = 32 * 1024;

pub struct Connection {
    pub id: SessionId,
    pub stream: TcpStream,
    /// Bytes that were read and that the session does not take yet.
    inbox: Vec<u8>,
    /// The socket may have bytes, or room, that were not used up: readiness is told on change only.
    readable: bool,
    writable: bool,
    /// The client has closed its side, or the connection is broken: told once, and found out by
    /// reading on to the end.
    is_ending: bool,
    input_ended: bool,
    output_ended: bool,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It waits for the network, or for its job.
    Waits,
    /// It has had its turn and has more to do.
    More,
    /// It is over.
    Over,
}

impl Connection {
    pub fn new(id: SessionId, stream: TcpStream) -> Self {
        Self {
            id,
            stream,
            inbox: Vec::new(),
            readable: true,
            writable: true,
            is_ending: false,
            input_ended: false,
            output_ended: false,
        }
    }

    /// Notes what has changed.
    pub fn note(&mut self, event: &Event) {
        self.is_ending |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.is_ending;
        self.writable |= event.is_writable() || event.is_error();
    }

    /// Moves bytes both ways for as long as both sides go along, within a turn's bounds.
    pub fn serve(&mut self, server: &mut Server, now: Now, scratch: &mut [u8]) -> Served {
        for _ in 0..READS_PER_TURN {
            if self.write(server, now).is_err() {
                return Served::Over;
            }
            if server.close_wanted(self.id) {
                if !self.output_ended {
                    self.output_ended = true;
                    // A client that is already gone is found out by the next read.
                    let _ = self.stream.shutdown(Shutdown::Write);
                }
                if self.input_ended {
                    return Served::Over;
                }
            }
            match self.read(server, now, scratch) {
                Ok(true) => {}
                Ok(false) => return Served::Waits,
                Err(_) => return Served::Over,
            }
        }
        Served::More
    }

    fn write(&mut self, server: &mut Server, now: Now) -> io::Result<()> {
        while self.writable && !server.output(self.id).is_empty() {
            match self.stream.write(server.output(self.id)) {
                Ok(bytes) => server.sent(self.id, bytes, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Brings the session its next bytes; whether there were any.
    fn read(&mut self, server: &mut Server, now: Now, scratch: &mut [u8]) -> io::Result<bool> {
        if !server.wants_input(self.id) {
            return Ok(false);
        }
        if !self.inbox.is_empty() {
            let used = server.receive(self.id, &self.inbox, now);
            self.inbox.drain(..used);
            return Ok(used > 0);
        }
        if !self.readable || self.input_ended {
            return Ok(false);
        }
        let mut placed = None;
        server.receive_into(self.id, scratch.len(), now, &mut |place| {
            let room = place.room().len();
            placed = Some((read_into(&self.stream, place), room));
        });
        let is_placed = placed.is_some();
        let (result, room) = placed.unwrap_or_else(|| {
            let room = if server.is_in_body(self.id) { scratch.len() } else { HEAD_READ_BYTES };
            (self.stream.read(&mut scratch[..room]), room)
        });
        match result {
            Ok(0) => {
                self.input_ended = true;
                server.receive_end(self.id, now);
                Ok(true)
            }
            Ok(bytes) => {
                // A read that was not filled has emptied the socket: another would only say so.
                self.readable = bytes == room || self.is_ending;
                if is_placed {
                    return Ok(true);
                }
                let mut used = 0;
                // Each call does a bounded amount of work. So many take all, unless it is
                // compressed; what is left is kept apart.
                for _ in 0..bytes.div_ceil(STRIDE_BYTES) {
                    used += server.receive(self.id, &scratch[used..bytes], now);
                    if used == bytes {
                        break;
                    }
                }
                self.inbox.extend_from_slice(&scratch[used..bytes]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Reads from a stream into a place, which is not cleared before; how many bytes.
fn read_into(stream: &TcpStream, place: &mut Place) -> io::Result<usize> {
    let room = place.room();
    // SAFETY: the room is there to be written, and as long as the call is told.
    let received =
        unsafe { libc::recv(stream.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the call has written so many.
    unsafe { place.pass(bytes) };
    Ok(bytes)
}
