//! A million random charges against the rule in another language, and what holds for all of them.

#[path = "support/random.rs"]
#[allow(dead_code)]
mod random;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use gemmule::billing::tariff::{Terms, Tier};
use gemmule::billing::{MonthToDate, Tariff, Usage};
use gemmule::gemm::{Dtype, Shape};
use gemmule::limits::{AMOUNT_MICROS_MAX, PRICE_MICROS_MAX, VOLUME_TIERS_MAX};

use random::Random;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/money/amounts.py");
const TARIFFS: usize = 10_000;
const USAGES_PER_TARIFF: usize = 100;

/// A number of any magnitude up to `max`, often one at an end or near a power of two.
fn any(random: &mut Random, max: u64) -> u64 {
    let number = match random.below(8) {
        0 => random.below(3),
        1 => max.saturating_sub(random.below(3)),
        2 => (1 << random.below(64)) - 1 + random.below(3),
        3 => 10_u64.pow(random.below(19) as u32) - 1 + random.below(3),
        _ => random.next() >> random.below(64),
    };
    if number <= max { number } else { number % max.max(1) }
}

fn any_tariff(random: &mut Random) -> Tariff {
    let mut starts: Vec<u64> = Vec::new();
    for _ in 0..random.below(VOLUME_TIERS_MAX as u64 + 1) {
        starts.push(any(random, u64::MAX));
    }
    starts.sort_unstable();
    starts.dedup();
    let tier = |from_flops| Tier { from_flops, per_mille: any(random, 1000) as u32 };
    let volume_tiers = starts.into_iter().map(tier).collect();
    let job_micros_min = if random.chance(500) { 0 } else { any(random, PRICE_MICROS_MAX) };
    let mut price = || any(random, PRICE_MICROS_MAX);
    let terms = Terms {
        micros_per_tflop_f64: price(),
        micros_per_tflop_f32: price(),
        micros_per_gb_in: price(),
        micros_per_gb_out: price(),
        micros_per_gb_hour: price(),
        job_micros_min,
        cached_per_mille: any(random, 1000) as u32,
        free_flops_per_month: if random.chance(300) { 0 } else { any(random, u64::MAX) },
        volume_tiers,
        ..Terms::clone(&Tariff::standard())
    };
    Tariff::try_from(terms).expect("what is within the limits is a tariff")
}

/// A job, and what was before it in the month: anywhere, or so that it begins or ends at a boundary
/// of the tariff or one operation beside it.
fn any_job(random: &mut Random, tariff: &Tariff) -> (Usage, MonthToDate) {
    let dtype = if random.chance(500) { Dtype::F64 } else { Dtype::F32 };
    let shape = Shape { m: 1, n: 1, k: 1 };
    let mut flops = any(random, u64::MAX);
    let mut before = u128::from(any(random, u64::MAX)) << random.below(8);
    let tiers = tariff.volume_tiers.iter().map(|tier| tier.from_flops);
    let boundaries: Vec<u64> = tiers.chain([tariff.free_flops_per_month]).collect();
    let boundary = boundaries[random.below(boundaries.len() as u64) as usize];
    let beside = u128::from((boundary.saturating_sub(1)).saturating_add(random.below(3)));
    match random.below(4) {
        0 => before = beside,
        1 => before = beside.saturating_sub(flops.into()),
        2 => flops = u64::try_from(beside.saturating_sub(before)).unwrap_or(u64::MAX),
        _ => {}
    }
    let (bytes_in, bytes_out) = (any(random, u64::MAX), any(random, u64::MAX));
    let cached = random.chance(300);
    (Usage { dtype, shape, flops, bytes_in, bytes_out, cached }, MonthToDate { flops: before })
}

fn push_tariff(text: &mut String, tariff: &Tariff) {
    write!(
        text,
        "T {} {} {} {} {} {} {} {}",
        tariff.micros_per_tflop_f64,
        tariff.micros_per_tflop_f32,
        tariff.micros_per_gb_in,
        tariff.micros_per_gb_out,
        tariff.job_micros_min,
        tariff.micros_per_gb_hour,
        tariff.cached_per_mille,
        tariff.free_flops_per_month
    )
    .expect("a string takes all");
    for tier in &tariff.volume_tiers {
        write!(text, " {} {}", tier.from_flops, tier.per_mille).expect("a string takes all");
    }
    text.push('\n');
}

/// What is charged for records of storage, one behind the other.
fn any_storage(random: &mut Random, tariff: &Tariff, text: &mut String) -> u64 {
    let (mut total, mut rest) = (0, 0);
    text.push('S');
    for _ in 0..random.below(20) {
        // At any price within the cap of one record.
        let byte_hours = any(random, 1 << 42);
        write!(text, " {byte_hours}").expect("a string takes all");
        let (micros, left) = tariff.storage_micros(byte_hours, rest);
        total += micros;
        rest = left;
    }
    text.push('\n');
    total
}

