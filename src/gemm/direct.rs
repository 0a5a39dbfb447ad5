//! Products whose operands are used as they lie: what fits the caches is not worth packing, but for
//! rows of B that lie so that they crowd in the first-level cache.
#![allow(unsafe_code)]

use core::mem::MaybeUninit;

use super::kernel::{Microkernel, Packing, Panel, Scale, Steps, Tile, TileCode, caches};
use super::matrix::{Source, Target};
use super::plan::{full_panels, panel_width, rows_crowd};
use super::{Element, Operands, Shape};

/// A product without a workspace, and where it stands.
#[derive(Debug)]
pub struct Direct<T: 'static> {
    kernel: &'static Microkernel<T>,
    shape: Shape,
    /// Rows and terms that are multiplied in one go.
    mc: usize,
    kc: usize,
    order: Order,
    /// The next block.
    ic: usize,
    pc: usize,
}

/// In what order the tiles of a block come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Down, along a micropanel of B that stays in the first-level cache.
    Down,
    /// Across, along the rows of C: where they are what takes the time.
    Across,
}

/// Tiles and terms from which on a micropanel of B is worth packing for narrow tiles. For wide
/// ones, which wait for it less, it never is.
const PACKED_TILES: usize = 4;
const PACKED_TERMS: usize = 80;
/// Room for it on the stack.
const PACKED_BYTES: usize = 32 << 10;

#[repr(align(64))]
struct Room {
    _bytes: [u8; PACKED_BYTES],
}

impl<T: Element> Direct<T> {
    pub fn new(
        kernel: &'static Microkernel<T>,
        shape: Shape,
        (mc, kc): (usize, usize),
        order: Order,
    ) -> Self {
        Self { kernel, shape, mc, kc, order, ic: 0, pc: 0 }
    }

    pub fn is_complete(&self) -> bool {
        self.ic >= self.shape.m
    }

    /// One slice: some rows, over some terms. The operations done.
    pub fn advance(&mut self, operands: &mut Operands<T>, scale: Scale<T>) -> u64 {
        let Shape { m, n, k } = self.shape;
        let size = (self.mc.min(m - self.ic), n);
        let terms = self.kc.min(k - self.pc);
        // The first terms bring beta in; the others add to what is there.
        let one = T::from_f64(1.0);
        let scale = if self.pc == 0 { scale } else { Scale { beta: one, ..scale } };
        let (a, b, c) = operands.parts();
        let (a, b) = (a.from(self.ic, self.pc), b.from(self.pc, 0));
        let mut tile = Tile::new(scale);
        tile.terms = terms;
        // SAFETY: the block lies within the operands, whose shape was checked.
        unsafe { multiply_block(self.kernel, &mut tile, (a, b, c, self.ic), size, self.order) };
        self.pc += terms;
        if self.pc == k {
            self.pc = 0;
            self.ic += size.0;
        }
        2 * (size.0 * n * terms) as u64
    }
}

/// Multiplies `rows` x `columns` tiles, the first of which is in row `first` of C.
///
/// # Safety
///
/// A holds rows x terms, B terms x columns and C, from that row on, rows x columns elements; the
/// rows of B are contiguous; the CPU has the kernel.
pub unsafe fn multiply_block<T: Element>(
    kernel: &Microkernel<T>,
    tile: &mut Tile<T>,
    (a, b, c, first): (Source<T>, Source<T>, Target<T>, usize),
    (rows, columns): (usize, usize),
    order: Order,
) {
    let Microkernel { mr, nr, lanes, .. } = *kernel;
    let bytes = |elements: isize| elements * size_of::<T>() as isize;
    (tile.a_row_stride, tile.a_column_stride) = (bytes(a.row_stride), bytes(a.column_stride));
    (tile.b_row_stride, tile.c_row_stride) = (bytes(b.row_stride), bytes(c.row_stride));
    let block = BlockAsItLies { kernel, a, c, first };
    match order {
        Order::Down => {
            let (full, rest) = divided(rows, mr);
            let height = mr as isize;
            let (a_step, c_step) = (height * tile.a_row_stride, height * tile.c_row_stride);
            tile.steps = Steps { a: a_step, c: c_step, ..Steps::default() };
            // Some rows of the next tile's.
            tile.a_ahead = a_step;
            let packing = kernel.packing.filter(|_| {
                kernel.is_narrow()
                    && full >= PACKED_TILES
                    && tile.terms >= PACKED_TERMS
                    && tile.terms * nr * size_of::<T>() <= PACKED_BYTES
                    && rows_crowd(caches().l1_bytes, tile.terms, tile.b_row_stride.unsigned_abs())
            });
            let mut j = 0;
            while j < columns {
                let width = panel_width(nr, lanes, columns - j);
                tile.b = b.at(0, j);
                // SAFETY: all tiles lie within the block: the caller's promise; the micropanel that
                // is packed is of full width, and has room.
                unsafe {
                    match packing {
                        Some(packing) if width == nr => {
                            block.run_packed(tile, packing, j, (full, rest));
                        }
                        _ => block.run_down(tile, (0, j), width, (full, rest)),
                    }
                }
                j += width;
            }
        }
        Order::Across => {
            let (full, step) = (full_panels(nr, lanes, columns), bytes(nr as isize));
            tile.steps = Steps { b: step, c: step, ..Steps::default() };
            for i in (0..rows).step_by(mr) {
                let height = mr.min(rows - i);
                let mut j = 0;
                while j < columns {
                    let width = panel_width(nr, lanes, columns - j);
                    let tiles = if j == 0 { full.max(1) } else { 1 };
                    tile.b = b.at(0, j);
                    // SAFETY: as above.
                    unsafe { block.run(tile, (i, j), width, (height, tiles)) };
                    j += tiles * width;
                }
            }
        }
    }
}

