//! A closed-loop client on one thread: each connection sends the same request again when it has the
//! answer to the last.
//!
//! It does as little as it can for a request, one write, one read, and a comparison of what came
//! with the start of the answer that was checked, so that the server is what is measured. The
//! client of the tests checks every bill, and would be slower than the servers here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// One read, and so the most that a small answer may have.
const READ_BYTES: usize = 256 * 1024;
/// A server that answers nobody for this long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

pub struct Client<'a> {
    pub addr: SocketAddr,
    pub connections: usize,
    pub request: &'a [u8],
    /// How the body of every right answer begins.
    pub body_start: &'a [u8],
}

impl Client<'_> {
    /// Requests a second over `span`, after `warm_up`. What is asked is awaited to the end, so that
    /// the next server has its core for itself.
    pub fn run(&self, warm_up: Duration, span: Duration) -> io::Result<f64> {
        let mut poll = Poll::new()?;
        let mut connections = (0..self.connections)
            .map(|index| Connection::open(&poll, index, self.addr))
            .collect::<io::Result<Vec<_>>>()?;
        let mut events = Events::with_capacity(self.connections);
        let mut scratch = vec![0; READ_BYTES];
        let opened = Instant::now();
        let mut started = None;
        let mut answered = 0;
        let mut rate = None;
        while rate.is_none() || connections.iter().any(|connection| connection.is_asking) {
            poll.poll(&mut events, Some(SILENCE_MAX))?;
            if events.is_empty() {
                return Err(ErrorKind::TimedOut.into());
            }
            for event in &events {
                let connection = &mut connections[event.token().0];
                answered += connection.advance(self, &mut scratch, rate.is_none())?;
            }
            match started {
                None if opened.elapsed() >= warm_up => {
                    started = Some(Instant::now());
                    answered = 0;
                }
                Some(started) if started.elapsed() >= span => {
                    rate.get_or_insert(f64::from(answered) / started.elapsed().as_secs_f64());
                }
                _ => {}
            }
        }
        Ok(rate.unwrap_or(f64::NAN))
    }
}

struct Connection {
    stream: TcpStream,
    /// Whether an answer is due.
    is_asking: bool,
    /// Bytes of the request that are sent.
    sent: usize,
    /// The answer, until enough of it has come to check it.
    start: Vec<u8>,
    /// Bytes of a checked answer that are still to come.
    left: Option<usize>,
}

impl Connection {
    fn open(poll: &Poll, index: usize, addr: SocketAddr) -> io::Result<Self> {
        // This waits for each, so that no listener's queue runs over.
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        Ok(Self { stream, is_asking: true, sent: 0, start: Vec::new(), left: None })
    }

    /// Writes and reads as far as the stream allows, and asks again if `goes_on`; how many answers
    /// were whole.
    fn advance(&mut self, client: &Client, scratch: &mut [u8], goes_on: bool) -> io::Result<u32> {
        let mut answered = 0;
        self.send(client.request)?;
        loop {
            let bytes = match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answered),
                Err(error) => return Err(error),
            };
            if self.receive(&scratch[..bytes], client.body_start)? {
                answered += 1;
                self.is_asking = goes_on;
                if goes_on {
                    self.sent = 0;
                    self.send(client.request)?;
                }
            }
            // The socket is empty, and its next bytes will be an event.
            if bytes < scratch.len() {
                return Ok(answered);
            }
        }
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes bytes of the answer; whether it is whole.
    fn receive(&mut self, bytes: &[u8], body_start: &[u8]) -> io::Result<bool> {
        let left = match self.left {
            Some(left) => Some(left.checked_sub(bytes.len()).ok_or_else(too_long)?),
            // What is small comes whole.
            None if self.start.is_empty() => bytes_left(bytes, body_start)?,
            None => {
                self.start.extend_from_slice(bytes);
                bytes_left(&self.start, body_start)?
            }
        };
        match left {
            None if self.start.is_empty() => self.start.extend_from_slice(bytes),
            None => {}
            Some(_) => self.start.clear(),
        }
        self.left = left.filter(|left| *left > 0);
        Ok(left == Some(0))
    }
}

/// Bytes of an answer still to come, once enough of it is here to see that it is right.
fn bytes_left(answer: &[u8], body_start: &[u8]) -> io::Result<Option<usize>> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let Some(head_bytes) = memmem::find(answer, HEAD_END) else { return Ok(None) };
    let (head, body) = (&answer[..head_bytes], &answer[head_bytes + HEAD_END.len()..]);
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::Error::other(String::from_utf8_lossy(answer)));
    }
    if body.len() < body_start.len() {
        return Ok(None);
    }
    if !body.starts_with(body_start) {
        return Err(io::Error::other("another product"));
    }
    let length = content_length(head).ok_or_else(|| io::Error::other("no length"))?;
    length.checked_sub(body.len()).map(Some).ok_or_else(too_long)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length: ";
    let mut lines = memchr::memchr_iter(b'\n', head).map(|end| &head[end + 1..]);
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    })?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |length, digit| 10 * length + usize::from(digit - b'0')))
}

fn too_long() -> io::Error {
    io::Error::other("bytes behind the answer")
}
