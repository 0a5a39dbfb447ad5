//! What the metrics tell of the ledger.

use super::{Count, Histogram, Page};
use crate::server::Server;
use crate::time::Now;

/// What is counted of the ledger from the start on.
#[derive(Debug, Default)]
pub struct LedgerCounters {
    /// From entries being taken to be committed to their being known to be durable: what a client
    /// waits for. The core has no clock that could tell the disk's own part of it.
    commits: Histogram,
    /// When the entries that are on their way were taken.
    taken_monotonic_ns: Option<u64>,
    corrections: Count,
    corrected_micros: Count,
}

impl LedgerCounters {
    /// Entries were taken to be committed.
    pub fn commit_begun(&mut self, now: Now) {
        self.taken_monotonic_ns = Some(now.monotonic_ns);
    }

    /// They are durable.
    pub fn commit_ended(&mut self, now: Now) {
        if let Some(taken_ns) = self.taken_monotonic_ns.take() {
            self.commits.add(now.monotonic_ns.saturating_sub(taken_ns));
        }
    }

    /// Part of a charge was given back.
    pub fn corrected(&mut self, amount_micros: u64) {
        self.corrections.add(1);
        self.corrected_micros.add(amount_micros);
    }
}

impl Server {
    pub(super) fn write_ledger(&self, page: &mut Page) {
        let (book, counters) = (&self.book, &self.counters.ledger);
        page.gauge("ledger_durable", "1 where the ledger is on a volume, 0 where it is in memory.")
            .value(book.volume().is_some().into());
        page.counter("ledger_entries_total", "Entries of the ledger that may be announced.")
            .value(book.durable_until());
        page.gauge("ledger_entries_waiting", "Entries that are not durable yet.")
            .value(book.sequence() - book.durable_until());
        page.counter(
            "ledger_commits_total",
            "Commits, each of all entries that had come together.",
        )
        .value(counters.commits.count());
        page.histogram(
            "ledger_commit_duration_seconds",
            "From entries being taken to be committed to their being durable.",
        )
        .times(&[], &counters.commits);
        if let Some(volume) = book.volume() {
            page.gauge("ledger_volume_used_bytes", "Bytes of the volume that are taken.")
                .value(volume.bytes());
            page.gauge("ledger_volume_max_bytes", "Bytes that it can grow to before it is full.")
                .value(volume.bytes_max());
            page.gauge("ledger_volume_full", "1 where no jobs are taken for want of room.")
                .value(volume.is_full().into());
        }
        page.counter("corrections_total", "Times that some of a job's charge was given back.")
            .value(counters.corrections.0);
        page.counter(
            "corrected_micros_total",
            "Amounts given back, in millionths of the currency unit.",
        )
        .sample(&[("currency", self.currency().as_str())], counters.corrected_micros.0);
    }
}
