//! Runs jobs without starving the network.
//!
//! A job that is small is run where it arrives. Any other goes to the compute threads where there
//! are some, who share its product while they have no jobs of their own; on a machine with one core it is run by the I/O thread itself, in bounded slices
//! between its looks at the network. Long jobs take turns, so that none waits for another's end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{process, thread};

use gemmule::gemm::Alone;
use gemmule::job::Job;
use gemmule::server::{Server, SessionId};

use super::clock::Clock;
use super::pool::Pool;

/// How long the I/O thread computes before it looks at the network again.
const IO_SLICE: Duration = Duration::from_millis(2);
/// How long a compute thread stays with a job while others wait.
const COMPUTE_SLICE: Duration = Duration::from_millis(50);

/// Runs the jobs of a server.
pub struct Runner {
    workers: Option<Workers>,
    /// Jobs of the I/O thread itself, where there are no workers.
    local: VecDeque<Job>,
}

/// What a turn brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// Sessions that have new output.
    pub sessions: Vec<SessionId>,
    /// There is work left for this thread: look at the network, do not wait, and take another
    /// turn.
    pub more: bool,
}

impl Runner {
    /// Starts `threads` compute threads; `wake` is called from them when a job is finished.
    pub fn new(
        threads: usize,
        clock: Clock,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let workers = match threads {
            0 => None,
            _ => Some(Workers::start(threads, clock, &wake)?),
        };
        Ok(Self { workers, local: VecDeque::new() })
    }

    /// Collects what is finished, runs what is small, and passes on or advances the rest.
    pub fn turn(&mut self, server: &mut Server, clock: &Clock) -> Turn {
        let mut turn = Turn::default();
        if let Some(workers) = &self.workers {
            while let Ok(job) = workers.finished.try_recv() {
                turn.sessions.extend(server.finish(job, clock.now()));
            }
        }
        let slice = Slice::new(IO_SLICE);
        while let Some(mut job) = server.next_job() {
            if run_small(&mut job, clock) {
                turn.sessions.extend(server.finish(job, clock.now()));
            } else if let Some(workers) = &self.workers {
                workers.pool.push(job);
            } else {
                self.local.push_back(job);
            }
            if slice.is_over() {
                turn.more = true;
                return turn;
            }
        }
        if let Some(mut job) = self.local.pop_front() {
            job.note_time(clock.monotonic_ns());
            if job.advance(&Alone, &|| slice.is_over()) {
                turn.sessions.extend(server.finish(job, clock.now()));
            } else {
                self.local.push_back(job);
            }
        }
        turn.more = !self.local.is_empty();
        turn
    }
}

/// Runs a job for as long as it is small; whether it is finished.
fn run_small(job: &mut Job, clock: &Clock) -> bool {
    while job.is_small() {
        job.note_time(clock.monotonic_ns());
        if job.advance(&Alone, &|| false) {
            return true;
        }
    }
    false
}

/// A stretch of time.
struct Slice {
    start: Instant,
    length: Duration,
}

impl Slice {
    fn new(length: Duration) -> Self {
        Self { start: Instant::now(), length }
    }

    fn is_over(&self) -> bool {
        self.start.elapsed() >= self.length
    }
}

/// The compute threads, and the way to them and back.
struct Workers {
    pool: Arc<Pool<Job>>,
    finished: Receiver<Job>,
}

impl Workers {
    fn start(
        threads: usize,
        clock: Clock,
        wake: &Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let pool = Arc::new(Pool::new());
        let (done, finished) = mpsc::channel();
        for number in 0..threads {
            let (pool, done, wake) = (pool.clone(), done.clone(), wake.clone());
            thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || compute(&pool, clock, &done, &*wake))?;
        }
        Ok(Self { pool, finished })
    }
}

/// The exit status of a process that has lost a compute thread; in a virtual machine, the monitor
/// sees it.
const EXIT_DEAD_THREAD: i32 = 18;

/// The life of a compute thread, which lasts as long as the process: a panic aborts. Should it end
/// nevertheless, jobs would wait for ever, so the process ends with it.
fn compute(pool: &Pool<Job>, clock: Clock, done: &Sender<Job>, wake: &dyn Fn()) {
    loop {
        let mut job = pool.next_job();
        let slice = Slice::new(COMPUTE_SLICE);
        let is_to_yield = || slice.is_over() && pool.has_jobs();
        job.note_time(clock.monotonic_ns());
        let mut is_finished = job.advance(pool, &is_to_yield);
        while !is_finished && !is_to_yield() {
            job.note_time(clock.monotonic_ns());
            is_finished = job.advance(pool, &is_to_yield);
        }
        if !is_finished {
            pool.push(job);
        } else if done.send(job).is_ok() {
            wake();
        } else {
            break;
        }
    }
    eprintln!("gemmule: a compute thread has nobody to work for");
    process::exit(EXIT_DEAD_THREAD);
}
