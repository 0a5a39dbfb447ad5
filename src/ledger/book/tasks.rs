//! Jobs of several steps: their charges, and the rows of other tables that say how they stand.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::Book;
use crate::ledger::entry::{Charge, Record};
use crate::ledger::volume::Batch;

/// What became of a job's charges and rows.
#[derive(Debug)]
pub struct TaskRecorded {
    /// The numbers of the charges' entries.
    pub sequences: Range<u64>,
    /// Where the book is in memory only, the rows, which it has no place for; else none.
    pub left_over: Batch,
}

impl Book {
    /// Makes the entries of all charges of a job, and has rows change with them: all of it is
    /// durable with the next commit, or nothing. There may be rows without a charge; they are
    /// written by the next commit as well, though no entry tells when it was.
    pub fn record_task(
        &mut self,
        at_unix_ns: u64,
        charges: Vec<Arc<Charge>>,
        rows: Batch,
    ) -> TaskRecorded {
        let first = self.sequence;
        for charge in charges {
            self.record(at_unix_ns, Record::Charge(charge));
        }
        let mut left_over = rows;
        if self.volume.is_some() {
            self.rows.puts.append(&mut left_over.puts);
            self.rows.deletes.append(&mut left_over.deletes);
        }
        TaskRecorded { sequences: first..self.sequence, left_over }
    }
}
