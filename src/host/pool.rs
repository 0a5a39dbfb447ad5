//! The threads that compute: each has jobs of its own, and helps with the products of others while
//! it has none.
//!
//! A thread that has a product in parts posts it, and takes part after part; threads that are idle
//! take parts as well. Nobody waits for help: where all are busy, the poster computes all parts
//! itself. Idle threads watch for work for a while before they sleep, since being woken takes longer
//! than many a product.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, io, thread};

use gemmule::gemm::Crew;
use gemmule::job::queue::{AccountIndex, FairQueue};

/// How long an idle thread looks for work before it sleeps, several times as long as waking it takes.
/// How many looks that are depends on the processor: a pause takes 4 to 140 cycles.
const WATCH: Duration = Duration::from_micros(250);
/// Looks from one at the clock to the next.
const LOOKS: usize = 50;
/// Looks that a thread takes for the end of another's part before it offers its core to others.
const LOOKS_AT_END: usize = 10_000;

/// Operations from which on a product is worth sharing with threads that are awake: posting it and
/// finding it takes less than half a microsecond.
const SHARED_FLOPS: u64 = 400_000;
/// And with threads that are asleep. What one that comes late has not taken, the poster computes
/// itself; so this need only be worth the call that wakes it, some microseconds.
const WAKING_FLOPS: u64 = 4_000_000;

/// Threads and what there is to do for them.
pub struct Pool<J> {
    state: Mutex<State<J>>,
    filled: Condvar,
    /// Counts what was posted, for idle threads to watch.
    posts: AtomicUsize,
    /// Idle threads that watch, and that sleep.
    watching: AtomicUsize,
    sleeping: AtomicUsize,
}

struct State<J> {
    jobs: FairQueue<J>,
    gangs: Vec<GangRef>,
}

/// A product in parts. It lives on the stack of the thread that posted it.
struct Gang {
    /// The poster's closure, valid for as long as the gang is.
    work: *const (dyn Fn(usize) + Sync),
    parts: usize,
    /// The next part that nobody has taken.
    next: AtomicUsize,
    /// Threads other than the poster that use the gang.
    helpers: AtomicUsize,
}

#[derive(Clone, Copy)]
struct GangRef(*const Gang);

#[allow(unsafe_code)]
// SAFETY: what it points at is shared by reference only, and is Sync: a closure that is, and atomics.
unsafe impl Send for GangRef {}

impl GangRef {
    /// The gang, to be used while it is listed and the lock is held, or while this thread is
    /// counted among its helpers: its poster first takes it off the list, then waits for these.
    fn gang(&self) -> &Gang {
        #[allow(unsafe_code)]
        // SAFETY: the poster keeps it for as long as it may be used.
        unsafe {
            &*self.0
        }
    }

    fn has_parts(&self) -> bool {
        let gang = self.gang();
        gang.next.load(Ordering::Relaxed) < gang.parts
    }
}

impl Gang {
    /// Takes parts and computes them until none is left.
    fn work(&self) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.parts {
                return;
            }
            #[allow(unsafe_code)]
            // SAFETY: the poster keeps the closure until nobody uses the gang any more.
            unsafe {
                (*self.work)(part);
            }
        }
    }
}

