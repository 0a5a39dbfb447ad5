//! Which of the matrices that are kept as a cache goes first.
//!
//! GreedyDual-Size (Cao and Irani, 1997): what a matrix is worth is the cost of making it again by
//! its size, on top of what the last one that was evicted was worth when that happened. So what
//! costs much and is small stays long, and what is not asked for grows old.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::error::StoreError;
use super::matrix::{Matrix, Stored};
use super::record::Purpose;
use super::space::Extent;
use super::{Keep, Store};
use crate::ledger::AccountId;
use crate::ledger::hash::Hash;
use crate::memory::{Promise, Shortage};

/// Room that was taken for a matrix.
#[derive(Debug)]
pub struct Room {
    /// Where it is in memory.
    pub promise: Option<Promise>,
    pub extents: Vec<Extent>,
}

/// Whether there may be room once others have gone.
fn is_want_of_room(error: &StoreError) -> bool {
    matches!(error, StoreError::Full { .. } | StoreError::Memory(Shortage::Now))
}

/// What a matrix is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth(pub u64);

impl Worth {
    pub fn new(inflation: u64, matrix: &Matrix) -> Self {
        let record = matrix.record();
        Self(inflation.saturating_add(record.flops / record.layout.bytes().max(1)))
    }
}

impl Store {
    /// Notes what a finished matrix is the result of, and that it would take so many operations to
    /// make it again. Unless the account keeps it anyway, it is from now on kept as a cache.
    pub fn remember(&self, stored: &Stored, operation: Hash, flops: u64) -> Result<(), StoreError> {
        self.change(stored, |record| {
            if record.purpose != Purpose::Upload {
                record.purpose = Purpose::Cache;
                record.keep = Keep::default();
            }
            record.operation = Some(operation);
            record.flops = flops;
        })?;
        self.note_use(stored);
        Ok(())
    }

    /// The result of this operation, if the account has it.
    pub fn recall(&self, account: &AccountId, operation: Hash) -> Option<Arc<Stored>> {
        let number = *self.state.lock().operations.get(&(account.clone(), operation))?;
        let stored = self.by_number(number)?;
        self.note_use(&stored);
        Some(stored)
    }

    fn note_use(&self, stored: &Stored) {
        let mut state = self.state.lock();
        let inflation = state.inflation;
        if let Some(held) = state.matrices.get_mut(&stored.number()) {
            held.worth = Worth::new(inflation, &held.matrix);
        }
    }

    /// Takes room, for which matrices go that are kept as a cache and that nobody reads, those that
    /// are worth the least first. None goes where that would not be enough.
    pub(super) fn make_room(&self, bytes: u64) -> Result<Room, StoreError> {
        let full = match self.take_room(bytes) {
            Err(full) if is_want_of_room(&full) => full,
            other => return other,
        };
        let evictable: u64 = self.evictable().iter().map(|matrix| matrix.layout().bytes()).sum();
        if evictable.saturating_add(self.free_bytes()) < bytes {
            return Err(full);
        }
        for matrix in self.evictable() {
            let worth = self.state.lock().matrices.get(&matrix.number()).map(|held| held.worth);
            self.forget(&matrix)?;
            if let Some(Worth(worth)) = worth {
                let mut state = self.state.lock();
                state.inflation = state.inflation.max(worth);
            }
            drop(matrix);
            match self.take_room(bytes) {
                Err(full) if is_want_of_room(&full) => {}
                other => return other,
            }
        }
        Err(full)
    }

    fn take_room(&self, bytes: u64) -> Result<Room, StoreError> {
        let memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let promise =
            self.budget.as_ref().map(|budget| budget.promise(memory_bytes)).transpose()?;
        Ok(Room { promise, extents: self.slab.allocate(bytes)? })
    }

    /// What may go, in the order in which it does.
    fn evictable(&self) -> Vec<Arc<Matrix>> {
        let state = self.state.lock();
        let mut found: Vec<_> = state
            .matrices
            .values()
            .filter(|held| held.matrix.is_cache() && Arc::strong_count(&held.matrix) == 1)
            .collect();
        found.sort_by_key(|held| held.worth);
        found.into_iter().map(|held| held.matrix.clone()).collect()
    }
}
