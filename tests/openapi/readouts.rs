//! What the ledger comes to.

use gemmule::ledger::Scope;
use gemmule::limits::{EVENTS_DEFAULT, EVENTS_MAX, RECENT_BILLS_MAX};
use gemmule::problem::ProblemKind;
use gemmule::readout::events::{CHARGED, CORRECTED, MEDIA_TYPE, STORED};
use gemmule::readout::invoice::Form;
use gemmule::readout::usage::By;
use serde_json::{Value, json};

use super::core::ask;
use super::document::{Operation, json_reply, path_parameter};
use super::multiply::product_headers;
use super::schemas::{array, count, object, reference, text};
use crate::support::http::{Response, write_job, write_request};

const PROBLEMS: [ProblemKind; 7] = [
    ProblemKind::InvalidValue,
    ProblemKind::UnknownField,
    ProblemKind::DuplicateField,
    ProblemKind::UnknownAccount,
    ProblemKind::MemoryExceeded,
    ProblemKind::Overloaded,
    ProblemKind::LedgerUnavailable,
];

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    vec![
        ("/v1/usage".into(), vec![usage()]),
        ("/v1/usage/events".into(), vec![events()]),
        ("/v1/invoices/{period}".into(), vec![invoice()]),
    ]
}

fn usage() -> Operation {
    let time = |name: &str, description: &str| {
        let schema = json!({"anyOf": [
            {"type": "string", "format": "date"},
            {"type": "string", "format": "date-time"},
        ]});
        parameter(name, description, schema)
    };
    let by = json!({"type": "string", "enum": By::ALL.map(By::name), "default": "day"});
    let parameters = vec![
        parameter("by", "What a row sums.", by),
        time("from", "A date, or a whole hour; the begin of this month unless given."),
        time("until", "The end, which is not in it; that of this hour unless given."),
        account(),
    ];
    let reply = json_reply("Sums.", "Usage", of_one_job("/v1/usage?by=day").json());
    let problems = of_kind(&[ProblemKind::TooManyRows]);
    Operation::get("accounting", "usage", "What was used, and what it costs", reply)
        .with(parameters, &problems)
        .needs(Scope::Read)
}

fn events() -> Operation {
    let of_at_most = |default: usize| json!({"type": "integer", "minimum": 1, "maximum": EVENTS_MAX, "default": default});
    let after = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
    let parameters = vec![
        parameter("after", "`Gemmule-Cursor` of an earlier reply.", after),
        parameter("limit", "Events at most.", of_at_most(EVENTS_DEFAULT)),
        account(),
    ];
    let reply = json!({
        "description": "CloudEvents 1.0, of which there may be none though there is a next page.",
        "headers": product_headers(&["Gemmule-Cursor", "Link"]),
        "content": {MEDIA_TYPE: {
            "schema": array(reference("Event")),
            "example": of_one_job("/v1/usage/events").json(),
        }},
    });
    let summary = "Charges and corrections, in the order of the ledger";
    let mut operation = Operation::get("accounting", "events", summary, reply)
        .with(parameters, &of_kind(&[ProblemKind::CursorExpired]))
        .needs(Scope::Read);
    operation.description = "Follow `Link` while there is one, and begin there again at the last \
        `Gemmule-Cursor`. An event is the same whenever it is read: its `id` with its `source` \
        tells what was read before.";
    operation
}

fn invoice() -> Operation {
    let period =
        json!({"type": "string", "pattern": "^(19[7-9][0-9]|2[0-4][0-9]{2})-(0[1-9]|1[0-2])$"});
    let format = json!({"type": "string", "enum": Form::ALL.map(Form::name)});
    let parameters = vec![
        path_parameter("period", period, "2026-11"),
        parameter("format", "What `Accept` says unless given.", format),
        account(),
    ];
    let of_form = |form: &str| of_one_job(&format!("/v1/invoices/2026-11?format={form}"));
    let table = |form: &str| json!({"summary": form, "value": of_form(form).text()});
    let mut reply = json_reply("What a month comes to.", "Invoice", of_form("json").json());
    let text = json!({"type": "string"});
    reply["content"]["text/csv"] = json!({
        "schema": text, "examples": {"csv": table("csv"), "focus": table("focus")},
    });
    reply["content"]["text/html"] = json!({"schema": text});
    let own = [ProblemKind::TooManyRows, ProblemKind::UnknownPeriod, ProblemKind::NotAcceptable];
    Operation::get("accounting", "invoice", "An invoice, in four forms", reply)
        .with(parameters, &of_kind(&own))
        .needs(Scope::Read)
}

