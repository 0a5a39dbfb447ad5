//! Whether a block of a product is what its operands make of it: Freivalds' check, as
//! [`Residual`](crate::gemm::Residual) does it, of what goes by anyway.
//!
//! With a vector r as long as the strip is wide, where B is held,
//!
//! ```text
//! t = B r         of each panel, as it comes; of those that stay, once
//! y += alpha A t  of each piece
//! y -= C r        of the block, before it is written
//! ```
//!
//! and with r from the left, `t = r A`, `y += alpha t B`, `y -= r C`, where A is. What is left of y
//! is rounding, or an element is wrong. By the classical algorithm it is no more than the bound
//! that `Residual` has. With fewer operations, each element of the product of a panel is off by as
//! much as
//! [`Algorithm::error_factor`] says, and adding the panels up rounds the sum of all before:
//!
//! ```text
//! 3/2 u sum |r| panels ((factor + 3 k) |alpha| max |A| max |B|  +  3 |beta| max |C|)
//! ```
//!
//! besides. Where an operand is not finite, or sums may have overflowed, nothing is said.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use super::blocks::{Block, Part};
use super::plan::{Operand, Plan, Strip};
use super::strip::Job;
use crate::gemm::residual::{bound, contract, largest, vector, zeros};
use crate::gemm::{Algorithm, Element, Shape};
use crate::ledger::hash::Hash;

/// That are seen in one step.
const ELEMENTS_AT_ONCE: usize = 1 << 20;

/// What a part is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// C as it comes.
    Addend,
    /// A panel of the held operand.
    Held(usize),
    /// A piece of the other, of these of the block's rows or columns.
    Piece(usize, Range<usize>),
    /// The block, when it is computed.
    Result,
}

/// Vectors of a check: sums, and sums of magnitudes.
type Sums = (Vec<f64>, Vec<f64>);

#[derive(Debug)]
pub struct Check {
    held: Operand,
    transposed: (bool, bool),
    alpha: f64,
    beta: f64,
    k: usize,
    terms: usize,
    panels: usize,
    /// Of the product of a panel and a piece, unless it is classical.
    error_factor: Option<f64>,
    r: Sums,
    /// Of the panels that stay.
    staying: Vec<Sums>,
    stays: usize,
    passing: Sums,
    y: Sums,
    /// For magnitudes that nobody asks for.
    unused: Vec<f64>,
    /// Of A, B and C in this block, where they are asked for.
    largest: [f64; 3],
    /// Rows of a part that were seen.
    row: usize,
}

impl Check {
    /// Of the blocks of a strip.
    pub fn new(job: &Job, strip: &Strip) -> Result<Self, TryReserveError> {
        let Job { plan, shape, algorithm, .. } = job;
        let width = strip.range.len();
        let text = alloc::format!(
            "gemmule check\n{}\n{}\n{:?}\n{:?}",
            job.a.id(),
            job.b.id(),
            plan.held,
            strip.range
        );
        let Hash(seed) = Hash::of(text.as_bytes());
        let sums = |count| Ok::<_, TryReserveError>((zeros(count)?, zeros(count)?));
        Ok(Self {
            held: plan.held,
            transposed: job.transposed,
            alpha: job.alpha,
            beta: job.beta,
            k: shape.k,
            terms: plan.terms,
            panels: plan.panels(*shape),
            error_factor: match algorithm {
                Algorithm::Classical => None,
                _ => Some(algorithm.error_factor(shape_of_products(job, width))),
            },
            r: vector(width, seed)?,
            staying: Vec::new(),
            stays: strip.stays,
            passing: sums(plan.terms)?,
            y: sums(strip.block)?,
            unused: zeros(strip.block)?,
            largest: [0.0; 3],
            row: 0,
        })
    }

    /// Whether all of a panel was seen, and stays.
    pub fn has_seen(&self, panel: usize) -> bool {
        panel < self.staying.len() && self.row == 0
    }

    /// Takes the next rows of a part; true once all are seen.
    pub fn see<T: Element>(
        &mut self,
        seen: &Seen,
        elements: &[T],
        part: &Part,
    ) -> Result<bool, TryReserveError> {
        let (rows, columns) = (part.rows.len(), part.columns.len());
        let end = (self.row + (ELEMENTS_AT_ONCE / columns.max(1)).max(1)).min(rows);
        let some = mem::replace(&mut self.row, end)..end;
        let elements = &elements[some.start * columns..some.end * columns];
        if let Seen::Held(panel) = *seen
            && some.start == 0
        {
            self.begin_panel(panel)?;
        }
        let (operand, is_transposed) = match (seen, self.held) {
            (Seen::Addend | Seen::Result, _) => (2, false),
            (Seen::Held(_), Operand::A) | (Seen::Piece(..), Operand::B) => (0, self.transposed.0),
            _ => (1, self.transposed.1),
        };
        if self.error_factor.is_some() && *seen != Seen::Result {
            self.largest[operand] = self.largest[operand].max(largest(elements));
        }
        // Whether sums are of columns.
        let is_turned = (self.held == Operand::A) != is_transposed;
        let (from, to) = if is_turned { (some, 0..columns) } else { (0..columns, some) };
        let image = match seen {
            Seen::Held(panel) | Seen::Piece(panel, _) if *panel < self.staying.len() => {
                &mut self.staying[*panel]
            }
            _ => &mut self.passing,
        };
        let (factor, v, into, to) = match seen {
            Seen::Held(_) => (1.0, &self.r, (&mut image.0, &mut image.1), to),
            Seen::Piece(_, along) => {
                let to = along.start + to.start..along.start + to.end;
                (self.alpha, &*image, (&mut self.y.0, &mut self.y.1), to)
            }
            Seen::Addend => (self.beta, &self.r, (&mut self.y.0, &mut self.y.1), to),
            Seen::Result => (-1.0, &self.r, (&mut self.y.0, &mut self.unused), to),
        };
        let v = (&v.0[from.clone()], &v.1[from]);
        contract(elements, v, factor, (&mut into.0[to.clone()], &mut into.1[to]), is_turned);
        if end == rows {
            self.row = 0;
            self.add_least::<T>(seen);
        }
        Ok(end == rows)
    }

