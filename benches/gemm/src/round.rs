//! Sends the contestants into processes of their own and gathers what they tell.

use std::env;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gemmule::gemm::Dtype;

use crate::contestants::{FIELD, Name, foreign_settings, settings};
use crate::options::{Options, Order};
use crate::shape::{self, Shape};
use crate::table::{Row, Table};

/// A row on two threads begins no further round after this: on a busy machine, threads that spin
/// wait for each other for as long as they like.
const ROW_SPAN_MAX: Duration = Duration::from_secs(45);

/// Who takes part.
pub struct Field {
    pub names: Vec<Name>,
    /// A line each.
    pub present: Vec<String>,
    pub missing: Vec<String>,
}

/// What a process tells of a contestant: see `worker`.
pub struct Told {
    pub name: Name,
    pub word: String,
    pub rest: String,
}

/// Finds out who is there and multiplies right, each in a process that it may crash.
pub fn muster() -> Field {
    let mut field = Field { names: Vec::new(), present: Vec::new(), missing: Vec::new() };
    for name in FIELD {
        let shape = Shape::new(7, 5, 3);
        let order = Order {
            dtype: Dtype::F64,
            threads: 1,
            shape,
            span_ms: 1,
            check: true,
            names: vec![name],
        };
        let line = |text: &str| format!("{:10} {text}", name.text());
        match send(&order) {
            Ok(told) => {
                let of = |word| told.iter().find(|told| told.word == word);
                match (of("is"), of("rate")) {
                    (Some(is), Some(_)) => {
                        field.names.push(name);
                        field.present.push(line(&is.rest));
                    }
                    _ => field.missing.extend(told.iter().map(|told| line(&told.rest))),
                }
            }
            Err(error) => field.missing.push(line(&error)),
        }
    }
    field
}

/// Every table that is wanted.
pub fn measure_all(field: &Field, options: &Options) -> Vec<Table> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tables = Vec::new();
    for threads in [1, 2] {
        if threads > cores {
            eprintln!("one core only: nothing to measure at {threads} threads");
            continue;
        }
        for dtype in [Dtype::F64, Dtype::F32] {
            let mut table = Table { dtype, threads, names: field.names.clone(), rows: Vec::new() };
            for shape in shape::all().filter(|shape| options.wants(dtype, threads, *shape)) {
                let row = measure(&table, shape, options.quick);
                eprintln!("{} {threads} {}", dtype.name(), row.brief());
                table.rows.push(row);
            }
            if !table.rows.is_empty() {
                tables.push(table);
            }
        }
    }
    tables
}

fn measure(table: &Table, shape: Shape, quick: bool) -> Row {
    let mut names = table.names.clone();
    names.extend(Name::gauges(shape));
    let mut row = Row::new(shape);
    if table.threads == 1 {
        let span_ms = if quick { 60 } else { 300 };
        let order = Order { dtype: table.dtype, threads: 1, shape, span_ms, check: true, names };
        row.take(gather(&order));
        return row;
    }
    let rounds = match shape.square() {
        Some(4096) => 3,
        _ if quick => 3,
        _ => 5,
    };
    let span_ms = if quick { 15 } else { 50 };
    let begun = Instant::now();
    for round in 0..rounds {
        if round > 0 && begun.elapsed() > ROW_SPAN_MAX {
            break;
        }
        // Whoever comes first meets another state of the machine than whoever comes last.
        names.rotate_left(1);
        for name in &names {
            if row.is_wrong(*name) {
                continue;
            }
            let order = Order {
                dtype: table.dtype,
                threads: table.threads,
                shape,
                span_ms,
                check: round == 0,
                names: vec![*name],
            };
            row.take(gather(&order));
        }
    }
    row
}

/// As `send`; a process that dies is a wrong answer of all in it.
fn gather(order: &Order) -> Vec<Told> {
    send(order).unwrap_or_else(|error| {
        let rest = format!("{}: {error}", order.shape);
        let told =
            |name: &Name| Told { name: *name, word: "wrong".to_string(), rest: rest.clone() };
        order.names.iter().map(told).collect()
    })
}

/// Has a process measure.
fn send(order: &Order) -> Result<Vec<Told>, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(foreign_settings) {
            command.env_remove(name);
        }
    }
    command.args(order.to_args()).envs(settings(order.threads)).stdin(Stdio::null());
    // What a library prints about its settings is not the worker's word.
    let output = command.stderr(Stdio::piped()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().last().unwrap_or_default();
        return Err(format!("the process died: {}: {last}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Told> {
    let mut words = line.splitn(3, ' ');
    let name = Name::from_text(words.next()?)?;
    Some(Told { name, word: words.next()?.to_string(), rest: words.next()?.to_string() })
}

/// The middle one of an odd number of figures, the higher of the middle two otherwise.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
