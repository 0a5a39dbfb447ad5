//! One matrix: its bytes on the slab, and what is known of its tiles.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::mutex::SpinMutex;

use super::digest::MatrixId;
use super::error::StoreError;
use super::layout::{Layout, Tile};
use super::record::{Purpose, Record};
use super::slab::Slab;
use super::space::Extent;
use super::writer::RowsWriter;
use super::{Keep, MatrixNumber};
use crate::gemm::Element;
use crate::ledger::{AccountId, Batch, Table, Volume};
use crate::memory::Promise;

/// The first half of a tile's BLAKE3 digest.
pub type Checksum = [u8; 16];

/// Elements are moved through a buffer of so many bytes, where they can't be read or written in
/// place.
const RUN_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub struct Matrix {
    number: MatrixNumber,
    layout: Layout,
    record: SpinMutex<Record>,
    extents: Vec<Extent>,
    slab: Arc<Slab>,
    /// Rows tell of it, so that its room is not free, whoever has it.
    is_kept: AtomicBool,
    tiles: SpinMutex<Vec<TileState>>,
    /// Where it lies in memory.
    _promise: Option<Promise>,
}

/// What is known of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TileState {
    Empty,
    /// Written, and lost with the power.
    Written(Checksum),
    /// It lasts, and was not read since the machine started.
    Committed(Checksum),
    /// It lasts, and was found to be what was written.
    Checked(Checksum),
}

impl TileState {
    fn checksum(self) -> Option<Checksum> {
        match self {
            Self::Empty => None,
            Self::Written(sum) | Self::Committed(sum) | Self::Checked(sum) => Some(sum),
        }
    }
}

impl Matrix {
    /// One that has nothing yet.
    pub fn new(
        number: MatrixNumber,
        record: Record,
        slab: Arc<Slab>,
        promise: Option<Promise>,
    ) -> Self {
        let layout = record.layout;
        let tiles = vec![TileState::Empty; layout.tiles()].into();
        let (extents, record) = (record.extents.clone(), record.into());
        let is_kept = AtomicBool::new(true);
        Self { number, layout, record, extents, slab, is_kept, tiles, _promise: promise }
    }

    /// One of which a volume has rows.
    pub fn open(
        number: MatrixNumber,
        record: Record,
        slab: Arc<Slab>,
        volume: &Volume,
    ) -> Result<Self, StoreError> {
        let matrix = Self::new(number, record, slab, None);
        let (from, until) = (number.0.to_be_bytes(), (number.0 + 1).to_be_bytes());
        let mut tiles = matrix.tiles.lock();
        let mut is_legible = true;
        volume.range(Table::Tiles, &from, Some(&until), &mut |key, value| {
            let index = key.get(8..).and_then(|key| key.try_into().ok()).map(u32::from_be_bytes);
            let tile = index.and_then(|index| tiles.get_mut(index as usize));
            match (tile, value.try_into()) {
                (Some(tile), Ok(checksum)) => *tile = TileState::Committed(checksum),
                _ => is_legible = false,
            }
            is_legible
        })?;
        drop(tiles);
        if is_legible { Ok(matrix) } else { Err(StoreError::MalformedRow) }
    }

    pub fn number(&self) -> MatrixNumber {
        self.number
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub fn record(&self) -> Record {
        self.record.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock());
    }

    pub fn id(&self) -> Option<MatrixId> {
        self.record.lock().id
    }

    pub fn is_cache(&self) -> bool {
        let record = self.record.lock();
        record.id.is_some() && record.purpose == Purpose::Cache
    }

    pub fn is_committed(&self, tile: usize) -> bool {
        matches!(self.tiles.lock()[tile], TileState::Committed(_) | TileState::Checked(_))
    }

    /// Its rows are gone.
    pub fn note_gone(&self) {
        self.is_kept.store(false, Ordering::Release);
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        Ok(self.slab.read(&self.extents, offset, out)?)
    }

