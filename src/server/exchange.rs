//! One exchange: from the head of a request to the answer that is queued.

use rand_chacha::rand_core::RngCore;

use crate::api::{Route, SmallBody};
use crate::billing::JobId;
use crate::http::digest::{self, DigestCheck, MalformedDigest};
use crate::http::{RequestHead, Response, prefer, trace};
use crate::inference::{self, Call};
use crate::job::{CancelFlag, Job, Origin, Request};
use crate::ledger::allowance::LimitReached;
use crate::limits::SMALL_JOB_BYTES;
use crate::problem::{Problem, ProblemKind};
use crate::server::payer::Payer;
use crate::server::session::Pending;
use crate::server::{Server, SessionId};
use crate::time::Now;

impl Server {
    pub(super) fn begin_request(&mut self, id: SessionId, head: &RequestHead, now: Now) {
        let mut fields = self.cors.response_fields(head);
        if let Some(traceparent) = trace::traceparent(head) {
            fields.push(("traceparent", traceparent));
        }
        if let Some(session) = self.session_mut(id) {
            session.connection.add_response_fields(fields);
            session.is_inference = inference::is_path(&head.path);
            session.digest_wanted = digest::is_wanted(head);
        }
        match Route::find(head).and_then(|route| self.begin(id, &route, head, now)) {
            Ok(None) => {}
            Ok(Some((response, until))) => {
                self.answer_when_durable(id, response, None, until, now);
            }
            Err(problem) if problem.kind.status() == 401 => self.refuse_key(id, problem, now),
            Err(problem) => self.refuse(id, problem, now),
        }
    }

    /// Answers what needs no body, and from which entry of the ledger on the answer does not rest
    /// on it; `None` where the body is to be read first.
    fn begin(
        &mut self,
        id: SessionId,
        route: &Route,
        head: &RequestHead,
        now: Now,
    ) -> Result<Option<(Response, u64)>, Problem> {
        let caller = self.caller(head, route.needs(), now)?;
        if let (Some(session), Some(caller)) = (self.session_mut(id), caller) {
            session.account = Some(caller.account);
        }
        let model = match route {
            Route::Multiply => None,
            Route::Inference(Call::Infer(model)) => Some(*model),
            Route::Admin(path) => {
                let response = self.reply_admin(path, &head.query, now)?;
                return Ok(Some((response, self.book.sequence())));
            }
            Route::Matrices(call) => {
                let caller = caller.expect("matrices need a scope");
                let response = self.begin_matrices(id, call, head, caller, now)?;
                return Ok(response.map(|response| (response, 0)));
            }
            Route::Readout(readout) => {
                let caller = caller.expect("a readout needs a scope");
                return self.read_out(id, *readout, head, caller, now).map(|()| None);
            }
            Route::Job(call, job) => {
                let caller = caller.expect("a job needs a scope");
                return self.reply_job(id, *call, *job, head, caller, now).map(|()| None);
            }
            Route::Jobs => {
                let caller = caller.expect("jobs need a scope");
                let response = self.reply_tasks(caller, now);
                return Ok(Some((response, self.book.sequence())));
            }
            Route::Drain => {
                self.print("draining, as an operator has said".into());
                self.drain(now);
                return Ok(Some((Response::json(202, "{\"status\":\"draining\"}"), 0)));
            }
            Route::Submit(_) => {
                let caller_known = caller.expect("a job needs a scope");
                let key = self.idempotency_hash(head, caller_known.account)?;
                if let Some(session) = self.session_mut(id) {
                    session.wait_ns = prefer::wait_ns(head);
                }
                let body = SmallBody::admit(head, &self.memory)?;
                let pending = Pending::Other(Route::Submit(key), body, caller);
                return self.await_body(id, head, pending);
            }
            route if route.takes_small_body() => {
                let body = SmallBody::admit(head, &self.memory)?;
                return self.await_body(id, head, Pending::Other(route.clone(), body, caller));
            }
            _ => {
                let until = if route.reads_ledger() { self.book.sequence() } else { 0 };
                return self.reply(route, caller).map(|response| Some((response, until)));
            }
        };
        let caller = caller.expect("a product needs a scope");
        if let Some(session) = self.session_mut(id) {
            session.product_asked_ns = Some(now.monotonic_ns);
            session.model = model;
        }
        let allowance = self.allow(caller.account, now).map_err(LimitReached::into_problem)?;
        let intake = self.admit(head, model)?;
        let payer = self.payer(head, caller, allowance, now)?;
        if !self.is_deferred(head, model, intake.is_check_asked(), &payer)? {
            return self.await_body(id, head, Pending::Product(intake, payer));
        }
        if let Some(session) = self.session_mut(id) {
            session.wait_ns = prefer::wait_ns(head);
        }
        self.await_body(id, head, Pending::Deferred(intake, payer))
    }

    /// Lets the body of a request in that was taken.
    pub(super) fn await_body(
        &mut self,
        id: SessionId,
        head: &RequestHead,
        pending: Pending,
    ) -> Result<Option<(Response, u64)>, Problem> {
        let digest = DigestCheck::of(head).map_err(|MalformedDigest| {
            let detail = "no dictionary of byte sequences, or no SHA-256 in it where it should be";
            Problem::new(ProblemKind::MalformedDigest, detail).at(digest::FIELD)
        })?;
        if let Some(session) = self.session_mut(id) {
            session.digest = digest;
            session.pending = Some(pending);
            session.connection.accept_body(&mut session.output);
        }
        Ok(None)
    }

