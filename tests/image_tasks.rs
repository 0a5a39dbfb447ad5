//! The image with a disk: a job whose matrices are larger than its memory, which is cancelled, and
//! which goes on after the power was cut.

mod support;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::http::Client;
use support::vm::disk::Disk;
use support::vm::{Guest, Machine, Vm, VmOptions};

/// An emulator computes slowly, and hashes slowly.
const TIMEOUT: Duration = Duration::from_secs(240);
const MEMORY_MIB: u32 = 64;
/// A matrix of f64 with as many rows and columns has 72 MiB, more than the machine.
const EDGE: usize = 3072;
const DISK_BYTES: u64 = 1 << 30;

fn boot(disk: &Path) -> Vm {
    let options = VmOptions::new(Machine::Microvm, Guest::image(""));
    let disk = Some(disk.to_owned());
    Vm::boot(&VmOptions { memory_mib: MEMORY_MIB, disk, ..options })
}

fn ask(vm: &Vm, method: &str, target: &str, body: Option<&Value>) -> Value {
    let mut client = Client::connect(vm.addr(), TIMEOUT).expect("a connection");
    let body = body.map(|body| body.to_string());
    let fields = [("Content-Type", "application/json")];
    let reply = client.request(method, target, &fields, body.as_deref().map(str::as_bytes));
    let reply = reply.unwrap_or_else(|error| panic!("{error}\n{}", vm.describe()));
    assert!(matches!(reply.status, 200 | 202), "{}", reply.text());
    reply.json()
}

/// The sum of the product of a column and a row, and of that twice over.
fn job() -> Value {
    let column: Vec<Vec<i64>> = (0..EDGE).map(|at| vec![at as i64 % 7]).collect();
    let row: Vec<i64> = (0..EDGE).map(|at| at as i64 % 5).collect();
    json!({
        "operands": {"x": {"data": column}, "y": {"data": [row]}, "e": {"data": vec![[1]; EDGE]}},
        "expression": {"multiply": [{"transpose": "e"},
            {"add": [{"scale": {"of": {"multiply": ["x", "y"]}, "by": 2}}, {"multiply": ["x", "y"]}]}, "e"]},
    })
}

fn submit(vm: &Vm) -> String {
    let taken = ask(vm, "POST", "/v1/jobs", Some(&job()));
    taken["job"].as_str().expect("an id").to_owned()
}

/// Waits until a job says what is asked of it.
fn wait_for(vm: &Vm, job: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + TIMEOUT;
    loop {
        let status = ask(vm, "GET", &format!("/v1/jobs/{job}"), None);
        if is_so(&status) {
            return status;
        }
        let is_failed = status["state"] == "failed";
        assert!(!is_failed && Instant::now() < end, "{status}\n{}", vm.describe());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_job_larger_than_memory_is_cancelled_and_goes_on_after_a_power_cut() {
    let disk = Disk::new("tasks", DISK_BYTES);
    let mut vm = boot(&disk.0);
    let cancelled = submit(&vm);
    wait_for(&vm, &cancelled, |status| status["state"] == "running");
    ask(&vm, "POST", &format!("/v1/jobs/{cancelled}:cancel"), None);
    wait_for(&vm, &cancelled, |status| status["state"] == "cancelled");
    let job = submit(&vm);
    wait_for(&vm, &job, |status| status["flops_done"].as_u64() > Some(0));
    // By SIGKILL.
    drop(vm);
    vm = boot(&disk.0);
    let status = wait_for(&vm, &job, |status| status["state"] == "finished");
    assert_eq!(status["results"][0]["shape"], json!([1, 1]));
    let bill = ask(&vm, "GET", &format!("/v1/jobs/{job}/bill"), None);
    let usage = ask(&vm, "GET", "/v1/usage", None);
    assert_eq!(usage["total"]["amount_micros"], bill["amount_micros"], "{usage} {bill}");
    // What was cancelled costs nothing, and stays so.
    let state = ask(&vm, "GET", &format!("/v1/jobs/{cancelled}"), None);
    assert_eq!(state["state"], "cancelled");
    vm.powerdown().expect("the monitor answers");
    let ended = vm.wait(TIMEOUT).unwrap_or_else(|| panic!("it runs on\n{}", vm.describe()));
    assert_eq!(ended.code(), Some(0), "{}", vm.describe());
}
