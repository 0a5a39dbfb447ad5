//! The digests of a job's matrices, found in bounded slices.
//!
//! A matrix that lies row by row is hashed where it lies. One that lies column by column is
//! gathered into rows, some at a time, in a buffer that is promised with the job.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::gemm::{Element, Extent};
use crate::ledger::hash::Hash;

/// Bytes hashed between two chances to pause: some twenty microseconds. Much less of them at once
/// would not fill the vectors that chunks of 1024 bytes are hashed in side by side.
const SLICE_BYTES: usize = 128 * 1024;

/// The buffer that rows are gathered in. It stays in the second-level cache, and has a cache line's
/// worth of rows up to the length of 4096 elements of `f64`, so that each line is fetched once.
const GATHERED_BYTES_MAX: usize = 256 * 1024;

/// How far the hashing of a matrix has come.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    /// None until the first slice has been hashed: most matrices have only that.
    hasher: Option<Box<blake3::Hasher>>,
    elements_done: usize,
}

/// Bytes of the buffer that hashing a matrix takes besides it.
pub(crate) fn gathered_bytes<T>(extent: Extent) -> usize {
    if is_by_rows(extent) {
        return 0;
    }
    GATHERED_BYTES_MAX.min(extent.rows * extent.columns * size_of::<T>())
}

/// Whether the operand's elements lie in the order of its rows.
fn is_by_rows(extent: Extent) -> bool {
    !extent.transposed || extent.rows <= 1 || extent.columns <= 1
}

impl Hashing {
    /// Hashes an operand until `pause` says so, and shows each piece to `see`, with the place of
    /// its first element, while the caches have it; its digest once all of it is hashed. Fails
    /// where there is no memory for [`gathered_bytes`].
    pub fn advance_operand<T: Element>(
        &mut self,
        buffer: &[T],
        extent: Extent,
        see: &mut dyn FnMut(usize, &[T]),
        pause: &dyn Fn() -> bool,
    ) -> Result<Option<Hash>, TryReserveError> {
        let elements = extent.elements(buffer);
        if is_by_rows(extent) {
            return Ok(self.advance(elements, see, pause));
        }
        let mut gathered = Vec::new();
        gathered.try_reserve_exact(gathered_bytes::<T>(extent) / size_of::<T>())?;
        gathered.resize(gathered_bytes::<T>(extent) / size_of::<T>(), T::default());
        if gathered.len() == elements.len() {
            gather(elements, extent, 0, &mut gathered);
            see(0, &gathered);
            return Ok(Some(hash(&gathered)));
        }
        while self.elements_done < elements.len() {
            let count = gather(elements, extent, self.elements_done, &mut gathered);
            see(self.elements_done, &gathered[..count]);
            self.push(&gathered[..count]);
            if pause() {
                break;
            }
        }
        Ok((self.elements_done == elements.len()).then(|| self.finish()))
    }

    /// As for an operand, of elements that lie row by row.
    pub fn advance<T: Element>(
        &mut self,
        elements: &[T],
        see: &mut dyn FnMut(usize, &[T]),
        pause: &dyn Fn() -> bool,
    ) -> Option<Hash> {
        if size_of_val(elements) <= SLICE_BYTES {
            see(0, elements);
            return Some(hash(elements));
        }
        while self.elements_done < elements.len() {
            let rest = &elements[self.elements_done..];
            let piece = &rest[..rest.len().min(SLICE_BYTES / size_of::<T>())];
            see(self.elements_done, piece);
            self.push(piece);
            if pause() {
                break;
            }
        }
        (self.elements_done == elements.len()).then(|| self.finish())
    }

    fn push<T: Element>(&mut self, elements: &[T]) {
        let hasher = self.hasher.get_or_insert_with(|| Box::new(blake3::Hasher::new()));
        hasher.update(bytemuck::cast_slice(elements));
        self.elements_done += elements.len();
    }

    fn finish(&self) -> Hash {
        let hash = self.hasher.as_ref().map_or_else(|| blake3::hash(&[]), |it| it.finalize());
        Hash(hash.into())
    }
}

