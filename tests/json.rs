//! The JSON reader: every number rounded as the standard library rounds it, and every text taken or
//! refused as serde_json does.

use std::fmt::{Debug, Display, LowerExp};
use std::str::FromStr;

use gemmule::api::MultiplyRequest;
use gemmule::api::encode::{Encoder, Layout};
use gemmule::gemm::{Element, Shape};
use gemmule::json::{Cursor, Error, Kind, NESTING_MAX, Number, NumberArray, Skip};
use gemmule::problem::ProblemKind;
use serde_json::Value;

mod support;

use support::random::Random;

/// A number's text, read by the cursor, must be what the standard library makes of it.
fn check<T>(text: &str)
where
    T: Number + FromStr<Err: Debug> + PartialEq + Debug + Display,
{
    let expected: T = text.parse().expect(text);
    let found = Cursor::new(text.as_bytes()).number::<T>();
    if expected.is_finite() {
        // Printed, zero has its sign.
        assert_eq!(found.map(|found| found.to_string()), Ok(expected.to_string()), "{text}");
    } else {
        assert_eq!(found, Err(Error::OutOfRange), "{text}");
    }
}

fn check_both(text: &str) {
    check::<f64>(text);
    check::<f32>(text);
}

/// A number in several spellings.
fn check_spellings<T>(number: T)
where
    T: Number + FromStr<Err: Debug> + PartialEq + Debug + Display + LowerExp,
{
    if number.is_finite() {
        check::<T>(&format!("{number:e}"));
        check::<T>(&format!("{number:.16e}"));
        check::<T>(&format!("{number:.8e}"));
        check::<T>(&format!("{number:.18e}"));
        check::<T>(&format!("{number:.19e}"));
        check::<T>(&format!("{number:.30e}"));
        check::<T>(&number.to_string());
    }
}

#[test]
fn any_bits_are_read_back() {
    let mut random = Random::new(4);
    for _ in 0..50_000 {
        let bits = random.next();
        check_spellings(f64::from_bits(bits));
        check_spellings(f32::from_bits(bits as u32));
        // The subnormal ones are rare among any.
        check_spellings(f64::from_bits(bits >> (12 + bits % 52)));
        check_spellings(f32::from_bits(bits as u32 >> (9 + bits % 23)));
    }
}

#[test]
fn any_digits_at_any_exponent_are_rounded_once() {
    let mut random = Random::new(5);
    for _ in 0..100_000 {
        let significand = random.next() >> random.below(64);
        let exponent = random.below(700) as i64 - 370;
        check_both(&format!("{significand}e{exponent}"));
        check_both(&format!("-{significand}E{}", exponent / 8));
        let digits = significand.to_string();
        let (whole, fraction) = digits.split_at(digits.len() / 2);
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        check_both(&format!("{whole}.0{fraction}"));
        check_both(&format!("{whole}.{fraction}{significand}e+{}", exponent.unsigned_abs() / 16));
    }
}

/// Exactly between two numbers, and a little to either side: to even, down, up.
#[test]
fn halves_go_to_even() {
    let mut random = Random::new(6);
    for _ in 0..20_000 {
        // Between neighbours of f64 that are whole numbers, with one digit behind the point.
        let odd = (1 << 53) | random.next() >> 11 | 1;
        check::<f64>(&odd.to_string());
        check::<f64>(&format!("{odd}.0000000000000000000000001"));
        check::<f64>(&format!("{}.9999999999999999999999999", odd - 1));
        let odd = (1 << 24) | random.next() >> 40 | 1;
        check::<f32>(&odd.to_string());
        check::<f32>(&format!("{odd}.0000000000000000000000001"));
        // Half of the lowest bit, in binary fractions.
        let bits = random.next() >> 2;
        let low = f64::from(f32::from_bits((bits as u32 >> 2) + (64 << 23)));
        let high = f64::from(f32::from_bits((bits as u32 >> 2) + (64 << 23) + 1));
        let half = f64::midpoint(low, high);
        check::<f32>(&format!("{half:.160}"));
        check::<f32>(&format!("{half:.160}1"));
        check::<f32>(&format!("{half:.17e}"));
    }
}

