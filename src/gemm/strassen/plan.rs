//! How often a product is halved, and what that takes: memory, operations, and digits.

use super::super::kernel::Caches;
use super::super::plan::Layout;
use super::super::{Element, Kernel, Shape, parts};
use super::Algorithm;
use super::rows::STREAMED_BYTES;

/// The least side of a product that is worth halving to: where the additions, which memory bounds,
/// and the smaller products cost less than the eighth that is saved. Measured by
/// `make bench-strassen`.
const LEAST_SIDE: usize = 512;

/// The bound of the error grows 18 times with each level, the gain by an eighth at most.
pub const LEVELS_MAX: usize = 4;

pub const CACHE_LINE_BYTES: usize = STREAMED_BYTES;

/// Additions of two matrices, by the operand that they have the shape of a quarter of.
const SUMS_OF_A: u64 = 4;
const SUMS_OF_B: u64 = 4;
/// The three that a product does as it is added to what is there among them.
const SUMS_OF_C: u64 = 7;

/// A product that is halved some times in each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub whole: Shape,
    pub levels: usize,
    /// Whether the result is added to C.
    pub adds: bool,
}

impl Plan {
    /// Classical products have no levels.
    pub fn new(algorithm: Algorithm, whole: Shape, adds: bool) -> Self {
        let Shape { m, n, k } = whole;
        let side = m.min(n).min(k);
        let levels = match algorithm {
            Algorithm::Classical => 0,
            Algorithm::StrassenWinograd => {
                (1..=LEVELS_MAX).take_while(|levels| side >> levels >= LEAST_SIDE).count()
            }
        };
        Self { whole, levels, adds }
    }

    /// The largest product within that can be halved so often. What it leaves is multiplied
    /// classically.
    ///
    /// The rim is peeled off once and outside, not at each level: then all products within have one
    /// shape, and the rim is few products of long rows. Padding instead would copy the operands.
    pub fn core(&self) -> Shape {
        let halved = |side: usize| side >> self.levels << self.levels;
        let Shape { m, n, k } = self.whole;
        Shape { m: halved(m), n: halved(n), k: halved(k) }
    }

    /// The shape of the products at a level, of which there are seven times as many at each.
    pub fn at(&self, level: usize) -> Shape {
        let Shape { m, n, k } = self.core();
        Shape { m: m >> level, n: n >> level, k: k >> level }
    }

    /// The smallest products, which are classical ones.
    pub fn leaf(&self) -> Shape {
        self.at(self.levels)
    }

    pub fn leaves(&self) -> u64 {
        7_u64.pow(self.levels as u32)
    }

    /// The products that the rim is made of, none of them empty: the last terms of the core, the
    /// columns beside it, the rows below.
    pub fn rims(&self) -> impl Iterator<Item = Rim> + use<> {
        let (whole, core) = (self.whole, self.core());
        [Rim::Terms, Rim::Columns, Rim::Rows].into_iter().filter(move |rim| {
            let Shape { m, n, k } = rim.shape(whole, core);
            m > 0 && n > 0 && k > 0
        })
    }

    /// Multiplications and additions that are executed in all, of which scaling by alpha and beta
    /// counts as little as in the nominal `2 m n k`.
    pub fn executed_flops(&self) -> u64 {
        let (whole, core) = (self.whole, self.core());
        let rims = self.rims().map(|rim| rim.shape(whole, core).flops());
        let within = (0..self.levels).map(|level| {
            let Shape { m, n, k } = self.at(level + 1);
            let area = |rows: usize, columns: usize| rows as u64 * columns as u64;
            let sums = SUMS_OF_A * area(m, k) + SUMS_OF_B * area(k, n) + SUMS_OF_C * area(m, n);
            7_u64.pow(level as u32).saturating_mul(sums)
        });
        let leaves = self.leaves().saturating_mul(self.leaf().flops());
        rims.chain(within).fold(leaves, u64::saturating_add)
    }

    /// Matrices of the size of a quarter of C that a level needs. A product that is added to C has
    /// to keep all four that go into it, and another keeps three where C will be.
    pub fn kept(&self, level: usize) -> usize {
        if level > 0 || self.adds { 4 } else { 1 }
    }

