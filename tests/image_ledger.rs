//! The image with a disk: what it was killed amid, what it bills after that, and disks that fail or
//! are none. `make image` has built it. `KILLS=N` kills it so often.

mod support;

// The part of the host on Linux by which a volume is read, which is no library.
#[path = "../src/linux/volume.rs"]
mod file;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use gemmule::ledger::hash::Hash;
use gemmule::ledger::{Table, Volume};
use serde_json::Value;

use file::FileDisk;
use support::http::Client;
use support::payers::Payers;
use support::random::Random;
use support::vm::disk::Disk;
use support::vm::{Guest, Machine, Vm, VmOptions};

/// How long a reply, or an end, may take under an emulator.
const TIMEOUT: Duration = Duration::from_secs(30);
const DISK_BYTES: u64 = 32 << 20;
const CLIENTS: usize = 8;
const SEED: u64 = 5;

/// The status with which QEMU ends when the guest ends with `code`.
const fn qemu_status(code: i32) -> i32 {
    code << 1 | 1
}

fn options(machine: Machine, disk: &Path) -> VmOptions {
    let disk = Some(disk.to_owned());
    VmOptions { vcpus: 2, memory_mib: 128, disk, ..VmOptions::new(machine, Guest::image("")) }
}

fn power_off(mut vm: Vm) {
    vm.powerdown().expect("the monitor answers");
    let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
    assert_eq!(status.code(), Some(0), "{}", vm.describe());
}

/// Clients repeat each job by its key until they are told its bill. Whenever the machine was
/// killed: each job has one entry in the ledger, the one that was told.
#[test]
fn a_machine_that_is_killed_bills_what_it_said() {
    let kills = env::var("KILLS").map_or(2, |kills| kills.parse().expect("KILLS is a number"));
    let disk = Disk::new("killed", DISK_BYTES);
    let mut random = Random::new(SEED);
    let payers = Payers::start(CLIENTS, SEED);
    for kill in 0..kills {
        let machine = Machine::ALL[kill % Machine::ALL.len()];
        let vm = Vm::boot(&options(machine, &disk.0));
        payers.set_server(Some(vm.addr()));
        payers.wait_for(50 + random.below(200) as usize, TIMEOUT);
        payers.set_server(None);
        // By SIGKILL.
        drop(vm);
    }
    let vm = Vm::boot(&options(Machine::Microvm, &disk.0));
    payers.set_server(Some(vm.addr()));
    let told = payers.finish();
    check_bills(&vm, &told);
    check_usage(&vm, &told);
    power_off(vm);
    check_journal(&disk.0, &told);
    println!("{} jobs over {kills} kills", told.len());
}

fn check_bills(vm: &Vm, told: &[Value]) {
    let mut client = Client::connect(vm.addr(), TIMEOUT).expect("a connection");
    for bill in told {
        let job = bill["job"].as_str().expect("a bill names its job");
        let reply = client.get(&format!("/v1/jobs/{job}/bill")).expect("a reply");
        assert_eq!((reply.status, &reply.json()), (200, bill));
    }
}

/// The sums are those of the bills that were told, by day and by dtype.
fn check_usage(vm: &Vm, told: &[Value]) {
    const FIGURES: [&str; 4] = ["flops", "bytes_in", "bytes_out", "amount_micros"];
    type Sums = [u64; FIGURES.len()];
    let add = |sums: &mut (u64, Sums), bill: &Value| {
        sums.0 += 1;
        for (sum, name) in sums.1.iter_mut().zip(FIGURES) {
            *sum += bill[name].as_u64().expect("a number");
        }
    };
    let mut client = Client::connect(vm.addr(), TIMEOUT).expect("a connection");
    for (by, group) in [("day", "issued_at"), ("dtype", "dtype")] {
        let (mut rows, mut total) = (BTreeMap::<String, (u64, Sums)>::new(), (0, Sums::default()));
        for bill in told {
            let group = bill[group].as_str().expect("a text");
            // Of a time, the day.
            let group = group.get(..10).unwrap_or(group).to_owned();
            add(rows.entry(group).or_default(), bill);
            add(&mut total, bill);
        }
        // From before the first day on, which a test that runs at midnight needs.
        let first =
            told.iter().map(|bill| &bill["issued_at"].as_str().expect("a time")[..10]).min();
        let first = first.expect("bills were told");
        let path = format!("/v1/usage?by={by}&from={first}");
        let reply = client.get(&path).expect("a reply").json();
        let figures = |sums: &Value| {
            let number = |name: &str| sums[name].as_u64().expect("a number");
            (number("jobs"), FIGURES.map(number))
        };
        let found = reply["rows"].as_array().expect("rows").iter();
        let found: BTreeMap<_, _> = found
            .map(|row| (row["group"].as_str().expect("a group").to_owned(), figures(row)))
            .collect();
        assert_eq!(found, rows, "{path}");
        assert_eq!(figures(&reply["total"]), total, "{path}");
        assert_eq!(reply["total"]["corrected_micros"], 0);
        assert_eq!(reply["ledger"], "durable");
    }
}

