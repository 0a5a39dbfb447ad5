//! What operators have changed, in the ledger and in the rows beside it: whatever is changed there
//! by other hands is named.

use gemmule::ledger::book::verify::verify;
use gemmule::ledger::{Batch, Table, Volume};
use serde_json::json;

use super::service::{SECOND_NS, Service, key_of};
use crate::support::power::PowerCut;

/// A ledger with two accounts, several keys, two tariffs and two corrections of one job.
fn ledger() -> Volume {
    let disk = PowerCut::file(1 << 30);
    let mut service = Service::on(&disk);
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit"]);
    let keys = "/v1/admin/accounts/acme/keys";
    key_of(&service.change(&operator, keys, json!({"scopes": ["read"]})));
    let tariff = json!({
        "name": "bulk", "version": 1, "currency": "EUR",
        "micros_per_tflop_f64": 0, "micros_per_tflop_f32": 0,
        "micros_per_gb_in": 0, "micros_per_gb_out": 0,
        "job_micros_min": 90, "in_force_from_unix_s": service.now().unix_ns / SECOND_NS + 1,
    });
    service.change(&operator, "/v1/admin/tariffs", tariff);
    service.pass_seconds(2);
    service.change(&operator, "/v1/admin/accounts/acme", json!({"tariff": "bulk"}));
    service.multiply(&key);
    let job = service.multiply(&key).json()["bill"]["job"].take();
    for amount_micros in [5, 7] {
        let body = json!({"job": job, "amount_micros": amount_micros, "reason": "it was late"});
        service.change(&operator, "/v1/admin/corrections", body);
    }
    drop(service);
    Volume::open(Box::new(disk), [1; 16], 1 << 20).expect("a sound volume")
}

type Row = (Vec<u8>, Vec<u8>);

fn rows(volume: &Volume, table: Table) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    volume.range(table, &[], None, &mut visit).expect("a sound volume");
    rows
}

/// The row that has this in its key or its value.
fn row_with(volume: &Volume, table: Table, what: &str) -> Row {
    let has = |bytes: &[u8]| bytes.windows(what.len()).any(|part| part == what.as_bytes());
    let found = rows(volume, table).into_iter().find(|(key, value)| has(key) || has(value));
    found.unwrap_or_else(|| panic!("no row of {table:?} has {what}"))
}

fn commit(volume: &Volume, puts: &[(Table, &[u8], &[u8])], deletes: &[(Table, &[u8])]) {
    let mut batch = Batch::default();
    for (table, key, value) in puts {
        batch.put(*table, *key, *value);
    }
    for (table, key) in deletes {
        batch.delete(*table, *key);
    }
    volume.commit(&batch).expect("there is power");
}

#[test]
fn what_holds_is_counted() {
    let verified = verify(&ledger()).expect("a sound ledger");
    assert_eq!((verified.charges, verified.amount_micros), (2, 180));
    assert_eq!((verified.corrected_jobs, verified.corrected_micros), (1, 12));
    // The operator's, the one it came with, and two of the account.
    assert_eq!((verified.accounts, verified.keys, verified.tariffs), (2, 4, 2));
}

#[test]
fn a_row_that_is_changed_missing_or_too_many_is_named() {
    for (table, what, from, to, named) in [
        (Table::Accounts, "\"acme\"", "\"name\":\"\"", "\"name\":\"A\"", "account acme is not"),
        (Table::Keys, "[\"submit\"]", "[\"submit\"]", "[\"admin\"]", "is not what its entries say"),
        (Table::Tariffs, "\"bulk\"", "min\":90", "min\":91", "version 1 of tariff bulk is not"),
        (Table::Usage, "acme", "\"jobs\":2", "\"jobs\":3", "the usage of acme in f64 from 2026-"),
        (Table::Meta, "\"public_key\"", "unix_ns\":1", "unix_ns\":2", "the receipt keys are not"),
    ] {
        let volume = ledger();
        let (key, value) = row_with(&volume, table, what);
        let text = String::from_utf8(value.clone()).expect("rows are JSON");
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        commit(&volume, &[(table, &key, changed.as_bytes())], &[]);
        assert_names(&volume, named);
        // Without it.
        commit(&volume, &[], &[(table, &key)]);
        let named = if table == Table::Meta { "the receipt keys" } else { "has no row" };
        assert_names(&volume, named);
        // Under another name.
        if table != Table::Meta {
            let other = [key.as_slice(), b"2"].concat();
            commit(&volume, &[(table, &key, &value), (table, &other, &value)], &[]);
            verify(&volume).expect_err("one row too many");
            commit(&volume, &[], &[(table, &other)]);
            verify(&volume).expect("all is as it was");
        }
    }
}

#[test]
fn what_is_given_back_is_held_against_the_entries() {
    let volume = ledger();
    let (key, value) = row_with(&volume, Table::Meta, "corrected ");
    assert_eq!(value, 12_u64.to_be_bytes());
    commit(&volume, &[(Table::Meta, &key, &11_u64.to_be_bytes())], &[]);
    assert_names(&volume, "what is given back of job ");
    commit(&volume, &[], &[(Table::Meta, &key)]);
    assert_names(&volume, "has no row");
    // Of a job of which nothing was, and of none.
    let mut other = key.clone();
    *other.last_mut().expect("a job's id") ^= 1;
    commit(&volume, &[(Table::Meta, &key, &value), (Table::Meta, &other, &value)], &[]);
    assert_names(&volume, "is not what its entries say");
    commit(&volume, &[(Table::Meta, &key[..12], &value)], &[(Table::Meta, &other)]);
    assert_names(&volume, "the row of a correction can't be read");
    commit(&volume, &[], &[(Table::Meta, &key[..12])]);
    verify(&volume).expect("all is as it was");

    // In the journal itself: the entry is named.
    let all = rows(&volume, Table::Journal);
    let (first, line) = all.last().expect("the last correction");
    let line = String::from_utf8(line.clone()).expect("entries are text");
    let sequence = u64::from_be_bytes(first.as_slice().try_into().expect("a number"));
    for (from, to, named) in [
        ("\"amount_micros\":7", "\"amount_micros\":86", "91 of the 90 micros of job"),
        ("\"account\":\"acme\"", "\"account\":\"operator\"", "it is not of the account"),
        ("\"dtype\":\"f64\"", "\"dtype\":\"f32\"", "it is not of the account and the dtype"),
        ("\"job\":\"0", "\"job\":\"f", "was never charged"),
    ] {
        let changed = line.replacen(from, to, 1);
        assert_ne!(changed, line, "{from}");
        commit(&volume, &[(Table::Journal, first, changed.as_bytes())], &[]);
        let flaw = verify(&volume).expect_err("a wrong correction");
        assert_eq!(flaw.sequence, Some(sequence), "{flaw}");
        assert!(flaw.what.contains(named), "{flaw}");
    }
}

fn assert_names(volume: &Volume, what: &str) {
    let flaw = verify(volume).expect_err("a flaw");
    assert_eq!(flaw.sequence, None, "{flaw}");
    assert!(flaw.what.contains(what), "{flaw}");
}
