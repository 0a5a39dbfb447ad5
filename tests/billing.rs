//! Jobs of several steps and stored matrices in the ledger: what is charged together, and what power
//! cuts leave of it.

mod support;

use std::sync::Arc;

use gemmule::billing::{Bill, JobId, MonthToDate, Tariff, TaskBill, Usage};
use gemmule::gemm::{Dtype, Shape};
use gemmule::ledger::book::Book;
use gemmule::ledger::book::verify::verify;
use gemmule::ledger::entry::{Charge, Record};
use gemmule::ledger::{Account, Batch, Table, Volume};
use serde_json::{Value, json};

use support::power::{Cuts, PowerCut};

const START_UNIX_NS: u64 = 1_790_000_000_000_000_000;
const TERA: u64 = 1_000_000_000_000;
/// Where the test keeps what the jobs' table would.
const TASK_ROW: &[u8] = b"task ";

fn open(disk: &PowerCut) -> Result<(Book, Arc<Volume>), String> {
    let volume = Volume::open(Box::new(disk.clone()), [7; 16], 1 << 20);
    let volume = Arc::new(volume.map_err(|error| error.to_string())?);
    let book = Book::open(volume.clone(), START_UNIX_NS).map_err(|error| error.to_string())?;
    Ok((book, volume))
}

fn commit(book: &mut Book, volume: &Volume) {
    while let Some(pending) = book.take_pending(START_UNIX_NS).expect("it can be read") {
        let committed = pending.commit(volume).expect("it can be written");
        book.committed(committed, START_UNIX_NS);
    }
}

/// A book with a tariff and an account.
fn begin(book: &mut Book) {
    book.record(START_UNIX_NS, Record::Tariff(Tariff::standard()));
    let id = "acme".parse().expect("an id");
    let account = Account::new(id, "Acme".into(), "standard".into(), START_UNIX_NS);
    book.record(START_UNIX_NS, Record::Account(account));
}

fn task_id(number: u8) -> JobId {
    let mut id = [number; 16];
    id[14..].copy_from_slice(&[0xff, 0xff]);
    JobId(id)
}

/// The charges of a job whose steps take so many operations.
fn charges(book: &Book, number: u8, steps: &[u64]) -> Vec<Arc<Charge>> {
    let tariff = Tariff::standard();
    let shape = Shape { m: 2, n: 3, k: 4 };
    let usage = |flops: &u64| Usage {
        dtype: Dtype::F64,
        shape,
        flops: *flops,
        bytes_in: 0,
        bytes_out: 0,
        cached: false,
    };
    let usages: Vec<Usage> = steps.iter().map(usage).collect();
    let account = book.account_index(&"acme".parse().expect("an id")).expect("it is there");
    let month: MonthToDate = book.account(account).month_at(START_UNIX_NS).to_date();
    let amounts = tariff.task_amounts_micros(&usages, month);
    let of_step = |(index, (usage, amount_micros)): (usize, (&Usage, u64))| {
        let mut job = task_id(number);
        job.0[14..].copy_from_slice(&(index as u16).to_be_bytes());
        Arc::new(Charge {
            account: "acme".parse().expect("an id"),
            job,
            m: shape.m,
            n: shape.n,
            k: shape.k,
            dtype: usage.dtype,
            flops: usage.flops,
            bytes_in: 0,
            bytes_out: 0,
            tariff: tariff.name.clone(),
            tariff_version: tariff.version,
            amount_micros,
            currency: tariff.currency,
            kernel: "none".into(),
            elapsed_us: 0,
            task: Some(task_id(number)),
            node: Some(format!("step {index}").into()),
            cached: false,
            algorithm: None,
            executed_flops: Some(usage.flops / 2),
            digests: None,
            addresses: None,
            idempotency: None,
        })
    };
    usages.iter().zip(amounts).enumerate().map(of_step).collect()
}

fn row(number: u8) -> Batch {
    let mut rows = Batch::default();
    rows.put(Table::Meta, [TASK_ROW, &[number]].concat(), b"finished".as_slice());
    rows
}

fn has_row(volume: &Volume, number: u8) -> bool {
    volume.get(Table::Meta, &[TASK_ROW, &[number]].concat()).expect("it can be read").is_some()
}

