//! The server: every connection's session, the jobs between them, and the bills.
//!
//! The host moves bytes and runs jobs; all decisions are made here. A session is opened for each
//! connection, fed with [`Server::receive`], and read with [`Server::output`]. Jobs are taken
//! with [`Server::next_job`], advanced by whatever threads the host has, and brought back with
//! [`Server::finish`].

mod session;

mod wire;

mod intake;

mod exchange;

mod streams;

mod events;

mod admin;

mod bad_keys;

mod first_key;

mod jobs;

mod ledger;

pub(crate) mod payer;

pub(crate) mod tasks;

pub(crate) mod limits;

mod replies;

mod readouts;

mod inference;

mod matrices;

mod metrics;

mod storage;

mod timers;

mod deadlines;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use slab::Slab;

use crate::billing::{RecentBills, Tariff};
use crate::gemm;
use crate::http::Cors;
use crate::inference::stats;
use crate::job::Job;
use crate::job::queue::{AccountIndex, FairQueue};
use crate::large::Background;
use crate::ledger::book::{Book, BookError};
use crate::ledger::entry::{Opened, Record};
use crate::ledger::{Account, AccountId, Volume};
use crate::limits::{CONSOLE_LINES_MAX, DRAIN_TIMEOUT_NS};
use crate::memory::MemoryBudget;
use crate::store::{Store, StoreError};
use crate::time::Now;

use bad_keys::BadKeys;
use matrices::Matrices;
use metrics::Counters;
use session::Session;
use timers::Timers;

/// What the host decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of memory that all requests together may hold.
    pub memory_bytes: usize,
    /// Connections open at once.
    pub sessions_max: usize,
    /// The tariff of a book that has none.
    pub tariff: Arc<Tariff>,
    /// Whom it serves.
    pub access: Access,
    /// The machine that serves, as `GET /v1/version` names it.
    pub platform: &'static str,
    /// Threads that multiply.
    pub threads: usize,
    /// What one core can do, as the host has measured it.
    pub peak: gemm::Peak,
}

/// Whom a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever has a key.
    Keys,
    /// Anybody: without a key, on the account [`ANONYMOUS`].
    Anonymous,
}

/// The account of those who come without a key.
pub const ANONYMOUS: &str = "anonymous";

/// Names a session; one that is over is never mistaken for a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    index: usize,
    generation: u64,
}

impl SessionId {
    /// No session has it.
    pub(crate) const NOBODY: Self = Self { index: usize::MAX, generation: 0 };

    /// A small number that no other open session has: an index for the host's own table.
    pub fn index(self) -> usize {
        self.index
    }
}

/// A session whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// It has been answered or told to close: send its output and see [`Server::close_wanted`].
    Answered(SessionId),
    /// Its client does not take what it is sent: reset the connection, then [`Server::gone`].
    Stalled(SessionId),
}

/// The service.
#[derive(Debug)]
pub struct Server {
    config: Config,
    cors: Cors,
    /// Every product is checked, however small.
    checks_all: bool,
    memory: MemoryBudget,
    sessions: Slab<Session>,
    generation: u64,
    timers: Timers,
    ready_jobs: FairQueue<Box<Job>>,
    /// Sessions that have output of which the host was not told yet.
    untold: Vec<SessionId>,
    /// Jobs that the host has taken and not brought back.
    jobs_out: usize,
    bills: RecentBills,
    book: Book,
    /// Matrices that stay.
    store: Arc<Store>,
    /// Threads of the host that wait for disks.
    background: Option<Arc<dyn Background>>,
    tasks: tasks::Tasks,
    matrices: Matrices,
    /// The account [`ANONYMOUS`], where it is served.
    anonymous: Option<AccountIndex>,
    waiting: ledger::Waiting,
    in_use: limits::InUse,
    counters: Counters,
    bad_keys: BadKeys,
    storage: storage::Storage,
    /// What the models of the inference protocol have done.
    inference: stats::Counters,
    random: ChaCha12Rng,
    console: VecDeque<String>,
    console_lines_dropped: u64,
    /// When to stop waiting for what is owed, on the monotonic clock, once the host drains.
    drain_until_ns: Option<u64>,
}

