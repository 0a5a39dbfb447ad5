//! Waiting for an interrupt, and what the kernel under this program provides for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The core that runs the loop and takes all device interrupts.
const LOOP_CORE: u32 = 0;

unsafe extern "C" {
    // Halts this core until an interrupt, or until the timeout, unless `word` isn't `expected` any
    // more. May be entered with interrupts disabled; returns with interrupts enabled.
    fn sys_wait_interrupt(word: *const AtomicU32, expected: u32, timeout_us: u64);
    safe fn sys_wake_core(core: u32);
    safe fn sys_power_button() -> bool;
    safe fn sys_heap_bytes() -> usize;
}

/// Bytes of the heap, all of them.
pub fn heap_bytes() -> usize {
    sys_heap_bytes()
}

/// Whether somebody has asked the machine to shut down.
pub fn power_button() -> bool {
    sys_power_button()
}

/// Counts the calls of other threads that have something for the loop.
#[derive(Clone)]
pub struct Bell(Arc<AtomicU32>);

impl Bell {
    /// A bell that hasn't rung.
    pub fn new() -> Self {
        Self(Arc::new(AtomicU32::new(0)))
    }

    /// Ends the loop's wait, or keeps it from waiting.
    pub fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
        sys_wake_core(LOOP_CORE);
    }

    /// How often it rang; to be read before looking for what there is to do.
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Halts until an interrupt, a ring after `count`, or the timeout, unless `has_news` is true.
    /// It is asked with interrupts off: what arrives after its answer ends the halt.
    pub fn wait(&self, count: u32, timeout: Option<Duration>, has_news: impl FnOnce() -> bool) {
        let timeout_us = timeout.map_or(u64::MAX, |timeout| {
            // Rounded up: waking before the deadline would only mean waiting again.
            u64::try_from(timeout.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
        });
        x86_64::instructions::interrupts::disable();
        if has_news() {
            x86_64::instructions::interrupts::enable();
            return;
        }
        // SAFETY: the word lives in `self`; the function accepts interrupts being disabled.
        unsafe { sys_wait_interrupt(Arc::as_ptr(&self.0), count, timeout_us) }
    }
}
