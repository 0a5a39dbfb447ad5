//! Times that are asked about: whole hours and calendar months, in UTC.

use alloc::string::String;

use crate::text::{push_ascii, two_digits};
use crate::time::{Civil, HOUR_NS, days_of, hour_of};

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    year: u64,
    month: u8,
}

impl Month {
    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let (year, month) = (digits(year, 4)?, digits(month, 2)? as u8);
        days_of(year, month, 1).map(|_| Self { year, month })
    }

    /// Its first hour, in hours since 1970.
    pub fn first_hour(self) -> u32 {
        days_of(self.year, self.month, 1).expect("there is such a month") * 24
    }

    /// The first hour of the next one.
    pub fn end_hour(self) -> u32 {
        // No month has more than 31 days, and none fewer than 28.
        let in_next = u64::from(self.first_hour() + 31 * 24);
        Civil::month_first_hour(in_next * HOUR_NS)
    }

    /// Whether a time, in nanoseconds of Unix time, is in or before it.
    pub fn is_open(self, unix_ns: u64) -> bool {
        hour_of(unix_ns) < self.end_hour()
    }

    /// Appends `2026-11`.
    pub fn push_to(self, text: &mut String) {
        let [century, year] = [self.year / 100, self.year % 100].map(|part| part as u8);
        push_ascii(text, &two_digits(century));
        push_ascii(text, &two_digits(year));
        text.push('-');
        push_ascii(text, &two_digits(self.month));
    }
}

/// Reads a date, whose first hour is meant, or a time of RFC 3339 (section 5.6) at a whole hour, in
/// hours since 1970.
pub fn parse_hour(text: &str) -> Option<u32> {
    let (date, time) = match text.split_at_checked(10)? {
        (date, "") => (date, "T00:00:00Z"),
        parts => parts,
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let days = days_of(digits(year, 4)?, digits(month, 2)? as u8, digits(day, 2)? as u8)?;
    let time = time.strip_prefix(['T', 't'])?;
    let (clock, offset) = time.split_at_checked(8)?;
    let minutes = match clock.split(':').collect::<alloc::vec::Vec<_>>()[..] {
        [hour, minute, "00"] => clock_minutes(hour, minute)?,
        _ => return None,
    };
    // Fractions of a second can only be zeros.
    let offset = match offset.strip_prefix('.') {
        None => offset,
        Some(fraction) => {
            let rest = fraction.trim_start_matches('0');
            (rest.len() < fraction.len()).then_some(rest)?
        }
    };
    let ahead = match offset {
        "Z" | "z" => 0,
        _ => {
            let (sign, offset) = offset.split_at_checked(1)?;
            let (hour, minute) = offset.split_once(':')?;
            let minutes = clock_minutes(hour, minute)?;
            match sign {
                "+" => minutes,
                "-" => -minutes,
                _ => return None,
            }
        }
    };
    let minutes = i64::from(days) * 24 * 60 + minutes - ahead;
    (minutes % 60 == 0).then(|| u32::try_from(minutes / 60).ok()).flatten()
}

fn clock_minutes(hour: &str, minute: &str) -> Option<i64> {
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    (hour < 24 && minute < 60).then_some((hour * 60 + minute) as i64)
}

/// So many digits as a number.
fn digits(text: &str, count: usize) -> Option<u64> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Appends an hour since 1970 as a time of RFC 3339.
pub fn push_hour(text: &mut String, hour: u32) {
    Civil::from_unix_ns(u64::from(hour) * HOUR_NS).push_rfc3339(text);
}

/// Appends a day since 1970 as a date.
pub fn push_day(text: &mut String, day: u32) {
    Civil::from_unix_ns(u64::from(day) * 24 * HOUR_NS).push_date(text);
}

/// An hour since 1970 as a time of RFC 3339.
pub fn hour_text(hour: u32) -> String {
    let mut text = String::new();
    push_hour(&mut text, hour);
    text
}

/// A day since 1970 as a date.
pub fn day_text(day: u32) -> String {
    let mut text = String::new();
    push_day(&mut text, day);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_and_their_hours() {
        for (text, first, hours) in [
            ("1970-01", "1970-01-01T00:00:00Z", 31 * 24),
            ("2024-02", "2024-02-01T00:00:00Z", 29 * 24),
            ("2026-02", "2026-02-01T00:00:00Z", 28 * 24),
            ("2026-11", "2026-11-01T00:00:00Z", 30 * 24),
            ("2026-12", "2026-12-01T00:00:00Z", 31 * 24),
        ] {
            let month = Month::parse(text).expect("a month");
            assert_eq!(hour_text(month.first_hour()), first);
            assert_eq!(month.end_hour() - month.first_hour(), hours, "{text}");
            let mut written = String::new();
            month.push_to(&mut written);
            assert_eq!(written, text);
            let end_ns = u64::from(month.end_hour()) * HOUR_NS;
            assert!(month.is_open(end_ns - 1) && !month.is_open(end_ns), "{text}");
        }
        for text in ["", "2026", "2026-1", "2026-13", "2026-00", "26-01", "2026-11-01", "1969-12"] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
    }

    #[test]
    fn hours_are_read_in_any_zone() {
        for (text, expected) in [
            ("2026-11-24", Some("2026-11-24T00:00:00Z")),
            ("2026-11-24T08:00:00Z", Some("2026-11-24T08:00:00Z")),
            ("2026-11-24t08:00:00.000z", Some("2026-11-24T08:00:00Z")),
            ("2026-11-24T00:00:00+01:00", Some("2026-11-23T23:00:00Z")),
            ("2026-11-24T05:30:00+05:30", Some("2026-11-24T00:00:00Z")),
            ("2026-12-31T23:00:00-01:00", Some("2027-01-01T00:00:00Z")),
            ("2026-11-24T08:30:00Z", None),
            ("2026-11-24T08:00:01Z", None),
            ("2026-11-24T08:00:00.5Z", None),
            ("2026-11-24T08:00:00.Z", None),
            ("2026-11-24T08:00:00+00:30", None),
            ("2026-11-24T08:00:00", None),
            ("2026-11-24T08:00", None),
            ("2026-11-24T24:00:00Z", None),
            ("2026-11-31", None),
            ("2026-11", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("ä026-11-24", None),
            ("", None),
        ] {
            assert_eq!(parse_hour(text).map(hour_text).as_deref(), expected, "{text}");
        }
    }
}
