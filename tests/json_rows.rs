//! Long rows of numbers, which are read many at once: every number must be what the standard
//! library makes of it, and every row taken or refused as its end is, which is read one by one.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use gemmule::json::{Cursor, Error, Number, NumberArray};

#[path = "support/random.rs"]
mod random;

use random::Random;

/// Numbers of a row.
const COLUMNS: usize = 100;
/// Bytes behind an array, so that its last rows are no nearer to the end than its first.
const TAIL: &str = r#","dtype":"f64"}"#;

/// A number as most are written: digits with a point.
fn decimal(random: &mut Random) -> String {
    let sign = if random.chance(500) { "-" } else { "" };
    let whole = random.next() % 10_u64.pow(random.below(10) as u32);
    let fraction_digits = 1 + random.below(19) as usize;
    let fraction = random.next() % 10_u64.pow(fraction_digits as u32);
    format!("{sign}{whole}.{fraction:0fraction_digits$}")
}

/// The middle of two numbers of `f64`, or of `f32`, or a decimal right beside it.
fn near_middle(random: &mut Random) -> String {
    let fraction_digits = 1 + random.below(3) as u32;
    let mantissa_bits = if random.chance(500) { 53 } else { 24 };
    // An odd multiple of the last bit's half, as a fraction of eighths at most.
    let odd = (1_u64 << mantissa_bits) | random.next() >> (64 - mantissa_bits) | 1;
    let scaled = u128::from(odd) * 5_u128.pow(fraction_digits);
    let power = 10_u128.pow(fraction_digits);
    let (whole, fraction) = (scaled / power, scaled % power);
    let width = fraction_digits as usize;
    // Up to as many digits as a word holds.
    let more = 18_usize.saturating_sub(whole.to_string().len() + width);
    match random.below(4) {
        0 => format!("{whole}.{fraction:0width$}"),
        1 => format!("{whole}.{fraction:0width$}{:0more$}", 0),
        2 => format!("{whole}.{fraction:0width$}{:0more$}", 1),
        _ => format!("{whole}.{:0width$}{}", fraction.saturating_sub(1), "9".repeat(more)),
    }
}

/// Numbers that others stand between, and those.
fn other(random: &mut Random) -> String {
    let number = f64::from_bits(random.next());
    match random.below(9) {
        0 => "0".into(),
        1 => "-0.0".into(),
        2 => random.below(1000).to_string(),
        3 => random.next().to_string(),
        4 if number.is_finite() => format!("{number:e}"),
        5 => format!("{:e}", f64::from_bits(random.next() >> 12 | 1023 << 52) - 1.5),
        6 => format!("0.{:030}", random.next()),
        7 => format!("{}.5e-7", random.below(100)),
        _ => near_middle(random),
    }
}

fn text_of(rows: &[Vec<String>], separator: &str) -> String {
    let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", row.join(separator))).collect();
    format!("[{}]{TAIL}", rows.join(separator))
}

fn read<T: Number>(text: &str, tokens: usize) -> Result<Vec<T>, Error> {
    let (mut array, mut elements) = (NumberArray::new(2..=2, usize::MAX), Vec::new());
    let mut cursor = Cursor::new(text.as_bytes());
    while !array.advance(&mut cursor, &mut elements, tokens)? {}
    assert_eq!(&text[cursor.position()..], TAIL);
    Ok(elements)
}

/// Printed, a zero has its sign.
fn check<T>(rows: &[Vec<String>], separator: &str, tokens: usize)
where
    T: Number + FromStr<Err: Debug> + Display,
{
    let found = read::<T>(&text_of(rows, separator), tokens).expect("rows of numbers");
    let numbers: Vec<&String> = rows.iter().flatten().collect();
    assert_eq!(found.len(), numbers.len());
    for (found, text) in found.iter().zip(numbers) {
        let expected: T = text.parse().expect(text);
        assert_eq!(found.to_string(), expected.to_string(), "{text}");
    }
}

