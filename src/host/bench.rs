//! `gemmule bench`: how fast this machine multiplies, size by size, beside what its cores can do.

use std::collections::TryReserveError;
use std::fmt;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use gemmule::gemm::{self, Alone, Crew, Dtype, Element, Kernel, Shape, Workspace};
use ndarray::{ArrayView2, ArrayViewMut2};

use super::options::BenchOptions;
use super::peak;
use super::pool::Pool;
use crate::platform;

const SQUARES: [usize; 15] =
    [8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096];
/// A few terms, a few rows, and a matrix with a vector on either side.
const THIN: [Shape; 4] = [
    Shape { m: 4096, n: 4096, k: 32 },
    Shape { m: 32, n: 4096, k: 4096 },
    MATRIX_VECTOR,
    Shape { m: 1, n: 4096, k: 4096 },
];
const MATRIX_VECTOR: Shape = Shape { m: 4096, n: 1, k: 4096 };
const SQUARES_QUICK: [usize; 3] = [64, 256, 1024];

/// Shorter samples would measure interruptions; small products are repeated for so long.
const SAMPLE_MIN: Duration = Duration::from_millis(5);
/// How long the peak is measured, before the first size and behind each.
const PEAK_TIME: Duration = Duration::from_millis(5);
/// Where one product is expected to take longer, its size is skipped: an emulator ends too.
const PRODUCT_SECONDS_MAX: f64 = 20.0;
/// Multiplied before the first size, to tell how long that will take.
const TRIAL: Shape = square(128);

/// What is measured, and how thoroughly.
struct Plan {
    shapes: Vec<Shape>,
    /// Samples of a size, of which the median counts; fewer where they take longer than `time`.
    samples: usize,
    time: Duration,
    memory_bytes: usize,
}

/// Why a size is not measured.
#[derive(Debug, PartialEq)]
enum Skip {
    Memory,
    Time { seconds: f64 },
}

/// Measures and prints; the exit status.
pub fn run(options: &BenchOptions) -> u8 {
    match platform::start_vectors().and_then(|()| print(options, &mut io::stdout().lock())) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("gemmule: {error}");
            1
        }
    }
}

fn print(options: &BenchOptions, out: &mut impl Write) -> io::Result<()> {
    let plan = Plan::new(options);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let caches = gemm::caches();
    writeln!(
        out,
        "gemmule {} on {}: kernel {}, L1 {} KiB, L2 {} KiB, cores {cores}\n\
         GFLOP/s: the median of up to {} samples; peak: multiply-adds on registers alone\n\n\
         dtype threads        m x n x k   GFLOP/s      peak   share",
        env!("CARGO_PKG_VERSION"),
        platform::NAME,
        Kernel::of_this_machine().name(),
        caches.l1_bytes >> 10,
        caches.l2_bytes >> 10,
        plan.samples,
    )?;
    plan.print::<f64>(1, &Alone, out)?;
    plan.print::<f32>(1, &Alone, out)?;
    if cores > 1 {
        let pool = Pool::of_helpers(cores - 1)?;
        plan.print::<f64>(cores, &*pool, out)?;
        plan.print::<f32>(cores, &*pool, out)?;
    }
    out.flush()
}

impl Plan {
    fn new(options: &BenchOptions) -> Self {
        let shapes = match options {
            BenchOptions { shapes, .. } if !shapes.is_empty() => shapes.clone(),
            BenchOptions { quick: true, .. } => {
                SQUARES_QUICK.into_iter().map(square).chain([MATRIX_VECTOR]).collect()
            }
            _ => SQUARES.into_iter().map(square).chain(THIN).collect(),
        };
        let (samples, time) = match options.quick {
            true => (3, Duration::from_millis(500)),
            false => (7, Duration::from_secs(3)),
        };
        Self { shapes, samples, time, memory_bytes: platform::memory_bytes_default() }
    }

    /// The lines of one element type and number of threads.
    fn print<T: Element>(
        &self,
        threads: usize,
        crew: &dyn Crew,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut fastest = self.measure::<T>(TRIAL, crew, f64::INFINITY).unwrap_or(f64::INFINITY);
        let mut peak_before = peak_of(T::DTYPE, threads);
        for &shape in &self.shapes {
            let Shape { m, n, k } = shape;
            let size = format!("{m}x{n}x{k}");
            write!(out, "{:<5} {threads:>7} {size:>16} ", T::DTYPE.name())?;
            match self.measure::<T>(shape, crew, fastest) {
                Ok(rate) => {
                    fastest = fastest.max(rate);
                    let peak_behind = peak_of(T::DTYPE, threads);
                    let peak = peak_before.max(peak_behind);
                    let share = 100.0 * rate / peak;
                    writeln!(out, "{:>9.2} {:>9.2} {share:>6.1}%", rate / 1e9, peak / 1e9)?;
                    peak_before = peak_behind;
                }
                Err(skip) => writeln!(out, "  skipped: {skip}")?,
            }
        }
        Ok(())
    }

