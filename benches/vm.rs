//! `make bench-vm`: the image against Linux with the same service, on the same virtual hardware.
//!
//! Both boot in turn, so that whatever else the host does meets both; a ratio is taken within a
//! round, and the figure is the median over the rounds. Prints what it measured, then one line a
//! bar, and exits with 1 if one falls short.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "vm/options.rs"]
mod options;

use options::Options;
use support::http;
use support::load::{Load, Report, Shape};
use support::peer::Peer;
use support::transfer;
use support::vm::{Accel, Guest, Machine, Vm, VmOptions, image_path};
use support::wire::crowd::Crowd;

/// The most connections of any bar, and the count behind "under load".
const CONNECTIONS_MANY: usize = 64;
const IDLE_SPAN: Duration = Duration::from_secs(10);

/// What `--only` can name, and what measures it.
const MEASUREMENTS: [(&str, Measurement); 7] = [
    ("boot", boot),
    ("load", load),
    ("upload", upload),
    ("download", download),
    ("crowd", crowd),
    ("small", memory_small),
    ("idle", correct_then_idle),
];

type Measurement = fn(&Pair) -> Vec<Bar>;

/// The two guests of a machine, and how often each is measured.
struct Pair {
    machine: Machine,
    ours: Guest,
    linux: Guest,
    rounds: usize,
}

