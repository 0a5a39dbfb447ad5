//! Whole numbers as the decimal fractions that people and spreadsheets read, without any rounding.

use alloc::format;
use alloc::string::{String, ToString};

/// `number` divided by 10^`places`, without zeros at its end.
fn decimal(number: i128, places: u32) -> String {
    let unit = 10_u128.pow(places);
    let magnitude = number.unsigned_abs();
    let (whole, rest) = (magnitude / unit, magnitude % unit);
    let sign = if number < 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = (unit + rest).to_string();
    // A digit before it keeps the zeros it begins with.
    format!("{sign}{whole}.{}", fraction[1..].trim_end_matches('0'))
}

/// An amount in units of its currency.
pub fn amount(micros: i128) -> String {
    decimal(micros, 6)
}

/// Operations in units of 10^12.
pub fn tera(flops: u128) -> String {
    decimal(i128::try_from(flops).unwrap_or(i128::MAX), 12)
}

/// Bytes in units of 10^9.
pub fn giga(bytes: u128) -> String {
    decimal(i128::try_from(bytes).unwrap_or(i128::MAX), 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (micros, text) in [
            (0, "0"),
            (1, "0.000001"),
            (10, "0.00001"),
            (999_999, "0.999999"),
            (1_000_000, "1"),
            (-1_500_000, "-1.5"),
            (-1, "-0.000001"),
            (9_007_199_254_740_991, "9007199254.740991"),
            (i128::MIN, "-170141183460469231731687303715884.105728"),
        ] {
            assert_eq!(amount(micros), text);
        }
        assert_eq!(tera(1_500_000_000_001), "1.500000000001");
    }
}