#[test]
fn the_ends_of_the_ranges_are_rounded() {
    for text in [
        "0",
        "-0",
        "0.0",
        "0e0",
        "-0e-999999999999999999999",
        "0e999999999999999999999",
        "1e-999999999999999999999",
        "1e999999999999999999999",
        "1e308",
        "1e309",
        "1e-323",
        "1e-324",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.47e-324",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "2.2250738585072014e-308",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "179769313486231580793728971405301e276",
        "3.4028234e38",
        "3.4028235e38",
        "3.4028235677973366e38",
        "3.4028235677973365e38",
        "3.4028236e38",
        "1e38",
        "1e39",
        "1e-45",
        "7e-46",
        "7.1e-46",
        "1.1754943e-38",
        "1.1754944e-38",
        "9007199254740993",
        "9007199254740992.5",
        "18446744073709551615",
        "18446744073709551616",
        "9999999999999999999",
        "99999999999999999999",
        "1.00000005960464477540",
        "12345678",
        "123456789",
        "0.12345678",
        "0.123456789012345678",
        "1e22",
        "1e23",
        "8.5e22",
        "0.000000000000000000000000000000000000000000000000000000000012345678901234567",
    ] {
        check_both(text);
    }
    let nines = "9".repeat(2000);
    check_both(&format!("0.{nines}"));
    check_both(&format!("{nines}e-1990"));
    check_both(&format!("0.{}1e1100", "0".repeat(1090)));
    // An exact half of f64 has up to 767 digits.
    let tiny = format!("{:.1074}", f64::from_bits(1));
    check_both(&tiny);
    check_both(&format!("{tiny}1"));
}

/// Bodies that are in order; what is made of them mostly isn't.
const BODIES: &[&str] = &[
    r#"{"a":[[1,-2.5e3],[3,0.125]],"b":[[5,6],[7,8]],"dtype":"f32","transpose_a":true}"#,
    r#"{ "a" : [ [ 1 ] , [ 2 ] ] , "b" : {"shape": [1, 2], "data": [3e-2, 4]}, "alpha": -1.5 }"#,
    r#"{"\u0061":[[0]],"b":{"data":[],"shape":[1,0]},"c":[[]],"beta":0,"transpose_b":false}"#,
];

#[test]
fn what_is_json_is_taken_and_what_is_not_is_refused() {
    const PIECES: &[&str] = &[
        ",",
        "[",
        "]",
        "{",
        "}",
        ":",
        "\"",
        "\\",
        " ",
        "\n",
        "0",
        "1",
        "9",
        "-",
        "+",
        ".",
        "e",
        "E",
        "null",
        "true",
        "\u{e9}",
        "\\u00e9",
        "\\ud800",
        "\\ud83d\\ude00",
        "\u{1}",
        "\u{0}",
        "00",
        "1.",
        "[]",
        "{}",
        "\"\"",
        "1e5",
        "-0",
        "1e400",
        "NaN",
    ];
    let mut random = Random::new(7);
    let mut taken = 0;
    for round in 0..100_000 {
        let mut body = BODIES[round % BODIES.len()].as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(body.len() as u64 + 1) as usize;
            let piece = PIECES[random.below(PIECES.len() as u64) as usize].as_bytes();
            let end = (at + random.below(3) as usize).min(body.len());
            match random.below(4) {
                0 => drop(body.drain(at..end)),
                1 => drop(body.splice(at..end, piece.iter().copied())),
                2 => drop(body.splice(at..at, piece.iter().copied())),
                _ => drop(body.splice(at..end, [random.next() as u8])),
            }
        }
        taken += usize::from(compare(&body));
    }
    assert!(taken > 3_000, "{taken} of the mutations are in order");
}

/// Whether the body is one of a request; serde_json must agree that it is JSON, or isn't.
fn compare(body: &[u8]) -> bool {
    let shown = String::from_utf8_lossy(body);
    let found = MultiplyRequest::parse(body);
    let expected = serde_json::from_slice::<Value>(body);
    match (&found, &expected) {
        (Err(problem), Ok(value)) if problem.kind == ProblemKind::MalformedJson => {
            assert!(!value.is_object(), "{shown}: {}", problem.detail);
        }
        (Ok(_), Err(error)) => panic!("{shown}: {error}"),
        (Ok(MultiplyRequest::F64(operation)), Ok(value)) => {
            for (extent, matrix) in [(operation.a, &value["a"]), (operation.b, &value["b"])] {
                let count = extent.rows * extent.columns;
                let elements = &operation.elements[extent.start..extent.start + count];
                assert_eq!(elements, numbers(matrix), "{shown}");
            }
        }
        _ => {}
    }
    // Any value may be passed over, in slices of any size.
    let (mut cursor, mut skip) = (Cursor::new(body), Skip::default());
    let skipped = loop {
        match skip.advance(&mut cursor, 1) {
            Ok(false) => {}
            Ok(true) => break cursor.end(),
            Err(error) => break Err(error),
        }
    };
    let is_range = |error: &serde_json::Error| error.to_string().contains("out of range");
    let expected = match expected {
        Err(error) if is_range(&error) => return found.is_ok(),
        expected => expected,
    };
    assert_eq!(skipped.is_ok(), expected.is_ok(), "{shown}: {skipped:?}, {expected:?}");
    found.is_ok()
}

