//! The workspace of a product that is halved.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::super::Element;
use super::super::plan::Layout;
use super::plan::{CACHE_LINE_BYTES, Plan, Sizes};

/// What is added in: for each level the sums of A, those of B, and products.
#[derive(Debug)]
pub struct Sums<T> {
    pub(super) a: Vec<Vec<T>>,
    pub(super) b: Vec<Vec<T>>,
    pub(super) c: Vec<Vec<T>>,
}

impl<T> Default for Sums<T> {
    fn default() -> Self {
        Self { a: Vec::new(), b: Vec::new(), c: Vec::new() }
    }
}

impl<T: Element> Sums<T> {
    /// Makes room for a plan. What is new is cleared later, slice by slice.
    pub fn reserve(&mut self, plan: &Plan, layout: Layout) -> Result<(), TryReserveError> {
        for level in 0..plan.levels {
            let Sizes { a, b, c } = Sizes::new::<T>(plan, level, layout);
            let kept = plan.kept(level);
            for (levels, len) in [
                (&mut self.a, 4 * a.len()),
                (&mut self.b, 4 * b.len()),
                (&mut self.c, kept * c.len()),
            ] {
                if levels.len() <= level {
                    levels.try_reserve(1)?;
                    levels.push(Vec::new());
                }
                let len = len + CACHE_LINE_BYTES / size_of::<T>();
                let sums = &mut levels[level];
                if sums.capacity() < len {
                    // What was in it is of no use, and not worth moving.
                    *sums = Vec::new();
                    sums.try_reserve_exact(len)?;
                }
            }
        }
        Ok(())
    }

    /// Clears some elements that have never been used; false once there are none.
    pub fn clear_some(&mut self) -> bool {
        let all = self.a.iter_mut().chain(&mut self.b).chain(&mut self.c);
        let Some(sums) = all.into_iter().find(|sums| sums.len() < sums.capacity()) else {
            return false;
        };
        sums.resize(sums.capacity().min(sums.len() + CLEARED_ELEMENTS), T::default());
        true
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let all = self.a.iter().chain(&self.b).chain(&self.c);
        all.map(|sums| sums.capacity() * size_of::<T>()).sum()
    }
}

/// Elements of the workspace that a slice clears: the system may have to clear the pages first.
const CLEARED_ELEMENTS: usize = 64 << 10;
