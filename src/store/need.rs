//! What jobs are still to read, which stays for them whatever else becomes of it.

use super::record::Purpose;
use super::{Keep, MatrixNumber, Store, StoreError, Stored};

impl Store {
    /// One more job is to read a matrix; false where it is gone. It stays until all of them have
    /// [released](Store::release) it, whatever else becomes of it. Nothing of this outlasts the machine:
    /// the next one is told again which jobs there are.
    pub fn need(&self, number: MatrixNumber) -> bool {
        let mut state = self.state.lock();
        let Some(held) = state.matrices.get_mut(&number).filter(|held| !held.is_going) else {
            return false;
        };
        held.jobs += 1;
        true
    }

    /// A job needs a matrix no more: one that was there for jobs alone goes with the last.
    pub fn release(&self, number: MatrixNumber) -> Result<(), StoreError> {
        if let Some(held) = self.state.lock().matrices.get_mut(&number) {
            held.jobs = held.jobs.saturating_sub(1);
        }
        match self.by_number(number) {
            Some(stored) if stored.purpose() == Purpose::Operand => self.remove(&stored),
            _ => Ok(()),
        }
    }

    /// Removes a matrix: it is not found any more, nor billed. Those who have its handle can read
    /// it for as long as they do, and it stays for jobs that need it.
    pub fn remove(&self, stored: &Stored) -> Result<(), StoreError> {
        if self.is_let_go(stored) {
            return self.end(stored);
        }
        self.change(stored, |record| {
            record.purpose = Purpose::Operand;
            record.keep = Keep::default();
        })?;
        // The last job may have ended meanwhile, when it was not there for jobs alone.
        if self.is_let_go(stored) { self.end(stored) } else { Ok(()) }
    }

    /// Whether no job needs a matrix: none will from now on.
    fn is_let_go(&self, stored: &Stored) -> bool {
        let mut state = self.state.lock();
        let Some(held) = state.matrices.get_mut(&stored.number()) else { return true };
        held.is_going = held.jobs == 0;
        held.is_going
    }

    fn end(&self, stored: &Stored) -> Result<(), StoreError> {
        let ended = self.forget(stored.matrix());
        if ended.is_err()
            && let Some(held) = self.state.lock().matrices.get_mut(&stored.number())
        {
            held.is_going = false;
        }
        ended
    }
}
