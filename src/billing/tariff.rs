//! Tariffs: from usage to money.
//!
//! An operation is priced by its place in the account's calendar month, that is, by how many the
//! account was charged for before it:
//!
//! ```text
//! place in the month   0 .......... free_flops_per_month ....... tier 0 ....... tier 1 .......
//! rate, per mille                 0                        1000         per_mille      per_mille
//! ```
//!
//! The free operations have places as well, so that they count towards the tiers. A job whose
//! operations lie on both sides of a boundary is split there, to the operation.
//!
//! Where a result is answered from the cache, its operations cost `cached_per_mille` of that, and
//! have their places as if they had been executed.
//!
//! Operations at their rates and bytes at their prices are summed over one denominator, and the sum
//! is rounded up once, to a whole micro-unit. Then it is raised to the minimum of a job, which free
//! operations don't lift, and capped at [`AMOUNT_MICROS_MAX`].
//!
//! What is stored is priced by [`crate::billing::storage`].

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::billing::terms::{self, Illegal};
use crate::billing::{Currency, Usage};
use crate::gemm::Dtype;
use crate::limits::{AMOUNT_MICROS_MAX, PRICE_MICROS_MAX};

/// Prices in integer micro-units of the currency (0.000001 EUR), for large round amounts of usage
/// so that they stay integers, as somebody has written them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Lower-case letters, digits and hyphens.
    pub name: Arc<str>,
    /// From 1 on; goes up by one whenever anything changes.
    pub version: u32,
    pub currency: Currency,
    /// Per 10^12 floating-point operations in `f64`.
    pub micros_per_tflop_f64: u64,
    /// Per 10^12 floating-point operations in `f32`.
    pub micros_per_tflop_f32: u64,
    /// Per 10^9 bytes of request content.
    pub micros_per_gb_in: u64,
    /// Per 10^9 bytes of encoded result.
    pub micros_per_gb_out: u64,
    /// The least that a job costs.
    pub job_micros_min: u64,
    /// Operations of each account that cost nothing, in each calendar month.
    #[serde(default)]
    pub free_flops_per_month: u64,
    /// Lower prices for those who multiply much, by rising `from_flops`.
    #[serde(default)]
    pub volume_tiers: Vec<Tier>,
    /// Per 10^9 bytes of stored matrices and hour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub micros_per_gb_hour: u64,
    /// Thousandths of their price that the operations of a result cost which is answered from the
    /// cache.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub cached_per_mille: u32,
    /// Jobs that are admitted from this second of Unix time on are priced by it.
    #[serde(default)]
    pub in_force_from_unix_s: u64,
}

// Tariffs that were written before there were these fields are written the same again, to the byte.
fn is_zero(price: &u64) -> bool {
    *price == 0
}

fn whole() -> u32 {
    PER_MILLE
}

fn is_whole(per_mille: &u32) -> bool {
    *per_mille == PER_MILLE
}

/// A rate of the prices of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Operations of the account in the month before those that it applies to.
    pub from_flops: u64,
    /// Thousandths of the price that they cost.
    pub per_mille: u32,
}

/// Terms that were checked: any usage can be priced by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Terms")]
pub struct Tariff(Terms);

/// What an account has had in the calendar month before a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonthToDate {
    /// A machine of some hundred cores comes past 2^64 in a month.
    pub flops: u128,
}

pub(super) const PER_MILLE: u32 = 1000;
const FLOPS_PER_TFLOP: u128 = 1_000_000_000_000;
const BYTES_PER_GB: u128 = 1_000_000_000;
/// What all is summed over: micro-units and so many parts of them.
const PARTS_PER_MICRO: u128 = FLOPS_PER_TFLOP * (PER_MILLE as u128).pow(2);
/// A byte at a price of one, in these parts.
const PARTS_PER_BYTE: u128 = PARTS_PER_MICRO / BYTES_PER_GB;

