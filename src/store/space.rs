//! Which parts of the slab are free.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

/// What parts begin and end at multiples of.
pub const UNIT_BYTES: u64 = 4096;

/// A part of the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub offset: u64,
    pub bytes: u64,
}

impl Extent {
    pub fn range(self) -> Range<u64> {
        self.offset..self.offset + self.bytes
    }
}

/// The free parts up to a length that may grow.
#[derive(Debug)]
pub struct Space {
    /// Length by offset. No two touch each other.
    free: BTreeMap<u64, u64>,
    free_bytes: u64,
    bytes: u64,
}

impl Space {
    /// All of so many bytes free.
    pub fn new(bytes: u64) -> Self {
        let mut space = Self { free: BTreeMap::new(), free_bytes: 0, bytes: 0 };
        space.grow(bytes);
        space
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Adds what is new at the end, if it became longer.
    pub fn grow(&mut self, bytes: u64) {
        let bytes = bytes / UNIT_BYTES * UNIT_BYTES;
        if bytes > self.bytes {
            let new = Extent { offset: self.bytes, bytes: bytes - self.bytes };
            self.bytes = bytes;
            self.give(new);
        }
    }

    /// Takes parts that have so many bytes in all: the lowest one that is long enough or, where
    /// there is none, the longest ones. `None` where not so many are free.
    pub fn allocate(&mut self, bytes: u64) -> Option<Vec<Extent>> {
        let mut missing = bytes.next_multiple_of(UNIT_BYTES);
        if missing > self.free_bytes {
            return None;
        }
        let mut extents = Vec::new();
        while missing > 0 {
            let fitting = self.free.iter().find(|(_, bytes)| **bytes >= missing);
            let longest = || self.free.iter().max_by_key(|(_, bytes)| **bytes);
            let (&offset, &there) = fitting.or_else(longest)?;
            let extent = Extent { offset, bytes: there.min(missing) };
            let is_taken = self.take(extent);
            debug_assert!(is_taken, "it is free");
            missing -= extent.bytes;
            extents.push(extent);
        }
        Some(extents)
    }

    /// Takes this part, if all of it is free.
    pub fn take(&mut self, extent: Extent) -> bool {
        let Some((&offset, &bytes)) = self.free.range(..=extent.offset).next_back() else {
            return false;
        };
        let (end, free_end) = (extent.offset.saturating_add(extent.bytes), offset + bytes);
        if end > free_end {
            return false;
        }
        self.free.remove(&offset);
        for (from, until) in [(offset, extent.offset), (end, free_end)] {
            if from < until {
                self.free.insert(from, until - from);
            }
        }
        self.free_bytes -= extent.bytes;
        true
    }

    /// Gives a part back.
    pub fn give(&mut self, extent: Extent) {
        let Extent { mut offset, mut bytes } = extent;
        self.free_bytes += bytes;
        if let Some((&before, &length)) = self.free.range(..offset).next_back() {
            debug_assert!(before + length <= offset, "a part is given back once");
            if before + length == offset {
                self.free.remove(&before);
                (offset, bytes) = (before, bytes + length);
            }
        }
        if let Some(length) = self.free.remove(&(offset + bytes)) {
            bytes += length;
        }
        self.free.insert(offset, bytes);
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    #[test]
    fn parts_are_taken_and_given_back() {
        const UNIT: u64 = UNIT_BYTES;
        let mut space = Space::new(10 * UNIT + 5);
        let first = space.allocate(1).unwrap();
        assert_eq!(first, [Extent { offset: 0, bytes: UNIT }]);
        let second = space.allocate(3 * UNIT).unwrap();
        let third = space.allocate(6 * UNIT).unwrap();
        assert_eq!((space.free_bytes(), space.allocate(1)), (0, None));
        first.iter().chain(&third).for_each(|extent| space.give(*extent));
        // No part is long enough.
        let split = space.allocate(7 * UNIT).unwrap();
        let long = Extent { offset: 4 * UNIT, bytes: 6 * UNIT };
        assert_eq!(split, [long, Extent { offset: 0, bytes: UNIT }]);
        split.iter().chain(&second).for_each(|extent| space.give(*extent));
        assert_eq!(space.free.into_iter().collect::<Vec<_>>(), [(0, 10 * UNIT)]);
    }

    #[test]
    fn no_unit_is_taken_twice_or_lost() {
        let mut random = ChaCha12Rng::seed_from_u64(5);
        let units = 300;
        let mut space = Space::new(100 * UNIT_BYTES);
        let mut owners = [None; 300];
        let mut held: Vec<(u32, Vec<Extent>)> = Vec::new();
        for round in 0..5_000 {
            space.grow(u64::from(round) / 10 * UNIT_BYTES / 2);
            if random.next_u32() % 2 == 0 {
                let bytes = u64::from(random.next_u32() % 20) * UNIT_BYTES / 2 + 1;
                let Some(extents) = space.allocate(bytes) else { continue };
                let total: u64 = extents.iter().map(|extent| extent.bytes).sum();
                assert_eq!(total, bytes.next_multiple_of(UNIT_BYTES));
                for unit in extents.iter().flat_map(|it| it.range().step_by(UNIT_BYTES as usize)) {
                    let owner = &mut owners[(unit / UNIT_BYTES) as usize];
                    assert_eq!(owner.replace(round), None);
                }
                held.push((round, extents));
            } else if !held.is_empty() {
                let at = random.next_u32() as usize % held.len();
                for extent in held.swap_remove(at).1 {
                    for unit in extent.range().step_by(UNIT_BYTES as usize) {
                        owners[(unit / UNIT_BYTES) as usize] = None;
                    }
                    space.give(extent);
                }
            }
            let taken = owners.iter().flatten().count() as u64;
            assert_eq!(space.free_bytes(), space.bytes() - taken * UNIT_BYTES);
            assert!(space.bytes() <= units * UNIT_BYTES);
        }
    }
}
