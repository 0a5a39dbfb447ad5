//! Jobs that end without a result: nobody is told of it before it is on the disk, and that is not
//! written where connections are served.

use gemmule::gemm::Alone;
use gemmule::job::Job;
use gemmule::limits::TASKS_RUNNING_MAX;
use gemmule::server::SessionId;
use serde_json::{Value, json};

use super::support::machine::Machine;
use super::support::power::{Cuts, Left, PowerCut};
use super::{MIB, SECOND_NS, START_NS, ask, chain, reply, send, settle, wait};

fn boot(disk: &PowerCut, unix_ns: u64) -> Machine {
    Machine::boot_with(disk, 256 * MIB, unix_ns).expect("it boots")
}

/// Sends a request for a job, and does what comes before it is taken; what is ready then.
fn submit(
    machine: &mut Machine,
    target: &str,
    fields: &[(&str, &str)],
    body: &Value,
) -> (SessionId, Option<Box<Job>>) {
    let session = send(machine, "POST", target, fields, Some(body));
    let mut submission = machine.server.next_job().expect("it is ready");
    while !submission.advance(&Alone, &|| false) {}
    machine.server.finish(submission, machine.now);
    (session, machine.server.next_job())
}

/// A job that waits for those before it, which are held.
#[expect(clippy::vec_box, reason = "they go back as they came")]
fn waiting(machine: &mut Machine) -> (String, Vec<Box<Job>>) {
    let mut held = Vec::new();
    loop {
        let (session, job) = submit(machine, "/v1/jobs", &[], &chain());
        let url = reply(machine, session).field("Location").expect("where it is").to_owned();
        match job {
            Some(job) => held.push(job),
            None => {
                assert_eq!(held.len(), TASKS_RUNNING_MAX);
                return (url, held);
            }
        }
    }
}

fn cancel(machine: &mut Machine, url: &str) -> SessionId {
    send(machine, "POST", &format!("{url}:cancel"), &[], None)
}

/// The status of a job, with nothing else done.
fn status(machine: &mut Machine, url: &str) -> Value {
    let session = send(machine, "GET", url, &[], None);
    reply(machine, session).json()
}

#[test]
fn a_job_is_cancelled_once_that_is_on_the_disk() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = boot(&disk, START_NS);
    let (url, _held) = waiting(&mut machine);
    let before = disk.moments();
    let asked = cancel(&mut machine, &url);
    assert_eq!(disk.moments(), before, "nothing is written where connections are served");
    assert_eq!(machine.read(asked), "", "it does not last yet");
    let again = cancel(&mut machine, &url);
    assert_eq!(reply(&mut machine, again).json()["state"], "waiting");
    let mut ending = machine.server.next_job().expect("it is ready");
    assert!(machine.server.next_job().is_none(), "it ends once, and does not begin");
    let not_ended = disk.found(Left::Nothing);
    while !ending.advance(&Alone, &|| false) {}
    let written = disk.moments();
    assert!(written > before);
    assert_eq!(status(&mut machine, &url)["state"], "waiting");
    let ended = disk.found(Left::Nothing);
    machine.server.finish(ending, machine.now);
    assert_eq!(disk.moments(), written);
    let told = reply(&mut machine, asked);
    assert_eq!((told.status, &told.json()["state"]), (200, &json!("cancelled")));
    for (found, state) in [(not_ended, "finished"), (ended, "cancelled")] {
        let mut machine = boot(&found, START_NS + SECOND_NS);
        settle(&mut machine);
        assert_eq!(status(&mut machine, &url)["state"], state);
    }
}

