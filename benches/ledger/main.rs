//! `make bench-ledger`: what a ledger that lasts costs, and what it withstands.
//!
//! Servers take turns on one core, and the client has the other; a figure is the median over the
//! rounds. Prints what was measured, then one line a bar, and exits with 1 if one falls short. The
//! volumes lie in the directory for temporary files, of whose disk the figures tell: `TMPDIR=` says
//! where.

mod server;

mod job;

// Shared with the benchmark of requests.
#[path = "../http/src/client.rs"]
mod client;

mod durable;
mod flood;
mod opening;

#[allow(dead_code)]
#[path = "../../tests/support/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../../tests/support/random.rs"]
mod random;
// It runs on Linux, which is what it measures.
#[allow(dead_code, reason = "the host asks for more than this benchmark")]
#[path = "../../src/linux/volume.rs"]
mod file;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fmt, io};

type Measure = fn() -> io::Result<Vec<Bar>>;

/// The parts, by name.
const PARTS: [(&str, Measure); 3] =
    [("durable", durable::measure), ("opening", opening::measure), ("flood", flood::measure)];

/// A promise and what was measured.
struct Bar {
    name: String,
    figure: f64,
    bound: Bound,
}

enum Bound {
    Least(f64),
    Most(f64),
}

impl Bar {
    /// A figure that is no number holds nothing.
    fn holds(&self) -> bool {
        match self.bound {
            Bound::Least(least) => self.figure >= least,
            Bound::Most(most) => self.figure <= most,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, figure, bound } = self;
        let bound = match bound {
            Bound::Least(least) => format!(">= {least}"),
            Bound::Most(most) => format!("<= {most}"),
        };
        let verdict = if self.holds() { "holds" } else { "short" };
        write!(f, "{name:62} {figure:>8.2}  {bound:<8} {verdict}")
    }
}

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [fill, path] = arguments.as_slice()
        && fill == "--fill"
    {
        opening::fill(Path::new(path));
    }
    let is_part = |argument: &String| PARTS.iter().any(|(name, _)| name == argument);
    if let Some(other) = arguments.iter().find(|argument| !is_part(argument)) {
        eprintln!("{other} is no part: there are {}", PARTS.map(|(name, _)| name).join(", "));
        return ExitCode::FAILURE;
    }
    match measure(&arguments) {
        Ok(all_hold) => ExitCode::from(u8::from(!all_hold)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures those parts, or all where none is named; whether every bar holds.
fn measure(parts: &[String]) -> io::Result<bool> {
    server::pin_client()?;
    let mut bars = Vec::new();
    for (name, measure) in PARTS {
        if parts.is_empty() || parts.iter().any(|part| part == name) {
            bars.extend(measure()?);
            println!();
        }
    }
    for bar in &bars {
        println!("{bar}");
    }
    Ok(bars.iter().all(Bar::holds))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
