//! Jobs of several steps and stored matrices in the ledger: what is charged together, and what
//! power cuts leave of it.

mod support;

use std::sync::Arc;

use gemmule::billing::{Bill, JobId, MonthToDate, Tariff, TaskBill, Usage};
use gemmule::gemm::{Dtype, Shape};
use gemmule::ledger::book::Book;
use gemmule::ledger::book::verify::verify;
use gemmule::ledger::entry::{Charge, Record};
use gemmule::ledger::usage::UsageKind;
use gemmule::ledger::{Account, AccountId, Batch, Table, Volume};
use serde_json::{Value, json};

use support::machine::Machine;
use support::power::{Cuts, Left, PowerCut};
use support::random::Random;

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
    let found = cuts.result().expect("each cut leaves all or nothing");
    assert!(found > 20, "{found} disks");
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

const HOUR_NS: u64 = 3_600_000_000_000;
const GIGA: u64 = 1_000_000_000;

/// The byte-hours and micro-units that an account was charged for storage, and the sums of its
/// rows.
fn stored(book: &Book) -> (u128, u128) {
    let (mut byte_hours, mut micros) = (0, 0);
    let taken = book.usage(None, 0, u32::MAX, &mut |key, totals| {
        assert_eq!(key.kind, UsageKind::Storage);
        byte_hours += totals.byte_hours;
        micros += totals.amount_micros;
        true
    });
    taken.expect("it can be read");
    (byte_hours, micros)
}

/// A machine that loses its power every now and then charges what one does that never stops.
#[test]
fn storage_is_charged_once_whenever_the_power_goes() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut disk = PowerCut::file(1 << 30);
        let mut machine = Machine::boot(&disk, START_UNIX_NS).expect("a machine");
        let account: AccountId = "anonymous".parse().expect("an id");
        let mut matrices: Vec<(u64, u64)> = Vec::new();
        let mut exact = 0_u128;
        for _ in 0..60 {
            let elapsed_ns = random.below(3 * HOUR_NS / 2);
            let total: u64 = matrices.iter().map(|(bytes, _)| bytes).sum();
            exact += u128::from(total) * u128::from(elapsed_ns);
            machine.now.unix_ns += elapsed_ns;
            machine.now.monotonic_ns += elapsed_ns;
            let now = machine.now;
            match random.below(4) {
                0 => {
                    matrices.push((random.below(5 * GIGA), now.unix_ns));
                    let total = matrices.iter().map(|(bytes, _)| bytes).sum();
                    machine.server.charge_stored(&account, total, now);
                }
                1 if !matrices.is_empty() => {
                    matrices.remove(random.below(matrices.len() as u64) as usize);
                    let total = matrices.iter().map(|(bytes, _)| bytes).sum();
                    let until = machine.server.charge_stored(&account, total, now);
                    machine.commit().expect("it can be written");
                    assert!(machine.server.durable_until() >= until);
                }
                2 => {
                    // What was not committed is lost, the matrices are not.
                    disk = disk.found(Left::Nothing);
                    machine = Machine::boot(&disk, now.unix_ns).expect("it boots again");
                    let all = matrices.iter().map(|(bytes, at)| (account.clone(), *bytes, *at));
                    machine.server.open_storage(all, machine.now);
                }
                _ => machine.server.accrue_storage(now),
            }
            if random.chance(500) {
                machine.commit().expect("it can be written");
            }
        }
        machine.server.charge_stored(&account, 0, machine.now);
        machine.commit().expect("it can be written");
        let volume = machine.volume.clone().expect("it has one");
        verify(&volume).unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
        drop(machine);
        let book = Book::open(volume, START_UNIX_NS).expect("a book");
        let (byte_hours, micros) = stored(&book);
        let exact = exact / u128::from(HOUR_NS);
        assert_eq!(byte_hours, exact, "seed {seed}");
        assert_eq!(micros, exact * 100 / u128::from(GIGA), "seed {seed}");
        let state = book.account(book.account_index(&account).expect("it is there"));
        assert_eq!(state.charged_micros, micros as i128);
    }
}

