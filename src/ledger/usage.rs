//! What accounts have used, summed by hour.

use core::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::billing::Usage;
use crate::gemm::Dtype;
use crate::job::queue::AccountIndex;

/// Sums over jobs, and over what was stored. They can't overflow: 2^64 jobs of 2^64 of anything fit
/// in 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub jobs: u64,
    pub flops: u128,
    pub bytes_in: u128,
    pub bytes_out: u128,
    /// Stored bytes times hours.
    #[serde(default)]
    pub byte_hours: u128,
    /// What was charged.
    pub amount_micros: u128,
    /// What was given back by corrections made in that hour, of whatever hour their jobs were.
    pub corrected_micros: u128,
}

impl Totals {
    /// One job.
    pub fn of_job(usage: &Usage, amount_micros: u64) -> Self {
        Self {
            jobs: 1,
            flops: usage.flops.into(),
            bytes_in: usage.bytes_in.into(),
            bytes_out: usage.bytes_out.into(),
            byte_hours: 0,
            amount_micros: amount_micros.into(),
            corrected_micros: 0,
        }
    }

    /// One record of what was stored.
    pub fn of_storage(byte_hours: u64, amount_micros: u64) -> Self {
        Self {
            byte_hours: byte_hours.into(),
            amount_micros: amount_micros.into(),
            ..Self::default()
        }
    }

    /// One correction.
    pub fn of_correction(amount_micros: u64) -> Self {
        Self { corrected_micros: amount_micros.into(), ..Self::default() }
    }
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.flops += other.flops;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.byte_hours += other.byte_hours;
        self.amount_micros += other.amount_micros;
        self.corrected_micros += other.corrected_micros;
    }
}

/// What was used: products of a dtype, or storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageKind {
    F64,
    F32,
    Storage,
}

impl UsageKind {
    pub const ALL: [Self; 3] = [Self::F64, Self::F32, Self::Storage];
    /// Before all others in the order of sums.
    pub const FIRST: Self = Self::F64;

    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => Dtype::F64.name(),
            Self::F32 => Dtype::F32.name(),
            Self::Storage => "storage",
        }
    }

    /// Of products.
    pub const fn dtype(self) -> Option<Dtype> {
        match self {
            Self::F64 => Some(Dtype::F64),
            Self::F32 => Some(Dtype::F32),
            Self::Storage => None,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl From<Dtype> for UsageKind {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
        }
    }
}

/// One row of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageKey {
    /// Hours since 1970 in UTC, of the time of the entry.
    pub hour: u32,
    /// The account's index in the book.
    pub account: AccountIndex,
    pub kind: UsageKind,
}

impl UsageKey {
    /// The least that a row of this hour can have.
    pub fn first_of(hour: u32) -> Self {
        Self { hour, account: AccountIndex::MIN, kind: UsageKind::FIRST }
    }
}
