//! The peak of a core: the core's loop of multiply-adds, by the host's clock.

use std::time::{Duration, Instant};

use gemmule::gemm::{Dtype, Peak, isa, multiply_add_loop};

/// How long a machine that starts measures for each element type. It answers its first job so much
/// later.
const TIME_AT_START: Duration = Duration::from_millis(1);
/// In shorter samples the clock's own time would count. Many of this length fit into a measurement,
/// and some of them between two interruptions.
const SAMPLE_MIN: Duration = Duration::from_micros(20);
/// Rounds of the first sample: less than 0.1 ms on an emulator.
const ROUNDS_MIN: usize = 16;

/// The peak of the core that asks, measured in two milliseconds.
pub fn at_start() -> Peak {
    Peak { f64: measure(Dtype::F64, TIME_AT_START), f32: measure(Dtype::F32, TIME_AT_START) }
}

/// The best of the samples that fit into `time`, and of at least one, in operations a second.
pub fn measure(dtype: Dtype, time: Duration) -> u64 {
    let isa = isa();
    let start = Instant::now();
    let mut rounds = ROUNDS_MIN;
    let mut best = 0;
    loop {
        let before = Instant::now();
        let flops = multiply_add_loop(isa, dtype, rounds);
        let elapsed = before.elapsed();
        if elapsed < SAMPLE_MIN {
            rounds *= 2;
            continue;
        }
        let rate = u128::from(flops) * 1_000_000_000 / elapsed.as_nanos();
        best = best.max(u64::try_from(rate).unwrap_or(u64::MAX));
        if start.elapsed() >= time {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_measured_for_both_element_types() {
        let peak = at_start();
        assert!(peak.f64 > 0 && peak.f32 > 0, "{peak:?}");
    }
}
