//! Jobs that go on by themselves: an expression over matrices, computed step by step, whoever is
//! connected meanwhile.
//!
//! What such a job is and how far it has come is a [`Record`], a row of the volume. The steps'
//! results are matrices of the [store](crate::store), and each tile of them lasts once it is
//! committed: a machine that is killed goes on with the tiles that it had not committed, and the
//! bits of the results are those of a run that was never interrupted.

pub mod record;

mod run;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use spin::mutex::SpinMutex;

pub use record::{Failure, InputRecord, Record, ResultRecord, State, StepRecord};
pub(crate) use run::{Ended, TaskRun};

use crate::billing::JobId;
use crate::ledger::{Batch, Table};

/// What the server and the threads that compute know of a job in common.
#[derive(Debug)]
pub struct Control {
    id: JobId,
    order: AtomicU8,
    /// Operations that are done, as they are billed.
    flops_done: AtomicU64,
    record: SpinMutex<Record>,
}

/// What a job is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    GoOn = 0,
    /// It is to stop where it is, and goes on another time.
    Pause = 1,
    /// It is to stop for good.
    Cancel = 2,
}

impl Control {
    pub fn new(id: JobId, record: Record) -> Arc<Self> {
        let flops_done = AtomicU64::new(record.flops_of_done_steps());
        Arc::new(Self { id, order: AtomicU8::new(0), flops_done, record: record.into() })
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// A later order never weakens an earlier one.
    pub fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Relaxed);
    }

    pub fn ordered(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            0 => Order::GoOn,
            1 => Order::Pause,
            _ => Order::Cancel,
        }
    }

    /// Operations that are done of those that are billed.
    pub fn flops_done(&self) -> u64 {
        self.flops_done.load(Ordering::Relaxed)
    }

    fn note_flops(&self, flops: u64) {
        self.flops_done.store(flops, Ordering::Relaxed);
    }

    /// What is known of it now.
    pub fn record(&self) -> Record {
        self.record.lock().clone()
    }

    /// What `read` makes of what is known of it.
    pub fn with<R>(&self, read: impl FnOnce(&Record) -> R) -> R {
        read(&self.record.lock())
    }

    pub fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock());
    }

    /// Its row, as it is now.
    pub fn row(&self) -> Batch {
        self.with(|record| self.row_of(record))
    }

    /// Its row, as it is to be.
    pub fn row_of(&self, record: &Record) -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Tasks, self.id.0, record.to_bytes());
        batch
    }
}