    /// Writes at `offset` of its bytes.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        Ok(self.slab.write(&self.extents, offset, bytes)?)
    }

    /// Notes that all of a tile was written.
    pub fn note_written(&self, tile: usize, checksum: Checksum) {
        self.tiles.lock()[tile] = TileState::Written(checksum);
    }

    fn read_block<T: Element>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut [T],
        row_stride: usize,
    ) -> Result<(), StoreError> {
        let layout = self.layout;
        assert_eq!(T::DTYPE, layout.dtype, "elements are read as they were written");
        assert!(rows.end <= layout.rows && columns.end <= layout.columns, "a block is within");
        for tile in layout.tiles_of(&rows, &columns) {
            let common = (common(&tile.rows, &rows), common(&tile.columns, &columns));
            let place = (common.0.start - rows.start) * row_stride + common.1.start - columns.start;
            let out = &mut out[place..];
            if common == (tile.rows.clone(), tile.columns.clone()) {
                self.read_tile(&tile, out, row_stride)?;
            } else {
                self.read_part(&tile, common, out, row_stride)?;
            }
        }
        Ok(())
    }

    /// Reads all of a tile, and holds it against its checksum.
    fn read_tile<T: Element>(
        &self,
        tile: &Tile,
        out: &mut [T],
        row_stride: usize,
    ) -> Result<(), StoreError> {
        let (height, width) = (tile.rows.len(), tile.columns.len());
        let mut hasher = blake3::Hasher::new();
        let offset = self.layout.tile_offset(tile);
        let element_bytes = size_of::<T>() as u64;
        if row_stride == width || height == 1 {
            for (run, out) in
                out[..height * width].chunks_mut(RUN_BYTES / size_of::<T>()).enumerate()
            {
                let out: &mut [u8] = bytemuck::cast_slice_mut(out);
                self.read(offset + (run * RUN_BYTES) as u64, out)?;
                hasher.update(out);
            }
        } else {
            let rows_per_run = (RUN_BYTES / (width * size_of::<T>())).max(1);
            let mut run = vec![T::default(); rows_per_run.min(height) * width];
            for row in (0..height).step_by(rows_per_run) {
                let rows = rows_per_run.min(height - row);
                let run = &mut run[..rows * width];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(run);
                self.read(offset + (row * width) as u64 * element_bytes, bytes)?;
                hasher.update(bytes);
                let out = out[row * row_stride..].chunks_mut(row_stride);
                run.chunks(width).zip(out).for_each(|(run, out)| out[..width].copy_from_slice(run));
            }
        }
        self.compare(tile.index, &hasher)
    }

    /// Holds what was read of a tile against its checksum.
    fn compare(&self, tile: usize, hasher: &blake3::Hasher) -> Result<(), StoreError> {
        let damaged = StoreError::Damaged { matrix: self.number, tile };
        let mut tiles = self.tiles.lock();
        let state = &mut tiles[tile];
        match *state {
            state if state.checksum() != Some(checksum_of(hasher)) => return Err(damaged),
            TileState::Committed(checksum) => *state = TileState::Checked(checksum),
            _ => {}
        }
        Ok(())
    }

    /// Reads a part of a tile, all of which is checked before unless that was done already.
    fn read_part<T: Element>(
        &self,
        tile: &Tile,
        (rows, columns): (Range<usize>, Range<usize>),
        out: &mut [T],
        row_stride: usize,
    ) -> Result<(), StoreError> {
        self.check_tile(tile)?;
        let first = self.layout.tile_offset(tile);
        let width = tile.columns.len();
        for (row, out) in rows.zip(out.chunks_mut(row_stride.max(1))) {
            let left = columns.start - tile.columns.start;
            let element = (row - tile.rows.start) * width + left;
            let out: &mut [u8] = bytemuck::cast_slice_mut(&mut out[..columns.len()]);
            self.read(first + (element * size_of::<T>()) as u64, out)?;
        }
        Ok(())
    }

    /// Reads a tile to hold it against its checksum, unless that was done since the machine
    /// started.
    fn check_tile(&self, tile: &Tile) -> Result<(), StoreError> {
        match self.tiles.lock()[tile.index] {
            TileState::Checked(_) | TileState::Written(_) => return Ok(()),
            TileState::Empty => {
                return Err(StoreError::Damaged { matrix: self.number, tile: tile.index });
            }
            TileState::Committed(_) => {}
        }
        let bytes = tile.elements() * self.layout.dtype.bytes();
        let mut hasher = blake3::Hasher::new();
        let mut run = vec![0; RUN_BYTES.min(bytes)];
        let offset = self.layout.tile_offset(tile);
        for at in (0..bytes).step_by(RUN_BYTES) {
            let run = &mut run[..RUN_BYTES.min(bytes - at)];
            self.read(offset + at as u64, run)?;
            hasher.update(run);
        }
        self.compare(tile.index, &hasher)
    }

    /// Reads parts of rows, whole tiles wide: of each tile, one after the other, its rows. A tile
    /// is held against its checksum when its last row was read, if all were read in their order.
    fn read_band(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut [u8],
        sums: &mut BandSums,
    ) -> Result<(), StoreError> {
        let element_bytes = self.layout.dtype.bytes();
        let mut rest = out;
        for (across, tile) in self.layout.tiles_of(&rows, &columns).into_iter().enumerate() {
            assert!(
                rows.end <= tile.rows.end && columns.end >= tile.columns.end,
                "a band of tiles"
            );
            let row_bytes = tile.columns.len() * element_bytes;
            let (part, behind) = rest.split_at_mut(rows.len() * row_bytes);
            rest = behind;
            let above = (rows.start - tile.rows.start) * row_bytes;
            self.read(self.layout.tile_offset(&tile) + above as u64, part)?;
            if sums.0.len() <= across {
                sums.0.push(blake3::Hasher::new());
            }
            let hasher = &mut sums.0[across];
            if above == 0 {
                *hasher = blake3::Hasher::new();
            }
            hasher.update(part);
            if rows.end == tile.rows.end {
                self.compare(tile.index, hasher)?;
            }
        }
        Ok(())
    }

    /// Reads from `offset` of the elements row by row.
    fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.read_rows(offset, out, |tile| self.check_tile(tile))
    }

    /// The same, of tiles that may not be whole.
    pub fn read_unchecked(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.read_rows(offset, out, |_| Ok(()))
    }

    fn read_rows(
        &self,
        offset: u64,
        out: &mut [u8],
        check: impl Fn(&Tile) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let layout = self.layout;
        let element_bytes = layout.dtype.bytes() as u64;
        let row_bytes = layout.columns as u64 * element_bytes;
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let (row, within) = ((at / row_bytes) as usize, at % row_bytes);
            let across = (within / element_bytes) as usize / layout.tile_columns();
            let tile = layout.tile(row / layout.tile_rows(), across);
            check(&tile)?;
            let (from, until) = (tile.columns.start as u64, tile.columns.end as u64);
            let run = (until * element_bytes - within).min((out.len() - done) as u64) as usize;
            let above = (row - tile.rows.start) as u64 * (until - from) * element_bytes;
            let place = layout.tile_offset(&tile) + above + within - from * element_bytes;
            self.read(place, &mut out[done..done + run])?;
            done += run;
        }
        Ok(())
    }
}

