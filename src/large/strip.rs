//! A strip of C on its way: what is read ahead for it, and where its product stands.

use alloc::collections::{TryReserveError, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::StepError;
use super::background::{Background, Ticket};
use super::blocks::{Block, Load, Part, Place};
use super::check::{Check, Seen};
use super::errands::Reading;
use super::plan::{Operand, Plan, Strip};
use crate::gemm::{Algorithm, Crew, Element, Shape, Slices, Workspace};
use crate::store::Stored;

/// A product of stored matrices, and how it is cut.
#[derive(Debug)]
pub struct Job {
    pub shape: Shape,
    pub plan: Plan,
    pub alpha: f64,
    pub beta: f64,
    /// Whether A and B are the transposes of what lies on the disk.
    pub transposed: (bool, bool),
    pub algorithm: Algorithm,
    pub a: Arc<Stored>,
    pub b: Arc<Stored>,
    pub c: Option<Arc<Stored>>,
    pub threads: usize,
    pub background: Option<Arc<dyn Background>>,
}

impl Job {
    /// Rows or columns of a held panel that are multiplied at once: all of them, or as many as are
    /// halved together.
    pub fn held_at_once(&self, width: usize) -> usize {
        match self.algorithm {
            Algorithm::Classical => width,
            Algorithm::StrassenWinograd => self.plan.grain.min(width),
        }
    }

    fn part(&self, load: Load, place: Place, block: &Block) -> (&Arc<Stored>, Part) {
        let Self { plan, shape, transposed, .. } = self;
        match plan.part(load, place, block, *shape, *transposed) {
            (Some(Operand::A), part) => (&self.a, part),
            (Some(Operand::B), part) => (&self.b, part),
            (None, part) => (self.c.as_ref().expect("C is read where there is one"), part),
        }
    }
}

/// Buffers of one size: so many, made when they are needed and used again.
#[derive(Debug)]
struct Buffers<T> {
    spare: Vec<Vec<T>>,
    /// That may still be made.
    left: usize,
    elements: usize,
}

impl<T: Element> Buffers<T> {
    fn new(count: usize, elements: usize) -> Self {
        Self { spare: Vec::new(), left: count, elements }
    }

    fn has_one(&self) -> bool {
        self.left > 0 || !self.spare.is_empty()
    }

    /// A buffer, where [`Buffers::has_one`]; whatever is in it.
    fn take(&mut self) -> Result<Vec<T>, TryReserveError> {
        if let Some(spare) = self.spare.pop() {
            return Ok(spare);
        }
        assert!(self.left > 0, "there is one left");
        let mut made = Vec::new();
        made.try_reserve_exact(self.elements)?;
        made.resize(self.elements, T::default());
        self.left -= 1;
        Ok(made)
    }
}

/// A load on its way, and what it is.
#[derive(Debug)]
struct Coming<T> {
    load: Load,
    bytes: u64,
    ticket: Ticket<Reading<T>>,
}

/// What a strip has come to with a step.
#[derive(Debug)]
pub enum Progress<T> {
    Goes,
    /// There is no buffer for the next block before the last one is written.
    NeedsBuffer,
    /// A block is computed; its buffer is to be given back.
    Computed(Block, Vec<T>),
    /// A block is computed, and this row of it, or column where A is held, is wrong.
    Wrong(usize),
    /// All blocks are.
    Ended,
}

#[derive(Debug)]
pub struct StripRun<T: 'static> {
    strip: Strip,
    blocks: Vec<Block>,
    stays: usize,
    /// The place that is computed, and the loads that it waits for.
    at: Place,
    awaited: usize,
    /// What is to be read next, and the place behind those.
    loads: VecDeque<(Place, Load)>,
    next: Option<Place>,
    coming: VecDeque<Coming<T>>,
    staying: Vec<Vec<T>>,
    passing: Option<Vec<T>>,
    piece: Option<Vec<T>>,
    result: Option<Vec<T>>,
    /// Of a part of the held panel: its parts of this place that are done, and the next.
    parts_done: usize,
    product: Option<Slices<T>>,
    check: Option<Check>,
    /// Of what the check is to see at this place: C, the held panel and the piece.
    seen: usize,
    /// The block at the place is, and is to be judged.
    is_computed: bool,
    panels: Buffers<T>,
    staying_panels: Buffers<T>,
    pieces: Buffers<T>,
    results: Buffers<T>,
    /// Of all products that are done, and executed for them.
    flops: (u64, u64),
    pub bytes_read: u64,
}

