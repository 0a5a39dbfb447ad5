//! Commits batches to the volume without keeping the network waiting.
//!
//! One batch is under way while the server gathers the next, so that the slower the disk is, the
//! more jobs share a flush. Where there are threads, one of its own commits; in a virtual machine
//! the I/O thread does, between its looks at the network.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::{io, process, thread};

use gemmule::ledger::{Batch, Volume};

/// Commits batches one at a time. With each goes a `T` that says whose it is, and comes back.
pub struct Keeper<T> {
    volume: Arc<Volume>,
    /// To the thread and back; `None`: the I/O thread commits.
    thread: Option<Commits<T>>,
    /// The batch that the I/O thread is to commit in its next turn.
    waiting: Option<(T, Batch)>,
    is_busy: bool,
}

struct Commits<T> {
    batches: Sender<(T, Batch)>,
    committed: Receiver<T>,
    handle: thread::JoinHandle<()>,
}

impl<T: Send + 'static> Keeper<T> {
    /// One that commits when it is [polled](Keeper::poll).
    pub fn in_turn(volume: Arc<Volume>) -> Self {
        Self { volume, thread: None, waiting: None, is_busy: false }
    }

    /// One with a thread, from which `wake` is called when a batch is committed.
    pub fn start(volume: Arc<Volume>, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let (batches, submitted) = mpsc::channel::<(T, Batch)>();
        let (done, committed) = mpsc::channel();
        let shared = volume.clone();
        let handle = thread::Builder::new().name("keeper".into()).spawn(move || {
            for (whose, batch) in submitted {
                commit(&shared, &batch);
                // Where nobody waits for it, the process is about to end.
                if done.send(whose).is_err() {
                    break;
                }
                wake();
            }
        })?;
        let thread = Some(Commits { batches, committed, handle });
        Ok(Self { volume, thread, waiting: None, is_busy: false })
    }

    /// Whether a batch is under way. The next can be submitted when it has come back.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether the I/O thread is to take another turn instead of waiting for the network.
    pub fn has_work(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes a batch to commit.
    pub fn submit(&mut self, whose: T, batch: Batch) {
        assert!(!self.is_busy, "one batch at a time");
        self.is_busy = true;
        match &self.thread {
            None => self.waiting = Some((whose, batch)),
            Some(thread) => {
                if thread.batches.send((whose, batch)).is_err() {
                    end("the thread that commits is gone");
                }
            }
        }
    }

    /// Whose batch is on the medium now, if one has been committed since the last time.
    pub fn poll(&mut self) -> Option<T> {
        let committed = match &self.thread {
            Some(thread) => match thread.committed.try_recv() {
                Ok(whose) => Some(whose),
                Err(mpsc::TryRecvError::Empty) => None,
                Err(mpsc::TryRecvError::Disconnected) => end("the thread that commits is gone"),
            },
            None => self.waiting.take().map(|(whose, batch)| {
                commit(&self.volume, &batch);
                whose
            }),
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

/// The exit status of a process that could not commit; in a virtual machine, the monitor sees it.
const EXIT_NOT_COMMITTED: i32 = 19;

fn commit(volume: &Volume, batch: &Batch) {
    if let Err(error) = volume.commit(batch) {
        end(&error.to_string());
    }
}

/// Ends the process: what is in memory is ahead of the volume, and nothing of it was told to anybody.
fn end(why: &str) -> ! {
    eprintln!("gemmule: the ledger could not be written: {why}");
    process::exit(EXIT_NOT_COMMITTED);
}