    /// Bytes besides operands and result.
    pub fn workspace_bytes<T: Element>(
        &self,
        kernel: Kernel,
        caches: Caches,
        layout: Layout,
        threads: usize,
    ) -> usize {
        if self.levels == 0 {
            return parts::workspace_bytes::<T>(kernel, caches, layout, threads);
        }
        let sums = (0..self.levels).map(|level| {
            let sizes = Sizes::new::<T>(self, level, layout);
            let quarters = 4 * (sizes.a.len() + sizes.b.len()) + self.kept(level) * sizes.c.len();
            // What aligns each of the three is before them.
            quarters.saturating_mul(size_of::<T>()).saturating_add(3 * CACHE_LINE_BYTES)
        });
        let packing = self.packing_len::<T>(kernel, caches, layout, threads);
        let packing = packing.saturating_mul(threads.max(1)).saturating_mul(size_of::<T>());
        sums.fold(packing, usize::saturating_add)
    }

    /// Elements that one thread packs in: what the most demanding of all products within needs.
    pub fn packing_len<T: Element>(
        &self,
        kernel: Kernel,
        caches: Caches,
        layout: Layout,
        threads: usize,
    ) -> usize {
        let (whole, core) = (self.whole, self.core());
        let rims = self.rims().map(|rim| rim.shape(whole, core));
        let lens = rims.chain([self.leaf()]).flat_map(|shape| {
            // Sums lie as their operand does, or by rows where that has gaps.
            [
                (layout.a_rows, layout.b_rows),
                (true, layout.b_rows),
                (layout.a_rows, true),
                (true, true),
            ]
            .map(|(a_rows, b_rows)| Layout {
                shape,
                a_rows,
                b_rows,
                b_has_gaps: true,
                vectors: false,
                ..layout
            })
        });
        let lens = lens.map(|layout| parts::packing_len::<T>(kernel, caches, layout, threads));
        lens.max().unwrap_or(0)
    }

    /// What the error is no more than, in units of `u |alpha| max |A| max |B|`.
    pub fn error_factor(&self) -> f64 {
        let k = self.leaf().k as f64;
        match self.levels {
            0 => k * (k + 3.0),
            levels => pow18(levels) * (k * k + 7.0 * k),
        }
    }
}

/// Powers of 18, which core has no function for.
fn pow18(levels: usize) -> f64 {
    18_u64.pow(levels as u32) as f64
}

/// A part of a product that can't be halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rim {
    Terms,
    Columns,
    Rows,
}

impl Rim {
    pub fn shape(self, whole: Shape, core: Shape) -> Shape {
        match self {
            Self::Terms => Shape { k: whole.k - core.k, ..core },
            Self::Columns => Shape { n: whole.n - core.n, k: whole.k, ..core },
            Self::Rows => Shape { m: whole.m - core.m, ..whole },
        }
    }
}

/// An operand, left or right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

/// How a matrix of sums lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
    /// Elements from one row to the next: whole cache lines, and an odd number of them, so that
    /// rows of a power of two don't meet in the same places of the caches.
    pub stride: usize,
    /// It is the transpose that lies so.
    pub is_turned: bool,
}

impl Size {
    fn new<T>((rows, columns): (usize, usize), is_turned: bool) -> Self {
        let (rows, columns) = if is_turned { (columns, rows) } else { (rows, columns) };
        let line = CACHE_LINE_BYTES / size_of::<T>();
        let stride = (columns.div_ceil(line) | 1) * line;
        Self { rows, columns, stride, is_turned }
    }

    pub fn len(&self) -> usize {
        self.rows * self.stride
    }
}

/// The sizes of quarters of the operands and the result of a product at a level.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub a: Size,
    pub b: Size,
    pub c: Size,
}

impl Sizes {
    pub fn new<T>(plan: &Plan, level: usize, layout: Layout) -> Self {
        let Shape { m, n, k } = plan.at(level + 1);
        Self {
            a: Size::new::<T>((m, k), !layout.a_rows && layout.a_columns),
            b: Size::new::<T>((k, n), !layout.b_rows && layout.b_columns),
            c: Size::new::<T>((m, n), false),
        }
    }

    /// Of a quarter of an operand.
    pub fn of(&self, side: Side) -> Size {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}
