//! The host's clocks, as the core wants them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gemmule::time::Now;

/// The clocks of this run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        // A clock set before 1970 reads as 1970.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ns: self.monotonic_ns(), unix_ns: as_ns(unix) }
    }

    pub fn monotonic_ns(&self) -> u64 {
        as_ns(self.start.elapsed())
    }
}

/// Saturates after 584 years.
pub fn as_ns(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