fn main() -> ExitCode {
    let names = MEASUREMENTS.map(|(name, _)| name);
    let options = match Options::parse(std::env::args().skip(1), &names) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let peer = match Peer::prepare() {
        Ok(peer) => peer,
        Err(error) => {
            eprintln!("no Linux to compare with: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("accelerator {:?}, one virtual CPU, 256 MiB\n", Accel::best());
    let mut bars = vec![image_size()];
    println!("{:8} {:>30} {:>8} {:>8} {:>7}", "machine", "each round", "ours", "linux", "ratio");
    for machine in Machine::ALL.into_iter().filter(|machine| options.takes_machine(*machine)) {
        let (ours, linux) = (Guest::image(""), peer.guest(machine));
        let pair = Pair { machine, ours, linux, rounds: options.rounds };
        for (_, measure) in MEASUREMENTS.iter().filter(|(name, _)| options.takes(name)) {
            bars.extend(measure(&pair));
        }
    }
    println!();
    for bar in &bars {
        println!("{bar}");
    }
    ExitCode::from(u8::from(bars.iter().any(|bar| !bar.holds())))
}

impl Pair {
    /// Measures both guests in turn, ours first, in each round.
    fn measure<T>(&self, mut of: impl FnMut(&Guest) -> T) -> Vec<[T; 2]> {
        (0..self.rounds).map(|_| [of(&self.ours), of(&self.linux)]).collect()
    }
}

/// A promise and what was measured.
struct Bar {
    name: String,
    figure: f64,
    promise: Promise,
}

enum Promise {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn holds(&self) -> bool {
        match self.promise {
            Promise::AtLeast(bound) => self.figure >= bound,
            Promise::AtMost(bound) => self.figure <= bound,
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, bound) = match self.promise {
            Promise::AtLeast(bound) => (">=", bound),
            Promise::AtMost(bound) => ("<=", bound),
        };
        let verdict = if self.holds() { "holds" } else { "short" };
        write!(f, "{:55} {:>9.2}  {sign} {bound:<5} {verdict}", self.name, self.figure)
    }
}

fn image_size() -> Bar {
    let path = image_path();
    let bytes = fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Bar {
        name: "image, MiB".to_string(),
        figure: bytes.len() as f64 / 1024.0 / 1024.0,
        promise: Promise::AtMost(2.0),
    }
}

/// From spawning QEMU to the answer of a 2 x 2 product, checked.
fn boot_to_product(machine: Machine, guest: &Guest) -> f64 {
    let vm = Vm::boot(&VmOptions::new(machine, guest.clone()));
    first_product(&vm).as_secs_f64()
}

/// The ready line is seen within a millisecond. Connecting before it would only fill the forwarding
/// with connections that nobody answers; after it, an attempt that fails is made again at once.
fn first_product(vm: &Vm) -> Duration {
    const ATTEMPT: Duration = Duration::from_millis(500);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let job = r#"{"a": [[1,2],[3,4]], "b": [[5,6],[7,8]]}"#;
        match http::post_job(vm.addr(), job, ATTEMPT) {
            Ok(response) => {
                let after = vm.spawned().elapsed();
                assert_eq!(response.status, 200, "{}", response.text());
                assert_eq!(response.json()["c"], serde_json::json!([[19.0, 22.0], [43.0, 50.0]]));
                return after;
            }
            Err(error) if Instant::now() > deadline => {
                panic!("no first product: {error}\n{}", vm.describe())
            }
            Err(_) => {}
        }
    }
}

fn boot(pair: &Pair) -> Vec<Bar> {
    let machine = pair.machine;
    let rounds = pair.measure(|guest| boot_to_product(machine, guest));
    for round in &rounds {
        row(machine, "boot to first product, s", *round, round[1] / round[0]);
    }
    let figure = median(rounds.iter().map(|[ours, linux]| linux / ours));
    let bound = match machine {
        Machine::Microvm => 4.0,
        Machine::Q35 => 3.0,
    };
    let name = format!("{}: boot to first product, linux/ours", machine.name());
    vec![Bar { name, figure, promise: Promise::AtLeast(bound) }]
}

/// What one guest did under load.
struct Loaded {
    per_second_one: f64,
    per_second_many: f64,
    p99_ms: f64,
    rss_mib: f64,
}

fn load_guest(machine: Machine, guest: &Guest) -> Loaded {
    let vm = Vm::boot(&VmOptions::new(machine, guest.clone()));
    first_product(&vm);
    let run = |connections, requests| told(Load::new(vm.addr(), connections, requests));
    // The emulator translates on first use.
    run(CONNECTIONS_MANY, 1000);
    let per_second_one = run(1, 3000).requests_per_second();
    let many = run(CONNECTIONS_MANY, 10_000);
    let rss_mib = vm.rss_bytes() as f64 / 1024.0 / 1024.0;
    let p99_ms = many.percentile(99.0).as_secs_f64() * 1000.0;
    Loaded { per_second_one, per_second_many: many.requests_per_second(), p99_ms, rss_mib }
}

fn load(pair: &Pair) -> Vec<Bar> {
    let machine = pair.machine;
    let rounds = pair.measure(|guest| load_guest(machine, guest));
    let bar = |what: &str, figure_of: fn(&Loaded) -> f64, promise: Promise| {
        let pairs: Vec<[f64; 2]> =
            rounds.iter().map(|round| round.each_ref().map(figure_of)).collect();
        for pair in &pairs {
            row(machine, what, *pair, pair[0] / pair[1]);
        }
        let figure = median(pairs.iter().map(|[ours, linux]| ours / linux));
        Bar { name: format!("{}: {what}, ours/linux", machine.name()), figure, promise }
    };
    vec![
        bar("requests/s, 1 connection", |l| l.per_second_one, Promise::AtLeast(1.0)),
        bar("requests/s, 64 connections", |l| l.per_second_many, Promise::AtLeast(2.0)),
        bar("p99, 64 connections, ms", |l| l.p99_ms, Promise::AtMost(1.0)),
        bar("memory after load, MiB", |l| l.rss_mib, Promise::AtMost(0.4)),
    ]
}

/// Bytes of a large body.
const TRANSFER_BYTES: usize = 32 * 1024 * 1024;
/// Bodies of which the median is a guest's figure; one more goes before them, since the emulator
/// translates on first use.
const TRANSFERS: usize = 3;

fn upload(pair: &Pair) -> Vec<Bar> {
    transfer(pair, "upload of 32 MiB, MB/s", transfer::upload)
}

fn download(pair: &Pair) -> Vec<Bar> {
    transfer(pair, "download of 32 MiB, MB/s", transfer::download)
}

fn transfer(
    pair: &Pair,
    what: &str,
    once: fn(SocketAddr, usize) -> io::Result<Duration>,
) -> Vec<Bar> {
    let machine = pair.machine;
    let rounds = pair.measure(|guest| {
        let vm = Vm::boot(&VmOptions::new(machine, guest.clone()));
        first_product(&vm);
        let rates = (0..=TRANSFERS).map(|_| {
            let elapsed = once(vm.addr(), TRANSFER_BYTES);
            let elapsed = elapsed.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe()));
            TRANSFER_BYTES as f64 / 1e6 / elapsed.as_secs_f64()
        });
        median(rates.collect::<Vec<_>>().into_iter().skip(1))
    });
    for round in &rounds {
        row(machine, what, *round, round[0] / round[1]);
    }
    let figure = median(rounds.iter().map(|[ours, linux]| ours / linux));
    let name = format!("{}: {what}, ours/linux", machine.name());
    vec![Bar { name, figure, promise: Promise::AtLeast(1.0) }]
}

