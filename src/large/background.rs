//! What goes on while a product is computed: reading what it needs next, and writing what is done.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::mutex::SpinMutex;

use super::StepError;

/// Threads of a host that have time to wait for disks. The core starts none.
pub trait Background: fmt::Debug + Send + Sync {
    /// Does `errand` soon, after those that were posted before it, on another thread.
    fn post(&self, errand: Box<dyn FnOnce() + Send>);

    /// Returns when `is_done` says so, which is asked each time that an errand ends.
    fn wait(&self, is_done: &dyn Fn() -> bool);
}

/// Work in small steps, each of a tile or so.
pub trait Errand: Send + 'static {
    /// One step; true once all is done.
    fn step(&mut self) -> Result<bool, StepError>;
}

/// An errand that is on its way: in the background, where there is one, or in steps that its owner
/// takes when it needs the outcome.
#[derive(Debug)]
pub struct Ticket<E> {
    shared: Arc<Shared<E>>,
    background: Option<Arc<dyn Background>>,
}

struct Shared<E> {
    errand: SpinMutex<Option<E>>,
    outcome: SpinMutex<Option<Result<(), StepError>>>,
    is_done: AtomicBool,
    is_cancelled: AtomicBool,
}

impl<E> fmt::Debug for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

impl<E: Errand> Ticket<E> {
    pub fn new(errand: E, background: Option<Arc<dyn Background>>) -> Self {
        let shared = Arc::new(Shared {
            errand: SpinMutex::new(Some(errand)),
            outcome: SpinMutex::new(None),
            is_done: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
        });
        if let Some(background) = &background {
            let shared = shared.clone();
            background.post(Box::new(move || shared.run()));
        }
        Self { shared, background }
    }

    /// A step, where there is no background; otherwise waits for that. True once all is done.
    pub fn advance(&self) -> Result<bool, StepError> {
        match &self.background {
            Some(background) => {
                background.wait(&|| self.shared.is_done());
                Ok(true)
            }
            None => {
                let mut errand = self.shared.errand.lock();
                let is_done = errand.as_mut().expect("it is taken once").step()?;
                if is_done {
                    self.shared.is_done.store(true, Ordering::Release);
                }
                Ok(is_done)
            }
        }
    }

    pub fn is_done(&self) -> bool {
        self.shared.is_done()
    }

    /// The errand, when it is done.
    pub fn finish(self) -> Result<E, StepError> {
        debug_assert!(self.is_done(), "it was waited for");
        if let Some(outcome) = self.shared.outcome.lock().take() {
            outcome?;
        }
        Ok(self.shared.errand.lock().take().expect("it is taken once"))
    }
}

impl<E> Shared<E> {
    fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }
}

impl<E: Errand> Shared<E> {
    fn run(&self) {
        // Nobody else wants it before it is done.
        let Some(mut errand) = self.errand.lock().take() else { return };
        let outcome = loop {
            if self.is_cancelled.load(Ordering::Relaxed) {
                break Ok(());
            }
            match errand.step() {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        *self.errand.lock() = Some(errand);
        *self.outcome.lock() = Some(outcome);
        self.is_done.store(true, Ordering::Release);
    }
}

impl<E> Drop for Ticket<E> {
    /// Nothing of a job that is given up goes on behind its back.
    fn drop(&mut self) {
        self.shared.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(background) = &self.background {
            background.wait(&|| self.shared.is_done());
        }
    }
}
