//! Commits batches to the volume without keeping the network waiting.
//!
//! One batch is under way while the server gathers the next, so that the slower the disk is, the
//! more jobs share a flush. Where there are threads, one of its own commits; in a virtual machine
//! the I/O thread does, between its looks at the network.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::{io, process, thread};

use gemmule::ledger::Volume;
use gemmule::ledger::journal::{Committed, Pending};
use gemmule::server::{Server, SessionId};

use super::clock::Clock;

/// A batch is gathered for as long as jobs come in one after another, but not longer than this. A
/// commit costs about the same however many jobs share it.
const GATHERING_NS_MAX: u64 = 2_000_000;

/// Commits what a server's ledger gathers, one batch at a time.
pub struct Keeper {
    volume: Arc<Volume>,
    /// To the thread and back; `None`: the I/O thread commits.
    thread: Option<Commits>,
    /// The batch that the I/O thread is to commit in its next turn.
    waiting: Option<Pending>,
    is_busy: bool,
    /// Since when entries that could be committed have been waiting for more to share it.
    gathering_since_ns: Option<u64>,
}

struct Commits {
    batches: Sender<Pending>,
    committed: Receiver<Committed>,
    handle: thread::JoinHandle<()>,
}

impl Keeper {
    /// One that commits when it is [polled](Keeper::poll).
    #[cfg_attr(not(target_os = "hermit"), expect(dead_code, reason = "Linux has threads"))]
    pub fn in_turn(volume: Arc<Volume>) -> Self {
        Self { volume, thread: None, waiting: None, is_busy: false, gathering_since_ns: None }
    }

    /// One with a thread, from which `wake` is called when a batch is committed.
    #[cfg_attr(target_os = "hermit", expect(dead_code, reason = "its loop commits"))]
    pub fn start(volume: Arc<Volume>, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let (batches, submitted) = mpsc::channel::<Pending>();
        let (done, committed) = mpsc::channel();
        let mut strokes = Strokes::start(volume.clone())?;
        let shared = volume.clone();
        let handle = thread::Builder::new().name("keeper".into()).spawn(move || {
            for pending in submitted {
                let committed = commit(&shared, pending);
                // Where nobody waits for it, the process is about to end.
                if done.send(committed).is_err() {
                    break;
                }
                wake();
                strokes.turn(&shared);
            }
            strokes.finish();
        })?;
        let thread = Some(Commits { batches, committed, handle });
        Ok(Self { volume, thread, waiting: None, is_busy: false, gathering_since_ns: None })
    }

    /// Whether the I/O thread is to take another turn instead of waiting for the network.
    #[cfg_attr(not(target_os = "hermit"), expect(dead_code, reason = "Linux has threads"))]
    pub fn has_work(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether there are entries that are committed when the loop is idle.
    #[cfg_attr(target_os = "hermit", expect(dead_code, reason = "its loop commits in each turn"))]
    pub fn is_gathering(&self) -> bool {
        self.gathering_since_ns.is_some()
    }

    /// Brings the server what is committed, and takes what it has gathered, if nothing more is
    /// about to join it, the loop being idle: the sessions that have output now.
    pub fn turn(&mut self, server: &mut Server, clock: &Clock, is_idle: bool) -> Vec<SessionId> {
        let mut sessions = Vec::new();
        if let Some(committed) = self.poll() {
            sessions = server.committed(committed, clock.now());
        }
        if self.is_busy || !server.has_pending() {
            return sessions;
        }
        let now = clock.now();
        let since_ns = *self.gathering_since_ns.get_or_insert(now.monotonic_ns);
        if is_idle || now.monotonic_ns - since_ns >= GATHERING_NS_MAX {
            self.gathering_since_ns = None;
            match server.take_pending(now) {
                Ok(Some(pending)) => self.submit(pending),
                Ok(None) => {}
                Err(error) => end(&error.to_string()),
            }
        }
        sessions
    }

    /// Takes a batch to commit.
    fn submit(&mut self, pending: Pending) {
        assert!(!self.is_busy, "one batch at a time");
        self.is_busy = true;
        match &self.thread {
            None => self.waiting = Some(pending),
            Some(thread) => {
                if thread.batches.send(pending).is_err() {
                    end("the thread that commits is gone");
                }
            }
        }
    }

    /// What is on the medium now, if a batch has been committed since the last time.
    fn poll(&mut self) -> Option<Committed> {
        let committed = match &self.thread {
            Some(thread) => match thread.committed.try_recv() {
                Ok(committed) => Some(committed),
                Err(mpsc::TryRecvError::Empty) => None,
                Err(mpsc::TryRecvError::Disconnected) => end("the thread that commits is gone"),
            },
            None => self.waiting.take().map(|pending| commit(&self.volume, pending)),
        };
        self.is_busy &= committed.is_none();
        committed
    }

    /// Finishes what is under way, ends the thread, and gives the volume back.
    pub fn finish(mut self) -> Arc<Volume> {
        if self.waiting.is_some() {
            self.poll();
        }
        if let Some(Commits { batches, handle, .. }) = self.thread {
            drop(batches);
            if handle.join().is_err() {
                end("the thread that commits is gone");
            }
        }
        self.volume
    }
}

/// The thread that has the store take what was committed.
struct Strokes {
    begin: Sender<()>,
    done: Receiver<()>,
    handle: thread::JoinHandle<()>,
    is_under_way: bool,
}

impl Strokes {
    fn start(volume: Arc<Volume>) -> io::Result<Self> {
        let (begin, begun) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        let handle = thread::Builder::new().name("store".into()).spawn(move || {
            for () in begun {
                volume.stroke().unwrap_or_else(|error| end(&error.to_string()));
                // Where nobody waits for it, the process is about to end.
                if tell.send(()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { begin, done, handle, is_under_way: false })
    }

    /// Begins a stroke where there is one to make, and waits for one that is in the way: a commit
    /// would wait for it in turns of the processor.
    fn turn(&mut self, volume: &Volume) {
        self.is_under_way &= self.done.try_recv().is_err();
        if self.is_under_way && volume.needs_stroke() {
            self.is_under_way = self.done.recv().is_err();
        }
        if !self.is_under_way && volume.has_stroke() {
            self.is_under_way = self.begin.send(()).is_ok();
        }
    }

    fn finish(self) {
        let Self { begin, handle, .. } = self;
        drop(begin);
        if handle.join().is_err() {
            end("the thread that stores is gone");
        }
    }
}

/// The exit status of a process that could not commit; in a virtual machine, the monitor sees it.
/// The kernel and the boot stub have those before it.
const EXIT_NOT_COMMITTED: i32 = 21;

fn commit(volume: &Volume, pending: Pending) -> Committed {
    pending.commit(volume).unwrap_or_else(|error| end(&error.to_string()))
}

/// Ends the process: what is in memory is ahead of the volume, and nothing of it was told to
/// anybody.
fn end(why: &str) -> ! {
    eprintln!("gemmule: the ledger could not be written: {why}");
    process::exit(EXIT_NOT_COMMITTED);
}