const _: () = assert!(PARTS_PER_BYTE * BYTES_PER_GB == PARTS_PER_MICRO, "bytes are whole parts");
const _: () = assert!(
    (u64::MAX as u128)
        .checked_mul(PRICE_MICROS_MAX as u128)
        // Operations at the full rate, and a rest of bytes; bytes in and bytes out are less.
        .unwrap()
        .checked_mul((PER_MILLE as u128).pow(2) + 1)
        .is_some(),
    "whatever is used, the sum of its parts fits in 128 bits"
);
const _: () = assert!(PRICE_MICROS_MAX <= AMOUNT_MICROS_MAX, "a minimum is an amount");

impl Deref for Tariff {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.0
    }
}

impl TryFrom<Terms> for Tariff {
    type Error = Illegal;

    /// # Errors
    ///
    /// Names the first field that is beyond what [`crate::limits`] allows.
    fn try_from(terms: Terms) -> Result<Self, Illegal> {
        terms::check(&terms).map(|()| Self(terms))
    }
}

impl Tariff {
    /// The tariff that a machine starts with.
    pub fn standard() -> Self {
        Self(Terms {
            name: Arc::from("standard"),
            version: 1,
            currency: Currency::EUR,
            micros_per_tflop_f64: 400,
            micros_per_tflop_f32: 200,
            micros_per_gb_in: 5_000,
            micros_per_gb_out: 10_000,
            job_micros_min: 1,
            free_flops_per_month: 0,
            volume_tiers: Vec::new(),
            micros_per_gb_hour: 100,
            cached_per_mille: 100,
            in_force_from_unix_s: 0,
        })
    }

    /// The price of `usage` in micro-units, for an account that has had so much in the month.
    pub fn amount_micros(&self, usage: &Usage, month: MonthToDate) -> u64 {
        self.line_micros(usage, month).max(self.job_micros_min)
    }

    /// What `usage` costs at most, whatever the account has had.
    pub fn amount_micros_max(&self, usage: &Usage) -> u64 {
        self.line_micros_max(usage).max(self.job_micros_min)
    }

    /// The price of `usage` without the minimum of a job, of which it is a part.
    pub(crate) fn line_micros(&self, usage: &Usage, month: MonthToDate) -> u64 {
        self.amount_of(usage, self.weighted_flops(usage.flops, month))
    }

    /// The most that it is, whatever the account has had.
    pub(super) fn line_micros_max(&self, usage: &Usage) -> u64 {
        self.amount_of(usage, u128::from(usage.flops) * u128::from(self.per_mille_max()))
    }

    /// The price of operations, given times their rates, and of bytes.
    fn amount_of(&self, usage: &Usage, weighted_flops: u128) -> u64 {
        let flop_price = match usage.dtype {
            Dtype::F64 => self.micros_per_tflop_f64,
            Dtype::F32 => self.micros_per_tflop_f32,
        };
        let part = if usage.cached { self.cached_per_mille } else { PER_MILLE };
        // No overflow: rates are at most PER_MILLE and prices at most PRICE_MICROS_MAX.
        let work = weighted_flops * u128::from(flop_price) * u128::from(part);
        let bytes = u128::from(usage.bytes_in) * u128::from(self.micros_per_gb_in)
            + u128::from(usage.bytes_out) * u128::from(self.micros_per_gb_out);
        // The whole micro-units of bytes stay apart, which would not fit in these parts.
        let rest = work + bytes % BYTES_PER_GB * PARTS_PER_BYTE;
        let micros = bytes / BYTES_PER_GB + rest.div_ceil(PARTS_PER_MICRO);
        u64::try_from(micros.min(AMOUNT_MICROS_MAX.into())).expect("the cap is a u64")
    }

    /// The operations of a job, each times its rate per mille.
    fn weighted_flops(&self, flops: u64, month: MonthToDate) -> u128 {
        let end = month.flops.saturating_add(flops.into());
        let start = month.flops.max(self.free_flops_per_month.into());
        self.segments()
            .map(|(from, until, per_mille)| {
                let count = end.min(until).saturating_sub(start.max(from));
                count * u128::from(per_mille)
            })
            .sum()
    }

