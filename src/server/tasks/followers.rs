//! Those who follow a job, and those who wait for its end.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Known, PROGRESS_NS, Waiter, Wants, unknown};
use crate::api::to_json;
use crate::billing::JobId;
use crate::http::server_events::{ServerEvent, last_event_id};
use crate::http::{RequestHead, Response};
use crate::problem::Problem;
use crate::server::payer::Caller;
use crate::server::{Server, SessionId};
use crate::task::State;
use crate::time::Now;

impl Server {
    /// `GET /v1/jobs/{id}/events`: the job's status each second in which it has come further, and
    /// when its state changes; the stream ends with the job. Every event has all there is to say,
    /// so that who has missed some has missed nothing.
    ///
    /// # Errors
    ///
    /// That there is no such job, or no memory for the stream.
    pub(in crate::server) fn follow_task(
        &mut self,
        session: SessionId,
        id: JobId,
        caller: Caller,
        head: &RequestHead,
        now: Now,
    ) -> Result<(), Problem> {
        let known = self.find_task(id, caller)?.ok_or_else(|| unknown(id))?;
        let seen = last_event_id(head).map(String::from);
        self.answer_with_events(session, now)?;
        let text = self.event_of(id, &known, now);
        if seen.as_deref() != Some(&*text.id) || text.is_last {
            self.push_status(session, &text, now);
        }
        if text.is_last {
            self.end_events(session, now);
            return Ok(());
        }
        if let Some(task) = self.tasks.by_id.get_mut(&id) {
            task.followers.push(session);
        }
        self.tasks.look_again(self.tasks.told_ns.saturating_add(PROGRESS_NS));
        Ok(())
    }

    /// Tells those who follow a job how far it has come.
    pub(super) fn tell_followers(&mut self, id: JobId, now: Now) {
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        if task.followers.is_empty() || task.told_from > self.book.durable_until() {
            return;
        }
        let text = EventText::new(&to_json(&task.status(now)), task);
        if text.id == task.told_id {
            return;
        }
        task.told_id.clone_from(&text.id);
        let followers = core::mem::take(&mut task.followers);
        let mut left = Vec::new();
        for session in followers {
            if self.push_status(session, &text, now) && !text.is_last {
                left.push(session);
            }
            if text.is_last {
                self.end_events(session, now);
            }
        }
        if let Some(task) = self.tasks.by_id.get_mut(&id) {
            task.followers = left;
        }
    }

    /// Entries of the ledger have become durable.
    pub(in crate::server) fn tell_ended_tasks(&mut self, now: Now) {
        if core::mem::take(&mut self.tasks.has_news) {
            self.tell_all_followers(now);
            let until = self.book.durable_until();
            self.tasks.has_news = self.tasks.by_id.values().any(|task| task.told_from > until);
        }
    }

    pub(super) fn tell_all_followers(&mut self, now: Now) {
        let followed = self.tasks.by_id.iter().filter(|(_, task)| !task.followers.is_empty());
        let followed: Vec<JobId> = followed.map(|(id, _)| *id).collect();
        followed.into_iter().for_each(|id| self.tell_followers(id, now));
    }

    fn event_of(&self, id: JobId, known: &Known, now: Now) -> EventText {
        if let Some(task) = self.tasks.by_id.get(&id) {
            return EventText::new(&to_json(&task.status(now)), task);
        }
        known.with(|record| {
            let flops = record.flops_of_done_steps();
            let status = to_json(&super::status::Status::new(id, record, flops, None));
            let data = String::from_utf8(status).unwrap_or_default();
            let event = record.state.name();
            EventText { id: String::from(event), event, data, is_last: true }
        })
    }

    fn push_status(&mut self, session: SessionId, text: &EventText, now: Now) -> bool {
        let EventText { id, event, data, .. } = text;
        self.push_event(session, &ServerEvent { id, event, data, retry_ms: None }, now)
    }

    /// Answers a request once the job has ended, or when it has waited for so long.
    pub(super) fn wait_for_task(
        &mut self,
        session: SessionId,
        id: JobId,
        (wait_ns, wants): (u64, Wants),
        now: Now,
    ) {
        let until_ns = now.monotonic_ns.saturating_add(wait_ns);
        if let Some(task) = self.tasks.by_id.get_mut(&id) {
            task.waiters.push(Waiter { session, until_ns, wants });
        }
        self.tasks.look_again(until_ns);
        self.answer_waiters(id, now);
    }

    /// Answers those who have waited for long enough: all, where the machine is about to end.
    pub(in crate::server) fn end_waits(&mut self, now: Now) {
        let waited = self.tasks.by_id.iter().filter(|(_, task)| !task.waiters.is_empty());
        let waited: Vec<JobId> = waited.map(|(id, _)| *id).collect();
        waited.into_iter().for_each(|id| self.answer_waiters(id, now));
    }

    /// Answers those who wait for a job that has ended, or have waited for long enough.
    pub(super) fn answer_waiters(&mut self, id: JobId, now: Now) {
        let is_draining = self.is_draining();
        let Some(task) = self.tasks.by_id.get_mut(&id) else { return };
        let has_ended = task.control.with(|record| record.state.has_ended());
        let is_over =
            |waiter: &Waiter| has_ended || is_draining || waiter.until_ns <= now.monotonic_ns;
        let over: Vec<Waiter> = task.waiters.extract_if(.., |waiter| is_over(waiter)).collect();
        if over.is_empty() {
            return;
        }
        let status = to_json(&task.status(now));
        for Waiter { session, wants, .. } in over {
            if let Wants::Product(wish) = wants {
                self.answer_wish(session, id, *wish, now);
                continue;
            }
            let response = if has_ended {
                Response::json(200, status.clone())
            } else {
                Response::json(202, status.clone()).with_number("Retry-After", 1)
            };
            let response = match wants {
                Wants::Job => response.with_field("Location", &alloc::format!("/v1/jobs/{id}")),
                _ => response,
            };
            let until = self.book.sequence();
            self.answer_when_durable(session, response, None, until, now);
            self.tell_host(session);
        }
    }
}

/// What is told of a job.
struct EventText {
    /// The same where nothing has changed.
    id: String,
    event: &'static str,
    data: String,
    is_last: bool,
}

impl EventText {
    fn new(status: &[u8], task: &super::Task) -> Self {
        let state = task.control.with(|record| record.state);
        let event = if state == State::Running { "progress" } else { state.name() };
        let id = alloc::format!("{}-{}", state.name(), task.control.flops_done());
        let data = String::from_utf8_lossy(status).into_owned();
        Self { id, event, data, is_last: state.has_ended() }
    }
}