impl<T: Element> StripRun<T> {
    /// Of the strip's blocks, those that are to be computed; at least one.
    pub fn new(job: &Job, strip: Strip, blocks: Vec<Block>) -> Result<Self, TryReserveError> {
        let Plan { terms, piece, pieces, buffers, is_checked, .. } = job.plan;
        let panel_elements = terms * strip.range.len();
        let panels = job.plan.panels(job.shape);
        let at = Place::default();
        let check = if is_checked { Some(Check::new(job, &strip)?) } else { None };
        Ok(Self {
            stays: strip.stays,
            at,
            awaited: job.plan.loads(at, strip.stays, job.c.is_some()).count(),
            loads: VecDeque::new(),
            next: Some(at),
            coming: VecDeque::new(),
            staying: Vec::new(),
            passing: None,
            piece: None,
            result: None,
            parts_done: 0,
            product: None,
            check,
            seen: 0,
            is_computed: false,
            panels: Buffers::new((panels - strip.stays).min(buffers.panels), panel_elements),
            staying_panels: Buffers::new(strip.stays, panel_elements),
            pieces: Buffers::new(pieces, piece.min(strip.block) * terms),
            results: Buffers::new(buffers.results, strip.block * strip.range.len()),
            flops: (0, 0),
            bytes_read: 0,
            blocks,
            strip,
        })
    }

    /// Multiplications and additions done, and executed.
    pub fn flops(&self) -> (u64, u64) {
        let (flops, executed) = self.product.as_ref().map_or((0, 0), Slices::flops);
        (self.flops.0 + flops, self.flops.1 + executed)
    }

    /// A buffer that a block was returned in is free.
    pub fn give_back(&mut self, result: Vec<T>) {
        self.results.spare.push(result);
    }

