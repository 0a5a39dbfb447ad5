//! `GET /metrics`, read strictly, and what moves its counters.

mod support;

#[path = "accounts/service.rs"]
#[allow(dead_code)]
mod service;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Kernel, Peak, caches};
use gemmule::ledger::{Batch, Table, Volume};
use gemmule::limits::HEAD_TIMEOUT_NS;
use gemmule::problem::ProblemKind;
use gemmule::server::{Access, Config, Expired, Server, SessionId};
use gemmule::time::Now;
use serde_json::json;
use service::{SECOND_NS, Service};
use support::http::{Response, parse_response, write_job, write_request};
use support::metrics::parse;
use support::power::PowerCut;

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 0 };
const PEAK: Peak = Peak { f64: 40_000_000_000, f32: 80_000_000_001 };
const MEMORY_BYTES: usize = 1 << 20;

/// A server, and one client that asks for the metrics.
struct Bench {
    server: Server,
    reader: SessionId,
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            memory_bytes: MEMORY_BYTES,
            sessions_max: 4,
            tariff: Tariff::standard().into(),
            access: Access::Anonymous,
            platform: "test",
            threads: 3,
            peak: PEAK,
        };
        let mut server = Server::new(config, [5; 32]);
        let reader = server.open(NOW).expect("a session is free");
        Self { server, reader }
    }

    fn run_jobs(&mut self) {
        while let Some(mut job) = self.server.next_job() {
            while !job.advance(&Alone, &|| false) {}
            self.server.finish(job, NOW);
        }
    }

    /// All that the client is sent.
    fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.server.output(self.reader).is_empty() {
            bytes.extend_from_slice(self.server.output(self.reader));
            self.server.sent(self.reader, self.server.output(self.reader).len(), NOW);
        }
        bytes
    }

    fn ask(&mut self, request: &[u8]) -> Response {
        assert_eq!(self.server.receive(self.reader, request, NOW), request.len());
        // Others' jobs wait while the metrics are read.
        if request.starts_with(b"POST ") {
            self.run_jobs();
        }
        let bytes = self.read();
        let is_head = request.starts_with(b"HEAD ");
        let reply = parse_response(&bytes, is_head, false).expect("a sound reply");
        let (response, length) = reply.expect("a whole reply");
        assert_eq!(length, bytes.len());
        response
    }

    fn metrics(&mut self) -> BTreeMap<String, u64> {
        let response = self.ask(&write_request("GET", "/metrics", &[], None));
        assert_eq!(response.status, 200);
        let content_type = response.field("Content-Type");
        assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
        parse(response.text())
    }
}

#[test]
fn the_machine_is_described() {
    let mut bench = Bench::new();
    let metrics = bench.metrics();
    let kernel = Kernel::of_this_machine().name();
    let version = env!("CARGO_PKG_VERSION");
    let build = format!(
        "gemmule_build_info{{version=\"{version}\",platform=\"test\",kernel=\"{kernel}\"}}"
    );
    for (series, value) in [
        (build.as_str(), 1),
        ("gemmule_cache_bytes{level=\"1\"}", caches().l1_bytes as u64),
        ("gemmule_cache_bytes{level=\"2\"}", caches().l2_bytes as u64),
        ("gemmule_compute_threads", 3),
        ("gemmule_core_peak_flops_per_second{dtype=\"f64\"}", PEAK.f64),
        ("gemmule_core_peak_flops_per_second{dtype=\"f32\"}", PEAK.f32),
        ("gemmule_memory_budget_bytes", MEMORY_BYTES as u64),
        ("gemmule_memory_promised_bytes", 0),
        ("gemmule_connections_max", 4),
        ("gemmule_connections_open", 1),
    ] {
        assert_eq!(metrics.get(series), Some(&value), "{series}");
    }

    let version = bench.ask(&write_request("GET", "/v1/version", &[], None)).json();
    assert_eq!(version["threads"], 3);
    assert_eq!(version["caches"]["l1_bytes"], caches().l1_bytes);
    assert_eq!(version["caches"]["l2_bytes"], caches().l2_bytes);
    assert_eq!(version["core_peak_flops_per_second"]["f64"], PEAK.f64);
    assert_eq!(version["core_peak_flops_per_second"]["f32"], PEAK.f32);
}

