//! Writes a matrix whose elements come row by row, in pieces of any length.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::error::StoreError;
use super::layout::Layout;
use super::matrix::{Draft, checksum_of};

/// Rows are gathered until there are about so many bytes, so that a tile gets several at once.
const BAND_BYTES: usize = 1 << 20;

/// Where the elements of a draft go that come row by row.
#[derive(Debug)]
pub struct RowsWriter {
    draft: Arc<Draft>,
    /// Rows that are written.
    rows: usize,
    /// Bytes of the rows after those.
    band: Vec<u8>,
    band_bytes: usize,
    /// Of the tiles of the row of tiles that is being written.
    hashers: Vec<blake3::Hasher>,
}

impl RowsWriter {
    pub(super) fn new(draft: Arc<Draft>) -> Self {
        let layout = draft.layout();
        let row_bytes = layout.columns * layout.dtype.bytes();
        let rows = (BAND_BYTES / row_bytes.max(1)).clamp(1, layout.tile_rows());
        let hashers = fresh(&layout);
        Self { draft, rows: 0, band: Vec::new(), band_bytes: rows * row_bytes, hashers }
    }

    /// One that goes on where `bytes` had come and were written, after the power was cut, say: what
    /// there is of the tiles that are not whole is read again.
    pub fn resume(draft: Arc<Draft>, bytes: u64) -> Result<Self, StoreError> {
        let mut writer = Self::new(draft);
        let layout = writer.layout();
        let row_bytes = (layout.columns * layout.dtype.bytes()) as u64;
        let tile_rows_bytes = layout.tile_rows() as u64 * row_bytes;
        let begun = bytes - bytes % tile_rows_bytes.max(1);
        writer.rows = (begun / row_bytes.max(1)) as usize;
        let mut offset = begun;
        let mut piece = Vec::new();
        while offset < bytes {
            piece.resize((bytes - offset).min(BAND_BYTES as u64) as usize, 0);
            writer.read_unchecked(offset, &mut piece)?;
            writer.push(&piece)?;
            offset += piece.len() as u64;
        }
        Ok(writer)
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        2 * self.band_bytes + self.hashers.len() * size_of::<blake3::Hasher>()
    }

    pub fn draft(&self) -> &Arc<Draft> {
        &self.draft
    }

    fn layout(&self) -> Layout {
        self.draft.layout()
    }

    /// Takes bytes of elements, row by row and in little-endian order.
    ///
    /// # Panics
    ///
    /// Where there are more than the matrix has.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let wanted = self.band_wanted();
            assert!(wanted > 0, "no bytes come after the last row");
            let (taken, rest) = bytes.split_at((wanted - self.band.len()).min(bytes.len()));
            self.band.extend_from_slice(taken);
            if self.band.len() == wanted {
                self.write_band(wanted)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Writes what has come, so that what is [committed](Draft::commit) next has all of it, and
    /// [`RowsWriter::resume`] finds it.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let layout = self.layout();
        let row_bytes = layout.columns * layout.dtype.bytes();
        if row_bytes == 0 || self.band.is_empty() {
            return Ok(());
        }
        // Whole rows go where they belong; what there is of the next stays here as well, since its
        // bytes are hashed in the order of the tile's.
        let whole = self.band.len() / row_bytes * row_bytes;
        if whole > 0 {
            self.write_band(whole)?;
        }
        let begun = core::mem::take(&mut self.band);
        self.for_segments(&begun, |draft, offset, segment| draft.matrix().write(offset, segment))?;
        self.band = begun;
        Ok(())
    }

    /// Bytes of the band that comes next: up to the end of a row of tiles at most.
    fn band_wanted(&self) -> usize {
        let layout = self.layout();
        let row_bytes = layout.columns * layout.dtype.bytes();
        let tile_end = (self.rows / layout.tile_rows() + 1) * layout.tile_rows();
        self.band_bytes.min((tile_end.min(layout.rows) - self.rows) * row_bytes)
    }

    /// Writes whole rows of the band, of so many bytes: to each tile what it gets of them.
    fn write_band(&mut self, bytes: usize) -> Result<(), StoreError> {
        let layout = self.layout();
        let element_bytes = layout.dtype.bytes();
        let row_bytes = layout.columns * element_bytes;
        let rows = bytes / row_bytes;
        let down = self.rows / layout.tile_rows();
        let mut gathered = Vec::new();
        for across in 0..layout.tiles_across() {
            let tile = layout.tile(down, across);
            let columns = tile.columns.start * element_bytes..tile.columns.end * element_bytes;
            gathered.clear();
            for row in self.band[..bytes].chunks_exact(row_bytes) {
                gathered.extend_from_slice(&row[columns.clone()]);
            }
            let above = (self.rows - tile.rows.start) * columns.len();
            self.draft.matrix().write(layout.tile_offset(&tile) + above as u64, &gathered)?;
            self.hashers[across].update(&gathered);
            if self.rows + rows == tile.rows.end {
                let checksum = checksum_of(&self.hashers[across]);
                self.draft.matrix().note_written(tile.index, checksum);
            }
        }
        self.band.drain(..bytes);
        self.rows += rows;
        if self.rows.is_multiple_of(layout.tile_rows()) {
            self.hashers = fresh(&layout);
        }
        Ok(())
    }

    /// The places of bytes that follow the rows that are written, up to the end of the next one.
    fn for_segments(
        &self,
        bytes: &[u8],
        write: impl Fn(&Draft, u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let layout = self.layout();
        let element_bytes = layout.dtype.bytes();
        let down = self.rows / layout.tile_rows();
        for across in 0..layout.tiles_across() {
            let tile = layout.tile(down, across);
            let from = (tile.columns.start * element_bytes).min(bytes.len());
            let until = (tile.columns.end * element_bytes).min(bytes.len());
            let above = (self.rows - tile.rows.start) * tile.columns.len() * element_bytes;
            let offset = layout.tile_offset(&tile) + above as u64;
            write(&self.draft, offset, &bytes[from..until])?;
        }
        Ok(())
    }

    /// Reads bytes, row by row, of tiles that are not whole.
    fn read_unchecked(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.draft.matrix().read_unchecked(offset, out)
    }
}

fn fresh(layout: &Layout) -> Vec<blake3::Hasher> {
    (0..layout.tiles_across()).map(|_| blake3::Hasher::new()).collect()
}
