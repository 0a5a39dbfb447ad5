//! The ledger under the server: what repeated requests get, what waits for the volume, and what a
//! volume knows after the machine is another one.

mod support;

use std::sync::Arc;

use gemmule::ledger::Digests;
use gemmule::ledger::book::verify::verify;
use gemmule::ledger::entry::{Addresses, Charge, Entry, Idempotency, Record};
use gemmule::ledger::hash::Hash;
use gemmule::ledger::receipt::{PublishedKeys, Receipt};
use gemmule::ledger::{Table, Volume};
use serde_json::{Value, json};

use support::machine::{Machine, post};
use support::power::PowerCut;

const BODY: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;
const OTHER_BODY: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,9]]}"#;
const START_UNIX_NS: u64 = 1_790_000_000_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

fn on(disk: &PowerCut, unix_ns: u64) -> Machine {
    Machine::boot(disk, unix_ns).expect("a machine on a volume")
}

/// Sends a request, and does all that is to be done for it.
fn reply_to(machine: &mut Machine, request: &str) -> (u16, String, Value) {
    let session = machine.send(request);
    machine.run();
    machine.commit().expect("it can be written");
    let reply = machine.read(session);
    machine.server.gone(session);
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply");
    let status = head[9..12].parse().expect("a status");
    (status, head.into(), serde_json::from_str(body).expect(body))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: g\r\n\r\n")
}

/// With and without a volume, but for what is read again after a restart.
#[test]
fn a_repeated_request_gets_the_first_bill() {
    let disk = PowerCut::file(1 << 30);
    for mut machine in [Machine::in_memory(START_UNIX_NS), on(&disk, START_UNIX_NS)] {
        let (status, head, first) = reply_to(&mut machine, &post(Some("\"one\""), BODY));
        assert_eq!(status, 200, "{first}");
        assert!(!head.contains("Idempotency-Replayed"), "{head}");
        machine.now.unix_ns += 23 * HOUR_NS;
        // The quotes are the structured field's; many clients leave them out.
        for key in ["\"one\"", "one", "  \"one\"  "] {
            let (status, head, again) = reply_to(&mut machine, &post(Some(key), BODY));
            assert_eq!((status, &again), (200, &first));
            assert!(head.contains("\r\nIdempotency-Replayed: true"), "{head}");
        }
        // Other words for the same request.
        let spelled = r#"{ "b": [[5.0, 6], [7, 8]], "a": [[1, 2], [3, 4e0]], "dtype": "f64" }"#;
        assert_eq!(reply_to(&mut machine, &post(Some("one"), spelled)).2, first);

        let (status, _, problem) = reply_to(&mut machine, &post(Some("one"), OTHER_BODY));
        assert_eq!((status, &problem["type"]), (422, &json!("/problems/idempotency-key-reused")));
        // Another key is another request, and so is none.
        let sequence = |reply: &Value| reply["bill"]["sequence"].as_u64().expect("a number");
        let (_, _, second) = reply_to(&mut machine, &post(Some("two"), BODY));
        let (_, _, third) = reply_to(&mut machine, &post(None, BODY));
        assert_eq!(sequence(&second), sequence(&first) + 1);
        assert_eq!(sequence(&third), sequence(&first) + 2);
    }
}

#[test]
fn keys_that_are_refused() {
    let mut machine = Machine::in_memory(START_UNIX_NS);
    let long = "k".repeat(256);
    for key in ["\"", "\"one", "\"\"", "\"o\\ne\"", "\"o\"ne\"", "\u{e9}", &long] {
        let (status, _, problem) = reply_to(&mut machine, &post(Some(key), BODY));
        let kind = "/problems/malformed-idempotency-key";
        assert_eq!((status, &problem["type"]), (400, &json!(kind)), "{key}");
        assert_eq!(problem["field"], "Idempotency-Key");
    }
    assert_eq!(reply_to(&mut machine, &post(Some(&long[1..]), BODY)).0, 200);
}