/// The chain is whole, and its charges are those that were told, all of them once.
fn check_journal(path: &Path, told: &[Value]) {
    let disk = FileDisk::open(path).expect("the machine has ended");
    let volume = Volume::open(Box::new(disk), [0; 16], 1 << 20).expect("a volume");
    let mut charges = BTreeMap::new();
    let (mut sequence, mut previous) = (0, Hash::ZERO);
    let mut visit = |_: &[u8], lines: &[u8]| {
        for line in lines.split(|byte| *byte == b'\n') {
            let entry: Value = serde_json::from_slice(line).expect("an entry is JSON");
            let mut digits = String::new();
            previous.push_to(&mut digits);
            assert_eq!(
                (&entry["sequence"], &entry["previous"]),
                (&sequence.into(), &digits.into())
            );
            sequence += 1;
            previous = Hash::of(line);
            if let Some(charge) = entry.get("charge") {
                let earlier = charges.insert(charge["job"].to_string(), charge.clone());
                assert_eq!(earlier, None, "a job is charged once");
            }
        }
        true
    };
    volume.range(Table::Journal, &[], None, &mut visit).expect("the journal can be read");
    assert_eq!(charges.len(), told.len());
    for bill in told {
        let charge = &charges[&bill["job"].to_string()];
        for field in ["account", "m", "n", "k", "flops", "amount_micros", "elapsed_us"] {
            assert_eq!(charge[field], bill[field], "{field} of {bill}");
        }
    }
}

/// A job whose entry can't be written is not answered, and nothing is after it.
#[test]
fn a_disk_that_fails_ends_the_machine() {
    for machine in Machine::ALL {
        let disk = Disk::new(&format!("failing-{}", machine.name()), DISK_BYTES);
        let mut vm = Vm::boot(&options(machine, &disk.0));
        let mut client = Client::connect(vm.addr(), TIMEOUT).expect("a connection");
        vm.monitor("drive_del disk").expect("the monitor answers");
        let reply = client.post_job("{\"a\":[[6]],\"b\":[[7]]}");
        assert!(reply.is_err(), "{reply:?}");
        let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
        assert_eq!(status.code(), Some(qemu_status(21)), "{}", vm.describe());
        assert!(vm.serial().contains("the ledger could not be written"), "{}", vm.describe());
    }
}

/// What fails before anybody is served is told as any other reason not to serve.
#[test]
fn a_disk_that_fails_as_it_is_opened_is_refused() {
    for (fault, reason) in [
        ("event=flush_to_disk", "a flush has failed"),
        ("event=none,file.inject-error.0.iotype=write", "a write has failed"),
    ] {
        let disk = Disk::new("faulty", DISK_BYTES);
        let file = disk.0.display();
        let drive = format!(
            "if=none,id=disk,driver=raw,file.driver=blkdebug,file.image.driver=file,\
             file.image.filename={file},file.inject-error.0.errno=5,file.inject-error.0.{fault}"
        );
        let extra = ["-drive", &drive, "-device", "virtio-blk-device,drive=disk"];
        let extra = extra.map(String::from).to_vec();
        let options = options(Machine::Microvm, &disk.0);
        let mut vm = Vm::spawn(&VmOptions { disk: None, extra, ..options });
        let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
        assert_eq!(status.code(), Some(qemu_status(1)), "{}", vm.describe());
        assert!(vm.serial().contains(reason), "{}", vm.describe());
    }
}

#[test]
fn disks_that_are_no_volume_are_refused_and_stay_as_they_are() {
    for (name, content, drive, reason) in [
        ("something", 1, "", "not a volume of Gemmule"),
        ("read-only", 0, ",readonly=on", "the disk can only be read"),
    ] {
        let disk = Disk::new(name, DISK_BYTES);
        let before = vec![content; DISK_BYTES as usize];
        fs::write(&disk.0, &before).expect("the file can be written");
        let file = disk.0.display();
        let drive = format!("if=none,id=disk,format=raw,file={file}{drive}");
        let extra = ["-drive", &drive, "-device", "virtio-blk-device,drive=disk"];
        let extra = extra.map(String::from).to_vec();
        let options = options(Machine::Microvm, &disk.0);
        let mut vm = Vm::spawn(&VmOptions { disk: None, extra, ..options });
        let status = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
        assert_eq!(status.code(), Some(qemu_status(1)), "{}", vm.describe());
        assert!(vm.serial().contains(reason), "{}", vm.describe());
        assert!(fs::read(&disk.0).expect("the file is there") == before, "{name} has changed");
    }
}
