//! `x <- A x`, many times: the matrix lies on the disk, with as much of it in memory as there is
//! room for, and the states lie in memory.

use alloc::collections::{TryReserveError, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::background::{Background, Ticket};
use super::blocks::{Block, Part};
use super::errands::{Address, Reading, Writing};
use super::plan::{SCRATCH_BYTES, TooSmall};
use super::{Counts, Resources, Running, StepError};
use crate::gemm::{Algorithm, Crew, Element, Shape, Slices, Workspace, workspace_bytes_max};
use crate::store::{Draft, Layout, MatrixId, Stored};

/// Tiles of A that pass by, at once.
const PASSING: usize = 4;

/// How often, and which of the states are kept: those after every so many steps, and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    pub steps: u64,
    pub snapshot_every: u64,
}

impl Steps {
    /// The steps behind which a snapshot is taken, each counted from 0.
    fn until(self, snapshot: u64) -> u64 {
        ((snapshot + 1) * self.snapshot_every).min(self.steps)
    }

    /// The least memory for matrices like these, and the most that is of use.
    pub fn memory_bytes<T: Element>(self, a: Layout, output: Layout) -> (usize, usize) {
        let states = output.columns / (self.steps.div_ceil(self.snapshot_every).max(1) as usize);
        let window = output.tile_columns().min(output.columns);
        let elements = a.rows * (2 * states + window) + PASSING * tile_elements(a);
        let shape = Shape { m: a.rows, n: states, k: a.columns };
        let workspace_bytes = workspace_bytes_max::<T>(shape);
        let least = elements * size_of::<T>() + workspace_bytes + SCRATCH_BYTES;
        (least, least.saturating_add(a.bytes() as usize))
    }
}

fn tile_elements(layout: Layout) -> usize {
    layout.tile_rows().min(layout.rows) * layout.tile_columns().min(layout.columns)
}

#[derive(Debug)]
pub struct IterateRun<T: 'static> {
    steps: Steps,
    a: Arc<Stored>,
    output: Arc<Draft>,
    threads: usize,
    background: Option<Arc<dyn Background>>,
    /// A, tile by tile; the first so many of them are in memory once they were read.
    parts: Vec<Part>,
    stays: usize,
    staying: Vec<Vec<T>>,
    /// What is to be read next, by step and part; what is on its way; and what has come.
    next_load: (u64, usize),
    coming: VecDeque<Ticket<Reading<T>>>,
    passing: Option<Vec<T>>,
    spare: Vec<Vec<T>>,
    buffers_left: usize,
    /// The state and the next one: rows of A, and so many columns.
    x: Vec<T>,
    y: Vec<T>,
    columns: usize,
    /// Steps that are done, and the part that is multiplied next.
    step: u64,
    part: usize,
    product: Option<Slices<T>>,
    workspace: Workspace<T>,
    /// Columns of the result that are written, or lie in the window: all rows of a column of tiles.
    copied: usize,
    snapshot: u64,
    window: Vec<T>,
    writing: Option<Ticket<Writing<T>>>,
    address: Option<Address>,
    counts: Counts,
}