    /// Whether no part is half seen.
    #[cfg(test)]
    pub fn has_begun_nothing(&self) -> bool {
        self.row == 0
    }

    fn begin_panel(&mut self, panel: usize) -> Result<(), TryReserveError> {
        if panel < self.stays {
            assert_eq!(panel, self.staying.len(), "panels that stay come one after the other");
            self.staying.try_reserve_exact(self.stays - panel)?;
            self.staying.push((zeros(self.terms)?, zeros(self.terms)?));
        } else {
            self.passing.0.fill(0.0);
            self.passing.1.fill(0.0);
        }
        Ok(())
    }

    /// What underflows where a kernel scales an operand first is less than this.
    fn add_least<T: Element>(&mut self, seen: &Seen) {
        let scaled = self.alpha.abs().min(1.0);
        let width = self.r.0.len() as f64;
        match seen {
            Seen::Held(panel) => {
                let least = if scaled == 0.0 { 0.0 } else { T::MIN_POSITIVE / scaled };
                let (_, magnitudes) = self.staying.get_mut(*panel).unwrap_or(&mut self.passing);
                magnitudes.iter_mut().for_each(|magnitude| *magnitude += 2.0 * least * width);
            }
            Seen::Piece(panel, along) => {
                let (_, magnitudes) = self.staying.get(*panel).unwrap_or(&self.passing);
                let least = T::MIN_POSITIVE * magnitudes.iter().sum::<f64>();
                self.y.1[along.clone()].iter_mut().for_each(|magnitude| *magnitude += least);
            }
            Seen::Addend | Seen::Result => {}
        }
    }

    /// Whether a block can be what its operands make of it, when all has been seen: else which of
    /// its rows, or columns where A is held, can't. Makes ready for the next block.
    pub fn judge<T: Element>(&mut self, block: &Block) -> Result<(), usize> {
        let (width, length) = match self.held {
            Operand::A => (block.rows.len(), block.columns.len()),
            Operand::B => (block.columns.len(), block.rows.len()),
        };
        let verdict = self.wrong_line::<T>(width, length).map_or(Ok(()), Err);
        let (sums, magnitudes) = &mut self.y;
        sums.fill(0.0);
        magnitudes.fill(0.0);
        self.largest = [0.0; 3];
        verdict
    }

    fn wrong_line<T: Element>(&self, width: usize, length: usize) -> Option<usize> {
        let (alpha, beta) = (self.alpha.abs(), self.beta.abs());
        let bound = bound::<T>(width, self.k)?;
        let terms = self.k.max(1) as f64 * width as f64;
        let least = 4.0 * terms * (1.0 + alpha + beta) * T::MIN_POSITIVE;
        let most = T::MAX / 4.0 * alpha.min(1.0);
        let fewer = match self.error_factor {
            None => 0.0,
            Some(factor) => {
                let [a, b, c] = self.largest;
                let of_products = (factor + 3.0 * self.k as f64) * alpha * a * b;
                let each = self.panels as f64 * (of_products + 3.0 * beta * c);
                // Sums within may have overflowed.
                let is_within = each <= most && factor * a <= most && factor * b <= most;
                if !is_within {
                    return None;
                }
                1.5 * T::UNIT_ROUNDOFF * self.r.1.iter().sum::<f64>() * each
            }
        };
        (0..length).find(|&line| {
            let (rest, magnitude) = (self.y.0[line], self.y.1[line]);
            let is_finite = magnitude + least <= most;
            let is_right = rest.abs() <= bound * (magnitude + least) + fewer;
            is_finite && !is_right
        })
    }
}

/// The largest product of a panel and a piece.
fn shape_of_products(job: &Job, width: usize) -> Shape {
    let Plan { held, terms, piece, .. } = job.plan;
    let width = job.held_at_once(width);
    match held {
        Operand::A => Shape { m: width, n: piece, k: terms },
        Operand::B => Shape { m: piece, n: width, k: terms },
    }
}
