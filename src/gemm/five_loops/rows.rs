//! The two inner loops, over the tiles of some rows.

use core::ptr;

use super::super::kernel::{
    Copying, Microkernel, Scale, Tile, TileCode, UNROLLED, finish_streaming,
};
use super::super::matrix::{Source, Target};
use super::super::plan::{CACHE_LINE_BYTES, full_panels, panel_width};
use super::{Block, Element, FiveLoops};

/// Tiles in a row that fetch rows of the next micropanel of A: each takes so many of them that all
/// have been taken then.
const TILES_AHEAD: usize = 3;

/// Pieces that are fetched ahead of being copied: memory answers within the time that the tiles
/// take for fewer terms than they copy so many pieces with.
const PIECES_AHEAD: usize = 30;

/// What is multiplied, and by what code.
struct Work<T: 'static> {
    a: Source<T>,
    b: Source<T>,
    c: Target<T>,
    block_of_a: BlockOfA<T>,
    /// The block of B in use, packed.
    block_of_b: *mut T,
    /// What the tiles are told.
    copy: Copying<T>,
    /// The code of tiles that copy the next block, and the pieces that are left.
    copying: Option<TileCode<T>>,
    pieces: usize,
    /// The code of tiles that write past the caches.
    streaming: Option<&'static [TileCode<T>]>,
}

/// Where the micropanels of a block of A are.
struct BlockOfA<T> {
    start: *mut T,
    /// From where a micropanel would start to where one a row further down would.
    step: isize,
    row_stride: isize,
    column_stride: isize,
}

impl<T> BlockOfA<T> {
    fn at(&self, row: usize) -> *mut T {
        self.start.wrapping_offset((row as isize).wrapping_mul(self.step))
    }
}

impl<T: Element> FiveLoops<T> {
    /// The loops ir and jr over some rows, by the block in use.
    pub(super) fn multiply_rows(
        &mut self,
        (a, b, c): (Source<T>, Source<T>, Target<T>),
        rows: usize,
        scale: Scale<T>,
    ) {
        let Block { jc, pc, terms, .. } = self.block;
        let Microkernel { mr, nr, lanes, .. } = *self.kernel;
        // The first terms bring beta in; the others add to what is there.
        let scale = if pc == 0 { scale } else { Scale { beta: T::from_f64(1.0), ..scale } };
        let mut copy = Copying::new(Tile::new(scale));
        let (pieces, copying) = self.pieces(&b, &mut copy);
        copy.tile.terms = terms;
        if self.blocking.fetches_c || (self.blocking.fetches_c_to_add && pc > 0) {
            copy.tile.fetch_c();
        }
        copy.tile.c_row_stride = bytes::<T>(c.row_stride);
        copy.tile.steps.c = bytes::<T>(nr as isize);
        let is_aligned = c.from(0, jc).is_aligned(lanes * size_of::<T>());
        let streams = self.blocking.streams && scale.beta == T::default() && is_aligned;
        let streaming = self.kernel.streaming.filter(|_| streams);
        let block_of_a = self.block_of_a(&a);
        let start = self.start_of(self.half);
        let block_of_b = self.workspace[start..][..terms * self.block.columns].as_mut_ptr();
        let mut work = Work { a, b, c, block_of_a, block_of_b, copy, copying, pieces, streaming };
        let end = self.ic + rows;
        while self.ic < end {
            let height = mr.min(end - self.ic);
            self.multiply_micropanel(&mut work, height);
            self.ic += height;
        }
        if streams {
            finish_streaming();
        }
    }

    /// The loop jr: a micropanel of A by all of B, in runs of tiles of one kind. The first ones
    /// pack what is not.
    fn multiply_micropanel(&mut self, work: &mut Work<T>, height: usize) {
        let Block { jc, pc, top, columns, terms, .. } = self.block;
        let Microkernel { mr, nr, lanes, panel, .. } = *self.kernel;
        let full = full_panels(nr, lanes, columns);
        let packs_b = !self.is_packed(&work.b);
        let mut packs_a = self.blocking.packs_a && self.packed_rows_of_a == self.ic - top;
        let is_packed_by_tile = !packs_b && full > 0 && height == mr && self.tiles_pack_a(&work.a);
        if packs_a && !is_packed_by_tile {
            self.pack_micropanel_of_a(&work.a, height);
            packs_a = false;
        }
        let (distance, distance_step) = self.ahead(&work.a, &work.block_of_a);
        let pieces_each = (terms / UNROLLED).max(1);
        let (mut j, mut index) = (0, 0);
        while j < columns {
            let width = panel_width(nr, lanes, columns - j);
            let mut tiles = full.saturating_sub(index).max(1);
            let panel = panel(width);
            let tile = &mut work.copy.tile;
            tile.mask = panel.mask;
            tile.c = work.c.at(self.ic, jc + j);
            tile.a = work.block_of_a.at(self.ic - top);
            tile.a_row_stride = bytes::<T>(work.block_of_a.row_stride);
            tile.a_column_stride = bytes::<T>(work.block_of_a.column_stride);
            tile.b = work.block_of_b.wrapping_add(j * terms);
            tile.b_row_stride = bytes::<T>(width.next_multiple_of(lanes) as isize);
            tile.steps.b = bytes::<T>((nr * terms) as isize);
            (tile.a_ahead, tile.steps.a_ahead) = (0, 0);
            if index < TILES_AHEAD {
                tiles = tiles.min(TILES_AHEAD - index);
                tile.a_ahead = distance + index as isize * distance_step;
                tile.steps.a_ahead = distance_step;
            }
            let is_full = height == mr && width == nr;
            let code = match (self.kernel.packing, work.copying, work.streaming) {
                (Some(packing), ..) if packs_b && is_full => {
                    tile.packed = tile.b.cast_mut();
                    tile.b = work.b.at(pc, jc + j);
                    tile.b_row_stride = bytes::<T>(work.b.row_stride);
                    tile.steps.b = bytes::<T>(nr as isize);
                    packing.b
                }
                (Some(packing), ..) if packs_a => {
                    (tile.packed, tile.packed_row_stride) = (tile.a.cast_mut(), tile.a_row_stride);
                    tile.a = work.a.at(self.ic, pc);
                    tile.a_row_stride = bytes::<T>(work.a.row_stride);
                    tile.a_column_stride = bytes::<T>(work.a.column_stride);
                    (tiles, packs_a) = (1, false);
                    self.packed_rows_of_a += height;
                    packing.a
                }
                (_, Some(copying), _) if is_full && work.pieces >= pieces_each => {
                    tiles = tiles.min(work.pieces / pieces_each);
                    work.pieces -= tiles * pieces_each;
                    self.copied += tiles * pieces_each;
                    copying
                }
                (.., Some(codes)) if height == mr && width.is_multiple_of(lanes) => {
                    codes[width / lanes - 1]
                }
                _ => panel.codes[height - 1],
            };
            tile.tiles = tiles;
            // SAFETY: the tiles lie within the blocks of A and C at hand, and of B, as it lies or
            // in the packed one; what is packed has its place there. `pieces` counts what may be
            // copied, and C is aligned where it is streamed.
            unsafe { code((&raw mut work.copy).cast()) };
            (j, index) = (j + tiles * width, index + tiles);
        }
        if packs_b {
            self.packed.rows = terms;
        }
    }

