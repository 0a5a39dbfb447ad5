//! When sessions have to be looked at.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::server::SessionId;

/// Deadlines by time. An entry may be out of date: who pops it checks with the session.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(u64, SessionId)>>);

impl Timers {
    pub fn set(&mut self, due_ns: u64, id: SessionId) {
        self.0.push(Reverse((due_ns, id)));
    }

    pub fn next_ns(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    pub fn pop_due(&mut self, now_ns: u64) -> Option<SessionId> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.0.pop().map(|Reverse((_, id))| id)
    }
}
