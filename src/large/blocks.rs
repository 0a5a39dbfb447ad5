//! The order of a plan: which blocks there are, and what is read for them when.

use alloc::vec::Vec;
use core::ops::Range;

use super::plan::{Operand, Plan, Strip};
use crate::gemm::Shape;

/// A part of C that is computed in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// A product of a panel and a piece, of some block of a strip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Counts the strip's blocks that are to be computed.
    pub block: usize,
    pub panel: usize,
    pub piece: usize,
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// C's block, which is added to.
    Block,
    /// A panel of the held operand, which stays.
    Staying,
    /// A panel of the held operand, for this block only.
    Passing,
    Piece,
}

/// A rectangle of an operand, before it is transposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Part {
    pub fn elements(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

impl Block {
    pub fn elements(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

impl Plan {
    /// The blocks of a strip, in their order.
    pub fn blocks(&self, strip: &Strip) -> Vec<Block> {
        let blocks = strip.edges.windows(2).map(|edges| {
            let along = edges[0]..edges[1];
            match self.held {
                Operand::A => Block { rows: strip.range.clone(), columns: along },
                Operand::B => Block { rows: along, columns: strip.range.clone() },
            }
        });
        blocks.collect()
    }

    /// Whether no row is complete before all above it are: strips lie one above the other, or there
    /// is one whose blocks do.
    pub fn is_row_by_row(&self) -> bool {
        self.held == Operand::A || self.strips.len() == 1
    }

    /// Panels of k. Where there are no terms, one without any does what is left to do.
    pub fn panels(&self, shape: Shape) -> usize {
        shape.k.div_ceil(self.terms.max(1)).max(1)
    }

    /// The terms of a panel.
    pub fn terms_of(&self, panel: usize, shape: Shape) -> Range<usize> {
        (panel * self.terms).min(shape.k)..((panel + 1) * self.terms).min(shape.k)
    }

    /// The piece of a block's rows (where B is held) or columns, counted from its first.
    pub fn piece_of(&self, piece: usize, block: &Block) -> Range<usize> {
        let length = self.length_of(block);
        piece * self.piece..((piece + 1) * self.piece).min(length)
    }

    fn pieces_of(&self, block: &Block) -> usize {
        self.length_of(block).div_ceil(self.piece)
    }

    fn length_of(&self, block: &Block) -> usize {
        match self.held {
            Operand::A => block.columns.len(),
            Operand::B => block.rows.len(),
        }
    }

    /// The other edge of a block: of the strip's width.
    pub fn width_of(&self, block: &Block) -> usize {
        match self.held {
            Operand::A => block.rows.len(),
            Operand::B => block.columns.len(),
        }
    }

    /// The place behind this one; `None` behind the block's last.
    pub fn next_in_block(&self, place: Place, block: &Block, shape: Shape) -> Option<Place> {
        let Place { panel, piece, .. } = place;
        if piece + 1 < self.pieces_of(block) {
            Some(Place { piece: piece + 1, ..place })
        } else if panel + 1 < self.panels(shape) {
            Some(Place { panel: panel + 1, piece: 0, ..place })
        } else {
            None
        }
    }

    /// What has to be read for a place that was not there for those before it.
    pub fn loads(&self, place: Place, stays: usize, is_added: bool) -> impl Iterator<Item = Load> {
        let Place { block, panel, piece } = place;
        let held = match () {
            () if piece > 0 => None,
            () if panel >= stays => Some(Load::Passing),
            () if block == 0 => Some(Load::Staying),
            () => None,
        };
        let added = (is_added && panel == 0 && piece == 0).then_some(Load::Block);
        [added, held, Some(Load::Piece)].into_iter().flatten()
    }

    /// Rows and columns of what is read, of the matrix that lies transposed or not.
    pub fn part(
        &self,
        load: Load,
        place: Place,
        block: &Block,
        shape: Shape,
        transposed: (bool, bool),
    ) -> (Option<Operand>, Part) {
        let terms = self.terms_of(place.panel, shape);
        let along = self.piece_of(place.piece, block);
        let (rows, columns) = (block.rows.clone(), block.columns.clone());
        let from = |start: usize| start + along.start..start + along.end;
        let (operand, rows, columns, is_transposed) = match (load, self.held) {
            (Load::Block, _) => return (None, Part { rows, columns }),
            (Load::Piece, Operand::A) => (Operand::B, terms, from(columns.start), transposed.1),
            (Load::Piece, Operand::B) => (Operand::A, from(rows.start), terms, transposed.0),
            (_, Operand::A) => (Operand::A, rows, terms, transposed.0),
            (_, Operand::B) => (Operand::B, terms, columns, transposed.1),
        };
        let part = match is_transposed {
            true => Part { rows: columns, columns: rows },
            false => Part { rows, columns },
        };
        (Some(operand), part)
    }
}
