//! Jobs that wait, in an order that is fair to the accounts they belong to.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996): each account has a time of its own, which
//! moves on by the work that was done for it, and the account whose time is the least is served
//! next. It suits jobs better than deficit round robin or the finish times of weighted fair
//! queueing, which have to know what a job costs before it is served: here a job is charged what
//! its turn took, after the turn. However much one account asks for, another waits for no more than
//! the turns that have begun when it comes.
//!
//! What work is measured in is up to whoever charges it.

use alloc::collections::BinaryHeap;
use alloc::collections::binary_heap::PeekMut;
use alloc::vec::Vec;
use core::cmp::Reverse;

use slab::Slab;

/// An account, as jobs carry it: a small number, and the index of what is kept for it.
pub type AccountIndex = u32;

/// What a turn is charged when it begins: so little that it only breaks ties, so that of accounts
/// whose times are equal none gets a second turn before the others have had one.
const TURN: u64 = 1;

/// Jobs by account. Those of one account keep their order.
#[derive(Debug)]
pub struct FairQueue<J> {
    /// By account; one that is not here yet has never asked for anything.
    lanes: Vec<Lane>,
    /// The accounts that have jobs here, each once, by their time, or by one that it was before it
    /// was charged: that is found out when the account's turn comes.
    order: BinaryHeap<Reverse<(u64, AccountIndex)>>,
    /// The jobs of all lanes, so that a burst takes memory once, whoever it is from.
    jobs: Slab<Link<J>>,
    /// The time of the account that was served last.
    now: u64,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    time: u64,
    /// Its first and last job.
    ends: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Link<J> {
    job: J,
    next: Option<usize>,
}

impl<J> Default for FairQueue<J> {
    fn default() -> Self {
        Self { lanes: Vec::new(), order: BinaryHeap::new(), jobs: Slab::new(), now: 0 }
    }
}

impl<J> FairQueue<J> {
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether another account than this one has jobs here.
    pub fn has_others(&self, account: AccountIndex) -> bool {
        match self.order.len() {
            0 => false,
            1 => self.order.peek().is_some_and(|Reverse((_, only))| *only != account),
            _ => true,
        }
    }

    /// A job to be served after those that its account has here.
    pub fn push(&mut self, account: AccountIndex, job: J) {
        let index = self.jobs.insert(Link { job, next: None });
        let lane = lane_of(&mut self.lanes, account);
        match &mut lane.ends {
            Some((_, last)) => {
                let before = core::mem::replace(last, index);
                self.jobs[before].next = Some(index);
            }
            None => {
                lane.ends = Some((index, index));
                // An account saves nothing up while it asks for nothing.
                lane.time = lane.time.max(self.now);
                self.order.push(Reverse((lane.time, account)));
            }
        }
    }

    /// The job whose turn it is.
    pub fn pop(&mut self) -> Option<J> {
        loop {
            let mut first = self.order.peek_mut()?;
            let Reverse((time, account)) = *first;
            let lane = &mut self.lanes[account as usize];
            if time < lane.time {
                // It was charged meanwhile.
                *first = Reverse((lane.time, account));
                continue;
            }
            self.now = time;
            lane.time = time.saturating_add(TURN);
            let (index, last) = lane.ends?;
            let Link { job, next } = self.jobs.remove(index);
            lane.ends = next.map(|next| (next, last));
            if lane.ends.is_some() {
                *first = Reverse((lane.time, account));
            } else {
                PeekMut::pop(first);
            }
            return Some(job);
        }
    }

    /// So much work was done for a job of this account that was taken from here.
    pub fn charge(&mut self, account: AccountIndex, work: u64) {
        let lane = lane_of(&mut self.lanes, account);
        lane.time = lane.time.saturating_add(work);
    }
}

fn lane_of(lanes: &mut Vec<Lane>, account: AccountIndex) -> &mut Lane {
    let index = account as usize;
    if index >= lanes.len() {
        lanes.resize(index + 1, Lane::default());
    }
    &mut lanes[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_one_account_keep_their_order() {
        let mut queue = FairQueue::default();
        (0..5).for_each(|job| queue.push(3, job));
        assert_eq!((queue.pop(), queue.pop()), (Some(0), Some(1)));
        queue.charge(3, 1_000);
        queue.push(3, 5);
        assert_eq!((queue.len(), queue.has_others(3), queue.has_others(0)), (4, false, true));
        let rest: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [2, 3, 4, 5]);
        assert!(queue.is_empty() && !queue.has_others(0));
    }

    #[test]
    fn who_was_charged_more_waits_longer() {
        let mut queue = FairQueue::default();
        (0..4).for_each(|_| queue.push(0, 'a'));
        (0..4).for_each(|_| queue.push(1, 'b'));
        let mut turns = Vec::new();
        while let Some(job) = queue.pop() {
            queue.charge(u32::from(job == 'b'), if job == 'a' { 30 } else { 10 });
            turns.push(job);
        }
        assert_eq!(turns, ['a', 'b', 'b', 'b', 'a', 'b', 'a', 'a']);
    }

    #[test]
    fn turns_alternate_before_they_are_charged() {
        let mut queue = FairQueue::default();
        (0..2).for_each(|_| queue.push(0, 'a'));
        (0..2).for_each(|_| queue.push(1, 'b'));
        let turns: Vec<_> = core::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(turns, ['a', 'b', 'a', 'b']);
    }

    #[test]
    fn memory_is_taken_once() {
        let mut queue = FairQueue::default();
        for round in 0..100 {
            for job in 0..64 {
                queue.push(round % 4, job);
            }
            while queue.pop().is_some() {}
        }
        assert!(queue.jobs.capacity() < 128 && queue.order.capacity() < 8);
    }
}
