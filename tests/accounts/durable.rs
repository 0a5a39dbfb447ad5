//! What was answered is there when the power is back, and nothing is answered before it is.

use serde_json::json;

use super::service::{JOB, Service, expect, key_of, reply, request};
use crate::support::power::{Left, PowerCut};

const DISK_BYTES_MAX: u64 = 1 << 26;

#[test]
fn what_was_answered_is_there_when_the_power_is_back() {
    let disk = PowerCut::file(DISK_BYTES_MAX);
    let mut service = Service::on(&disk);
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit"]);
    let revoked = service.account(&operator, "beta", &["submit"]);
    let beta = service.get(&operator, "/v1/admin/accounts/beta/keys").json();
    let id = beta["keys"][0]["id"].as_str().expect("an id").to_owned();
    service.change(&operator, &format!("/v1/admin/keys/{id}/revoke"), json!({}));
    let acme = "/v1/admin/accounts/acme";
    service.change(&operator, acme, json!({"prepaid": true, "limits": {"jobs_at_once": 3}}));
    let credit = json!({"amount_micros": 9, "reason": "paid"});
    service.change(&operator, &format!("{acme}/credits"), credit);
    let job = service.multiply(&key).json()["bill"]["job"].take();
    let correction = json!({"job": job, "amount_micros": 1, "reason": "it was late"});
    service.change(&operator, "/v1/admin/corrections", correction.clone());
    let before = service.get(&operator, "/v1/admin/accounts").json();
    for left in Left::each(7, 20) {
        let mut service = Service::on(&disk.found(left));
        // There is a lasting key, so that none is printed.
        assert_eq!(service.printed_key(), None);
        assert_eq!(service.get(&operator, "/v1/admin/accounts").json(), before, "{left:?}");
        expect(&service.multiply(&revoked), 401, "revoked-key");
        assert_eq!(service.multiply(&key).status, 200);
        // What was given back before is not given back again.
        let again = service.post(&operator, "/v1/admin/corrections", &correction);
        expect(&again, 422, "invalid-value");
    }
}

#[test]
fn nothing_is_answered_or_printed_before_it_is_durable() {
    let disk = PowerCut::file(DISK_BYTES_MAX);
    let mut service = Service::on(&disk);
    // Committed as far as the key that was printed, and no further.
    let first = service.printed_key().expect("a new volume prints a key");
    let id = service.open();
    let path = "/v1/admin/accounts/operator/keys";
    let body = json!({"scopes": ["admin"]}).to_string();
    service.send(id, &request(&first, "POST", path, Some(&body)));
    assert!(service.server.output(id).is_empty());
    // The power is cut here: the key that nobody has seen is not there, and the first one ends.
    let mut other = Service::on(&disk.found(Left::Everything));
    let second = other.printed_key().expect("nobody has a lasting key");
    expect(&other.get(&first, "/v1/admin/tariffs"), 401, "revoked-key");
    assert_eq!(other.get(&second, "/v1/admin/tariffs").status, 200);
    // It is not cut: the key is shown.
    service.commit();
    let lasting = key_of(&reply(&service.read(id)).json());
    assert_eq!(service.get(&lasting, "/v1/admin/tariffs").status, 200);
    expect(&service.ask(&first, "POST", "/v1/multiply", Some(JOB)), 401, "revoked-key");
    assert_eq!(Service::on(&disk.found(Left::Nothing)).printed_key(), None);
}

#[test]
fn a_key_is_printed_where_the_last_was_revoked() {
    let disk = PowerCut::file(DISK_BYTES_MAX);
    let mut service = Service::on(&disk);
    let operator = service.operator();
    let keys = service.get(&operator, "/v1/admin/accounts/operator/keys").json();
    for record in keys["keys"].as_array().expect("keys") {
        let id = record["id"].as_str().expect("an id");
        service.change(&operator, &format!("/v1/admin/keys/{id}/revoke"), json!({}));
        if service.get(&operator, "/v1/admin/tariffs").status == 401 {
            break;
        }
    }
    drop(service);
    let mut service = Service::on(&disk);
    let printed = service.printed_key().expect("nobody has a key");
    expect(&service.get(&operator, "/v1/admin/tariffs"), 401, "revoked-key");
    assert_eq!(service.get(&printed, "/v1/admin/tariffs").status, 200);
}