fn hash<T: Element>(elements: &[T]) -> Hash {
    Hash(blake3::hash(bytemuck::cast_slice(elements)).into())
}

/// Copies the elements of a transposed operand from the `done`th on, counted row by row of the
/// operand, to where they are next to each other: whole rows, or a part of one that is longer than
/// the buffer. How many they were.
fn gather<T: Copy>(elements: &[T], extent: Extent, done: usize, gathered: &mut [T]) -> usize {
    /// Rows side by side: a cache line in `f64`.
    const LINE: usize = 8;
    let (rows, columns) = extent.shape();
    let (row, column) = (done / columns, done % columns);
    // Column `p` of the operand lies as row `p` of what is stored.
    let stored = |p: usize| &elements[p * rows..(p + 1) * rows];
    if columns > gathered.len() {
        let end = columns.min(column + gathered.len());
        gathered.iter_mut().zip(column..end).for_each(|(to, p)| *to = stored(p)[row]);
        return end - column;
    }
    let end = rows.min(row + gathered.len() / columns);
    for first in (row..end).step_by(LINE) {
        let last = end.min(first + LINE);
        let to = &mut gathered[(first - row) * columns..(last - row) * columns];
        for p in 0..columns {
            for (line, element) in stored(p)[first..last].iter().enumerate() {
                to[line * columns + p] = *element;
            }
        }
    }
    (end - row) * columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// The digest of an operand that lies in a buffer with others, by its definition, and as it is
    /// found with a pause at every chance.
    fn check<T: Element>(rows: usize, columns: usize, transposed: bool) {
        let start = 3;
        let mut buffer: Vec<T> =
            (0..start + rows * columns + 2).map(|at| T::from_u64(at as u64 * 77 % 1013)).collect();
        let extent = Extent { start, rows, columns, transposed };
        let (m, k) = extent.shape();
        let at = |i: usize, p: usize| if transposed { p * columns + i } else { i * columns + p };
        let ordered: Vec<T> =
            (0..m * k).map(|index| buffer[start + at(index / k, index % k)]).collect();
        let expected = hash(&ordered);
        for pauses in [false, true] {
            let mut hashing = Hashing::default();
            let slices = Cell::new(0);
            let pause = || {
                slices.set(slices.get() + 1);
                pauses
            };
            let mut seen = Vec::new();
            let mut see = |first: usize, piece: &[T]| {
                assert_eq!(first, seen.len());
                seen.extend_from_slice(piece);
            };
            let found = loop {
                let digest = hashing.advance_operand(&buffer, extent, &mut see, &pause);
                if let Some(digest) = digest.expect("memory") {
                    break digest;
                }
            };
            assert_eq!(found, expected, "{rows} x {columns} {transposed} {pauses}");
            assert!(seen == ordered, "{rows} x {columns} {transposed} {pauses}");
            let bytes = m * k * size_of::<T>();
            assert!(slices.get() >= bytes / GATHERED_BYTES_MAX, "{rows} x {columns}");
        }
        // Each element counts.
        if let Some(last) = (rows * columns).checked_sub(1) {
            buffer[start + last] = T::from_f64(-1.0);
            let mut hashing = Hashing::default();
            let changed = hashing.advance_operand(&buffer, extent, &mut |_, _| {}, &|| false);
            assert_ne!(changed.expect("memory"), Some(expected));
        }
    }

    #[test]
    fn an_operand_is_hashed_as_it_is_multiplied() {
        let sizes = [(0, 3), (3, 0), (1, 1), (2, 3), (1, 40000), (40000, 1), (7, 9), (100, 257)];
        let long = [(33, 1024), (300, 300), (9, 70_000), (70_000, 3), (2, 40_000)];
        for (rows, columns) in sizes.into_iter().chain(long) {
            for transposed in [false, true] {
                check::<f64>(rows, columns, transposed);
                check::<f32>(rows, columns, transposed);
            }
        }
    }
}
