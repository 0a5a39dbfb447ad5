//! `gemmule ledger verify` and `gemmule receipt verify`: what anybody can check without the
//! service.

use std::fs;
use std::io;
use std::path::Path;

use gemmule::billing::JobId;
use gemmule::ledger::Volume;
use gemmule::ledger::book::verify::verify;
use gemmule::ledger::entry::{Entry, Record};
use gemmule::ledger::receipt::{JobReceipts, PublicKey, PublishedKeys, Receipt, Served};

use crate::linux::volume::FileDisk;

/// Pages of the volume that are kept in memory.
const CACHE_BYTES: usize = 64 << 20;

/// Verifies the ledger in a file or on a device, without writing to it; the exit status.
pub fn ledger(path: &str) -> u8 {
    let disk = match FileDisk::open_to_read(Path::new(path)) {
        Ok(disk) => disk,
        Err(error) => return refuse(path, &error),
    };
    let volume = match Volume::inspect(Box::new(disk), CACHE_BYTES) {
        Ok(volume) => volume,
        Err(error) => return refuse(path, &error),
    };
    match verify(&volume) {
        Ok(verified) => {
            println!(
                "{path}: {} entries hold, {} jobs for {} micros\n\
                 {} micros given back of {} jobs; {} accounts, {} keys, {} versions of tariffs\n\
                 head {}",
                verified.entries,
                verified.charges,
                verified.amount_micros,
                verified.corrected_micros,
                verified.corrected_jobs,
                verified.accounts,
                verified.keys,
                verified.tariffs,
                verified.head
            );
            0
        }
        Err(flaw) => refuse(path, &flaw),
    }
}

/// Verifies a receipt, or all receipts of a job, by a public key, or by a file of them as
/// `/v1/receipt-keys` gives it; the exit status.
pub fn receipt(path: &str, keys: &Keys) -> u8 {
    let (text, keys) = match fs::read(path).and_then(|text| Ok((text, public_keys(keys)?))) {
        Ok(both) => both,
        Err(error) => return refuse(path, &error),
    };
    match Served::parse(&text) {
        Ok(Served::One(receipt)) => report(path, verify_receipt(&receipt, None, &keys)),
        Ok(Served::OfJob(JobReceipts { job, receipts })) => {
            let count = receipts.len();
            let statuses = receipts.iter().enumerate().map(|(index, receipt)| {
                let name = format!("{path}: receipt {} of {count}", index + 1);
                report(&name, verify_receipt(receipt, Some(job), &keys))
            });
            statuses.fold(0, u8::max)
        }
        Err(error) => refuse(path, &error),
    }
}

/// What a receipt says, where it holds and is one of this job, if it is to be; else why not.
fn verify_receipt(
    receipt: &Receipt,
    job: Option<JobId>,
    keys: &[PublicKey],
) -> Result<String, String> {
    receipt.verify(keys).map_err(|error| error.to_string())?;
    let entry = Entry::parse(&receipt.entry).map_err(|error| error.to_string())?;
    let Entry { sequence, record: Record::Charge(charge), .. } = entry else {
        return Err("the entry is no charge".into());
    };
    if job.is_some() && charge.task != job {
        return Err(format!("entry {sequence} is not of this job"));
    }
    Ok(format!(
        "entry {sequence} charges {} {} {} micros for job {}, {} x {} x {} in {}",
        charge.account,
        charge.amount_micros,
        charge.currency,
        charge.job,
        charge.m,
        charge.n,
        charge.k,
        charge.dtype.name()
    ))
}

fn report(name: &str, verdict: Result<String, String>) -> u8 {
    match verdict {
        Ok(said) => {
            println!("{name}: {said}");
            0
        }
        Err(why) => refuse(name, &why),
    }
}

/// Where the public keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One, as text.
    Key(String),
    /// A file.
    File(String),
}

fn public_keys(keys: &Keys) -> io::Result<Vec<PublicKey>> {
    match keys {
        Keys::Key(text) => {
            let key = PublicKey::parse(text);
            Ok(vec![key.ok_or_else(|| io::Error::other("--key is no public key"))?])
        }
        Keys::File(path) => {
            let named =
                |error: &dyn std::fmt::Display| io::Error::other(format!("{path}: {error}"));
            let text = fs::read(path).map_err(|error| named(&error))?;
            let keys: PublishedKeys =
                serde_json::from_slice(&text).map_err(|error| named(&error))?;
            Ok(keys.keys.into_iter().map(|record| record.public_key).collect())
        }
    }
}

fn refuse(name: &str, why: &dyn std::fmt::Display) -> u8 {
    eprintln!("gemmule: {name}: {why}");
    1
}
