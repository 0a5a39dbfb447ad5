//! `make bench-fairness`: what a burst from one account costs another.
//!
//! The Linux server, with its clients on the same cores. One account multiplies 512 x 512 on many
//! connections without a pause; another has one connection, and waits for each of its products. How
//! long it waits is compared with an idle server, and with the same burst from its own account,
//! beside which its jobs take their turn as they come. Then both burst, with as many connections
//! and with fewer. Prints what was measured, then one line a bar, and exits with 1 if one falls
//! short.

use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, process, thread};

use gemmule::job::queue::FairQueue;

#[path = "../tests/support/mod.rs"]
mod support;

use support::accounts::{self, Draft};
use support::host::Host;
use support::http::write_request;

const CONNECTIONS_MANY: usize = 64;
const CONNECTIONS_FEW: usize = 8;
/// For how long a burst is there before anything is measured, and a figure is gathered.
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(5);
/// Products that are timed at most: the ledger's part of the volume holds the charges of some
/// hundred thousand.
const TIMES_MAX: usize = 20_000;
/// A reply that does not come for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An account, as its requests know it.
struct Client {
    addr: SocketAddr,
    authorization: String,
}

/// One request, and the bytes of the matrix that comes back.
struct Exchange {
    request: Vec<u8>,
    reply_bytes: Option<usize>,
}

fn main() -> ExitCode {
    let mut bars = vec![queue()];
    let drafts = [Draft::new("first"), Draft::new("second")];
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (disk, volume) = accounts::volume(&drafts, unix.as_nanos() as u64);
    drop(volume);
    let path = path();
    fs::write(&path, disk.contents()).expect("there is room for a volume");
    let data = path.to_str().expect("a path in UTF-8");
    let host = Host::serve(&["--data", data, "--memory-mib", "2048"]);
    let [first, second] =
        drafts.map(|draft| Client { addr: host.addr(), authorization: draft.authorization() });
    bars.extend(latencies(&first, &second));
    bars.extend(shares(&first, &second));
    drop(host);
    fs::remove_file(&path).expect("the volume was there");
    println!();
    let mut all_hold = true;
    for (name, figure, bound) in bars {
        let verdict = if figure <= bound { "holds" } else { "short" };
        println!("{name:60} {figure:>9.2}  <= {bound:<5} {verdict}");
        all_hold &= figure <= bound;
    }
    ExitCode::from(u8::from(!all_hold))
}

/// Where flushes take no time, so that the disk is left out of the figures.
fn path() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { env::temp_dir() };
    folder.join(format!("gemmule-fairness-{}", process::id()))
}

type Bar = (&'static str, f64, f64);

/// What it costs to wait in the queue, with as much as a job is moved.
fn queue() -> Bar {
    const ROUNDS: usize = 1_000_000;
    let nanoseconds = [1, 1000].map(|accounts| {
        let mut queue = FairQueue::default();
        (0..accounts).for_each(|account| queue.push(account, (account, [0_u64; 64])));
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let (account, job) = black_box(queue.pop().expect("jobs wait"));
            queue.charge(account, 1000);
            queue.push(account, (account, job));
        }
        start.elapsed().as_nanos() as f64 / ROUNDS as f64
    });
    println!("{:40} {:>9.1}", "a turn in the queue, one account, ns", nanoseconds[0]);
    println!("{:40} {:>9.1}\n", "of a thousand accounts, ns", nanoseconds[1]);
    ("a turn in the queue, one account, ns", nanoseconds[0], 100.0)
}

/// How long one connection waits, in milliseconds.
fn latencies(first: &Client, second: &Client) -> Vec<Bar> {
    println!("{:14} {:>12} {:>9} {:>9}", "ms, beside", "product", "median", "99 %");
    let sizes = [2, 256];
    let mut medians = Vec::new();
    for (name, burst) in [("nobody", None), ("another", Some(first)), ("itself", Some(second))] {
        let of_sizes = with_burst(burst, CONNECTIONS_MANY, || {
            sizes.map(|size| {
                let mut times = second.times(&second.exchange(size));
                times.sort_by(f64::total_cmp);
                let rank = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
                println!(
                    "{name:14} {:>12} {:>9.2} {:>9.2}",
                    format!("{size} x {size}"),
                    rank(0.5),
                    rank(0.99)
                );
                rank(0.5)
            })
        });
        medians.push(of_sizes.0);
    }
    println!();
    let [_, another, itself] = [0, 1, 2].map(|row: usize| medians[row]);
    vec![("256 x 256 beside another's burst, of beside its own", another[1] / itself[1], 0.5)]
}

