//! What goes wrong with matrices that are kept.

use alloc::string::ToString;
use core::fmt;

use super::MatrixNumber;
use crate::ledger::{DiskError, VolumeError};
use crate::limits::MATRICES_MAX;
use crate::memory::Shortage;
use crate::problem::{Problem, ProblemKind};

/// Why a matrix can't be kept or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no room for it on the slab.
    Full {
        needed_bytes: u64,
        free_bytes: u64,
    },
    /// There are as many matrices as there may be.
    TooMany,
    /// What lies on the disk is not what was written there.
    Damaged {
        matrix: MatrixNumber,
        tile: usize,
    },
    /// A row of the tables can't be read.
    MalformedRow,
    /// Two matrices lie in the same place.
    Overlap,
    Disk(DiskError),
    Volume(VolumeError),
    Memory(Shortage),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { needed_bytes, free_bytes } => {
                write!(f, "{needed_bytes} bytes are needed, and {free_bytes} are free")
            }
            Self::TooMany => f.write_str("there are as many matrices as there may be"),
            Self::Damaged { matrix: MatrixNumber(number), tile } => {
                write!(f, "tile {tile} of matrix {number} is not what was written")
            }
            Self::MalformedRow => f.write_str("a row about a matrix can't be read"),
            Self::Overlap => f.write_str("two matrices lie in the same place"),
            Self::Disk(error) => write!(f, "the disk failed: {error}"),
            Self::Volume(error) => error.fmt(f),
            Self::Memory(_) => f.write_str("there is no memory for it"),
        }
    }
}

impl core::error::Error for StoreError {}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { free_bytes, .. } => {
                Self::new(ProblemKind::StorageFull, error.to_string()).limit(free_bytes)
            }
            StoreError::TooMany => {
                Self::new(ProblemKind::StorageFull, error.to_string()).limit(MATRICES_MAX as u64)
            }
            StoreError::Memory(Shortage::Never { total_bytes }) => {
                Self::new(ProblemKind::StorageFull, "matrices are kept in memory here")
                    .limit(total_bytes as u64)
            }
            StoreError::Memory(Shortage::Now) => {
                Self::new(ProblemKind::Overloaded, "there is no memory for the matrix now")
                    .with_response_field("Retry-After", "1")
            }
            StoreError::Damaged { .. } => Self::new(ProblemKind::StorageDamaged, error.to_string()),
            // Whoever operates the machine reads more on the console.
            StoreError::MalformedRow
            | StoreError::Overlap
            | StoreError::Disk(_)
            | StoreError::Volume(_) => {
                Self::new(ProblemKind::StorageUnavailable, "the disk can't be used now")
                    .with_response_field("Retry-After", "5")
            }
        }
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<VolumeError> for StoreError {
    fn from(error: VolumeError) -> Self {
        Self::Volume(error)
    }
}

impl From<Shortage> for StoreError {
    fn from(shortage: Shortage) -> Self {
        Self::Memory(shortage)
    }
}
