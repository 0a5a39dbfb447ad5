//! What a job's matrices were: for its entry in the journal, and its receipt.

use serde::{Deserialize, Serialize};

use crate::ledger::hash::Hash;

/// BLAKE3 over the elements of each matrix of a job, little-endian, row by row, which is that of
/// NumPy's `a.tobytes()`. The operands are taken as they are multiplied: converted to the job's
/// dtype, and the transpose where that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Digests {
    /// Of A, which is m x k.
    pub a: Hash,
    /// Of B, which is k x n.
    pub b: Hash,
    /// Of C as it came, where it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<Hash>,
    pub result: Hash,
}
