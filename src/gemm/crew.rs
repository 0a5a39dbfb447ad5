//! Threads that work on one product together.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Threads that can be given a product's parts. The core starts no threads: a host does.
pub trait Crew: Sync {
    /// How many parts are worth making of work of so many operations.
    fn threads(&self, flops: u64) -> usize;

    /// Calls `work` with each number below `parts`, at the same time where there are threads, and
    /// returns when all calls have returned. Other threads see what was written before the call,
    /// and the caller sees what they wrote.
    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync));
}

/// The caller's thread and no other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Crew for Alone {
    fn threads(&self, _: u64) -> usize {
        1
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(work);
    }
}

/// A value that one thread at a time may use, and that nobody waits for.
pub struct Exclusive<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets one thread at the value at a time, so it is sent from one to the other.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    pub fn new(value: T) -> Self {
        Self { is_taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Uses the value, unless somebody else does.
    pub fn with(&self, use_it: impl FnOnce(&mut T)) {
        if self.is_taken.swap(true, Ordering::Acquire) {
            return;
        }
        #[allow(unsafe_code)]
        // SAFETY: the flag was not set, and is until nobody uses the reference any more.
        use_it(unsafe { &mut *self.value.get() });
        self.is_taken.store(false, Ordering::Release);
    }

    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}