    /// The median rate of a size in operations a second, if it can be had in time at `rate`.
    fn measure<T: Element>(&self, shape: Shape, crew: &dyn Crew, rate: f64) -> Result<f64, Skip> {
        // Three products of two dimensions, of 24 bits each, can be counted.
        let elements = shape.m * shape.k + shape.k * shape.n + shape.m * shape.n;
        if elements * size_of::<T>() > self.memory_bytes {
            return Err(Skip::Memory);
        }
        let seconds = flops(shape) / rate;
        if seconds > PRODUCT_SECONDS_MAX {
            return Err(Skip::Time { seconds });
        }
        let mut problem = Problem::<T>::new(shape).ok_or(Skip::Memory)?;
        let start = Instant::now();
        let mut calls = 1;
        let mut elapsed = problem.time(calls, crew)?;
        while elapsed < SAMPLE_MIN {
            calls *= 2;
            elapsed = problem.time(calls, crew)?;
        }
        let mut samples = vec![elapsed];
        while samples.len() < self.samples && start.elapsed() < self.time {
            samples.push(problem.time(calls, crew)?);
        }
        samples.sort_unstable();
        let median = samples[samples.len() / 2];
        Ok(flops(shape) * f64::from(calls) / median.as_secs_f64())
    }
}

/// One product, to be done again and again.
struct Problem<T> {
    /// A, then B.
    operands: Vec<T>,
    c: Vec<T>,
    shape: Shape,
    workspace: Workspace<T>,
}

impl<T: Element> Problem<T> {
    /// Small integers as operands; `None` where there is no memory for the matrices.
    fn new(shape: Shape) -> Option<Self> {
        let Shape { m, n, k } = shape;
        let (of_operands, of_c) = (m * k + k * n, m * n);
        let (mut operands, mut c) = (Vec::new(), Vec::new());
        operands.try_reserve_exact(of_operands).ok()?;
        c.try_reserve_exact(of_c).ok()?;
        operands.extend((0..of_operands).map(|index| T::from_u64(index as u64 * 7 % 13)));
        c.resize(of_c, T::from_f64(0.0));
        Some(Self { operands, c, shape, workspace: Workspace::default() })
    }

    /// How long so many products take.
    fn time(&mut self, calls: u32, crew: &dyn Crew) -> Result<Duration, Skip> {
        let before = Instant::now();
        for _ in 0..calls {
            self.multiply(crew).map_err(|_| Skip::Memory)?;
        }
        Ok(before.elapsed())
    }

    /// One product; the memory to pack in is kept.
    fn multiply(&mut self, crew: &dyn Crew) -> Result<(), TryReserveError> {
        let Shape { m, n, k } = self.shape;
        let (a, b) = self.operands.split_at(m * k);
        let a = ArrayView2::from_shape((m, k), a).expect("m k elements");
        let b = ArrayView2::from_shape((k, n), b).expect("k n elements");
        let mut c = ArrayViewMut2::from_shape((m, n), &mut self.c).expect("m n elements");
        let (one, zero) = (T::from_f64(1.0), T::from_f64(0.0));
        gemm::multiply(one, &a, &b, zero, &mut c, crew, &mut self.workspace)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => write!(f, "the matrices need more memory than requests may have"),
            Self::Time { seconds } => write!(f, "one product would take about {seconds:.0} s"),
        }
    }
}

const fn square(n: usize) -> Shape {
    Shape { m: n, n, k: n }
}

/// Of one product; more than 64 bits can count, for the largest shapes.
fn flops(Shape { m, n, k }: Shape) -> f64 {
    2.0 * m as f64 * n as f64 * k as f64
}

/// Of so many threads at the same time, in operations a second.
fn peak_of(dtype: Dtype, threads: usize) -> f64 {
    let measure = || peak::measure(dtype, PEAK_TIME) as f64;
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(measure)).collect();
        let own = measure();
        let others = others.into_iter().map(|other| other.join().expect("a measurement ends"));
        own + others.sum::<f64>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_take_too_long_or_too_much_are_skipped() {
        let (samples, time) = (1, Duration::ZERO);
        let plan = |memory_bytes| Plan { shapes: Vec::new(), samples, time, memory_bytes };
        // 1024 operations on three matrices of 64 elements, of 8 bytes each.
        let measure =
            |memory_bytes, rate| plan(memory_bytes).measure::<f64>(square(8), &Alone, rate);
        assert_eq!(measure(1535, f64::INFINITY), Err(Skip::Memory));
        assert_eq!(measure(1536, 51.0), Err(Skip::Time { seconds: 1024.0 / 51.0 }));
        assert!(measure(1536, 51.2).is_ok_and(|rate| rate > 0.0));
    }

    #[test]
    fn threads_at_the_same_time_add_up() {
        assert!(peak_of(Dtype::F64, 2) > 0.0);
    }
}
