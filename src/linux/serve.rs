//! The event loop.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gemmule::billing::Tariff;
use gemmule::ledger::Volume;
use gemmule::limits::VOLUME_CACHE_BYTES_DEFAULT;
use gemmule::server::{Config, Expired, Server};
use gemmule::time::Now;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::connection::{Connection, Served};
use super::heap;
use super::volume::FileDisk;
use crate::host::background::Reader;
use crate::host::clock::Clock;
use crate::host::keeper::Keeper;
use crate::host::options::ServeOptions;
use crate::host::peak;
use crate::host::runner::Runner;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

const EVENTS_PER_POLL: usize = 1024;
/// One read from a socket: each call of the system has the client's next bytes on their way, which
/// costs less the fewer they are.
const SCRATCH_BYTES: usize = 512 * 1024;
/// How long to leave the listener alone when there is no session, or no file descriptor, left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until SIGTERM or SIGINT, then drains; the exit status.
pub fn serve(options: &ServeOptions) -> u8 {
    match EventLoop::new(options).and_then(EventLoop::run) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("gemmule: {error}");
            1
        }
    }
}

struct EventLoop {
    poll: Poll,
    listener: TcpListener,
    signals: mio::net::UnixStream,
    server: Server,
    /// `None`: the ledger is in memory.
    keeper: Option<Keeper>,
    runner: Runner,
    clock: Clock,
    /// When this turn of the loop began, or its jobs were done. Reading the clocks for every packet
    /// would cost more than it tells.
    now: Now,
    /// By the index of their session.
    connections: Vec<Option<Connection>>,
    /// Connections that have more to do than one turn allows.
    unfinished: VecDeque<usize>,
    scratch: Vec<u8>,
    /// Lines for the console, until the end of a turn.
    console: String,
    accept_paused: bool,
}

impl EventLoop {
    fn new(options: &ServeOptions) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(options.listen).map_err(|error| {
            io::Error::new(error.kind(), format!("listening on {}: {error}", options.listen))
        })?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut signals = mio::net::UnixStream::from_std(signal_stream()?);
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let wake = move || waker.wake().expect("an event counter takes a wake-up at any time");
        let threads = options.threads.unwrap_or_else(super::compute_threads_default);
        let memory_bytes = options.memory_bytes.unwrap_or_else(super::memory_bytes_default);
        heap::keep_blocks(memory_bytes);
        let config = Config {
            memory_bytes,
            sessions_max: options.sessions_max,
            tariff: Tariff::standard().into(),
            platform: super::NAME,
            // Without compute threads, the one that does I/O multiplies.
            threads: threads.max(1),
            access: options.access(),
            peak: peak::at_start(),
        };
        let clock = Clock::new();
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let mut server = Server::new(config, super::seed()?)
            .with_cors(options.cors.clone())
            .with_all_checks(options.checks_all);
        let keeper = match &options.data {
            None => None,
            Some(path) => {
                let volume = open_volume(path)?;
                server = server
                    .with_background(Reader::start()?)
                    .with_volume(volume.clone(), clock.now())
                    .map_err(io::Error::other)?;
                Some(Keeper::start(volume, wake.clone())?)
            }
        };
        server.make_first_key(clock.now());
        match &options.data {
            Some(path) => println!("gemmule: the ledger is on {path}"),
            None => println!("gemmule: the ledger is in memory, and ends with this process"),
        }
        println!("gemmule: serving on {}", listener.local_addr()?);
        Ok(Self {
            poll,
            listener,
            signals,
            server,
            keeper,
            runner: Runner::new(threads, clock, wake)?,
            now: clock.now(),
            clock,
            connections: Vec::new(),
            unfinished: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES],
            console: String::new(),
            accept_paused: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        // What the start has put on the console, and in the ledger, waits for no client.
        let mut is_busy = true;
        loop {
            match self.poll.poll(&mut events, self.timeout(is_busy)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.now = self.clock.now();
            let is_idle = events.is_empty() && !is_busy && self.unfinished.is_empty();
            if std::mem::take(&mut self.accept_paused) {
                self.accept()?;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => {}
                    SIGNALS => self.begin_drain()?,
                    Token(index) => {
                        if let Some(connection) = self.connection(index) {
                            connection.note(event);
                            self.serve(index);
                        }
                    }
                }
            }
            for _ in 0..self.unfinished.len() {
                if let Some(index) = self.unfinished.pop_front() {
                    self.serve(index);
                }
            }
            let turn = self.runner.turn(&mut self.server, &self.clock);
            self.now = self.clock.now();
            for id in turn.sessions {
                self.serve(id.index());
            }
            if let Some(keeper) = &mut self.keeper {
                for id in keeper.turn(&mut self.server, &self.clock, is_idle) {
                    self.serve(id.index());
                }
            }
            self.expire();
            self.print()?;
            is_busy = turn.more || self.server.has_ready_jobs();
            if self.server.is_drained(self.now) {
                return self.close();
            }
        }
    }