    /// One step: something is waited for, or multiplied until `pause` says so.
    pub fn step(
        &mut self,
        job: &Job,
        crew: &dyn Crew,
        workspace: &mut Workspace<T>,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<Progress<T>, StepError> {
        if self.at.block == self.blocks.len() {
            return Ok(Progress::Ended);
        }
        self.read_ahead(job)?;
        if self.is_computed {
            return self.judge(job);
        }
        if self.awaited > 0 {
            let Some(first) = self.coming.front() else { return Ok(Progress::NeedsBuffer) };
            if first.ticket.advance()? {
                self.receive()?;
            }
            return Ok(Progress::Goes);
        }
        if self.result.is_none() {
            if !self.results.has_one() {
                return Ok(Progress::NeedsBuffer);
            }
            self.result = Some(self.results.take()?);
        }
        if self.check_on(job)? && self.multiply(job, crew, workspace, pause)? {
            self.turn_to_next(job);
        }
        Ok(Progress::Goes)
    }

    /// Shows the check what has come to this place; true once it has seen all.
    fn check_on(&mut self, job: &Job) -> Result<bool, StepError> {
        let Some(check) = &mut self.check else { return Ok(true) };
        let Place { panel, piece, .. } = self.at;
        let block = &self.blocks[self.at.block];
        let (is_due, load) = match self.seen {
            0 => (job.c.is_some() && panel == 0 && piece == 0, Load::Block),
            1 => (piece == 0 && !check.has_seen(panel), Load::Passing),
            2 => (true, Load::Piece),
            _ => return Ok(true),
        };
        if !is_due {
            self.seen += 1;
            return Ok(false);
        }
        let (seen, elements) = match load {
            Load::Block => (Seen::Addend, self.result.as_ref()),
            Load::Piece => {
                (Seen::Piece(panel, job.plan.piece_of(piece, block)), self.piece.as_ref())
            }
            Load::Passing | Load::Staying => {
                (Seen::Held(panel), self.staying.get(panel).or(self.passing.as_ref()))
            }
        };
        let (_, part) = job.part(load, self.at, block);
        let elements = elements.expect("it was received");
        if check.see(&seen, &elements[..part.elements()], &part)? {
            self.seen += 1;
        }
        Ok(false)
    }

    /// Shows the check the block that was computed. Once it has seen all, the block is given away,
    /// or is wrong.
    fn judge(&mut self, job: &Job) -> Result<Progress<T>, StepError> {
        let block = &self.blocks[self.at.block];
        if let Some(check) = &mut self.check {
            let part = Part { rows: block.rows.clone(), columns: block.columns.clone() };
            let elements = self.result.as_ref().expect("it was computed");
            if !check.see(&Seen::Result, &elements[..part.elements()], &part)? {
                return Ok(Progress::Goes);
            }
            if let Err(line) = check.judge::<T>(block) {
                return Ok(Progress::Wrong(line));
            }
        }
        let computed =
            Progress::Computed(block.clone(), self.result.take().expect("it was computed"));
        self.is_computed = false;
        self.at = Place { block: self.at.block + 1, panel: 0, piece: 0 };
        if self.at.block < self.blocks.len() {
            self.awaited = job.plan.loads(self.at, self.stays, job.c.is_some()).count();
        }
        Ok(computed)
    }

    /// The strip, and its blocks that were not given away.
    pub fn into_rest(mut self) -> (Strip, Vec<Block>) {
        (self.strip.clone(), self.blocks.split_off(self.at.block))
    }

    /// Changes an element of a block that is about to be judged; false where none is.
    #[cfg(test)]
    pub fn spoil(&mut self) -> bool {
        let is_untouched = self.check.as_ref().is_some_and(Check::has_begun_nothing);
        if let (true, true, Some(result)) = (self.is_computed, is_untouched, &mut self.result) {
            result[0] = result[0] + T::from_f64(1.0e3);
            return true;
        }
        false
    }

    /// Asks for what comes next, as far as there is room for it.
    fn read_ahead(&mut self, job: &Job) -> Result<(), StepError> {
        // Without anybody to read it meanwhile, what is ahead would lie there and wait.
        while job.background.is_some() || self.coming.is_empty() {
            if self.loads.is_empty() {
                let Some(place) = self.next else { return Ok(()) };
                let loads = job.plan.loads(place, self.stays, job.c.is_some());
                self.loads.extend(loads.map(|load| (place, load)));
                self.next = self.behind(place, job);
            }
            let Some(&(place, load)) = self.loads.front() else { return Ok(()) };
            let buffers = match load {
                Load::Block => &mut self.results,
                Load::Staying => &mut self.staying_panels,
                Load::Passing => &mut self.panels,
                Load::Piece => &mut self.pieces,
            };
            if !buffers.has_one() {
                return Ok(());
            }
            let elements = buffers.take()?;
            let (matrix, part) = job.part(load, place, &self.blocks[place.block]);
            let bytes = (part.elements() * size_of::<T>()) as u64;
            let reading = Reading::new(matrix.clone(), part, elements);
            let ticket = Ticket::new(reading, job.background.clone());
            self.coming.push_back(Coming { load, bytes, ticket });
            self.loads.pop_front();
        }
        Ok(())
    }

    fn behind(&self, place: Place, job: &Job) -> Option<Place> {
        let block = &self.blocks[place.block];
        job.plan.next_in_block(place, block, job.shape).or_else(|| {
            let block = place.block + 1;
            (block < self.blocks.len()).then_some(Place { block, panel: 0, piece: 0 })
        })
    }

    /// Takes what has come.
    fn receive(&mut self) -> Result<(), StepError> {
        let Some(Coming { load, bytes, ticket }) = self.coming.pop_front() else { return Ok(()) };
        let elements = ticket.finish()?.elements;
        match load {
            Load::Block => self.result = Some(elements),
            Load::Staying => self.staying.push(elements),
            Load::Passing => self.passing = Some(elements),
            Load::Piece => self.piece = Some(elements),
        }
        self.bytes_read += bytes;
        self.awaited -= 1;
        Ok(())
    }

    /// Multiplies at the place; true once that is done.
    fn multiply(
        &mut self,
        job: &Job,
        crew: &dyn Crew,
        workspace: &mut Workspace<T>,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        let Job { plan, transposed, .. } = job;
        let Place { panel, piece, .. } = self.at;
        let block = &self.blocks[self.at.block];
        let held = self.staying.get(panel).or(self.passing.as_ref()).expect("it was received");
        let held = view(held, &job.part(Load::Passing, self.at, block).1);
        let pieces = self.piece.as_ref().expect("it was received");
        let pieces = view(pieces, &job.part(Load::Piece, self.at, block).1);
        let along = plan.piece_of(piece, block);
        let across = self.part_of_held(job, block);
        let a_and_b = |held, pieces| match plan.held {
            Operand::A => (held, pieces),
            Operand::B => (pieces, held),
        };
        let (a, b): (ArrayView2<T>, ArrayView2<T>) = a_and_b(held, pieces);
        let a = if transposed.0 { a.reversed_axes() } else { a };
        let b = if transposed.1 { b.reversed_axes() } else { b };
        let (a, b, target) = match plan.held {
            Operand::A => (a.slice_move(s![across.clone(), ..]), b, s![across.clone(), along]),
            Operand::B => (a, b.slice_move(s![.., across.clone()]), s![along, across.clone()]),
        };
        let is_last = across.end == plan.width_of(block);
        let result = self.result.as_mut().expect("it was taken");
        let shape = (block.rows.len(), block.columns.len());
        let result = ArrayViewMut2::from_shape(shape, &mut result[..block.elements()]);
        let mut c = result.expect("the slice was cut to the block").slice_move(target);
        let product = match &mut self.product {
            Some(product) => product,
            none => {
                // The first terms bring beta in; the others add to what is there.
                let beta = if panel == 0 { job.beta } else { 1.0 };
                let scale = (T::from_f64(job.alpha), T::from_f64(beta));
                let views = ((a, b), c.view_mut());
                none.insert(Slices::new(job.algorithm, scale, views, job.threads, workspace)?)
            }
        };
        if !product.advance((a, b), c, crew, pause) {
            return Ok(false);
        }
        self.flops = self.flops();
        self.product.take().expect("it is there").recycle(workspace);
        self.parts_done = if is_last { 0 } else { self.parts_done + 1 };
        Ok(is_last)
    }

    /// Rows or columns of the held panel that are multiplied at once.
    fn part_of_held(&self, job: &Job, block: &Block) -> Range<usize> {
        let width = job.plan.width_of(block);
        let part = job.held_at_once(width);
        self.parts_done * part..((self.parts_done + 1) * part).min(width)
    }

    /// Leaves the place that is computed.
    fn turn_to_next(&mut self, job: &Job) {
        let block = &self.blocks[self.at.block];
        self.seen = 0;
        self.pieces.spare.extend(self.piece.take());
        let next = job.plan.next_in_block(self.at, block, job.shape);
        if next.is_none_or(|next| next.panel != self.at.panel) {
            self.panels.spare.extend(self.passing.take());
        }
        match next {
            Some(next) => {
                self.at = next;
                self.awaited = job.plan.loads(self.at, self.stays, job.c.is_some()).count();
            }
            None => self.is_computed = true,
        }
    }
}

/// What was read of a matrix, as it lies there.
fn view<'a, T>(elements: &'a [T], part: &Part) -> ArrayView2<'a, T> {
    let shape = (part.rows.len(), part.columns.len());
    ArrayView2::from_shape(shape, &elements[..part.elements()]).expect("as many as were read")
}
