//! Runs jobs without starving the network.
//!
//! A job that is small is run where it arrives. Any other goes to the compute threads where there
//! are some, who share its product while they have no jobs of their own; on a machine with one core
//! it is run by the I/O thread itself, in bounded slices between its looks at the network. Long
//! jobs take turns, so that none waits for another's end, and accounts take turns, each queue by
//! the time of the threads that serve it, so that none waits for another's burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{process, thread};

use gemmule::gemm::Alone;
use gemmule::job::Job;
use gemmule::job::queue::{AccountIndex, FairQueue};
use gemmule::server::{Server, SessionId};

use super::clock::{Clock, as_ns};
use super::pool::Pool;

/// How long the I/O thread computes before it looks at the network again.
const IO_SLICE_NS: u64 = 2_000_000;
/// How long a compute thread stays with a job while another account waits: long enough that reading
/// again what the caches held of the job costs little.
const ACCOUNT_SLICE: Duration = Duration::from_millis(5);
/// How long it does while others of the same account wait.
const COMPUTE_SLICE: Duration = Duration::from_millis(50);

/// Runs the jobs of a server.
pub struct Runner {
    workers: Option<Workers>,
    /// Jobs of the I/O thread itself, where there are no workers.
    local: FairQueue<Box<Job>>,
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
        Ok(Self { workers, local: FairQueue::default() })
    }

    /// Collects what is finished, runs what is small, and passes on or advances the rest.
    pub fn turn(&mut self, server: &mut Server, clock: &Clock) -> Turn {
        let mut turn = Turn::default();
        if let Some(workers) = &self.workers {
            while let Ok(job) = workers.finished.try_recv() {
                turn.sessions.extend(server.finish(job, clock.now()));
            }
        }
        let start = clock.now();
        let start_ns = start.monotonic_ns;
        let end_ns = start_ns + IO_SLICE_NS;
        // However many small jobs come, a large one gets its part of the thread's time.
        let small_end_ns = if self.local.is_empty() { end_ns } else { start_ns + IO_SLICE_NS / 2 };
        let mut now_ns = start_ns;
        while now_ns < small_end_ns {
            let Some(mut job) = server.next_job() else { break };
            let account = job.account();
            let is_finished = run_small(&mut job, now_ns, clock);
            // What ending it takes is the next one's time, which the clock need not be read for.
            let now = start.later(clock.monotonic_ns());
            if is_finished {
                turn.sessions.extend(server.finish(job, now));
            } else if let Some(workers) = &self.workers {
                workers.pool.push(account, job);
            } else {
                self.local.push(account, job);
            }
            let since_ns = std::mem::replace(&mut now_ns, now.monotonic_ns);
            server.charge(account, now_ns.saturating_sub(since_ns));
        }
        if let Some(mut job) = self.local.pop() {
            let account = job.account();
            job.note_time(now_ns);
            let is_finished = job.advance(&Alone, &|| clock.monotonic_ns() >= end_ns);
            self.local.charge(account, clock.monotonic_ns() - now_ns);
            if is_finished {
                turn.sessions.extend(server.finish(job, clock.now()));
            } else {
                self.local.push(account, job);
            }
        }
        turn.more = server.has_ready_jobs() || !self.local.is_empty();
        turn
    }
}

/// Runs a job for as long as it is small; whether it is finished.
fn run_small(job: &mut Job, mut now_ns: u64, clock: &Clock) -> bool {
    while job.is_small() {
        job.note_time(now_ns);
        if job.advance(&Alone, &|| false) {
            return true;
        }
        now_ns = clock.monotonic_ns();
    }
    false
}

/// A compute thread's turn with a job.
struct Stint<'a> {
    pool: &'a Pool<Box<Job>>,
    account: AccountIndex,
    start: Instant,
    /// For how long it has gone on beyond its slice, since no other account waited.
    unwanted_ns: AtomicU64,
}

impl<'a> Stint<'a> {
    fn new(pool: &'a Pool<Box<Job>>, account: AccountIndex) -> Self {
        Self { pool, account, start: Instant::now(), unwanted_ns: AtomicU64::new(0) }
    }

    fn is_over(&self) -> bool {
        let elapsed = self.start.elapsed();
        let Some(beyond) = elapsed.checked_sub(ACCOUNT_SLICE) else { return false };
        if self.pool.has_jobs_of_others(self.account) {
            return true;
        }
        self.unwanted_ns.fetch_max(as_ns(beyond), Ordering::Relaxed);
        elapsed >= COMPUTE_SLICE && self.pool.has_jobs()
    }

    /// What the account is charged with. Time that no other account would have had counts for
    /// nothing, or who multiplies for an hour on an idle machine would wait for an hour when others
    /// come.
    fn charged_ns(&self) -> u64 {
        as_ns(self.start.elapsed()).saturating_sub(self.unwanted_ns.load(Ordering::Relaxed))
    }
}

/// The compute threads, and the way to them and back.
struct Workers {
    pool: Arc<Pool<Box<Job>>>,
    finished: Receiver<Box<Job>>,
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
fn compute(pool: &Pool<Box<Job>>, clock: Clock, done: &Sender<Box<Job>>, wake: &dyn Fn()) {
    loop {
        let mut job = pool.next_job();
        let account = job.account();
        let stint = Stint::new(pool, account);
        let is_to_yield = || stint.is_over();
        job.note_time(clock.monotonic_ns());
        let mut is_finished = job.advance(pool, &is_to_yield);
        while !is_finished && !is_to_yield() {
            job.note_time(clock.monotonic_ns());
            is_finished = job.advance(pool, &is_to_yield);
        }
        // First of all, so that the account's next job finds it charged.
        pool.charge(account, stint.charged_ns());
        if !is_finished {
            pool.push(account, job);
        } else if done.send(job).is_ok() {
            wake();
        } else {
            break;
        }
    }
    eprintln!("gemmule: a compute thread has nobody to work for");
    process::exit(EXIT_DEAD_THREAD);
}
