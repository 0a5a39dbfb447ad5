//! `make bench-json`: arrays of f64 read from JSON and printed to it, against serde_json.
//!
//! The contestants take turns, so that whatever else the machine does meets all of them; a figure
//! is the median over the rounds. serde_json reads with `float_roundtrip`, without which it rounds
//! a tenth of all numbers with 17 digits wrong, into whichever of a flat vector and a vector of
//! rows is faster for it; what both read is compared first. Prints nanoseconds a number, then one
//! line a bar, and exits with 1 if one falls short.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use gemmule::api::encode::{Encoder, Layout};
use gemmule::gemm::Shape;
use gemmule::json::{Cursor, NumberArray, commas_before_quote};

#[path = "../tests/support/random.rs"]
#[allow(dead_code)]
mod random;

use random::Random;

const ROWS: usize = 400;
const COLUMNS: usize = 250;
const ROUNDS: usize = 21;
/// Runs of one contestant in a round, of which the fastest counts.
const RUNS: usize = 5;

fn main() -> ExitCode {
    let mut random = Random::new(1);
    let mut unit = || (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
    let digits: Vec<String> = (0..ROWS * COLUMNS).map(|_| seventeen_digits(unit())).collect();
    let decimals = (0..ROWS * COLUMNS).map(|_| format!("{:.3}", unit() * 1000.0)).collect();
    let integers = (0..ROWS * COLUMNS).map(|_| format!("{:.0}", unit() * 1e6)).collect();
    println!(
        "{:20} {:>9} {:>11} {:>9} {:>11}",
        "ns a number", "parse", "serde_json", "print", "serde_json"
    );
    let mut bars = Vec::new();
    for (name, numbers, parse_bound) in [
        ("17 digits", digits, Some(1.9)),
        ("3 decimals", decimals, Some(1.9)),
        ("integers", integers, None),
    ] {
        let figures = Figures::measure(&numbers);
        println!("{name:20} {figures}");
        let parse = figures.serde_parse / figures.parse;
        let print = figures.serde_print / figures.print;
        bars.extend(
            parse_bound.map(|bound| (format!("{name}: parsed, times serde_json"), parse, bound)),
        );
        bars.push((format!("{name}: printed, times serde_json"), print, 1.0));
    }
    println!();
    let mut all_hold = true;
    for (name, figure, bound) in bars {
        let verdict = if figure >= bound { "holds" } else { "short" };
        println!("{name:55} {figure:>9.2}  >= {bound:<5} {verdict}");
        all_hold &= figure >= bound;
    }
    ExitCode::from(u8::from(!all_hold))
}

/// Without an exponent, as most write numbers of this size.
fn seventeen_digits(number: f64) -> String {
    let magnitude = number.abs().log10().floor() as i32;
    format!("{number:.*}", (16 - magnitude) as usize)
}

/// Medians, in nanoseconds a number.
struct Figures {
    parse: f64,
    serde_parse: f64,
    print: f64,
    serde_print: f64,
}

impl Figures {
    fn measure(numbers: &[String]) -> Figures {
        let rows: Vec<String> =
            numbers.chunks(COLUMNS).map(|row| format!("[{}]", row.join(","))).collect();
        let nested = format!("[{}]", rows.join(","));
        let flat = format!("[{}]", numbers.join(","));
        let elements = parse(&nested);
        let expected: Vec<f64> = serde_json::from_str(&flat).expect("an array");
        assert_eq!(elements, expected);
        let vectors: Vec<Vec<f64>> = serde_json::from_str(&nested).expect("an array of rows");
        assert_eq!(
            serde_json::from_slice::<Vec<Vec<f64>>>(&print(elements.clone())).ok().as_ref(),
            Some(&vectors)
        );

        let mut times = [const { Vec::new() }; 5];
        for _ in 0..ROUNDS {
            times[0].push(fastest(|| (), |()| parse(&nested)));
            times[1].push(fastest(|| (), |()| serde_json::from_str::<Vec<Vec<f64>>>(&nested)));
            times[2].push(fastest(|| (), |()| serde_json::from_str::<Vec<f64>>(&flat)));
            times[3].push(fastest(|| elements.clone(), print));
            times[4].push(fastest(|| (), |()| serde_json::to_vec(&vectors)));
        }
        let [parse, nested, flat, print, serde_print] = times.map(median);
        Figures { parse, serde_parse: nested.min(flat), print, serde_print }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { parse, serde_parse, print, serde_print } = self;
        write!(f, "{parse:>9.1} {serde_parse:>11.1} {print:>9.1} {serde_print:>11.1}")
    }
}

/// As a request's matrix is read: counted, then read row by row.
fn parse(text: &str) -> Vec<f64> {
    let (commas, _) = commas_before_quote(text.as_bytes());
    let mut elements = Vec::with_capacity(commas + 1);
    let mut array = NumberArray::new(2..=2, usize::MAX);
    let mut cursor = Cursor::new(text.as_bytes());
    while !array.advance(&mut cursor, &mut elements, 2048).expect("an array of rows") {}
    elements
}

/// As a result is written.
fn print(elements: Vec<f64>) -> Vec<u8> {
    let shape = Shape { m: ROWS, n: COLUMNS, k: 0 };
    let mut encoder = Encoder::new(elements, shape, b"", Layout::Rows).expect("memory");
    while !encoder.advance(&mut || false).expect("finite elements") {}
    encoder.into_text().0
}

/// The shortest of a few runs, in nanoseconds a number; what goes in and what comes out is made and
/// dropped outside of the time.
fn fastest<I, O>(mut input: impl FnMut() -> I, mut run: impl FnMut(I) -> O) -> f64 {
    let times = (0..RUNS).map(|_| {
        let input = black_box(input());
        let start = Instant::now();
        let output = black_box(run(input));
        let time = start.elapsed();
        drop(output);
        time.as_nanos() as f64 / (ROWS * COLUMNS) as f64
    });
    times.fold(f64::INFINITY, f64::min)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
