//! Receipts are signed with one key after another, and those given out before stay good.

use gemmule::ledger::book::verify::verify;
use gemmule::ledger::receipt::{PublicKey, PublishedKeys, Receipt};
use gemmule::ledger::{Table, Volume};
use serde_json::json;

use super::service::{Service, expect};
use crate::support::power::PowerCut;

const ROTATE: &str = "/v1/admin/receipt-keys/rotate";

fn published(service: &mut Service) -> PublishedKeys {
    serde_json::from_value(service.get("", "/v1/receipt-keys").json()).expect("keys")
}

fn public_keys(keys: &PublishedKeys) -> Vec<PublicKey> {
    keys.keys.iter().map(|record| record.public_key).collect()
}

fn receipt_of(service: &mut Service, key: &str, job: &str) -> Receipt {
    let response = service.get(key, &format!("/v1/jobs/{job}/receipt"));
    Receipt::parse(&response.body).expect("a receipt")
}

fn multiply(service: &mut Service, key: &str) -> String {
    let bill = service.multiply(key).json()["bill"].take();
    bill["job"].as_str().expect("a job").to_owned()
}

#[test]
fn old_receipts_verify_with_the_keys_that_are_published_after_a_rotation() {
    for disk in [None, Some(PowerCut::file(1 << 30))] {
        let mut service = disk.as_ref().map_or_else(Service::new, Service::on);
        let operator = service.operator();
        let key = service.account(&operator, "acme", &["submit", "read"]);
        let job = multiply(&mut service, &key);
        let first = receipt_of(&mut service, &key, &job);
        let before = published(&mut service);

        service.pass_seconds(5);
        let reply = service.change(&operator, ROTATE, json!({}));
        let after = published(&mut service);
        assert_eq!(serde_json::from_value::<PublishedKeys>(reply).expect("keys"), after);
        let (old, new) = (after.keys[0], after.keys[1]);
        assert_eq!((after.keys.len(), before.keys.len()), (2, 1));
        assert_eq!((old.id, old.public_key), (before.keys[0].id, before.keys[0].public_key));
        assert_ne!(old.id, new.id);
        assert_eq!(old.until_unix_ns, Some(service.now().unix_ns));
        assert_eq!(old.from_unix_ns, before.keys[0].from_unix_ns);
        assert_eq!((new.from_unix_ns, new.until_unix_ns), (service.now().unix_ns, None));

        // Of the same line, by the new key; each is good with its own key and not with the other.
        let again = receipt_of(&mut service, &key, &job);
        assert_eq!((&again.entry, again.hash), (&first.entry, first.hash));
        assert_eq!((first.key, again.key), (old.id, new.id));
        assert_eq!(first.verify(&public_keys(&after)), Ok(()));
        assert_eq!(again.verify(&public_keys(&after)), Ok(()));
        assert!(first.verify(&[new.public_key]).is_err());
        assert!(again.verify(&[old.public_key]).is_err());
        let later = multiply(&mut service, &key);
        assert_eq!(receipt_of(&mut service, &key, &later).key, new.id);

        let Some(disk) = disk else { continue };
        // Of the secrets one is left, and it is the new one.
        let mut secrets = 0;
        let count = &mut |_: &[u8], _: &[u8]| {
            secrets += 1;
            true
        };
        service.volume().range(Table::Secrets, &[], None, count).expect("a sound volume");
        assert_eq!(secrets, 1);
        drop(service);
        let mut service = Service::on(&disk);
        assert_eq!(published(&mut service), after);
        assert_eq!(receipt_of(&mut service, &key, &job), again);
        drop(service);
        let volume = Volume::open(Box::new(disk), [1; 16], 1 << 20).expect("a sound volume");
        verify(&volume).expect("a sound ledger");
    }
}

#[test]
fn operators_alone_turn_to_another_key() {
    let mut service = Service::new();
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit", "read"]);
    let before = published(&mut service);
    expect(&service.post(&key, ROTATE, &json!({})), 403, "forbidden");
    expect(&service.post("", ROTATE, &json!({})), 401, "unauthorized");
    expect(&service.post(&operator, ROTATE, &json!({"now": true})), 422, "unknown-field");
    expect(&service.get(&operator, ROTATE), 405, "method-not-allowed");
    assert_eq!(published(&mut service), before);
}