/// The reply of a service that has done one job.
fn of_one_job(target: &str) -> Response {
    let job = write_job(r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#);
    let reply = ask(&[job, write_request("GET", target, &[], None)]);
    assert_eq!(reply.status, 200, "{target}");
    reply
}

fn of_kind(own: &[ProblemKind]) -> Vec<ProblemKind> {
    [own, &PROBLEMS].concat()
}

fn account() -> Value {
    let whose = "Whose; unless given, the key's own, or all where it administers them.";
    parameter("account", whose, reference("AccountId"))
}

fn parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let signed = json!({"type": "integer"});
    let decimal = json!({"type": "string", "pattern": "^-?[0-9]+([.][0-9]{0,5}[1-9])?$"});
    let time = json!({"type": "string", "format": "date-time"});
    let ledger = json!({"enum": ["durable", "ephemeral"]});
    let maybe = |schema: Value| json!({"oneOf": [schema, {"type": "null"}]});
    let totals = [
        ("jobs", count()),
        ("flops", count()),
        ("bytes_in", count()),
        ("bytes_out", count()),
        ("byte_hours", count()),
        ("amount_micros", count()),
        ("corrected_micros", count()),
    ];
    let mut row = vec![("group", text())];
    row.extend(totals.clone());
    let usage = object(&[
        ("by", json!({"enum": By::ALL.map(By::name)})),
        ("from", time.clone()),
        ("until", time.clone()),
        ("account", maybe(reference("AccountId"))),
        ("currency", text()),
        ("ledger", ledger.clone()),
        ("rows", array(object(&row))),
        ("total", object(&totals)),
    ]);
    let line = object(&[
        ("account", reference("AccountId")),
        ("day", json!({"type": "string", "format": "date"})),
        ("dtype", maybe(reference("Dtype"))),
        ("kind", json!({"enum": ["usage", "storage", "correction"]})),
        ("jobs", count()),
        ("flops", count()),
        ("bytes_in", count()),
        ("bytes_out", count()),
        ("byte_hours", count()),
        ("amount_micros", signed.clone()),
        ("amount", decimal.clone()),
    ]);
    let invoice = object(&[
        ("period", text()),
        ("status", json!({"enum": ["open", "closed"]})),
        ("from", time.clone()),
        ("until", time.clone()),
        ("number", maybe(text())),
        ("account", maybe(reference("AccountId"))),
        ("account_name", maybe(text())),
        ("currency", text()),
        ("ledger", ledger),
        ("lines", array(line)),
        ("total", object(&totals)),
        ("due_micros", signed.clone()),
        ("due", decimal.clone()),
    ]);
    let mut data = object(&[
        ("sequence", count()),
        ("account", reference("AccountId")),
        ("flops", count()),
        ("bytes_in", count()),
        ("bytes_out", count()),
        ("bytes", count()),
        ("amount_micros", signed),
        ("amount", decimal),
    ]);
    // Of a job; of storage; of a charge; of a correction; and of a step of a job.
    data["properties"]["job"] = reference("JobId");
    data["properties"]["dtype"] = reference("Dtype");
    for name in ["byte_hours", "from_unix_ns", "until_unix_ns", "executed_flops"] {
        data["properties"][name] = count();
    }
    data["properties"]["currency"] = text();
    data["properties"]["tariff"] = text();
    data["properties"]["tariff_version"] = count();
    data["properties"]["reason"] = text();
    data["properties"]["task"] = reference("JobId");
    data["properties"]["node"] = text();
    data["properties"]["cached"] = json!({"const": true});
    data["properties"]["algorithm"] = text();
    let mut event = object(&[
        ("specversion", json!({"const": "1.0"})),
        ("id", text()),
        ("source", json!({"type": "string", "format": "uri-reference"})),
        ("type", json!({"enum": [CHARGED, CORRECTED, STORED]})),
        ("subject", reference("AccountId")),
        ("time", time),
        ("datacontenttype", json!({"const": "application/json"})),
        ("data", data),
    ]);
    event["description"] = format!(
        "A job or what was stored was charged, or some was given back. Without a volume, those among the last \
         {RECENT_BILLS_MAX} entries are kept."
    )
    .into();
    vec![("Usage", usage), ("Invoice", invoice), ("Event", event)]
}