/// Connections that wait for nothing, and those that work beside them.
const CONNECTIONS_IDLE: usize = 1_000;
const CONNECTIONS_BESIDE: usize = 16;

/// What idle connections cost the others.
fn crowd(pair: &Pair) -> Vec<Bar> {
    const JOBS: usize = 10_000;
    const TIMEOUT: Duration = Duration::from_secs(30);
    let machine = pair.machine;
    let rounds = (0..pair.rounds).map(|_| {
        let mut crowd = Crowd::bind().expect("a wire");
        let network = crowd.network();
        let vm = Vm::boot(&VmOptions { network, ..VmOptions::new(machine, pair.ours.clone()) });
        let failed = |error, open| -> ! { panic!("with {open} open: {error}\n{}", vm.describe()) };
        let mut rate = |connections: usize| {
            let missing = connections.saturating_sub(crowd.members());
            (0..missing)
                .try_for_each(|_| crowd.open(TIMEOUT))
                .and_then(|()| crowd.jobs_per_second(CONNECTIONS_BESIDE, JOBS, TIMEOUT))
                .unwrap_or_else(|error| failed(error, crowd.members()))
        };
        rate(CONNECTIONS_BESIDE);
        let alone = rate(CONNECTIONS_BESIDE);
        let among_idle = rate(CONNECTIONS_BESIDE + CONNECTIONS_IDLE);
        let name = machine.name();
        println!("{name:8} ours, 16 alone {alone:.0}/s, among 1,000 idle {among_idle:.0}/s");
        among_idle / alone
    });
    let figure = median(rounds);
    let name = format!("{}: requests/s among 1,000 idle, of those alone", machine.name());
    vec![Bar { name, figure, promise: Promise::AtLeast(0.9) }]
}

/// The least memory we promise to serve in.
fn memory_small(pair: &Pair) -> Vec<Bar> {
    let machine = pair.machine;
    let mut options = VmOptions::new(machine, pair.ours.clone());
    options.memory_mib = 64;
    const REQUESTS: usize = 1000;
    let wrong = match Vm::try_boot(&options) {
        Ok(vm) => told(Load::new(vm.addr(), CONNECTIONS_MANY, REQUESTS)).wrong,
        Err(report) => {
            println!("{report}");
            REQUESTS
        }
    };
    let name = format!("{}: wrong of 1,000 requests in 64 MiB", machine.name());
    vec![Bar { name, figure: wrong as f64, promise: Promise::AtMost(0.0) }]
}

/// Products of all shapes up to 8 x 8 x 8, all checked; then nothing at all for a while.
fn correct_then_idle(pair: &Pair) -> Vec<Bar> {
    let machine = pair.machine;
    let vm = Vm::boot(&VmOptions::new(machine, pair.ours.clone()));
    let mut load = Load::new(vm.addr(), CONNECTIONS_MANY, 10_000);
    load.shape = Shape::Varied(8);
    let report = told(load);
    println!(
        "{:8} {:>30} p50 {:.2?}, p99 {:.2?}, most {:.2?}",
        machine.name(),
        "ours, 64 connections, 8x8x8",
        report.percentile(50.0),
        report.percentile(99.0),
        report.percentile(100.0),
    );
    let busy_before = vm.cpu_time();
    std::thread::sleep(IDLE_SPAN);
    let busy = vm.cpu_time() - busy_before;
    vec![
        Bar {
            name: format!("{}: wrong of 10,000 requests", machine.name()),
            figure: report.wrong as f64,
            promise: Promise::AtMost(0.0),
        },
        Bar {
            name: format!("{}: idle, percent of a core", machine.name()),
            figure: 100.0 * busy.as_secs_f64() / IDLE_SPAN.as_secs_f64(),
            promise: Promise::AtMost(5.0),
        },
    ]
}

/// Runs a load and prints what was wrong; a rate counts only what was right.
fn told(load: Load) -> Report {
    let report = load.run().expect("sockets of this machine");
    for complaint in &report.complaints {
        println!("{complaint}");
    }
    report
}

fn row(machine: Machine, what: &str, [ours, linux]: [f64; 2], ratio: f64) {
    println!("{:8} {what:>30} {ours:>8.2} {linux:>8.2} {ratio:>7.2}", machine.name());
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
