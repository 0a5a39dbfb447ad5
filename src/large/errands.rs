//! Reading a part of an operand, and writing a block of the result.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::StepError;
use super::background::Errand;
use super::blocks::{Block, Part};
use crate::gemm::Element;
use crate::store::{AddressHasher, Draft, Layout, MatrixId, Stored};

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
                Ok(!self.address.is_next(&self.block, layout))
            }
            Stage::Hash(row) => {
                let rows_at_once = (HASHED_BYTES / size_of::<T>() / columns.len()).max(1);
                let end = (row + rows_at_once).min(rows.len());
                self.address.take(&self.elements[row * columns.len()..end * columns.len()]);
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
}

impl Address {
    pub fn new(layout: &Layout) -> Self {
        Self { hasher: AddressHasher::new(layout), hashed_bytes: 0 }
    }

    /// Whether a block has the rows that come next.
    fn is_next(&self, block: &Block, layout: Layout) -> bool {
        let row_bytes = layout.columns as u64 * layout.dtype.bytes() as u64;
        block.columns.len() == layout.columns
            && self.hashed_bytes == block.rows.start as u64 * row_bytes
    }

    fn take<T: Element>(&mut self, elements: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        self.hasher.update(bytes);
        self.hashed_bytes += bytes.len() as u64;
    }

    /// Bytes that have not gone by.
    fn missing_bytes(&self, layout: Layout) -> u64 {
        layout.bytes() - self.hashed_bytes
    }

    /// Reads a piece of what has not; how long it was, or `None` where all has.
    pub fn read_on(
        &mut self,
        output: &Draft,
        piece: &mut Vec<u8>,
    ) -> Result<Option<u64>, StepError> {
        let bytes = self.missing_bytes(output.layout()).min(HASHED_BYTES as u64) as usize;
        if bytes == 0 {
            return Ok(None);
        }
        piece.resize(bytes, 0);
        output.read_bytes(self.hashed_bytes, piece)?;
        self.hasher.update(piece);
        self.hashed_bytes += bytes as u64;
        Ok(Some(bytes as u64))
    }

    /// The address, once all has gone by.
    pub fn id(&self, layout: Layout) -> Option<MatrixId> {
        (self.missing_bytes(layout) == 0).then(|| self.hasher.clone().finish())
    }
}
