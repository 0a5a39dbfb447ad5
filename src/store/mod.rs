//! Matrices that stay: kept on the part of a volume behind its tables, or in memory where there is
//! no volume.
//!
//! A matrix is written tile by tile into a [`Draft`], and cannot be changed any more once that is
//! [finished](Store::finish). What an account has sent is found by its address from then on, which is
//! the SHA-256 of what NumPy's `save` writes of it; what a job has made is found by its number,
//! until it is [published](Store::publish). What an account keeps is told to no other, not even by
//! being there already: equal matrices of two accounts lie there twice.
//!
//! Bytes go to the [slab](Slab), rows about them to tables of the volume. A row is written only
//! after what it tells of has been flushed, and the room of a matrix is used again only after its
//! row is gone: whatever the power leaves behind, what the rows say is there. Which room is free is
//! not written at all, but follows from the rows.

mod cache;
mod counts;
mod digest;
mod error;
mod layout;
mod matrix;
mod memory;
mod need;
mod record;
mod slab;
mod space;
mod writer;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::mutex::SpinMutex;

pub use digest::{AddressHasher, MatrixId};
pub use error::StoreError;
pub use layout::{Layout, Tile};
pub use matrix::{BandSums, Draft, Stored};
pub use record::{Keep, Purpose};
pub use slab::Slab;
pub use writer::RowsWriter;

use cache::{Room, Worth};
use counts::{Counts, Share};
use matrix::Matrix;
use record::Record;

use crate::ledger::hash::Hash;
use crate::ledger::{AccountId, Batch, Table, Volume};
use crate::limits::MATRICES_MAX;
use crate::memory::MemoryBudget;

/// Names a matrix within a volume, in whatever state it is; never used twice.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct MatrixNumber(pub u64);

/// All matrices of a machine. Any thread may use it.
#[derive(Debug)]
pub struct Store {
    /// `None`: in memory only.
    volume: Option<Arc<Volume>>,
    slab: Arc<Slab>,
    /// That matrices in memory take from.
    budget: Option<MemoryBudget>,
    state: SpinMutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    matrices: BTreeMap<MatrixNumber, Held>,
    /// What accounts keep.
    addresses: BTreeMap<(AccountId, MatrixId), MatrixNumber>,
    /// Results by what they are results of.
    operations: BTreeMap<(AccountId, Hash), MatrixNumber>,
    references: BTreeMap<(AccountId, String), MatrixId>,
    counts: Counts,
    /// What is worth the least of those that may be evicted has been worth so much.
    inflation: u64,
}

#[derive(Debug)]
struct Held {
    matrix: Arc<Matrix>,
    worth: Worth,
    /// What it counts for.
    share: Share,
    /// How many jobs are still to read it.
    jobs: usize,
    /// Its rows are about to go.
    is_going: bool,
}

impl Store {
    /// Opens what `volume` has. Its slab may be the volume's own or, where its disk is too small
    /// for one, memory of `budget`.
    pub fn open(volume: Arc<Volume>, budget: MemoryBudget) -> Result<Arc<Self>, StoreError> {
        let Some((disk, offset)) = volume.slab() else { return Ok(Self::in_memory(budget)) };
        let slab = Arc::new(Slab::new(disk, offset));
        let mut state = State::default();
        let mut records = Vec::new();
        let mut damaged = None;
        volume.range(Table::Matrices, &[], None, &mut |key, value| {
            match (number_of(key), Record::read(value)) {
                (Some(number), Some(record)) => records.push((number, record)),
                _ => damaged = Some(StoreError::MalformedRow),
            }
            damaged.is_none()
        })?;
        volume.range(Table::References, &[], None, &mut |key, value| {
            match read_reference(key, value) {
                Some((name, id)) => drop(state.references.insert(name, id)),
                None => damaged = Some(StoreError::MalformedRow),
            }
            damaged.is_none()
        })?;
        if let Some(error) = damaged {
            return Err(error);
        }
        for (number, record) in records {
            state.next = state.next.max(number.0 + 1);
            slab.take(&record.extents)?;
            let matrix = Matrix::open(number, record, slab.clone(), &volume)?;
            state.insert(Arc::new(matrix));
        }
        Ok(Arc::new(Self { volume: Some(volume), slab, budget: None, state: state.into() }))
    }

    /// An empty one in memory, which counts against `budget`.
    pub fn in_memory(budget: MemoryBudget) -> Arc<Self> {
        let slab = Arc::new(Slab::in_memory(budget.total_bytes() as u64));
        Arc::new(Self { volume: None, slab, budget: Some(budget), state: SpinMutex::default() })
    }

