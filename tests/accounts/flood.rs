//! A flood of bad keys.

use gemmule::ledger::ApiKey;
use gemmule::limits::{BAD_KEY_DELAY_NS, BAD_KEY_SESSIONS_SHARE, BAD_KEYS_AT_ONCE};
use gemmule::server::Expired;

use super::service::{JOB, SESSIONS_MAX, Service, expect, reply, request};

#[test]
fn a_flood_of_bad_keys_waits_and_leaves_sessions_to_others() {
    let mut service = Service::new();
    let operator = service.operator();
    let good = service.account(&operator, "acme", &["submit"]);
    let bad = request(ApiKey::from_random([9; 32]).reveal(), "POST", "/v1/multiply", Some(JOB));
    let flooder = service.open();
    for _ in 0..BAD_KEYS_AT_ONCE {
        expect(&service.ask_on(flooder, &bad), 401, "unknown-key");
    }
    // Now one waits, and nothing more of it is read.
    let head_end = bad.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
    let two = [bad.as_slice(), &bad].concat();
    assert_eq!(service.send(flooder, &two), head_end);
    assert!(service.read(flooder).is_empty() && !service.server.wants_input(flooder));
    // So do others, up to a quarter of the sessions.
    let held_max = SESSIONS_MAX / BAD_KEY_SESSIONS_SHARE;
    for _ in 1..held_max {
        let id = service.open();
        service.send(id, &bad);
        assert!(service.read(id).is_empty() && !service.server.close_wanted(id));
    }
    let beyond = service.open();
    let last = service.ask_on(beyond, &bad);
    expect(&last, 401, "unknown-key");
    assert!(last.closes() && service.server.close_wanted(beyond));
    // A client with a key is served meanwhile, and one that is gone leaves its place.
    assert_eq!(service.multiply(&good).status, 200);
    service.server.gone(beyond);
    service.now_ns += BAD_KEY_DELAY_NS - 1;
    assert_eq!(service.server.expire(service.now()), None, "one nanosecond early");
    service.now_ns += 1;
    assert!(service.server.next_deadline_ns().is_some_and(|due_ns| due_ns <= service.now_ns));
    let mut told = 0;
    while let Some(expired) = service.server.expire(service.now()) {
        let Expired::Answered(id) = expired else { panic!("{expired:?}") };
        let bytes = service.read(id);
        expect(&reply(&bytes), 401, "unknown-key");
        told += 1;
    }
    assert_eq!(told, held_max);
    // Its connection goes on, with a key that is good.
    assert!(service.server.wants_input(flooder));
    let rest = service.send(flooder, &two[head_end..bad.len()]);
    assert_eq!(head_end + rest, bad.len());
    let job = request(&good, "POST", "/v1/multiply", Some(JOB));
    assert_eq!(service.ask_on(flooder, &job).status, 200);
}

#[test]
fn a_client_that_leaves_while_it_waits_makes_room() {
    let mut service = Service::new();
    let bad = request(ApiKey::from_random([9; 32]).reveal(), "POST", "/v1/multiply", Some(JOB));
    let flooder = service.open();
    for _ in 0..BAD_KEYS_AT_ONCE {
        service.ask_on(flooder, &bad);
    }
    for _ in 0..3 * SESSIONS_MAX {
        let id = service.open();
        service.send(id, &bad);
        assert!(service.read(id).is_empty() && !service.server.close_wanted(id));
        service.server.gone(id);
    }
}
