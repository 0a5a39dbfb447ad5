//! Why a volume can't be opened, read or written.

use alloc::string::{String, ToString};
use core::fmt;

use super::head::FORMAT_VERSION;
use crate::ledger::disk::DiskError;

/// What is wrong with a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeError {
    /// The disk has something else on it, which stays as it is.
    NotAVolume,
    /// The disk has nothing on it, where a volume was to be looked at.
    Empty,
    /// It was written by a later version of Gemmule, in a format that this one can't know.
    Newer {
        /// The format that it is in.
        version: u32,
    },
    /// The disk has fewer bytes than any volume needs.
    TooSmall {
        /// The least that it must have.
        bytes_min: u64,
    },
    /// It was a volume, and is no longer whole.
    Damaged(String),
    /// What was to be written does not fit, not even in the reserve.
    Full,
    /// The disk failed.
    Disk(DiskError),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAVolume => f.write_str(
                "not a volume of Gemmule: there is something else on it, and it was not \
                 overwritten; give an empty file, a new one, or a disk of zeros",
            ),
            Self::Empty => f.write_str("there is no volume on it"),
            Self::Newer { version } => write!(
                f,
                "the volume is in format {version}, and this version of Gemmule knows formats up \
                 to {FORMAT_VERSION}: open it with the version that wrote it, or a later one"
            ),
            Self::TooSmall { bytes_min } => {
                write!(f, "a volume needs a disk of at least {bytes_min} bytes")
            }
            Self::Damaged(what) => write!(f, "the volume is damaged: {what}"),
            Self::Full => f.write_str("the volume is full"),
            Self::Disk(error) => write!(f, "the volume's disk failed: {error}"),
        }
    }
}

impl core::error::Error for VolumeError {}

impl From<DiskError> for VolumeError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<redb::Error> for VolumeError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Backend(error) => Self::Disk(DiskError(error.to_string())),
            redb::Error::PreviousIo => Self::Disk(DiskError("it has failed before".into())),
            other => Self::Damaged(other.to_string()),
        }
    }
}