#[test]
fn counters_move_with_what_is_done() {
    let mut bench = Bench::new();
    let before = bench.metrics();
    let good = "{\"a\":[[1,2]],\"b\":[[3],[4]]}";
    let single = "{\"a\":[[1,2]],\"b\":[[3],[4]],\"alpha\":2,\"dtype\":\"f32\"}";
    let mut asked = 0;
    for (body, status) in [(good, 200), (single, 200), ("{\"a\":[[1]]}", 422)] {
        let request = write_job(body);
        assert_eq!(bench.ask(&request).status, status);
        asked += request.len();
    }
    // One whose client is gone while it runs, and one whose client is gone before.
    let gone = bench.server.open(NOW).expect("a session is free");
    bench.server.receive(gone, &write_job(good), NOW);
    let mut job = bench.server.next_job().expect("a job");
    // The host may let it wait, too.
    assert_eq!(bench.metrics()["gemmule_jobs_waiting"], 1);
    job.advance(&Alone, &|| true);
    assert_eq!(bench.metrics()["gemmule_jobs_waiting"], 0);
    bench.server.gone(gone);
    assert_eq!(bench.server.finish(job, NOW), None);
    let gone = bench.server.open(NOW).expect("a session is free");
    bench.server.receive(gone, &write_job(good), NOW);
    let waiting = bench.metrics();
    assert_eq!(waiting["gemmule_jobs_in_progress"], 1);
    assert_eq!(waiting["gemmule_jobs_waiting"], 1);
    assert!(waiting["gemmule_memory_promised_bytes"] > 0);
    bench.server.gone(gone);
    assert!(bench.server.next_job().is_none());
    asked += 2 * write_job(good).len();

    let after = bench.metrics();
    let readings = 4 * write_request("GET", "/metrics", &[], None).len();
    for (series, more) in [
        ("gemmule_jobs_total{end=\"done\"}", 2),
        ("gemmule_jobs_total{end=\"failed\"}", 1),
        ("gemmule_jobs_total{end=\"cancelled\"}", 2),
        ("gemmule_checks_total{verdict=\"passed\"}", 0),
        ("gemmule_checks_total{verdict=\"recomputed\"}", 0),
        ("gemmule_checks_total{verdict=\"failed\"}", 0),
        ("gemmule_billed_flops_total{dtype=\"f64\"}", 4),
        ("gemmule_billed_flops_total{dtype=\"f32\"}", 5),
        ("gemmule_billed_bytes_total{direction=\"in\"}", (good.len() + single.len()) as u64),
        ("gemmule_billed_bytes_total{direction=\"out\"}", 2 * "[[11.0]]".len() as u64),
        ("gemmule_billed_micros_total{currency=\"EUR\"}", 2),
        ("gemmule_connections_total", 2),
        ("gemmule_connections_open", 0),
        // A page is written before the request for it is counted.
        ("gemmule_received_bytes_total", (asked + readings) as u64),
    ] {
        assert_eq!(after[series] - before[series], more, "{series}");
    }
    assert_eq!(after["gemmule_http_requests_total{status=\"200\"}"], 6);
    assert_eq!(after["gemmule_http_requests_total{status=\"422\"}"], 1);
    assert_eq!(after["gemmule_jobs_in_progress"], 0);
    assert_eq!(after["gemmule_jobs_waiting"], 0);
    assert_eq!(after["gemmule_memory_promised_bytes"], 0);
    assert!(after["gemmule_sent_bytes_total"] > before["gemmule_sent_bytes_total"]);
}

#[test]
fn problems_are_counted_by_type_wherever_they_are_found() {
    let mut bench = Bench::new();
    let before = bench.metrics();
    assert_eq!(
        before.keys().filter(|series| series.starts_with("gemmule_problems_total{")).count(),
        ProblemKind::ALL.len(),
    );
    // In the head, in the job, on a path that needs no job, and in what is not HTTP at all.
    for request in [
        write_request("GET", "/nowhere", &[], None),
        write_request("POST", "/v1/multiply", &[], Some(b"")),
        write_job("{\"a\":[[1]]}"),
        write_job("{\"a\":[[1]]}"),
        write_request("GET", "/v1/jobs/00000000000000000000000000000000/bill", &[], None),
        write_request("GET", "/v2/models/none", &[], None),
    ] {
        assert!(bench.ask(&request).status >= 400);
    }
    let other = bench.server.open(NOW).expect("a session is free");
    bench.server.receive(other, b"\x16\x03\x01", NOW);
    let slow = bench.server.open(NOW).expect("a session is free");
    bench.server.receive(slow, b"GET", NOW);
    let later = Now { monotonic_ns: HEAD_TIMEOUT_NS, ..NOW };
    assert_eq!(bench.server.expire(later), Some(Expired::Answered(slow)));

    let after = bench.metrics();
    for kind in ProblemKind::ALL {
        let series = format!("gemmule_problems_total{{type=\"{}\"}}", kind.name());
        let expected = match kind {
            ProblemKind::MissingField => 2,
            ProblemKind::UnknownPath
            | ProblemKind::UnsupportedMediaType
            | ProblemKind::UnknownJob
            | ProblemKind::UnknownModel
            | ProblemKind::MalformedRequest
            | ProblemKind::RequestTimeout => 1,
            _ => 0,
        };
        assert_eq!(after[&series] - before[&series], expected, "{series}");
    }
}

