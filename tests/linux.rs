//! The Linux host as a process: many clients, bad clients, signals, jobs from files.

mod support;

use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs};

use support::clients::{
    outlast_bad_clients, serve_64_at_once, serve_during_a_long_job, serve_expanding,
    serve_pipelined,
};
use support::host::Host;
use support::http::Client;

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn sixty_four_clients_get_every_product_and_every_bill() {
    for threads in ["0", "2"] {
        let host = Host::serve(&["--threads", threads]);
        serve_64_at_once(host.addr(), 3_000);
        let bills = host.console().lines().filter(|line| line.starts_with("bill ")).count();
        assert!((1..=3_000).contains(&bills));
        host.terminate();
        assert!(host.wait(TIMEOUT).success());
    }
}

#[test]
fn pipelined_jobs_need_nothing_else_to_wake_the_server() {
    let host = Host::serve(&["--threads", "0"]);
    serve_pipelined(host.addr());
}

#[test]
fn bad_clients_are_freed_while_others_are_served() {
    let host = Host::serve(&[]);
    // Sockets of the loopback interface hold up to 10 MiB between them; this reply is 20.
    outlast_bad_clients(host.addr(), 1_000);
}

#[test]
fn a_long_job_does_not_starve_the_network() {
    for threads in ["0", "1"] {
        let host = Host::serve(&["--threads", threads]);
        serve_during_a_long_job(host.addr(), 700);
    }
}

#[test]
fn a_body_that_expands_much_comes_in_turns() {
    let host = Host::serve(&[]);
    serve_expanding(host.addr(), 64 << 20);
}

#[test]
fn clients_beyond_the_limit_wait_for_a_session() {
    let host = Host::serve(&["--sessions", "2"]);
    let connect = || Client::connect(host.addr(), TIMEOUT).expect("a connection");
    let (mut first, mut second, mut third) = (connect(), connect(), connect());
    first.get("/healthz").expect("a reply");
    second.get("/healthz").expect("a reply");
    third.send(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n").expect("the kernel takes it");
    drop(first);
    assert_eq!(third.receive().expect("a reply").status, 200);
}

#[test]
fn a_signal_lets_running_jobs_end_and_their_replies_out() {
    let host = Host::serve(&["--threads", "1"]);
    let mut client = Client::connect(host.addr(), TIMEOUT).expect("a connection");
    let head = "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
                Content-Length: 21\r\n\r\n";
    client.send(head.as_bytes()).expect("the server takes it");
    let mut other = Client::connect(host.addr(), TIMEOUT).expect("a connection");
    other.get("/healthz").expect("a reply");
    host.terminate();
    // The server closes what is idle, and waits for the request that is coming in.
    assert!(other.wait_closed().expect("the idle connection ends").is_empty());
    client.send(b"{\"a\":[[6]],\"b\":[[7]]}").expect("the server takes it");
    let reply = client.receive().expect("a reply");
    assert_eq!(reply.json()["c"][0][0], 42.0);
    assert!(reply.closes());
    assert!(host.wait(TIMEOUT).success());
}

#[test]
fn a_port_in_use_is_an_error_and_not_a_panic() {
    let host = Host::serve(&[]);
    let output = gemmule(&["serve", "--listen", &host.addr().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.starts_with("gemmule: listening on 127.0.0.1:"), "{error}");
}

#[test]
fn a_job_from_a_file_prints_its_product_and_bill() {
    let path = env::temp_dir().join(format!("gemmule-job-{}.json", std::process::id()));
    let file = path.to_str().expect("a path that is text");
    fs::write(&path, "{\"a\":[[1,2],[3,4]],\"b\":[[5,6],[7,8]]}").expect("a file");
    let good = gemmule(&["job", file]);
    fs::write(&path, "{\"a\":[[1,2],[3]],\"b\":[[5]]}").expect("a file");
    let ragged = gemmule(&["job", file]);
    fs::remove_file(&path).expect("the file is there");
    let gone = gemmule(&["job", file]);

    assert_eq!(good.status.code(), Some(0));
    let reply: serde_json::Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(reply["c"].to_string(), "[[19.0,22.0],[43.0,50.0]]");
    assert_eq!(reply["bill"]["flops"], 16);
    assert_eq!(ragged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ragged.stdout).contains("/problems/ragged-rows"));
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("No such file"));
}

#[test]
fn a_benchmark_measures_every_size_in_both_element_types() {
    // The last needs more memory than any machine has.
    let sizes = ["24x24x24", "30x1x40", "16777216x16777216x1"];
    let output =
        gemmule(&["bench", "--quick", "--size", "24", "--size", sizes[1], "--size", sizes[2]]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    let (head, table) = text.split_once("\n\n").expect("a head and a table");
    assert!(head.starts_with("gemmule ") && head.contains(" on linux: kernel "), "{head}");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = lines.next().expect("the columns' names").join(" ");
    assert_eq!(columns, "dtype threads m x n x k GFLOP/s peak share");
    // One thread, then all.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tables = [1, cores].into_iter().take(if cores > 1 { 2 } else { 1 });
    for (threads, dtype) in tables.flat_map(|threads| [(threads, "f64"), (threads, "f32")]) {
        for size in sizes {
            let line = lines.next().expect("a line for every size");
            assert_eq!(line[..3], [dtype, &threads.to_string(), size]);
            if size == sizes[2] {
                assert_eq!(line[3], "skipped:");
                continue;
            }
            let number = |text: &str| text.parse::<f64>().expect("a number");
            let (rate, peak) = (number(line[3]), number(line[4]));
            let share = number(line[5].strip_suffix('%').expect("a share"));
            assert!(rate > 0.0 && peak > 0.0, "{line:?}");
            // Both are rounded to hundredths of a GFLOP/s.
            let rounding = 100.0 * (0.01 / rate + 0.01 / peak) * rate / peak + 0.1;
            assert!((100.0 * rate / peak - share).abs() <= rounding, "{line:?}");
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn every_kernel_of_this_machine_multiplies_right() {
    let output = gemmule(&["check"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    let products = text.lines().filter(|line| line.ends_with(": 872 products exact")).count();
    let lacking = text.lines().filter(|line| line.ends_with(": not on this machine")).count();
    // Three instruction sets in two types each, and the fallback.
    assert_eq!(products + 2 * lacking, 8, "{text}");
}

#[test]
fn a_command_line_that_is_wrong_ends_with_a_reason_and_the_usage() {
    let output = gemmule(&["bench", "--size", "0"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.starts_with("gemmule: --size is \"0\", and should be "), "{error}");
    assert!(error.contains("Usage: "), "{error}");
}

fn gemmule(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gemmule")).args(arguments).output().expect("the binary runs")
}
