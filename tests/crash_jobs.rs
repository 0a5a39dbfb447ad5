//! Power cuts under jobs: clients that repeat by idempotency key what was not answered are charged
//! once for each, whatever a cut leaves; nothing else is charged, and the chain holds.
//!
//! `make crash` cuts at every moment, and `SEED=N` repeats a run.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, Mutex};

use gemmule::ledger::entry::{Charge, Entry, Record};
use gemmule::ledger::hash::Hash;
use gemmule::ledger::{Table, Volume};
use gemmule::server::SessionId;
use serde_json::Value;

use support::machine::{Machine, post};
use support::power::{Cuts, PowerCut};
use support::random::Random;

const JOBS: u64 = 240;
/// Jobs that are posted at once, and so share a commit.
const AT_ONCE_MAX: u64 = 9;

fn seed() -> u64 {
    env::var("SEED").ok().map_or(1, |seed| seed.parse().expect("SEED is a number"))
}

/// What clients know: the bill that each of their keys was answered with.
#[derive(Debug, Default)]
struct Told {
    bills: BTreeMap<u64, (String, u64)>,
    /// Posted, and not answered.
    open: Vec<u64>,
    unix_ns: u64,
}

/// Posts the job of a key.
fn post_key(machine: &mut Machine, key: u64) -> SessionId {
    let body = format!("{{\"a\":[[{key},1]],\"b\":[[2],[{key}]]}}");
    machine.send(&post(Some(&format!("\"key-{key}\"")), &body))
}

/// Posts keys at once, and tells the clients what was answered when the commit was done. `quits`
/// are clients that are gone before their job is.
fn serve(
    machine: &mut Machine,
    keys: &[u64],
    quits: &[u64],
    told: &Mutex<Told>,
) -> Result<(), String> {
    machine.now.unix_ns += 40_000_000;
    let sessions: Vec<_> = keys.iter().map(|key| (*key, post_key(machine, *key))).collect();
    for (key, session) in &sessions {
        if quits.contains(key) {
            machine.server.gone(*session);
        }
    }
    {
        let mut told = told.lock().expect("no panic");
        told.open = keys.iter().copied().filter(|key| !quits.contains(key)).collect();
        told.unix_ns = machine.now.unix_ns;
    }
    machine.run();
    for (key, session) in &sessions {
        let output = String::from_utf8_lossy(machine.server.output(*session));
        // What was durable before, and what is told to come again, may be answered at once.
        let may_be_answered = output.is_empty()
            || output.starts_with("HTTP/1.1 409 ")
            || output.contains("Idempotency-Replayed: true");
        if !may_be_answered {
            return Err(format!("key {key} was answered before its entry was durable"));
        }
    }
    machine.commit()?;
    for (key, session) in sessions {
        if quits.contains(&key) {
            continue;
        }
        let reply = machine.read(session);
        machine.server.gone(session);
        note(&mut told.lock().expect("no panic"), key, &reply)?;
    }
    told.lock().expect("no panic").open.clear();
    Ok(())
}

/// What an answer tells a client; a second one must tell the same.
fn note(told: &mut Told, key: u64, reply: &str) -> Result<(), String> {
    if reply.starts_with("HTTP/1.1 409 ") {
        return Ok(());
    }
    let (head, body) = reply.split_once("\r\n\r\n").ok_or("a reply has a head")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("key {key}: {reply}"));
    }
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    if body["c"] != serde_json::json!([[3.0 * key as f64]]) {
        return Err(format!("key {key}: {body}"));
    }
    let job = body["bill"]["job"].as_str().expect("a job").to_owned();
    let amount = body["bill"]["amount_micros"].as_u64().expect("an amount");
    match told.bills.insert(key, (job.clone(), amount)) {
        Some(before) if before != (job.clone(), amount) => {
            Err(format!("key {key} was billed as {before:?} and as {job}"))
        }
        Some(_) if !head.contains("Idempotency-Replayed: true") => {
            Err(format!("key {key} was served again as if it were new"))
        }
        _ => Ok(()),
    }
}

/// All entries of a volume, after seeing that they are a chain.
fn entries(volume: &Volume) -> Result<Vec<Entry>, String> {
    let (mut entries, mut head, mut wrong) = (Vec::<Entry>::new(), Hash::ZERO, None);
    let mut visit = |first: &[u8], lines: &[u8]| {
        let is_next = first == (entries.len() as u64).to_be_bytes();
        let lines = std::str::from_utf8(lines).expect("lines are text");
        for line in lines.split('\n') {
            let entry = Entry::parse(line).expect(line);
            if !is_next || entry.previous != head || entry.sequence != entries.len() as u64 {
                wrong = Some(format!("the chain breaks at {line}"));
                return false;
            }
            head = Hash::of(line.as_bytes());
            entries.push(entry);
        }
        true
    };
    volume.range(Table::Journal, &[], None, &mut visit).map_err(|error| error.to_string())?;
    wrong.map_or(Ok(entries), Err)
}

fn charges(volume: &Volume) -> Result<Vec<Arc<Charge>>, String> {
    let charge = |entry: Entry| match entry.record {
        Record::Charge(charge) => Some(charge),
        _ => None,
    };
    Ok(entries(volume)?.into_iter().filter_map(charge).collect())
}

