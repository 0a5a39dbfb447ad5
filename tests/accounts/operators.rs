//! What operators do, and what they are kept from.

use serde_json::{Value, json};

use super::service::{Service, expect};

#[test]
fn accounts_are_made_changed_closed_and_listed() {
    let mut service = Service::new();
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit"]);
    let again = service.post(&operator, "/v1/admin/accounts", &json!({"id": "acme"}));
    expect(&again, 409, "account-exists");
    let path = "/v1/admin/accounts/acme";
    let limits = json!({"jobs_at_once": 3, "flops_per_day": 1000});
    let changed = service.change(&operator, path, json!({"name": "Acme", "limits": limits}));
    assert_eq!((&changed["name"], &changed["limits"]["jobs_at_once"]), (&json!("Acme"), &json!(3)));
    let lifted = service.change(&operator, path, json!({"limits": {"jobs_at_once": null}}));
    assert_eq!(lifted["limits"]["jobs_at_once"], Value::Null);
    assert_eq!(lifted["limits"]["flops_per_day"], 1000);
    assert_eq!(service.multiply(&key).status, 200);
    service.change(&operator, path, json!({"closed": true}));
    expect(&service.multiply(&key), 403, "account-closed");
    let shown = service.get(&operator, path).json();
    assert_eq!((&shown["charged_micros"], &shown["closed"]), (&json!(1), &json!(true)));
    service.change(&operator, path, json!({"closed": false}));
    assert_eq!(service.multiply(&key).status, 200);
    service.change(&operator, "/v1/admin/accounts", json!({"id": "beta"}));
    let list = service.get(&operator, "/v1/admin/accounts").json();
    let ids = |list: &Value| {
        let accounts = list["accounts"].as_array().expect("accounts");
        accounts.iter().map(|it| it["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&list), ["acme", "beta", "operator"]);
    let behind = service.get(&operator, "/v1/admin/accounts?after=acme").json();
    assert_eq!((ids(&behind).len(), &behind["next"]), (2, &Value::Null));
}

#[test]
fn changes_that_are_refused() {
    let mut service = Service::new();
    let operator = service.operator();
    service.account(&operator, "acme", &["submit"]);
    let accounts = "/v1/admin/accounts";
    let acme = "/v1/admin/accounts/acme";
    let keys = "/v1/admin/accounts/acme/keys";
    let credits = "/v1/admin/accounts/acme/credits";
    let before = service.get(&operator, accounts).json();
    for (path, body, status, kind, field) in [
        (accounts, json!({}), 422, "missing-field", "/id"),
        (accounts, json!({"id": "Acme"}), 422, "invalid-value", "/id"),
        (accounts, json!({"id": "b", "tariff": "none"}), 422, "unknown-tariff", "/tariff"),
        (accounts, json!({"id": "b", "name": "a\nb"}), 422, "invalid-value", "/name"),
        (
            accounts,
            json!({"id": "b", "limits": {"burst": 5}}),
            422,
            "invalid-value",
            "/limits/burst",
        ),
        (
            acme,
            json!({"limits": {"jobs_at_once": 0}}),
            422,
            "invalid-value",
            "/limits/jobs_at_once",
        ),
        (acme, json!({"closed": null}), 422, "wrong-type", "/closed"),
        ("/v1/admin/accounts/nobody", json!({}), 404, "unknown-account", ""),
        (keys, json!({"scopes": []}), 422, "invalid-value", "/scopes"),
        (
            credits,
            json!({"amount_micros": 0, "reason": "r"}),
            422,
            "invalid-value",
            "/amount_micros",
        ),
        (credits, json!({"amount_micros": 5, "reason": ""}), 422, "invalid-value", "/reason"),
        (
            "/v1/admin/corrections",
            json!({"job": "0".repeat(32), "amount_micros": 1, "reason": "r"}),
            404,
            "unknown-job",
            "/job",
        ),
    ] {
        let response = service.post(&operator, path, &body);
        expect(&response, status, kind);
        assert_eq!(response.json()["field"].as_str().unwrap_or_default(), field, "{body}");
    }
    assert_eq!(service.get(&operator, accounts).json(), before);
}

#[test]
fn corrections_give_back_what_was_charged_and_no_more() {
    let mut service = Service::new();
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit"]);
    let dear = json!({
        "name": "dear", "version": 1, "currency": "EUR", "micros_per_tflop_f64": 0,
        "micros_per_tflop_f32": 0, "micros_per_gb_in": 0, "micros_per_gb_out": 0,
        "job_micros_min": 100, "in_force_from_unix_s": 1_795_507_200,
    });
    service.change(&operator, "/v1/admin/tariffs", dear);
    service.change(&operator, "/v1/admin/accounts/acme", json!({"tariff": "dear"}));
    let job = service.multiply(&key).json()["bill"].take();
    assert_eq!(job["amount_micros"], 100);
    let correct = |service: &mut Service, amount: u64| {
        let body = json!({"job": job["job"], "amount_micros": amount, "reason": "it was late"});
        service.post(&operator, "/v1/admin/corrections", &body)
    };
    expect(&correct(&mut service, 101), 422, "invalid-value");
    assert_eq!(correct(&mut service, 60).json()["corrected_micros"], 60);
    expect(&correct(&mut service, 41), 422, "invalid-value");
    assert_eq!(correct(&mut service, 40).json()["corrected_micros"], 100);
    expect(&correct(&mut service, 1), 422, "invalid-value");
    let shown = service.get(&operator, "/v1/admin/accounts/acme").json();
    assert_eq!(shown["charged_micros"], 0);
    let credits = "/v1/admin/accounts/acme/credits";
    service.change(&operator, credits, json!({"amount_micros": 70, "reason": "paid"}));
    let shown =
        service.change(&operator, credits, json!({"amount_micros": -20, "reason": "not paid"}));
    assert_eq!(shown["credited_micros"], 50);
}
