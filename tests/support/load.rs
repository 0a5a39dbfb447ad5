//! A closed-loop load generator on one thread: each connection sends its next job when it has the
//! answer to the last. Every product and every bill is checked, so a run is a test as well.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::http::{self, Response};
use super::random::Random;
use job::Job;

pub mod job;

#[derive(Debug, Clone)]
pub struct Load {
    pub addr: SocketAddr,
    pub connections: usize,
    /// In total, over all connections.
    pub requests: usize,
    pub shape: Shape,
    /// A connection that gets nothing for this long has failed.
    pub timeout: Duration,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// m, n and k all this.
    Square(usize),
    /// m, n and k each in 1 to this.
    Varied(usize),
}

#[derive(Debug, Default)]
pub struct Report {
    /// Answered and right.
    pub right: usize,
    /// Answered wrongly, or not at all; the first few are told in `complaints`.
    pub wrong: usize,
    pub complaints: Vec<String>,
    pub elapsed: Duration,
    /// From the first byte sent to the last received, of every right answer, sorted.
    pub latencies: Vec<Duration>,
}

impl Report {
    pub fn requests_per_second(&self) -> f64 {
        self.right as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `percent` of the right answers did not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.latencies.len() as f64 * percent / 100.0).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn complain(&mut self, complaint: String) {
        const COMPLAINTS_MAX: usize = 10;
        self.wrong += 1;
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(complaint);
        }
    }
}

impl Load {
    /// 2 x 2 products. A thousand are enough to warm a guest up; a figure wants more.
    pub fn new(addr: SocketAddr, connections: usize, requests: usize) -> Load {
        Load {
            addr,
            connections,
            requests,
            shape: Shape::Square(2),
            timeout: Duration::from_secs(20),
            seed: 1,
        }
    }

    /// Sends all requests. An error is of this machine, never of the server.
    pub fn run(&self) -> io::Result<Report> {
        let mut run = Run {
            load: self,
            poll: Poll::new()?,
            random: Random::new(self.seed),
            unsent: self.requests,
            connections: Vec::new(),
            jobs_seen: HashSet::new(),
            report: Report::default(),
        };
        let started = Instant::now();
        let mut swept = started;
        let mut events = Events::with_capacity(self.connections);
        run.open_next()?;
        while run.connections.iter().any(Option::is_some) {
            run.poll.poll(&mut events, Some(Duration::from_millis(100)))?;
            for event in &events {
                run.advance(event.token().0)?;
            }
            if swept.elapsed() > Duration::from_secs(1) {
                swept = Instant::now();
                run.give_up_on_silent()?;
            }
        }
        let mut report = run.report;
        report.elapsed = started.elapsed();
        report.latencies.sort_unstable();
        Ok(report)
    }
}

struct Run<'a> {
    load: &'a Load,
    poll: Poll,
    random: Random,
    /// Jobs not yet given to a connection.
    unsent: usize,
    /// By token. A connection is retired when no job is left for it.
    connections: Vec<Option<Connection>>,
    jobs_seen: HashSet<String>,
    report: Report,
}

impl Run<'_> {
    /// Opens the next connection, if there is to be one. They are opened one after another, each
    /// when the one before it is answered: QEMU's forwarding listens with a backlog of one, and of
    /// connections opened at once most would wait seconds for TCP's retransmissions.
    fn open_next(&mut self) -> io::Result<()> {
        let index = self.connections.len();
        if index < self.load.connections && self.unsent > 0 {
            self.connections.push(None);
            self.next_job(index, false)?;
        }
        Ok(())
    }

    fn advance(&mut self, index: usize) -> io::Result<()> {
        let Some(connection) = self.connections[index].as_mut() else { return Ok(()) };
        let outcome = match connection.advance() {
            Ok(None) => return Ok(()),
            Ok(Some(response)) => {
                let checked = connection.job.check(&response, &mut self.jobs_seen);
                checked.map(|()| !response.closes())
            }
            Err(error) => Err(format!("connection {index}: {error}")),
        };
        let latency = connection.sent.elapsed();
        let reusable = match outcome {
            Ok(reusable) => {
                self.report.right += 1;
                self.report.latencies.push(latency);
                reusable
            }
            Err(complaint) => {
                self.report.complain(complaint);
                false
            }
        };
        self.next_job(index, reusable)?;
        if index + 1 == self.connections.len() {
            self.open_next()?;
        }
        Ok(())
    }

    fn give_up_on_silent(&mut self) -> io::Result<()> {
        for index in 0..self.connections.len() {
            let silent = |c: &Connection| c.sent.elapsed() > self.load.timeout;
            if self.connections[index].as_ref().is_some_and(silent) {
                self.report.complain(format!("connection {index}: no answer in time"));
                self.next_job(index, false)?;
            }
        }
        Ok(())
    }

    /// Gives a connection its next job, on a new stream unless the old one is `reusable`, or
    /// retires it when all jobs are given out.
    fn next_job(&mut self, index: usize, reusable: bool) -> io::Result<()> {
        let slot = &mut self.connections[index];
        if self.unsent == 0 {
            *slot = None;
            return Ok(());
        }
        self.unsent -= 1;
        let job = Job::random(&mut self.random, self.load.shape);
        match slot {
            Some(connection) if reusable => connection.begin(job),
            _ => *slot = Some(Connection::open(&self.poll, index, self.load.addr, job)?),
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    job: Job,
    unsent: Vec<u8>,
    received: Vec<u8>,
    sent: Instant,
}

impl Connection {
    fn open(poll: &Poll, index: usize, addr: SocketAddr, job: Job) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(addr)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(index), interest)?;
        stream.set_nodelay(true)?;
        let unsent = job.request();
        Ok(Connection { stream, job, unsent, received: Vec::new(), sent: Instant::now() })
    }

    /// Sends the next request. The registration is edge-triggered and the stream writable, so
    /// nobody would call `advance` for it; what does not fit in the send buffer waits for its edge,
    /// and an error comes back on the next read.
    fn begin(&mut self, job: Job) {
        self.unsent = job.request();
        self.job = job;
        self.sent = Instant::now();
        let _ = self.flush();
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if pending(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes and reads as far as the stream allows; the response once it is whole.
    fn advance(&mut self) -> io::Result<Option<Response>> {
        self.flush()?;
        let mut closed = false;
        let mut chunk = [0; 16 * 1024];
        while !closed {
            match self.stream.read(&mut chunk) {
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    closed = count == 0;
                }
                Err(error) if pending(&error) => break,
                Err(error) => return Err(error),
            }
        }
        match http::parse_response(&self.received, false, closed).map_err(io::Error::other)? {
            Some((response, bytes)) if bytes == self.received.len() => {
                self.received.clear();
                Ok(Some(response))
            }
            Some(_) => Err(io::Error::other("bytes behind the response")),
            None if closed => Err(io::ErrorKind::UnexpectedEof.into()),
            None => Ok(None),
        }
    }
}

/// Also true while the connection is still being made.
fn pending(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
