//! What the terms of a tariff must be like, and what is wrong with those that are not.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::billing::tariff::{PER_MILLE, Terms};
use crate::limits::{PRICE_MICROS_MAX, TARIFF_NAME_BYTES_MAX, UNIX_SECONDS_MAX, VOLUME_TIERS_MAX};
use crate::problem::{Problem, ProblemKind};

/// Why terms can't be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// A JSON pointer to the field at fault (RFC 6901).
    pub field: String,
    pub detail: String,
    /// The bound that was exceeded.
    pub limit: Option<u64>,
}

impl Illegal {
    pub(super) fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into(), limit: None }
    }
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.detail, self.field)
    }
}

impl From<Illegal> for Problem {
    fn from(illegal: Illegal) -> Self {
        let problem = Self::new(ProblemKind::InvalidValue, illegal.detail).at(illegal.field);
        Self { limit: illegal.limit, ..problem }
    }
}

/// Checks terms by themselves; that versions follow each other is the book's to see.
pub(super) fn check(terms: &Terms) -> Result<(), Illegal> {
    if !is_name(&terms.name) {
        let detail = format!("a name is 1 to {TARIFF_NAME_BYTES_MAX} of a-z, 0-9 and -");
        return Err(Illegal::new("/name", detail));
    }
    if terms.version == 0 {
        return Err(Illegal::new("/version", "versions are counted from 1"));
    }
    for (field, price) in [
        ("/micros_per_tflop_f64", terms.micros_per_tflop_f64),
        ("/micros_per_tflop_f32", terms.micros_per_tflop_f32),
        ("/micros_per_gb_in", terms.micros_per_gb_in),
        ("/micros_per_gb_out", terms.micros_per_gb_out),
        ("/job_micros_min", terms.job_micros_min),
        ("/micros_per_gb_hour", terms.micros_per_gb_hour),
    ] {
        at_most(field, price, PRICE_MICROS_MAX)?;
    }
    at_most("/cached_per_mille", terms.cached_per_mille.into(), PER_MILLE.into())?;
    at_most("/in_force_from_unix_s", terms.in_force_from_unix_s, UNIX_SECONDS_MAX)?;
    check_tiers(terms)
}

fn check_tiers(terms: &Terms) -> Result<(), Illegal> {
    let tiers = &terms.volume_tiers[..];
    at_most("/volume_tiers", tiers.len() as u64, VOLUME_TIERS_MAX as u64)?;
    for (index, tier) in tiers.iter().enumerate() {
        let field = |name: &str| format!("/volume_tiers/{index}/{name}");
        at_most(&field("per_mille"), tier.per_mille.into(), PER_MILLE.into())?;
        if index > 0 && tier.from_flops <= tiers[index - 1].from_flops {
            let detail = format!("it is to be more than {}", tiers[index - 1].from_flops);
            return Err(Illegal::new(field("from_flops"), detail));
        }
    }
    Ok(())
}

fn at_most(field: &str, value: u64, limit: u64) -> Result<(), Illegal> {
    if value <= limit {
        return Ok(());
    }
    let detail = format!("{value} is more than {limit}");
    Err(Illegal { field: field.to_string(), detail, limit: Some(limit) })
}

/// Whether a text can name a tariff: then it needs no escaping wherever it is written.
fn is_name(text: &str) -> bool {
    let is_letter = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=TARIFF_NAME_BYTES_MAX).contains(&text.len()) && text.as_bytes().iter().all(is_letter)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use serde_json::{Value, json};

    use super::*;
    use crate::billing::Tariff;

    fn written(change: impl Fn(&mut Value)) -> Result<Tariff, String> {
        let mut terms = serde_json::to_value(Tariff::standard()).expect("JSON");
        change(&mut terms);
        serde_json::from_value(terms).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_illegal_is_named_with_its_limit() {
        let price_max = PRICE_MICROS_MAX;
        let tier = |from_flops: u64, per_mille: u64| json!({"from_flops": from_flops, "per_mille": per_mille});
        for (name, value, expected) in [
            ("name", json!("a-1"), None),
            ("name", json!("x".repeat(32)), None),
            ("name", json!("x".repeat(33)), Some("/name")),
            ("name", json!(""), Some("/name")),
            ("name", json!("Standard"), Some("/name")),
            ("name", json!("a\"b"), Some("/name")),
            ("version", json!(u32::MAX), None),
            ("version", json!(0), Some("/version")),
            ("micros_per_tflop_f64", json!(0), None),
            ("micros_per_tflop_f64", json!(price_max), None),
            ("micros_per_tflop_f64", json!(price_max + 1), Some("/micros_per_tflop_f64")),
            ("micros_per_tflop_f32", json!(price_max + 1), Some("/micros_per_tflop_f32")),
            ("micros_per_gb_in", json!(price_max + 1), Some("/micros_per_gb_in")),
            ("micros_per_gb_out", json!(u64::MAX), Some("/micros_per_gb_out")),
            ("job_micros_min", json!(price_max), None),
            ("job_micros_min", json!(price_max + 1), Some("/job_micros_min")),
            ("micros_per_gb_hour", json!(price_max), None),
            ("micros_per_gb_hour", json!(price_max + 1), Some("/micros_per_gb_hour")),
            ("cached_per_mille", json!(0), None),
            ("cached_per_mille", json!(1001), Some("/cached_per_mille")),
            ("free_flops_per_month", json!(u64::MAX), None),
            ("in_force_from_unix_s", json!(UNIX_SECONDS_MAX), None),
            ("in_force_from_unix_s", json!(UNIX_SECONDS_MAX + 1), Some("/in_force_from_unix_s")),
            ("volume_tiers", json!([tier(0, 1000), tier(1, 0), tier(u64::MAX, 5)]), None),
            ("volume_tiers", json!([tier(0, 1001)]), Some("/volume_tiers/0/per_mille")),
            ("volume_tiers", json!([tier(5, 9), tier(5, 8)]), Some("/volume_tiers/1/from_flops")),
            ("volume_tiers", json!(vec![tier(0, 1); VOLUME_TIERS_MAX + 1]), Some("/volume_tiers")),
            ("currency", json!("euro"), Some("three capital letters")),
            ("discount", json!(1), Some("unknown field `discount`")),
        ] {
            let found = written(|terms| terms[name] = value.clone());
            match (found, expected) {
                (Ok(_), None) => {}
                (Err(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
                (found, expected) => panic!("{name} {value}: {found:?}, not {expected:?}"),
            }
        }
    }

    /// Prices that there were not when a tariff was written change nothing for it, and it is
    /// written again as it was.
    #[test]
    fn what_came_later_may_be_left_out() {
        let later = [
            "free_flops_per_month",
            "volume_tiers",
            "in_force_from_unix_s",
            "micros_per_gb_hour",
            "cached_per_mille",
        ];
        let tariff = written(|terms| {
            let terms = terms.as_object_mut().expect("an object");
            for name in later {
                assert!(terms.remove(name).is_some(), "{name}");
            }
        });
        let standard = Terms::clone(&Tariff::standard());
        let plain = Terms { micros_per_gb_hour: 0, cached_per_mille: 1000, ..standard };
        let tariff = tariff.expect("sound terms");
        assert_eq!(*tariff, plain);
        let again = serde_json::to_value(tariff).expect("JSON");
        assert_eq!(later[3..].iter().filter(|name| again.get(**name).is_some()).count(), 0);
    }
}