#[test]
fn times_are_from_the_head_and_from_the_last_byte() {
    const MS: u64 = 1_000_000;
    let at = |ms| Now { monotonic_ns: ms * MS, unix_ns: 0 };
    let mut bench = Bench::new();
    let request = write_job("{\"a\":[[1]],\"b\":[[1]]}");
    let (head, body) = request.split_at(request.len() - 1);
    bench.server.receive(bench.reader, head, at(1));
    bench.server.receive(bench.reader, body, at(4));
    let mut job = bench.server.next_job().expect("a job");
    job.note_time(at(5).monotonic_ns);
    while !job.advance(&Alone, &|| false) {}
    bench.server.finish(job, at(6));
    bench.read();
    // One that is refused has a time as well, but no job.
    bench.ask(&write_request("POST", "/v1/multiply", &[], Some(b"")));

    let metrics = bench.metrics();
    let (request, job) = ("gemmule_http_request_duration_seconds", "gemmule_job_duration_seconds");
    for (series, expected) in [
        (format!("{request}_sum{{route=\"/v1/multiply\"}}"), 5 * MS),
        (format!("{request}_count{{route=\"/v1/multiply\"}}"), 2),
        (format!("{request}_bucket{{route=\"/v1/multiply\",le=\"0.0025\"}}"), 1),
        (format!("{request}_bucket{{route=\"/v1/multiply\",le=\"0.01\"}}"), 2),
        (format!("{request}_bucket{{route=\"/v1/multiply\",le=\"+Inf\"}}"), 2),
        (format!("{job}_sum"), 2 * MS),
        (format!("{job}_count"), 1),
        (format!("{job}_bucket{{le=\"0.001\"}}"), 0),
        (format!("{job}_bucket{{le=\"0.0025\"}}"), 1),
        (format!("{job}_bucket{{le=\"+Inf\"}}"), 1),
        ("gemmule_job_seconds_total{stage=\"queue\"}".into(), MS),
        ("gemmule_job_seconds_total{stage=\"parse\"}".into(), MS),
        ("gemmule_job_seconds_total{stage=\"gemm\"}".into(), 0),
        ("gemmule_job_seconds_total{stage=\"proof\"}".into(), 0),
        ("gemmule_job_seconds_total{stage=\"encode\"}".into(), 0),
    ] {
        assert_eq!(metrics.get(&series), Some(&expected), "{series}");
    }
}

