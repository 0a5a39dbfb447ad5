//! `GET /metrics`: what the machine is and has done, in Prometheus's text format 0.0.4.
//!
//! Names follow Prometheus's conventions: the unit last, in base units, and `_total` behind what
//! only grows. A metric is added by a line in one of the lists below.
//! That of the ledger is in a file of its own.

mod histogram;

mod ledger;

mod page;

use alloc::collections::BTreeMap;

use alloc::string::{String, ToString};

use crate::billing::Usage;
use crate::gemm::{self, Dtype};
use crate::http::Response;
use crate::job::timing::{NAMES, Timing};
use crate::job::waiting::Waiting;
use crate::problem::ProblemKind;
use crate::server::Server;

pub(super) use histogram::Histogram;
use ledger::LedgerCounters;
use page::{CONTENT_TYPE, Page};

/// What is counted from the start on. A count that overflows begins again at zero, which readers
/// take for a restart.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub connections: Count,
    pub received_bytes: Count,
    pub sent_bytes: Count,
    pub jobs_done: Count,
    pub jobs_failed: Count,
    pub jobs_cancelled: Count,
    pub checks_passed: Count,
    pub checks_recomputed: Count,
    pub checks_failed: Count,
    /// Requests by the status of their answer.
    requests: BTreeMap<u16, Count>,
    problems: ProblemCounts,
    /// From a head that asks for a product to its answer.
    pub multiply_requests: Histogram,
    pub infer_requests: Histogram,
    /// From a request's last byte to its answer.
    jobs: Histogram,
    /// What all jobs did in that time, in nanoseconds, in the order of [`NAMES`].
    stages_ns: [Count; NAMES.len()],
    pub jobs_waiting: Waiting,
    flops_f64: Count,
    flops_f32: Count,
    bytes_in: Count,
    bytes_out: Count,
    amount_micros: Count,
    pub ledger: LedgerCounters,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count(u64);

/// By kind, in the order of their list.
#[derive(Debug)]
struct ProblemCounts([Count; ProblemKind::ALL.len()]);

impl Default for ProblemCounts {
    fn default() -> Self {
        Self([Count::default(); ProblemKind::ALL.len()])
    }
}

impl Count {
    pub fn add(&mut self, more: u64) {
        self.0 = self.0.wrapping_add(more);
    }
}

impl Counters {
    pub fn answered(&mut self, status: u16) {
        self.requests.entry(status).or_default().add(1);
    }

    /// A request was answered with a problem.
    pub fn refused(&mut self, kind: ProblemKind) {
        self.problems.0[kind as usize].add(1);
    }

    /// A job has ended and is answered.
    pub fn finished(&mut self, elapsed_ns: u64, timing: &Timing) {
        self.jobs.add(elapsed_ns);
        for (count, ns) in self.stages_ns.iter_mut().zip(timing.spent_ns()) {
            count.add(ns);
        }
    }

    /// A job is done, and its bill made out.
    pub fn billed(&mut self, usage: &Usage, amount_micros: u64) {
        self.jobs_done.add(1);
        match usage.dtype {
            Dtype::F64 => self.flops_f64.add(usage.flops),
            Dtype::F32 => self.flops_f32.add(usage.flops),
        }
        self.bytes_in.add(usage.bytes_in);
        self.bytes_out.add(usage.bytes_out);
        self.amount_micros.add(amount_micros);
    }
}

impl Server {
    pub(super) fn metrics(&self) -> Response {
        let mut page = Page::default();
        self.write_machine(&mut page);
        self.write_traffic(&mut page);
        self.write_work(&mut page);
        self.write_ledger(&mut page);
        let body = page.into_text().into_bytes().into();
        Response { status: 200, content_type: CONTENT_TYPE, fields: String::new(), body }
    }

