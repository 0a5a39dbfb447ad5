//! Products in fewer than 2 m n k operations: Winograd's variant of Strassen's algorithm.
//!
//! A product is cut into quarters, and those are multiplied by seven products of half the size in
//! each dimension, where the definition takes eight, and fifteen additions. Those products are cut
//! likewise, some levels deep; the smallest are classical ones.
//!
//! ```text
//! S1 = A21 + A22    T1 = B12 - B11    P1 = A11 B11    P5 = S1 T1    U2 = P1 + P6
//! S2 = S1 - A11     T2 = B22 - T1     P2 = A12 B21    P6 = S2 T2    U3 = U2 + P7
//! S3 = A11 - A21    T3 = B22 - B12    P3 = S4 B22     P7 = S3 T3    U4 = U2 + P5
//! S4 = A12 - S2     T4 = T2 - B21     P4 = A22 T4
//!
//! C11 = P1 + P2     C12 = U4 + P3     C21 = U3 - P4     C22 = U3 + P5
//! ```
//!
//! Memory is what additions wait for. So all sums of A are made in one pass over it, all of B in
//! another, and of the products in a third, with P1, P5 and P7 in the places of C that they go to;
//! P2, P3 and P4, by -T4, are added to that as they are computed.
//!
//! # How exact it is
//!
//! With u the unit roundoff, L the levels and k0 = k / 2^L, rounded down, the terms of the smallest
//! products, the computed C differs from the exact one in no element by more than
//!
//! ```text
//! u (18^L (k0^2 + 7 k0) |alpha| max |A| max |B|  +  3 |beta| max |C|)
//! ```
//!
//! to first order in u, `max` being the largest of all elements. It is the bound of Higham,
//! Accuracy and Stability of Numerical Algorithms, second edition, section 23.2.2, equation (23.17)
//! for square matrices, `18^L (k0^2 + 6 k0) - 6 k`, whose recurrence has no dimension in it but
//! that of the sums. One k0 more is for alpha, and the term that is left out for the last addition
//! and the rim. The classical bound is one for each element by what goes into that one; this is one
//! for all by the largest of all: small elements of C may have no correct digit, which no scaling
//! of whole operands mends. Sums of operands may overflow where the product would not, and what is
//! no number spreads over more of C than by the definition.

mod passes;
mod plan;
mod rows;
mod steps;
mod sums;
mod views;
mod walk;

use alloc::collections::TryReserveError;
use core::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::kernel::{Caches, Scale};
use super::parts::{Parts, Workspace};
use super::plan::Layout;
use super::{Crew, Element, Kernel, Operands, Shape};

use passes::Pass;
pub use plan::Plan;
pub use sums::Sums;
use walk::{Step, Walk};

/// How a product is computed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// By the definition: 2 m n k operations, and the closest result.
    #[default]
    Classical,
    /// In fewer where the product is large, by Winograd's variant of Strassen's algorithm.
    StrassenWinograd,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Classical, Self::StrassenWinograd];

    /// Its name in requests and on bills.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classical => "classical",
            Self::StrassenWinograd => "strassen_winograd",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// How often a product of this shape is halved. One that is not worth it is computed
    /// classically, to the bit.
    pub fn levels(self, shape: Shape) -> usize {
        Plan::new(self, shape, false).levels
    }

    /// Operations that a product of this shape takes, where the classical one takes 2 m n k.
    pub fn executed_flops(self, shape: Shape) -> u64 {
        Plan::new(self, shape, false).executed_flops()
    }

    /// What the error of an element is no more than, in units of `u |alpha| max |A| max |B|`; beta
    /// adds `3 u |beta| max |C|`.
    pub fn error_factor(self, shape: Shape) -> f64 {
        Plan::new(self, shape, false).error_factor()
    }
}

/// A product on its way.
#[derive(Debug)]
pub struct Strassen<T: 'static> {
    kernel: Kernel,
    caches: Caches,
    plan: Plan,
    layout: Layout,
    threads: usize,
    sums: Sums<T>,
    /// What the smallest products pack in.
    packing: Workspace<T>,
    is_cleared: bool,
    walk: Walk,
    /// Rims that are done.
    rims_done: usize,
    active: Option<Active<T>>,
    leaf_flops_done: u64,
    rim_flops_done: u64,
    sum_flops_done: u64,
}

/// A step on its way.
#[derive(Debug)]
enum Active<T: 'static> {
    Pass(Pass),
    Product(Parts<T>),
}

