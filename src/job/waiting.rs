//! How many jobs nobody has begun to work on, wherever they wait: here, or with the host.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The count, shared by all that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

/// One that waits, until this is dropped, on whichever thread that happens.
#[derive(Debug)]
pub(crate) struct Ticket(Waiting);

impl Waiting {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub fn enter(&self) -> Ticket {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ticket(self.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