    /// Whether what is kept lasts.
    pub fn is_durable(&self) -> bool {
        self.volume.is_some()
    }

    /// Bytes of the slab that are taken.
    pub fn bytes(&self) -> u64 {
        self.slab.taken_bytes()
    }

    /// How many matrices are finished.
    pub fn count(&self) -> usize {
        self.state.lock().addresses.len()
    }

    /// Bytes that are free for matrices.
    pub fn free_bytes(&self) -> u64 {
        let memory = self
            .budget
            .as_ref()
            .map(|budget| budget.total_bytes().saturating_sub(budget.promised_bytes()) as u64);
        self.slab.free_bytes().min(memory.unwrap_or(u64::MAX))
    }

    /// Begins a matrix: its room is taken now, for which others that are kept as a cache only may
    /// have to go.
    pub fn begin(
        &self,
        layout: Layout,
        purpose: Purpose,
        account: &AccountId,
        now_unix_ns: u64,
    ) -> Result<Arc<Draft>, StoreError> {
        let Room { promise, extents } = self.make_room(layout.bytes())?;
        let record = Record::begun(layout, purpose, account.clone(), extents, now_unix_ns);
        let number = {
            let mut state = self.state.lock();
            let is_full = state.matrices.len() >= MATRICES_MAX;
            let number = MatrixNumber(state.next);
            state.next += u64::from(!is_full);
            (!is_full).then_some(number)
        };
        let Some(number) = number else {
            self.slab.free(&record.extents);
            return Err(StoreError::TooMany);
        };
        let matrix = Arc::new(Matrix::new(number, record, self.slab.clone(), promise));
        // Where that fails, nobody knows what was written, and the room stays taken.
        self.commit_row(&matrix)?;
        self.state.lock().insert(matrix.clone());
        Ok(Arc::new(Draft::new(matrix, self.volume.clone())))
    }

    /// A matrix that was begun and is not finished.
    pub fn draft(&self, number: MatrixNumber) -> Option<Arc<Draft>> {
        let matrix = self.matrix(number).filter(|matrix| matrix.id().is_none())?;
        Some(Arc::new(Draft::new(matrix, self.volume.clone())))
    }

    /// All that were begun and are not finished, and for what.
    pub fn drafts(&self) -> Vec<(MatrixNumber, Purpose)> {
        let state = self.state.lock();
        let drafts = state.matrices.values().filter(|held| held.matrix.id().is_none());
        drafts.map(|held| (held.matrix.number(), held.matrix.record().purpose)).collect()
    }

    /// All that were made for jobs, finished or not.
    pub fn made_for_jobs(&self) -> Vec<MatrixNumber> {
        let state = self.state.lock();
        let is_made = |held: &&Held| {
            matches!(held.matrix.record().purpose, Purpose::Operand | Purpose::Result)
        };
        state.matrices.values().filter(is_made).map(|held| held.matrix.number()).collect()
    }

    /// Gives up a matrix, whether it is finished or not.
    pub fn abandon(&self, number: MatrixNumber) -> Result<(), StoreError> {
        match self.matrix(number) {
            Some(matrix) => self.forget(&matrix),
            None => Ok(()),
        }
    }

    /// Ends a draft of which all tiles are committed, with the address that the caller has found.
    /// If it was begun as an [upload](Purpose::Upload), it is found by that from now on; where the
    /// account keeps an equal one already, that is returned, kept for as long as either would have
    /// been, and the draft is given up.
    pub fn finish(
        &self,
        draft: &Draft,
        id: MatrixId,
        keep: Keep,
        now_unix_ns: u64,
    ) -> Result<Arc<Stored>, StoreError> {
        assert!(draft.is_whole(), "all tiles are committed");
        let matrix = draft.matrix();
        let Record { account, purpose, .. } = matrix.record();
        if purpose == Purpose::Upload
            && let Some(equal) = self.find(&account, id)
        {
            self.change(&equal, |record| record.keep_longer(keep))?;
            self.forget(matrix)?;
            return Ok(equal);
        }
        let stored = Arc::new(Stored::new(matrix.clone()));
        self.change(&stored, |record| {
            record.id = Some(id);
            record.keep = keep;
            record.finished_unix_ns = now_unix_ns;
        })?;
        Ok(stored)
    }

