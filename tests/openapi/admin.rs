//! What operators do.

use gemmule::ledger::Scope;
use gemmule::limits::{
    ACCOUNT_BURST_MAX, ACCOUNT_JOBS_AT_ONCE_MAX, ACCOUNT_NAME_BYTES_MAX,
    ACCOUNT_REQUESTS_PER_SECOND_MAX, AMOUNT_MICROS_MAX, PRICE_MICROS_MAX, TARIFF_NAME_BYTES_MAX,
    UNIX_SECONDS_MAX, VOLUME_TIERS_MAX,
};
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};

use super::core::Service;
use super::document::{Operation, json_reply, path_parameter};
use super::multiply::keys_reply;
use super::schemas::{array, count, object, reference, tariff, text};
use crate::support::http::Response;

const SHOWN_ONCE: &str = "The reply's `key` is shown this once: the service keeps its SHA-256.";

/// Problems of every `POST`.
const BODY_PROBLEMS: [ProblemKind; 8] = [
    ProblemKind::MalformedJson,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::BodyTooLarge,
    ProblemKind::MissingField,
    ProblemKind::UnknownField,
    ProblemKind::DuplicateField,
    ProblemKind::InvalidValue,
    ProblemKind::WrongType,
];

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    [accounts(), keys(), money(), receipt_keys()].concat()
}

fn accounts() -> Vec<(String, Vec<Operation>)> {
    let path = "/v1/admin/accounts";
    let acme = "/v1/admin/accounts/acme";
    let new = json!({
        "id": "acme",
        "name": "Acme & Co",
        "limits": {"requests_per_second": 50, "jobs_at_once": 8},
    });
    let before = [(path, new.clone())];
    let mut list = get("accounts", "All accounts, by id", path, "AccountList", &before);
    list.parameters = vec![json!({
        "name": "after",
        "in": "query",
        "description": "The id after which to go on: `next` of the reply before.",
        "schema": reference("AccountId"),
    })];
    list.problems.push(ProblemKind::UnknownField);
    let create = post("createAccount", "A new account", path, "Account", &[], &new, "NewAccount")
        .and(&[ProblemKind::AccountExists, ProblemKind::UnknownTariff]);
    let of_account = |operation| with_path(operation, account(), ProblemKind::UnknownAccount);
    let show = get("account", "An account", acme, "Account", &before);
    let change = json!({"limits": {"jobs_at_once": null}, "closed": true});
    let summary = "Changes what is given";
    let change = post("changeAccount", summary, acme, "Account", &before, &change, "AccountChange")
        .and(&[ProblemKind::UnknownTariff]);
    let credits = "/v1/admin/accounts/acme/credits";
    let credit = json!({"amount_micros": 25_000_000, "reason": "invoice 17"});
    let summary = "What was paid in advance; below 0, what is taken back";
    let credit = post("credit", summary, credits, "Account", &before, &credit, "Credit");
    vec![
        (path.into(), vec![list, create]),
        (format!("{path}/{{account}}"), vec![of_account(show), of_account(change)]),
        (format!("{path}/{{account}}/credits"), vec![of_account(credit)]),
    ]
}

