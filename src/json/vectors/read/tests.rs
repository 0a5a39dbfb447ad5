use alloc::format;
use alloc::string::String;

use super::*;
use crate::json::print::tests::random;

const NUMBER: &str = "-0.12345678901234567";

fn flat(left: usize) -> Rows {
    Rows { length: usize::MAX, position: 2, left, ended: 0 }
}

/// So many numbers, behind which there is enough for all of them to be within a window.
fn row(count: usize) -> String {
    let mut row = String::from("[");
    for _ in 0..count {
        row.push_str(NUMBER);
        row.push(',');
    }
    row.push_str(&" ".repeat(SPAN + AROUND));
    row
}

#[test]
fn all_but_those_at_the_ends_are_read_where_the_processor_can() {
    let (text, first) = (row(1000), 1 + 2 * (NUMBER.len() + 1));
    let mut elements = Vec::with_capacity(1000);
    let at = append_numbers::<f64>(text.as_bytes(), first, &mut elements, &mut flat(usize::MAX));
    if !are_here() {
        // tests/json_rows.rs passes without them.
        assert_eq!((at, elements.len()), (first, 0));
        return;
    }
    assert_eq!(at, 1 + 1000 * (NUMBER.len() + 1));
    let expected: f64 = NUMBER.parse().expect("a number");
    assert_eq!(elements, [expected; 998]);
    assert_eq!(elements.capacity(), 1000);
}

type Append = fn(&[u8], usize, &mut Vec<f64>, &mut Rows) -> usize;

/// The ways of this processor, each alone.
fn ways() -> Vec<Append> {
    let mut ways: Vec<Append> = Vec::new();
    // SAFETY: the processor has what it takes, as asked before it is among the ways.
    #[allow(unsafe_code)]
    let (narrow, wide): (Append, Append) = (
        |text, at, elements, rows| unsafe { append_spans(text, at, elements, rows) },
        |text, at, elements, rows| unsafe { read_wide::append_batches(text, at, elements, rows) },
    );
    if are_here() {
        ways.push(narrow);
    }
    if has_byte_vectors() {
        ways.push(wide);
    }
    ways
}

/// A number as text, most of them of digits and a point.
fn number_text(random: u64, is_odd: bool) -> String {
    const ODD: [&str; 8] = [
        "7",
        "-1e3",
        "2.5e-3",
        "123456789012.1234567890123",
        "-0.0",
        "1000000000000000000.5",
        "0.00000000000000001",
        "-12345678901234567890",
    ];
    if is_odd {
        return ODD[(random % 8) as usize].into();
    }
    let decimals = (random >> 8) as usize % 17 + 1;
    let whole = (random >> 16) % 10_u64.pow((random >> 40) as u32 % 3);
    let fraction = (random >> 12) % 10_u64.pow(decimals as u32);
    let sign = if random & 1 == 0 { "" } else { "-" };
    format!("{sign}{whole}.{fraction:0decimals$}")
}

/// Rows of such numbers as text, of which one in so many is odd, behind a first row; and all of
/// them.
fn rows_of(length: usize, odd: u64, seed: usize, is_spaced: bool) -> (String, Vec<f64>) {
    let (within, between) = if is_spaced { (", ", "], [") } else { (",", "],[") };
    let (mut text, mut numbers) = (String::from("[["), Vec::new());
    for (index, bits) in random().skip(seed).take(2000).enumerate() {
        let number = number_text(bits >> 11, (bits >> 7).is_multiple_of(odd));
        match index {
            0 => {}
            _ if index % length == 0 => text.push_str(between),
            _ => text.push_str(within),
        }
        text.push_str(&number);
        numbers.push(number.parse().expect("a number"));
    }
    text.push_str(&" ".repeat(5000));
    (text, numbers)
}

/// Where a number of the first row starts that has enough in front, and how many are before it.
fn start_in(text: &str, is_spaced: bool) -> (usize, usize) {
    let comma = text[AROUND..].find(',').expect("a comma") + AROUND;
    (comma + 1 + usize::from(is_spaced), text[..=comma].matches(',').count())
}