    /// The highest rate that operations can have.
    fn per_mille_max(&self) -> u32 {
        let free = u128::from(self.free_flops_per_month);
        let charged = self.segments().filter(|(_, until, _)| *until > free);
        charged.map(|(.., per_mille)| per_mille).max().expect("the last segment has no end")
    }

    /// The places of a month by rate, free ones aside: from, until, and the rate per mille.
    fn segments(&self) -> impl Iterator<Item = (u128, u128, u32)> {
        let tiers = self.volume_tiers.iter().map(|tier| (tier.from_flops.into(), tier.per_mille));
        let starts = core::iter::once((0, PER_MILLE)).chain(tiers);
        let ends = self.volume_tiers.iter().map(|tier| tier.from_flops.into());
        let ends = ends.chain(core::iter::once(u128::MAX));
        starts.zip(ends).map(|((from, per_mille), until)| (from, until, per_mille))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::gemm::Shape;

    const TERA: u64 = 1_000_000_000_000;
    const GIGA: u64 = 1_000_000_000;

    fn usage(dtype: Dtype, flops: u64, bytes_in: u64, bytes_out: u64) -> Usage {
        let shape = Shape { m: 1, n: 1, k: 1 };
        Usage { dtype, shape, flops, bytes_in, bytes_out, cached: false }
    }

    #[test]
    fn amounts_by_usage() {
        let tariff = Tariff::standard();
        for (dtype, flops, bytes_in, bytes_out, expected) in [
            (Dtype::F64, 0, 0, 0, 1),
            (Dtype::F64, 16, 41, 25, 1),
            (Dtype::F64, TERA, 0, 0, 400),
            (Dtype::F32, TERA, 0, 0, 200),
            (Dtype::F64, TERA + 1, 0, 0, 401),
            (Dtype::F64, 0, GIGA, 0, 5_000),
            (Dtype::F64, 0, 0, GIGA, 10_000),
            (Dtype::F64, 0, 0, GIGA + 1, 10_001),
            // Halves of three micro-units are rounded once, together.
            (Dtype::F64, TERA / 800, GIGA / 10_000, GIGA / 20_000, 2),
            // 100,000 cubed, with both operands and the result as raw f64.
            (Dtype::F64, 2_000 * TERA, 160 * GIGA, 80 * GIGA, 2_400_000),
            (Dtype::F64, u64::MAX, u64::MAX, u64::MAX, 276_708_539_803_273),
        ] {
            let usage = usage(dtype, flops, bytes_in, bytes_out);
            let month = MonthToDate { flops: 12_345 };
            assert_eq!(tariff.amount_micros(&usage, month), expected, "{usage:?}");
            assert_eq!(tariff.amount_micros_max(&usage), expected, "{usage:?}");
        }
    }

    #[test]
    fn amounts_by_the_month() {
        let tier = |from_flops, per_mille| Tier { from_flops, per_mille };
        let terms = Terms {
            free_flops_per_month: TERA,
            volume_tiers: vec![tier(10 * TERA, 500), tier(20 * TERA, 250)],
            job_micros_min: 3,
            ..Tariff::standard().0
        };
        let tariff = Tariff::try_from(terms).expect("sound terms");
        let (first, last) = (0, u128::from(u64::MAX) * 1_000);
        for (before, flops, bytes_in, expected) in [
            // Free operations leave the minimum, and the price of bytes.
            (first, 0, 0, 3),
            (first, TERA, 0, 3),
            (first, TERA, GIGA, 5_000),
            // One operation more than is free, and a whole one of 10^12.
            (first, TERA + 1, GIGA, 5_001),
            (first, 2 * TERA, 0, 400),
            (u128::from(TERA) - 1, TERA, 0, 400),
            (u128::from(TERA), TERA, 0, 400),
            // On both sides of a boundary, and just on one.
            (9 * u128::from(TERA), TERA, 0, 400),
            (9 * u128::from(TERA), 2 * TERA, 0, 600),
            (9 * u128::from(TERA), 12 * TERA, 0, 400 + 2_000 + 100),
            (10 * u128::from(TERA), TERA, 0, 200),
            // All of the month: nothing, nine at the full rate, ten at a half, one at a quarter.
            (first, 21 * TERA, 0, 3_600 + 2_000 + 100),
            (last, TERA, 0, 100),
            (u128::MAX, TERA, 0, 3),
        ] {
            let usage = usage(Dtype::F64, flops, bytes_in, 0);
            let amount = tariff.amount_micros(&usage, MonthToDate { flops: before });
            assert_eq!(amount, expected, "{flops} behind {before}");
            assert!(amount <= tariff.amount_micros_max(&usage), "{flops} behind {before}");
        }
        assert_eq!(tariff.amount_micros_max(&usage(Dtype::F64, TERA, 0, 0)), 400);
    }

    #[test]
    fn amounts_from_the_cache() {
        let of = |cached_per_mille, job_micros_min| {
            let terms = Terms { cached_per_mille, job_micros_min, ..Tariff::standard().0 };
            Tariff::try_from(terms).expect("sound terms")
        };
        for (cached_per_mille, minimum, flops, bytes_in, expected) in [
            (1000, 1, TERA, 0, 400),
            (100, 1, TERA, 0, 40),
            (100, 1, TERA + 1, 0, 41),
            (1, 1, TERA, 0, 1),
            (0, 0, TERA, 0, 0),
            (0, 7, TERA, 0, 7),
            // Bytes are at the full price, and both are rounded together.
            (100, 1, TERA, GIGA, 5_040),
            (1, 0, TERA / 4, GIGA / 10_000 / 5, 1),
            (1, 0, TERA / 4 * 5, GIGA / 10_000, 1),
            (1, 0, TERA / 4 * 5 + 1, GIGA / 10_000, 2),
        ] {
            let tariff = of(cached_per_mille, minimum);
            let usage = Usage { cached: true, ..usage(Dtype::F64, flops, bytes_in, 0) };
            let amount = tariff.amount_micros(&usage, MonthToDate::default());
            assert_eq!(amount, expected, "{cached_per_mille} {usage:?}");
            assert_eq!(tariff.amount_micros_max(&usage), expected);
        }
    }

    #[test]
    fn the_most_is_no_more_than_some_month_makes_it() {
        let tier = |from_flops, per_mille| Tier { from_flops, per_mille };
        let of = |free_flops_per_month, volume_tiers| {
            let terms = Terms { free_flops_per_month, volume_tiers, ..Tariff::standard().0 };
            Tariff::try_from(terms).expect("sound terms").amount_micros_max(&usage(
                Dtype::F64,
                TERA,
                0,
                0,
            ))
        };
        // All that is at the full rate is free.
        assert_eq!(of(10, vec![tier(10, 500)]), 200);
        assert_eq!(of(9, vec![tier(10, 500)]), 400);
        assert_eq!(of(20, vec![tier(10, 750), tier(20, 500)]), 200);
        assert_eq!(of(0, vec![tier(0, 100), tier(20, 600)]), 240);
    }

    #[test]
    fn no_amount_is_beyond_the_cap() {
        let terms = Terms {
            micros_per_tflop_f64: PRICE_MICROS_MAX,
            micros_per_gb_in: PRICE_MICROS_MAX,
            micros_per_gb_out: PRICE_MICROS_MAX,
            ..Tariff::standard().0
        };
        let tariff = Tariff::try_from(terms).expect("sound terms");
        let usage = usage(Dtype::F64, u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(tariff.amount_micros(&usage, MonthToDate::default()), AMOUNT_MICROS_MAX);
    }
}