impl<T: Element> Strassen<T> {
    /// Plans a product that is halved at least once, for so many threads, and allocates the plan's
    /// workspace, or what the given one lacks of it.
    pub fn new(
        (kernel, caches): (Kernel, Caches),
        plan: Plan,
        layout: Layout,
        threads: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<Self, TryReserveError> {
        let threads = threads.max(1);
        let len = plan.packing_len::<T>(kernel, caches, layout, threads);
        let mut packing = Workspace::default();
        packing.spare.try_reserve_exact(threads)?;
        for _ in 0..threads {
            let mut spare = workspace.spare.pop().unwrap_or_default();
            if spare.len() < len {
                spare.clear();
                spare.try_reserve_exact(len)?;
                spare.resize(len, T::default());
            }
            packing.spare.push(spare);
        }
        let mut sums = core::mem::take(&mut workspace.sums);
        sums.reserve(&plan, layout)?;
        Ok(Self {
            kernel,
            caches,
            plan,
            layout,
            threads,
            sums,
            packing,
            is_cleared: false,
            walk: Walk::new(&plan),
            rims_done: 0,
            active: None,
            leaf_flops_done: 0,
            rim_flops_done: 0,
            sum_flops_done: 0,
        })
    }

    /// Gives back what was allocated.
    pub fn recycle(self, workspace: &mut Workspace<T>) {
        workspace.spare.extend(self.packing.spare);
        workspace.sums = self.sums;
    }

    #[cfg(test)]
    pub fn workspace_bytes(&self) -> usize {
        let packing = self.packing.spare.iter().map(|spare| spare.capacity() * size_of::<T>());
        self.sums.bytes() + packing.sum::<usize>()
    }

    /// Makes one sum of A wrong, if it is there.
    #[cfg(test)]
    pub fn spoil(&mut self, level: usize) -> bool {
        let is_next =
            matches!(self.walk.step(&self.plan), Step::Product(_)) && self.active.is_none();
        if is_next {
            let start = views::start_of(&self.sums.a[level]);
            let first = &mut self.sums.a[level][start];
            *first = *first + T::from_f64(1.0);
        }
        is_next
    }

    pub fn is_complete(&self) -> bool {
        self.walk.is_complete() && self.rims_done == self.plan.rims().count()
    }

    /// Nominal operations done, of 2 m n k: as many of those of the core as it has done of its
    /// smallest products.
    pub fn flops_done(&self) -> u64 {
        let (leaf, rim) = self.flops_of_products();
        let core = u128::from(self.plan.core().flops());
        let all = u128::from(self.plan.leaves()) * u128::from(self.plan.leaf().flops());
        // No more than the core's, which is a u64.
        (core * u128::from(leaf) / all) as u64 + rim
    }

    /// Operations that were executed.
    pub fn executed_flops(&self) -> u64 {
        let (leaf, rim) = self.flops_of_products();
        leaf + rim + self.sum_flops_done
    }

    fn flops_of_products(&self) -> (u64, u64) {
        let (mut leaf, mut rim) = (self.leaf_flops_done, self.rim_flops_done);
        if let Some(Active::Product(parts)) = &self.active {
            *(if self.walk.is_complete() { &mut rim } else { &mut leaf }) += parts.flops_done();
        }
        (leaf, rim)
    }

    /// Computes slices until all is done or `pause`, which every thread asks after each, says so.
    ///
    /// # Panics
    ///
    /// Where memory that a step needs beyond the workspace, some hundred bytes, can't be had.
    pub fn advance(
        &mut self,
        operands: Operands<T>,
        scale: Scale<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        while !self.is_cleared {
            self.is_cleared = !self.sums.clear_some();
            if pause() {
                return;
            }
        }
        let mut operands = operands;
        let is_paused = AtomicBool::new(false);
        let pause = || {
            let says_so = pause();
            is_paused.fetch_or(says_so, Ordering::Relaxed);
            says_so
        };
        while !self.is_complete() && !is_paused.load(Ordering::Relaxed) {
            if self.walk.is_complete() {
                self.advance_rim(&mut operands, scale, crew, &pause);
                continue;
            }
            match self.walk.step(&self.plan) {
                Step::Sums(kind, node, level) => {
                    self.advance_pass((kind, node, level), &mut operands, scale, crew, &pause);
                }
                Step::Product(node) => self.advance_leaf(node, &mut operands, scale, crew, &pause),
            }
        }
    }
}