/// The numbers of a matrix, in either form.
fn numbers(matrix: &Value) -> Vec<f64> {
    match matrix {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::Object(members) => numbers(&members["data"]),
        value => vec![value.as_f64().expect("a number")],
    }
}

#[test]
fn nesting_is_bounded_as_it_is_by_serde_json() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [1, NESTING_MAX as usize, NESTING_MAX as usize + 1] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let expected = serde_json::from_str::<Value>(&text).is_ok();
            let skipped = Skip::default().advance(&mut Cursor::new(text.as_bytes()), usize::MAX);
            assert_eq!(skipped == Ok(true), expected, "{depth}");
        }
    }
}

#[test]
fn strings_are_read_as_by_serde_json() {
    for text in [
        r#""""#,
        r#""abc""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0000\uFFFF\u00e9""#,
        r#""a\ud83d\ude00b""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\u0041""#,
        r#""\ud83dA""#,
        r#""\u12""#,
        r#""\x""#,
        "\"\u{e9}\u{1f600}\"",
        "\"a\nb\"",
        r#""a"#,
        r#""\"#,
        "\"\u{7f}\"",
    ] {
        let found = Cursor::new(text.as_bytes()).string().map(|string| string.into_owned());
        assert_eq!(found.ok(), serde_json::from_str::<String>(text).ok(), "{text}");
    }
    for bytes in [&b"\"\xff\""[..], b"\"\xc3\"", b"\"a\\n\xc3\x28\""] {
        assert!(Cursor::new(bytes).string().is_err(), "{bytes:?}");
    }
}

/// The numbers of an array read in slices of so many tokens, with its shape; or what is wrong, with
/// its place.
fn array(text: &str, ranks: [usize; 2], tokens: usize) -> (Result<Vec<f64>, Error>, Vec<usize>) {
    let mut array = NumberArray::new(ranks[0]..=ranks[1], 5);
    let (mut elements, mut at) = (Vec::new(), 0);
    loop {
        let mut cursor = Cursor::from(text.as_bytes(), at);
        match array.advance(&mut cursor, &mut elements, tokens) {
            Ok(true) => return (Ok(elements), array.shape().collect()),
            Ok(false) => at = cursor.position(),
            Err(error) => return (Err(error), array.place().to_vec()),
        }
    }
}

const SLICES: [usize; 4] = [1, 2, 3, 1000];

#[rustfmt::skip]
const ARRAYS: &[(&str, [usize; 2], &[usize])] = &[
    ("[]", [1, 3], &[0]),
    ("[[],[]]", [1, 3], &[2, 0]),
    ("[1, 2,3 ,4\n]", [1, 3], &[4]),
    ("[[[1],[2]],[[3],[4]],[[5],[6]]]", [1, 3], &[3, 2, 1]),
    ("[ [1, 2] , [3, 4] ]", [2, 2], &[2, 2]),
    ("[1,2,3,4,5]", [1, 1], &[5]),
];

#[test]
fn arrays_are_read_at_any_rank_and_in_any_slices() {
    for (text, ranks, expected) in ARRAYS {
        for tokens in SLICES {
            let (elements, shape) = array(text, *ranks, tokens);
            let counted = (1..=expected.iter().product()).map(|number| number as f64);
            assert_eq!(elements, Ok(counted.collect()), "{text}");
            assert_eq!(shape, *expected, "{text}");
        }
    }
}

