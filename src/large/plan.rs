//! How a product of matrices that lie on a disk is cut so that little is read and written.
//!
//! Every element of C is computed in one stay in memory, so that no partial sum is ever written. C
//! is cut into *blocks*, and k into *panels*. A block is the sum of the products of a panel of A,
//! as high as the block, and one of B, as wide:
//!
//! ```text
//! for each strip of C                    columns of C where the held operand is B, rows where it is A
//!   for each block of the strip
//!     for each panel of k                the held operand's panel: terms x width
//!       for each piece                   of the other operand's panel: piece x terms
//!         block += held panel * piece
//!     write the block
//! ```
//!
//! A panel of the *held* operand lies in memory as a whole while the other one's goes by in
//! *pieces*. The first few panels of a strip may *stay* for all its blocks; all of them do where a
//! whole operand fits, which is then read once. With blocks of b x w, an operand that does not stay
//! is read once for each block. So there are three ways in one: blocks of C as large as memory, all
//! panels of B (or A) for a strip as wide as memory, and what lies between. Which, the least
//! traffic decides.

mod sides;

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::gemm::Shape;
use sides::Sides;

/// Strips and blocks are counted in tiles, or in several where there would be more than so many.
const UNITS_MAX: usize = 128;
/// Pieces that are read ahead where there is room: a write that lasts must not hold up the product.
const PIECES_MAX: usize = 16;
/// As many as are needed: one in use, one on its way.
const PIECES_MIN: usize = 2;
/// A second buffer lets a block of C be written while the next is computed, or a panel be read
/// while the one before it is in use. Each is worth this share of the traffic.
const OVERLAP_SHARE: u64 = 50;
/// Of the memory, for packing where there are many threads.
const WORKSPACE_SHARE: usize = 32;
/// For what is read and written on its way through the store, and small things.
pub const SCRATCH_BYTES: usize = 3 << 20;

/// What is to be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    pub shape: Shape,
    pub element_bytes: usize,
    /// Rows and columns of a tile of C.
    pub tile: (usize, usize),
    /// C is read, too: beta is not zero.
    pub is_added: bool,
    /// Terms of a panel, and rows or columns of a piece, where there are as many.
    pub grain: usize,
    /// That one thread packs in.
    pub workspace_bytes: usize,
    /// Each block's residual is checked.
    pub is_checked: bool,
    pub rules: Rules,
}

/// What plans are made by. The last bits of a result may depend on the plan, so that a job keeps to
/// the rules that it was begun by, whatever a newer version of this program would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rules {
    /// All blocks of a strip are of one length, but for the last. Those of a job that says nothing.
    #[default]
    First,
    /// Blocks of a strip are as equal as whole tiles can be, each is checked, and of a strip that
    /// is cut into blocks the last one is in memory while the others are read again.
    Second,
}

impl Rules {
    pub const LATEST: Self = Self::Second;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    A,
    B,
}

/// How a product is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The operand of which panels lie in memory as a whole.
    pub held: Operand,
    pub grain: usize,
    /// Of a panel, but for the last.
    pub terms: usize,
    /// Rows of A in a piece, or columns of B, but for the last of a block.
    pub piece: usize,
    /// Buffers for pieces.
    pub pieces: usize,
    /// Buffers for blocks of C, and for panels that do not stay.
    pub buffers: Buffers,
    pub strips: Vec<Strip>,
    /// For packing, of all threads.
    pub workspace_bytes: usize,
    pub is_checked: bool,
    pub traffic: Traffic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    pub results: usize,
    pub panels: usize,
}

impl Buffers {
    const CHOICES: [Self; 3] = [
        Self { results: 2, panels: 2 },
        Self { results: 1, panels: 2 },
        Self { results: 1, panels: 1 },
    ];

    /// What traffic is to be compared with that of other choices.
    fn weighed(self, traffic: u64) -> u64 {
        let second = (self.results + self.panels - 2) as u64;
        traffic - traffic / OVERLAP_SHARE * second
    }
}

/// Columns of C where B is held, rows where A is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strip {
    pub range: Range<usize>,
    /// The other edge of the longest block.
    pub block: usize,
    /// Where its blocks begin, and where the last one ends.
    pub edges: Vec<usize>,
    /// Panels of the held operand that stay in memory.
    pub stays: usize,
}

impl Strip {
    fn edges_of_last(&self) -> Range<usize> {
        match self.edges[..] {
            [.., start, end] => start..end,
            _ => 0..0,
        }
    }
}

/// Elements that cross between disk and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traffic {
    pub read: u64,
    pub written: u64,
    /// Of C, read again to find its address, as the rows did not go by in their order.
    pub read_again: u64,
}

impl Traffic {
    pub fn total(&self) -> u64 {
        self.read + self.written + self.read_again
    }
}