impl<T: Element> IterateRun<T> {
    /// Goes on behind the last state that is whole in columns of tiles that are there.
    pub fn new(
        steps: Steps,
        (a, x): (Arc<Stored>, &Stored),
        output: Arc<Draft>,
        resources: Resources,
    ) -> Result<Self, StepError> {
        let (layout, result) = (a.layout(), output.layout());
        let (rows, columns) = (layout.rows, x.layout().columns);
        let (needed_bytes, _) = steps.memory_bytes::<T>(layout, result);
        if resources.memory_bytes < needed_bytes {
            return Err(TooSmall { needed_bytes }.into());
        }
        let tile_bytes = tile_elements(layout) * size_of::<T>();
        let room = (resources.memory_bytes - needed_bytes).checked_div(tile_bytes).unwrap_or(0);
        let tiles = (0..layout.tiles()).map(|index| layout.tile_at(index));
        let parts: Vec<_> =
            tiles.map(|tile| Part { rows: tile.rows, columns: tile.columns }).collect();
        let mut state = filled(rows * columns)?;
        let width = result.tile_columns();
        let is_there = |across: &usize| {
            let mut tiles = (0..result.tiles_down()).map(|down| result.tile(down, *across).index);
            tiles.all(|tile| output.is_committed(tile))
        };
        let whole = (0..result.tiles_across()).take_while(is_there).count();
        let copied = (whole * width).min(result.columns);
        let snapshot = copied.checked_div(columns).unwrap_or(0);
        let step = match snapshot {
            0 => {
                x.read_block(0..rows, 0..columns, &mut state, columns)?;
                0
            }
            done => {
                let last = (done - 1) * columns..done * columns;
                output.read_block(0..rows, last, &mut state, columns)?;
                steps.until(done as u64 - 1)
            }
        };
        let flops_per_step = 2 * (rows * rows) as u64 * columns as u64;
        Ok(Self {
            steps,
            threads: resources.threads,
            background: resources.background,
            stays: room.min(parts.len()),
            parts,
            staying: Vec::new(),
            next_load: (step, 0),
            coming: VecDeque::new(),
            passing: None,
            spare: Vec::new(),
            buffers_left: PASSING,
            y: filled(state.len())?,
            columns,
            step,
            part: 0,
            product: None,
            workspace: Workspace::default(),
            copied,
            snapshot: snapshot as u64,
            window: filled(rows * width.min(result.columns))?,
            writing: None,
            address: Some(Address::new(&result)),
            counts: Counts {
                flops_before: step * flops_per_step,
                bytes_read: size_of_val(&state[..]) as u64,
                ..Counts::default()
            },
            x: state,
            a,
            output,
        })
    }

    fn is_snapshot_due(&self) -> bool {
        self.copied < self.output.layout().columns && self.step == self.steps.until(self.snapshot)
    }

    /// Copies columns of the state to the result, up to the end of a column of tiles, which is
    /// written then.
    fn copy_columns(&mut self) {
        let layout = self.output.layout();
        let first = self.snapshot as usize * self.columns;
        let left = self.copied / layout.tile_columns() * layout.tile_columns();
        let right = (left + layout.tile_columns()).min(layout.columns);
        let end = right.min(first + self.columns);
        let (width, from) = (right - left, self.copied - first);
        let count = end - self.copied;
        if self.columns > 0 {
            let rows = self.window.chunks_mut(width).zip(self.x.chunks(self.columns));
            rows.for_each(|(row, x)| {
                row[self.copied - left..][..count].copy_from_slice(&x[from..][..count]);
            });
        }
        self.copied = end;
        self.snapshot += u64::from(end == first + self.columns);
        if end == right {
            let block = Block { rows: 0..layout.rows, columns: left..right };
            self.counts.bytes_written += (block.elements() * size_of::<T>()) as u64;
            let elements = mem::take(&mut self.window);
            let address = self.address.take().expect("nothing is being written");
            let writing = Writing::new(self.output.clone(), block, elements, address);
            self.writing = Some(Ticket::new(writing, self.background.clone()));
        }
    }