impl Drop for Matrix {
    /// Nobody has it any more.
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            self.slab.free(&self.extents);
        }
    }
}

/// A matrix that is finished. For as long as this is held, it can be read.
#[derive(Debug)]
pub struct Stored {
    matrix: Arc<Matrix>,
}

impl Stored {
    pub(super) fn new(matrix: Arc<Matrix>) -> Self {
        Self { matrix }
    }

    pub(super) fn matrix(&self) -> &Arc<Matrix> {
        &self.matrix
    }

    pub fn number(&self) -> MatrixNumber {
        self.matrix.number
    }

    /// Its address.
    pub fn id(&self) -> MatrixId {
        self.matrix.id().expect("it is finished")
    }

    pub fn layout(&self) -> Layout {
        self.matrix.layout
    }

    /// Whose it is.
    pub fn account(&self) -> AccountId {
        self.matrix.record.lock().account.clone()
    }

    pub fn purpose(&self) -> Purpose {
        self.matrix.record.lock().purpose
    }

    pub fn keep(&self) -> Keep {
        self.matrix.record.lock().keep
    }

    /// When its room was taken, and when it was finished, in nanoseconds of Unix time.
    pub fn times_unix_ns(&self) -> (u64, u64) {
        let record = self.matrix.record.lock();
        (record.begun_unix_ns, record.finished_unix_ns)
    }

    /// Copies a block to `out`, whose rows begin `row_stride` elements after each other. A tile
    /// that is read whole is held against its checksum each time, others once since the machine
    /// started.
    ///
    /// # Panics
    ///
    /// Where the block reaches beyond the matrix or `out`, or the elements are of another type.
    pub fn read_block<T: Element>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut [T],
        row_stride: usize,
    ) -> Result<(), StoreError> {
        self.matrix.read_block(rows, columns, out, row_stride)
    }

    /// Reads from `offset` of the elements' bytes, row by row and in little-endian order, into all
    /// of `out`, which must end within.
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.matrix.read_bytes(offset, out)
    }
}

/// What was read of the tiles of a band, for [`Draft::read_band`].
#[derive(Debug, Default)]
pub struct BandSums(Vec<blake3::Hasher>);

/// A matrix that is being written.
#[derive(Debug)]
pub struct Draft {
    matrix: Arc<Matrix>,
    volume: Option<Arc<Volume>>,
}