#[test]
fn arrays_have_one_shape() {
    let number = |found| Error::Mismatch { wanted: Kind::Number, found };
    let array_wanted = |found| Error::Mismatch { wanted: Kind::Array, found };
    let ragged = |index, length, first| Error::Ragged { index, length, first };
    let malformed = |at, wanted| Error::Malformed { at, wanted };
    #[rustfmt::skip]
    let cases: &[(&str, [usize; 2], Error, &[usize])] = &[
        ("[]", [2, 2], Error::Empty, &[]),
        ("[[1],[]]", [1, 3], ragged(1, 0, 1), &[1]),
        ("[[1,2],[1],[3]]", [1, 3], ragged(1, 1, 2), &[1]),
        ("[[1],2]", [1, 3], array_wanted(Kind::Number), &[1]),
        ("[1,[2]]", [1, 3], number(Kind::Array), &[1]),
        ("[[1]]", [1, 1], number(Kind::Array), &[0]),
        ("[1]", [2, 3], array_wanted(Kind::Number), &[0]),
        ("[[[],[]],[]]", [1, 3], Error::Empty, &[1]),
        ("[1,2,3,4,5,6]", [1, 1], Error::TooLong, &[6]),
        ("[[1],[1],[1],[1],[1],[1]]", [1, 2], Error::TooLong, &[6]),
        ("[1,\"\"]", [1, 1], number(Kind::String), &[1]),
        ("[1,1e400]", [1, 1], Error::OutOfRange, &[1]),
        ("7", [1, 3], array_wanted(Kind::Number), &[]),
        ("[1,]", [1, 3], malformed(3, "a value"), &[1]),
        ("[1,.5,12345678]", [1, 3], malformed(3, "a value"), &[1]),
        ("[1,/5,12345678]", [1, 3], malformed(3, "a value"), &[1]),
        ("[1,--5,1234567]", [1, 3], malformed(4, "a digit"), &[1]),
        ("[1,1234567.,12]", [1, 3], malformed(11, "a digit"), &[1]),
        ("[1,-01.5,12345]", [1, 3], malformed(4, "no leading zero"), &[1]),
        ("[1 2]", [1, 3], malformed(3, "a comma or the array's end"), &[1]),
        ("[1", [1, 3], malformed(2, "a comma or the array's end"), &[1]),
    ];
    for (text, ranks, expected, expected_place) in cases {
        for tokens in SLICES {
            let (found, place) = array(text, *ranks, tokens);
            assert_eq!(found.as_ref(), Err(expected), "{text}");
            assert_eq!(place, *expected_place, "{text}");
        }
    }
}

/// The elements as they are printed, in one row.
fn printed<T: Element>(elements: Vec<T>) -> String {
    let shape = Shape { m: 1, n: elements.len(), k: 0 };
    let mut encoder = Encoder::new(elements, shape, b"", Layout::Flat).expect("memory");
    while !encoder.advance(&mut || true).expect("finite elements") {}
    String::from_utf8(encoder.into_text().0).expect("digits")
}

#[test]
fn numbers_are_printed_as_by_serde_json() {
    let mut random = Random::new(8);
    let mut doubles = vec![0.0, -0.0, 1.0, -1.0, 9.0, 10.0, 0.5, 1e16, 5e-324, -f64::MAX];
    let mut singles = vec![0.0, -0.0, 1.0, -1.0, 100.0, 1e-45, 1e10, f32::MIN_POSITIVE, f32::MAX];
    for shift in 20..=30 {
        for beside in [-1.5, -1.0, 0.0, 1.0, 2.0] {
            doubles.extend([1, -1].map(|sign| f64::from(sign << shift) + beside));
            singles.extend([1, -1].map(|sign| (sign << shift) as f32 + beside as f32));
        }
    }
    for _ in 0..20_000 {
        let bits = random.next();
        let short = (bits >> 40) as f64 / 1000.0;
        doubles.extend([f64::from_bits(bits), short, (bits >> (40 + bits % 20)) as f64]);
        singles.extend([f32::from_bits(bits as u32), short as f32, (bits >> 44) as f32]);
    }
    doubles.retain(|number| number.is_finite());
    singles.retain(|number| number.is_finite());
    assert_eq!(serde_json::to_string(&doubles).ok(), Some(printed(doubles)));
    assert_eq!(serde_json::to_string(&singles).ok(), Some(printed(singles)));
}

/// Those of few digits are printed a few at a time, if there are as many beside each other.
#[test]
fn integers_are_printed_as_by_serde_json() {
    let mut random = Random::new(9);
    let mut integers = vec![0, 1 << 24, (1 << 24) - 1, (1 << 24) + 2, 1 << 53];
    for digits in 1..=10 {
        let end = 10_i64.pow(digits);
        integers.extend([end - 1, end, end + 1]);
        integers.extend((0..1000).map(|_| random.below(end as u64) as i64));
    }
    let integers = integers.iter().flat_map(|integer| [*integer, -integer]);
    let doubles: Vec<f64> = integers.clone().map(|integer| integer as f64).collect();
    let singles: Vec<f32> = integers.map(|integer| integer as f32).collect();
    assert_eq!(serde_json::to_string(&doubles).ok(), Some(printed(doubles)));
    assert_eq!(serde_json::to_string(&singles).ok(), Some(printed(singles)));
    for stranger in [0.5, -0.0, 1e8, 1e300] {
        for place in 0..8 {
            let mut doubles = vec![-7.0; 9];
            doubles[place] = stranger;
            assert_eq!(serde_json::to_string(&doubles).ok(), Some(printed(doubles)));
        }
    }
}
