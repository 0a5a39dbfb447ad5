//! Tariffs: from usage to money.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::billing::{Currency, Usage};
use crate::gemm::Dtype;

/// Prices in integer micro-units of the currency (0.000001 EUR), for large round amounts of usage
/// so that they stay integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    pub name: Arc<str>,
    /// Goes up by one whenever a price changes.
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
}

const FLOPS_PER_TFLOP: u128 = 1_000_000_000_000;
const BYTES_PER_GB: u128 = 1_000_000_000;

impl Tariff {
    /// The tariff that a machine starts with.
    pub fn standard() -> Self {
        Self {
            name: Arc::from("standard"),
            version: 1,
            currency: Currency::EUR,
            micros_per_tflop_f64: 400,
            micros_per_tflop_f32: 200,
            micros_per_gb_in: 5_000,
            micros_per_gb_out: 10_000,
            job_micros_min: 1,
        }
    }

    /// The price of `usage` in micro-units: work and bytes are summed exactly, rounded up once to
    /// a whole micro-unit, and raised to the job's minimum.
    pub fn amount_micros(&self, usage: &Usage) -> u64 {
        let flop_price = match usage.dtype {
            Dtype::F64 => self.micros_per_tflop_f64,
            Dtype::F32 => self.micros_per_tflop_f32,
        };
        // Over the common denominator, so that nothing is lost before the one rounding. Each term
        // is a product of two 64-bit numbers and at most 10^3, so that 128 bits suffice.
        let scale = FLOPS_PER_TFLOP / BYTES_PER_GB;
        let work = u128::from(usage.flops) * u128::from(flop_price);
        let bytes = u128::from(usage.bytes_in) * u128::from(self.micros_per_gb_in)
            + u128::from(usage.bytes_out) * u128::from(self.micros_per_gb_out);
        let micros = (work + bytes.saturating_mul(scale)).div_ceil(FLOPS_PER_TFLOP);
        u64::try_from(micros).unwrap_or(u64::MAX).max(self.job_micros_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::Shape;

    #[test]
    fn amounts_by_usage() {
        let tera = 1_000_000_000_000;
        let giga = 1_000_000_000;
        let tariff = Tariff::standard();
        for (dtype, flops, bytes_in, bytes_out, expected) in [
            (Dtype::F64, 0, 0, 0, 1),
            (Dtype::F64, 16, 41, 25, 1),
            (Dtype::F64, tera, 0, 0, 400),
            (Dtype::F32, tera, 0, 0, 200),
            (Dtype::F64, tera + 1, 0, 0, 401),
            (Dtype::F64, 0, giga, 0, 5_000),
            (Dtype::F64, 0, 0, giga, 10_000),
            (Dtype::F64, 0, 0, giga + 1, 10_001),
            // Halves of three micro-units are rounded once, together.
            (Dtype::F64, tera / 800, giga / 10_000, giga / 20_000, 2),
            // 100,000 cubed, with both operands and the result as raw f64.
            (Dtype::F64, 2_000 * tera, 160 * giga, 80 * giga, 2_400_000),
            (Dtype::F64, u64::MAX, u64::MAX, u64::MAX, 276_708_539_803_273),
        ] {
            let shape = Shape { m: 1, n: 1, k: 1 };
            let usage = Usage { dtype, shape, flops, bytes_in, bytes_out };
            assert_eq!(tariff.amount_micros(&usage), expected, "{usage:?}");
        }
    }
}