/// Whether what is charged is what clients were told; `open` may be charged as well, or not.
fn compare(volume: &Volume, told: &Told, open: &[u64]) -> Result<(), String> {
    let mut charged = BTreeMap::new();
    for charge in charges(volume)? {
        let key = charge.idempotency.as_ref().map(|it| it.key).ok_or("every job here has a key")?;
        if charged.insert(key, charge).is_some() {
            return Err("a key was charged twice".into());
        }
    }
    let hash = |key: u64| Hash::of(format!("anonymous\0key-{key}").as_bytes());
    for (key, (job, amount)) in &told.bills {
        let charge = charged.remove(&hash(*key)).ok_or(format!("key {key} was lost"))?;
        if charge.job.to_string() != *job || charge.amount_micros != *amount {
            return Err(format!("key {key} was told {job}, and {} was charged", charge.job));
        }
    }
    for key in open {
        charged.remove(&hash(*key));
    }
    match charged.is_empty() {
        true => Ok(()),
        false => Err(format!("charged, and nobody had asked: {:?}", charged.values())),
    }
}

/// A disk as it is found after a cut: what was told is there, what is repeated is charged once, and
/// the sums of usage are those of the bills.
fn check(found: &PowerCut, told: &Mutex<Told>) -> Result<(), String> {
    let (bills, open, unix_ns) = {
        let told = told.lock().expect("no panic");
        (told.bills.clone(), told.open.clone(), told.unix_ns)
    };
    let before = Told { bills, ..Told::default() };
    let mut machine = Machine::boot(found, unix_ns + 1_000_000_000)?;
    compare(machine.volume(), &before, &open)?;
    // Clients repeat what was not answered, and one repeats what was.
    let again: Vec<u64> =
        open.iter().copied().chain(before.bills.keys().next_back().copied()).collect();
    let after = Mutex::new(before);
    for key in again {
        serve(&mut machine, &[key], &[], &after)?;
    }
    let after = after.into_inner().expect("no panic");
    compare(machine.volume(), &after, &[])?;
    let sum: u64 = after.bills.values().map(|(_, amount)| amount).sum();
    let usage = usage(machine.volume())?;
    if usage != (after.bills.len() as u64, sum) {
        return Err(format!("usage is {usage:?}, bills are {} of {sum}", after.bills.len()));
    }
    Ok(())
}

/// Jobs and micro-units, by the table of usage.
fn usage(volume: &Volume) -> Result<(u64, u64), String> {
    let mut sums = (0, 0);
    let mut visit = |_: &[u8], row: &[u8]| {
        let row: Value = serde_json::from_slice(row).expect("a row is JSON");
        sums.0 += row["jobs"].as_u64().expect("a number");
        sums.1 += row["amount_micros"].as_u64().expect("a number");
        true
    };
    volume.range(Table::Usage, &[], None, &mut visit).map_err(|error| error.to_string())?;
    Ok(sums)
}

/// Jobs with the power cut everywhere; how many disks were looked at, or what was wrong.
fn cut_everywhere(disk: PowerCut, jobs: u64, every: u64) -> Result<u64, String> {
    let told = Arc::new(Mutex::new(Told { unix_ns: 1_790_000_000_000_000_000, ..Told::default() }));
    let cuts = Cuts::new(seed(), every, 3);
    let knows = told.clone();
    let watched = cuts.watch(disk, move |found| check(found, &knows));
    let mut random = Random::new(seed());
    let mut machine = Machine::boot(&watched, 1_790_000_000_000_000_000)?;
    let mut next = 0;
    while next < jobs {
        let count = 1 + random.below(AT_ONCE_MAX);
        let mut keys: Vec<u64> = (next..next + count).collect();
        next += count;
        // Some clients repeat what was answered, some ask twice at once, some go away.
        if random.below(3) == 0 && next > count {
            keys.push(random.below(next - count));
        }
        let quits: Vec<u64> = if random.below(4) == 0 { vec![next - 1] } else { Vec::new() };
        if random.below(4) == 0 {
            keys.push(keys[0]);
        }
        serve(&mut machine, &keys, &quits, &told)?;
    }
    let told = told.lock().expect("no panic");
    compare(machine.volume(), &told, &[])?;
    assert!(told.bills.len() as u64 > jobs * 8 / 10, "most were answered");
    drop(told);
    cuts.result()
}

#[test]
fn jobs_are_charged_once_wherever_power_is_cut() {
    let is_full_run = env::var("CUTS").is_ok_and(|cuts| cuts == "all");
    let every = if is_full_run { 1 } else { 9 };
    for disk in [PowerCut::file(1 << 30), PowerCut::device(12 << 20)] {
        let disks = cut_everywhere(disk, JOBS, every).unwrap();
        println!("{disks} disks were looked at");
        assert!(disks > 50);
    }
}

/// The canary: on a disk that says it has flushed, and has not, the check must find something.
#[test]
fn a_disk_that_lies_is_found_out() {
    cut_everywhere(PowerCut::file(1 << 30).lying(), 20, 1).unwrap_err();
}
