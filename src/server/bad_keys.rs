//! Requests whose key is refused: a few are answered at once, so that somebody who mistypes a key
//! waits for nothing; a flood of them waits, so that it costs almost nothing.

use alloc::boxed::Box;

use crate::limits::{BAD_KEY_SESSIONS_SHARE, BAD_KEYS_AT_ONCE, BAD_KEYS_PER_SECOND};
use crate::problem::Problem;
use crate::server::{Server, SessionId};
use crate::time::Now;

/// How soon a refusal is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Now,
    /// After [`crate::limits::BAD_KEY_DELAY_NS`], in which nothing more is read.
    Later,
    /// Now, and nothing more is read ever: too many wait already.
    Last,
}

/// Counts refusals over the whole service: a flood need not come from one address.
#[derive(Debug, Default)]
pub(super) struct BadKeys {
    /// When all of [`BAD_KEYS_AT_ONCE`] could be answered at once again, on the monotonic clock.
    rested_ns: u64,
    /// Sessions whose refusal waits.
    waiting: usize,
}

const INTERVAL_NS: u64 = 1_000_000_000 / BAD_KEYS_PER_SECOND;

impl BadKeys {
    /// One more is refused; where that is to be later, [`BadKeys::end_wait`] is called once it is.
    pub fn pace(&mut self, sessions_max: usize, now_ns: u64) -> Pace {
        // The generic cell rate algorithm: a bucket that is told by the time at which it is full.
        let rested_ns = self.rested_ns.max(now_ns).saturating_add(INTERVAL_NS);
        if rested_ns - now_ns <= BAD_KEYS_AT_ONCE * INTERVAL_NS {
            self.rested_ns = rested_ns;
            return Pace::Now;
        }
        if self.waiting < sessions_max / BAD_KEY_SESSIONS_SHARE {
            self.waiting += 1;
            return Pace::Later;
        }
        Pace::Last
    }

    /// A refusal that waited is sent, or its client is gone.
    pub fn end_wait(&mut self) {
        debug_assert!(self.waiting > 0);
        self.waiting -= 1;
    }
}

impl Server {
    /// A request has no good key: it is refused at its pace.
    pub(super) fn refuse_key(&mut self, id: SessionId, problem: Problem, now: Now) {
        match self.bad_keys.pace(self.config.sessions_max, now.monotonic_ns) {
            Pace::Now => self.refuse(id, problem, now),
            Pace::Last => self.refuse_and_close(id, problem, now),
            Pace::Later => match self.session_mut(id) {
                Some(session) => session.held = Some(Box::new(problem)),
                None => self.bad_keys.end_wait(),
            },
        }
    }

    /// A session has waited for long enough.
    pub(super) fn end_hold(&mut self, id: SessionId, now: Now) {
        let Some(problem) = self.session_mut(id).and_then(|session| session.held.take()) else {
            return;
        };
        self.bad_keys.end_wait();
        self.refuse(id, *problem, now);
        self.note_progress(id, 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_now_some_later_and_the_others_never_more() {
        let mut keys = BadKeys::default();
        let second = 1_000_000_000;
        let paces = |keys: &mut BadKeys, count: u64, now_ns| {
            let mut counts = [0; 3];
            (0..count).for_each(|_| counts[keys.pace(40, now_ns) as usize] += 1);
            counts
        };
        let (at_once, rate) = (BAD_KEYS_AT_ONCE, BAD_KEYS_PER_SECOND);
        assert_eq!(paces(&mut keys, at_once, 5), [at_once, 0, 0]);
        assert_eq!(paces(&mut keys, 12, 5), [0, 10, 2]);
        keys.end_wait();
        assert_eq!(paces(&mut keys, 2, 5), [0, 1, 1]);
        (0..10).for_each(|_| keys.end_wait());
        // What has been quiet for a second may send a second's, and no more than a burst ever.
        assert_eq!(paces(&mut keys, rate + 1, 5 + second), [rate, 1, 0]);
        assert_eq!(paces(&mut keys, at_once + 1, 1_000 * second), [at_once, 1, 0]);
        assert_eq!(paces(&mut keys, 10, 1_000 * second), [0, 8, 2]);
    }
}
