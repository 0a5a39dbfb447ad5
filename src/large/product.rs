//! A product of stored matrices on its way.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::background::Ticket;
use super::blocks::Block;
use super::errands::{Address, Writing};
use super::plan::{Operand, Plan, Strip};
use super::strip::{Job, Progress, StripRun};
use super::{Counts, Running, StepError};
use crate::gemm::{Crew, Element, Extent, Shape, Workspace, workspace_bytes_by};
use crate::store::{Draft, Layout, MatrixId};

#[derive(Debug)]
pub struct ProductRun<T: 'static> {
    job: Job,
    output: Arc<Draft>,
    /// That have blocks to compute, and those blocks, the last first.
    strips: Vec<(Strip, Vec<Block>)>,
    strip: Option<StripRun<T>>,
    /// A block that is computed and waits to be written.
    computed: Option<(Block, Vec<T>)>,
    writing: Option<Ticket<Writing<T>>>,
    /// Unless it is with the writing.
    address: Option<Address>,
    workspace: Workspace<T>,
    /// The last block that was wrong.
    wrong: Option<Block>,
    /// How often a block is spoilt.
    #[cfg(test)]
    pub faults: usize,
    /// Of blocks that were there before, and of strips that are done.
    counts: Counts,
}

impl<T: Element> ProductRun<T> {
    /// Goes on where `output` has come to: blocks that are there are not computed again.
    pub fn new(mut job: Job, output: Arc<Draft>) -> Self {
        job.threads = threads_to_pack::<T>(&job);
        let layout = output.layout();
        let blocks_again = job.plan.is_checked.then_some(0);
        let mut flops_before = 0;
        let mut strips = Vec::new();
        for strip in &job.plan.strips {
            let mut blocks = job.plan.blocks(strip);
            blocks.retain(|block| {
                let tiles = layout.tiles_of(&block.rows, &block.columns);
                let is_there = tiles.iter().all(|tile| output.is_committed(tile.index));
                if is_there {
                    flops_before += flops_of(block, job.shape);
                }
                !is_there
            });
            if !blocks.is_empty() {
                strips.push((strip.clone(), blocks));
            }
        }
        strips.reverse();
        Self {
            job,
            strips,
            strip: None,
            computed: None,
            writing: None,
            address: Some(Address::new(&layout)),
            workspace: Workspace::default(),
            wrong: None,
            #[cfg(test)]
            faults: 0,
            counts: Counts { flops_before, blocks_again, ..Counts::default() },
            output,
        }
    }

    fn write(&mut self, block: Block, elements: Vec<T>) {
        self.counts.bytes_written += (block.elements() * size_of::<T>()) as u64;
        let address = self.address.take().expect("nothing is being written");
        let writing = Writing::new(self.output.clone(), block, elements, address);
        self.writing = Some(Ticket::new(writing, self.job.background.clone()));
    }

    /// A step of writing, or waits for it.
    fn write_on(&mut self) -> Result<(), StepError> {
        let writing = self.writing.take().expect("a block without a buffer waits for another");
        if !writing.advance()? {
            self.writing = Some(writing);
            return Ok(());
        }
        let Writing { elements, mut address, .. } = writing.finish()?;
        self.counts.bytes_read += address.take_read_bytes();
        self.address = Some(address);
        if let Some(strip) = &mut self.strip {
            strip.give_back(elements);
        }
        Ok(())
    }

    /// A block is wrong, by this row or column of it. What is in memory may be: all of it is read
    /// again, and the block is computed once more, but not for ever.
    fn compute_again(&mut self, line: usize) -> Result<(), StepError> {
        let Some(strip) = self.strip.take() else { return Ok(()) };
        self.counts = with(self.counts, &strip);
        let (strip, blocks) = strip.into_rest();
        let Block { rows, columns } = blocks[0].clone();
        if self.wrong == blocks.first().cloned() {
            return Err(StepError::Wrong { row: rows.start, column: columns.start, line });
        }
        self.counts.flops -= flops_of(&blocks[0], self.job.shape);
        self.counts.blocks_again = self.counts.blocks_again.map(|blocks| blocks + 1);
        self.wrong = Some(blocks[0].clone());
        self.strips.push((strip, blocks));
        Ok(())
    }