#[test]
fn a_power_cut_leaves_a_cancelled_job_with_its_operands_or_nothing_of_it() {
    let disk = PowerCut::file(64 * MIB as u64);
    let mut machine = boot(&disk, START_NS);
    let product = json!({"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]});
    let prefer = [("Prefer", "respond-async")];
    let (session, held) = submit(&mut machine, "/v1/multiply", &prefer, &product);
    let url = reply(&mut machine, session).field("Location").expect("where it is").to_owned();
    let mut held = held.expect("it begins");
    let asked = cancel(&mut machine, &url);
    assert_eq!(reply(&mut machine, asked).json()["state"], "running");
    while !held.advance(&Alone, &|| false) {}
    machine.server.finish(held, machine.now);
    let mut ending = machine.server.next_job().expect("it is ready");
    let cuts = Cuts::new(1, 1, 0);
    let place = url.clone();
    let _ = cuts.watch(disk, move |found| {
        let mut machine = boot(found, START_NS + SECOND_NS);
        settle(&mut machine);
        let status = ask(&mut machine, "GET", &place, None).json();
        match (status["state"].as_str(), machine.server.stored_bytes()) {
            // The result alone, in the least room that there is.
            (Some("finished"), 4096) | (Some("cancelled"), 0) => Ok(()),
            (_, bytes) => Err(format!("{bytes} bytes are stored, and {status}")),
        }
    });
    while !ending.advance(&Alone, &|| false) {}
    machine.server.finish(ending, machine.now);
    assert_eq!(status(&mut machine, &url)["state"], "cancelled");
    assert_eq!(machine.server.stored_bytes(), 0);
    let disks = cuts.result().unwrap_or_else(|error| panic!("{error}"));
    assert!(disks >= 3 * 6, "{disks}: the row and two operands, each written and flushed");
}

#[test]
fn those_who_wait_are_told_of_a_failure_once_it_is_on_the_disk() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = boot(&disk, START_NS);
    let mut late = chain();
    late["deadline_seconds"] = json!(10);
    let (session, held) = submit(&mut machine, "/v1/jobs", &[("Prefer", "wait=20")], &late);
    let mut held = held.expect("it begins");
    wait(&mut machine, 11);
    machine.server.expire(machine.now);
    let due_ns = machine.server.next_deadline_ns().expect("its client waits for so long at most");
    assert!(due_ns > machine.now.monotonic_ns, "there is nothing to do until it comes back");
    while !held.advance(&Alone, &|| false) {}
    let before = disk.moments();
    machine.server.finish(held, machine.now);
    assert_eq!((machine.read(session).as_str(), disk.moments()), ("", before));
    let mut ending = machine.server.next_job().expect("it is ready");
    while !ending.advance(&Alone, &|| false) {}
    machine.server.finish(ending, machine.now);
    let told = reply(&mut machine, session).json();
    assert_eq!((&told["state"], &told["flops_done"]), (&json!("failed"), &json!(0)));
    assert_eq!(told["problem"]["type"], "/problems/deadline-exceeded");
}

#[test]
fn an_end_that_can_not_be_written_is_none_and_is_tried_again() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = boot(&disk, START_NS);
    let (url, _held) = waiting(&mut machine);
    let asked = cancel(&mut machine, &url);
    let _ = disk.clone().cut_at(disk.moments() + 1);
    for tried in 0..2 {
        let mut ending = machine.server.next_job().unwrap_or_else(|| panic!("after {tried}"));
        while !ending.advance(&Alone, &|| false) {}
        machine.server.finish(ending, machine.now);
        assert_eq!(status(&mut machine, &url)["state"], "waiting");
        assert!(machine.server.next_job().is_none(), "it is not begun, nor tried at once");
        wait(&mut machine, 1);
        machine.server.expire(machine.now);
    }
    let refused = reply(&mut machine, asked);
    assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("5")));
    assert_eq!(refused.json()["type"], "/problems/storage-unavailable");
}

#[test]
fn a_machine_that_ends_writes_down_what_was_given_up() {
    let disk = PowerCut::device(96 * MIB);
    let mut machine = boot(&disk, START_NS);
    let mut late = chain();
    late["deadline_seconds"] = json!(10);
    let (session, held) = submit(&mut machine, "/v1/jobs", &[], &late);
    let url = reply(&mut machine, session).field("Location").expect("where it is").to_owned();
    let mut held = held.expect("it begins");
    machine.server.drain(machine.now);
    assert!(held.advance(&Alone, &|| false), "it is to go on another time");
    // Before anybody hears of that, its time is up.
    wait(&mut machine, 11);
    machine.server.expire(machine.now);
    machine.server.finish(held, machine.now);
    let mut ending = machine.server.next_job().expect("it is ready");
    while !ending.advance(&Alone, &|| false) {}
    assert!(!machine.server.is_drained(machine.now), "its end is out");
    machine.server.finish(ending, machine.now);
    machine.commit().expect("the volume takes it");
    assert!(machine.server.is_drained(machine.now));
    drop(machine);
    let mut machine = boot(&disk, START_NS + SECOND_NS);
    assert_eq!(status(&mut machine, &url)["state"], "failed");
}
