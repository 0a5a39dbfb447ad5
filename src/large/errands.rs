//! Reading a part of an operand, and writing a block of the result.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use super::StepError;
use super::background::Errand;
use super::blocks::{Block, Part};
use crate::gemm::Element;
use crate::store::{AddressHasher, BandSums, Draft, Layout, MatrixId, Stored};

/// Bytes that are read at once to find the address, and hashed in one step.
pub const HASHED_BYTES: usize = 1 << 20;

/// Reads a part of a matrix, row by row without gaps, a tile at a time.
#[derive(Debug)]
pub struct Reading<T> {
    matrix: Arc<Stored>,
    part: Part,
    /// The tile after the last that was read, counted from the part's first.
    tile: usize,
    pub elements: Vec<T>,
}

impl<T: Element> Reading<T> {
    /// `elements` are as many as the part has, or more.
    pub fn new(matrix: Arc<Stored>, part: Part, elements: Vec<T>) -> Self {
        Self { matrix, part, tile: 0, elements }
    }
}

impl<T: Element> Errand for Reading<T> {
    fn step(&mut self) -> Result<bool, StepError> {
        let Part { rows, columns } = &self.part;
        if self.part.elements() == 0 {
            return Ok(true);
        }
        let layout = self.matrix.layout();
        let (height, width) = (layout.tile_rows(), layout.tile_columns());
        let (top, left) = (rows.start / height, columns.start / width);
        let across = columns.end.div_ceil(width) - left;
        let (down, right) = (top + self.tile / across, left + self.tile % across);
        let tile_rows = clamped(down * height..(down + 1) * height, rows);
        let tile_columns = clamped(right * width..(right + 1) * width, columns);
        let place = (tile_rows.start - rows.start) * columns.len();
        let place = place + tile_columns.start - columns.start;
        let is_last = tile_rows.end == rows.end && tile_columns.end == columns.end;
        let out = &mut self.elements[place..];
        self.matrix.read_block(tile_rows, tile_columns, out, columns.len())?;
        self.tile += 1;
        Ok(is_last)
    }
}

fn clamped(range: Range<usize>, within: &Range<usize>) -> Range<usize> {
    range.start.max(within.start)..range.end.min(within.end)
}

/// Writes a block of C tile by tile, and makes it last.
#[derive(Debug)]
pub struct Writing<T> {
    output: Arc<Draft>,
    block: Block,
    stage: Stage,
    pub elements: Vec<T>,
    pub address: Address,
}

#[derive(Debug)]
enum Stage {
    /// The tile after the last that was written, counted from the block's first.
    Tile(usize),
    Commit,
    /// The row after the last that was hashed, counted from the block's first.
    Hash(usize),
}

impl<T: Element> Writing<T> {
    pub fn new(output: Arc<Draft>, block: Block, elements: Vec<T>, address: Address) -> Self {
        Self { output, block, stage: Stage::Tile(0), elements, address }
    }
}

impl<T: Element> Errand for Writing<T> {
    fn step(&mut self) -> Result<bool, StepError> {
        let Block { rows, columns } = &self.block;
        let layout = self.output.layout();
        match self.stage {
            Stage::Tile(at) => {
                let left = columns.start / layout.tile_columns();
                let across = columns.end.div_ceil(layout.tile_columns()) - left;
                let down = rows.start / layout.tile_rows() + at / across;
                let tile = layout.tile(down, left + at % across);
                // The same was written before, and lasts.
                if !self.output.is_committed(tile.index) {
                    let place = (tile.rows.start - rows.start) * columns.len();
                    let place = place + tile.columns.start - columns.start;
                    self.output.write_tile(&tile, &self.elements[place..], columns.len())?;
                }
                let is_last = tile.rows.end == rows.end && tile.columns.end == columns.end;
                self.stage = if is_last { Stage::Commit } else { Stage::Tile(at + 1) };
                Ok(false)
            }
            Stage::Commit => {
                self.output.commit()?;
                self.stage = Stage::Hash(0);
                Ok(!self.address.is_next(&self.block, &self.output))
            }
            Stage::Hash(row) => {
                let end = rows_at_once(rows.start + row, layout).min(rows.end) - rows.start;
                let elements = &self.elements[row * columns.len()..end * columns.len()];
                if columns.start == 0 {
                    self.address.take(bytemuck::cast_slice(elements));
                } else {
                    let band = (rows.start + row..rows.start + end, 0..columns.start);
                    self.address.take_band(&self.output, band, bytemuck::cast_slice(elements))?;
                }
                self.stage = Stage::Hash(end);
                Ok(end == rows.len())
            }
        }
    }
}

