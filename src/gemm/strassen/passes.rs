//! Sums of matrices, all that need the same operands in one pass over memory.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ops::Range;
use core::slice::{from_mut, from_raw_parts, from_raw_parts_mut, from_ref};

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use super::super::crew::{Crew, Exclusive};
use super::super::kernel::finish_streaming;
use super::super::matrix::{Source, Target};
use super::super::{Element, Isa};
use super::rows;

/// Elements of one output that a slice of work computes.
const SLICE_ELEMENTS: usize = 16 << 10;

/// What is summed. Quarters are numbered 11, 12, 21, 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum<T> {
    /// S1 to S4, of the quarters of A.
    OfA,
    /// T1 to T3 and -T4, of those of B.
    OfB,
    /// The quarters of C hold P1, nothing, P7 and P5, and the first source P6. They become P1,
    /// U4, U3 and U7.
    InC,
    /// The sources are P1, P6, P7, P5; the quarters of C are multiplied by this, and P1, U4, U3 and
    /// U7 are added.
    ToC(T),
}

impl<T: Element> Sum<T> {
    /// Additions for each element of a quarter, those of the products that follow with them: U1, U5
    /// and U6 are summed as P2, P3 and P4 are added to what this leaves.
    pub fn flops(&self) -> u64 {
        match self {
            Self::OfA | Self::OfB => 4,
            Self::InC | Self::ToC(_) => 7,
        }
    }
}

/// A pass on its way: rows that each thread is to sum, and those that it has.
#[derive(Debug)]
pub struct Pass {
    shares: Vec<Range<usize>>,
}

/// What a pass reads and writes, quarters of one size.
pub struct Quarters<'a, T> {
    pub sources: [ArrayView2<'a, T>; 4],
    pub targets: [ArrayViewMut2<'a, T>; 4],
}

impl<T> Quarters<'_, T> {
    /// Their transposes, of which the same sums are true.
    pub fn turned(self) -> Self {
        Self {
            sources: self.sources.map(|view| view.reversed_axes()),
            targets: self.targets.map(|view| view.reversed_axes()),
        }
    }

    /// Cuts off the rows from `row` on.
    fn split_at(self, row: usize) -> (Self, Self) {
        let Self { sources, targets } = self;
        let sources = sources.map(|view| view.split_at(Axis(0), row));
        let [a, b, c, d] = targets.map(|view| view.split_at(Axis(0), row));
        let above =
            Self { sources: sources.map(|(above, _)| above), targets: [a.0, b.0, c.0, d.0] };
        (above, Self { sources: sources.map(|(_, below)| below), targets: [a.1, b.1, c.1, d.1] })
    }
}

impl Pass {
    /// A pass over so many rows by so many threads.
    pub fn new(rows: usize, threads: usize) -> Self {
        let height = rows.div_ceil(threads).max(1);
        let shares = (0..rows).step_by(height).map(|row| row..(row + height).min(rows));
        Self { shares: shares.collect() }
    }

    pub fn rows_left(&self) -> usize {
        self.shares.iter().map(Range::len).sum()
    }

    /// Sums slices until all is done or `pause`, which every thread asks after each, says so.
    pub fn advance<T: Element>(
        &mut self,
        isa: Isa,
        sum: Sum<T>,
        quarters: Quarters<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        if let [share] = &mut self.shares[..] {
            return advance_share(isa, sum, share, 0, quarters, pause);
        }
        let (mut below, mut top) = (quarters, 0);
        let mut shares = Vec::new();
        for share in &mut self.shares {
            let (above, rest) = below.split_at(share.end - top);
            let end = share.end;
            shares.push(Exclusive::new((top, share, Some(above))));
            (below, top) = (rest, end);
        }
        crew.run(shares.len(), &|index| {
            shares[index].with(|(top, share, quarters)| {
                if let Some(quarters) = quarters.take() {
                    advance_share(isa, sum, share, *top, quarters, pause);
                }
            });
        });
    }
}

/// Sums rows of a share, the first row of which is `top`.
fn advance_share<T: Element>(
    isa: Isa,
    sum: Sum<T>,
    share: &mut Range<usize>,
    top: usize,
    quarters: Quarters<T>,
    pause: &(dyn Fn() -> bool + Sync),
) {
    let mut quarters = quarters;
    let at_once = (SLICE_ELEMENTS / quarters.targets[0].ncols().max(1)).max(1);
    while share.start < share.end {
        let end = share.end.min(share.start + at_once);
        sum_rows(isa, sum, &mut quarters, share.start - top..end - top);
        share.start = end;
        if pause() {
            break;
        }
    }
}

fn sum_rows<T: Element>(isa: Isa, sum: Sum<T>, quarters: &mut Quarters<T>, rows: Range<usize>) {
    let columns = quarters.targets[0].ncols();
    let x = quarters.sources.each_ref().map(Source::of);
    let y = quarters.targets.each_mut().map(Target::of);
    if columns > 1 && x.iter().any(|x| x.column_stride != 1) {
        return sum_elements(isa, sum, quarters, rows);
    }
    for row in rows {
        // SAFETY: a row of a source, whose elements are next to each other.
        let x = |index: usize| unsafe { from_raw_parts(x[index].at(row, 0), columns) };
        // SAFETY: a row of a target, whose elements are, too, and that is borrowed for as long;
        // each index is taken once.
        let y = |index: usize| unsafe { from_raw_parts_mut(y[index].at(row, 0), columns) };
        rows::sum(isa, sum, (x(0), x(1), x(2), x(3)), (y(0), y(1), y(2), y(3)));
    }
    finish_streaming();
}

/// Of operands with gaps within rows and columns: one element at a time.
fn sum_elements<T: Element>(isa: Isa, sum: Sum<T>, quarters: &mut Quarters<T>, rows: Range<usize>) {
    let Quarters { sources, targets: [y0, y1, y2, y3] } = quarters;
    for row in rows {
        for j in 0..y0.ncols() {
            let at = [row, j];
            let x = sources.each_ref().map(|x| from_ref(&x[at]));
            let y = (&mut y0[at], &mut y1[at], &mut y2[at], &mut y3[at]);
            let y = (from_mut(y.0), from_mut(y.1), from_mut(y.2), from_mut(y.3));
            rows::sum(isa, sum, (x[0], x[1], x[2], x[3]), y);
        }
    }
}
