//! What keys let their holders do, and when they end.

use gemmule::ledger::ApiKey;
use gemmule::limits::FIRST_KEY_SECONDS;
use serde_json::{Value, json};

use super::service::{JOB, Service, expect, key_of, reply, request};

#[test]
fn the_printed_key_makes_another_and_ends() {
    let mut service = Service::new();
    let first = service.printed_key().expect("a new service prints a key");
    assert_eq!(service.printed_key(), None);
    // It is not for jobs.
    expect(&service.multiply(&first), 403, "forbidden");
    // It lives on while it makes other keys.
    let other = service.account(&first, "acme", &["submit"]);
    assert_eq!(service.multiply(&other).status, 200);
    let path = "/v1/admin/accounts/operator/keys";
    let lasting = key_of(&service.change(&first, path, json!({"scopes": ["read", "admin"]})));
    expect(&service.get(&first, "/v1/admin/accounts"), 401, "revoked-key");
    assert_eq!(service.get(&lasting, "/v1/admin/accounts").status, 200);
    service.pass_seconds(400 * 86_400);
    assert_eq!(service.get(&lasting, "/v1/admin/accounts").status, 200);
}

#[test]
fn the_printed_key_ends_after_a_day() {
    let mut service = Service::new();
    let first = service.printed_key().expect("a new service prints a key");
    service.pass_seconds(FIRST_KEY_SECONDS - 1);
    assert_eq!(service.get(&first, "/v1/admin/tariffs").status, 200);
    service.pass_seconds(1);
    expect(&service.get(&first, "/v1/admin/tariffs"), 401, "expired-key");
}

#[test]
fn keys_let_their_holders_do_what_their_scopes_say() {
    let mut service = Service::new();
    let operator = service.operator();
    let submit = service.account(&operator, "acme", &["submit"]);
    let path = "/v1/admin/accounts/acme/keys";
    let read = key_of(&service.change(&operator, path, json!({"scopes": ["read"]})));
    let job = service.multiply(&submit);
    assert_eq!(job.status, 200);
    let bill = format!("/v1/jobs/{}/bill", job.field("Gemmule-Job").expect("a job"));
    for (method, path, body, allowed) in [
        ("GET", "/healthz", None, [true, true, true, true]),
        ("GET", "/v1/version", None, [true, true, true, true]),
        ("POST", "/v1/multiply", Some(JOB), [false, true, false, false]),
        ("GET", "/v1/admin/accounts", None, [false, false, false, true]),
        ("GET", "/v1/admin/accounts/acme", None, [false, false, false, true]),
        ("POST", "/v1/admin/accounts/acme", Some("{}"), [false, false, false, true]),
        ("GET", "/v1/admin/tariffs", None, [false, false, false, true]),
    ] {
        for (key, allowed) in ["", &submit, &read, &operator].into_iter().zip(allowed) {
            let response = service.ask(key, method, path, body);
            match (allowed, key.is_empty()) {
                (true, _) => assert_eq!(response.status, 200, "{path}: {}", response.text()),
                (false, true) => expect(&response, 401, "unauthorized"),
                (false, false) => expect(&response, 403, "forbidden"),
            }
            let challenge = response.field("WWW-Authenticate").unwrap_or_default();
            assert_eq!(challenge.starts_with("Bearer realm=\"gemmule\""), !allowed, "{path}");
        }
    }
    assert_eq!(service.get(&read, &bill).status, 200);
}

#[test]
fn a_wrong_key_learns_nothing_but_that_it_is_wrong() {
    let mut service = Service::new();
    let operator = service.operator();
    let wrong = |seed: u8| ApiKey::from_random([seed; 32]).reveal().to_owned();
    let replies = [1, 2].map(|seed| {
        let id = service.open();
        service.send(id, &request(&wrong(seed), "POST", "/v1/multiply", Some(JOB)));
        service.read(id)
    });
    expect(&reply(&replies[0]), 401, "unknown-key");
    assert_eq!(replies[0], replies[1]);
    // A typing error is told, whether there is such a key or not.
    let mistyped = |key: &str| key.replace("gml_", "gml_0")[..key.len()].to_owned();
    for key in [mistyped(&operator), mistyped(&wrong(1)), "gml_".into(), "secret".into()] {
        expect(&service.multiply(&key), 401, "malformed-key");
    }
}

#[test]
fn a_revoked_key_is_refused_by_the_next_head_of_an_open_connection() {
    let mut service = Service::new();
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit"]);
    let id = service.open();
    let job = request(&key, "POST", "/v1/multiply", Some(JOB));
    assert_eq!(service.ask_on(id, &job).status, 200);
    let keys = service.get(&operator, "/v1/admin/accounts/acme/keys").json();
    let record = &keys["keys"][0];
    assert_eq!(record["state"], "valid");
    assert!(!keys.to_string().contains("hash"), "{keys}");
    let key_id = record["id"].as_str().expect("an id");
    let path = format!("/v1/admin/keys/{key_id}/revoke");
    let revoked = service.change(&operator, &path, json!({}));
    assert_eq!(revoked["state"], "revoked");
    expect(&service.ask_on(id, &job), 401, "revoked-key");
    // Revoking it again changes nothing.
    service.pass_seconds(60);
    assert_eq!(service.change(&operator, &path, json!({})), revoked);
    let unknown = service.post(&operator, "/v1/admin/keys/0000000000000000/revoke", &json!({}));
    expect(&unknown, 404, "unknown-key-id");
}

#[test]
fn a_key_that_is_rotated_overlaps_with_the_new_one() {
    let mut service = Service::new();
    let operator = service.operator();
    let old = service.account(&operator, "acme", &["submit"]);
    let rotate = |service: &mut Service, key: &str, body: Value| {
        let hash = ApiKey::parse(key.as_bytes()).expect("a key").hash().to_string();
        service.post(&operator, &format!("/v1/admin/keys/{}/rotate", &hash[..16]), &body)
    };
    let reply = rotate(&mut service, &old, json!({"overlap_seconds": 100}));
    let new = key_of(&reply.json());
    assert_ne!(old, new);
    service.pass_seconds(99);
    for key in [&old, &new] {
        assert_eq!(service.multiply(key).status, 200);
    }
    service.pass_seconds(1);
    expect(&service.multiply(&old), 401, "expired-key");
    assert_eq!(service.multiply(&new).status, 200);
    expect(&rotate(&mut service, &old, json!({})), 409, "key-ended");
    // Without an overlap the old one ends at once.
    let newest = key_of(&rotate(&mut service, &new, json!({})).json());
    expect(&service.multiply(&new), 401, "expired-key");
    assert_eq!(service.multiply(&newest).status, 200);
}

#[test]
fn keys_expire() {
    let mut service = Service::new();
    let operator = service.operator();
    service.account(&operator, "acme", &["submit"]);
    let path = "/v1/admin/accounts/acme/keys";
    let new = json!({"scopes": ["submit"], "expires_in_seconds": 60, "label": "for a minute"});
    let made = service.change(&operator, path, new);
    assert_eq!(made["expires_at"], "2026-11-24T08:01:00Z");
    let key = key_of(&made);
    service.pass_seconds(59);
    assert_eq!(service.multiply(&key).status, 200);
    service.pass_seconds(1);
    expect(&service.multiply(&key), 401, "expired-key");
}