/// The address of the result as far as its rows have gone by in their order.
#[derive(Debug)]
pub struct Address {
    hasher: AddressHasher,
    /// Of the elements, row by row.
    hashed_bytes: u64,
    /// What was read last, and of which tiles.
    piece: Vec<u8>,
    sums: BandSums,
    /// Since [`Address::take_read_bytes`].
    read_bytes: u64,
}

impl Address {
    pub fn new(layout: &Layout) -> Self {
        Self {
            hasher: AddressHasher::new(layout),
            hashed_bytes: 0,
            piece: Vec::new(),
            sums: BandSums::default(),
            read_bytes: 0,
        }
    }

    /// Whether a block ends the rows that come next, and what lies left of it can be read row by
    /// row.
    fn is_next(&self, block: &Block, output: &Draft) -> bool {
        let layout = output.layout();
        let left = layout.tiles_of(&block.rows, &(0..block.columns.start));
        block.columns.end == layout.columns
            && self.hashed_bytes == block.rows.start as u64 * row_bytes(layout)
            && (left.is_empty() || is_read_by_rows(layout))
            && left.iter().all(|tile| output.is_committed(tile.index))
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.hashed_bytes += bytes.len() as u64;
    }

    /// Reads a part of some rows of a row of tiles, and takes it with the `rest` of those rows.
    fn take_band(
        &mut self,
        output: &Draft,
        (rows, columns): (Range<usize>, Range<usize>),
        rest: &[u8],
    ) -> Result<(), StepError> {
        let (count, layout) = (rows.len(), output.layout());
        let bytes = count * columns.len() * layout.dtype.bytes();
        self.piece.resize(bytes, 0);
        output.read_band(rows, columns.clone(), &mut self.piece, &mut self.sums)?;
        self.read_bytes += bytes as u64;
        let tile_bytes = layout.tile_columns() * layout.dtype.bytes();
        for row in 0..count {
            // Of each tile, the rows come one after the other.
            for part in self.piece.chunks(count * tile_bytes) {
                let length = part.len() / count;
                self.hasher.update(&part[row * length..(row + 1) * length]);
            }
            let length = rest.len() / count;
            self.hasher.update(&rest[row * length..(row + 1) * length]);
        }
        self.hashed_bytes += (bytes + rest.len()) as u64;
        Ok(())
    }

    /// Reads a piece of what has not gone by of the rows above `until`; false where all has.
    pub fn read_on(&mut self, output: &Draft, until: usize) -> Result<bool, StepError> {
        let layout = output.layout();
        let missing_bytes = (until as u64 * row_bytes(layout)).saturating_sub(self.hashed_bytes);
        if missing_bytes == 0 {
            return Ok(false);
        }
        if is_read_by_rows(layout) {
            let row = (self.hashed_bytes / row_bytes(layout)) as usize;
            let rows = row..rows_at_once(row, layout).min(until);
            self.take_band(output, (rows, 0..layout.columns), &[])?;
        } else {
            let mut piece = mem::take(&mut self.piece);
            piece.resize(missing_bytes.min(HASHED_BYTES as u64) as usize, 0);
            output.read_bytes(self.hashed_bytes, &mut piece)?;
            self.read_bytes += piece.len() as u64;
            self.take(&piece);
            self.piece = piece;
        }
        Ok(true)
    }

    /// Bytes that were read for it since this was asked.
    pub fn take_read_bytes(&mut self) -> u64 {
        mem::take(&mut self.read_bytes)
    }

    /// The address, once all has gone by.
    pub fn id(&self, layout: Layout) -> Option<MatrixId> {
        (layout.bytes() == self.hashed_bytes).then(|| self.hasher.clone().finish())
    }
}

fn row_bytes(layout: Layout) -> u64 {
    layout.columns as u64 * layout.dtype.bytes() as u64
}

/// Whether a piece has whole rows. Where they are longer, each tile is read once more, to check it.
fn is_read_by_rows(layout: Layout) -> bool {
    row_bytes(layout) <= HASHED_BYTES as u64
}

/// The end of the rows that are read from this one on in one piece, within a row of tiles.
fn rows_at_once(row: usize, layout: Layout) -> usize {
    let rows = (HASHED_BYTES as u64 / row_bytes(layout)).max(1) as usize;
    let height = layout.tile_rows();
    (row + rows).min((row / height + 1) * height).min(layout.rows)
}
