//! The threads that compute: each has jobs of its own, and helps with the products of others while
//! it has none.
//!
//! A thread that has a product in parts posts it, and takes part after part; threads that are idle
//! take parts as well. Nobody waits for help: where all are busy, the poster computes all parts
//! itself. Idle threads watch for work for a while before they sleep, since being woken takes longer
//! than many a product.

use std::collections::VecDeque;
use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use gemmule::gemm::Crew;

/// Looks that an idle thread takes for work before it sleeps: some tens of microseconds.
const LOOKS: usize = 5000;
/// Looks that a thread takes for the end of another's part before it offers its core to others.
const LOOKS_AT_END: usize = 10_000;

/// Operations from which on a product is worth sharing with threads that are awake: posting it and
/// finding it takes less than half a microsecond.
const SHARED_FLOPS: u64 = 400_000;
/// And with threads that are asleep.
const WAKING_FLOPS: u64 = 20_000_000;

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
    jobs: VecDeque<J>,
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
            state: Mutex::new(State { jobs: VecDeque::new(), gangs: Vec::new() }),
            filled: Condvar::new(),
            posts: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
        }
    }

    /// A job for whichever thread is idle first.
    pub fn push(&self, job: J) {
        self.state().jobs.push_back(job);
        self.posts.fetch_add(1, Ordering::Release);
        self.filled.notify_one();
    }

    pub fn has_jobs(&self) -> bool {
        !self.state().jobs.is_empty()
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
            if let Some(job) = state.jobs.pop_front() {
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
        let is_posted = (0..LOOKS).any(|_| {
            hint::spin_loop();
            self.posts.load(Ordering::Acquire) != seen
        });
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
            self.wake(sleeping.min(parts - 1));
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