#[test]
fn each_way_reads_numbers_up_to_where_it_stops() {
    for way in ways() {
        for (case, odd) in [1 << 40, 300, 40, 15, 9].into_iter().enumerate() {
            let mut most = 0;
            for length in [16, 17, 31, 32, 100, 513] {
                for is_spaced in [false, true] {
                    let (text, numbers) = rows_of(length, odd, length, is_spaced);
                    let (at, passed) = start_in(&text, is_spaced);
                    let left = numbers.len() - passed;
                    let mut rows = Rows { length, position: passed, left, ended: 0 };
                    let mut elements = Vec::new();
                    let end = way(text.as_bytes(), at, &mut elements, &mut rows);
                    let count = elements.len();
                    assert!(elements == numbers[passed..][..count], "{length} {odd}");
                    assert_eq!(rows.left, left - count);
                    assert_eq!(rows.position, (passed + count) % length);
                    assert_eq!(rows.ended, (passed + count) / length);
                    assert_eq!(text[..end].matches(',').count(), passed + count);
                    most = most.max(count);
                }
            }
            assert!(most > 1000 || case > 1, "nearly all are read of {odd}: {most}");
        }
    }
}

#[test]
fn each_way_stops_at_what_is_no_number() {
    let (clean, number_bytes) = (row(600), NUMBER.len() + 1);
    let places = [40, 55, 56, 57, 200, 399]
        .into_iter()
        .flat_map(|broken| (0..number_bytes).map(move |byte| 1 + broken * number_bytes + byte));
    for place in places {
        for byte in *b" \n[].,-+e/:x0" {
            let mut text = clean.clone().into_bytes();
            text[place] = byte;
            for way in ways() {
                let mut elements = Vec::new();
                let first = 1 + 2 * number_bytes;
                let end = way(&text, first, &mut elements, &mut flat(usize::MAX));
                // What is read is all in order, and behind it is a comma.
                let read = [b"[", &text[first..end - 1], b"]"].concat();
                let expected: Vec<f64> = serde_json::from_slice(&read).unwrap_or_default();
                let is_same = elements == expected && text[end - 1] == b',';
                assert!(is_same, "{place} {:?} {end} {}", byte as char, elements.len());
            }
        }
    }
}

#[test]
fn each_way_stops_at_what_is_no_separator() {
    let (length, mut most) = (17, 0);
    for is_spaced in [false, true] {
        let (clean, numbers) = rows_of(length, 1 << 40, 3, is_spaced);
        let (first, passed) = start_in(&clean, is_spaced);
        let separators = clean
            .bytes()
            .enumerate()
            .filter(|(at, byte)| b"[], ".contains(byte) && (1000..1800).contains(at));
        for ((place, _), byte) in separators.zip((0..).map(|at| b" [],.-7"[at % 7])) {
            let mut text = clean.clone().into_bytes();
            text[place] = byte;
            for way in ways() {
                let left = numbers.len() - passed;
                let mut rows = Rows { length, position: passed, left, ended: 0 };
                let mut elements = Vec::new();
                let end = way(&text, first, &mut elements, &mut rows);
                // What is read is all in order, and so is another number behind it.
                let read = [&text[..end], b"0]]"].concat();
                let expected = serde_json::from_slice::<Vec<Vec<f64>>>(&read);
                let expected = expected.unwrap_or_default().concat();
                let is_same = expected.len() == passed + elements.len() + 1
                    && expected[passed..].starts_with(&elements);
                assert!(is_same, "{place} {:?} {end} {}", byte as char, elements.len());
                assert_eq!(rows.ended, (passed + elements.len()) / length, "{place}");
                most = most.max(elements.len());
            }
        }
    }
    assert!(most > 50 || ways().is_empty(), "some are read up to there: {most}");
}

#[test]
fn no_more_are_read_than_are_wanted() {
    let text = row(100);
    for wanted in [0, 1, 15, 16, 17, 40] {
        let first = 1 + 2 * (NUMBER.len() + 1);
        let mut elements = Vec::with_capacity(wanted);
        let at = append_numbers::<f32>(text.as_bytes(), first, &mut elements, &mut flat(wanted));
        assert!(elements.len() == wanted || at == first, "{wanted}");
        assert_eq!((at - first) / (NUMBER.len() + 1), elements.len());
    }
}
