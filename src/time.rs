//! Time as an argument: the core never reads a clock.

use alloc::string::String;

use crate::text::{push_ascii, two_digits};

/// What the host's clocks said when it called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since some fixed point of this run; never goes back. For deadlines.
    pub monotonic_ns: u64,
    /// Nanoseconds since 1970-01-01T00:00:00Z. For what people read.
    pub unix_ns: u64,
}

impl Now {
    /// A little later, when only the monotonic clock has been read.
    pub fn later(self, monotonic_ns: u64) -> Self {
        let since_ns = monotonic_ns.saturating_sub(self.monotonic_ns);
        Self { monotonic_ns, unix_ns: self.unix_ns + since_ns }
    }
}

/// A civil time of day in UTC, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    year: u64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    weekday: u8,
}

/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds of an hour.
pub const HOUR_NS: u64 = 3_600 * SECOND_NS;

/// The hour of a Unix time in nanoseconds, in hours since 1970 in UTC.
pub fn hour_of(unix_ns: u64) -> u32 {
    (unix_ns / HOUR_NS) as u32
}

/// The day of a Unix time in nanoseconds, in days since 1970 in UTC.
pub fn day_of(unix_ns: u64) -> u32 {
    hour_of(unix_ns) / 24
}

/// The years whose dates are read: before 1970 there is no Unix time, and its nanoseconds end in
/// 2554.
const YEARS: core::ops::Range<u64> = 1970..2554;

/// The days since 1970 of a date, if there is one of that year, month and day, and in [`YEARS`].
pub fn days_of(year: u64, month: u8, day: u8) -> Option<u32> {
    if !YEARS.contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // See `Civil::from_unix_ns`, whose steps these undo.
    let year_from_march = year - u64::from(month <= 2);
    let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
    let month_from_march = u64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * month_from_march + 2) / 5 + u64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    // The 31st of a shorter month would be a day of the next one.
    let civil = Civil::from_unix_ns(days * 24 * HOUR_NS);
    ((civil.month, civil.day) == (month, day)).then_some(days as u32)
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Civil {
    /// The civil time of a Unix time in nanoseconds.
    pub fn from_unix_ns(unix_ns: u64) -> Self {
        let seconds = unix_ns / 1_000_000_000;
        let days = seconds / 86_400;
        let second_of_day = seconds % 86_400;
        // Years are counted from 1 March, so that the leap day is the last of its year; an era is
        // the 400 years after which the Gregorian calendar repeats, 146,097 days.
        let day_number = days + 719_468;
        let era = day_number / 146_097;
        let day_of_era = day_number % 146_097;
        let leap_days = day_of_era / 1_460 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days + day_of_era / 36_524) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // March to January alternate 31 and 30 days in runs of five months of 153 days.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = 400 * era + year_of_era + u64::from(month <= 2);
        Self {
            year,
            month: month as u8,
            day: day as u8,
            hour: (second_of_day / 3_600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 3) % 7) as u8,
        }
    }

    /// The first hour of the calendar month of a Unix time in nanoseconds, in hours since 1970.
    pub fn month_first_hour(unix_ns: u64) -> u32 {
        let days_before = u32::from(Self::from_unix_ns(unix_ns).day) - 1;
        (day_of(unix_ns) - days_before) * 24
    }

    /// Its year, and its month from 1.
    pub fn year_month(self) -> (u64, u8) {
        (self.year, self.month)
    }

    /// Appends the date alone, as in `2026-11-24`.
    pub fn push_date(self, text: &mut String) {
        let mut date = *b"1970-01-01";
        date[..4].copy_from_slice(&self.year_digits());
        date[5..7].copy_from_slice(&two_digits(self.month));
        date[8..].copy_from_slice(&two_digits(self.day));
        push_ascii(text, &date);
    }

    /// Appends an IMF-fixdate, the form of HTTP's `Date` (RFC 9110, section 5.6.7).
    pub fn push_http(self, text: &mut String) {
        let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        date[..3].copy_from_slice(WEEKDAYS[usize::from(self.weekday)].as_bytes());
        date[5..7].copy_from_slice(&two_digits(self.day));
        date[8..11].copy_from_slice(MONTHS[usize::from(self.month) - 1].as_bytes());
        date[12..16].copy_from_slice(&self.year_digits());
        date[17..25].copy_from_slice(&self.time_of_day());
        push_ascii(text, &date);
    }

    /// Appends the form of RFC 3339 in UTC, as in `2026-11-24T08:00:00Z`.
    pub fn push_rfc3339(self, text: &mut String) {
        let mut date = *b"1970-01-01T00:00:00Z";
        date[..4].copy_from_slice(&self.year_digits());
        date[5..7].copy_from_slice(&two_digits(self.month));
        date[8..10].copy_from_slice(&two_digits(self.day));
        date[11..19].copy_from_slice(&self.time_of_day());
        push_ascii(text, &date);
    }

    /// A clock in nanoseconds ends long before the year 10000.
    fn year_digits(self) -> [u8; 4] {
        let ([a, b], [c, d]) =
            (two_digits((self.year / 100) as u8), two_digits((self.year % 100) as u8));
        [a, b, c, d]
    }

    fn time_of_day(self) -> [u8; 8] {
        let ([a, b], [c, d], [e, f]) =
            (two_digits(self.hour), two_digits(self.minute), two_digits(self.second));
        [a, b, b':', c, d, b':', e, f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_on_their_first_day() {
        const DAY_NS: u64 = 24 * HOUR_NS;
        for (days, first) in [(0, 0), (30, 0), (31, 31), (58, 31), (59, 59), (11_016, 10_988)] {
            for ns in [0, DAY_NS - 1] {
                assert_eq!(Civil::month_first_hour(days * DAY_NS + ns), first * 24, "{days}");
            }
        }
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        for days in (0..200_000).step_by(13) {
            let civil = Civil::from_unix_ns(days * 24 * HOUR_NS);
            let mut text = String::new();
            civil.push_date(&mut text);
            let part = |range: core::ops::Range<usize>| text[range].parse::<u8>().expect("digits");
            let year = text[..4].parse().expect("digits");
            assert_eq!(days_of(year, part(5..7), part(8..10)), Some(days as u32), "{text}");
            assert_eq!(civil.year_month(), (year, part(5..7)));
        }
        for (year, month, day) in [
            (2026, 2, 29),
            (2100, 2, 29),
            (2026, 11, 31),
            (2026, 0, 1),
            (2026, 13, 1),
            (2026, 1, 0),
            (2026, 1, 32),
            (1969, 12, 31),
            (2554, 1, 1),
        ] {
            assert_eq!(days_of(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!(days_of(2000, 2, 29), Some(11_016));
    }

    #[test]
    fn known_dates_in_both_forms() {
        for (unix, http, rfc3339) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT", "2024-12-31T23:59:59Z"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00Z"),
        ] {
            let civil = Civil::from_unix_ns(unix * 1_000_000_000);
            let mut texts = [String::new(), String::new()];
            civil.push_http(&mut texts[0]);
            civil.push_rfc3339(&mut texts[1]);
            assert_eq!(texts, [http, rfc3339]);
        }
    }
}
