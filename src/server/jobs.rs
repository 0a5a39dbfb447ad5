//! Jobs on their way to the host's threads and back.

use alloc::boxed::Box;
use alloc::format;

use crate::billing::{Bill, JobId, Usage};
use crate::gemm::{self, Shape};
use crate::http::Response;
use crate::job::check::Checked;
use crate::job::queue::AccountIndex;
use crate::job::{Done, Job, Outcome};
use crate::ledger::Digests;
use crate::problem::{Problem, ProblemKind};
use crate::server::intake::{CHECK, CHECK_FIELD};
use crate::server::ledger::Finished;
use crate::server::{Server, SessionId, replies};
use crate::time::Now;

impl Server {
    /// Whether [`Server::next_job`] has one: the host must not sleep before it has run it. Any
    /// input can bring one, and so can any reply that is taken: it lets a pipelined request in.
    pub fn has_ready_jobs(&self) -> bool {
        !self.ready_jobs.is_empty()
    }

    /// The next job to run, if one waits.
    pub fn next_job(&mut self) -> Option<Box<Job>> {
        while let Some(job) = self.ready_jobs.pop() {
            // One whose client is gone needs no run.
            if job.is_task() || job.is_errand() || self.session(job.session).is_some() {
                self.jobs_out += 1;
                return Some(job);
            }
            self.note_gone(&job);
        }
        None
    }

    /// What it took to run, or to pass on, a job that was taken from here: accounts take turns by
    /// it.
    pub fn charge(&mut self, account: AccountIndex, work_ns: u64) {
        self.ready_jobs.charge(account, work_ns);
    }

    /// A finished job comes back: posts its bill and queues its reply. The session whose output
    /// that is, unless its client is gone.
    pub fn finish(&mut self, mut job: Box<Job>, now: Now) -> Option<SessionId> {
        self.jobs_out -= 1;
        if job.is_errand() {
            return self.finish_errand(job, now);
        }
        if job.is_task() {
            self.end_task(job, now);
            return None;
        }
        let id = job.session;
        // A client that is gone gets no reply, and so no bill.
        let Some(session) = self.session_mut(id) else {
            self.note_gone(&job);
            return None;
        };
        let cancel = session.job.take();
        job.note_time(now.monotonic_ns);
        let elapsed_ns = now.monotonic_ns.saturating_sub(job.received_ns);
        let response = match job.take_outcome() {
            Outcome::Done(done) => {
                self.counters.finished(elapsed_ns, job.timing());
                match self.reply_to_done(&mut job, *done, elapsed_ns, now) {
                    Ok(response) if self.is_to_seal(id, &response) => {
                        job.seal(response);
                        self.session_mut(id)?.job = cancel;
                        self.ready_jobs.push(job.account(), job);
                        return None;
                    }
                    Ok(response) => response,
                    Err(problem) => {
                        self.refuse(id, problem, now);
                        self.note_progress(id, 0, now);
                        return Some(id);
                    }
                }
            }
            Outcome::Sealed(response) => response,
            Outcome::Read(piece) => return self.take_piece(id, job, piece, now),
            Outcome::Failed(problem) if self.is_reading(id) => {
                return self.piece_failed(id, problem, now);
            }
            Outcome::Failed(problem) => {
                if problem.kind == ProblemKind::ArithmeticFault {
                    self.counters.checks_failed.add(1);
                    self.print(format!("fault job={}: {}", job.id, problem.detail));
                }
                self.counters.jobs_failed.add(1);
                self.counters.finished(elapsed_ns, job.timing());
                self.refuse(id, problem, now);
                self.session_mut(id)?.reply_promise = Some(job.into_promise());
                self.note_progress(id, 0, now);
                return Some(id);
            }
            Outcome::Task(_) => unreachable!("it is no session's"),
            Outcome::Errand(_) | Outcome::Taken(_) | Outcome::GivenUp(_) => {
                unreachable!("errands are finished elsewhere")
            }
            Outcome::Cancelled => {
                self.counters.jobs_cancelled.add(1);
                return None;
            }
        };
        let until = job.charged_until;
        let promise = Some(job.into_promise());
        self.answer_when_durable(id, response, promise, until, now).then_some(id)
    }

