//! `make bench-gemm`: Gemmule's multiplication against every library one could link instead.
//!
//! One thread: CPU time, all contestants in turn in one process, with a loop of nothing but FMAs
//! in between. Two threads: wall time, one contestant a process, since the idle threads of one
//! library's pool would disturb the next; the processes take turns. Every figure is a median; every
//! contestant's result is checked before its time counts. Prints a table for each type and thread
//! count, then one line a bar, and exits with 1 if one falls short.
//!
//! The program starts itself again for every measurement, with the settings of the environment that
//! a library reads as it is loaded.

use std::process::ExitCode;

mod options;
mod shape;

mod round;
mod worker;

mod contestants;
mod machine;
mod problem;
mod real;

mod bars;
mod table;

#[allow(dead_code)]
#[path = "../../../tests/support/random.rs"]
mod random;

/// The threads that the service computes with.
#[allow(dead_code)]
#[path = "../../../src/host/pool.rs"]
mod pool;

use options::{Options, Role};
use table::Table;

/// So that no contestant is faster than another by where its operands lie.
#[global_allocator]
static ALLOCATOR: problem::Matrices = problem::Matrices;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(Role::Coordinator(options)) => coordinate(&options),
        Ok(Role::Worker(order)) => worker::run(&order),
        Err(usage) => {
            eprintln!("{usage}");
            ExitCode::from(2)
        }
    }
}

/// Two cores do twice what one does, unless something else is running on them.
fn disturbance(table: &Table, tables: &[Table]) -> Option<String> {
    let one = tables.iter().find(|one| one.threads == 1 && one.dtype == table.dtype)?.fma()?;
    let gain = table.fma()? / (one * table.threads as f64);
    (gain < 0.95).then(|| {
        format!(
            "BUSY MACHINE: {} threads had {:.0}% of their cores in {}; those figures are no measure",
            table.threads,
            100.0 * gain,
            table.dtype.name()
        )
    })
}

fn coordinate(options: &Options) -> ExitCode {
    let field = round::muster();
    println!("{}", machine::describe());
    for line in &field.present {
        println!("{line}");
    }
    for line in &field.missing {
        println!("MISSING: {line}");
    }
    let tables = round::measure_all(&field, options);
    for table in &tables {
        println!("\n{table}");
    }
    for table in &tables {
        if let Some(warning) = disturbance(table, &tables) {
            println!("\n{warning}");
        }
    }
    println!();
    let bars = bars::judge(&tables, &field);
    for bar in &bars {
        println!("{bar}");
    }
    ExitCode::from(u8::from(bars.iter().any(|bar| !bar.holds())))
}
