//! `make bench-volume`: commits a second by jobs that share one, on an empty volume and on one of a
//! gigabyte, and how long that one takes to open after a crash.

// It runs on Linux, which is what it measures.
#[allow(dead_code, reason = "the host asks for more than this benchmark")]
#[path = "../src/linux/volume.rs"]
mod file;

use std::path::Path;
use std::process::{self, Command};
use std::time::{Duration, Instant};
use std::{env, fs};

use gemmule::ledger::{Batch, Table, Volume};
use gemmule::limits::VOLUME_CACHE_BYTES_DEFAULT;

use file::FileDisk;

/// The size of the large volume, and of a journal's line.
const LARGE_BYTES: u64 = 1 << 30;
const LINE_BYTES: usize = 700;
const BATCH_JOBS: [u64; 4] = [1, 8, 64, 512];
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    // `cargo bench` adds arguments of its own.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [crash, path] if crash == "--fill" => fill(Path::new(path)),
        [] => measure(&env::temp_dir()),
        [directory] => measure(Path::new(directory)),
        _ => panic!("at most the directory of the volume is taken"),
    }
}

fn open(path: &Path) -> Volume {
    let disk = FileDisk::open(path).expect("the file opens");
    Volume::open(Box::new(disk), [1; 16], VOLUME_CACHE_BYTES_DEFAULT).expect("it is a volume")
}

/// What the ledger writes for `jobs` jobs from number `first` on: their lines as one row, where
/// each job is found, and a row of sums.
fn batch(first: u64, jobs: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Journal, first.to_be_bytes(), vec![b'x'; LINE_BYTES * jobs as usize]);
    for job in first..first + jobs {
        let id = [job.to_be_bytes(), job.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()];
        batch.put(Table::Jobs, id.concat(), job.to_be_bytes());
    }
    batch.put(Table::Usage, b"now".to_vec(), vec![1; 200]);
    batch.put(Table::Meta, b"end".to_vec(), first.to_be_bytes());
    batch
}

fn end(volume: &Volume) -> u64 {
    let mut end = 0;
    let mut visit = |key: &[u8], _: &[u8]| {
        end = u64::from_be_bytes(key.try_into().expect("a number"));
        false
    };
    volume.range_backwards(Table::Journal, &[], None, &mut visit).expect("it is read");
    end + 1000
}

/// Fills a volume and crashes: the process is gone in the midst of it, without closing anything.
fn fill(path: &Path) {
    let volume = open(path);
    let mut first = 0;
    while first * (LINE_BYTES as u64 + 60) < LARGE_BYTES {
        volume.commit(&batch(first, 512)).expect("it is committed");
        first += 512;
    }
    process::abort();
}

fn measure(directory: &Path) {
    let path = directory.join(format!("gemmule-bench-{}", process::id()));
    commits("empty", &path);
    fs::remove_file(&path).expect("it is removed");
    let start = Instant::now();
    let status =
        Command::new(env::current_exe().expect("it has a path")).arg("--fill").arg(&path).status();
    assert!(!status.expect("it runs").success(), "it is to crash");
    let bytes = fs::metadata(&path).expect("it is there").len();
    println!("filled, then crashed: a file of {} MB in {:.1?}", bytes / 1_000_000, start.elapsed());
    drop_from_memory(&path);
    let start = Instant::now();
    let volume = open(&path);
    println!("opened after the crash in {:.1?}", start.elapsed());
    drop(volume);
    commits("of a gigabyte", &path);
    fs::remove_file(&path).expect("it is removed");
}

/// Has the system forget what it has read and written of the file.
fn drop_from_memory(path: &Path) {
    let status = Command::new("dd")
        .arg(format!("of={}", path.display()))
        .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
        .status();
    assert!(status.expect("dd runs").success());
}

fn commits(name: &str, path: &Path) {
    let volume = open(path);
    let mut first = end(&volume);
    for jobs in BATCH_JOBS {
        let start = Instant::now();
        let mut commits = 0_u32;
        while start.elapsed() < MEASURED {
            volume.commit(&batch(first, jobs)).expect("it is committed");
            first += jobs;
            commits += 1;
        }
        let each = start.elapsed() / commits;
        let rate = jobs as f64 / each.as_secs_f64();
        println!("a volume {name}, {jobs:3} jobs a commit: {each:7.0?} each, {rate:8.0} jobs/s");
    }
    volume.close().expect("it closes");
}