#[test]
fn a_key_is_in_use_until_its_request_is_over() {
    let disk = PowerCut::file(1 << 30);
    let mut machine = on(&disk, START_UNIX_NS);
    let request = post(Some("one"), BODY);
    // While its body comes, while it waits, while it is done and not durable.
    let first = machine.send(&request[..request.len() - 1]);
    assert_in_use(&mut machine);
    machine.server.receive(first, &request.as_bytes()[request.len() - 1..], machine.now);
    assert_in_use(&mut machine);
    machine.run();
    assert_eq!(machine.server.output(first), b"", "its entry is not durable");
    assert_in_use(&mut machine);
    machine.commit().expect("it can be written");
    let reply = machine.read(first);
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");

    // A client that goes away leaves its key free, and no charge.
    let second = machine.send(&post(Some("two"), BODY));
    machine.server.gone(second);
    machine.run();
    machine.commit().expect("it can be written");
    let (status, head, _) = reply_to(&mut machine, &post(Some("two"), BODY));
    assert_eq!(status, 200);
    assert!(!head.contains("Replayed"));
    // So does a request that fails.
    let failing = post(Some("three"), r#"{"a":[[1e308]],"b":[[1e308]]}"#);
    assert_eq!(reply_to(&mut machine, &failing).0, 422);
    assert_eq!(reply_to(&mut machine, &post(Some("three"), BODY)).0, 200);
    drop(machine);
    let volume = Volume::open(Box::new(disk), [7; 16], 1 << 20).expect("a volume");
    assert_eq!(charges(&volume).len(), 3);
}

fn assert_in_use(machine: &mut Machine) {
    let session = machine.send(&post(Some("one"), BODY));
    let reply = machine.read(session);
    machine.server.gone(session);
    assert!(reply.starts_with("HTTP/1.1 409 "), "{reply}");
    assert!(reply.contains("/problems/idempotency-key-in-use"), "{reply}");
    assert!(reply.contains("\r\nRetry-After: "), "{reply}");
}

#[test]
fn a_bill_is_told_when_it_is_durable_and_not_before() {
    let disk = PowerCut::file(1 << 30);
    let mut machine = on(&disk, START_UNIX_NS);
    let session = machine.send(&post(None, BODY));
    machine.run();
    assert_eq!(machine.server.output(session), b"");
    let lines = std::iter::from_fn(|| machine.server.take_console());
    assert_eq!(lines.filter(|line| line.starts_with("bill ")).count(), 0);
    let pending = machine.server.take_pending(machine.now).unwrap().expect("an entry");
    assert!(machine.server.take_pending(machine.now).unwrap().is_none(), "one at a time");
    assert_eq!(machine.server.output(session), b"");
    let committed = pending.commit(machine.volume.as_ref().unwrap()).unwrap();
    assert_eq!(machine.server.committed(committed, machine.now), [session]);
    let reply = machine.read(session);
    assert!(reply.contains(r#""ledger":"durable""#), "{reply}");
    let lines = std::iter::from_fn(|| machine.server.take_console());
    assert_eq!(lines.filter(|line| line.starts_with("bill ")).count(), 1);
}

#[test]
fn a_volume_knows_what_was_before() {
    let disk = PowerCut::file(1 << 30);
    let mut machine = on(&disk, START_UNIX_NS);
    let (_, _, first) = reply_to(&mut machine, &post(Some("one"), BODY));
    let job = first["bill"]["job"].as_str().expect("a job").to_owned();
    drop(machine);

    let mut machine = on(&disk, START_UNIX_NS + HOUR_NS);
    let (status, _, bill) = reply_to(&mut machine, &get(&format!("/v1/jobs/{job}/bill")));
    assert_eq!((status, &bill), (200, &first["bill"]));
    let (_, head, again) = reply_to(&mut machine, &post(Some("one"), BODY));
    assert_eq!(again, first);
    assert!(head.contains("Idempotency-Replayed: true"));
    let (_, _, next) = reply_to(&mut machine, &post(None, BODY));
    // The second machine's own entry is between.
    let sequence = |reply: &Value| reply["bill"]["sequence"].as_u64().expect("a number");
    assert_eq!(sequence(&next), sequence(&first) + 2);
    drop(machine);

    // A key lasts for the day it was used on and the next.
    let mut machine = on(&disk, START_UNIX_NS + 49 * HOUR_NS);
    let (_, head, _) = reply_to(&mut machine, &post(Some("one"), BODY));
    assert!(!head.contains("Replayed"));
    let mut rows = 0;
    let count = &mut |_: &[u8], _: &[u8]| {
        rows += 1;
        true
    };
    machine.volume.as_ref().unwrap().range(Table::Idempotency, &[], None, count).unwrap();
    assert_eq!(rows, 1, "rows of past days are removed");
}

#[test]
fn a_full_volume_takes_no_more_jobs_and_loses_none() {
    let disk = PowerCut::device(gemmule::ledger::volume::DISK_BYTES_MIN as usize);
    let mut machine = on(&disk, START_UNIX_NS);
    let volume = machine.volume.clone().expect("it has one");
    // What others write fills it, until the reserve is all there is.
    let mut number = 0_u64;
    while !volume.is_full() {
        let mut batch = gemmule::ledger::Batch::default();
        batch.put(Table::Meta, number.to_be_bytes(), vec![0; 60_000]);
        volume.commit(&batch).expect("the reserve takes what was begun");
        number += 1;
    }
    let session = machine.send(&post(None, BODY));
    let reply = machine.read(session);
    assert!(reply.starts_with("HTTP/1.1 507 "), "{reply}");
    assert!(reply.contains("/problems/ledger-full"), "{reply}");
    // What is not a job is answered.
    assert_eq!(reply_to(&mut machine, &get("/healthz")).0, 200);
}

fn charges(volume: &Volume) -> Vec<Entry> {
    let mut charges = Vec::new();
    let mut visit = |_: &[u8], lines: &[u8]| {
        let entries = std::str::from_utf8(lines).unwrap().split('\n').map(Entry::parse);
        charges.extend(
            entries.map(Result::unwrap).filter(|entry| matches!(entry.record, Record::Charge(_))),
        );
        true
    };
    volume.range(Table::Journal, &[], None, &mut visit).unwrap();
    charges
}

#[test]
fn lines_are_read_as_they_are_written() {
    let hash = |byte| Hash([byte; 32]);
    let charge = |c, idempotency: Option<Idempotency>| Charge {
        account: "acme".parse().unwrap(),
        job: "0123456789abcdef0123456789abcdef".parse().unwrap(),
        m: 2,
        n: 3,
        k: 4,
        dtype: gemmule::gemm::Dtype::F32,
        flops: u64::MAX,
        bytes_in: 5,
        bytes_out: 6,
        tariff: "standard".into(),
        tariff_version: 7,
        amount_micros: 8,
        currency: "EUR".parse().unwrap(),
        kernel: "avx512".into(),
        elapsed_us: 9,
        task: None,
        node: None,
        cached: false,
        algorithm: None,
        executed_flops: None,
        digests: Some(Digests { a: hash(1), b: hash(2), c, result: hash(4) }),
        addresses: None,
        idempotency: idempotency.map(Box::new),
    };
    let idempotency = Idempotency { key: hash(5), fingerprint: hash(6) };
    let step = Charge {
        task: Some("ffffffffffffffffffffffffffffffff".parse().unwrap()),
        node: Some("x \"\u{e4}\"\n".into()),
        cached: true,
        algorithm: Some("strassen_winograd".into()),
        executed_flops: Some(7),
        digests: None,
        addresses: Some(Box::new(Addresses { operands: vec![hash(7), hash(8)], result: hash(9) })),
        ..charge(None, None)
    };
    for charge in [charge(None, None), charge(Some(hash(3)), Some(idempotency)), step] {
        let record = Record::Charge(Arc::new(charge));
        let by_serde = serde_json::to_value(&record).unwrap();
        let entry = Entry { sequence: 1, previous: hash(9), at_unix_ns: START_UNIX_NS, record };
        let mut line = String::new();
        entry.push_line(&mut line);
        assert_eq!(Entry::parse(&line).unwrap(), entry, "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["charge"], by_serde["charge"]);
    }
    let entry = Entry {
        sequence: 0,
        previous: Hash::ZERO,
        at_unix_ns: 1,
        record: Record::Tariff(gemmule::billing::Tariff::standard()),
    };
    let mut line = String::new();
    entry.push_line(&mut line);
    assert_eq!(Entry::parse(&line).unwrap(), entry, "{line}");
}

/// A ledger of six jobs, each in a commit of its own.
fn ledger() -> (PowerCut, Arc<Volume>) {
    let disk = PowerCut::file(1 << 30);
    let mut machine = on(&disk, START_UNIX_NS);
    for number in 0..6 {
        machine.now.unix_ns += HOUR_NS / 2;
        assert_eq!(reply_to(&mut machine, &post(Some(&format!("key-{number}")), BODY)).0, 200);
    }
    let volume = machine.volume.clone().expect("it has one");
    (disk, volume)
}

fn rows(volume: &Volume, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    volume.range(table, &[], None, &mut visit).unwrap();
    rows
}

#[test]
fn a_ledger_verifies_and_what_is_changed_in_it_is_named() {
    let (_, volume) = ledger();
    let verified = verify(&volume).unwrap();
    assert_eq!((verified.charges, verified.amount_micros), (6, 6));
    let journal = rows(&volume, Table::Journal);
    assert_eq!(verified.entries, charges(&volume).last().unwrap().sequence + 1);
    // One character of each charge, in turn: the entry itself, or the one behind it, is named.
    for (key, value) in &journal[1..] {
        let sequence = u64::from_be_bytes(key.as_slice().try_into().unwrap());
        let line = String::from_utf8(value.clone()).unwrap();
        for (what, from, to) in [
            ("its tariff says", "\"amount_micros\":1,", "\"amount_micros\":2,"),
            ("its tariff says", "\"bytes_in\":37,", "\"bytes_in\":9999999,"),
            ("there is no account", "\"anonymous\"", "\"anonymoux\""),
            ("it says that it is entry", "{\"sequence\":", "{\"sequence\":9"),
            ("it follows", "\"previous\":\"", "\"previous\":\"00"),
            ("not an entry", "\"charge\"", "\"gift\""),
            ("not written as entries", "\"charge\":{", "\"charge\": {"),
        ] {
            let mut changed = line.replacen(from, to, 1);
            assert_ne!(changed, line, "{from}");
            if what == "it follows" {
                // As long as it was.
                let end = changed.find("\",\"at_unix_ns").unwrap();
                changed.replace_range(end - 2..end, "");
            }
            put(&volume, Table::Journal, key, changed.as_bytes());
            let flaw = verify(&volume).unwrap_err();
            assert_eq!(flaw.sequence, Some(sequence), "{flaw}");
            assert!(flaw.what.contains(what), "{flaw}");
        }
        // What its own sense does not tell, the next entry does.
        let changed = line.replacen("\"elapsed_us\":", "\"elapsed_us\":1", 1);
        put(&volume, Table::Journal, key, changed.as_bytes());
        let flaw = verify(&volume).err();
        let is_last = sequence + 1 == verified.entries;
        assert_eq!(flaw.and_then(|flaw| flaw.sequence), (!is_last).then_some(sequence + 1));
        put(&volume, Table::Journal, key, value);
    }
    assert_eq!(verify(&volume), Ok(verified));
}

fn put(volume: &Volume, table: Table, key: &[u8], value: &[u8]) {
    let mut batch = gemmule::ledger::Batch::default();
    batch.put(table, key, value);
    volume.commit(&batch).unwrap();
}

#[test]
fn rows_beside_the_chain_are_held_against_it() {
    for (table, from, to) in [
        (Table::Usage, "\"flops\":16", "\"flops\":17"),
        (Table::Accounts, "\"charged_micros\":6", "\"charged_micros\":5"),
        (Table::Accounts, "\"closed\":false", "\"closed\":true"),
    ] {
        let (_, volume) = ledger();
        let (key, value) = rows(&volume, table).pop().unwrap();
        let changed = String::from_utf8(value).unwrap().replacen(from, to, 1);
        assert!(changed.contains(to), "{changed}");
        put(&volume, table, &key, changed.as_bytes());
        let flaw = verify(&volume).unwrap_err();
        assert_eq!(flaw.sequence, None, "{flaw}");
    }
    for table in [Table::Journal, Table::Jobs, Table::Usage, Table::Accounts] {
        let (_, volume) = ledger();
        let all = rows(&volume, table);
        let mut batch = gemmule::ledger::Batch::default();
        batch.delete(table, all[all.len() / 2].0.clone());
        volume.commit(&batch).unwrap();
        verify(&volume).unwrap_err();
    }
    let (_, volume) = ledger();
    let (key, mut value) = rows(&volume, Table::Idempotency).pop().unwrap();
    value[0] ^= 1;
    put(&volume, Table::Idempotency, &key, &value);
    assert!(verify(&volume).unwrap_err().what.contains("idempotency"));
}

#[test]
fn receipts_are_of_the_ledgers_lines() {
    let disk = PowerCut::file(1 << 30);
    for mut machine in [Machine::in_memory(START_UNIX_NS), on(&disk, START_UNIX_NS)] {
        let (_, _, reply) = reply_to(&mut machine, &post(None, BODY));
        let job = reply["bill"]["job"].as_str().unwrap().to_owned();
        let path = format!("/v1/jobs/{job}/receipt");
        let (status, _, receipt) = reply_to(&mut machine, &get(&path));
        assert_eq!(status, 200, "{receipt}");
        let (_, _, keys) = reply_to(&mut machine, &get("/v1/receipt-keys"));
        let keys: PublishedKeys = serde_json::from_value(keys).unwrap();
        let public: Vec<_> = keys.keys.iter().map(|record| record.public_key).collect();
        let parsed = Receipt::parse(receipt.to_string().as_bytes()).unwrap();
        assert_eq!(parsed.verify(&public), Ok(()));
        let entry = Entry::parse(&parsed.entry).unwrap();
        assert_eq!(entry.sequence, reply["bill"]["sequence"]);
        let Record::Charge(charge) = entry.record else { panic!("no charge") };
        assert_eq!(charge.job.to_string(), job);
        let missing = get("/v1/jobs/0123456789abcdef0123456789abcdef/receipt");
        assert_eq!(reply_to(&mut machine, &missing).0, 404);
        if machine.volume.is_some() {
            drop(machine);
            let mut machine = on(&disk, START_UNIX_NS + HOUR_NS);
            assert_eq!(reply_to(&mut machine, &get(&path)).2, receipt, "the key lasts");
        }
    }
}
