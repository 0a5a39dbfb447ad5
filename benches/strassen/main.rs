//! `make bench-strassen`: Winograd's variant of Strassen's algorithm against the classical product
//! by the same kernel.
//!
//! The contestants take turns, so that whatever else the machine does meets all of them; a figure
//! is the median over the rounds: CPU time of one thread, wall time of two, of operands and a
//! workspace that have been used before. Beside each ratio is the largest error, of all elements of
//! the result against those of the classical product by f64, as it is and in terms of the
//! documented bound. Then one line a bar, and exit 1 if one falls short.
//!
//! `--sweep` measures every number of levels for sizes around the crossover instead, or `--sweep
//! SIZE...` for these.

use std::process::ExitCode;
use std::time::Instant;

use gemmule::gemm::{Algorithm, Alone, Crew, Element, Shape, Workspace, multiply, multiply_halved};
use ndarray::{ArrayView2, ArrayViewMut2};

#[path = "../../src/linux/heap/mod.rs"]
// Its tests are compiled in part, and not run.
#[allow(dead_code, unused_imports)]
mod heap;
#[path = "../../src/host"]
mod host {
    #[allow(dead_code, unused_imports)]
    pub mod classes;
    pub mod lines;
    #[allow(dead_code, unused_imports)]
    pub mod pool;
}
#[path = "../../tests/support/random.rs"]
#[allow(dead_code)]
mod random;

use random::Random;

/// Bars of f64: threads, size, and how many times as fast as the classical product.
const BARS: [(usize, usize, f64); 4] =
    [(1, 2048, 1.10), (1, 4096, 1.20), (1, 8192, 1.30), (2, 4096, 1.12)];

/// Sizes around the crossover.
const SWEPT: [usize; 7] = [512, 768, 1024, 1536, 2048, 3072, 4096];

fn main() -> ExitCode {
    let crews: [&dyn Crew; 2] =
        [&Alone, &*host::pool::Pool::of_helpers(1).expect("the system has threads")];
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    if arguments.next().is_some_and(|argument| argument == "--sweep") {
        let sizes: Vec<usize> =
            arguments.map(|size| size.parse().expect("sizes are numbers")).collect();
        let sizes = if sizes.is_empty() { SWEPT.to_vec() } else { sizes };
        sweep::<f64>(crews, &sizes);
        sweep::<f32>(crews, &sizes);
        return ExitCode::SUCCESS;
    }
    println!(
        "{:4} {:>7} {:>5} {:>6} {:>11} {:>11} {:>7} {:>9} {:>10} {:>12}",
        "",
        "threads",
        "size",
        "levels",
        "classical s",
        "Strassen s",
        "ratio",
        "executed",
        "error",
        "of its bound"
    );
    let mut bars = Vec::new();
    for (threads, size, bound) in BARS {
        let ratio = compare::<f64>(threads, crews[threads - 1], size);
        let s = if threads == 1 { "" } else { "s" };
        bars.push((format!("f64, {threads} thread{s}, {size}: times the classical"), ratio, bound));
    }
    for (threads, size) in [(1, 4096), (2, 4096)] {
        compare::<f32>(threads, crews[threads - 1], size);
    }
    println!();
    let mut all_hold = true;
    for (name, figure, bound) in bars {
        let verdict = if figure >= bound { "holds" } else { "short" };
        println!("{name:45} {figure:>7.3}  >= {bound:<5} {verdict}");
        all_hold &= figure >= bound;
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Square operands, and a result.
struct Problem<T> {
    size: usize,
    a: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
    workspace: Workspace<T>,
}

impl<T: Element> Problem<T> {
    /// Numbers from -1 to 1.
    fn new(size: usize) -> Self {
        let mut random = Random::new(1);
        let mut matrix = || {
            let unit = |_| T::from_f64((random.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0);
            (0..size * size).map(unit).collect()
        };
        let (a, b) = (matrix(), matrix());
        let c = vec![T::default(); size * size];
        Self { size, a, b, c, workspace: Workspace::default() }
    }

    /// Seconds that a product takes.
    fn time(&mut self, levels: usize, crew: &dyn Crew) -> f64 {
        let size = (self.size, self.size);
        let a = ArrayView2::from_shape(size, &self.a).expect("square");
        let b = ArrayView2::from_shape(size, &self.b).expect("square");
        let mut c = ArrayViewMut2::from_shape(size, &mut self.c).expect("square");
        let (zero, one) = (T::default(), T::from_f64(1.0));
        let workspace = &mut self.workspace;
        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let done = match levels {
            0 => multiply(one, &a, &b, zero, &mut c, crew, workspace),
            _ => multiply_halved(levels, (one, zero), (&a, &b), &mut c, crew, workspace),
        };
        done.expect("memory for the workspace");
        match crew.threads(u64::MAX) {
            1 => cpu_seconds() - cpu,
            _ => wall.elapsed().as_secs_f64(),
        }
    }
}

fn compare<T: Element>(threads: usize, crew: &dyn Crew, size: usize) -> f64 {
    let algorithm = Algorithm::StrassenWinograd;
    let shape = Shape { m: size, n: size, k: size };
    let levels = algorithm.levels(shape);
    let mut problem = Problem::<T>::new(size);
    problem.time(0, crew);
    let classical = problem.c.clone();
    problem.time(levels, crew);
    let difference = |(x, y): (&T, &T)| (x.to_f64() - y.to_f64()).abs();
    let error = problem.c.iter().zip(&classical).map(difference).fold(0.0, f64::max);
    drop(classical);
    let largest = |x: &[T]| x.iter().map(|x| x.to_f64().abs()).fold(0.0, f64::max);
    let unit = T::UNIT_ROUNDOFF * largest(&problem.a) * largest(&problem.b);
    // That of the classical product may be within the difference.
    let bound = unit * (algorithm.error_factor(shape) + Algorithm::Classical.error_factor(shape));
    let rounds = if size > 4096 { 3 } else { 7 };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        times[0].push(problem.time(0, crew));
        times[1].push(problem.time(levels, crew));
    }
    let [classical, strassen] = times.map(median);
    let executed = algorithm.executed_flops(shape) as f64 / shape.flops() as f64;
    println!(
        "{:4} {threads:>7} {size:>5} {levels:>6} {classical:>11.3} {strassen:>11.3} {:>7.3} {:>8.1}% {error:>10.1e} {:>12.1e}",
        T::DTYPE.name(),
        classical / strassen,
        100.0 * executed,
        error / bound,
    );
    classical / strassen
}

/// That this thread has had of its core.
#[allow(unsafe_code)]
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes the time, and nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the clock of the thread");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn sweep<T: Element>(crews: [&dyn Crew; 2], sizes: &[usize]) {
    for (threads, crew) in (1..).zip(crews) {
        for &size in sizes {
            let mut problem = Problem::<T>::new(size);
            let levels: Vec<usize> = (0..5).filter(|levels| size >> levels >= 256).collect();
            let mut times = vec![Vec::new(); levels.len()];
            for _ in 0..1 + 8192 / size {
                for level in &levels {
                    times[*level].push(problem.time(*level, crew));
                }
            }
            let times: Vec<f64> = times.into_iter().map(median).collect();
            print!("{} {threads} threads {size:>5}: {:.4} s", T::DTYPE.name(), times[0]);
            for (level, time) in times.iter().enumerate().skip(1) {
                print!("  {level}: {:.3}", times[0] / time);
            }
            println!();
        }
    }
}

fn median(times: Vec<f64>) -> f64 {
    let mut times = times;
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
