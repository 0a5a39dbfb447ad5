//! The ledger: accounts and keys, what was charged, and the volume that all of it lasts on.

pub mod disk;

pub use disk::{Disk, DiskError};