#[test]
fn numbers_are_what_they_are_alone() {
    let mut random = Random::new(11);
    for round in 0..2000 {
        // From rows without others to rows of little else.
        let per_mille = [0, 0, 5, 100, 500, 950][round % 6];
        let columns = [COLUMNS, 37, 13, 500, 8, 2, 1][round % 7];
        let mut number = || match random.chance(per_mille) {
            true => other(&mut random),
            false => decimal(&mut random),
        };
        let rows: Vec<Vec<String>> =
            (0..3 + 200 / columns).map(|_| (0..columns).map(|_| number()).collect()).collect();
        let separator = [",", ", ", ",  "][round % 3];
        check::<f64>(&rows, separator, [2048, 50][round % 2]);
        let is_f32 = |text: &String| text.parse::<f32>().is_ok_and(f32::is_finite);
        if rows.iter().flatten().all(is_f32) {
            check::<f32>(&rows, separator, 2048);
        }
    }
}

#[test]
fn rows_of_other_lengths_are_refused_where_they_are() {
    let mut random = Random::new(15);
    for round in 0..3000 {
        let columns = 1 + random.below(30) as usize;
        let count = 2 + 300 / columns;
        let wrong = 1 + random.below(count as u64 - 1) as usize;
        let mut rows: Vec<Vec<String>> =
            (0..count).map(|_| (0..columns).map(|_| decimal(&mut random)).collect()).collect();
        let length = match random.chance(500) {
            true => columns + 1 + random.below(3) as usize,
            false => random.below(columns as u64) as usize,
        };
        rows[wrong] = (0..length).map(|_| decimal(&mut random)).collect();
        let text = text_of(&rows, [",", ", "][round % 2]);
        let (mut array, mut elements) = (NumberArray::new(2..=2, usize::MAX), Vec::<f64>::new());
        let mut cursor = Cursor::new(text.as_bytes());
        let found = loop {
            if let found @ (Ok(true) | Err(_)) = array.advance(&mut cursor, &mut elements, 500) {
                break found;
            }
        };
        let expected = Error::Ragged { index: wrong, length, first: columns };
        assert_eq!(found, Err(expected), "{text}");
        assert_eq!((array.place(), elements.len()), (&[wrong][..], wrong * columns + length));
    }
}

#[test]
fn no_more_rows_are_read_than_there_may_be() {
    let mut random = Random::new(16);
    for columns in [1, 3, 20] {
        let rows: Vec<Vec<String>> =
            (0..200).map(|_| (0..columns).map(|_| decimal(&mut random)).collect()).collect();
        let text = text_of(&rows, ",");
        for (length_max, expected) in [(199, Err(Error::TooLong)), (200, Ok(true))] {
            let mut array = NumberArray::new(2..=2, length_max);
            let mut elements = Vec::<f64>::new();
            let mut cursor = Cursor::new(text.as_bytes());
            let found = array.advance(&mut cursor, &mut elements, usize::MAX);
            assert_eq!((found, elements.len()), (expected, 200 * columns));
        }
    }
}

#[test]
fn middles_of_two_numbers_go_to_even() {
    let mut random = Random::new(12);
    for _ in 0..300 {
        let row: Vec<String> = (0..COLUMNS).map(|_| near_middle(&mut random)).collect();
        check::<f64>(&[row.clone(), row.clone()], ",", 2048);
        check::<f32>(&[row.clone(), row], ",", 2048);
    }
}