/// How many units a length has, and what is left. Small products ask often, and small divisions are
/// fast.
#[inline]
fn divided(length: usize, unit: usize) -> (usize, usize) {
    match (u32::try_from(length), u32::try_from(unit)) {
        (Ok(length), Ok(unit)) => ((length / unit) as usize, (length % unit) as usize),
        _ => (length / unit, length % unit),
    }
}

/// A and the result of a block, whose first row is in row `first` of C.
struct BlockAsItLies<'a, T: 'static> {
    kernel: &'a Microkernel<T>,
    a: Source<T>,
    c: Target<T>,
    first: usize,
}

impl<T: Element> BlockAsItLies<'_, T> {
    /// Multiplies so many tiles of one size from a row and a column on, by `b` and the steps of
    /// `tile`.
    ///
    /// # Safety
    ///
    /// They lie within the block, and so does what `b` leads to.
    #[inline]
    unsafe fn run(
        &self,
        tile: &mut Tile<T>,
        from: (usize, usize),
        width: usize,
        (height, tiles): (usize, usize),
    ) {
        let Panel { mask, codes } = (self.kernel.panel)(width);
        tile.mask = mask;
        // SAFETY: the caller's promise.
        unsafe { self.run_code(tile, codes[height - 1], from, tiles) };
    }

    /// The same from a row down: so many tiles of full height, and one of the rest.
    ///
    /// # Safety
    ///
    /// As above.
    #[inline]
    unsafe fn run_down(
        &self,
        tile: &mut Tile<T>,
        (i, j): (usize, usize),
        width: usize,
        (full, rest): (usize, usize),
    ) {
        let mr = self.kernel.mr;
        // SAFETY: the caller's promise.
        unsafe {
            if full > 0 {
                self.run(tile, (i, j), width, (mr, full));
            }
            if rest > 0 {
                self.run(tile, (i + full * mr, j), width, (rest, 1));
            }
        }
    }

    /// The same from the first row down, by a micropanel of B which the first tile packs.
    ///
    /// # Safety
    ///
    /// As above; the tiles are of full width, and the micropanel has room in `PACKED_BYTES`.
    #[inline(never)]
    unsafe fn run_packed(
        &self,
        tile: &mut Tile<T>,
        packing: Packing<T>,
        j: usize,
        (full, rest): (usize, usize),
    ) {
        let Microkernel { mr, nr, panel, .. } = *self.kernel;
        let mut room = MaybeUninit::<Room>::uninit();
        let micropanel: *mut T = room.as_mut_ptr().cast();
        (tile.mask, tile.packed) = (panel(nr).mask, micropanel);
        // SAFETY: the caller's promise.
        unsafe { self.run_code(tile, packing.b, (0, j), 1) };
        let b_row_stride = tile.b_row_stride;
        (tile.b, tile.b_row_stride) = (micropanel, (nr * size_of::<T>()) as isize);
        // SAFETY: the caller's promise; the micropanel is packed.
        unsafe { self.run_down(tile, (mr, j), nr, (full - 1, rest)) };
        tile.b_row_stride = b_row_stride;
    }

    /// # Safety
    ///
    /// As above; the code is for tiles of this size.
    #[inline]
    unsafe fn run_code(
        &self,
        tile: &mut Tile<T>,
        code: TileCode<T>,
        (i, j): (usize, usize),
        tiles: usize,
    ) {
        tile.tiles = tiles;
        (tile.a, tile.c) = (self.a.at(i, 0), self.c.at(self.first + i, j));
        // SAFETY: the caller's promise.
        unsafe { code(tile) };
    }
}