    /// The volume is closed, so that it opens without a repair.
    fn close(self) -> io::Result<()> {
        let Self { server, keeper, .. } = self;
        drop(server);
        match keeper.map(Keeper::finish).and_then(Arc::into_inner) {
            Some(volume) => volume.close().map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn timeout(&self, is_busy: bool) -> Option<Duration> {
        let is_gathering = self.keeper.as_ref().is_some_and(Keeper::is_gathering);
        if is_busy || is_gathering || !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let session = self
            .server
            .next_deadline_ns()
            .map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(self.now.monotonic_ns)));
        let accept = self.accept_paused.then_some(ACCEPT_PAUSE);
        [session, accept].into_iter().flatten().min()
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            // Clients beyond the limit wait in the listener's queue.
            if !self.server.can_open() {
                self.accept_paused = true;
                return Ok(());
            }
            let (mut stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client gave up while it waited.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Out of file descriptors or buffers: those who are connected are still served.
                Err(error) => {
                    eprintln!("gemmule: accepting: {error}");
                    self.accept_paused = true;
                    return Ok(());
                }
            };
            let Some(id) = self.server.open(self.now) else { continue };
            // A reply goes out whole; waiting to join it with a later one would only delay it.
            let registered = stream.set_nodelay(true).and_then(|()| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(id.index()), interest)
            });
            if registered.is_err() {
                self.server.gone(id);
                continue;
            }
            let index = id.index();
            if self.connections.len() <= index {
                self.connections.resize_with(index + 1, || None);
            }
            self.connections[index] = Some(Connection::new(id, stream));
            self.serve(index);
        }
    }

    fn connection(&mut self, index: usize) -> Option<&mut Connection> {
        self.connections.get_mut(index)?.as_mut()
    }

    fn serve(&mut self, index: usize) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        match connection.serve(&mut self.server, self.now, &mut self.scratch) {
            Served::Waits => {}
            Served::More => self.unfinished.push_back(index),
            Served::Over => self.drop_connection(index),
        }
    }

    /// Closing the socket takes it out of the poll as well.
    fn drop_connection(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index).and_then(Option::take) {
            self.server.gone(connection.id);
        }
    }

    fn expire(&mut self) {
        while let Some(expired) = self.server.expire(self.now) {
            match expired {
                Expired::Answered(id) => self.serve(id.index()),
                Expired::Stalled(id) => self.drop_connection(id.index()),
            }
        }
    }

    /// All lines of a turn in one write.
    fn print(&mut self) -> io::Result<()> {
        while let Some(line) = self.server.take_console() {
            self.console.push_str(&line);
            self.console.push('\n');
        }
        if self.console.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(self.console.as_bytes())?;
        self.console.clear();
        out.flush()
    }

    fn begin_drain(&mut self) -> io::Result<()> {
        let mut byte = [0; 16];
        match self.signals.read(&mut byte) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        if !self.server.is_draining() {
            println!("gemmule: draining");
            self.server.drain(self.now);
            for index in 0..self.connections.len() {
                self.serve(index);
            }
        }
        Ok(())
    }
}

fn open_volume(path: &str) -> io::Result<Arc<Volume>> {
    let named = |error: &dyn Display| io::Error::other(format!("{path}: {error}"));
    let disk = FileDisk::open(Path::new(path)).map_err(|error| named(&error))?;
    let mut id = [0; 16];
    id.copy_from_slice(&super::seed()?[..16]);
    let volume = Volume::open(Box::new(disk), id, VOLUME_CACHE_BYTES_DEFAULT);
    volume.map(Arc::new).map_err(|error| named(&error))
}

/// A stream that becomes readable when the process is told to stop.
fn signal_stream() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}
