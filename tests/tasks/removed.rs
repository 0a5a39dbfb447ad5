//! Matrices that are removed while jobs need them.

use gemmule::gemm::Alone;
use gemmule::job::Job;
use serde_json::{Value, json};

use super::support::machine::Machine;
use super::support::power::PowerCut;
use super::{MIB, SECOND_NS, START_NS, ask, machine, reply, send, settle, wait};

/// The least room that a matrix takes.
const ROOM: u64 = 4096;

/// Stores a matrix, and finds where it is.
fn store(machine: &mut Machine, query: &str) -> String {
    let body = json!([[1, 2], [3, 4]]);
    let stored = ask(machine, "POST", &format!("/v1/matrices?{query}"), Some(&body));
    assert_eq!(stored.status, 201, "{}", stored.text());
    stored.field("Location").expect("where it is").to_owned()
}

/// Has its square computed, and keeps the job that does it from the threads: where it is.
fn square(machine: &mut Machine, path: &str) -> (String, Box<Job>) {
    let id = path.rsplit('/').next().expect("an address");
    let job = json!({"operands": {"A": {"matrix": id}}, "expression": {"multiply": ["A", "A"]}});
    let session = send(machine, "POST", "/v1/jobs", &[], Some(&job));
    loop {
        let mut next = machine.server.next_job().expect("it is ready");
        if !machine.server.output(session).is_empty() {
            let taken = reply(machine, session);
            assert_eq!(taken.status, 202, "{}", taken.text());
            return (taken.field("Location").expect("where it is").to_owned(), next);
        }
        while !next.advance(&Alone, &|| false) {}
        machine.server.finish(next, machine.now);
    }
}

fn finish(machine: &mut Machine, mut job: Box<Job>) {
    while !job.advance(&Alone, &|| false) {}
    machine.server.finish(job, machine.now);
    settle(machine);
}

fn status(machine: &mut Machine, url: &str) -> Value {
    ask(machine, "GET", url, None).json()
}

fn assert_is_removed(machine: &mut Machine, path: &str) {
    assert_eq!(ask(machine, "GET", path, None).status, 404);
    let kept = ask(machine, "GET", "/v1/matrices", None).json();
    assert_eq!((&kept["count"], &kept["bytes"]), (&json!(0), &json!(0)), "nor billed");
    assert_eq!(ask(machine, "GET", "/v1/references/m", None).status, 404);
}

#[test]
fn what_is_removed_stays_for_the_jobs_that_need_it() {
    let mut machine = machine();
    let path = store(&mut machine, "name=m");
    let (first, held) = square(&mut machine, &path);
    let (second, other) = square(&mut machine, &path);
    assert_eq!(ask(&mut machine, "DELETE", &path, None).status, 204);
    assert_is_removed(&mut machine, &path);
    assert_eq!(ask(&mut machine, "DELETE", &path, None).status, 404, "for its client it is gone");
    finish(&mut machine, held);
    let done = status(&mut machine, &first);
    assert_eq!(done["state"], "finished", "{done}");
    assert_eq!(machine.server.stored_bytes(), 2 * ROOM, "the other needs it still");
    finish(&mut machine, other);
    let done = status(&mut machine, &second);
    assert_eq!(done["state"], "finished", "{done}");
    assert_eq!(machine.server.stored_bytes(), ROOM, "the result alone");
}

#[test]
fn it_goes_with_a_job_that_is_given_up() {
    let mut machine = machine();
    let path = store(&mut machine, "name=m");
    let (url, held) = square(&mut machine, &path);
    assert_eq!(ask(&mut machine, "DELETE", &path, None).status, 204);
    let cancelled = ask(&mut machine, "POST", &format!("{url}:cancel"), None);
    assert_eq!((cancelled.status, machine.server.stored_bytes()), (200, ROOM));
    finish(&mut machine, held);
    assert_eq!(status(&mut machine, &url)["state"], "cancelled");
    assert_eq!((machine.server.stored_bytes(), machine.server.promised_bytes()), (0, 0));
}

#[test]
fn it_stays_when_its_time_is_up() {
    let mut machine = machine();
    let path = store(&mut machine, "name=m&ttl_seconds=60");
    let (url, held) = square(&mut machine, &path);
    wait(&mut machine, 61);
    settle(&mut machine);
    assert_is_removed(&mut machine, &path);
    finish(&mut machine, held);
    let done = status(&mut machine, &url);
    assert_eq!(done["state"], "finished", "{done}");
    assert_eq!(machine.server.stored_bytes(), ROOM);
}

#[test]
fn it_is_there_for_the_machine_that_goes_on() {
    let disk = PowerCut::device(96 * MIB);
    let (path, url) = {
        let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS).expect("it boots");
        let path = store(&mut machine, "name=m");
        let (url, _held) = square(&mut machine, &path);
        assert_eq!(ask(&mut machine, "DELETE", &path, None).status, 204);
        (path, url)
    };
    let mut machine = Machine::boot_with(&disk, 256 * MIB, START_NS + SECOND_NS).expect("it boots");
    assert_eq!(machine.server.stored_bytes(), ROOM);
    settle(&mut machine);
    let done = status(&mut machine, &url);
    assert_eq!(done["state"], "finished", "{done}");
    assert_eq!(ask(&mut machine, "GET", &path, None).status, 404);
    assert_eq!(machine.server.stored_bytes(), ROOM, "the result alone");
}

#[test]
fn what_is_stored_again_is_another() {
    let mut machine = machine();
    let path = store(&mut machine, "name=m");
    let (_, held) = square(&mut machine, &path);
    assert_eq!(ask(&mut machine, "DELETE", &path, None).status, 204);
    assert_eq!(store(&mut machine, ""), path);
    finish(&mut machine, held);
    let kept = ask(&mut machine, "GET", "/v1/matrices", None).json();
    assert_eq!(kept["count"], 2);
    assert_eq!(machine.server.stored_bytes(), 2 * ROOM, "the matrix and its square");
}