    /// Waits for a part of A, or multiplies by it.
    fn multiply_part(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StepError> {
        self.read_ahead()?;
        let is_here = self.part < self.staying.len() || self.passing.is_some();
        if self.part < self.parts.len() && !is_here {
            let first = self.coming.front().expect("there is a buffer for what is needed");
            if first.advance()? {
                self.receive()?;
            }
            return Ok(());
        }
        if self.part < self.parts.len() && !self.multiply(crew, pause)? {
            return Ok(());
        }
        self.spare.extend(self.passing.take());
        self.part += 1;
        if self.part >= self.parts.len() {
            mem::swap(&mut self.x, &mut self.y);
            (self.part, self.step) = (0, self.step + 1);
        }
        Ok(())
    }

    fn read_ahead(&mut self) -> Result<(), StepError> {
        while self.background.is_some() || self.coming.is_empty() {
            let (step, part) = self.next_load;
            if step >= self.steps.steps || self.parts.is_empty() {
                return Ok(());
            }
            let elements = tile_elements(self.a.layout());
            let buffer = if part < self.stays {
                filled(elements)?
            } else if let Some(spare) = self.spare.pop() {
                spare
            } else if self.buffers_left > 0 {
                self.buffers_left -= 1;
                filled(elements)?
            } else {
                return Ok(());
            };
            let reading = Reading::new(self.a.clone(), self.parts[part].clone(), buffer);
            self.coming.push_back(Ticket::new(reading, self.background.clone()));
            self.counts.bytes_read += (self.parts[part].elements() * size_of::<T>()) as u64;
            self.next_load = match part + 1 == self.parts.len() {
                false => (step, part + 1),
                // What stays was read by then.
                true if self.stays == self.parts.len() => (self.steps.steps, 0),
                true => (step + 1, self.stays),
            };
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), StepError> {
        let Some(ticket) = self.coming.pop_front() else { return Ok(()) };
        let elements = ticket.finish()?.elements;
        if self.staying.len() < self.stays {
            self.staying.push(elements);
        } else {
            self.passing = Some(elements);
        }
        Ok(())
    }

    /// Adds a part's product to the next state; true once that is done.
    fn multiply(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        let part = &self.parts[self.part];
        let (rows, columns) = (self.a.layout().rows, self.columns);
        let elements = self.staying.get(self.part).or(self.passing.as_ref()).expect("it has come");
        let shape = (part.rows.len(), part.columns.len());
        let a = ArrayView2::from_shape(shape, &elements[..part.elements()]).expect("as many");
        let x = ArrayView2::from_shape((rows, columns), &self.x).expect("as many");
        let b = x.slice_move(s![part.columns.clone(), ..]);
        let y = ArrayViewMut2::from_shape((rows, columns), &mut self.y).expect("as many");
        let mut c = y.slice_move(s![part.rows.clone(), ..]);
        let product = match &mut self.product {
            Some(product) => product,
            none => {
                let beta = if part.columns.start == 0 { 0.0 } else { 1.0 };
                let scale = (T::from_f64(1.0), T::from_f64(beta));
                let views = ((a, b), c.view_mut());
                let workspace = &mut self.workspace;
                none.insert(Slices::new(
                    Algorithm::Classical,
                    scale,
                    views,
                    self.threads,
                    workspace,
                )?)
            }
        };
        if !product.advance((a, b), c, crew, pause) {
            return Ok(false);
        }
        self.counts = self.counts();
        self.product.take().expect("it is there").recycle(&mut self.workspace);
        Ok(true)
    }
}

impl<T: Element> Running for IterateRun<T> {
    fn step(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        if let Some(writing) = self.writing.take() {
            if writing.advance()? {
                let Writing { elements, address, .. } = writing.finish()?;
                (self.window, self.address) = (elements, Some(address));
            } else {
                self.writing = Some(writing);
            }
            return Ok(false);
        }
        if self.is_snapshot_due() {
            self.copy_columns();
            return Ok(false);
        }
        if self.step < self.steps.steps {
            self.multiply_part(crew, pause)?;
            return Ok(false);
        }
        let address = self.address.as_mut().expect("nothing is being written");
        let goes_on = address.read_on(&self.output, self.output.layout().rows)?;
        self.counts.bytes_read += address.take_read_bytes();
        Ok(!goes_on)
    }

    fn counts(&self) -> Counts {
        let (flops, executed_flops) = self.product.as_ref().map_or((0, 0), Slices::flops);
        Counts {
            flops: self.counts.flops + flops,
            executed_flops: self.counts.executed_flops + executed_flops,
            ..self.counts
        }
    }

    fn id(&self) -> Option<MatrixId> {
        let address = self.address.as_ref()?;
        address.id(self.output.layout())
    }
}

fn filled<T: Element>(elements: usize) -> Result<Vec<T>, TryReserveError> {
    let mut made = Vec::new();
    made.try_reserve_exact(elements)?;
    made.resize(elements, T::default());
    Ok(made)
}
