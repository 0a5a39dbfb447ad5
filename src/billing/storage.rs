//! What is stored: bytes times time, exactly, and what that costs.
//!
//! A matrix counts from when it was stored until it is removed, whether the machine is up or not. A
//! record in the ledger covers the time from its beginning up to its end, and the next record of
//! the account begins no earlier than that, so that no time is charged twice. A record holds whole
//! byte-hours and whole micro-units; what is left over of both goes into the account's next record.
//! So no account is ever charged more than the exact price, or a micro-unit less.
//!
//! A record is made where an hour is over, and before bytes go away. What was stored since the last
//! one is in memory only, and can be told again after a restart from that record and from the
//! matrices that are there.

use serde::{Deserialize, Serialize};

use crate::billing::Tariff;
use crate::limits::AMOUNT_MICROS_MAX;
use crate::time::HOUR_NS;

/// Byte-hours of 10^9 bytes and an hour.
const BYTE_HOURS_PER_GB_HOUR: u128 = 1_000_000_000;

/// Where the last record of an account ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageMark {
    pub until_unix_ns: u64,
    /// Bytes times nanoseconds that were left over, less than a byte-hour.
    pub rest_byte_ns: u64,
    /// Billionths of a micro-unit that were left over, less than all of them.
    pub rest_nano_micros: u64,
}

/// What was stored from one time to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSpan {
    pub from_unix_ns: u64,
    /// It does not count any more.
    pub until_unix_ns: u64,
    pub byte_hours: u64,
    /// Bytes times nanoseconds that are left over.
    pub rest_byte_ns: u64,
}

/// What one account has stored since its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageMeter {
    /// From now on.
    bytes: u64,
    /// Where the next record begins; `None` where nothing was stored since the last.
    from_unix_ns: Option<u64>,
    /// Up to when bytes have been counted.
    at_unix_ns: u64,
    /// Bytes times nanoseconds, with those that the last record left over.
    byte_ns: u128,
}

impl StorageMeter {
    /// The meter of an account with the matrices that it has, each as its bytes and the time when
    /// it was stored.
    pub fn open(
        mark: Option<&StorageMark>,
        matrices: impl IntoIterator<Item = (u64, u64)>,
        now_unix_ns: u64,
    ) -> Self {
        let charged_until = mark.map_or(0, |mark| mark.until_unix_ns);
        let mut meter = Self {
            bytes: 0,
            from_unix_ns: None,
            // A clock that was set back counts again when it has passed the last record.
            at_unix_ns: now_unix_ns.max(charged_until),
            byte_ns: mark.map_or(0, |mark| mark.rest_byte_ns.into()),
        };
        for (bytes, stored_unix_ns) in matrices {
            let from_unix_ns = stored_unix_ns.max(charged_until);
            meter.add(bytes, meter.at_unix_ns.saturating_sub(from_unix_ns));
            meter.bytes = meter.bytes.saturating_add(bytes);
            let first = meter.from_unix_ns.map_or(from_unix_ns, |first| first.min(from_unix_ns));
            meter.from_unix_ns = Some(first.min(meter.at_unix_ns));
        }
        meter
    }

    /// Bytes stored now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether time costs something.
    pub fn is_counting(&self) -> bool {
        self.from_unix_ns.is_some()
    }

    /// So much is stored from now on. What is to be recorded for it: the hour that is over, and
    /// where bytes go away, what they have cost until now.
    pub fn change(
        &mut self,
        bytes: u64,
        now_unix_ns: u64,
    ) -> impl Iterator<Item = StorageSpan> + use<> {
        let hour = self.advance(now_unix_ns);
        let rest = if bytes < self.bytes { self.take(now_unix_ns) } else { None };
        self.count_until(now_unix_ns);
        self.bytes = bytes;
        self.from_unix_ns = (bytes > 0).then(|| self.from_unix_ns.unwrap_or(self.at_unix_ns));
        hour.into_iter().chain(rest)
    }

