//! A job that is killed again and again: it ends with the bits of one that was not, is billed once,
//! and does little twice.
//!
//! `KILLS=N` is how often, `SEED=N` repeats when.

mod support;

use std::env;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use gemmule::gemm::{Algorithm, Dtype};
use gemmule::large::{Gemm, Rules};
use gemmule::store::Layout;
use serde_json::{Value, json};

use support::host::Host;
use support::http::Client;
use support::random::Random;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Rows and columns of the matrices.
const EDGE: usize = 4096;
/// So little that a matrix lies in memory only in parts.
const MEMORY_BYTES: usize = 40 << 20;
const STEPS: u64 = 5;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A file that goes with this.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("gemmule-kills-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn serve(&self) -> Host {
        Host::serve(&["--data", self.0.to_str().expect("text"), "--threads", "2"])
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Powers of a matrix that is made of a column and a row.
fn job() -> Value {
    let column: Vec<Vec<i64>> = (0..EDGE).map(|at| vec![at as i64 * 37 % 9 - 4]).collect();
    let row: Vec<i64> = (0..EDGE).map(|at| at as i64 * 11 % 7 - 3).collect();
    json!({
        "operands": {"x": {"data": column}, "y": {"data": [row]}},
        "dtype": "f32",
        "memory_bytes": MEMORY_BYTES,
        "expression": {"power": {"of": {"scale": {"of": {"multiply": ["x", "y"]}, "by": 0.0001}},
            "exponent": 9}},
    })
}

fn submit(host: &Host) -> String {
    let mut client = Client::connect(host.addr(), TIMEOUT).expect("a connection");
    let fields = [("Content-Type", "application/json")];
    let taken = client.request("POST", "/v1/jobs", &fields, Some(job().to_string().as_bytes()));
    let taken = taken.expect("a reply");
    assert_eq!(taken.status, 202, "{}", taken.text());
    taken.json()["job"].as_str().expect("an id").to_owned()
}

fn get(host: &Host, target: &str) -> Value {
    let mut client = Client::connect(host.addr(), TIMEOUT).expect("a connection");
    let reply = client.get(target).expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn wait_for_end(host: &Host, job: &str) -> Value {
    let end = Instant::now() + 5 * TIMEOUT;
    loop {
        let status = get(host, &format!("/v1/jobs/{job}"));
        if status["state"] == "finished" {
            return status;
        }
        assert!(Instant::now() < end && status["state"] != "failed", "{status}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn flops_done(status: &Value) -> u64 {
    status["flops_done"].as_u64().expect("a number")
}

fn flops_of_done_steps(status: &Value) -> u64 {
    let steps = status["steps"].as_array().expect("steps").iter();
    let done = steps.filter(|step| step["state"] == "done");
    done.map(|step| step["flops"].as_u64().expect("a number")).sum()
}

/// The most operations that a part of the result can take that is computed as one.
fn block_flops() -> u64 {
    let layout = Layout { dtype: Dtype::F32, rows: EDGE, columns: EDGE };
    let gemm = Gemm {
        alpha: 1.0,
        beta: 0.0,
        transpose_a: false,
        transpose_b: false,
        algorithm: Algorithm::Classical,
    };
    let plan =
        gemm.problem(layout, layout, Rules::LATEST).plan(MEMORY_BYTES).expect("it is enough");
    let strips = plan.strips.iter().map(|strip| strip.range.len() * strip.block);
    2 * EDGE as u64 * strips.max().expect("there are strips") as u64
}

#[test]
fn a_job_that_is_killed_ends_with_the_same_bits_and_one_bill() {
    let kills = setting("KILLS", 4);
    let mut random = Random::new(setting("SEED", 1));
    let whole = Scratch::new("whole");
    let (expected, pause) = {
        let host = whole.serve();
        let start = Instant::now();
        let status = wait_for_end(&host, &submit(&host));
        (status["results"][0]["matrix"].clone(), start.elapsed() / (kills as u32 + 1))
    };
    let killed = Scratch::new("killed");
    let mut host = killed.serve();
    let job = submit(&host);
    let mut redone_max = 0;
    for _ in 0..kills {
        // So many kills in the time of one run, at any moment.
        thread::sleep(pause.mul_f64(random.below(2_000) as f64 / 1_000.0));
        let before = get(&host, &format!("/v1/jobs/{job}"));
        drop(host);
        host = killed.serve();
        if before["state"] == "finished" {
            continue;
        }
        // It goes on where it was, but for what was being computed: as soon as the step that it was
        // killed in is there again.
        let after = loop {
            let status = get(&host, &format!("/v1/jobs/{job}"));
            if status["state"] == "finished" || flops_done(&status) > flops_of_done_steps(&status) {
                break status;
            }
            thread::sleep(Duration::from_millis(1));
        };
        let redone = flops_done(&before).saturating_sub(flops_done(&after));
        redone_max = redone_max.max(redone);
        assert!(redone <= 2 * block_flops(), "{redone} of {before} are done again: {after}");
    }
    let status = wait_for_end(&host, &job);
    println!(
        "{kills} kills: at most {redone_max} operations done again, a part is {}",
        block_flops()
    );
    assert_eq!(status["results"][0]["matrix"], expected, "the same bits");
    let bill = get(&host, &format!("/v1/jobs/{job}/bill"));
    assert_eq!(bill["lines"].as_array().map(Vec::len), Some(STEPS as usize), "{bill}");
    let usage = get(&host, "/v1/usage");
    assert_eq!(usage["total"]["jobs"], json!(STEPS));
    assert_eq!(usage["total"]["amount_micros"], bill["amount_micros"]);
}
