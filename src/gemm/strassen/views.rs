//! Blocks of operands, sums and products, as views.

use alloc::vec::Vec;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::super::plan::Layout;
use super::super::{Element, Shape};
use super::passes::Quarters;
use super::plan::{CACHE_LINE_BYTES, Plan, Side, Size, Sizes};
use super::walk::{Block, Node, Place};

/// What says where blocks lie.
#[derive(Clone, Copy, Debug)]
pub struct Views<'p> {
    pub plan: &'p Plan,
    pub layout: Layout,
}

impl Views<'_> {
    /// An operand of a product at a level, within the given one or the sums.
    pub fn operand<'a, T: Element>(
        &self,
        side: Side,
        block: Block,
        level: usize,
        given: ArrayView2<'a, T>,
        sums: &'a [Vec<T>],
    ) -> ArrayView2<'a, T> {
        let Shape { m, n, k } = self.plan.at(level);
        let (rows, columns) = match side {
            Side::A => (m, k),
            Side::B => (k, n),
        };
        let whole = match block.place {
            Place::Given => given,
            Place::Level { level, index } => {
                let size = self.sizes::<T>(level).of(side);
                matrix(&lines(&sums[level])[index * size.len()..], size)
            }
        };
        whole.slice_move(s![block.row..block.row + rows, block.column..block.column + columns])
    }

    /// A result, within C or the products that are kept.
    pub fn c<'a, T: Element>(
        &self,
        block: Block,
        level: usize,
        given: ArrayViewMut2<'a, T>,
        kept: &'a mut [Vec<T>],
    ) -> ArrayViewMut2<'a, T> {
        let Shape { m, n, .. } = self.plan.at(level);
        let whole = match block.place {
            Place::Given => given,
            Place::Level { level, index } => {
                let size = self.sizes::<T>(level).c;
                matrix_mut(&mut lines_mut(&mut kept[level])[index * size.len()..], size)
            }
        };
        whole.slice_move(s![block.row..block.row + m, block.column..block.column + n])
    }

    /// What the pass over an operand of a product reads and writes.
    pub fn sums<'a, T: Element>(
        &self,
        side: Side,
        node: Node,
        level: usize,
        given: ArrayView2<'a, T>,
        sums: &'a mut [Vec<T>],
    ) -> Quarters<'a, T> {
        let (above, here) = sums.split_at_mut(level);
        let block = match side {
            Side::A => node.a,
            Side::B => node.b,
        };
        let whole = self.operand(side, block, level, given, above);
        turned_as(self.sizes::<T>(level).of(side), whole, &mut here[0])
    }

    /// The pass over the products that were kept.
    pub fn products<'a, T: Element>(
        &self,
        node: Node,
        level: usize,
        given: ArrayViewMut2<'a, T>,
        kept: &'a mut [Vec<T>],
    ) -> Quarters<'a, T> {
        let (above, here) = kept.split_at_mut(level);
        let size = self.sizes::<T>(level).c;
        let here = lines(&here[0]);
        // One that does not add keeps one product only, which stands for all.
        let at =
            |index: usize| matrix(&here[if node.adds { index * size.len() } else { 0 }..], size);
        let sources = [at(0), at(1), at(2), at(3)];
        Quarters { sources, targets: quarters_mut(self.c(node.c, level, given, above)) }
    }

    fn sizes<T>(&self, level: usize) -> Sizes {
        Sizes::new::<T>(self.plan, level, self.layout)
    }
}

/// Row by row of what lies row by row.
fn turned_as<'a, T: Element>(
    size: Size,
    whole: ArrayView2<'a, T>,
    sums: &'a mut [T],
) -> Quarters<'a, T> {
    let mut sums = lines_mut(sums);
    let targets = [(); 4].map(|()| {
        let (sum, rest) = core::mem::take(&mut sums).split_at_mut(size.len());
        sums = rest;
        matrix_mut(sum, size)
    });
    let quarters = Quarters { sources: quarters(whole), targets };
    if size.is_turned { quarters.turned() } else { quarters }
}

fn quarters<T>(whole: ArrayView2<T>) -> [ArrayView2<T>; 4] {
    let (m, n) = (whole.nrows() / 2, whole.ncols() / 2);
    [(0, 0), (0, n), (m, 0), (m, n)]
        .map(|(row, column)| whole.slice_move(s![row..row + m, column..column + n]))
}

fn quarters_mut<T>(whole: ArrayViewMut2<T>) -> [ArrayViewMut2<T>; 4] {
    let (m, n) = (whole.nrows() / 2, whole.ncols() / 2);
    let (upper, lower) = whole.split_at(ndarray::Axis(0), m);
    let (c11, c12) = upper.split_at(ndarray::Axis(1), n);
    let (c21, c22) = lower.split_at(ndarray::Axis(1), n);
    [c11, c12, c21, c22]
}

/// A matrix of this size at the start of some elements.
fn matrix<T>(elements: &[T], size: Size) -> ArrayView2<'_, T> {
    let lines = ArrayView2::from_shape((size.rows, size.stride), &elements[..size.len()])
        .expect("as many elements");
    let view = lines.slice_move(s![.., ..size.columns]);
    if size.is_turned { view.reversed_axes() } else { view }
}

fn matrix_mut<T>(elements: &mut [T], size: Size) -> ArrayViewMut2<'_, T> {
    let lines = ArrayViewMut2::from_shape((size.rows, size.stride), &mut elements[..size.len()])
        .expect("as many elements");
    let view = lines.slice_move(s![.., ..size.columns]);
    if size.is_turned { view.reversed_axes() } else { view }
}

/// Elements before the first whole cache line, which there is room for.
pub fn start_of<T>(elements: &[T]) -> usize {
    // Where the address can't be known (Miri), nothing is aligned and nothing breaks.
    elements.as_ptr().align_offset(CACHE_LINE_BYTES).min(CACHE_LINE_BYTES / size_of::<T>())
}

fn lines<T>(elements: &[T]) -> &[T] {
    &elements[start_of(elements)..]
}

fn lines_mut<T>(elements: &mut [T]) -> &mut [T] {
    let start = start_of(elements);
    &mut elements[start..]
}
