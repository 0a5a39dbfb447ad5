//! How the elements of a matrix lie on the slab: in tiles, so that a part of it is read in long
//! runs whatever its shape, and each tile has a checksum.

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::formats::npy_head;
use crate::gemm::{Dtype, Shape};

/// Elements of a whole tile.
const TILE_ELEMENTS: usize = 1 << 20;
/// The edge of a square one.
const TILE_EDGE: usize = 1 << 10;

/// The shape of a matrix, from which it follows where its elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub dtype: Dtype,
    pub rows: usize,
    pub columns: usize,
}

/// A tile of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Tiles are numbered row of tiles by row of tiles, and lie in that order.
    pub index: usize,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Tile {
    pub fn elements(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

impl Layout {
    /// Bytes of its elements.
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.columns as u64 * self.dtype.bytes() as u64
    }

    /// Rows of a tile that is not the last of a column of tiles: 1024, or more where the matrix is
    /// narrower than that.
    pub fn tile_rows(&self) -> usize {
        TILE_ELEMENTS / self.tile_columns()
    }

    /// Columns of a tile that is not the last of a row of tiles: 1024, fewer where the matrix has
    /// fewer, and more where it has fewer rows.
    pub fn tile_columns(&self) -> usize {
        let width = self.columns.next_power_of_two().min(TILE_ELEMENTS);
        let height = self.rows.next_power_of_two().min(TILE_ELEMENTS);
        width.min(TILE_EDGE.max(TILE_ELEMENTS / height))
    }

    /// Rows of tiles.
    pub fn tiles_down(&self) -> usize {
        self.rows.div_ceil(self.tile_rows())
    }

    /// Tiles in a row of tiles.
    pub fn tiles_across(&self) -> usize {
        self.columns.div_ceil(self.tile_columns())
    }

    pub fn tiles(&self) -> usize {
        self.tiles_down() * self.tiles_across()
    }

    /// The tile in this place, each counted in tiles.
    pub fn tile(&self, down: usize, across: usize) -> Tile {
        let (height, width) = (self.tile_rows(), self.tile_columns());
        Tile {
            index: down * self.tiles_across() + across,
            rows: down * height..((down + 1) * height).min(self.rows),
            columns: across * width..((across + 1) * width).min(self.columns),
        }
    }

    /// The tile of this number.
    pub fn tile_at(&self, index: usize) -> Tile {
        self.tile(index / self.tiles_across(), index % self.tiles_across())
    }

    /// The tiles that have elements in common with this block.
    pub fn tiles_of(&self, rows: &Range<usize>, columns: &Range<usize>) -> Vec<Tile> {
        if rows.is_empty() || columns.is_empty() {
            return Vec::new();
        }
        let down = rows.start / self.tile_rows()..rows.end.div_ceil(self.tile_rows());
        let across = columns.start / self.tile_columns()..columns.end.div_ceil(self.tile_columns());
        down.flat_map(|down| across.clone().map(move |across| self.tile(down, across))).collect()
    }

    /// Where a tile begins, in bytes from the matrix's first.
    pub fn tile_offset(&self, tile: &Tile) -> u64 {
        let above = tile.rows.start as u64 * self.columns as u64;
        let left = tile.columns.start as u64 * tile.rows.len() as u64;
        (above + left) * self.dtype.bytes() as u64
    }

    /// What stands before the elements in the file that NumPy's `save` writes of such a matrix.
    pub fn npy_head(&self) -> Vec<u8> {
        npy_head(self.dtype, Shape { m: self.rows, n: self.columns, k: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_matrix_once_and_one_behind_the_other() {
        for (rows, columns, tile) in [
            (1, 1, (1 << 20, 1)),
            (1024, 1024, (1024, 1024)),
            (1025, 1023, (1024, 1024)),
            (3000, 5000, (1024, 1024)),
            (5_000_000, 3, (1 << 18, 4)),
            (3, 5_000_000, (4, 1 << 18)),
            (1, 9_000_000, (1, 1 << 20)),
            (700, 100_000, (1024, 1024)),
            (0, 7, (1 << 17, 8)),
        ] {
            let layout = Layout { dtype: Dtype::F32, rows, columns };
            assert_eq!((layout.tile_rows(), layout.tile_columns()), tile, "{layout:?}");
            let mut offset = 0;
            for index in 0..layout.tiles() {
                let tile = layout.tile_at(index);
                assert_eq!((tile.index, layout.tile_offset(&tile)), (index, offset), "{layout:?}");
                assert!((1..=TILE_ELEMENTS).contains(&tile.elements()), "{tile:?}");
                offset += 4 * tile.elements() as u64;
            }
            assert_eq!(offset, layout.bytes(), "{layout:?}");
        }
    }

    #[test]
    fn the_tiles_of_a_block_are_those_that_it_touches() {
        let layout = Layout { dtype: Dtype::F64, rows: 3000, columns: 5000 };
        let indices = |rows, columns| -> Vec<usize> {
            layout.tiles_of(&rows, &columns).iter().map(|tile| tile.index).collect()
        };
        assert_eq!(indices(0..3000, 0..5000), (0..15).collect::<Vec<_>>());
        assert_eq!(indices(1023..1025, 2047..2048), [1, 6]);
        assert_eq!(indices(2048..3000, 4096..5000), [14]);
        assert!(indices(7..7, 0..5).is_empty());
    }
}