/// The amounts of the jobs in `text`, as the reference finds them.
fn reference(text: String) -> Vec<u64> {
    let mut python = Command::new("python3")
        .arg(REFERENCE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut input = python.stdin.take().expect("it is piped");
    let writing = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = python.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("all is read");
    assert!(output.status.success(), "the reference has failed");
    let amounts = String::from_utf8(output.stdout).expect("digits are UTF-8");
    amounts.lines().map(|line| line.parse().expect("an amount")).collect()
}

#[test]
fn a_million_charges_are_what_the_rule_says() {
    let seed = 20_261_124;
    let mut random = Random::new(seed);
    let mut text = String::new();
    let mut found = Vec::with_capacity(TARIFFS * (USAGES_PER_TARIFF + 1));
    let mut computed = 0;
    for _ in 0..TARIFFS {
        let tariff = any_tariff(&mut random);
        push_tariff(&mut text, &tariff);
        for _ in 0..USAGES_PER_TARIFF {
            let (usage, month) = any_job(&mut random, &tariff);
            let bits = if usage.dtype == Dtype::F64 { 64 } else { 32 };
            let Usage { flops, bytes_in, bytes_out, .. } = usage;
            let cached = u8::from(usage.cached);
            writeln!(text, "U {bits} {cached} {flops} {bytes_in} {bytes_out} {}", month.flops)
                .expect("a string takes all");
            let amount = tariff.amount_micros(&usage, month);
            computed += usize::from(amount != tariff.job_micros_min && amount < AMOUNT_MICROS_MAX);
            found.push(amount);
        }
        found.push(any_storage(&mut random, &tariff, &mut text));
    }
    // Random jobs that all cost the minimum or the cap would show nothing.
    assert!(computed > found.len() / 3, "{computed} of {}", found.len());
    let expected = reference(text);
    assert_eq!(expected.len(), found.len());
    let differing = expected.iter().zip(&found).position(|(expected, found)| expected != found);
    if let Some(at) = differing {
        panic!("seed {seed}, job {at}: {} and not {}", found[at], expected[at]);
    }
}

#[test]
fn more_use_never_costs_less_and_nothing_costs_more_than_the_most() {
    let mut random = Random::new(7);
    let mut largest = 0;
    for _ in 0..100_000 {
        let tariff = any_tariff(&mut random);
        let (usage, month) = any_job(&mut random, &tariff);
        let amount = tariff.amount_micros(&usage, month);
        let most = tariff.amount_micros_max(&usage);
        let case = format!("{tariff:?} {usage:?} {month:?}");
        assert!(tariff.job_micros_min <= amount && amount <= most, "{case}");
        let mut more = [usage; 3];
        let growth = any(&mut random, u64::MAX);
        more[0].flops = usage.flops.saturating_add(growth);
        more[1].bytes_in = usage.bytes_in.saturating_add(growth);
        more[2].bytes_out = usage.bytes_out.saturating_add(growth);
        for more in more {
            assert!(amount <= tariff.amount_micros(&more, month), "{case} and {growth} more");
            assert!(most <= tariff.amount_micros_max(&more), "{case} and {growth} more");
        }
        largest = largest.max(amount);
    }
    assert_eq!(largest, AMOUNT_MICROS_MAX, "the cap is met");
}

#[test]
fn a_job_costs_what_its_parts_do() {
    let mut random = Random::new(11);
    let mut whole = 0;
    for _ in 0..100_000 {
        // One micro-unit an operation at the full rate, so that most amounts are exact.
        let terms = Terms {
            micros_per_tflop_f64: PRICE_MICROS_MAX,
            job_micros_min: 0,
            ..Terms::clone(&any_tariff(&mut random))
        };
        let tariff = Tariff::try_from(terms).expect("sound terms");
        let (mut usage, month) = any_job(&mut random, &tariff);
        usage = Usage { dtype: Dtype::F64, bytes_in: 0, bytes_out: 0, cached: false, ..usage };
        usage.flops = any(&mut random, 1 << 40);
        let first = any(&mut random, usage.flops);
        let rest = usage.flops - first;
        let later = MonthToDate { flops: month.flops + u128::from(first) };
        let parts = tariff.amount_micros(&Usage { flops: first, ..usage }, month)
            + tariff.amount_micros(&Usage { flops: rest, ..usage }, later);
        let amount = tariff.amount_micros(&usage, month);
        // Each part is rounded up by less than one micro-unit.
        assert!(parts == amount || parts == amount + 1, "{parts} {amount} {tariff:?} {usage:?}");
        whole += usize::from(parts == amount);
    }
    assert!(whole > 50_000, "{whole}");
}