#[test]
fn prometheus_accepts_the_page() {
    // With a volume, of which there is more to tell.
    let mut service = Service::on(&PowerCut::file(1 << 30));
    let page = service.get("", "/metrics");
    let mut promtool = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell runs");
    // Closing its input ends the page.
    promtool.stdin.take().expect("a pipe").write_all(&page.body).expect("it reads the page");
    let output = promtool.wait_with_output().expect("promtool ends");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn head_gets_the_head_alone_and_other_methods_are_refused() {
    let mut bench = Bench::new();
    let head = bench.ask(&write_request("HEAD", "/metrics", &[], None));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.field("Content-Length").is_some_and(|length| length != "0"));
    let options = bench.ask(&write_request("OPTIONS", "/metrics", &[], None));
    assert_eq!((options.status, options.field("Allow")), (204, Some("GET, HEAD, OPTIONS")));
    let post = bench.ask(&write_request("POST", "/metrics", &[], Some(b"")));
    assert_eq!((post.status, post.field("Allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn a_machine_that_drains_still_tells() {
    let mut bench = Bench::new();
    let request = write_request("GET", "/metrics", &[], None);
    // A connection with nothing asked is closed by a drain, so one byte is there before.
    bench.server.receive(bench.reader, &request[..1], NOW);
    bench.server.drain(NOW);
    bench.server.receive(bench.reader, &request[1..], NOW);
    assert!(bench.read().starts_with(b"HTTP/1.1 200 "));
}

fn metrics_of(service: &mut Service) -> BTreeMap<String, u64> {
    parse(service.get("", "/metrics").text())
}

#[test]
fn commits_are_counted_and_timed_by_what_the_host_says() {
    let disk = PowerCut::file(1 << 30);
    let mut service = Service::on(&disk);
    let operator = service.operator();
    let key = service.account(&operator, "acme", &["submit"]);
    let before = metrics_of(&mut service);
    let bytes_max = before["gemmule_ledger_volume_max_bytes"];
    let used_bytes = before["gemmule_ledger_volume_used_bytes"];
    assert!(0 < used_bytes && used_bytes < bytes_max && bytes_max < 1 << 30, "{before:?}");

    // Three jobs share a commit that takes two seconds, and a fourth waits for the next.
    let multiply = |service: &mut Service| {
        let id = service.open();
        service.send(id, &service::request(&key, "POST", "/v1/multiply", Some(service::JOB)));
        while let Some(mut job) = service.server.next_job() {
            while !job.advance(&Alone, &|| false) {}
            service.server.finish(job, service.now());
        }
    };
    for _ in 0..3 {
        multiply(&mut service);
    }
    let now = service.now();
    let pending = service.server.take_pending(now).expect("a sound volume").expect("entries");
    multiply(&mut service);
    service.pass_seconds(2);
    let asked = service.open();
    service.send(asked, &write_request("GET", "/metrics", &[], None));
    let mut page = Vec::new();
    while !service.server.output(asked).is_empty() {
        page.extend_from_slice(service.server.output(asked));
        service.server.sent(asked, service.server.output(asked).len(), service.now());
    }
    let page = parse_response(&page, false, false).expect("a sound reply").expect("whole").0;
    let now_waiting = parse(page.text())["gemmule_ledger_entries_waiting"];
    assert_eq!(now_waiting, 4);
    let committed = pending.commit(service.volume()).expect("there is power");
    service.server.committed(committed, service.now());
    let first = metrics_of(&mut service);
    service.commit();
    let second = metrics_of(&mut service);

    for (series, in_first, in_second) in [
        ("gemmule_ledger_entries_total", 3, 1),
        ("gemmule_ledger_commits_total", 1, 1),
        ("gemmule_ledger_commit_duration_seconds_count", 1, 1),
        ("gemmule_ledger_commit_duration_seconds_sum", 2 * SECOND_NS, 0),
        ("gemmule_ledger_commit_duration_seconds_bucket{le=\"1\"}", 0, 1),
        ("gemmule_ledger_commit_duration_seconds_bucket{le=\"2.5\"}", 1, 1),
    ] {
        assert_eq!(first[series] - before[series], in_first, "{series}");
        assert_eq!(second[series] - first[series], in_second, "{series}");
    }
    assert_eq!(first["gemmule_ledger_entries_waiting"], 1);
    assert_eq!(second["gemmule_ledger_entries_waiting"], 0);
}

#[test]
fn the_ledger_says_what_it_is_and_what_was_given_back() {
    let disk = PowerCut::device(gemmule::ledger::volume::DISK_BYTES_MIN as usize);
    for is_durable in [true, false] {
        let mut service = if is_durable { Service::on(&disk) } else { Service::new() };
        let operator = service.operator();
        let key = service.account(&operator, "acme", &["submit"]);
        let tariff = json!({
            "name": "standard", "version": 2, "currency": "EUR",
            "micros_per_tflop_f64": 0, "micros_per_tflop_f32": 0,
            "micros_per_gb_in": 0, "micros_per_gb_out": 0,
            "job_micros_min": 90, "in_force_from_unix_s": service.now().unix_ns / SECOND_NS + 1,
        });
        service.change(&operator, "/v1/admin/tariffs", tariff);
        service.pass_seconds(2);
        let job = service.multiply(&key).json()["bill"]["job"].take();
        for micros in [50, 7] {
            let body = json!({"job": job, "amount_micros": micros, "reason": "late"});
            service.change(&operator, "/v1/admin/corrections", body);
        }
        // One that is refused gives nothing back.
        let body = json!({"job": job, "amount_micros": 34, "reason": "late"});
        assert_eq!(service.post(&operator, "/v1/admin/corrections", &body).status, 422);

        let metrics = metrics_of(&mut service);
        for (series, value) in [
            ("gemmule_ledger_durable", u64::from(is_durable)),
            ("gemmule_ledger_entries_waiting", 0),
            ("gemmule_corrections_total", 2),
            ("gemmule_corrected_micros_total{currency=\"EUR\"}", 57),
            ("gemmule_billed_micros_total{currency=\"EUR\"}", 90),
        ] {
            assert_eq!(metrics[series], value, "{series}");
        }
        let of_volume = metrics.keys().filter(|name| name.starts_with("gemmule_ledger_volume_"));
        assert_eq!(of_volume.count(), if is_durable { 3 } else { 0 });
        let commits = metrics["gemmule_ledger_commits_total"];
        assert_eq!(commits > 0, is_durable);
        assert!(metrics["gemmule_ledger_entries_total"] > commits);
        if is_durable {
            assert_eq!(metrics["gemmule_ledger_volume_full"], 0);
            fill(service.volume());
            assert_eq!(metrics_of(&mut service)["gemmule_ledger_volume_full"], 1);
        }
    }
}

/// Leaves the reserve alone.
fn fill(volume: &Volume) {
    for number in 0_u64.. {
        if volume.is_full() {
            return;
        }
        let mut batch = Batch::default();
        batch.put(Table::Meta, number.to_be_bytes(), vec![0; 60_000]);
        volume.commit(&batch).expect("the reserve takes what was begun");
    }
}