    /// The block of A in use, as it lies or packed.
    fn block_of_a(&mut self, a: &Source<T>) -> BlockOfA<T> {
        let Block { pc, top, .. } = self.block;
        if !self.blocking.packs_a {
            let Source { row_stride, column_stride, .. } = *a;
            let start = a.at(top, pc).cast_mut();
            return BlockOfA { start, step: row_stride, row_stride, column_stride };
        }
        let start = self.start_of(self.blocking.blocks);
        let start = self.workspace[start..].as_mut_ptr();
        let step = self.blocking.row_of_a::<T>() as isize;
        if self.packs_rows_of_a(a) {
            return BlockOfA { start, step, row_stride: step, column_stride: 1 };
        }
        BlockOfA { start, step, row_stride: 1, column_stride: self.kernel.mr as isize }
    }

    /// From a micropanel of A to rows of the next one, or of the next block's first, that are
    /// fetched meanwhile, and how much farther each of the first tiles fetches. Micropanels of
    /// columns are read in the order of memory, a cache line at a time: narrow tiles need them
    /// sooner than they come by themselves.
    fn ahead(&self, a: &Source<T>, block: &BlockOfA<T>) -> (isize, isize) {
        let Block { pc, top, rows, .. } = self.block;
        let row = bytes::<T>(block.step);
        if block.row_stride != block.step {
            let micropanel = self.kernel.mr as isize * row;
            let line = CACHE_LINE_BYTES as isize;
            return if self.kernel.is_narrow() { (micropanel, line) } else { (0, 0) };
        }
        let there = if self.ic + self.kernel.mr < top + rows {
            block.at(self.ic + self.kernel.mr - top)
        } else {
            let next = self.next_block();
            match self.blocking.packs_a {
                false => a.at(next.top, next.pc).cast_mut(),
                true if (next.top, next.pc) == (top, pc) => block.at(0),
                true => return (0, 0),
            }
        };
        let here = block.at(self.ic - top);
        ((there.addr() as isize).wrapping_sub(here.addr() as isize), row)
    }

    /// The pieces of the next block that are still to copy, and the code that copies them.
    fn pieces(&mut self, b: &Source<T>, copy: &mut Copying<T>) -> (usize, Option<TileCode<T>>) {
        let next = self.next_block();
        let full = self.full_panels(&next, b);
        let Some(code) = self.kernel.copying else { return (0, None) };
        if full == 0 || self.blocking.blocks < 2 || self.block.terms < UNROLLED {
            return (0, None);
        }
        let row_stride = bytes::<T>(b.row_stride);
        let bytes = |elements: usize| bytes::<T>(elements as isize);
        let nr = self.kernel.nr;
        let (row, panel) = (self.copied / full, self.copied % full);
        let start = self.start_of(1 - self.half);
        let to = start + panel * nr * next.terms + row * nr;
        copy.from = b.at(next.pc + row, next.jc + panel * nr);
        // Where all is copied, there is no place to go on from.
        copy.to = self.workspace.get_mut(to..).map_or(ptr::null_mut(), <[T]>::as_mut_ptr);
        (copy.left, copy.per_row) = (full - panel, full);
        copy.from_jump = row_stride - bytes(full * nr);
        copy.to_jump = bytes(nr) - bytes(full * nr * next.terms);
        copy.to_step = bytes(nr * next.terms);
        copy.ahead = row_stride * (1 + PIECES_AHEAD / full) as isize;
        (full * next.terms - self.copied, Some(code))
    }
}

/// A stride or a step of so many elements.
fn bytes<T>(elements: isize) -> isize {
    elements * size_of::<T>() as isize
}