impl Server {
    /// A server without sessions. `seed` must be unpredictable: job ids are drawn from it.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let memory = MemoryBudget::new(config.memory_bytes);
        let store = Store::in_memory(memory.clone());
        let matrices = Matrices::open(None, &store, 0).expect("an empty store has no rows");
        let mut server = Self {
            store,
            matrices,
            background: None,
            tasks: tasks::Tasks::default(),
            memory,
            sessions: Slab::new(),
            generation: 0,
            timers: Timers::default(),
            ready_jobs: FairQueue::default(),
            untold: Vec::new(),
            jobs_out: 0,
            bills: RecentBills::default(),
            book: Book::ephemeral(),
            anonymous: None,
            waiting: ledger::Waiting::default(),
            in_use: limits::InUse::default(),
            counters: Counters::default(),
            bad_keys: BadKeys::default(),
            storage: storage::Storage::default(),
            inference: stats::Counters::default(),
            random: ChaCha12Rng::from_seed(seed),
            console: VecDeque::new(),
            console_lines_dropped: 0,
            drain_until_ns: None,
            cors: Cors::Off,
            checks_all: false,
            config,
        };
        server.begin_book(0);
        server
    }

    /// The same, with its ledger and its matrices on a volume.
    ///
    /// # Errors
    ///
    /// What is wrong with the volume.
    pub fn with_volume(mut self, volume: Arc<Volume>, now: Now) -> Result<Self, BookError> {
        let damaged = |error| match error {
            StoreError::Volume(error) => BookError::Volume(error),
            error => BookError::Damaged(alloc::format!("its matrices: {error}")),
        };
        self.store = Store::open(volume.clone(), self.memory.clone()).map_err(damaged)?;
        self.matrices = Matrices::open(Some(&volume), &self.store, now.unix_ns).map_err(damaged)?;
        self.book = Book::open(volume, now.unix_ns)?;
        self.anonymous = None;
        self.begin_book(now.unix_ns);
        let billed = self.store.billed();
        self.open_storage(billed, now);
        self.open_tasks(now)?;
        Ok(self)
    }

    /// What a book has before anything is asked for.
    fn begin_book(&mut self, now_unix_ns: u64) {
        let version = Cow::Borrowed(env!("CARGO_PKG_VERSION"));
        let opened = Opened { version, platform: Cow::Borrowed(self.config.platform) };
        self.book.record(now_unix_ns, Record::Opened(opened));
        if !self.book.has_receipt_key() {
            self.make_receipt_key(now_unix_ns);
        }
        if self.book.tariffs().is_none() {
            let tariff = Tariff::clone(&self.config.tariff);
            self.book.record(now_unix_ns, Record::Tariff(tariff));
        }
        if self.config.access == Access::Anonymous {
            let id: AccountId = ANONYMOUS.parse().expect("the name is an id");
            if self.book.account_index(&id).is_none() {
                let name = String::from("whoever comes without a key");
                let tariff = self.config.tariff.name.clone();
                let account = Account::new(id.clone(), name, tariff, now_unix_ns);
                self.book.record(now_unix_ns, Record::Account(account));
            }
            self.anonymous = self.book.account_index(&id);
        }
    }

    /// The same, for pages of other origins too.
    pub fn with_cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// The same, on a host that has threads which wait for disks.
    pub fn with_background(mut self, background: Arc<dyn Background>) -> Self {
        self.background = Some(background);
        self
    }

    /// The same, with every product checked, whatever that costs.
    pub fn with_all_checks(mut self, checks_all: bool) -> Self {
        self.checks_all = checks_all;
        self
    }

    /// Whether a client that connects now would get a session.
    pub fn can_open(&self) -> bool {
        !self.is_draining() && self.sessions.len() < self.config.sessions_max
    }

    /// A client has connected. `None` at the limit of sessions: the host closes the connection.
    pub fn open(&mut self, now: Now) -> Option<SessionId> {
        if !self.can_open() {
            return None;
        }
        self.generation += 1;
        self.counters.connections.add(1);
        let index = self.sessions.insert(Session::new(self.generation, now));
        let id = SessionId { index, generation: self.generation };
        self.note_progress(id, 0, now);
        Some(id)
    }

    /// Sessions open now.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Bytes of memory promised to requests now.
    pub fn promised_bytes(&self) -> usize {
        self.memory.promised_bytes()
    }

    /// Bytes of matrices that stay, or are being written.
    pub fn stored_bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// The next line for the console, if there is one.
    pub fn take_console(&mut self) -> Option<String> {
        if self.console_lines_dropped > 0 {
            let count = core::mem::take(&mut self.console_lines_dropped);
            return Some(alloc::format!("{count} lines were dropped: the console is too slow"));
        }
        self.console.pop_front()
    }

    /// Takes no more jobs: sessions end after the reply they wait for.
    pub fn drain(&mut self, now: Now) {
        self.drain_until_ns = Some(now.monotonic_ns.saturating_add(DRAIN_TIMEOUT_NS));
        self.end_all_events(now);
        self.pause_tasks();
        for (_, session) in &mut self.sessions {
            session.connection.close_after_response();
        }
        self.end_waits(now);
    }

    pub fn is_draining(&self) -> bool {
        self.drain_until_ns.is_some()
    }

    /// Whether nothing is owed to anyone any more, or it was waited for long enough.
    pub fn is_drained(&self, now: Now) -> bool {
        let is_idle = |session: &Session| {
            session.pending.is_none()
                && session.job.is_none()
                && session.held.is_none()
                && session.stream.is_none()
                && session.output.is_empty()
        };
        let is_idle = || {
            !self.tasks.are_running()
                && self.waiting.is_empty()
                && self.sessions.iter().all(|(_, it)| is_idle(it))
        };
        self.drain_until_ns.is_some_and(|until_ns| now.monotonic_ns >= until_ns || is_idle())
    }

    fn print(&mut self, line: String) {
        if self.console.len() < CONSOLE_LINES_MAX {
            self.console.push_back(line);
        } else {
            self.console_lines_dropped += 1;
        }
    }

    fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.index).filter(|session| session.generation == id.generation)
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.index).filter(|session| session.generation == id.generation)
    }

    /// Has [`Server::expire`] name a session, whose output came of something else than its own
    /// bytes and jobs.
    fn tell_host(&mut self, id: SessionId) {
        if !self.untold.contains(&id) {
            self.untold.push(id);
        }
    }
}

/// A server for whoever comes, on a machine without speed.
#[cfg(test)]
fn test_server(memory_bytes: usize) -> Server {
    let config = Config {
        memory_bytes,
        sessions_max: 2,
        tariff: Tariff::standard().into(),
        platform: "test",
        threads: 1,
        access: Access::Anonymous,
        peak: gemm::Peak::default(),
    };
    Server::new(config, [1; 32])
}
