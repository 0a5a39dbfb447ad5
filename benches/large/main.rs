//! `make bench-large`: a product of matrices on a disk, in a process of less memory than they take.
//!
//! Makes A and B on a volume in a file, has the system forget them, and multiplies them. In
//! between, the product rests while another process multiplies what fits memory, by the same kernel
//! on as many threads, so that whatever else the machine does meets both. Then holds the result
//! against A and B by Freivalds' check. Prints what it measured, then one line a bar, and exits
//! with 1 if one falls short. Arguments: the length of the matrices, the process's memory in MiB, a
//! directory with room for three of them, and `f32` or `f64`. With `--plans` alone it says how
//! other products would be cut.

mod disk;
mod host;

#[allow(dead_code, unused_imports, reason = "the host asks for more, and tests it")]
#[path = "../../src/linux/heap/mod.rs"]
mod heap;
#[allow(dead_code, reason = "the host asks for more than this benchmark")]
#[path = "../../src/linux/volume.rs"]
mod volume;

use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{array, env, fs, thread};

use gemmule::gemm::{Algorithm, Crew, Dtype, Element, Residual, Shape, Workspace, isa, multiply};
use gemmule::large::plan::Traffic;
use gemmule::large::{Gemm, Resources, Rules, StepRun, Work};
use gemmule::ledger::{AccountId, Volume};
use gemmule::limits::VOLUME_CACHE_BYTES_DEFAULT;
use gemmule::memory::MemoryBudget;
use gemmule::store::{AddressHasher, Draft, Keep, Layout, Purpose, Store, Stored};
use ndarray::Array2;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use disk::Counting;
use host::background::Reader;
use host::pool::Pool;

const LENGTH: usize = 20_000;
const MEMORY_MIB: usize = 2048;
/// An eighth of this is kept in blocks, within what the process has besides the product.
const HEAP_MEMORY_BYTES: usize = 256 << 20;
/// Of the process's memory, what is not the product's: the program, the volume's cache, the check.
const OWN_BYTES: usize = 64 << 20;
/// What fits memory is of this length at most, and is multiplied as often before, in between and
/// after.
const SAMPLE_LENGTH: usize = 8192;
const SAMPLES: u32 = 5;

const PLAIN: Gemm = Gemm {
    alpha: 1.0,
    beta: 0.0,
    transpose_a: false,
    transpose_b: false,
    algorithm: Algorithm::Classical,
};

const RATE_MIN: f64 = 0.85;
const TRAFFIC_MAX: f64 = 1.3;

struct Options {
    length: usize,
    memory_bytes: usize,
    directory: PathBuf,
}