    fn write_machine(&self, page: &mut Page) {
        let (config, caches) = (&self.config, gemm::caches());
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("platform", config.platform),
            ("kernel", gemm::Kernel::of_this_machine().name()),
        ];
        page.gauge("build_info", "What serves, and what multiplies.").sample(&build, 1);
        page.gauge("cache_bytes", "Data caches of a core, as the kernel uses them.")
            .sample(&[("level", "1")], caches.l1_bytes as u64)
            .sample(&[("level", "2")], caches.l2_bytes as u64);
        page.gauge("compute_threads", "Threads that multiply.").value(config.threads as u64);
        page.gauge("core_peak_flops_per_second", "The most that a core can do, measured at start.")
            .sample(&[("dtype", "f64")], config.peak.f64)
            .sample(&[("dtype", "f32")], config.peak.f32);
        page.gauge("memory_budget_bytes", "Memory for requests.")
            .value(self.memory.total_bytes() as u64);
        page.gauge("stored_bytes", "Room that matrices take which stay, or are coming in.")
            .value(self.store.bytes());
        page.gauge("stored_matrices", "Matrices that stay, of all accounts.")
            .value(self.store.count() as u64);
        page.gauge("uploads_open", "Uploads that are under way.")
            .value(self.matrices.uploads_open() as u64);
        page.gauge("memory_promised_bytes", "Memory that requests hold or may come to hold.")
            .value(self.memory.promised_bytes() as u64);
    }

    fn write_traffic(&self, page: &mut Page) {
        let counters = &self.counters;
        page.gauge("connections_max", "Connections that can be open at once.")
            .value(self.config.sessions_max as u64);
        page.gauge("connections_open", "Connections open now.").value(self.sessions.len() as u64);
        page.counter("connections_total", "Connections taken.").value(counters.connections.0);
        page.counter("received_bytes_total", "Bytes from clients, heads and framing included.")
            .value(counters.received_bytes.0);
        page.counter("sent_bytes_total", "Bytes to clients, heads and framing included.")
            .value(counters.sent_bytes.0);
        let mut requests =
            page.counter("http_requests_total", "Requests, by the status of their answer.");
        for (status, count) in &counters.requests {
            requests = requests.sample(&[("status", &status.to_string())], count.0);
        }
        let mut problems = page.counter("problems_total", "Answers that were a problem.");
        for kind in ProblemKind::ALL {
            let count = counters.problems.0[*kind as usize];
            problems = problems.sample(&[("type", kind.name())], count.0);
        }
        page.histogram(
            "http_request_duration_seconds",
            "From the head of a request to its answer, where it asks for a product.",
        )
        .times(&[("route", "/v1/multiply")], &counters.multiply_requests)
        .times(&[("route", "/v2/models/{model}/infer")], &counters.infer_requests);
    }

    fn write_work(&self, page: &mut Page) {
        let counters = &self.counters;
        page.gauge("jobs_in_progress", "Jobs that have come whole and have not ended.")
            .value((self.ready_jobs.len() + self.jobs_out) as u64);
        page.counter("jobs_total", "Jobs, by how they ended.")
            .sample(&[("end", "done")], counters.jobs_done.0)
            .sample(&[("end", "failed")], counters.jobs_failed.0)
            .sample(&[("end", "cancelled")], counters.jobs_cancelled.0);
        page.counter("checks_total", "Products whose residual was checked, by what came of it.")
            .sample(&[("verdict", "passed")], counters.checks_passed.0)
            .sample(&[("verdict", "recomputed")], counters.checks_recomputed.0)
            .sample(&[("verdict", "failed")], counters.checks_failed.0);
        page.gauge("jobs_waiting", "Jobs that nobody has begun to work on.")
            .value(counters.jobs_waiting.count() as u64);
        page.histogram(
            "job_duration_seconds",
            "From a request's last byte to the answer, where there is one.",
        )
        .times(&[], &counters.jobs);
        let mut stages = page.counter("job_seconds_total", "What jobs spent that time with.");
        for (name, count) in NAMES.into_iter().zip(counters.stages_ns) {
            stages = stages.seconds(&[("stage", name)], count.0);
        }
        page.counter("billed_flops_total", "Floating-point operations on bills.")
            .sample(&[("dtype", "f64")], counters.flops_f64.0)
            .sample(&[("dtype", "f32")], counters.flops_f32.0);
        page.counter("billed_bytes_total", "Bytes on bills.")
            .sample(&[("direction", "in")], counters.bytes_in.0)
            .sample(&[("direction", "out")], counters.bytes_out.0);
        page.counter(
            "billed_micros_total",
            "Amounts of bills, in millionths of the currency unit.",
        )
        .sample(&[("currency", self.currency().as_str())], counters.amount_micros.0);
    }
}
