//! Steps whose result has one operand's elements, or a sum of two, in each place: tile by tile.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::background::Errand as _;
use super::blocks::Block;
use super::errands::{Address, Writing};
use super::plan::SCRATCH_BYTES;
use super::{Counts, Running, StepError};
use crate::gemm::{Crew, Element};
use crate::store::{Draft, Layout, MatrixId, Stored, Tile};

/// What becomes of each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Each {
    /// `alpha X + beta Y`.
    Add { alpha: f64, beta: f64 },
    /// `alpha X`.
    Scale { alpha: f64 },
    /// That in the place of row and column turned round.
    Transpose,
}

impl Each {
    /// Memory for a result like this: neither more nor less is of use.
    pub fn memory_bytes(output: Layout) -> usize {
        let rows = output.tile_rows().min(output.rows);
        let columns = output.tile_columns().min(output.columns);
        2 * rows * columns * output.dtype.bytes() + SCRATCH_BYTES
    }

    /// Operations for each element, as they are billed.
    fn flops(self) -> u64 {
        match self {
            Self::Add { alpha, beta } => 1 + u64::from(alpha != 1.0) + u64::from(beta != 1.0),
            Self::Scale { .. } => 1,
            Self::Transpose => 0,
        }
    }
}

#[derive(Debug)]
pub struct TilesRun<T> {
    each: Each,
    operands: Vec<Arc<Stored>>,
    output: Arc<Draft>,
    tile: usize,
    /// Of a tile each.
    x: Vec<T>,
    y: Vec<T>,
    writing: Option<Writing<T>>,
    address: Option<Address>,
    counts: Counts,
}

impl<T: Element> TilesRun<T> {
    pub fn new(each: Each, operands: Vec<Arc<Stored>>, output: Arc<Draft>) -> Self {
        let address = Some(Address::new(&output.layout()));
        Self {
            each,
            operands,
            output,
            tile: 0,
            x: Vec::new(),
            y: Vec::new(),
            writing: None,
            address,
            counts: Counts::default(),
        }
    }

    /// Computes a tile and begins to write it.
    fn compute(&mut self, tile: Tile) -> Result<(), StepError> {
        let (rows, columns) = (tile.rows.clone(), tile.columns.clone());
        let (height, width) = (rows.len(), columns.len());
        make_room(&mut self.x, tile.elements())?;
        let x = &mut self.x[..tile.elements()];
        self.counts.bytes_read += size_of_val(x) as u64;
        match self.each {
            Each::Transpose => {
                make_room(&mut self.y, tile.elements())?;
                let y = &mut self.y[..tile.elements()];
                self.operands[0].read_block(columns, rows, y, height)?;
                turn(y, (width, height), x);
            }
            Each::Scale { alpha } => {
                self.operands[0].read_block(rows, columns, x, width)?;
                scale(x, alpha);
            }
            Each::Add { alpha, beta } => {
                make_room(&mut self.y, tile.elements())?;
                let y = &mut self.y[..tile.elements()];
                self.operands[0].read_block(rows.clone(), columns.clone(), x, width)?;
                self.operands[1].read_block(rows, columns, y, width)?;
                self.counts.bytes_read += size_of_val(y) as u64;
                scale(x, alpha);
                scale(y, beta);
                x.iter_mut().zip(y).for_each(|(x, y)| *x = *x + *y);
            }
        }
        self.counts.bytes_written += (tile.elements() * size_of::<T>()) as u64;
        let block = Block { rows: tile.rows, columns: tile.columns };
        let address = self.address.take().expect("nothing is being written");
        let elements = core::mem::take(&mut self.x);
        self.writing = Some(Writing::new(self.output.clone(), block, elements, address));
        Ok(())
    }
}

impl<T: Element> Running for TilesRun<T> {
    fn step(&mut self, _: &dyn Crew, _: &(dyn Fn() -> bool + Sync)) -> Result<bool, StepError> {
        if let Some(writing) = &mut self.writing {
            if writing.step()?
                && let Some(Writing { elements, address, .. }) = self.writing.take()
            {
                (self.x, self.address) = (elements, Some(address));
            }
            return Ok(false);
        }
        if self.tile < self.output.layout().tiles() {
            let tile = self.output.layout().tile_at(self.tile);
            self.tile += 1;
            let flops = tile.elements() as u64 * self.each.flops();
            if self.output.is_committed(tile.index) {
                self.counts.flops_before += flops;
            } else {
                self.compute(tile)?;
                self.counts.flops += flops;
                self.counts.executed_flops += flops;
            }
            return Ok(false);
        }
        let address = self.address.as_mut().expect("nothing is being written");
        let goes_on = address.read_on(&self.output, self.output.layout().rows)?;
        self.counts.bytes_read += address.take_read_bytes();
        Ok(!goes_on)
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn id(&self) -> Option<MatrixId> {
        let address = self.address.as_ref()?;
        address.id(self.output.layout())
    }
}

fn make_room<T: Element>(buffer: &mut Vec<T>, elements: usize) -> Result<(), StepError> {
    if buffer.len() < elements {
        buffer.try_reserve_exact(elements - buffer.len())?;
        buffer.resize(elements, T::default());
    }
    Ok(())
}

fn scale<T: Element>(elements: &mut [T], factor: f64) {
    if factor != 1.0 {
        let factor = T::from_f64(factor);
        elements.iter_mut().for_each(|element| *element = factor * *element);
    }
}

/// The transpose of a matrix, in squares that fit the first-level cache.
fn turn<T: Element>(from: &[T], (rows, columns): (usize, usize), to: &mut [T]) {
    const EDGE: usize = 32;
    for top in (0..rows).step_by(EDGE) {
        for left in (0..columns).step_by(EDGE) {
            for row in top..(top + EDGE).min(rows) {
                for column in left..(left + EDGE).min(columns) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
}