/// There is too little memory for any plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    pub needed_bytes: usize,
}

/// Elements that any schedule of the classical product moves between a disk and a memory of
/// `memory_elements`, reads and writes together.
///
/// `2 m n k / sqrt(S) - 2 S` reads, those of partial sums and of C included (Smith, Lowery, Langou,
/// van de Geijn, "A Tight I/O Lower Bound for Matrix Multiplication", 2019). Where C is read, all
/// of it is written besides; where it begins as zeros in memory, it counts among those reads
/// without being one, but every element is written: as many. And A and B are read once and C is
/// written once, at least.
pub fn lower_bound(shape: Shape, memory_elements: u64, is_added: bool) -> f64 {
    let Shape { m, n, k } = shape;
    if m == 0 || n == 0 {
        return 0.0;
    }
    let (m, n, k, s) = (m as f64, n as f64, k as f64, (memory_elements as f64).max(1.0));
    let c = if is_added { m * n } else { 0.0 };
    let for_products = 2.0 * m * n * k / square_root(s) - 2.0 * s + c;
    for_products.max(m * k + k * n + m * n + c)
}

/// Of a number that is at least 1, by Newton's method: the core has no `sqrt`.
fn square_root(square: f64) -> f64 {
    let mut root = square;
    loop {
        let next = 0.5 * (root + square / root);
        if next >= root {
            return root;
        }
        root = next;
    }
}

impl Problem {
    /// The plan with the least traffic within so much memory. It depends on these alone.
    pub fn plan(&self, memory_bytes: usize) -> Result<Plan, TooSmall> {
        let needed_bytes = self.least_bytes();
        if memory_bytes < needed_bytes {
            return Err(TooSmall { needed_bytes });
        }
        let workspace_bytes = self.workspace_bytes.max(memory_bytes / WORKSPACE_SHARE);
        let find = |workspace_bytes: usize| {
            let room = memory_bytes.checked_sub(workspace_bytes + SCRATCH_BYTES)?;
            let choices = Buffers::CHOICES.into_iter();
            let candidates = choices
                .flat_map(|buffers| [(Operand::B, buffers), (Operand::A, buffers)])
                .filter_map(|(held, buffers)| {
                    let room = room / self.element_bytes;
                    Sides::new(self, held, buffers).plan(room, workspace_bytes)
                });
            candidates.min_by_key(|plan| plan.buffers.weighed(plan.traffic.total()))
        };
        // In the least memory, one thread packs.
        find(workspace_bytes)
            .or_else(|| find(self.workspace_bytes))
            .ok_or(TooSmall { needed_bytes })
    }

    /// The least memory that it can be done in: blocks of one unit, which is a tile but for the
    /// longest matrices.
    pub fn least_bytes(&self) -> usize {
        let elements = |held| {
            let sides = Sides::new(self, held, Buffers { results: 1, panels: 1 });
            let edge = |length: usize, tile| unit(length, tile).min(length).max(tile.min(length));
            let across = edge(sides.across, sides.tile_across);
            sides.elements(across, edge(sides.down, sides.tile_down), 0)
        };
        let elements = elements(Operand::A).min(elements(Operand::B));
        elements.saturating_mul(self.element_bytes) + self.workspace_bytes + SCRATCH_BYTES
    }

    /// Memory beyond which a plan gets no better: with it, each matrix is read or written once.
    pub fn most_bytes(&self) -> usize {
        let elements = |held| {
            let [double, ..] = Buffers::CHOICES;
            let sides = Sides::new(self, held, double);
            let all_stay = sides.elements(sides.across, sides.tile_down, sides.panels());
            let one_block = sides.elements(sides.across, sides.down, 0);
            let ahead = (PIECES_MAX - PIECES_MIN) * sides.piece(sides.tile_down) * sides.terms;
            all_stay.min(one_block).saturating_add(ahead)
        };
        let elements = elements(Operand::A).min(elements(Operand::B));
        let bytes = elements.saturating_mul(self.element_bytes) + SCRATCH_BYTES;
        let with_share = bytes.saturating_add(bytes / (WORKSPACE_SHARE - 1) + 1);
        with_share.max(bytes.saturating_add(self.workspace_bytes)).max(self.least_bytes())
    }

    /// What any schedule moves in so much memory: [`lower_bound`] in bytes.
    pub fn lower_bound_bytes(&self, memory_bytes: usize) -> f64 {
        let elements = (memory_bytes / self.element_bytes) as u64;
        lower_bound(self.shape, elements, self.is_added) * self.element_bytes as f64
    }
}

/// A number of whole tiles.
fn unit(length: usize, tile: usize) -> usize {
    let tiles = length.div_ceil(tile.max(1));
    tiles.div_ceil(UNITS_MAX).max(1) * tile
}

#[cfg(test)]
mod tests;