impl Draft {
    pub(super) fn new(matrix: Arc<Matrix>, volume: Option<Arc<Volume>>) -> Self {
        Self { matrix, volume }
    }

    pub(super) fn matrix(&self) -> &Arc<Matrix> {
        &self.matrix
    }

    pub fn number(&self) -> MatrixNumber {
        self.matrix.number
    }

    pub fn layout(&self) -> Layout {
        self.matrix.layout
    }

    /// Whether a tile will be there after a power cut.
    pub fn is_committed(&self, tile: usize) -> bool {
        self.matrix.is_committed(tile)
    }

    /// Whether all are.
    pub fn is_whole(&self) -> bool {
        (0..self.layout().tiles()).all(|tile| self.is_committed(tile))
    }

    /// Writes a tile from a block of its shape whose rows begin `row_stride` elements after each
    /// other. It lasts once it is [committed](Draft::commit).
    ///
    /// # Panics
    ///
    /// Where the block is shorter than the tile, or the elements are of another type.
    pub fn write_tile<T: Element>(
        &self,
        tile: &Tile,
        block: &[T],
        row_stride: usize,
    ) -> Result<(), StoreError> {
        assert_eq!(T::DTYPE, self.layout().dtype, "elements are of the matrix's type");
        let (height, width) = (tile.rows.len(), tile.columns.len());
        let offset = self.layout().tile_offset(tile);
        let mut hasher = blake3::Hasher::new();
        let rows_per_run = (RUN_BYTES / (width * size_of::<T>())).max(1);
        let mut gathered = Vec::new();
        for row in (0..height).step_by(rows_per_run) {
            let rows = rows_per_run.min(height - row);
            let run: &[T] = if row_stride == width {
                &block[row * width..][..rows * width]
            } else {
                gathered.clear();
                for row in row..row + rows {
                    gathered.extend_from_slice(&block[row * row_stride..][..width]);
                }
                &gathered
            };
            let run: &[u8] = bytemuck::cast_slice(run);
            hasher.update(run);
            self.matrix.write(offset + (row * width * size_of::<T>()) as u64, run)?;
        }
        self.matrix.note_written(tile.index, checksum_of(&hasher));
        Ok(())
    }

    /// Takes all elements row by row.
    pub fn rows_writer(self: Arc<Self>) -> RowsWriter {
        RowsWriter::new(self)
    }

    /// As [`Stored::read_block`], of tiles that were written.
    pub fn read_block<T: Element>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut [T],
        row_stride: usize,
    ) -> Result<(), StoreError> {
        self.matrix.read_block(rows, columns, out, row_stride)
    }

    /// Reads the rows of a part of a row of tiles, from its first tile on: of each tile, one after
    /// the other, as they lie there. Who reads all rows of the tiles in their order learns at the
    /// last whether they are as they were written.
    ///
    /// # Panics
    ///
    /// Where the rows are of more than one row of tiles, or `out` is too short.
    pub fn read_band(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        out: &mut [u8],
        sums: &mut BandSums,
    ) -> Result<(), StoreError> {
        self.matrix.read_band(rows, columns, out, sums)
    }

    /// As [`Stored::read_bytes`], of tiles that were written.
    pub fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.matrix.read_bytes(offset, out)
    }

    /// Returns once the tiles that were written will be there after a power cut.
    pub fn commit(&self) -> Result<(), StoreError> {
        self.commit_with(Batch::default())
    }

    /// The same, with other rows that come to be at the same moment.
    pub fn commit_with(&self, mut batch: Batch) -> Result<(), StoreError> {
        let mut written = Vec::new();
        for (index, state) in self.matrix.tiles.lock().iter().enumerate() {
            if let TileState::Written(checksum) = state {
                batch.put(Table::Tiles, tile_key(self.number(), index), *checksum);
                written.push((index, *checksum));
            }
        }
        if let Some(volume) = &self.volume
            && !batch.is_empty()
        {
            self.matrix.slab.flush()?;
            volume.commit(&batch)?;
        }
        let mut tiles = self.matrix.tiles.lock();
        for (index, checksum) in written {
            tiles[index] = TileState::Committed(checksum);
        }
        Ok(())
    }
}

pub fn tile_key(number: MatrixNumber, tile: usize) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&number.0.to_be_bytes());
    key[8..].copy_from_slice(&(tile as u32).to_be_bytes());
    key
}

pub fn checksum_of(hasher: &blake3::Hasher) -> Checksum {
    let digest = hasher.finalize();
    core::array::from_fn(|at| digest.as_bytes()[at])
}

fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}