    /// An errand is done: its client, if it is still there, gets the reply.
    fn finish_errand(&mut self, mut job: Box<Job>, now: Now) -> Option<SessionId> {
        let (id, outcome) = (job.session, job.take_outcome());
        self.note_stored(now);
        self.bill_stored(id, job.account(), now);
        let outcome = match outcome {
            Outcome::Taken(taken) => return self.end_submission(id, *taken, now),
            Outcome::GivenUp(given_up) => return self.end_given_up(id, *given_up, now),
            outcome => outcome,
        };
        let cancel = self.session_mut(id)?.job.take();
        let Outcome::Errand(done) = outcome else { return None };
        match *done {
            Ok(response) if self.is_to_seal(id, &response) => {
                job.seal(response);
                self.session_mut(id)?.job = cancel;
                self.ready_jobs.push(job.account(), job);
                None
            }
            Ok(response) => {
                let until = job.charged_until;
                let promise = Some(job.into_promise());
                self.answer_when_durable(id, response, promise, until, now).then_some(id)
            }
            Err(problem) => {
                self.refuse(id, problem, now);
                self.note_progress(id, 0, now);
                Some(id)
            }
        }
    }

    /// Charges for what was done, unless it was charged for before, and makes the reply.
    fn reply_to_done(
        &mut self,
        job: &mut Job,
        done: Done,
        elapsed_ns: u64,
        now: Now,
    ) -> Result<Response, Problem> {
        let Done { usage, digests, fingerprint, kernel, checked, written, reply } = done;
        self.note_check(job.id, &usage, checked);
        let payer = job.take_payer().expect("a job is done once");
        let before = payer.done();
        let bill = match before {
            Some(before) => self.bill_of_retry(before.job, &digests)?,
            None => {
                let job = job.id;
                let finished = Finished { job, usage, digests, fingerprint, kernel, elapsed_ns };
                self.charge_job(payer, finished, now)
            }
        };
        job.is_done = true;
        job.charged_until = bill.sequence + 1;
        let mut response = replies::product(written, &reply, &bill)
            .with_field_of("Server-Timing", |text| job.timing().push_field_value(text));
        if checked != Checked::Not {
            response = response.with_field(CHECK_FIELD, CHECK);
        }
        Ok(replies::replayed_if(before.is_some(), response))
    }

    /// The bill of the request that this one repeats.
    ///
    /// # Errors
    ///
    /// A problem where the product has other bits now, so that the bill, which names them, would
    /// not be true of it: another kernel multiplies here than did then.
    fn bill_of_retry(&mut self, job: JobId, digests: &Digests) -> Result<Bill, Problem> {
        match self.bill_of(job)? {
            Some(bill)
                if bill.charge.digests.is_some_and(|before| before.result == digests.result) =>
            {
                Ok(bill)
            }
            Some(bill) => {
                let detail = alloc::format!(
                    "job {job} was multiplied by the kernel {}, whose bits this machine does not make",
                    bill.charge.kernel
                );
                Err(Problem::new(ProblemKind::ReplyChanged, detail))
            }
            None => {
                let detail = alloc::format!("the bill of job {job} is not kept any more");
                Err(Problem::new(ProblemKind::ReplyChanged, detail))
            }
        }
    }

    /// Counts what a check has said, and tells the console of a fault.
    fn note_check(&mut self, job: JobId, usage: &Usage, checked: Checked) {
        match checked {
            Checked::Not => {}
            Checked::Passed => self.counters.checks_passed.add(1),
            Checked::Recomputed { row } => {
                self.counters.checks_recomputed.add(1);
                let Shape { m, n, k } = usage.shape;
                let kernel = gemm::Kernel::of_this_machine();
                let (wrong, right) = (kernel.name(), kernel.to_compute_again().name());
                self.print(format!(
                    "fault job={job} m={m} n={n} k={k} dtype={}: row {row} was wrong by {wrong}, \
                     and right by {right}",
                    usage.dtype.name()
                ));
            }
        }
    }

    /// Nobody waits for a job any more. One that is billed already counts as done.
    fn note_gone(&mut self, job: &Job) {
        if !job.is_done {
            self.counters.jobs_cancelled.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
