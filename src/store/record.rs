//! What a row of the volume says of a matrix.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::digest::MatrixId;
use super::layout::Layout;
use super::space::Extent;
use crate::ledger::AccountId;
use crate::ledger::hash::Hash;

/// What a matrix is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// An account has sent it, or keeps it as its own: it is found by its address, and billed.
    Upload,
    /// It came with a job, and goes with it.
    Operand,
    /// A job makes it, and goes on with it.
    Result,
    /// What it is the result of may be asked for again, and it goes when its room is needed.
    Cache,
}

/// How long a matrix is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// In nanoseconds of Unix time; `None`: until it is removed.
    pub until_unix_ns: Option<u64>,
    /// It stays beyond that time while this is so.
    pub is_pinned: bool,
}

/// All that is known of a matrix besides its checksums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub layout: Layout,
    pub purpose: Purpose,
    pub account: AccountId,
    pub extents: Vec<Extent>,
    /// When its room was taken, in nanoseconds of Unix time.
    pub begun_unix_ns: u64,
    /// `None` until it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MatrixId>,
    #[serde(default)]
    pub finished_unix_ns: u64,
    #[serde(default)]
    pub keep: Keep,
    /// What it is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Hash>,
    /// Operations that it would take to make it again.
    #[serde(default)]
    pub flops: u64,
}

impl Record {
    pub fn begun(
        layout: Layout,
        purpose: Purpose,
        account: AccountId,
        extents: Vec<Extent>,
        begun_unix_ns: u64,
    ) -> Self {
        let (id, keep) = (None, Keep::default());
        Self {
            layout,
            purpose,
            account,
            extents,
            begun_unix_ns,
            id,
            finished_unix_ns: 0,
            keep,
            operation: None,
            flops: 0,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has no maps")
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Keeps it for as long as it was to be kept, or for as long as this says, whichever is longer.
    pub fn keep_longer(&mut self, keep: Keep) {
        let until = self.keep.until_unix_ns.zip(keep.until_unix_ns);
        self.keep.until_unix_ns = until.map(|(ours, other)| ours.max(other));
        self.keep.is_pinned |= keep.is_pinned;
    }

    /// Whether its account finds it by its address.
    pub fn is_found(&self) -> bool {
        self.id.is_some() && self.purpose == Purpose::Upload
    }

    /// When its time is up.
    pub fn due_unix_ns(&self) -> Option<u64> {
        self.id?;
        self.keep.until_unix_ns.filter(|_| !self.keep.is_pinned)
    }
}