/// What part of the products is whose, where both burst.
fn shares(first: &Client, second: &Client) -> Vec<Bar> {
    println!("{:>11} {:>11} {:>9} {:>9}", "connections", "connections", "a second", "a second");
    let mut bars = Vec::new();
    for (name, connections, bound) in [
        ("share of two with as many connections, off a half", CONNECTIONS_MANY / 2, 0.05),
        // While its clients take what they got, too few of its jobs wait to fill its part; in the
        // order in which jobs come it would be 0.3 off.
        ("share with a quarter of the connections, off a half", CONNECTIONS_FEW, 0.15),
    ] {
        let many = CONNECTIONS_MANY / 2;
        let ((_, fewer), more) = with_burst(Some(first), many, || {
            with_burst(Some(second), connections, || thread::sleep(SPAN))
        });
        // The first began before the second and ends after it.
        println!("{many:>11} {connections:>11} {more:>9.0} {fewer:>9.0}");
        bars.push((name, (fewer / (more + fewer) - 0.5).abs(), bound));
    }
    bars
}

/// Measures while an account bursts; with the products that it gets in a second meanwhile.
fn with_burst<R>(
    client: Option<&Client>,
    connections: usize,
    measure: impl FnOnce() -> R,
) -> (R, f64) {
    let Some(client) = client else { return (measure(), 0.0) };
    let exchange = client.exchange(512);
    let (is_over, products) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = client.connect();
                while !is_over.load(Ordering::Relaxed) {
                    exchange.run(&mut connection).expect("a product");
                    products.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(WARM_UP);
        let (start, before) = (Instant::now(), products.load(Ordering::Relaxed));
        let measured = measure();
        let elapsed = start.elapsed();
        let all = products.load(Ordering::Relaxed) - before;
        is_over.store(true, Ordering::Relaxed);
        (measured, all as f64 / elapsed.as_secs_f64())
    })
}

impl Client {
    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.addr).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(TIMEOUT)).expect("an option");
        BufReader::new(stream)
    }

    /// A square product: in JSON where it is small, and in raw `f64` elsewhere.
    fn exchange(&self, size: usize) -> Exchange {
        let authorization = ("Authorization", self.authorization.as_str());
        if size == 2 {
            let fields = [("Content-Type", "application/json"), authorization];
            let body = br#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;
            let request = write_request("POST", "/v1/multiply", &fields, Some(body));
            return Exchange { request, reply_bytes: None };
        }
        let fields = [("Content-Type", "application/octet-stream"), authorization];
        let target = format!("/v1/multiply?a={size}x{size}&b={size}x{size}");
        let body = 1.0_f64.to_le_bytes().repeat(2 * size * size);
        let request = write_request("POST", &target, &fields, Some(&body));
        Exchange { request, reply_bytes: Some(size * size * 8) }
    }

    /// How long each of its products takes on one connection, in milliseconds.
    fn times(&self, exchange: &Exchange) -> Vec<f64> {
        let (mut connection, end) = (self.connect(), Instant::now() + SPAN);
        let mut times = Vec::new();
        while (Instant::now() < end && times.len() < TIMES_MAX) || times.len() < 3 {
            let start = Instant::now();
            exchange.run(&mut connection).expect("a product");
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times
    }
}

impl Exchange {
    /// Sends the request and reads the reply, which must be a product.
    fn run(&self, connection: &mut BufReader<TcpStream>) -> io::Result<()> {
        connection.get_mut().write_all(&self.request)?;
        let (mut line, mut length) = (String::new(), None);
        connection.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            // What it says about why comes at once.
            let buffered = String::from_utf8_lossy(connection.buffer());
            return Err(io::Error::other(format!("{line}{buffered}")));
        }
        while line != "\r\n" {
            line.clear();
            connection.read_line(&mut line)?;
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().ok();
            }
        }
        let length = length.ok_or_else(|| io::Error::other("no length"))?;
        if self.reply_bytes.is_some_and(|bytes| bytes as u64 != length) {
            return Err(io::Error::other(format!("{length} bytes")));
        }
        let copied = io::copy(&mut connection.take(length), &mut io::sink())?;
        if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
