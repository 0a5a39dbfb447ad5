//! `GET /v1/jobs/{job}/bill`, after corrections.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::months::{ACCOUNTS, Months, Told, first_hour};
use crate::service::{Service, expect};

/// What was given back of each job.
fn corrected(months: &Months) -> BTreeMap<String, i128> {
    let mut corrected = BTreeMap::new();
    for it in &months.told {
        *corrected.entry(it.job.clone()).or_default() +=
            if it.is_correction { -it.micros } else { 0 };
    }
    corrected
}

fn number(value: &Value, name: &str) -> i128 {
    value[name].as_u64().unwrap_or_default().into()
}

/// Charges and corrections of an account, by the bills of its jobs.
fn sums_of_bills(months: &mut Months, account: &str) -> [i128; 2] {
    let corrected = corrected(months);
    let mut sums = [0; 2];
    for it in months.told.clone() {
        if it.account != account || it.is_correction {
            continue;
        }
        let bill = months.get(Some(account), &format!("/v1/jobs/{}/bill", it.job)).json();
        let given_back = corrected[&it.job];
        assert_eq!(number(&bill, "amount_micros"), it.micros, "{bill}");
        assert_eq!(number(&bill, "corrected_micros"), given_back, "{bill}");
        assert_eq!(bill.get("corrected_micros").is_some(), given_back > 0, "{bill}");
        sums[0] += it.micros;
        sums[1] += given_back;
    }
    sums
}

#[test]
fn bills_say_what_was_given_back_and_sum_to_usage_and_invoices() {
    for is_durable in [false, true] {
        let mut months = Months::with_jobs(is_durable, 3);
        // A second correction of a job adds to the first.
        let is_left = |it: &&Told| {
            let charge = months.told.iter().find(|of| of.job == it.job).expect("a charge");
            it.is_correction && charge.micros + it.micros > 0
        };
        let twice = months.told.iter().find(is_left).expect("a part that is left").clone();
        let body = json!({"job": twice.job, "amount_micros": 1, "reason": "again"});
        let operator = months.operator.clone();
        months.service.change(&operator, "/v1/admin/corrections", body);
        let hour = months.service.now().unix_ns / gemmule::time::HOUR_NS;
        months.told.push(Told { micros: -1, hour, ..twice });

        for round in 0..2 {
            for account in ACCOUNTS {
                let sums = sums_of_bills(&mut months, account);
                assert!(sums[1] > 0, "something was given back to {account}");
                let path = "/v1/usage?by=dtype&from=2026-11-01&until=2027-03-01";
                let total = months.get(Some(account), path).json()["total"].take();
                let names = ["amount_micros", "corrected_micros"];
                assert_eq!(names.map(|name| number(&total, name)), sums, "{account}");
                let mut of_invoices = [0; 2];
                for period in ["2026-11", "2026-12", "2027-01", "2027-02"] {
                    assert!(first_hour(period) <= hour, "all months have begun");
                    let invoice = months.get(Some(account), &format!("/v1/invoices/{period}"));
                    for (sum, name) in of_invoices.iter_mut().zip(names) {
                        *sum += number(&invoice.json()["total"], name);
                    }
                }
                assert_eq!(of_invoices, sums, "{account}");
            }
            let Some(disk) = months.disk.as_ref().filter(|_| round == 0) else { break };
            // Once more from the rows of the volume.
            let mut service = Service::on(disk);
            service.now_ns = months.service.now_ns;
            months.service = service;
        }
    }
}

#[test]
fn a_repeated_request_gets_the_bill_as_it_was_first_told() {
    let mut service = Service::new();
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit", "read"]);
    let request = String::from_utf8(crate::service::request(
        &key,
        "POST",
        "/v1/multiply",
        Some(crate::service::JOB),
    ));
    let request = request.expect("text").replacen("\r\n", "\r\nIdempotency-Key: one\r\n", 1);
    let id = service.open();
    let first = service.ask_on(id, request.as_bytes()).json()["bill"].take();
    let job = first["job"].as_str().expect("a job").to_owned();
    let body = json!({"job": job, "amount_micros": 1, "reason": "late"});
    service.change(&operator, "/v1/admin/corrections", body);
    let again = service.ask_on(id, request.as_bytes());
    assert_eq!(again.field("Idempotency-Replayed"), Some("true"));
    assert_eq!(again.json()["bill"], first);
    let mut corrected = first;
    corrected["corrected_micros"] = 1.into();
    let bill = format!("/v1/jobs/{job}/bill");
    assert_eq!(service.get(&key, &bill).json(), corrected);
    // Nobody else learns of it.
    let other = service.account(&operator, "other", &["submit", "read"]);
    expect(&service.get(&other, &bill), 404, "unknown-job");
}
