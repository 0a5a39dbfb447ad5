//! The ledger: accounts and keys, what was charged, and the volume that all of it lasts on.

pub mod account;
pub mod allowance;
pub mod book;
pub mod entry;
pub mod hold;
pub mod journal;
pub mod key;
pub mod receipt;
pub mod usage;

pub mod digest;
pub mod hash;

pub mod disk;
pub mod volume;

pub use account::{Account, AccountId, AccountLimits};
pub use digest::Digests;
pub use disk::{Disk, DiskError};
pub use key::{ApiKey, KeyRecord, Scope, Scopes};
pub use volume::{Batch, Table, Volume, VolumeError};
