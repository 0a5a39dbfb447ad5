//! One exchange: from the head of a request to the answer that is queued.

use rand_chacha::rand_core::RngCore;

use crate::api::Route;
use crate::billing::JobId;
use crate::http::connection::Broken;
use crate::http::{RequestHead, Response};
use crate::inference;
use crate::server::{Server, SessionId, replies};
use crate::time::Now;

impl Server {
    pub(super) fn begin_request(&mut self, id: SessionId, head: &RequestHead, now: Now) {
        let answer = match Route::find(head) {
            Ok(Route::Multiply) => match self.admit(head) {
                Ok(pending) => {
                    let Some(session) = self.session_mut(id) else { return };
                    session.pending = Some(pending);
                    session.connection.accept_body(&mut session.output);
                    return;
                }
                Err(problem) => problem.into_response(),
            },
            Ok(route) => self.reply(&route),
            Err(problem) if inference::is_path(&head.path) => {
                problem.for_inference().into_response()
            }
            Err(problem) => problem.into_response(),
        };
        self.answer(id, answer, now);
    }

    pub(super) fn take_content(&mut self, id: SessionId, content: &[u8], now: Now) {
        let Some(pending) = self.session_mut(id).and_then(|session| session.pending.as_mut())
        else {
            return;
        };
        if let Err(problem) = pending.push(content) {
            self.answer(id, problem.into_response(), now);
        }
    }

    pub(super) fn begin_job(&mut self, id: SessionId, now: Now) {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        let threads = self.config.threads;
        let Some(session) = self.session_mut(id) else { return };
        let Some(pending) = session.pending.take() else { return };
        let (job, cancel) = pending.into_job(JobId(bytes), id, now, threads);
        session.job = Some(cancel);
        self.ready_jobs.push_back(job);
    }

    pub(super) fn refuse_broken(&mut self, id: SessionId, broken: Broken, now: Now) {
        self.answer_and_close(id, replies::broken(broken).into_response(), now);
    }

    /// Queues a response; a request that is still coming in is forgotten.
    pub(super) fn answer(&mut self, id: SessionId, response: Response, now: Now) {
        self.counters.answered(response.status);
        let Some(session) = self.session_mut(id) else { return };
        session.pending = None;
        session.connection.respond(response, now, &mut session.output);
    }

    pub(super) fn answer_and_close(&mut self, id: SessionId, response: Response, now: Now) {
        self.counters.answered(response.status);
        let Some(session) = self.session_mut(id) else { return };
        session.pending = None;
        session.connection.respond_and_close(response, now, &mut session.output);
    }
}
