//! Rows as commits have left them that the store does not have yet: what is read goes through them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::iter::{self, Peekable};
use core::ops::Bound;

use super::Order;
use super::batch::{Batch, Table};
use super::log::Runs;

/// The rows of commits in two layers, as they are in the two halves of the log.
#[derive(Debug, Default)]
pub struct Recent {
    /// Those that the store takes next.
    older: Option<Arc<Layer>>,
    newer: Layer,
}

/// What some commits in a row come to.
#[derive(Debug, Default)]
pub struct Layer {
    /// By table, as many as there are.
    tables: Vec<Rows>,
    /// Bytes that the store may need to take it.
    store_bytes: u64,
    /// The number of the first commit that is not in it, once none is added any more.
    pub until: u64,
}

/// `None` at a key whose row is gone.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key, and what is there.
type Row<'a> = (&'a [u8], Option<&'a [u8]>);

impl Recent {
    /// What was found in the log, from that commit on.
    pub fn of_runs(runs: Runs, mut sequence: u64) -> Self {
        let mut recent = Self::default();
        for run in runs {
            if !recent.newer.is_empty() {
                recent.turn(sequence);
            }
            sequence += run.len() as u64;
            run.into_iter().for_each(|batch| recent.add(batch));
        }
        recent
    }

    pub fn is_empty(&self) -> bool {
        self.older.is_none() && self.newer.is_empty()
    }

    /// Bytes that the store may need to take all of it.
    pub fn store_bytes(&self) -> u64 {
        self.older.as_ref().map_or(0, |layer| layer.store_bytes) + self.newer.store_bytes
    }

    /// Adds what a commit changes.
    pub fn add(&mut self, batch: Batch) {
        self.newer.add(batch);
    }

    /// Whether there are rows that the store is to take.
    pub fn older(&self) -> Option<&Arc<Layer>> {
        self.older.as_ref()
    }

    /// What was added so far, up to before the commit `until`, is what the store takes next.
    pub fn turn(&mut self, until: u64) {
        assert!(self.older.is_none(), "the store has taken what was before");
        let mut layer = core::mem::take(&mut self.newer);
        layer.until = until;
        self.older = Some(Arc::new(layer));
    }

    /// The store has taken it.
    pub fn forget_older(&mut self) {
        self.older = None;
    }

    /// What a key has in the last commit that changes it, if any does: `Some(None)` where it goes.
    pub fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        let found = self.newer.rows(table).and_then(|rows| rows.get(key));
        let older = || self.older.as_ref()?.rows(table)?.get(key);
        found.or_else(older).map(|value| value.as_deref())
    }

    /// The keys in a range that changed, in order.
    pub fn range<'a>(
        &'a self,
        table: Table,
        range: (Bound<&'a [u8]>, Bound<&'a [u8]>),
        order: Order,
    ) -> impl Iterator<Item = Row<'a>> {
        let rows = move |layer: &'a Layer| layer.range(table, range, order);
        let mut newer = rows(&self.newer).peekable();
        let mut older = self.older.as_deref().into_iter().flat_map(rows).peekable();
        iter::from_fn(move || match first_of(&mut newer, &mut older, order)? {
            Ordering::Less => newer.next(),
            Ordering::Greater => older.next(),
            Ordering::Equal => {
                older.next();
                newer.next()
            }
        })
    }
}

/// Which of two iterators has the row that comes first; none, where both are at their end.
fn first_of<'a>(
    one: &mut Peekable<impl Iterator<Item = Row<'a>>>,
    other: &mut Peekable<impl Iterator<Item = Row<'a>>>,
    order: Order,
) -> Option<Ordering> {
    match (one.peek(), other.peek()) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some((one, _)), Some((other, _))) => Some(order.compare(one, other)),
    }
}

impl Layer {
    fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    fn add(&mut self, batch: Batch) {
        self.store_bytes += store_bytes(&batch);
        self.tables.resize_with(Table::ALL.len(), Rows::new);
        let Batch { puts, deletes } = batch;
        for (table, key) in deletes {
            self.tables[table as usize].insert(key, None);
        }
        for (table, key, value) in puts {
            self.tables[table as usize].insert(key, Some(value));
        }
    }

    /// The rows of a table that change.
    pub fn rows(&self, table: Table) -> Option<&Rows> {
        self.tables.get(table as usize)
    }

    fn range<'a>(
        &'a self,
        table: Table,
        range: (Bound<&'a [u8]>, Bound<&'a [u8]>),
        order: Order,
    ) -> Box<dyn Iterator<Item = Row<'a>> + 'a> {
        let rows = self.rows(table).into_iter().flat_map(move |rows| rows.range::<[u8], _>(range));
        let rows = rows.map(|(key, value)| (key.as_slice(), value.as_deref()));
        match order {
            Order::Forwards => Box::new(rows),
            Order::Backwards => Box::new(rows.rev()),
        }
    }
}

/// The most that the store may have to grow by to take a batch: for each row a copy of the page
/// that it is on, and a page of a power of two for what does not fit there.
pub fn store_bytes(batch: &Batch) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let puts =
        batch.puts.iter().map(|(_, key, value)| PAGE_BYTES + 2 * (key.len() + value.len()) as u64);
    puts.sum::<u64>() + batch.deletes.len() as u64 * PAGE_BYTES
}