#[test]
fn what_is_wrong_is_found_where_it_is() {
    const WRONG: &[&str] = &[
        "01.5",
        "-01.5",
        "00.5",
        "1.",
        "-1.",
        ".5",
        "-.5",
        "-",
        "",
        "+1.5",
        "--1.5",
        "1.5.5",
        "1..5",
        "1.5e",
        "1.5e+",
        "1.5ee5",
        "1.5-",
        "1.5 1.5",
        "1 .5",
        "1. 5",
        "1.5x",
        "x1.5",
        "1.5,",
        "1.5:5",
        "1:5",
        "1/5",
        "1.\u{ae}",
        "1.5\u{0}",
        "\t1.5\u{b}",
        "1.5]",
        "[1.5",
        "null",
        "\"1.5\"",
        "1e400",
        "123456789012345678901234567890.5e300",
        "NaN",
        "1.5e5.5",
        "1.;5",
        "1.5;1.5",
        "1.5-1.5",
    ];
    let mut random = Random::new(13);
    for wrong in WRONG {
        for _ in 0..40 {
            let mut row: Vec<String> = (0..COLUMNS).map(|_| decimal(&mut random)).collect();
            let at = random.below(COLUMNS as u64 - 1) as usize;
            row[at] = (*wrong).into();
            // The same row without what stands before, and so short that it is read one by one.
            let whole = text_of(&[row.clone()], ",");
            let end = text_of(&[row[at..COLUMNS.min(at + 2)].to_vec()], ",");
            let cut: usize = row[..at].iter().map(|number| number.len() + 1).sum();
            let expected = read::<f64>(&end, 2048).map_err(|error| moved(error, cut));
            let expected = expected.map(|_| ()).expect_err(wrong);
            let found = read::<f64>(&whole, 2048).map(|_| ()).expect_err(wrong);
            assert_eq!(found, expected, "{wrong:?} at {at} of {whole}");
        }
    }
}

/// The error of a text that so many bytes were cut from.
fn moved(error: Error, bytes: usize) -> Error {
    match error {
        Error::Malformed { at, wanted } => Error::Malformed { at: at + bytes, wanted },
        error => error,
    }
}

#[test]
fn any_byte_at_any_place_is_taken_or_refused_as_it_is_by_serde_json() {
    let mut random = Random::new(14);
    let mut taken = 0;
    for _ in 0..30_000 {
        let row: Vec<String> = (0..40).map(|_| decimal(&mut random)).collect();
        let mut text = format!("[{}]", row.join(",")).into_bytes();
        let at = random.below(text.len() as u64) as usize;
        const BYTES: &[u8] = b"0123456789.,-+eE []\t/:;\"\x00\x80\xae\xad\xb5";
        text[at] = BYTES[random.below(BYTES.len() as u64) as usize];
        let expected = serde_json::from_slice::<Vec<f64>>(&text).ok();
        let (mut array, mut found) = (NumberArray::new(1..=1, usize::MAX), Vec::<f64>::new());
        let mut cursor = Cursor::new(&text);
        let is_read = array.advance(&mut cursor, &mut found, usize::MAX) == Ok(true);
        let is_taken = is_read && cursor.end().is_ok();
        assert_eq!(is_taken, expected.is_some(), "{}", text.escape_ascii());
        if let Some(expected) = expected.filter(|_| is_taken) {
            assert_eq!(found, expected, "{}", text.escape_ascii());
            taken += 1;
        }
    }
    assert!(taken > 5_000, "{taken} are in order");
}

/// White space where a separator has none, between numbers that are read at once.
#[test]
fn numbers_may_have_more_white_space_in_front_than_others() {
    let mut random = Random::new(16);
    for round in 0..3000 {
        let columns = [100, 20, 9][round % 3];
        let rows: Vec<Vec<String>> = (0..4 + 200 / columns)
            .map(|_| (0..columns).map(|_| decimal(&mut random)).collect())
            .collect();
        let separator = [",", ", "][round % 2];
        let mut text = text_of(&rows, separator);
        for _ in 0..1 + random.below(3) {
            let commas: Vec<usize> = text.match_indices(',').map(|(at, _)| at).collect();
            let space = ["\n", " ", "\t", "\r\n", "\n      "][random.below(5) as usize];
            let place = commas[random.below(commas.len() as u64 - 1) as usize];
            text.insert_str(place + random.below(2) as usize, space);
        }
        let found = read::<f64>(&text, 2048).expect("rows of numbers");
        let expected: Vec<f64> =
            rows.iter().flatten().map(|text| text.parse().expect("a number")).collect();
        assert!(found == expected, "{text}");
    }
}
