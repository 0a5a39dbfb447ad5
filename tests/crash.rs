//! Power cuts: whatever they leave of what was not flushed, each commit that was acknowledged is
//! there whole, and of the one under way all or nothing.
//!
//! `make crash` cuts at every moment, and `SEED=N` repeats a run.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gemmule::ledger::{Batch, Table, Volume, VolumeError};

use support::power::{Cuts, Left, PowerCut};
use support::random::Random;

const CACHE_BYTES: usize = 1 << 20;
const COMMITS: u64 = 200;
/// Requests are answered again for so many commits.
const KEPT: u64 = 20;

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Whether to take the time that it takes.
fn is_full_run() -> bool {
    env::var("CUTS").is_ok_and(|cuts| cuts == "all")
}

fn seed() -> u64 {
    env::var("SEED").ok().map_or(1, |seed| seed.parse().expect("SEED is a number"))
}

fn open(disk: &PowerCut) -> Result<Volume, VolumeError> {
    Volume::open(Box::new(disk.clone()), [7; 16], CACHE_BYTES)
}

/// The changes of the commit with this number, from 1: rows that are appended, rows all over a
/// table, rows that are replaced, and rows that go, now and then with so much in them that the
/// volume has to grow.
fn batch(number: u64) -> Batch {
    let mut random = Random::new(number);
    let bytes = match number % 50 {
        17 => 150_000,
        3 | 23 | 43 => 20_000,
        _ => 200 + random.below(1300),
    };
    let mut batch = Batch::default();
    batch.put(Table::Journal, number.to_be_bytes(), vec![number as u8; bytes as usize]);
    batch.put(Table::Jobs, random.next().to_be_bytes(), number.to_be_bytes());
    batch.put(Table::Accounts, random.below(7).to_be_bytes(), number.to_be_bytes());
    batch.put(Table::Idempotency, number.to_be_bytes(), vec![1; 100]);
    if let Some(old) = number.checked_sub(KEPT) {
        batch.delete(Table::Idempotency, old.to_be_bytes());
    }
    batch.put(Table::Meta, "commits", number.to_be_bytes());
    batch
}

/// The rows after so many commits.
fn rows_after(commits: u64) -> Rows {
    let mut rows = Rows::new();
    for number in 1..=commits {
        let Batch { puts, deletes } = batch(number);
        for row in deletes {
            rows.remove(&row);
        }
        rows.extend(puts.into_iter().map(|(table, key, value)| ((table, key), value)));
    }
    rows
}

fn rows_of(volume: &Volume) -> Result<Rows, VolumeError> {
    let mut rows = Rows::new();
    for &table in Table::ALL {
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.insert((table, key.to_vec()), value.to_vec());
            true
        };
        volume.range(table, &[], None, &mut visit)?;
    }
    Ok(rows)
}

fn commits_of(volume: &Volume) -> Result<u64, VolumeError> {
    let commits = volume.get(Table::Meta, b"commits")?;
    Ok(commits.map_or(0, |commits| u64::from_be_bytes(commits.try_into().expect("eight bytes"))))
}

/// Commits on until there are `commits`, and counts what is acknowledged.
fn commit_until(
    volume: &Volume,
    commits: u64,
    acknowledged: &AtomicU64,
) -> Result<(), VolumeError> {
    for number in commits_of(volume)? + 1..=commits {
        volume.commit(&batch(number))?;
        acknowledged.store(number, Ordering::SeqCst);
    }
    Ok(())
}

/// Whether a disk that was found has all commits that were acknowledged, perhaps the one that was
/// under way, and nothing else; and whether it can be worked with.
fn check(found: &PowerCut, acknowledged: u64) -> Result<(), String> {
    let told = |error: VolumeError| error.to_string();
    match Volume::inspect(Box::new(found.clone()), CACHE_BYTES) {
        Ok(_) | Err(VolumeError::Empty) => {}
        Err(error) => return Err(told(error)),
    }
    let volume = open(found).map_err(told)?;
    let commits = commits_of(&volume).map_err(told)?;
    if !(acknowledged..=acknowledged + 1).contains(&commits) {
        return Err(format!("{commits} commits are there, {acknowledged} were acknowledged"));
    }
    if rows_of(&volume).map_err(told)? != rows_after(commits) {
        return Err(format!("the rows are not those after {commits} commits"));
    }
    volume.commit(&batch(commits + 1)).map_err(told)?;
    drop(volume);
    let volume = open(found).map_err(told)?;
    if rows_of(&volume).map_err(told)? != rows_after(commits + 1) {
        return Err(format!("after {commits} commits the next one did not last"));
    }
    Ok(())
}

/// Commits, with the power cut everywhere; how many disks were looked at, or what was wrong.
fn cut_everywhere(disk: PowerCut, commits: u64, every: u64) -> Result<u64, String> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let cuts = Cuts::new(seed(), every, 4);
    let told = acknowledged.clone();
    let watched = cuts.watch(disk, move |found| check(found, told.load(Ordering::SeqCst)));
    let volume = open(&watched).unwrap();
    commit_until(&volume, commits, &acknowledged).unwrap();
    volume.close().unwrap();
    cuts.result()
}

#[test]
fn acknowledged_commits_are_there_wherever_power_is_cut() {
    let every = if is_full_run() { 1 } else { 12 };
    for disk in [PowerCut::file(1 << 30), PowerCut::device(12 << 20)] {
        let disks = cut_everywhere(disk, COMMITS, every).unwrap();
        println!("{disks} disks were looked at");
        assert!(disks > COMMITS);
    }
}

/// The canary: on a disk that says it has flushed, and has not, the check must find something.
#[test]
fn a_disk_that_lies_is_found_out() {
    cut_everywhere(PowerCut::file(1 << 30).lying(), 10, 1).unwrap_err();
}

/// One volume through many lives, each ended by a power cut: while it is made, opened after the
/// last cut, committed to, or closed.
#[test]
fn a_volume_lives_through_one_power_cut_after_the_other() {
    let volumes = if is_full_run() { 200 } else { 4 };
    let mut random = Random::new(seed());
    for _ in 0..volumes {
        let mut disk = PowerCut::file(1 << 30);
        let acknowledged = AtomicU64::new(0);
        loop {
            let living = disk.clone().cut_at(1 + random.below(80));
            let result = open(&living).and_then(|volume| {
                let found = commits_of(&volume)?;
                let known = acknowledged.load(Ordering::SeqCst);
                assert!((known..=known + 1).contains(&found), "seed {}", seed());
                // What is found is on the medium: it stays, and the next one may be under way.
                acknowledged.store(found, Ordering::SeqCst);
                commit_until(&volume, COMMITS, &acknowledged)?;
                volume.close()
            });
            if !living.is_off() {
                result.unwrap();
                break;
            }
            let lefts: Vec<_> = Left::each(random.next(), 3).collect();
            disk = living.found(lefts[random.below(lefts.len() as u64) as usize]);
        }
        // A volume that was closed is on the medium.
        let volume = open(&disk.found(Left::Nothing)).unwrap();
        assert_eq!(rows_of(&volume).unwrap(), rows_after(COMMITS), "seed {}", seed());
    }
}
