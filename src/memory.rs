//! Memory is promised before it is used.
//!
//! A request takes a [`Promise`] for the bytes it may come to hold, and gives it back when it is
//! dropped, on whichever thread that happens. What is promised never exceeds the budget, so an
//! allocation within a promise is expected to succeed.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that all requests together may hold.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total_bytes: usize,
    promised_bytes: AtomicUsize,
}

/// Why a promise can't be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// More than the whole budget: it will never fit.
    Never {
        /// The whole budget in bytes.
        total_bytes: usize,
    },
    /// It would fit were others not holding theirs: worth trying again.
    Now,
}

impl MemoryBudget {
    /// A budget of `total_bytes`, none of them promised.
    pub fn new(total_bytes: usize) -> Self {
        Self(Arc::new(Inner { total_bytes, promised_bytes: AtomicUsize::new(0) }))
    }

    /// The whole budget in bytes.
    pub fn total_bytes(&self) -> usize {
        self.0.total_bytes
    }

    /// The bytes that are promised now.
    pub fn promised_bytes(&self) -> usize {
        self.0.promised_bytes.load(Ordering::Relaxed)
    }

    /// Promises `bytes`, or says why not.
    pub fn promise(&self, bytes: usize) -> Result<Promise, Shortage> {
        let mut promise = Promise { budget: self.clone(), bytes: 0 };
        promise.resize(bytes)?;
        Ok(promise)
    }
}

/// Bytes set aside for one request; dropping it returns them.
#[derive(Debug)]
pub struct Promise {
    budget: MemoryBudget,
    bytes: usize,
}

impl Promise {
    /// What all requests together may hold, in bytes.
    pub fn budget_bytes(&self) -> usize {
        self.budget.total_bytes()
    }

    /// How many they are, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Grows or shrinks the promise to `bytes`; a shortage leaves it as it was.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Shortage> {
        let Inner { total_bytes, promised_bytes } = &*self.budget.0;
        if bytes > *total_bytes {
            return Err(Shortage::Never { total_bytes: *total_bytes });
        }
        let held = self.bytes;
        promised_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |promised| {
                let after = promised - held + bytes;
                (after <= *total_bytes).then_some(after)
            })
            .map_err(|_| Shortage::Now)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.budget.0.promised_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_never_exceed_the_budget_and_come_back() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.promise(60).unwrap();
        assert_eq!(budget.promise(41).unwrap_err(), Shortage::Now);
        assert_eq!(budget.promise(101).unwrap_err(), Shortage::Never { total_bytes: 100 });
        assert_eq!(first.resize(101), Err(Shortage::Never { total_bytes: 100 }));
        assert_eq!(budget.promised_bytes(), 60);
        first.resize(10).unwrap();
        let second = budget.promise(90).unwrap();
        drop(first);
        assert_eq!(budget.promised_bytes(), 90);
        drop(second);
        assert_eq!(budget.promised_bytes(), 0);
    }
}