#[test]
fn a_job_and_its_charges_live_and_die_together() {
    const STEPS: [u64; 3] = [TERA, 0, TERA / 3];
    const TASKS: u8 = 6;
    let cuts = Cuts::new(1, 3, 3);
    let disk = PowerCut::file(1 << 30);
    {
        let (mut book, volume) = open(&disk).expect("a volume");
        begin(&mut book);
        commit(&mut book, &volume);
    }
    let disk = cuts.watch(disk, |found| {
        let (book, volume) = open(found)?;
        verify(&volume).map_err(|flaw| flaw.to_string())?;
        for number in 0..TASKS {
            let step = |index: u8| {
                let mut job = task_id(number);
                job.0[14..].copy_from_slice(&[0, index]);
                book.charge_of_job(job).map_err(|error| error.to_string())
            };
            let charged: Vec<bool> =
                (0..3).map(|index| Ok(step(index)?.is_some())).collect::<Result<_, String>>()?;
            if charged.iter().any(|it| *it != has_row(&volume, number)) {
                return Err(format!("job {number}: {charged:?} and {}", has_row(&volume, number)));
            }
        }
        Ok(())
    });
    let (mut book, volume) = open(&disk).expect("a volume");
    for number in 0..TASKS {
        let charges = charges(&book, number, &STEPS);
        let recorded = book.record_task(START_UNIX_NS, charges, row(number));
        assert_eq!(recorded.sequences.count(), 3);
        assert!(recorded.left_over.is_empty() && !has_row(&volume, number));
        commit(&mut book, &volume);
        assert!(has_row(&volume, number));
    }
    let verified = verify(&volume).expect("it holds");
    assert_eq!((verified.charges, verified.amount_micros), (18, 6 * (400 + 134)));
    // A job that has failed is a row without a charge.
    book.record_task(START_UNIX_NS, Vec::new(), row(99));
    assert!(book.has_pending());
    commit(&mut book, &volume);
    assert!(has_row(&volume, 99) && !book.has_pending());
    drop(book);
    assert!(cuts.result().expect("each cut leaves all or nothing") > 100);
}

/// In memory there is no place for rows, and they are handed back.
#[test]
fn without_a_volume_rows_are_left_over() {
    let mut book = Book::ephemeral();
    begin(&mut book);
    let charges = charges(&book, 1, &[TERA]);
    let recorded = book.record_task(START_UNIX_NS, charges, row(1));
    assert_eq!((recorded.sequences, recorded.left_over), (2..3, row(1)));
    assert!(!book.has_pending());
}

#[test]
fn the_bill_of_a_job_lists_its_steps() {
    let mut book = Book::ephemeral();
    begin(&mut book);
    let lines = charges(&book, 3, &[TERA / 400, 0]).into_iter().zip(5..);
    let bills = lines.map(|(charge, sequence)| Bill {
        sequence,
        issued_unix_ns: START_UNIX_NS,
        charge,
        ledger: "ephemeral",
    });
    let bill = TaskBill::of(task_id(3), bills.collect());
    let mut text = String::new();
    bill.push_json(&mut text);
    let read: Value = serde_json::from_str(&text).expect(&text);
    let id = task_id(3).to_string();
    assert_eq!(read["job"], id);
    let figures = ["amount_micros", "flops", "executed_flops"].map(|name| &read[name]);
    assert_eq!(figures, [&json!(1), &json!(TERA / 400), &json!(TERA / 800)]);
    let lines = read["lines"].as_array().expect("lines");
    let names: Vec<&Value> = lines.iter().map(|line| &line["node"]).collect();
    assert_eq!(names, ["step 0", "step 1"]);
    assert!(lines.iter().all(|line| line["task"] == id && line["account"] == "acme"));
}

/// What steps a ledger may not charge: less than the job costs at least, and more than once that.
#[test]
fn the_least_of_a_job_is_verified() {
    for (amounts, expected) in [
        ([0, 1], None),
        ([0, 0], Some("at least")),
        ([1, 0], Some("was raised")),
        ([1, 1], Some("was raised")),
        ([0, 2], Some("its tariff says")),
    ] {
        let disk = PowerCut::file(1 << 30);
        let (mut book, volume) = open(&disk).expect("a volume");
        begin(&mut book);
        let mut charges = charges(&book, 1, &[0, 0]);
        for (charge, amount) in charges.iter_mut().zip(amounts) {
            Arc::make_mut(charge).amount_micros = amount;
        }
        book.record_task(START_UNIX_NS, charges, Batch::default());
        commit(&mut book, &volume);
        let flaw = verify(&volume).err().map(|flaw| flaw.to_string());
        match (&flaw, expected) {
            (None, None) => {}
            (Some(flaw), Some(expected)) => assert!(flaw.contains(expected), "{flaw}"),
            _ => panic!("{amounts:?}: {flaw:?}"),
        }
    }
}
