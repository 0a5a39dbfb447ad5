//! `GET /v1/usage`.

use std::collections::BTreeMap;

use gemmule::limits::{READOUT_HOURS_MAX, READOUT_ROWS_MAX};
use serde_json::Value;

use crate::months::{ACCOUNTS, Months, Told, first_hour};
use crate::service::{Service, expect};

type Sums = BTreeMap<String, [i128; 6]>;

/// What the rows should be, and their total.
fn expected(told: &[Told], by: &str) -> (Sums, [i128; 6]) {
    let (mut rows, mut total) = (Sums::new(), [0; 6]);
    for it in told {
        let day = &it.at[..10];
        let group = match by {
            "hour" => format!("{}:00:00Z", &it.at[..13]),
            "day" => day.to_owned(),
            "account" => it.account.clone(),
            _ => it.dtype.clone(),
        };
        let (charged, corrected) = if it.is_correction { (0, -it.micros) } else { (it.micros, 0) };
        let figures = [
            i128::from(!it.is_correction),
            it.flops.into(),
            it.bytes_in.into(),
            it.bytes_out.into(),
            charged,
            corrected,
        ];
        for sum in [rows.entry(group).or_default(), &mut total] {
            for (sum, figure) in sum.iter_mut().zip(figures) {
                *sum += figure;
            }
        }
    }
    (rows, total)
}

fn figures(sums: &Value) -> [i128; 6] {
    ["jobs", "flops", "bytes_in", "bytes_out", "amount_micros", "corrected_micros"]
        .map(|name| sums[name].as_i64().expect("a number").into())
}

fn check(months: &mut Months, reader: Option<&str>, account: Option<&str>, span: [u64; 2]) {
    let told = months.told_of(account.or(reader), span[0]..span[1]);
    for by in ["hour", "day", "account", "dtype"] {
        let [from, until] = span.map(hour_text);
        let mut path = format!("/v1/usage?by={by}&from={from}&until={until}");
        if let Some(account) = account {
            path += &format!("&account={account}");
        }
        let reply = months.get(reader, &path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let reply = reply.json();
        let rows = reply["rows"].as_array().expect("rows");
        let group = |row: &Value| row["group"].as_str().expect("a group").to_owned();
        assert!(rows.is_sorted_by(|one, next| group(one) < group(next)), "{rows:?}");
        let found: Sums = rows.iter().map(|row| (group(row), figures(row))).collect();
        let (expected, total) = expected(&told, by);
        assert_eq!(found, expected, "{path} for {reader:?}");
        assert_eq!(figures(&reply["total"]), total, "{path} for {reader:?}");
        assert_eq!((&reply["from"], &reply["until"]), (&from.into(), &until.into()));
    }
}

fn hour_text(hour: u64) -> String {
    let mut text = String::new();
    let civil = gemmule::time::Civil::from_unix_ns(hour * gemmule::time::HOUR_NS);
    civil.push_rfc3339(&mut text);
    text
}

#[test]
fn sums_are_those_of_the_bills() {
    for is_durable in [false, true] {
        let mut months = Months::with_jobs(is_durable, 3);
        assert!(months.told.iter().any(|it| it.is_correction));
        let end = months.told.last().expect("jobs").hour + 1;
        assert!(end > first_hour("2027-02"), "it goes on for months");
        let begin = first_hour("2026-11");
        for round in 0..2 {
            for span in [
                [begin, end],
                [first_hour("2026-12"), first_hour("2027-01")],
                [begin + 24 * 25 + 7, begin + 24 * 40 + 3],
                [end - 1, end],
                [begin, begin + 1],
            ] {
                check(&mut months, None, None, span);
                for account in ACCOUNTS {
                    check(&mut months, None, Some(account), span);
                    check(&mut months, Some(account), None, span);
                }
                check(&mut months, Some("acme"), Some("acme"), span);
            }
            // The second time, after it was opened again: earlier months are on the volume alone.
            if let Some(disk) = &months.disk
                && round == 0
            {
                let mut service = Service::on(disk);
                service.now_ns = months.service.now_ns;
                months.service = service;
            } else {
                break;
            }
        }
    }
}

#[test]
fn this_month_is_told_unless_asked() {
    let mut months = Months::with_jobs(false, 5);
    let end = months.told.last().expect("jobs").hour + 1;
    let reply = months.get(None, "/v1/usage").json();
    let begin = ["2027-03", "2027-02", "2027-01"].map(first_hour).into_iter().find(|it| *it < end);
    let begin = begin.expect("it goes on for months");
    assert_eq!(reply["from"], hour_text(begin));
    assert_eq!(reply["until"], hour_text(end));
    assert_eq!(reply["by"], "day");
    assert_eq!(reply["account"], Value::Null);
    let (_, total) = expected(&months.told_of(None, begin..end), "day");
    assert_eq!(figures(&reply["total"]), total);
}

#[test]
fn what_is_asked_amiss_is_told() {
    let mut months = Months::begin(false);
    for (reader, query, status, kind, field) in [
        (None, "by=week", 422, "invalid-value", "?by"),
        (None, "from=yesterday", 422, "invalid-value", "?from"),
        (None, "from=2026-11-24T08:30:00Z", 422, "invalid-value", "?from"),
        (None, "from=2026-11-24&until=2026-11-24", 422, "invalid-value", "?until"),
        (None, "from=2025-11-01&until=2026-11-24", 422, "invalid-value", "?from"),
        (None, "account=Acme", 422, "invalid-value", "?account"),
        (None, "week=3", 422, "unknown-field", "?week"),
        (None, "by=day&by=day", 422, "duplicate-field", "?by"),
        (None, "account=nobody", 404, "unknown-account", "?account"),
        (Some("acme"), "account=acme-2", 403, "forbidden", "Authorization"),
        (Some("acme"), "account=nobody", 403, "forbidden", "Authorization"),
    ] {
        let reply = months.get(reader, &format!("/v1/usage?{query}"));
        expect(&reply, status, kind);
        assert_eq!(reply.json()["field"], field, "{query}");
    }
    let year = format!("/v1/usage?from=2026-01-01&until={}", "2027-01-02");
    assert_eq!(months.get(None, &year).status, 200);
    let longer = months.get(None, "/v1/usage?from=2026-01-01&until=2027-01-02T01:00:00Z");
    assert_eq!(longer.json()["limit"], READOUT_HOURS_MAX);
    expect(&months.service.get("", "/v1/usage"), 401, "unauthorized");
    let submit = months.service.account(&months.operator.clone(), "blind", &["submit"]);
    expect(&months.service.get(&submit, "/v1/usage"), 403, "forbidden");
}

#[test]
fn a_reply_has_so_many_rows_and_no_more() {
    let mut months = Months::begin(false);
    let (id, key) = months.keys[0].clone();
    for _ in 0..READOUT_ROWS_MAX {
        assert_eq!(months.service.multiply(&key).status, 200);
        months.service.pass_seconds(3600);
    }
    let path = format!("/v1/usage?by=hour&from=2026-11-01&account={id}");
    let reply = months.get(None, &path);
    assert_eq!(reply.json()["rows"].as_array().expect("rows").len(), READOUT_ROWS_MAX);
    assert_eq!(months.service.multiply(&key).status, 200);
    let reply = months.get(None, &path);
    expect(&reply, 422, "too-many-rows");
    assert_eq!(reply.json()["limit"], READOUT_ROWS_MAX);
    let total = months.get(None, &path.replace("hour", "day")).json()["total"]["jobs"].clone();
    assert_eq!(total, READOUT_ROWS_MAX + 1);
}