    /// Takes content of a request's body: how many bytes of it were used. The others, which would
    /// be too much work at once, are to be brought again.
    pub(super) fn take_content(&mut self, id: SessionId, content: &[u8], now: Now) -> usize {
        let Some(session) = self.session_mut(id) else { return content.len() };
        let Some(pending) = session.pending.as_mut() else { return content.len() };
        match pending.push(content) {
            Ok(used) => {
                if let Some(digest) = &mut session.digest {
                    digest.update(&content[..used]);
                }
                used
            }
            Err(problem) => {
                self.refuse(id, problem, now);
                content.len()
            }
        }
    }

    /// The body is whole.
    pub(super) fn end_request(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(pending) = session.pending.take() else { return };
        if session.digest.take().is_some_and(|digest| !digest.is_met()) {
            let detail = "the SHA-256 of what came is another";
            let problem = Problem::new(ProblemKind::DigestMismatch, detail).at(digest::FIELD);
            return self.refuse(id, problem, now);
        }
        let begun = match pending {
            Pending::Product(intake, payer) => {
                intake.finish().map(|request| self.begin_job(id, request, payer, now))
            }
            Pending::Deferred(intake, payer) => {
                intake.finish().and_then(|request| self.defer(id, request, payer, now))
            }
            Pending::Other(Route::Submit(key), body, caller) => body.finish().and_then(|text| {
                let caller = caller.expect("a job needs a scope");
                self.submit(id, text, caller, key, now)
            }),
            Pending::Matrix(body) => self.end_matrix(id, *body, now),
            Pending::Chunk(body) => self.end_chunk(id, *body, now),
            Pending::Other(Route::Matrices(call), body, caller) => {
                let caller = caller.expect("matrices need a scope");
                body.finish().and_then(|text| self.end_matrix_change(id, &call, &text, caller, now))
            }
            Pending::Other(route, body, caller) => body
                .finish()
                .and_then(|text| self.reply_to(&route, &text, caller, now))
                .map(|response| {
                    let until = self.book.sequence();
                    self.answer_when_durable(id, response, None, until, now);
                }),
        };
        if let Err(problem) = begun {
            self.refuse(id, problem, now);
        }
    }

    fn begin_job(&mut self, id: SessionId, request: Request, payer: Payer, now: Now) {
        let mut random = [0; 10];
        self.random.fill_bytes(&mut random);
        let job = JobId::new(now.unix_ns, random);
        let cancel = CancelFlag::default();
        let ticket = self.counters.jobs_waiting.enter();
        let Some(session) = self.session_mut(id) else { return };
        session.job = Some(cancel.clone());
        let origin = Origin { id: job, session: id, payer, received_ns: now.monotonic_ns };
        let job = Job::new(origin, request, cancel, ticket, self.config.threads);
        self.ready_jobs.push(job.account(), job);
    }

    /// Queues a response; a request that is still coming in is forgotten.
    pub(super) fn answer(&mut self, id: SessionId, mut response: Response, now: Now) {
        self.note_answer(id, response.status, now);
        response = self.with_limits(id, response, now);
        let Some(session) = self.session_mut(id) else { return };
        if core::mem::take(&mut session.digest_wanted) && response.status != 204 {
            response = digest::with_digest(response);
        }
        session.pending = None;
        session.connection.respond(response, now, &mut session.output);
    }

    /// Whether a job's reply is to have a digest that is too much work to find here and now.
    pub(super) fn is_to_seal(&mut self, id: SessionId, response: &Response) -> bool {
        let Some(session) = self.session_mut(id) else { return false };
        let is_long = response.body.bytes() > SMALL_JOB_BYTES;
        is_long && core::mem::take(&mut session.digest_wanted)
    }

    /// Queues a problem as the response.
    pub(super) fn refuse(&mut self, id: SessionId, problem: Problem, now: Now) {
        self.counters.refused(problem.kind);
        let problem = self.in_terms_of(id, problem);
        self.answer(id, problem.into_response(), now);
    }

    /// The same, as the last response of its connection.
    pub(super) fn refuse_and_close(&mut self, id: SessionId, problem: Problem, now: Now) {
        self.counters.refused(problem.kind);
        let problem = self.in_terms_of(id, problem);
        self.note_answer(id, problem.kind.status(), now);
        let response = self.with_limits(id, problem.into_response(), now);
        let Some(session) = self.session_mut(id) else { return };
        session.pending = None;
        session.connection.respond_and_close(response, now, &mut session.output);
    }

    /// A problem as the client of this request expects it.
    fn in_terms_of(&self, id: SessionId, problem: Problem) -> Problem {
        let is_inference = self.session(id).is_some_and(|session| session.is_inference);
        if is_inference { problem.for_inference() } else { problem }
    }

    pub(super) fn note_answer(&mut self, id: SessionId, status: u16, now: Now) {
        self.counters.answered(status);
        let Some(session) = self.session_mut(id) else { return };
        session.is_inference = false;
        let (asked_ns, model) = (session.product_asked_ns.take(), session.model.take());
        let Some(asked_ns) = asked_ns else { return };
        let elapsed_ns = now.monotonic_ns.saturating_sub(asked_ns);
        if let Some(model) = model {
            self.counters.infer_requests.add(elapsed_ns);
            self.inference.of(model).count(status == 200, elapsed_ns, now.unix_ns);
        } else {
            self.counters.multiply_requests.add(elapsed_ns);
        }
    }
}
