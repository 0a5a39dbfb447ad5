//! The strips and blocks of the least traffic, for one held operand and so many buffers.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Buffers, Operand, PIECES_MAX, PIECES_MIN, Plan, Problem, Rules, Strip, Traffic, unit};
use crate::gemm::Shape;

/// The problem as the held operand sees it: strips lie across, blocks go down.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    held: Operand,
    buffers: Buffers,
    pub across: usize,
    pub down: usize,
    k: usize,
    /// Edges of a tile of C, no longer than C.
    pub tile_across: usize,
    pub tile_down: usize,
    pub terms: usize,
    grain: usize,
    is_added: bool,
    rules: Rules,
    /// Elements that take as much memory as one of a check's vectors; none where there is no check.
    checked: usize,
}

/// How a strip is cut into blocks.
#[derive(Clone, Copy, Debug)]
struct Cut {
    blocks: usize,
    longest: usize,
    last: usize,
    stays: usize,
}

impl Sides {
    pub fn new(problem: &Problem, held: Operand, buffers: Buffers) -> Self {
        let Problem { shape: Shape { m, n, k }, tile: (tile_rows, tile_columns), .. } = *problem;
        let (across, down, tile_across, tile_down) = match held {
            Operand::B => (n, m, tile_columns, tile_rows),
            Operand::A => (m, n, tile_rows, tile_columns),
        };
        let vector_bytes = if problem.is_checked { size_of::<f64>() } else { 0 };
        Self {
            held,
            buffers,
            across,
            down,
            k,
            tile_across: tile_across.min(across),
            tile_down: tile_down.min(down),
            terms: problem.grain.min(k),
            grain: problem.grain,
            is_added: problem.is_added,
            rules: problem.rules,
            checked: vector_bytes / problem.element_bytes,
        }
    }

    pub fn panels(&self) -> usize {
        if self.k == 0 { 0 } else { self.k.div_ceil(self.terms) }
    }

    /// The length of pieces in blocks so long. Where panels have few terms, pieces are longer.
    pub fn piece(&self, block: usize) -> usize {
        let elements = self.grain * self.grain;
        let whole = (elements / self.terms.max(64)) / self.grain * self.grain;
        whole.max(self.grain).min(block)
    }

    /// Elements that are in memory where a strip is so wide, its blocks so long, and so many panels
    /// stay.
    pub fn elements(&self, width: usize, block: usize, stays: usize) -> usize {
        let passing = (self.panels() - stays).min(self.buffers.panels);
        let held = (stays * self.terms).min(self.k) + passing * self.terms;
        (self.buffers.results)
            .saturating_mul(block)
            .saturating_add(held)
            .saturating_mul(width)
            .saturating_add(PIECES_MIN * self.piece(block) * self.terms)
            .saturating_add(self.check_elements(width, block, stays))
    }

    /// The vectors of a check: two of the strip's width, three as long as a block, and two of the
    /// terms of each panel that stays and one that passes.
    fn check_elements(&self, width: usize, block: usize, stays: usize) -> usize {
        let terms = (stays + 1).saturating_mul(self.terms);
        let elements = width.saturating_add(terms).saturating_mul(2);
        elements.saturating_add(block.saturating_mul(3)).saturating_mul(self.checked)
    }

    pub fn plan(&self, room: usize, workspace_bytes: usize) -> Option<Plan> {
        let strips = match self.held {
            _ if self.across == 0 || self.down == 0 => Vec::new(),
            // Rows go by in order where the blocks are as wide as C.
            Operand::B => {
                let whole = self.strip(0..self.across, room);
                let cut = self.best_strips(room);
                match (whole, cut) {
                    (Some((cost, strip)), Some((cut_cost, strips))) => {
                        let all = self.across as u64 * self.down as u64;
                        if cost <= cut_cost + all { vec![strip] } else { strips }
                    }
                    (Some((_, strip)), None) => vec![strip],
                    (None, cut) => cut?.1,
                }
            }
            Operand::A => self.best_strips(room)?.1,
        };
        let (piece, used) = strips.iter().fold((0, 0), |(piece, used), strip| {
            let elements = self.elements(strip.range.len(), strip.block, strip.stays);
            (self.piece(strip.block).max(piece), elements.max(used))
        });
        let more = (room - used).checked_div(piece * self.terms).unwrap_or(0);
        Some(Plan {
            held: self.held,
            grain: self.grain,
            terms: self.terms,
            piece,
            pieces: (PIECES_MIN + more).min(PIECES_MAX),
            buffers: self.buffers,
            traffic: self.traffic(&strips),
            strips,
            workspace_bytes,
            is_checked: self.checked > 0,
        })
    }

    /// The strips of the least traffic together: for a number of units, the last strip and what is
    /// best before it.
    fn best_strips(&self, room: usize) -> Option<(u64, Vec<Strip>)> {
        let unit = unit(self.across, self.tile_across);
        let units = self.across.div_ceil(unit);
        let cost = |range: Range<usize>| self.best_cut(range.len(), room).map(|(cost, _)| cost);
        // Strips of equal width differ in nothing else. The last may end within a unit.
        let within: Vec<_> = (1..=units).map(|units| cost(0..units * unit)).collect();
        let at_end: Vec<_> = match self.rules {
            Rules::First => {
                (1..=units).map(|units| cost(0..(units * unit).min(self.across))).collect()
            }
            Rules::Second => {
                (1..=units).map(|width| cost((units - width) * unit..self.across)).collect()
            }
        };
        let mut best: Vec<Option<(u64, usize)>> = vec![None; units + 1];
        best[0] = Some((0, 0));
        for until in 1..=units {
            let costs = if until == units { &at_end } else { &within };
            for width in (1..=until).rev() {
                let (Some((before, _)), Some(cost)) = (best[until - width], costs[width - 1])
                else {
                    continue;
                };
                if best[until].is_none_or(|(least, _)| before + cost < least) {
                    best[until] = Some((before + cost, width));
                }
            }
        }
        let mut strips = Vec::new();
        let mut until = units;
        while until > 0 {
            let (_, width) = best[until]?;
            let range = (until - width) * unit..(until * unit).min(self.across);
            strips.push(self.strip(range, room)?.1);
            until -= width;
        }
        strips.reverse();
        Some((best[units]?.0, strips))
    }