fn get(machine: &mut Machine, path: &str) -> String {
    let session = machine.send(&format!("GET {path} HTTP/1.1\r\nHost: g\r\n\r\n"));
    let reply = machine.read(session);
    machine.server.gone(session);
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
    assert!(head.starts_with("HTTP/1.1 200"), "{reply}");
    body.into()
}

#[test]
fn an_hour_that_is_over_is_charged_and_told() {
    let mut machine = Machine::in_memory(START_UNIX_NS);
    let account: AccountId = "anonymous".parse().expect("an id");
    // The first look finds nothing.
    while machine.server.expire(machine.now).is_some() {}
    assert_eq!(machine.server.next_deadline_ns(), None);
    machine.server.charge_stored(&account, 10 * GIGA, machine.now);
    let due_ns = machine.server.next_deadline_ns().expect("an hour ends");
    assert_eq!(due_ns, HOUR_NS - START_UNIX_NS % HOUR_NS);
    for elapsed_ns in [due_ns - 1, 1] {
        let usage: Value = serde_json::from_str(&get(&mut machine, "/v1/usage")).expect("JSON");
        assert_eq!(usage["total"]["byte_hours"], 0);
        machine.now.monotonic_ns += elapsed_ns;
        machine.now.unix_ns += elapsed_ns;
        assert!(machine.server.expire(machine.now).is_none());
    }
    // 2800 seconds of ten gigabytes.
    let (byte_hours, micros) = (7_777_777_777_u64, 777_u64);
    let usage = get(&mut machine, "/v1/usage?by=dtype&from=2026-09-21&until=2026-09-22");
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    let row = json!({
        "group": "storage", "jobs": 0, "flops": 0, "bytes_in": 0, "bytes_out": 0,
        "byte_hours": byte_hours, "amount_micros": micros, "corrected_micros": 0,
    });
    assert_eq!(usage["rows"], json!([row]));
    let invoice = get(&mut machine, "/v1/invoices/2026-09?format=json");
    let invoice: Value = serde_json::from_str(&invoice).expect("JSON");
    let line = json!({
        "account": "anonymous", "day": "2026-09-21", "dtype": null, "kind": "storage", "jobs": 0,
        "flops": 0, "bytes_in": 0, "bytes_out": 0, "byte_hours": byte_hours,
        "amount_micros": micros, "amount": "0.000777",
    });
    assert_eq!((&invoice["lines"], &invoice["due_micros"]), (&json!([line]), &json!(micros)));
    for (format, expected) in [
        ("csv", "2026-09-21,,storage,0,0,0,0,777,0.000777,EUR,7777777777"),
        ("focus", "Stored matrices"),
        ("focus", ",7.777777777,GB-Hours,"),
        ("focus", ",Storage,Matrix storage,Object Storage,7777777777,"),
        ("html", "storage</td>"),
        ("html", "<td>7\u{202f}777\u{202f}777\u{202f}777</td><td>0.000777</td></tr>"),
    ] {
        let text = get(&mut machine, &format!("/v1/invoices/2026-09?format={format}"));
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let events = get(&mut machine, "/v1/usage/events");
    let events: Value = serde_json::from_str(&events).expect("JSON");
    let event = &events.as_array().expect("events")[0];
    assert_eq!(event["type"], "gemmule.storage.charged");
    assert_eq!(event["id"], format!("storage-anonymous-{START_UNIX_NS}"));
    assert_eq!(event["data"]["byte_hours"], byte_hours);
    assert_eq!(event["data"]["amount_micros"], micros);
    assert_eq!(event["data"]["until_unix_ns"], machine.now.unix_ns);
    assert_eq!(event["data"].get("job"), None);
}