    /// What is to be recorded since an hour is over: up to the end of the last whole hour.
    pub fn advance(&mut self, now_unix_ns: u64) -> Option<StorageSpan> {
        let hour_unix_ns = now_unix_ns - now_unix_ns % HOUR_NS;
        if self.from_unix_ns? < hour_unix_ns { self.take(hour_unix_ns) } else { None }
    }

    /// Everything until then that was not recorded.
    pub fn take(&mut self, until_unix_ns: u64) -> Option<StorageSpan> {
        self.count_until(until_unix_ns);
        let from_unix_ns = self.from_unix_ns.filter(|from| *from < self.at_unix_ns)?;
        let rest_byte_ns = (self.byte_ns % u128::from(HOUR_NS)) as u64;
        let byte_hours = self.byte_ns / u128::from(HOUR_NS);
        self.byte_ns = rest_byte_ns.into();
        self.from_unix_ns = (self.bytes > 0).then_some(self.at_unix_ns);
        Some(StorageSpan {
            from_unix_ns,
            until_unix_ns: self.at_unix_ns,
            // No disk has so much.
            byte_hours: u64::try_from(byte_hours).unwrap_or(u64::MAX),
            rest_byte_ns,
        })
    }

    fn count_until(&mut self, unix_ns: u64) {
        self.add(self.bytes, unix_ns.saturating_sub(self.at_unix_ns));
        self.at_unix_ns = self.at_unix_ns.max(unix_ns);
    }

    fn add(&mut self, bytes: u64, ns: u64) {
        let byte_ns = u128::from(bytes) * u128::from(ns);
        self.byte_ns = self.byte_ns.saturating_add(byte_ns);
    }
}

