//! `GET /v1/usage/events`.

use std::collections::BTreeSet;

use gemmule::limits::{EVENTS_MAX, RECENT_BILLS_MAX};
use serde_json::Value;

use crate::months::{ACCOUNTS, Months};
use crate::service::{Service, expect};
use crate::support::http::Response;

/// The target of the field that leads on.
fn next(reply: &Response) -> Option<String> {
    let link = reply.field("Link")?;
    let (target, relation) =
        link.strip_prefix('<').expect("a target").split_once('>').expect("its end");
    assert_eq!(relation, "; rel=\"next\"");
    Some(target.to_owned())
}

/// All events from a path on, and the cursor behind them.
fn follow(months: &mut Months, reader: Option<&str>, path: &str) -> (Vec<Value>, u64) {
    let (mut events, mut path) = (Vec::new(), path.to_owned());
    loop {
        let reply = months.get(reader, &path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let content_type = reply.field("Content-Type");
        assert_eq!(content_type, Some("application/cloudevents-batch+json"));
        events.extend(reply.json().as_array().expect("a batch").iter().cloned());
        let cursor = reply.field("Gemmule-Cursor").expect("a cursor").parse().expect("a number");
        match next(&reply) {
            Some(next) => path = next,
            None => return (events, cursor),
        }
    }
}

fn check(months: &mut Months, reader: Option<&str>, limit: usize) -> Vec<Value> {
    let (events, cursor) = follow(months, reader, &format!("/v1/usage/events?limit={limit}"));
    let told = months.told_of(reader, 0..u64::MAX);
    assert_eq!(events.len(), told.len());
    let mut before = None;
    for (event, told) in events.iter().zip(&told) {
        let data = &event["data"];
        let kind = if told.is_correction { "corrected" } else { "charged" };
        assert_eq!(event["type"], format!("gemmule.job.{kind}"));
        assert_eq!(
            (&event["specversion"], &event["subject"]),
            (&"1.0".into(), &told.account[..].into())
        );
        let sequence = data["sequence"].as_u64().expect("a number");
        assert!(before < Some(sequence) && sequence <= cursor);
        before = Some(sequence);
        assert_eq!(event["id"], format!("{}-{sequence}", told.job));
        assert_eq!(event["time"], told.at);
        assert_eq!(sequence == told.sequence, !told.is_correction);
        assert_eq!(data["amount_micros"], told.micros as i64);
        assert_eq!(crate::csv::micros(data["amount"].as_str().expect("a text")), told.micros);
        assert_eq!((&data["job"], &data["dtype"]), (&told.job[..].into(), &told.dtype[..].into()));
        let figures = ["flops", "bytes_in", "bytes_out", "bytes"].map(|name| data[name].as_u64());
        let bytes = told.bytes_in + told.bytes_out;
        assert_eq!(figures, [told.flops, told.bytes_in, told.bytes_out, bytes].map(Some));
    }
    let ids: BTreeSet<String> = events.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), events.len());
    // Nothing is told behind the end, and what comes then is.
    let (more, same) = follow(months, reader, &format!("/v1/usage/events?after={cursor}"));
    assert_eq!((more.len(), same), (0, cursor));
    events
}

#[test]
fn events_are_those_of_the_bills_in_their_order() {
    for is_durable in [false, true] {
        let mut months = Months::with_jobs(is_durable, 11);
        let all = check(&mut months, None, 7);
        assert_eq!(check(&mut months, None, EVENTS_MAX), all, "whatever the page");
        for account in ACCOUNTS {
            check(&mut months, Some(account), 3);
            let path = format!("/v1/usage/events?account={account}&limit=50");
            let (of_account, _) = follow(&mut months, None, &path);
            let (own, _) = follow(&mut months, Some(account), "/v1/usage/events");
            assert_eq!(own, of_account);
        }
        let Some(disk) = months.disk.clone() else { continue };
        let now_ns = months.service.now_ns;
        months.service = Service::on(&disk);
        months.service.now_ns = now_ns;
        assert_eq!(check(&mut months, None, 100), all, "after it was opened again");
    }
}

#[test]
fn what_is_not_durable_is_not_told() {
    let mut months = Months::with_jobs(true, 13);
    let (before, cursor) = follow(&mut months, None, "/v1/usage/events?limit=1000");
    let (_, key) = months.keys[0].clone();
    let id = months.service.open();
    let job = crate::service::request(&key, "POST", "/v1/multiply", Some(crate::service::JOB));
    months.service.send(id, &job);
    let now = months.service.now();
    while let Some(mut job) = months.service.server.next_job() {
        while !job.advance(&gemmule::gemm::Alone, &|| false) {}
        months.service.server.finish(job, now);
    }
    // Charged and not committed: asked on another connection, without the commit that reading
    // brings.
    let reader = months.service.open();
    let path = format!("/v1/usage/events?after={cursor}");
    let ask = crate::service::request(&months.operator.clone(), "GET", &path, None);
    months.service.send(reader, &ask);
    let sent = months.service.server.output(reader).to_vec();
    let sent = String::from_utf8(sent).expect("text");
    assert!(sent.starts_with("HTTP/1.1 200") && sent.ends_with("[]"), "{sent}");
    months.service.commit();
    let (after, _) = follow(&mut months, None, &path);
    assert_eq!(after.len(), 1);
    assert!(!before.contains(&after[0]));
}

#[test]
fn a_cursor_that_leads_nowhere_is_refused() {
    let mut months = Months::begin(false);
    let (_, key) = months.keys[0].clone();
    let (_, cursor) = follow(&mut months, None, "/v1/usage/events");
    for _ in 0..=RECENT_BILLS_MAX {
        assert_eq!(months.service.multiply(&key).status, 200);
    }
    let expired = months.get(None, &format!("/v1/usage/events?after={cursor}"));
    expect(&expired, 410, "cursor-expired");
    let first = expired.json()["limit"].as_u64().expect("the first that is kept");
    let path = format!("/v1/usage/events?limit=1000&after={}", first - 1);
    assert_eq!(follow(&mut months, None, &path).0.len(), RECENT_BILLS_MAX);
    assert_eq!(follow(&mut months, None, "/v1/usage/events").0.len(), RECENT_BILLS_MAX);
    expect(&months.get(None, "/v1/usage/events?after=99999999"), 410, "cursor-expired");
    for (query, field) in [
        ("after=first", "?after"),
        ("after=-1", "?after"),
        ("limit=0", "?limit"),
        ("limit=1001", "?limit"),
    ] {
        let reply = months.get(None, &format!("/v1/usage/events?{query}"));
        expect(&reply, 422, "invalid-value");
        assert_eq!(reply.json()["field"], field);
    }
}