fn keys() -> Vec<(String, Vec<Operation>)> {
    let account_made = ("/v1/admin/accounts", json!({"id": "acme"}));
    let keys = "/v1/admin/accounts/acme/keys";
    let new = json!({"scopes": ["submit", "read"], "label": "the press"});
    let key_made = (keys, new.clone());
    let before = [account_made.clone(), key_made];
    let list = get("keys", "An account's keys, without their text", keys, "KeyList", &before);
    let made = ask_operator(&before, "GET", keys, None).json()["keys"][0]["id"].take();
    let id = made.as_str().expect("a key's id").to_owned();
    let create = post("createKey", "A new key", keys, "MadeKey", &[account_made], &new, "NewKey");
    let create = Operation { description: SHOWN_ONCE, ..create };
    let of_account = |operation| with_path(operation, account(), ProblemKind::UnknownAccount);
    let of_key = |operation| {
        let key = path_parameter("key", reference("KeyId"), &id);
        with_path(operation, key, ProblemKind::UnknownKeyId)
    };
    let path = |end: &str| format!("/v1/admin/keys/{id}/{end}");
    let summary = "Ends a key at once";
    let revoke =
        post("revokeKey", summary, &path("revoke"), "Key", &before, &json!({}), "Revocation");
    let overlap = json!({"overlap_seconds": 86400});
    let summary = "A new key like this one, which ends after the overlap";
    let rotate =
        post("rotateKey", summary, &path("rotate"), "MadeKey", &before, &overlap, "Rotation")
            .and(&[ProblemKind::KeyEnded]);
    let rotate = Operation { description: SHOWN_ONCE, ..rotate };
    vec![
        ("/v1/admin/accounts/{account}/keys".into(), vec![of_account(list), of_account(create)]),
        ("/v1/admin/keys/{key}/revoke".into(), vec![of_key(revoke)]),
        ("/v1/admin/keys/{key}/rotate".into(), vec![of_key(rotate)]),
    ]
}

fn money() -> Vec<(String, Vec<Operation>)> {
    let path = "/v1/admin/tariffs";
    let summary = "Every version of every tariff";
    let list = get("tariffs", summary, path, "TariffList", &[]);
    let bulk = json!({
        "name": "bulk",
        "version": 1,
        "currency": "EUR",
        "micros_per_tflop_f64": 300,
        "micros_per_tflop_f32": 150,
        "micros_per_gb_in": 4000,
        "micros_per_gb_out": 8000,
        "job_micros_min": 1,
        "volume_tiers": [{"from_flops": 1_000_000_000_000_000_u64, "per_mille": 800}],
        "micros_per_gb_hour": 80,
        "cached_per_mille": 50,
        "in_force_from_unix_s": 1_795_507_200,
    });
    let add = post("addTariff", "A new version", path, "Tariff", &[], &bulk, "NewTariff");
    vec![(path.into(), vec![list, add]), ("/v1/admin/corrections".into(), vec![correction()])]
}

fn receipt_keys() -> Vec<(String, Vec<Operation>)> {
    let path = "/v1/admin/receipt-keys/rotate";
    let summary = "Receipts are signed with a new key from now on";
    let mut rotate = Operation::get("admin", "rotateReceiptKey", summary, keys_reply());
    rotate.method = "post";
    rotate.body = Some(body("ReceiptKeyRotation", &json!({})));
    rotate.problems = BODY_PROBLEMS.to_vec();
    vec![(path.into(), vec![rotate.needs(Scope::Admin)])]
}

/// Gives back the price of a job.
fn correction() -> Operation {
    let mut service = Service::with_keys();
    let operator = service.operator();
    service.send(&operator, "POST", "/v1/admin/accounts", Some(&json!({"id": "acme"})));
    let scopes = json!({"scopes": ["submit"]});
    let made = service.send(&operator, "POST", "/v1/admin/accounts/acme/keys", Some(&scopes));
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let job = json!({"a": [[2]], "b": [[3]]});
    let job = service.send(&key, "POST", "/v1/multiply", Some(&job)).json()["bill"]["job"].take();
    let request = json!({"job": job, "amount_micros": 1, "reason": "it was late"});
    let reply = service.send(&operator, "POST", "/v1/admin/corrections", Some(&request)).json();
    let summary = "Gives back some of what a job was charged";
    let reply = json_reply("What the job was charged, and given back.", "Corrected", reply);
    let mut operation = Operation::get("admin", "correct", summary, reply);
    operation.method = "post";
    operation.body = Some(body("Correction", &request));
    operation.problems = BODY_PROBLEMS.to_vec();
    operation.and(&[ProblemKind::UnknownJob]).needs(Scope::Admin)
}