    /// Begins the next strip, or ends. Rows that are there and have not gone by, of an earlier run,
    /// are read before, so that those behind them can go by.
    fn begin_or_end(&mut self) -> Result<bool, StepError> {
        let Layout { rows, .. } = self.output.layout();
        let until = match self.strips.last() {
            None => rows,
            Some((_, blocks)) if self.job.plan.is_row_by_row() => blocks[0].rows.start,
            Some(_) => 0,
        };
        let address = self.address.as_mut().expect("nothing is being written");
        if address.read_on(&self.output, until)? {
            self.counts.bytes_read += address.take_read_bytes();
            return Ok(false);
        }
        match self.strips.pop() {
            None => Ok(true),
            Some((strip, blocks)) => {
                self.strip = Some(StripRun::new(&self.job, strip, blocks)?);
                Ok(false)
            }
        }
    }
}

impl<T: Element> Running for ProductRun<T> {
    fn step(
        &mut self,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        // What nobody writes meanwhile is written before anything else, so that it lasts.
        let is_alone = self.job.background.is_none();
        if self.writing.is_some() && (is_alone || self.computed.is_some() || self.strip.is_none()) {
            self.write_on()?;
            return Ok(false);
        }
        if let Some((block, elements)) = self.computed.take() {
            self.write(block, elements);
            return Ok(false);
        }
        let Some(strip) = &mut self.strip else { return self.begin_or_end() };
        #[cfg(test)]
        if self.faults > 0 && strip.spoil() {
            self.faults -= 1;
        }
        match strip.step(&self.job, crew, &mut self.workspace, pause)? {
            Progress::Goes => {}
            Progress::NeedsBuffer => self.write_on()?,
            Progress::Computed(block, elements) => self.computed = Some((block, elements)),
            Progress::Wrong(line) => self.compute_again(line)?,
            Progress::Ended => {
                self.counts = with(self.counts, strip);
                // Its buffers go before those of the next come.
                self.strip = None;
            }
        }
        Ok(false)
    }

    fn counts(&self) -> Counts {
        self.strip.as_ref().map_or(self.counts, |strip| with(self.counts, strip))
    }

    fn id(&self) -> Option<MatrixId> {
        let address = self.address.as_ref()?;
        address.id(self.output.layout())
    }
}

fn flops_of(block: &Block, shape: Shape) -> u64 {
    Shape { m: block.rows.len(), n: block.columns.len(), k: shape.k }.flops()
}

/// And what a strip has done.
fn with<T: Element>(counts: Counts, strip: &StripRun<T>) -> Counts {
    let (flops, executed_flops) = strip.flops();
    Counts {
        flops: counts.flops + flops,
        executed_flops: counts.executed_flops + executed_flops,
        bytes_read: counts.bytes_read + strip.bytes_read,
        ..counts
    }
}

/// As many of the threads as there is memory for to pack in.
fn threads_to_pack<T: Element>(job: &Job) -> usize {
    let Plan { held, terms, piece, workspace_bytes, .. } = job.plan;
    let width = job.plan.strips.iter().map(|strip| strip.range.len()).max().unwrap_or(0);
    let width = job.held_at_once(width);
    let (m, n) = match held {
        Operand::A => (width, piece),
        Operand::B => (piece, width),
    };
    let lying = |rows, columns, transposed| match transposed {
        true => Extent { start: 0, rows: columns, columns: rows, transposed },
        false => Extent { start: 0, rows, columns, transposed },
    };
    let a_and_b = (lying(m, terms, job.transposed.0), lying(terms, n, job.transposed.1));
    let fits = |threads: &usize| {
        workspace_bytes_by::<T>(job.algorithm, a_and_b, true, *threads) <= workspace_bytes
    };
    (1..=job.threads).rev().find(fits).unwrap_or(1)
}