    /// Makes what a job has made one of the matrices that its account keeps. Where it keeps an
    /// equal one already, that is returned, kept for as long as either would have been, and the
    /// other one stays what it was.
    pub fn publish(&self, stored: &Arc<Stored>, keep: Keep) -> Result<Arc<Stored>, StoreError> {
        match self.find(&stored.account(), stored.id()) {
            Some(equal) => {
                self.change(&equal, |record| record.keep_longer(keep))?;
                Ok(equal)
            }
            None => {
                self.change(stored, |record| {
                    record.purpose = Purpose::Upload;
                    record.keep = keep;
                })?;
                Ok(stored.clone())
            }
        }
    }

    /// A matrix that an account keeps.
    pub fn find(&self, account: &AccountId, id: MatrixId) -> Option<Arc<Stored>> {
        let number = *self.state.lock().addresses.get(&(account.clone(), id))?;
        self.by_number(number)
    }

    /// A finished matrix.
    pub fn by_number(&self, number: MatrixNumber) -> Option<Arc<Stored>> {
        let matrix = self.matrix(number).filter(|matrix| matrix.id().is_some())?;
        Some(Arc::new(Stored::new(matrix)))
    }

    /// What an account keeps, by address.
    pub fn list(&self, account: &AccountId) -> Vec<Arc<Stored>> {
        let state = self.state.lock();
        let from = (account.clone(), MatrixId::FIRST);
        let theirs = state.addresses.range(from..).take_while(|((owner, _), _)| owner == account);
        let numbers = theirs.filter_map(|(_, number)| state.matrices.get(number));
        numbers.map(|held| Arc::new(Stored::new(held.matrix.clone()))).collect()
    }

    /// Bytes of what an account keeps, or has begun, that it is billed for: what is a cache is the
    /// service's own affair.
    pub fn bytes_of(&self, account: &AccountId) -> u64 {
        self.state.lock().counts.bytes_of(account).billed
    }

    /// The same, with the operands that its jobs still need.
    pub fn bytes_held_for(&self, account: &AccountId) -> u64 {
        self.state.lock().counts.bytes_of(account).held
    }

    /// What accounts are billed for: whose it is, its bytes, and since when, in nanoseconds of Unix
    /// time.
    pub fn billed(&self) -> Vec<(AccountId, u64, u64)> {
        let state = self.state.lock();
        let records = state.matrices.values().map(|held| held.matrix.record());
        let billed = records.filter(|record| record.purpose == Purpose::Upload);
        billed.map(|record| (record.account, record.layout.bytes(), record.begun_unix_ns)).collect()
    }

    /// Keeps a matrix for longer or shorter.
    pub fn keep(&self, stored: &Stored, keep: Keep) -> Result<(), StoreError> {
        self.change(stored, |record| record.keep = keep)
    }

    /// Removes those whose time is up; how many.
    pub fn expire(&self, now_unix_ns: u64) -> Result<usize, StoreError> {
        let due: Vec<_> = {
            let state = self.state.lock();
            let due = state.counts.due(now_unix_ns);
            let due = due.filter_map(|number| state.matrices.get(&number));
            due.map(|held| Stored::new(held.matrix.clone())).collect()
        };
        for stored in &due {
            self.remove(stored)?;
        }
        Ok(due.len())
    }

    /// When [`Store::expire`] has something to do, in nanoseconds of Unix time.
    pub fn next_expiry_unix_ns(&self) -> Option<u64> {
        self.state.lock().counts.next_due_unix_ns()
    }

    /// Notes that an account calls a matrix by this name from now on, or by none.
    pub fn refer(
        &self,
        account: &AccountId,
        name: &str,
        id: Option<MatrixId>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let key = reference_key(account, name);
        match id {
            Some(id) => batch.put(Table::References, key, id.0.0),
            None => batch.delete(Table::References, key),
        }
        self.commit(&batch)?;
        let mut state = self.state.lock();
        let name = (account.clone(), String::from(name));
        match id {
            Some(id) => drop(state.references.insert(name, id)),
            None => drop(state.references.remove(&name)),
        }
        Ok(())
    }

    /// What an account calls by this name.
    pub fn reference(&self, account: &AccountId, name: &str) -> Option<MatrixId> {
        self.state.lock().references.get(&(account.clone(), String::from(name))).copied()
    }

    /// The names that an account has given.
    pub fn references(&self, account: &AccountId) -> Vec<(String, MatrixId)> {
        let state = self.state.lock();
        let from = (account.clone(), String::new());
        let theirs = state.references.range(from..).take_while(|((owner, _), _)| owner == account);
        theirs.map(|((_, name), id)| (name.clone(), *id)).collect()
    }

