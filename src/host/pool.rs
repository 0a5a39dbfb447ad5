//! The threads that compute: each has jobs of its own, and helps with the products of others while
//! it has none.
//!
//! A thread that has a product in parts posts it, and takes part after part; threads that are idle
//! take parts as well. Nobody waits for help: where all are busy, the poster computes all parts
//! itself. Idle threads watch for work for a while before they sleep, since being woken takes
//! longer than many a product.

use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, io, thread};

use gemmule::gemm::Crew;
use gemmule::job::queue::{AccountIndex, FairQueue};

/// How long an idle thread looks for work before it sleeps, several times as long as waking it
/// takes. How many looks that are depends on the processor: a pause takes 4 to 140 cycles.
const WATCH: Duration = Duration::from_micros(250);
/// Looks from one at the clock to the next.
const LOOKS: usize = 50;
/// Looks that a thread takes for the end of another's part before it offers its core to others.
const LOOKS_AT_END: usize = 10_000;

/// Operations from which on a product is worth sharing with threads that are awake: posting a part
/// and having it back takes half a microsecond more than computing it.
const SHARED_FLOPS: u64 = 400_000;
/// And with threads that are asleep. What one that comes late has not taken, the poster computes
/// itself; so this need only be worth the call that wakes it, some microseconds.
const WAKING_FLOPS: u64 = 4_000_000;

/// Products that can be posted at a time. Whoever finds no board computes all parts itself.
const BOARDS: usize = 32;

/// Threads and what there is to do for them.
pub struct Pool<J> {
    boards: [Board; BOARDS],
    /// Counts the jobs, for idle threads to watch.
    pushes: Lines<AtomicUsize>,
    /// Idle threads that watch, and that sleep.
    watching: Lines<AtomicUsize>,
    sleeping: Lines<AtomicUsize>,
    jobs: Mutex<FairQueue<J>>,
    filled: Condvar,
}

/// What shares no cache lines with anything else, nor the neighbour that is fetched with a line.
#[derive(Default)]
#[repr(align(128))]
struct Lines<T>(T);

/// Where a product in parts is posted: from one cache line a thread takes a part and learns what to
/// compute.
#[derive(Default)]
struct Board {
    notice: Lines<Notice>,
    /// Parts that threads other than the poster have computed.
    finished: Lines<AtomicUsize>,
}

#[derive(Default)]
struct Notice {
    /// In the lower half the parts that nobody has taken. The upper half counts what was posted
    /// here: so that nobody takes a part of another product than he looked at.
    posted: AtomicU64,
    /// Somebody posts here. The poster alone writes what follows, while nobody can take a part.
    is_in_use: AtomicBool,
    parts: UnsafeCell<usize>,
    work: UnsafeCell<Option<Work>>,
}

/// The poster's closure, valid until it has seen that all parts are finished.
type Work = *const (dyn Fn(usize) + Sync);

#[allow(unsafe_code)]
// SAFETY: the cells are written by the thread that has set `is_in_use`, while no part is posted,
// and read by threads that have taken one, for whom the poster waits. The closure is Sync.
unsafe impl Sync for Notice {}
#[allow(unsafe_code)]
// SAFETY: the closure may be called by any thread.
unsafe impl Send for Notice {}

/// The lower half of `posted`.
const UNTAKEN: u64 = u32::MAX as u64;

impl Board {
    /// Posts work in so many parts, the first of which the poster keeps. Whether the board was
    /// free.
    ///
    /// # Safety
    ///
    /// If it was, the closure stays where it is until the poster has come back from `leave`.
    #[allow(unsafe_code)]
    unsafe fn post(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) -> bool {
        let notice = &self.notice.0;
        if notice.is_in_use.load(Ordering::Relaxed)
            || notice.is_in_use.swap(true, Ordering::Acquire)
        {
            return false;
        }
        let work: *const (dyn Fn(usize) + Sync + '_) = work;
        // SAFETY: only the lifetime is another, and the caller promises that it is long enough. See
        // `Sync`: this thread has the board, and all parts of the product before are finished.
        unsafe {
            let work = std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Work>(work);
            *notice.parts.get() = parts;
            *notice.work.get() = Some(work);
        }
        let count = (notice.posted.load(Ordering::Relaxed) & !UNTAKEN).wrapping_add(UNTAKEN + 1);
        notice.posted.store(count | (parts - 1) as u64, Ordering::Release);
        true
    }

    fn has_parts(&self) -> bool {
        self.notice.0.posted.load(Ordering::Acquire) & UNTAKEN > 0
    }

    /// Takes a part and computes it. Whether there was one.
    fn take(&self) -> bool {
        let notice = &self.notice.0;
        let one_less = |posted: u64| (posted & UNTAKEN > 0).then(|| posted - 1);
        let taken = notice.posted.fetch_update(Ordering::Acquire, Ordering::Acquire, one_less);
        let Ok(posted) = taken else { return false };
        let untaken = (posted & UNTAKEN) as usize;
        #[allow(unsafe_code)]
        // SAFETY: see `Sync`: this thread has taken a part of what is posted.
        unsafe {
            let work = (*notice.work.get()).expect("the poster wrote it");
            (*work)(*notice.parts.get() - untaken);
        }
        true
    }

    /// Waits until others have finished so many parts, and leaves the board.
    fn leave(&self, parts: usize) {
        let mut looks = 0;
        while self.finished.0.load(Ordering::Acquire) < parts {
            looks += 1;
            if looks < LOOKS_AT_END { hint::spin_loop() } else { thread::yield_now() }
        }
        self.finished.0.store(0, Ordering::Relaxed);
        self.notice.0.is_in_use.store(false, Ordering::Release);
    }
}

impl<J> Pool<J> {
    pub fn new() -> Self {
        Self {
            boards: Default::default(),
            pushes: Lines::default(),
            watching: Lines::default(),
            sleeping: Lines::default(),
            jobs: Mutex::new(FairQueue::default()),
            filled: Condvar::new(),
        }
    }

