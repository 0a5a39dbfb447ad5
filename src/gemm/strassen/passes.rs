//! Sums of matrices, all that need the same operands in one pass over memory.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use super::super::crew::{Crew, Exclusive};
use super::super::{Element, Isa};

/// Elements of one output that a slice of work computes.
const SLICE_ELEMENTS: usize = 16 << 10;

/// Elements that are summed at once: whole vectors of any width.
const LANES: usize = 16;

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

/// By vectors as wide as the CPU's. No term is multiplied and added at once: the bits are the same
/// by any of them.
fn sum_rows<T: Element>(isa: Isa, sum: Sum<T>, quarters: &mut Quarters<T>, rows: Range<usize>) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    {
        #[target_feature(enable = "avx512f")]
        fn by_avx512<T: Element>(sum: Sum<T>, quarters: &mut Quarters<T>, rows: Range<usize>) {
            sum_rows_inline(sum, quarters, rows);
        }
        #[target_feature(enable = "avx2")]
        fn by_avx2<T: Element>(sum: Sum<T>, quarters: &mut Quarters<T>, rows: Range<usize>) {
            sum_rows_inline(sum, quarters, rows);
        }
        assert!(isa.is_here(), "this CPU has no {}", isa.name());
        match isa {
            // SAFETY: the CPU has the instruction set, as was just asserted.
            Isa::Avx512 => return unsafe { by_avx512(sum, quarters, rows) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { by_avx2(sum, quarters, rows) },
            Isa::Portable => {}
        }
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    let _ = isa;
    sum_rows_inline(sum, quarters, rows);
}

#[inline(always)]
fn sum_rows_inline<T: Element>(sum: Sum<T>, quarters: &mut Quarters<T>, rows: Range<usize>) {
    let Quarters { sources, targets } = quarters;
    for row in rows {
        let [x0, x1, x2, x3] = sources.each_ref().map(|view| view.row(row));
        let rows = (x0.to_slice(), x1.to_slice(), x2.to_slice(), x3.to_slice());
        let y = targets.each_mut().map(|view| {
            view.row_mut(row).into_slice().expect("rows of sums and of C are contiguous")
        });
        if let (Some(x0), Some(x1), Some(x2), Some(x3)) = rows {
            sum_row(sum, [x0, x1, x2, x3], y);
            continue;
        }
        // Operands with gaps within rows and columns: one element at a time.
        for (j, y) in zip4(y).enumerate() {
            let [z0, z1, z2, z3] = y.each_ref().map(|y| [**y]);
            let mut z = [z0, z1, z2, z3];
            let [z0, z1, z2, z3] = &mut z;
            sum_row(sum, [&[x0[j]], &[x1[j]], &[x2[j]], &[x3[j]]], [z0, z1, z2, z3]);
            for (y, z) in y.into_iter().zip(z) {
                *y = z[0];
            }
        }
    }
}

/// The elements of four rows that are in the same place.
fn zip4<T>(rows: [&mut [T]; 4]) -> impl Iterator<Item = [&mut T; 4]> {
    let [a, b, c, d] = rows;
    let pairs = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
    pairs.map(|((a, b), (c, d))| [a, b, c, d])
}

#[inline(always)]
fn sum_row<T: Element>(sum: Sum<T>, x: [&[T]; 4], y: [&mut [T]; 4]) {
    match sum {
        Sum::OfA => map_row(x, y, |[x11, x12, x21, x22]| {
            let s1 = x21 + x22;
            let s2 = s1 - x11;
            [s1, s2, x11 - x21, x12 - s2]
        }),
        Sum::OfB => map_row(x, y, |[x11, x12, x21, x22]| {
            let t1 = x12 - x11;
            let t2 = x22 - t1;
            [t1, t2, x22 - x12, x21 - t2]
        }),
        Sum::InC => {
            let [p1, u4, p7, p5] = y;
            combine_row(x[0], [p1, u4, p7, p5]);
        }
        Sum::ToC(beta) => add_row(x, y, beta),
    }
}

/// `y = f(x)`, without reading y.
#[inline(always)]
fn map_row<T: Element>(x: [&[T]; 4], y: [&mut [T]; 4], f: impl Fn([T; 4]) -> [T; 4]) {
    let columns = y[0].len();
    let [x0, x1, x2, x3] = x.map(|x| x[..columns].as_chunks::<LANES>());
    let [y0, y1, y2, y3] = y.map(|y| y[..columns].as_chunks_mut::<LANES>());
    for i in 0..columns / LANES {
        let [a, b, c, d] = [x0.0[i], x1.0[i], x2.0[i], x3.0[i]];
        let mut sums = [[T::default(); LANES]; 4];
        for lane in 0..LANES {
            let [s0, s1, s2, s3] = f([a[lane], b[lane], c[lane], d[lane]]);
            sums[0][lane] = s0;
            sums[1][lane] = s1;
            sums[2][lane] = s2;
            sums[3][lane] = s3;
        }
        [y0.0[i], y1.0[i], y2.0[i], y3.0[i]] = sums;
    }
    for i in 0..columns % LANES {
        [y0.1[i], y1.1[i], y2.1[i], y3.1[i]] = f([x0.1[i], x1.1[i], x2.1[i], x3.1[i]]);
    }
}

/// U4, U3 and U7 of P1, P6, P7 and P5.
#[inline(always)]
fn combined<T: Element>([p1, p6, p7, p5]: [T; 4]) -> [T; 3] {
    let u2 = p1 + p6;
    let u3 = u2 + p7;
    [u2 + p5, u3, u3 + p5]
}

/// In the place of P7 and P5, and beside P1, which stays.
#[inline(always)]
fn combine_row<T: Element>(p6: &[T], c: [&mut [T]; 4]) {
    let columns = c[0].len();
    let p6 = p6[..columns].as_chunks::<LANES>();
    let [c11, c12, c21, c22] = c.map(|c| c[..columns].as_chunks_mut::<LANES>());
    for i in 0..columns / LANES {
        let [p1, p6, p7, p5] = [c11.0[i], p6.0[i], c21.0[i], c22.0[i]];
        let mut sums = [[T::default(); LANES]; 3];
        for lane in 0..LANES {
            let [u4, u3, u7] = combined([p1[lane], p6[lane], p7[lane], p5[lane]]);
            sums[0][lane] = u4;
            sums[1][lane] = u3;
            sums[2][lane] = u7;
        }
        [c12.0[i], c21.0[i], c22.0[i]] = sums;
    }
    for i in 0..columns % LANES {
        let products = [c11.1[i], p6.1[i], c21.1[i], c22.1[i]];
        [c12.1[i], c21.1[i], c22.1[i]] = combined(products);
    }
}

/// `c = beta c + U`, where `beta` is not zero.
#[inline(always)]
fn add_row<T: Element>(products: [&[T]; 4], c: [&mut [T]; 4], beta: T) {
    let columns = c[0].len();
    let [x0, x1, x2, x3] = products.map(|x| x[..columns].as_chunks::<LANES>());
    let [y0, y1, y2, y3] = c.map(|c| c[..columns].as_chunks_mut::<LANES>());
    let add = |products: [T; 4], c: [T; 4]| {
        let [u4, u3, u7] = combined(products);
        let [c11, c12, c21, c22] = c;
        [beta * c11 + products[0], beta * c12 + u4, beta * c21 + u3, beta * c22 + u7]
    };
    for i in 0..columns / LANES {
        let products = [x0.0[i], x1.0[i], x2.0[i], x3.0[i]];
        let mut sums = [y0.0[i], y1.0[i], y2.0[i], y3.0[i]];
        for lane in 0..LANES {
            let added = add(products.map(|x| x[lane]), sums.map(|y| y[lane]));
            for (sums, sum) in sums.iter_mut().zip(added) {
                sums[lane] = sum;
            }
        }
        [y0.0[i], y1.0[i], y2.0[i], y3.0[i]] = sums;
    }
    for i in 0..columns % LANES {
        let products = [x0.1[i], x1.1[i], x2.1[i], x3.1[i]];
        [y0.1[i], y1.1[i], y2.1[i], y3.1[i]] = add(products, [y0.1[i], y1.1[i], y2.1[i], y3.1[i]]);
    }
}