fn main() -> ExitCode {
    heap::keep_blocks(HEAP_MEMORY_BYTES);
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |at: usize, default| {
        arguments.get(at).map_or(default, |text| text.parse().expect("a number"))
    };
    let dtype = match arguments.last().map(String::as_str) {
        Some("f64") => Dtype::F64,
        _ => Dtype::F32,
    };
    match arguments.first().map(String::as_str) {
        Some("--sample") => {
            let length = number(1, SAMPLE_LENGTH);
            println!("{}", by_dtype(dtype, || sample::<f32>(length), || sample::<f64>(length)));
            return ExitCode::SUCCESS;
        }
        Some("--plans") => {
            print_plans();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let options = Options {
        length: number(0, LENGTH),
        memory_bytes: number(1, MEMORY_MIB) << 20,
        directory: arguments.get(2).map_or_else(env::temp_dir, PathBuf::from),
    };
    let path = options.directory.join(format!("gemmule-bench-{}", process::id()));
    let is_good =
        by_dtype(dtype, || measure::<f32>(&options, &path), || measure::<f64>(&options, &path));
    print_plans();
    fs::remove_file(&path).expect("it is removed");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn crew() -> Arc<impl Crew> {
    Pool::of_helpers(threads() - 1).expect("threads start")
}

fn by_dtype<R>(dtype: Dtype, in_f32: impl FnOnce() -> R, in_f64: impl FnOnce() -> R) -> R {
    match dtype {
        Dtype::F32 => in_f32(),
        Dtype::F64 => in_f64(),
    }
}

/// Operations a second of a product in memory.
fn sample<T: Element>(length: usize) -> f64 {
    let crew = crew();
    let mut random = 1;
    let mut matrix = || Array2::from_shape_simple_fn((length, length), || element(&mut random));
    let (a, b): (Array2<T>, Array2<T>) = (matrix(), matrix());
    let mut c = Array2::default((length, length));
    let mut workspace = Workspace::default();
    let mut rate = 0.0;
    // The first finds the threads asleep and the pages missing.
    for length in [length / 8, length] {
        let part = ndarray::s![..length, ..length];
        let (a, b, mut c) = (a.slice(part), b.slice(part), c.slice_mut(part));
        let start = Instant::now();
        multiply(one::<T>(), &a, &b, T::default(), &mut c, &*crew, &mut workspace)
            .expect("there is memory");
        rate = cube(length).flops() as f64 / start.elapsed().as_secs_f64();
    }
    rate
}

fn one<T: Element>() -> T {
    T::from_f64(1.0)
}

fn cube(length: usize) -> Shape {
    Shape { m: length, n: length, k: length }
}

/// Between -1 and 1, by the generator of Marsaglia's "Xorshift RNGs".
fn element<T: Element>(state: &mut u64) -> T {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    T::from_f64((*state >> 40) as f64 / f64::from(1 << 23) - 1.0)
}

fn account() -> AccountId {
    "bench".parse().expect("an account")
}

fn measure<T: Element>(options: &Options, path: &Path) -> bool {
    let Options { length, memory_bytes, .. } = *options;
    let layout = Layout { dtype: T::DTYPE, rows: length, columns: length };
    let disk = Counting::open(path, 4 * layout.bytes() + (256 << 20));
    let counts = disk.counts();
    let volume = Volume::open(Box::new(disk), [1; 16], VOLUME_CACHE_BYTES_DEFAULT);
    let volume = Arc::new(volume.expect("it is a volume"));
    let store = Store::open(volume, MemoryBudget::new(0)).expect("it is a store");
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    let threads = threads();
    println!(
        "{length} x {length} x {length} {}, {:.2} GiB a matrix, in {:.2} GiB: {threads} threads, {}",
        layout.dtype.name(),
        gib(layout.bytes() as f64),
        gib(memory_bytes as f64),
        isa().name(),
    );
    let start = Instant::now();
    let operands = Vec::from([7, 11].map(|seed| make::<T>(&store, layout, seed)));
    println!("A and B written in {:.1} s", start.elapsed().as_secs_f64());
    forget(path);
    let (read, written) = counts.both();
    let output = store.begin(layout, Purpose::Result, &account(), 0).expect("there is room");
    let rules = Rules::LATEST;
    let problem = PLAIN.problem(layout, layout, rules);
    let for_product = memory_bytes - OWN_BYTES;
    let plan = problem.plan(for_product).expect("there is memory");
    println!(
        "plan: {:?} is held; {} strips, of {:?} blocks; {} of the first one's {} panels stay",
        plan.held,
        plan.strips.len(),
        plan.strips.iter().map(|strip| strip.edges.len() - 1).collect::<Vec<_>>(),
        plan.strips[0].stays,
        length.div_ceil(plan.terms),
    );
    let reader = Reader::start().expect("a thread starts");
    let resources =
        Resources { memory_bytes: for_product, threads, background: Some(reader.clone()), rules };
    let run = StepRun::new(Work::Gemm(PLAIN), operands.clone(), output.clone(), resources)
        .expect("there is memory");
    let Rates { product, memory, seconds } = rates(run_of(run), length, layout.dtype);
    let (read_after, written_after) = counts.both();
    let (read, written) = (read_after - read, written_after - written);
    let moved = (read + written) as f64;
    let bound = problem.lower_bound_bytes(memory_bytes);
    println!("multiplied in {seconds:.1} s, {:.1} GFLOP/s", product / 1e9);
    println!("in memory, median of {SAMPLES}: {:.1} GFLOP/s", memory / 1e9);
    println!(
        "disk: {:.3} GiB read, {:.3} GiB written, by the plan {:.3} GiB; lower bound {:.3} GiB",
        gib(read as f64),
        gib(written as f64),
        gib(plan.traffic.total() as f64 * size_of::<T>() as f64),
        gib(bound),
    );
    let start = Instant::now();
    let is_right = is_right::<T>(cube(length), &operands, &output);
    println!("residual found in {:.1} s", start.elapsed().as_secs_f64());
    let peak = peak_bytes();
    println!();
    let bars = [
        bar(
            "rate, of the kernel's in memory",
            product / memory,
            RATE_MIN,
            product / memory >= RATE_MIN,
        ),
        bar(
            "traffic, of the lower bound",
            moved / bound,
            TRAFFIC_MAX,
            moved / bound <= TRAFFIC_MAX,
        ),
        bar("peak memory, GiB", gib(peak), gib(memory_bytes as f64), peak <= memory_bytes as f64),
        bar("rows beyond the residual's bound", f64::from(!is_right), 0.0, is_right),
    ];
    bars.into_iter().all(|holds| holds)
}

fn bar(name: &str, figure: f64, bar: f64, holds: bool) -> bool {
    println!("{name:34} {figure:8.3}   bar {bar:6.3}   {}", if holds { "holds" } else { "short" });
    holds
}

fn make<T: Element>(store: &Store, layout: Layout, seed: u64) -> Arc<Stored> {
    let draft = store.begin(layout, Purpose::Upload, &account(), 0).expect("there is room");
    let mut writer = draft.clone().rows_writer();
    let mut hasher = AddressHasher::new(&layout);
    let mut state = seed;
    let mut row = vec![T::default(); layout.columns];
    for _ in 0..layout.rows {
        row.fill_with(|| element(&mut state));
        writer.push(bytemuck::cast_slice(&row)).expect("it is written");
        hasher.update(bytemuck::cast_slice(&row));
    }
    writer.flush().expect("it is written");
    draft.commit().expect("it lasts");
    store.finish(&draft, hasher.finish(), Keep::default(), 0).expect("it is kept")
}

/// Has the system forget what it has read and written of the file.
fn forget(path: &Path) {
    let status = Command::new("dd")
        .arg(format!("of={}", path.display()))
        .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
        .status();
    assert!(status.expect("dd runs").success());
}

/// What is not multiplied here, cut for processes of so many MiB.
fn print_plans() {
    println!();
    println!("plans, of the lower bound for the product's memory, and for the process's");
    for (length, dtype, memory_mib) in [
        (20_000, Dtype::F32, 2048),
        (20_000, Dtype::F32, 1536),
        (26_755, Dtype::F64, 1024),
        (26_755, Dtype::F64, 512),
        (100_000, Dtype::F64, 16 << 10),
        (100_000, Dtype::F64, 1024),
    ] {
        let layout = Layout { dtype, rows: length, columns: length };
        let problem = PLAIN.problem(layout, layout, Rules::LATEST);
        let memory_bytes = memory_mib << 20;
        let plan = problem.plan(memory_bytes - OWN_BYTES).expect("there is memory");
        let [product, process] =
            [memory_bytes - OWN_BYTES, memory_bytes].map(|bytes| problem.lower_bound_bytes(bytes));
        let Traffic { read, written, .. } = plan.traffic;
        let bytes = |elements: u64| (elements * dtype.bytes() as u64) as f64;
        let (moved, with_again) = (bytes(read + written), bytes(plan.traffic.total()));
        println!(
            "{length:6} cubed {} in {memory_mib:5} MiB  {:.3} and {:.3}, with C for its address {:.3} and {:.3}",
            dtype.name(),
            moved / product,
            moved / process,
            with_again / product,
            with_again / process,
        );
    }
}

struct Rates {
    /// Operations a second.
    product: f64,
    memory: f64,
    seconds: f64,
}

/// Goes on with a product for so long; whether it is done.
fn run_of(mut run: StepRun) -> impl FnMut(Option<Duration>) -> bool {
    let crew = crew();
    move |time| {
        let start = Instant::now();
        let pause = || time.is_some_and(|time| start.elapsed() >= time);
        run.advance(&*crew, &pause).expect("it goes on")
    }
}

fn rates(mut run: impl FnMut(Option<Duration>) -> bool, length: usize, dtype: Dtype) -> Rates {
    let mut samples = vec![sample_apart(length, dtype)];
    let flops = cube(length).flops() as f64;
    let span = Duration::from_secs_f64(flops / samples[0] / f64::from(SAMPLES - 1));
    let mut elapsed = Duration::ZERO;
    loop {
        let is_last = samples.len() + 1 >= SAMPLES as usize;
        let start = Instant::now();
        let is_done = run((!is_last).then_some(span));
        elapsed += start.elapsed();
        samples.push(sample_apart(length, dtype));
        if is_done {
            break;
        }
    }
    samples.sort_by(f64::total_cmp);
    let seconds = elapsed.as_secs_f64();
    Rates { product: flops / seconds, memory: samples[samples.len() / 2], seconds }
}

/// In a process of its own, whose memory is not this one's.
fn sample_apart(length: usize, dtype: Dtype) -> f64 {
    let program = env::current_exe().expect("it has a path");
    let length = length.min(SAMPLE_LENGTH).to_string();
    let output =
        Command::new(program).args(["--sample", &length, dtype.name()]).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("it prints its rate")
}

/// Whether no row of the result is off by more than rounding can explain.
fn is_right<T: Element>(shape: Shape, operands: &[Arc<Stored>], output: &Draft) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let mut random = ChaCha12Rng::seed_from_u64(now.as_nanos() as u64);
    let seed = array::from_fn(|_| random.next_u32() as u8);
    assert!(Residual::is_possible(shape, one::<T>()), "the bound is finite");
    let mut residual =
        Residual::new(shape, (one::<T>(), T::default()), seed).expect("there is memory");
    let length = shape.n;
    let mut rows = vec![T::default(); 1024.min(length) * length];
    for matrix in 0..3 {
        for first in (0..length).step_by(1024) {
            let last = (first + 1024).min(length);
            let part = &mut rows[..(last - first) * length];
            match matrix {
                0 => operands[1].read_block(first..last, 0..length, part, length),
                1 => operands[0].read_block(first..last, 0..length, part, length),
                _ => output.read_block(first..last, 0..length, part, length),
            }
            .expect("it is read");
            match matrix {
                0 => residual.see_b(first * length, part),
                1 => residual.see_a(first * length, part),
                _ => residual.see_result(first * length, part),
            }
        }
    }
    residual.judge::<T>().is_ok()
}

/// The most memory that this process has had.
fn peak_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("it is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is told");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}