    /// A job for whichever thread is idle first, when its account's turn comes.
    pub fn push(&self, account: AccountIndex, job: J) {
        self.jobs().push(account, job);
        self.pushes.0.fetch_add(1, Ordering::Release);
        self.filled.notify_one();
    }

    /// A thread has worked on a job of this account for so long. What others, who had nothing else
    /// to do, have helped is not charged: nobody waited for it.
    pub fn charge(&self, account: AccountIndex, work_ns: u64) {
        self.jobs().charge(account, work_ns);
    }

    pub fn has_jobs(&self) -> bool {
        !self.jobs().is_empty()
    }

    /// Whether a job of another account waits.
    pub fn has_jobs_of_others(&self, account: AccountIndex) -> bool {
        self.jobs().has_others(account)
    }

    /// Helps with the products of others until there is a job.
    pub fn next_job(&self) -> J {
        loop {
            let seen = self.pushes.0.load(Ordering::Acquire);
            self.help();
            if let Some(job) = self.jobs().pop() {
                return job;
            }
            if !self.watch(seen) {
                self.sleep();
            }
        }
    }

    /// Computes parts that others have posted until there are none.
    fn help(&self) {
        for board in &self.boards {
            while board.take() {
                board.finished.0.fetch_add(1, Ordering::Release);
            }
        }
    }

    fn has_parts(&self) -> bool {
        self.boards.iter().any(Board::has_parts)
    }

    /// Whether something was posted or pushed while this thread watched.
    fn watch(&self, seen: usize) -> bool {
        self.watching.0.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let mut is_there = false;
        while !is_there && began.elapsed() < WATCH {
            is_there = (0..LOOKS).any(|_| {
                hint::spin_loop();
                self.has_parts() || self.pushes.0.load(Ordering::Acquire) != seen
            });
        }
        self.watching.0.fetch_sub(1, Ordering::Relaxed);
        is_there
    }

    /// Sleeps until something is posted or pushed. Whoever pushes holds the lock, and whoever has
    /// posted takes it before waking a thread that is counted as sleeping; this thread holds it
    /// from counting itself and the last look to the wait. So nothing is missed.
    fn sleep(&self) {
        let jobs = self.jobs();
        self.sleeping.0.fetch_add(1, Ordering::Relaxed);
        // With the one in `wake_for`: either this thread sees the post, or the poster sees it
        // sleep.
        fence(Ordering::SeqCst);
        if jobs.is_empty() && !self.has_parts() {
            drop(self.filled.wait(jobs).unwrap_or_else(PoisonError::into_inner));
        }
        self.sleeping.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes threads for so many parts that were posted.
    fn wake_for(&self, parts: usize) {
        fence(Ordering::SeqCst);
        let sleeping = self.sleeping.0.load(Ordering::Relaxed);
        if sleeping > 0 {
            drop(self.jobs());
            self.wake(sleeping.min(parts));
        }
    }

    fn wake(&self, threads: usize) {
        for _ in 0..threads {
            self.filled.notify_one();
        }
    }

    fn jobs(&self) -> MutexGuard<'_, FairQueue<J>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
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

impl<J: Send> Crew for Pool<J> {
    fn threads(&self, flops: u64) -> usize {
        if flops < SHARED_FLOPS {
            return 1;
        }
        let parts_max = usize::try_from(flops / (SHARED_FLOPS / 2)).unwrap_or(usize::MAX);
        let watching = self.watching.0.load(Ordering::Relaxed);
        let sleeping = self.sleeping.0.load(Ordering::Relaxed);
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
        let is_shared = parts > 1 && u32::try_from(parts).is_ok();
        #[allow(unsafe_code)]
        // SAFETY: this call leaves the board before it returns.
        let posts = |board: &&Board| is_shared && unsafe { board.post(parts, work) };
        let board = self.boards.iter().find(posts);
        let Some(board) = board else {
            (0..parts).for_each(work);
            return;
        };
        self.wake_for(parts - 1);
        work(0);
        let mut mine = 1;
        while board.take() {
            mine += 1;
        }
        board.leave(parts - mine);
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

    /// What finds no board is computed all the same, and all boards are free at the end.
    #[test]
    fn more_products_than_boards_are_posted_at_a_time() {
        with_threads(2, |pool| {
            thread::scope(|scope| {
                for _ in 0..BOARDS + 8 {
                    scope.spawn(|| (0..200).for_each(|round| run_counted(pool, 1 + round % 5)));
                }
            });
            let is_free = |board: &Board| !board.notice.0.is_in_use.load(Ordering::Relaxed);
            assert!(pool.boards.iter().all(is_free) && !pool.has_parts());
        });
    }

    #[test]
    fn a_board_has_one_poster_and_gives_each_part_once() {
        let board = Board::default();
        let taken = Mutex::new(Vec::new());
        let note = |part: usize| taken.lock().expect("no panic").push(part);
        #[allow(unsafe_code)]
        // SAFETY: the closure outlives the board's use of it.
        let post = || unsafe { board.post(4, &note) };
        for _ in 0..2 {
            assert!(!board.take());
            assert!(post() && !post());
            while board.has_parts() {
                assert!(board.take());
            }
            assert!(!board.take());
            board.finished.0.store(2, Ordering::Relaxed);
            board.leave(2);
        }
        // The poster keeps the first.
        assert_eq!(*taken.lock().expect("no panic"), [1, 2, 3, 1, 2, 3]);
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