impl<J> Pool<J> {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State { jobs: FairQueue::default(), gangs: Vec::new() }),
            filled: Condvar::new(),
            posts: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
        }
    }

    /// A job for whichever thread is idle first, when its account's turn comes.
    pub fn push(&self, account: AccountIndex, job: J) {
        self.state().jobs.push(account, job);
        self.posts.fetch_add(1, Ordering::Release);
        self.filled.notify_one();
    }

    /// A thread has worked on a job of this account for so long. What others, who had nothing else to
    /// do, have helped is not charged: nobody waited for it.
    pub fn charge(&self, account: AccountIndex, work_ns: u64) {
        self.state().jobs.charge(account, work_ns);
    }

    pub fn has_jobs(&self) -> bool {
        !self.state().jobs.is_empty()
    }

    /// Whether a job of another account waits.
    pub fn has_jobs_of_others(&self, account: AccountIndex) -> bool {
        self.state().jobs.has_others(account)
    }

    /// Helps with the products of others until there is a job.
    pub fn next_job(&self) -> J {
        loop {
            let seen = self.posts.load(Ordering::Acquire);
            let mut state = self.state();
            if let Some(gang) = state.join_gang() {
                drop(state);
                help(gang);
                continue;
            }
            if let Some(job) = state.jobs.pop() {
                return job;
            }
            drop(state);
            if !self.watch(seen) {
                self.sleep();
            }
        }
    }

    /// Whether something was posted while this thread watched.
    fn watch(&self, seen: usize) -> bool {
        self.watching.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let mut is_posted = false;
        while !is_posted && began.elapsed() < WATCH {
            is_posted = (0..LOOKS).any(|_| {
                hint::spin_loop();
                self.posts.load(Ordering::Acquire) != seen
            });
        }
        self.watching.fetch_sub(1, Ordering::Relaxed);
        is_posted
    }

    /// Sleeps until something is posted. Posting takes the lock that is held here from the last
    /// look to the wait, so that nothing is missed.
    fn sleep(&self) {
        let state = self.state();
        if state.jobs.is_empty() && !state.gangs.iter().any(GangRef::has_parts) {
            self.sleeping.fetch_add(1, Ordering::Relaxed);
            drop(self.filled.wait(state).unwrap_or_else(PoisonError::into_inner));
            self.sleeping.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn wake(&self, threads: usize) {
        for _ in 0..threads {
            self.filled.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool<Infallible> {
    /// So many threads that only help, for as long as the process lasts.
    pub fn of_helpers(threads: usize) -> io::Result<Arc<Self>> {
        let pool = Arc::new(Self::new());
        for number in 0..threads {
            let pool = pool.clone();
            thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || match pool.next_job() {})?;
        }
        Ok(pool)
    }
}

impl<J> State<J> {
    /// Some gang that has parts left, to be left again by `help`.
    fn join_gang(&mut self) -> Option<GangRef> {
        let gang = self.gangs.iter().find(|gang| gang.has_parts())?;
        gang.gang().helpers.fetch_add(1, Ordering::Relaxed);
        Some(*gang)
    }
}

fn help(gang: GangRef) {
    gang.gang().work();
    gang.gang().helpers.fetch_sub(1, Ordering::Release);
}

impl<J: Send> Crew for Pool<J> {
    fn threads(&self, flops: u64) -> usize {
        if flops < SHARED_FLOPS {
            return 1;
        }
        let parts_max = usize::try_from(flops / (SHARED_FLOPS / 2)).unwrap_or(usize::MAX);
        let watching = self.watching.load(Ordering::Relaxed);
        let sleeping = self.sleeping.load(Ordering::Relaxed);
        if flops >= WAKING_FLOPS {
            return (1 + watching + sleeping).min(parts_max);
        }
        if watching == 0 && sleeping > 0 {
            // Where such products come one after the other, the next will find it awake.
            self.wake(1);
        }
        (1 + watching).min(parts_max)
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        let work: *const (dyn Fn(usize) + Sync + '_) = work;
        #[allow(unsafe_code)]
        // SAFETY: only the lifetime is another, and nobody uses the pointer after this call.
        let work = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(work)
        };
        let gang = Gang { work, parts, next: AtomicUsize::new(0), helpers: AtomicUsize::new(0) };
        let listed = GangRef(&raw const gang);
        self.state().gangs.push(listed);
        self.posts.fetch_add(1, Ordering::Release);
        let sleeping = self.sleeping.load(Ordering::Relaxed);
        if sleeping > 0 {
            self.wake(sleeping.min(parts.saturating_sub(1)));
        }
        gang.work();
        // From here on nobody can join.
        self.state().gangs.retain(|other| other.0 != listed.0);
        let mut looks = 0;
        while gang.helpers.load(Ordering::Acquire) > 0 {
            looks += 1;
            if looks < LOOKS_AT_END { hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Runs `test` on a pool with so many idle threads, which end with a job that is `None`.
    fn with_threads(threads: usize, test: impl FnOnce(&Pool<Option<usize>>) + Send) -> usize {
        let pool = Pool::new();
        thread::scope(|scope| {
            let work = || {
                let mut sum = 0;
                while let Some(job) = pool.next_job() {
                    sum += job;
                }
                sum
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            test(&pool);
            (0..threads).for_each(|_| pool.push(0, None));
            workers.into_iter().map(|worker| worker.join().expect("a worker ends")).sum()
        })
    }

    fn run_counted(pool: &Pool<Option<usize>>, parts: usize) {
        let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        pool.run(parts, &|part| {
            counts[part].fetch_add(1, Ordering::Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_part_is_computed_once() {
        for threads in 0..4 {
            with_threads(threads, |pool| {
                for round in 0..2000 {
                    run_counted(pool, round % 7);
                    if round % 500 == 0 {
                        // Long enough for all to fall asleep.
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
    }

    #[test]
    fn jobs_and_parts_reach_idle_threads_from_everywhere() {
        let sum = with_threads(3, |pool| {
            thread::scope(|scope| {
                scope.spawn(|| (0..1000).for_each(|_| run_counted(pool, 3)));
                scope.spawn(|| (0..1000).for_each(|_| run_counted(pool, 2)));
                for job in 1..=1000 {
                    pool.push(job as u32 % 3, Some(job));
                    if job % 250 == 0 {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        });
        assert_eq!(sum, 500_500);
    }

    /// Two threads, a job of one account beside a thousand of another, each of a hundred slices.
    #[test]
    fn an_account_waits_for_no_more_than_the_slices_that_have_begun() {
        const THREADS: usize = 2;
        let pool: Pool<(AccountIndex, usize)> = Pool::new();
        let slices = AtomicUsize::new(0);
        let (served, slices_begun) = mpsc::channel();
        let work = || loop {
            let (account, left) = pool.next_job();
            match account {
                0 if left == 0 => continue,
                0 => {
                    slices.fetch_add(1, Ordering::SeqCst);
                    pool.charge(account, 7);
                    pool.push(account, (account, left - 1));
                }
                1 => {
                    served.send(slices.load(Ordering::SeqCst)).expect("the test listens");
                    pool.charge(account, 7);
                }
                _ => return,
            }
        };
        thread::scope(|scope| {
            (0..1000).for_each(|_| pool.push(0, (0, 100)));
            (0..THREADS).for_each(|_| drop(scope.spawn(work)));
            for _ in 0..100 {
                pool.push(1, (1, 1));
                // It may have been served by now.
                let before = slices.load(Ordering::SeqCst);
                let begun = slices_begun.recv().expect("a thread serves it");
                let waited = begun.saturating_sub(before);
                assert!(waited <= THREADS, "it waited for {waited} slices");
            }
            (0..THREADS).for_each(|_| pool.push(2, (2, 0)));
        });
    }

    #[test]
    fn another_thread_computes_a_part_while_the_poster_computes_one() {
        with_threads(1, |pool| {
            // Each part waits for the other: one thread alone would not get through.
            let (to_first, first) = mpsc::channel();
            let (to_second, second) = mpsc::channel();
            let ends = Mutex::new(vec![(to_second, first), (to_first, second)]);
            pool.run(2, &|_| {
                let end = ends.lock().expect("no panic").pop().expect("two parts");
                end.0.send(()).expect("the other part listens");
                end.1.recv_timeout(Duration::from_secs(20)).expect("the other part runs");
            });
        });
    }

    #[test]
    fn small_products_are_not_shared() {
        with_threads(2, |pool| {
            assert_eq!(pool.threads(SHARED_FLOPS - 1), 1);
            let are_idle = || pool.threads(u64::MAX) == 3;
            while !are_idle() {
                thread::yield_now();
            }
            assert_eq!(pool.threads(WAKING_FLOPS), 3);
        });
    }
}
