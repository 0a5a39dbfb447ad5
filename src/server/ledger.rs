//! From a finished job to its entry in the ledger, and from a durable entry to the reply.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::billing::{Bill, JobId, Usage};
use crate::gemm::Kernel;
use crate::http::Response;
use crate::ledger::Digests;
use crate::ledger::book::Done;
use crate::ledger::entry::{Charge, Idempotency, Record};
use crate::ledger::hash::Hash;
use crate::ledger::journal::{Committed, Pending};
use crate::ledger::volume::VolumeError;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::Payer;
use crate::server::session::Session;
use crate::server::{Server, SessionId};
use crate::time::Now;

/// What waits for the ledger's entries to be durable.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    replies: Vec<WaitingReply>,
    /// In the order of their entries.
    pub bills: VecDeque<Bill>,
    /// Lines for the console, and the first entry that each does not rest on.
    lines: VecDeque<(u64, String)>,
}

#[derive(Debug)]
struct WaitingReply {
    session: SessionId,
    response: Response,
    /// Of the memory that the response holds.
    promise: Option<Promise>,
    /// The first entry that it does not rest on.
    until: u64,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.bills.is_empty() && self.lines.is_empty()
    }
}

/// What a finished job is charged for.
#[derive(Debug)]
pub(super) struct Finished {
    pub job: JobId,
    pub usage: Usage,
    pub digests: Digests,
    /// Of a request that named an idempotency key.
    pub fingerprint: Option<Hash>,
    /// What has multiplied.
    pub kernel: Kernel,
    pub elapsed_ns: u64,
}

impl Server {
    /// Whether entries wait for the next commit.
    pub fn has_pending(&self) -> bool {
        self.book.has_pending()
    }

    /// Entries that are to be made durable now; `None` while there are none, or while the last are
    /// on their way. The host commits them, and then calls [`Server::committed`]; where committing
    /// fails the host ends, since this memory is ahead of what will be read again.
    ///
    /// # Errors
    ///
    /// What the volume says: the host ends as well.
    pub fn take_pending(&mut self, now: Now) -> Result<Option<Pending>, VolumeError> {
        let pending = self.book.take_pending(now.unix_ns)?;
        if pending.is_some() {
            self.counters.ledger.commit_begun(now);
        }
        Ok(pending)
    }

    /// Entries have become durable: the sessions that have output now.
    pub fn committed(&mut self, committed: Committed, now: Now) -> Vec<SessionId> {
        self.book.committed(committed, now.unix_ns);
        self.counters.ledger.commit_ended(now);
        self.announce();
        let durable_until = self.book.durable_until();
        let mut sessions = Vec::new();
        let replies = core::mem::take(&mut self.waiting.replies);
        for reply in replies {
            if reply.until > durable_until {
                self.waiting.replies.push(reply);
                continue;
            }
            sessions.push(reply.session);
            self.answer_with(reply.session, reply.response, reply.promise, now);
        }
        self.tell_ended_tasks(now);
        self.release_spent(now);
        sessions
    }

    /// Makes the entry of a finished job, and its bill.
    pub(super) fn charge_job(&mut self, payer: Payer, finished: Finished, now: Now) -> Bill {
        let Finished { job, usage, digests, fingerprint, kernel, elapsed_ns } = finished;
        let state = self.book.account(payer.account);
        let tariff = &payer.tariff;
        let amount_micros = tariff.amount_micros(&usage, state.month_at(now.unix_ns).to_date());
        let whose = (state.account.id.clone(), job);
        let charge = Arc::new(Charge {
            kernel: kernel.name().into(),
            elapsed_us: elapsed_ns / 1_000,
            digests: Some(digests),
            idempotency: payer.idempotency(fingerprint).map(Box::new),
            ..Charge::of_usage(whose, &usage, tariff, amount_micros)
        });
        let sequence = self.book.record(now.unix_ns, Record::Charge(charge.clone()));
        if let Some(&Idempotency { key, fingerprint }) = charge.idempotency.as_deref() {
            self.book.note_done(key, Done { job, sequence, fingerprint }, now.unix_ns);
        }
        self.post(payer, charge.amount_micros, charge.flops);
        let bill = Bill { sequence, issued_unix_ns: now.unix_ns, charge, ledger: self.book.kind() };
        self.counters.billed(&usage, bill.charge.amount_micros);
        self.waiting.bills.push_back(bill.clone());
        self.announce();
        bill
    }

    /// Prints a line once all entries so far are durable.
    pub(super) fn print_when_durable(&mut self, line: String) {
        self.waiting.lines.push_back((self.book.sequence(), line));
        self.announce();
    }

    /// Bills whose entries are durable can be read, and are printed.
    pub(super) fn announce(&mut self) {
        let durable_until = self.book.durable_until();
        while let Some((_, line)) =
            self.waiting.lines.pop_front_if(|(until, _)| *until <= durable_until)
        {
            self.print(line);
        }
        while let Some(bill) = self.waiting.bills.pop_front_if(|it| it.sequence < durable_until) {
            self.print(bill.console_line());
            self.bills.post(bill);
        }
    }

    /// Answers with what rests on the ledger's entries before `until`: at once where they are
    /// durable, which returns true, else when they are.
    pub(super) fn answer_when_durable(
        &mut self,
        session: SessionId,
        response: Response,
        promise: Option<Promise>,
        until: u64,
        now: Now,
    ) -> bool {
        if until <= self.book.durable_until() {
            self.answer_with(session, response, promise, now);
            return true;
        }
        self.waiting.replies.push(WaitingReply { session, response, promise, until });
        false
    }

    fn answer_with(
        &mut self,
        id: SessionId,
        response: Response,
        promise: Option<Promise>,
        now: Now,
    ) {
        // One that was refused meanwhile, for what else it sent, has its answer.
        let is_open = |session: &Session| !session.connection.is_closing();
        if !self.session(id).is_some_and(is_open) {
            return;
        }
        self.answer(id, response, now);
        if let Some(session) = self.session_mut(id) {
            session.reply_promise = promise;
        }
        self.note_progress(id, 0, now);
    }

    /// The bill of a job, if its entry may be announced and is still known.
    pub(super) fn bill_of(&mut self, job: JobId) -> Result<Option<Bill>, Problem> {
        if let Some(bill) = self.bills.of_job(job) {
            return Ok(Some(bill.clone()));
        }
        let found = self.book.charge_of_job(job).map_err(|error| self.ledger_problem(&error))?;
        Ok(found.map(|(entry, charge)| Bill {
            sequence: entry.sequence,
            issued_unix_ns: entry.at_unix_ns,
            charge,
            ledger: self.book.kind(),
        }))
    }

    /// The volume can't be read: the operator reads why, the client that it was not its fault.
    pub(super) fn ledger_problem(&mut self, error: &VolumeError) -> Problem {
        self.print(alloc::format!("ledger: {error}"));
        Problem::new(ProblemKind::LedgerUnavailable, "the ledger can't be read now")
            .with_response_field("Retry-After", "5")
    }
}
