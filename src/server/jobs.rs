//! Jobs on their way to the host's threads and back.

use alloc::sync::Arc;

use crate::billing::{Bill, MonthToDate};
use crate::gemm;
use crate::job::queue::AccountIndex;
use crate::job::{Done, Job, Outcome};
use crate::server::{Server, SessionId, replies};
use crate::time::Now;

impl Server {
    /// Whether [`Server::next_job`] has one: the host must not sleep before it has run it. Any
    /// input can bring one, and so can any reply that is taken: it lets a pipelined request in.
    pub fn has_ready_jobs(&self) -> bool {
        !self.ready_jobs.is_empty()
    }

    /// The next job to run, if one waits.
    pub fn next_job(&mut self) -> Option<Job> {
        while let Some(job) = self.ready_jobs.pop() {
            // One whose client is gone needs no run.
            if self.session(job.session).is_some() {
                self.jobs_out += 1;
                return Some(job);
            }
            self.note_gone(&job);
        }
        None
    }

    /// What it took to run, or to pass on, a job that was taken from here: accounts take turns by it.
    pub fn charge(&mut self, account: AccountIndex, work_ns: u64) {
        self.ready_jobs.charge(account, work_ns);
    }

    /// A finished job comes back: posts its bill and queues its reply. The session whose output
    /// that is, unless its client is gone.
    pub fn finish(&mut self, mut job: Job, now: Now) -> Option<SessionId> {
        self.jobs_out -= 1;
        let id = job.session;
        // A client that is gone gets no reply, and so no bill.
        let Some(session) = self.session_mut(id) else {
            self.note_gone(&job);
            return None;
        };
        let cancel = session.job.take();
        job.note_time(now.monotonic_ns);
        let job_id = job.id;
        let elapsed_ns = now.monotonic_ns.saturating_sub(job.received_ns);
        match job.take_outcome() {
            Outcome::Done(done) => {
                let Done { usage, written, reply, .. } = *done;
                let tariff = Arc::clone(&self.config.tariff);
                let amount_micros = tariff.amount_micros(&usage, MonthToDate::default());
                let bill = Bill::new(
                    job_id,
                    &usage,
                    tariff,
                    amount_micros,
                    gemm::Kernel::of_this_machine().name(),
                    elapsed_ns,
                    now.unix_ns,
                );
                self.print(bill.console_line());
                self.counters.billed(&usage, &bill);
                let response = replies::product(written, &reply, &bill)
                    .with_field("Server-Timing", &job.timing().field_value());
                self.bills.post(bill);
                self.counters.finished(elapsed_ns, job.timing());
                if self.is_to_seal(id, &response) {
                    job.seal(response);
                    self.session_mut(id)?.job = cancel;
                    self.ready_jobs.push(job.account(), job);
                    return None;
                }
                self.answer(id, response, now);
            }
            Outcome::Sealed(response) => self.answer(id, response, now),
            Outcome::Failed(problem) => {
                self.counters.jobs_failed.add(1);
                self.counters.finished(elapsed_ns, job.timing());
                self.refuse(id, problem, now);
            }
            Outcome::Cancelled => {
                self.counters.jobs_cancelled.add(1);
                return None;
            }
        }
        self.session_mut(id)?.reply_promise = Some(job.into_promise());
        self.note_progress(id, 0, now);
        Some(id)
    }

    /// Nobody waits for a job any more. One that is billed already counts as done.
    fn note_gone(&mut self, job: &Job) {
        if !job.is_done {
            self.counters.jobs_cancelled.add(1);
        }
    }
}