    fn matrix(&self, number: MatrixNumber) -> Option<Arc<Matrix>> {
        self.state.lock().matrices.get(&number).map(|held| held.matrix.clone())
    }

    fn change(&self, stored: &Stored, change: impl FnOnce(&mut Record)) -> Result<(), StoreError> {
        let matrix = stored.matrix();
        let before = matrix.record();
        matrix.update(change);
        if let Err(error) = self.commit_row(matrix) {
            matrix.update(|record| *record = before);
            self.state.lock().count(matrix.number());
            return Err(error);
        }
        let mut state = self.state.lock();
        // One that was removed meanwhile is not found again.
        if state.matrices.contains_key(&matrix.number()) {
            state.unlink(matrix.number(), &before);
            state.link(matrix);
            state.count(matrix.number());
        }
        Ok(())
    }

    /// Takes a matrix out of the tables, then out of memory; its room is free once nobody reads it.
    fn forget(&self, matrix: &Arc<Matrix>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let key = matrix.number().0.to_be_bytes();
        batch.delete(Table::Matrices, key);
        for tile in 0..matrix.layout().tiles() {
            if matrix.is_committed(tile) {
                batch.delete(Table::Tiles, matrix::tile_key(matrix.number(), tile));
            }
        }
        self.commit(&batch)?;
        matrix.note_gone();
        self.state.lock().remove(matrix);
        Ok(())
    }

    fn commit_row(&self, matrix: &Matrix) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put(Table::Matrices, matrix.number().0.to_be_bytes(), matrix.record().to_bytes());
        self.commit(&batch)
    }

    /// Changes rows of others, which last when this returns, where there is a volume.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        match &self.volume {
            Some(volume) => Ok(volume.commit(batch)?),
            None => Ok(()),
        }
    }
}

impl State {
    fn insert(&mut self, matrix: Arc<Matrix>) {
        self.link(&matrix);
        let worth = Worth::new(self.inflation, &matrix);
        let number = matrix.number();
        let held = Held { matrix, worth, share: Share::default(), jobs: 0, is_going: false };
        self.matrices.insert(number, held);
        self.count(number);
    }

    fn remove(&mut self, matrix: &Matrix) {
        if let Some(Held { share, .. }) = self.matrices.remove(&matrix.number()) {
            let account = matrix.record().account;
            self.counts.change(&account, matrix.number(), share, Share::default());
        }
        self.unlink(matrix.number(), &matrix.record());
    }

    /// Counts a matrix as its record is now.
    fn count(&mut self, number: MatrixNumber) {
        let Some(held) = self.matrices.get_mut(&number) else { return };
        let record = held.matrix.record();
        let before = core::mem::replace(&mut held.share, Share::of(&record));
        self.counts.change(&record.account, number, before, held.share);
    }

    /// Makes a matrix found by what its record says.
    fn link(&mut self, matrix: &Matrix) {
        let record = matrix.record();
        if let Some(id) = record.id.filter(|_| record.is_found()) {
            self.addresses.insert((record.account.clone(), id), matrix.number());
        }
        if let Some(operation) = record.operation.filter(|_| record.id.is_some()) {
            self.operations.insert((record.account, operation), matrix.number());
        }
    }

    /// Makes one not found any more that was found by what its record said.
    fn unlink(&mut self, number: MatrixNumber, record: &Record) {
        let is_its = |found: &MatrixNumber| *found == number;
        if let Some(id) = record.id {
            let address = (record.account.clone(), id);
            if self.addresses.get(&address).is_some_and(is_its) {
                self.addresses.remove(&address);
            }
        }
        if let Some(operation) = record.operation {
            let operation = (record.account.clone(), operation);
            if self.operations.get(&operation).is_some_and(is_its) {
                self.operations.remove(&operation);
            }
        }
    }
}

fn number_of(key: &[u8]) -> Option<MatrixNumber> {
    Some(MatrixNumber(u64::from_be_bytes(key.try_into().ok()?)))
}

/// Neither an account's id nor a name has a zero byte.
fn reference_key(account: &AccountId, name: &str) -> Vec<u8> {
    [account.as_str().as_bytes(), &[0], name.as_bytes()].concat()
}

fn read_reference(key: &[u8], value: &[u8]) -> Option<((AccountId, String), MatrixId)> {
    let text = core::str::from_utf8(key).ok()?;
    let (account, name) = text.split_once('\0')?;
    let id = MatrixId(Hash(value.try_into().ok()?));
    Some(((account.parse().ok()?, name.into()), id))
}

#[cfg(test)]
mod tests;
