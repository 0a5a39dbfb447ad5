//! How soon a server answers that has a gigabyte of ledger to open, after a crash.

use std::path::Path;
use std::process::{self, Command};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

use gemmule::billing::{JobId, Tariff};
use gemmule::gemm::Dtype;
use gemmule::ledger::book::Book;
use gemmule::ledger::entry::{Charge, Record};
use gemmule::ledger::hash::Hash;
use gemmule::ledger::{Account, AccountId, AccountLimits, Digests, Volume};
use gemmule::limits::VOLUME_CACHE_BYTES_DEFAULT;
use gemmule::time::Civil;

use crate::file::FileDisk;
use crate::server::{Place, Server};
use crate::{Bar, Bound, median};

/// The least that the lines of the journal come to: the file is larger.
const LINES_BYTES: u64 = 1 << 30;
/// About what a charge's line has.
const LINE_BYTES: u64 = 850;
const COMMIT_JOBS: u64 = 2048;
const ACCOUNTS: u64 = 100;
const HOUR_NS: u64 = 3_600_000_000_000;
const ROUNDS: usize = 5;
const SECONDS_MOST: f64 = 2.0;

pub fn measure() -> io::Result<Vec<Bar>> {
    let place = Place::new("opening");
    let status = Command::new(env::current_exe()?).arg("--fill").arg(place.path()).status()?;
    if status.success() {
        return Err(io::Error::other("the volume was closed, and was to crash"));
    }
    println!("filled, then crashed: {} MB", fs::metadata(place.path())?.len() / 1_000_000);
    let mut bars = Vec::new();
    for (name, is_cold) in [("from memory", false), ("from the disk", true)] {
        let mut seconds = Vec::new();
        let mut resident_bytes = 0;
        for _ in 0..ROUNDS {
            if is_cold {
                drop_from_memory(place.path())?;
            }
            // It is killed, so that the next finds a crash as well.
            let server = Server::start(&["--anonymous", "--data", place.text()])?;
            seconds.push(server.started_in.as_secs_f64());
            resident_bytes = resident_bytes.max(server.resident_bytes_max()?);
        }
        let figure = median(seconds);
        println!("{name}: {figure:.3} s, and at most {} MB", resident_bytes / 1_000_000);
        bars.push(Bar {
            name: format!("a ledger of 1 GB, {name}: seconds to the first answer"),
            figure,
            bound: Bound::Most(SECONDS_MOST),
        });
    }
    Ok(bars)
}

/// Writes a ledger of charges, and crashes: the process is gone without closing anything.
pub fn fill(path: &Path) -> ! {
    // All within this month, whose sums are what opening it has to read.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let now = now.as_nanos() as u64;
    let first_unix_ns = u64::from(Civil::month_first_hour(now)) * HOUR_NS;
    let jobs = (LINES_BYTES / LINE_BYTES).next_multiple_of(COMMIT_JOBS);
    let every_ns = (now - first_unix_ns) / jobs;
    let disk = FileDisk::open(path).expect("the file opens");
    let volume = Volume::open(Box::new(disk), [1; 16], VOLUME_CACHE_BYTES_DEFAULT);
    let volume = Arc::new(volume.expect("an empty file"));
    let mut book = Book::open(volume.clone(), first_unix_ns).expect("an empty volume");
    let tariff = Tariff::standard();
    book.record(first_unix_ns, Record::Tariff(tariff.clone()));
    for number in 0..ACCOUNTS {
        let account = Account {
            id: account_id(number),
            name: String::new(),
            tariff: tariff.name.clone(),
            limits: AccountLimits::default(),
            prepaid: false,
            closed: false,
            created_unix_ns: first_unix_ns,
        };
        book.record(first_unix_ns, Record::Account(account));
    }
    let mut job = 0;
    while job < jobs {
        let mut now = first_unix_ns;
        for _ in 0..COMMIT_JOBS {
            now = first_unix_ns + job * every_ns;
            book.record(now, Record::Charge(Arc::new(charge(job, now, &tariff))));
            job += 1;
        }
        let pending = book.take_pending(now).expect("the volume is read").expect("entries");
        book.committed(pending.commit(&volume).expect("the volume is written"), now);
    }
    process::abort();
}

fn account_id(number: u64) -> AccountId {
    format!("account-{number}").parse().expect("letters, digits and a hyphen")
}

/// Of a job whose account, digests and id are as random as they would be.
fn charge(job: u64, unix_ns: u64, tariff: &Tariff) -> Charge {
    let hash = |operand: u8| Hash::of(&[&job.to_be_bytes()[..], &[operand]].concat());
    let random = hash(0).0;
    let dtypes = [Dtype::F64, Dtype::F32];
    Charge {
        account: account_id(u64::from(random[10]) % ACCOUNTS),
        job: JobId::new(unix_ns, random[..10].try_into().expect("10 of 32 bytes")),
        m: 1024,
        n: 1024,
        k: 1024,
        dtype: dtypes[usize::from(random[11]) % dtypes.len()],
        flops: 2 << 30,
        bytes_in: 16 << 20,
        bytes_out: 8 << 20,
        tariff: tariff.name.clone(),
        tariff_version: tariff.version,
        amount_micros: u64::from(random[12]),
        currency: tariff.currency,
        kernel: "x86-64-v3".into(),
        elapsed_us: 12_345,
        task: None,
        node: None,
        cached: false,
        algorithm: None,
        executed_flops: None,
        digests: Some(Digests { a: hash(1), b: hash(2), c: None, result: hash(3) }),
        addresses: None,
        idempotency: None,
    }
}

/// Has the system forget what it has read and written of the file.
fn drop_from_memory(path: &Path) -> io::Result<()> {
    let mut command = Command::new("dd");
    command.arg(format!("of={}", path.display()));
    command.args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"]);
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("dd can't drop the file from memory")),
    }
}