/// What an operator gets who has made some things before.
fn ask_operator(before: &[Made], method: &str, path: &str, request: Option<&Value>) -> Response {
    let mut service = Service::with_keys();
    let operator = service.operator();
    for (path, request) in before {
        service.send(&operator, "POST", path, Some(request));
    }
    service.send(&operator, method, path, request)
}

type Made = (&'static str, Value);

fn get(id: &str, summary: &'static str, path: &str, schema: &str, before: &[Made]) -> Operation {
    let example = ask_operator(before, "GET", path, None).json();
    Operation::get("admin", id, summary, json_reply(summary, schema, example)).needs(Scope::Admin)
}

fn post(
    id: &str,
    summary: &'static str,
    path: &str,
    schema: &str,
    before: &[Made],
    request: &Value,
    request_schema: &str,
) -> Operation {
    let example = ask_operator(before, "POST", path, Some(request)).json();
    let mut operation = Operation::get("admin", id, summary, json_reply(summary, schema, example));
    operation.method = "post";
    operation.body = Some(body(request_schema, request));
    operation.problems = BODY_PROBLEMS.to_vec();
    operation.needs(Scope::Admin)
}

fn body(schema: &str, example: &Value) -> Value {
    json!({"required": true, "content": {"application/json": {
        "schema": reference(schema),
        "example": example,
    }}})
}

fn with_path(mut operation: Operation, parameter: Value, unknown: ProblemKind) -> Operation {
    operation.parameters.push(parameter);
    operation.and(&[unknown])
}

fn account() -> Value {
    path_parameter("account", reference("AccountId"), "acme")
}

/// What is sent and read under these paths.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let id = json!({"type": "string", "pattern": "^[a-z0-9-]{1,32}$"});
    let key_id = json!({"type": "string", "pattern": "^[0-9a-f]{16}$"});
    let scopes = json!({"type": "array", "items": {"enum": Scope::ALL.map(Scope::name)}});
    let mut some_scopes = scopes.clone();
    some_scopes["minItems"] = 1.into();
    let line = json!({"type": "string", "maxLength": ACCOUNT_NAME_BYTES_MAX,
        "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$"});
    let mut reason = line.clone();
    reason["minLength"] = 1.into();
    let flag = json!({"type": "boolean"});
    let time = json!({"type": "string", "format": "date-time"});
    let perhaps = json!({"type": ["string", "null"], "format": "date-time"});
    let integer = json!({"type": "integer"});
    let next = json!({"oneOf": [reference("AccountId"), {"type": "null"}]});
    let setting = [
        ("name", line.clone()),
        ("tariff", text()),
        ("limits", reference("AccountLimits")),
        ("prepaid", flag.clone()),
    ];
    let shown = [
        ("id", reference("AccountId")),
        ("closed", flag.clone()),
        ("created_at", time.clone()),
        ("charged_micros", integer.clone()),
        ("credited_micros", integer.clone()),
        ("month_flops", count()),
        ("month_amount_micros", count()),
    ];
    let key = [
        ("id", reference("KeyId")),
        ("account", reference("AccountId")),
        ("scopes", scopes.clone()),
        ("label", text()),
        ("state", json!({"enum": ["valid", "expired", "revoked"]})),
        ("created_at", time),
        ("expires_at", perhaps.clone()),
        ("revoked_at", perhaps),
    ];
    let new_id = [("id", reference("AccountId"))];
    let new_key =
        [("scopes", some_scopes), ("label", line), ("expires_in_seconds", at_most(u64::MAX))];
    let amount = json!({"type": "integer", "minimum": 1, "maximum": AMOUNT_MICROS_MAX});
    let most = AMOUNT_MICROS_MAX as i64;
    let credit = json!({"type": "integer", "minimum": -most, "maximum": most, "not": {"const": 0}});
    vec![
        ("AccountId", id),
        ("KeyId", key_id),
        ("AccountLimits", limits()),
        ("Account", object(&[setting.as_slice(), &shown].concat())),
        ("AccountList", object(&[("accounts", array(reference("Account"))), ("next", next)])),
        ("NewAccount", request(&["id"], &[new_id.as_slice(), &setting].concat())),
        ("AccountChange", request(&[], &[setting.as_slice(), &[("closed", flag)]].concat())),
        ("Key", object(&key)),
        ("KeyList", object(&[("keys", array(reference("Key")))])),
        ("MadeKey", object(&[[("key", text())].as_slice(), &key].concat())),
        ("NewKey", request(&["scopes"], &new_key)),
        ("Rotation", request(&[], &[("overlap_seconds", at_most(u64::MAX))])),
        ("Revocation", request(&[], &[])),
        ("ReceiptKeyRotation", request(&[], &[])),
        (
            "Credit",
            request(
                &["amount_micros", "reason"],
                &[("amount_micros", credit), ("reason", reason.clone())],
            ),
        ),
        ("NewTariff", new_tariff()),
        ("TariffList", object(&[("tariffs", array(reference("Tariff")))])),
        (
            "Correction",
            request(
                &["job", "amount_micros", "reason"],
                &[("job", reference("JobId")), ("amount_micros", amount), ("reason", reason)],
            ),
        ),
        (
            "Corrected",
            object(&[
                ("job", reference("JobId")),
                ("account", reference("AccountId")),
                ("charged_micros", count()),
                ("corrected_micros", count()),
            ]),
        ),
    ]
}