impl Tariff {
    /// The price of what is stored, in whole micro-units and the billionths of one that are left
    /// over, with those that the last record has left over.
    pub fn storage_micros(&self, byte_hours: u64, rest_nano_micros: u64) -> (u64, u64) {
        // No overflow: prices are at most PRICE_MICROS_MAX.
        let nano_micros = u128::from(byte_hours) * u128::from(self.micros_per_gb_hour)
            + u128::from(rest_nano_micros);
        let micros = (nano_micros / BYTE_HOURS_PER_GB_HOUR).min(AMOUNT_MICROS_MAX.into());
        (micros as u64, (nano_micros % BYTE_HOURS_PER_GB_HOUR) as u64)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    const GIGA: u64 = 1_000_000_000;
    const START: u64 = 500_000 * HOUR_NS;
    const MINUTE_NS: u64 = HOUR_NS / 60;

    fn span(from: u64, until: u64, byte_hours: u64, rest_byte_ns: u64) -> StorageSpan {
        StorageSpan { from_unix_ns: from, until_unix_ns: until, byte_hours, rest_byte_ns }
    }

    #[test]
    fn hours_and_removals_make_records() {
        let mut meter = StorageMeter::open(None, [], START);
        let at = |minutes| START + minutes * MINUTE_NS;
        let mut spans = Vec::new();
        for (minute, bytes) in
            [(10, 6), (20, 60), (50, 6), (59, 0), (60, 0), (150, 12), (240, 12), (240, 0), (300, 0)]
        {
            spans.extend(meter.change(bytes, at(minute)));
        }
        let expected = vec![
            // 6 bytes for ten minutes, and 60 for thirty.
            span(at(10), at(50), 31, 0),
            span(at(50), at(59), 0, 54 * MINUTE_NS),
            // 12 for 90 minutes.
            span(at(150), at(240), 18, 54 * MINUTE_NS),
        ];
        assert_eq!(spans, expected);
        assert_eq!(meter.advance(at(900)), None);
    }

    #[test]
    fn an_hour_that_is_over_is_recorded_up_to_its_end() {
        let mut meter = StorageMeter::open(None, [], START);
        assert_eq!(meter.change(GIGA, START + 1).count(), 0);
        assert_eq!(meter.advance(START + HOUR_NS - 1), None);
        let first = span(START + 1, START + HOUR_NS, GIGA - 1, HOUR_NS - GIGA);
        assert_eq!(meter.advance(START + HOUR_NS + 5), Some(first));
        assert_eq!(meter.advance(START + 2 * HOUR_NS - 1), None);
        // The rest of the first hour is there again, and what has come since the second is not.
        let second = span(START + HOUR_NS, START + 3 * HOUR_NS, 2 * GIGA, HOUR_NS - GIGA);
        assert_eq!(meter.advance(START + 3 * HOUR_NS + 7), Some(second));
    }

    /// However a meter is opened again between its records, it tells the same.
    #[test]
    fn a_restart_changes_nothing() {
        let matrices = [(7 * GIGA, START + 17), (3, START + HOUR_NS / 3), (GIGA, START + HOUR_NS)];
        let change = |meter: &mut StorageMeter, until: usize| {
            let bytes = matrices[..until].iter().map(|(bytes, _)| bytes).sum();
            meter.change(bytes, matrices[until - 1].1).collect::<Vec<_>>()
        };
        let mut whole = StorageMeter::open(None, [], START);
        let mut expected = Vec::new();
        for until in 1..=3 {
            expected.extend(change(&mut whole, until));
        }
        expected.extend(whole.advance(START + 2 * HOUR_NS));
        assert_eq!(expected.len(), 2);
        for restart in 0..=3 {
            let now = [START + 1, START + 40, START + HOUR_NS / 2, START + HOUR_NS + 9][restart];
            let mut meter = StorageMeter::open(None, [], START);
            let mut found = Vec::new();
            for until in 1..=restart {
                found.extend(change(&mut meter, until));
            }
            let mark = found.last().map(|span: &StorageSpan| StorageMark {
                until_unix_ns: span.until_unix_ns,
                rest_byte_ns: span.rest_byte_ns,
                rest_nano_micros: 0,
            });
            let mut meter = StorageMeter::open(mark.as_ref(), matrices[..restart].to_vec(), now);
            for until in restart + 1..=3 {
                found.extend(change(&mut meter, until));
            }
            found.extend(meter.advance(START + 2 * HOUR_NS));
            assert_eq!(found, expected, "opened again behind {restart}");
        }
    }

    #[test]
    fn no_time_counts_twice_where_the_clock_goes_back() {
        let mut meter = StorageMeter::open(None, [], START);
        assert_eq!(meter.change(5, START).count(), 0);
        assert_eq!(meter.change(4, START + HOUR_NS).count(), 1);
        assert_eq!(meter.change(3, START).count(), 0);
        let last = span(START + HOUR_NS, START + 2 * HOUR_NS, 3, 0);
        assert_eq!(meter.take(START + 2 * HOUR_NS), Some(last));
        let mark = StorageMark { until_unix_ns: START + 2 * HOUR_NS, ..StorageMark::default() };
        let mut meter = StorageMeter::open(Some(&mark), [(3, START)], START + HOUR_NS);
        assert_eq!(meter.take(START + 2 * HOUR_NS), None);
        assert_eq!(meter.take(START + 3 * HOUR_NS).map(|span| span.byte_hours), Some(3));
    }

    #[test]
    fn what_a_price_leaves_over_is_charged_later() {
        let tariff = Tariff::standard();
        for (byte_hours, rest, expected) in [
            (0, 0, (0, 0)),
            (GIGA, 0, (100, 0)),
            (GIGA, 1, (100, 1)),
            (9_999_999, 0, (0, 999_999_900)),
            (9_999_999, 100, (1, 0)),
            (u64::MAX, 0, (1_844_674_407_370, 955_161_500)),
        ] {
            assert_eq!(tariff.storage_micros(byte_hours, rest), expected);
        }
        let (mut total, mut rest) = (0, 0);
        for _ in 0..1000 {
            let (micros, left) = tariff.storage_micros(12_345_678, rest);
            total += micros;
            rest = left;
        }
        assert_eq!((total, rest), (1234, 567_800_000));
    }
}