    /// A strip that is cut as well as can be, and what it moves.
    fn strip(&self, range: Range<usize>, room: usize) -> Option<(u64, Strip)> {
        let (cost, Cut { blocks, longest, stays, .. }) = self.best_cut(range.len(), room)?;
        let unit = unit(self.down, self.tile_down);
        let units = self.down.div_ceil(unit);
        let edge = |block: usize| match self.rules {
            Rules::First => block * longest,
            Rules::Second => block * units / blocks * unit,
        };
        let edges = (0..=blocks).map(|block| edge(block).min(self.down)).collect();
        Some((cost, Strip { range, block: longest, edges, stays }))
    }

    /// The blocks of the least traffic for a strip so wide, and the smallest of those: less is lost
    /// with them.
    fn best_cut(&self, width: usize, room: usize) -> Option<(u64, Cut)> {
        let panels = self.panels();
        let unit = unit(self.down, self.tile_down);
        let units = self.down.div_ceil(unit.max(1));
        let mut best: Option<(u64, Cut)> = None;
        for size in 1..=units {
            let cut = match self.rules {
                Rules::First => self.cut_by_length(size * unit),
                Rules::Second => self.cut_by_count(units + 1 - size, units, unit),
            };
            let whole = if cut.blocks > 1 { panels } else { 0 };
            let fits = |stays| self.elements(width, cut.longest, stays) <= room;
            let stays = match fits(whole) {
                true => whole,
                false if !fits(0) => break,
                false => {
                    let taken = self.elements(width, cut.longest, 0);
                    let each = self.terms * (width + 2 * self.checked);
                    ((room - taken) / each).min(panels - 1)
                }
            };
            let cut = Cut { stays, ..cut };
            let cost = self.cost(width, cut);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, cut));
            }
        }
        best
    }

    /// Blocks of one length, but for the last.
    fn cut_by_length(&self, length: usize) -> Cut {
        let longest = length.min(self.down);
        let blocks = self.down.div_ceil(longest);
        Cut { blocks, longest, last: self.down - (blocks - 1) * longest, stays: 0 }
    }

    /// So many blocks of as many whole units as can be equal. The last unit may be shorter, so that
    /// the last block has one more where some have.
    fn cut_by_count(&self, blocks: usize, units: usize, unit: usize) -> Cut {
        let last = self.down - (blocks - 1) * units / blocks * unit;
        // Where it is the only one with one more unit, others may be longer nevertheless.
        let is_alone = blocks > 1 && units % blocks == 1;
        let others = if is_alone { units / blocks } else { units.div_ceil(blocks) };
        let longest = if blocks > 1 { last.max(others * unit) } else { last };
        Cut { blocks, longest, last, stays: 0 }
    }

    /// Elements of A, B and C that a strip moves, those read again included.
    fn cost(&self, width: usize, cut: Cut) -> u64 {
        let results = width as u64 * self.down as u64;
        self.reads(width, cut.blocks, cut.stays) + results + self.again(width, cut)
    }

    /// Elements of a strip that are read again to find the address, if strips lie one above the
    /// other.
    fn again(&self, width: usize, cut: Cut) -> u64 {
        let results = width as u64 * self.down as u64;
        match (self.held, self.rules) {
            (Operand::B, _) => 0,
            (Operand::A, _) if cut.blocks == 1 => 0,
            (Operand::A, Rules::First) => results,
            (Operand::A, Rules::Second) => width as u64 * (self.down - cut.last) as u64,
        }
    }

    fn reads(&self, width: usize, blocks: usize, stays: usize) -> u64 {
        let (width, k, down) = (width as u64, self.k as u64, self.down as u64);
        let stays = (stays * self.terms).min(self.k) as u64;
        let held = width * (stays + (k - stays) * blocks as u64);
        let added = if self.is_added { width * down } else { 0 };
        held + down * k + added
    }

    fn traffic(&self, strips: &[Strip]) -> Traffic {
        let all = self.across as u64 * self.down as u64;
        let again = |strip: &Strip| strip.range.len() as u64 * strip.edges_of_last().start as u64;
        let read_again = match self.held {
            Operand::B if strips.len() > 1 => all,
            Operand::B => 0,
            Operand::A if self.rules == Rules::First => {
                // From the first strip on whose rows come in parts.
                let in_order = strips.iter().take_while(|strip| strip.block == self.down);
                let in_order = in_order.map(|strip| strip.range.len() as u64 * self.down as u64);
                all - in_order.sum::<u64>()
            }
            Operand::A => strips.iter().map(again).sum(),
        };
        let reads =
            |strip: &Strip| self.reads(strip.range.len(), strip.edges.len() - 1, strip.stays);
        Traffic { read: strips.iter().map(reads).sum(), written: all, read_again }
    }
}
