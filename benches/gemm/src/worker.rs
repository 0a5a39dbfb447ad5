//! One process that measures: every contestant it is told to, in turn, on one problem.
//!
//! Prints a line for each: `NAME rate FIGURE`, `NAME missing REASON` or `NAME wrong REASON`, and
//! `NAME is DESCRIPTION`. A rate is in operations a second (bytes, of reads).

use std::process::ExitCode;
use std::time::Duration;

use gemmule::gemm::Dtype;

use crate::contestants::{Contestant, FIELD, Name, recruit};
use crate::machine::Clock;
use crate::options::Order;
use crate::problem::Problem;
use crate::random::Random;
use crate::real::Real;

/// Long enough that neither the clock nor an interrupt shows.
const SAMPLE: Duration = Duration::from_millis(2);
const SAMPLES_MAX: usize = 101;

pub fn run(order: &Order) -> ExitCode {
    match order.dtype {
        Dtype::F64 => measure::<f64>(order),
        Dtype::F32 => measure::<f32>(order),
    }
    ExitCode::SUCCESS
}

struct Runner<T> {
    name: Name,
    contestant: Box<dyn Contestant<T>>,
    calls: usize,
    seconds: Vec<f64>,
}

fn measure<T: Real>(order: &Order) {
    let mut problem = Problem::<T>::new(order.shape);
    let clock = Clock::for_threads(order.threads);
    let mut runners: Vec<Runner<T>> =
        order.names.iter().filter_map(|name| enter(*name, &mut problem, order)).collect();
    for runner in &mut runners {
        runner.calls = calls_in_sample(runner.contestant.as_mut(), &mut problem, clock);
    }
    // The processes that take turns are the repetition where there is one contestant in each.
    let samples_min = if order.threads == 1 { 3 } else { 1 };
    let span = Duration::from_millis(order.span_ms).as_secs_f64();
    let mut random = Random::new(1);
    let mut turns: Vec<usize> = (0..runners.len()).collect();
    for round in 0..SAMPLES_MAX {
        // Whoever was before leaves its own in the caches: that is somebody else every time.
        for turn in (1..turns.len()).rev() {
            turns.swap(turn, random.below(turn as u64 + 1) as usize);
        }
        let mut is_done = true;
        for turn in &turns {
            let runner = &mut runners[*turn];
            let spent: f64 = runner.seconds.iter().sum::<f64>() * runner.calls as f64;
            if round >= samples_min && spent >= span {
                continue;
            }
            is_done = false;
            let time = runner.contestant.time(&mut problem, runner.calls, clock);
            runner.seconds.push(time.as_secs_f64() / runner.calls as f64);
        }
        if is_done {
            break;
        }
    }
    for runner in runners {
        let rate = runner.contestant.work(&problem) / crate::round::median(runner.seconds);
        println!("{} rate {rate}", runner.name.text());
    }
}

/// Loads a contestant, lets it multiply once, and checks what came out.
fn enter<T: Real>(name: Name, problem: &mut Problem<T>, order: &Order) -> Option<Runner<T>> {
    let mut contestant = match recruit(name, order.threads) {
        Ok(contestant) => contestant,
        Err(error) => {
            println!("{} missing {error}", name.text());
            return None;
        }
    };
    println!("{} is {}", name.text(), contestant.describe());
    problem.spoil();
    contestant.multiply(problem);
    if order.check
        && FIELD.contains(&name)
        && let Err(error) = problem.check()
    {
        println!("{} wrong {}: {error}", name.text(), order.shape);
        return None;
    }
    Some(Runner { name, contestant, calls: 1, seconds: Vec::new() })
}

/// Doubles until a sample is long enough; this is the warming-up as well.
fn calls_in_sample<T: Real>(
    contestant: &mut dyn Contestant<T>,
    problem: &mut Problem<T>,
    clock: Clock,
) -> usize {
    // One long call needs no trial: it is a sample by itself.
    const LONG_FLOPS: f64 = 4e9;
    let mut calls = 1;
    if problem.shape.flops() >= LONG_FLOPS {
        return calls;
    }
    while contestant.time(problem, calls, clock) < SAMPLE {
        calls *= 2;
    }
    calls
}
