//! `GET /metrics`, read strictly, and what moves its counters.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Kernel, Peak, caches};
use gemmule::limits::HEAD_TIMEOUT_NS;
use gemmule::problem::ProblemKind;
use gemmule::server::{Access, Config, Expired, Server, SessionId};
use gemmule::time::Now;
use support::http::{Response, parse_response, write_job, write_request};

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

/// The samples of a page by series, labels included, times in nanoseconds. Every line must be one of
/// the format's, every sample behind the help and the type of its metric.
fn parse(page: &str) -> BTreeMap<String, u64> {
    assert!(page.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut helped, mut typed, mut is_histogram) = ("", "", false);
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && name.starts_with("gemmule_"), "{line}");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            assert!(families.insert(name), "{name} comes twice");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "the type stands behind the help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
            typed = name;
            is_histogram = kind == "histogram";
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let (family, is_sum) = match name.strip_prefix(typed) {
                Some("_bucket" | "_count") if is_histogram => (typed, false),
                Some("_sum") if is_histogram => (typed, true),
                _ => (name, false),
            };
            assert!(family == helped && family == typed, "{line} stands behind {helped}, {typed}");
            if !labels.is_empty() {
                check_labels(labels.strip_suffix('}').expect("the end of the labels"));
            }
            let is_time = is_sum || typed.ends_with("_seconds_total");
            let value = if is_time { nanoseconds(value) } else { value.parse().ok() };
            let value = value.unwrap_or_else(|| panic!("not a number: {line}"));
            assert_eq!(samples.insert(series.to_string(), value), None, "{series} comes twice");
        }
    }
    samples
}

/// A decimal number of seconds.
fn nanoseconds(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    format!("{whole}{fraction:0<9}").parse().ok()
}

/// `name="value",…`, no value with a comma or anything to be escaped.
fn check_labels(labels: &str) {
    let mut names = BTreeSet::new();
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').expect("a label has a value");
        assert!(is_name(name) && names.insert(name), "{labels}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        assert!(value.is_some_and(|value| !value.contains(['"', '\\'])), "{labels}");
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.starts_with(is_letter)
        && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
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
    let mut bench = Bench::new();
    bench.ask(&write_job("{\"a\":[[1]],\"b\":[[1]]}"));
    let page = bench.ask(&write_request("GET", "/metrics", &[], None));
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