/// What need not be given is 0, or empty, or 1000 thousandths.
fn new_tariff() -> Value {
    let mut schema = tariff();
    let optional = ["free_flops_per_month", "volume_tiers"];
    let required = schema["required"].as_array_mut().expect("a list");
    required.retain(|name| !optional.iter().any(|other| name == other));
    schema["additionalProperties"] = false.into();
    let properties = &mut schema["properties"];
    properties["name"]["pattern"] = format!("^[a-z0-9-]{{1,{TARIFF_NAME_BYTES_MAX}}}$").into();
    properties["currency"]["pattern"] = "^[A-Z]{3}$".into();
    properties["version"] = json!({"type": "integer", "minimum": 1, "maximum": u32::MAX});
    for (name, price) in properties.as_object_mut().expect("properties") {
        if name.starts_with("micros_per") || name == "job_micros_min" {
            *price = at_most(PRICE_MICROS_MAX);
        }
    }
    properties["free_flops_per_month"] = at_most(u64::MAX);
    properties["in_force_from_unix_s"] = at_most(UNIX_SECONDS_MAX);
    let tiers = &mut properties["volume_tiers"];
    tiers["maxItems"] = VOLUME_TIERS_MAX.into();
    tiers["items"]["additionalProperties"] = false.into();
    tiers["items"]["properties"]["from_flops"] = at_most(u64::MAX);
    tiers["items"]["properties"]["per_mille"] = at_most(1000);
    schema
}

fn at_most(maximum: u64) -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": maximum})
}

fn limits() -> Value {
    let limit = |minimum: u64, maximum: u64| json!({"type": ["integer", "null"], "minimum": minimum, "maximum": maximum});
    let mut limits = request(
        &[],
        &[
            ("requests_per_second", limit(1, ACCOUNT_REQUESTS_PER_SECOND_MAX.into())),
            ("burst", limit(1, ACCOUNT_BURST_MAX.into())),
            ("jobs_at_once", limit(1, ACCOUNT_JOBS_AT_ONCE_MAX.into())),
            ("flops_per_day", limit(0, u64::MAX)),
            ("amount_micros_per_month", limit(0, u64::MAX)),
            ("stored_bytes_max", limit(0, u64::MAX)),
        ],
    );
    limits["description"] = "`null` is no limit. A `burst` is of `requests_per_second`.".into();
    limits
}

/// An object that has some of these properties and no others.
fn request(required: &[&str], properties: &[(&str, Value)]) -> Value {
    let mut schema = object(properties);
    schema["required"] = json!(required);
    schema["additionalProperties"] = false.into();
    schema
}
