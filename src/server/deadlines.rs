//! When something is due that no client's bytes bring about.

use crate::problem::{Problem, ProblemKind};
use crate::server::session::Phase;
use crate::server::{Expired, Server, SessionId};
use crate::time::Now;

impl Server {
    /// When [`Server::expire`], or [`Server::is_drained`], has to be asked at the latest, on the
    /// monotonic clock.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let untold_ns = (!self.untold.is_empty()).then_some(0);
        let session_ns = [untold_ns, self.timers.next_ns(), self.drain_until_ns];
        let others_ns = [self.storage.due_ns(), self.tasks.next_ns(), self.matrices.due_ns()];
        session_ns.into_iter().chain(others_ns).flatten().min()
    }

    /// A session whose time is up, or which has new output that came of no bytes of its client's;
    /// called until there is none.
    pub fn expire(&mut self, now: Now) -> Option<Expired> {
        self.look_after_tasks(now);
        self.expire_stored(now);
        if let Some(id) = self.untold.pop() {
            return Some(Expired::Answered(id));
        }
        if self.storage.due_ns().is_some_and(|due_ns| due_ns <= now.monotonic_ns) {
            self.accrue_storage(now);
        }
        while let Some(id) = self.timers.pop_due(now.monotonic_ns) {
            let Some(session) = self.session_mut(id) else { continue };
            session.armed_ns = None;
            let is_due = session.deadline_ns().is_some_and(|due| due <= now.monotonic_ns);
            let phase = session.phase;
            if !is_due {
                self.arm(id);
                continue;
            }
            match phase {
                Phase::Idle => {
                    session.connection.close_after_response();
                    self.note_progress(id, 0, now);
                    return Some(Expired::Answered(id));
                }
                Phase::Head | Phase::Body => {
                    let problem = Problem::new(
                        ProblemKind::RequestTimeout,
                        "the request came more slowly than the limits allow",
                    );
                    self.refuse_and_close(id, problem, now);
                    self.note_progress(id, 0, now);
                    return Some(Expired::Answered(id));
                }
                Phase::Held => {
                    self.end_hold(id, now);
                    return Some(Expired::Answered(id));
                }
                Phase::Events => {
                    self.keep_events_alive(id, now);
                    return Some(Expired::Answered(id));
                }
                Phase::Work => {}
                Phase::Broken | Phase::Write | Phase::Linger => return Some(Expired::Stalled(id)),
            }
        }
        None
    }

    /// Brings a session's deadline up to date after `bytes` have moved.
    pub(super) fn note_progress(&mut self, id: SessionId, bytes: usize, now: Now) {
        if let Some(session) = self.session_mut(id) {
            session.note_progress(bytes, now);
            self.arm(id);
        }
    }

    fn arm(&mut self, id: SessionId) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(due_ns) = session.deadline_ns() else { return };
        // A timer that goes off too early is set again then; most deadlines only move later.
        if session.armed_ns.is_none_or(|armed_ns| due_ns < armed_ns) {
            session.armed_ns = Some(due_ns);
            self.timers.set(due_ns, id);
        }
    }
}
