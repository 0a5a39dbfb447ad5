//! Holds: what jobs in progress may come to cost, set aside until they are charged.
//!
//! A [`Hold`] is a guard, as [`Promise`](crate::memory::Promise) is for memory: a job takes it when
//! its shape is known, on whichever thread that is. Dropped, it is void and the account has all of
//! it back; [`AccountCounters::post`] keeps what was charged, and gives the rest back. What is
//! spent and what is held of a limit are one number, so that no two jobs at once exceed what either
//! alone would not.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ledger::account::AccountLimits;
use crate::ledger::allowance::LimitReached;
use crate::time::SECOND_NS;

const SECONDS_PER_DAY: u64 = 86_400;

/// What the ledger says that an account has spent, and was given to spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// This calendar month, as a number that no other has.
    pub month: u32,
    pub month_micros: u128,
    /// This day, likewise.
    pub day: u32,
    pub day_flops: u128,
    /// Since the account exists, less what was given back.
    pub charged_micros: i128,
    pub credited_micros: i128,
}

/// What an account has in use: jobs in progress, and what is spent and held of its limits. One
/// thread has it; holds go with jobs to others.
#[derive(Debug, Default)]
pub struct AccountCounters {
    jobs: Arc<AtomicU32>,
    month: Counter,
    day: Counter,
    credit: Counter,
}

/// What is spent and held of one limit in one period. With the next, another one begins, and those
/// who still hold something of this one give it back to nobody.
#[derive(Debug, Default)]
struct Counter {
    /// `None` until it is needed.
    period: Option<u32>,
    /// Of what is taken, that which the ledger has.
    spent: u64,
    taken: Arc<AtomicU64>,
}

/// What is left to the jobs of an account that are admitted now.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    month: Option<Bound>,
    credit: Option<Bound>,
    day: Option<Bound>,
    midnight_seconds: u64,
}

#[derive(Clone, Debug)]
struct Bound {
    taken: Arc<AtomicU64>,
    limit: u64,
}

/// What one job may come to cost. To drop it is to void it.
#[derive(Debug, Default)]
pub struct Hold {
    month: Option<Share>,
    credit: Option<Share>,
    day: Option<Share>,
}

/// A part of what is taken, until it is dropped.
#[derive(Debug)]
struct Share {
    taken: Arc<AtomicU64>,
    amount: u64,
}

/// One of the jobs that an account may have at once, until it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<AtomicU32>);

impl AccountCounters {
    /// Takes one of the jobs at once, before anything of it is read.
    ///
    /// # Errors
    ///
    /// Where as many are in progress as the limit says.
    pub fn enter(&self, limits: &AccountLimits) -> Result<Option<Seat>, LimitReached> {
        let Some(limit) = limits.jobs_at_once else { return Ok(None) };
        self.jobs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |jobs| {
                (jobs < limit).then_some(jobs + 1)
            })
            .map_err(|_| LimitReached::Jobs { limit })?;
        Ok(Some(Seat(self.jobs.clone())))
    }

    /// Limited jobs in progress.
    pub fn jobs(&self) -> u32 {
        self.jobs.load(Ordering::Relaxed)
    }

    /// What the limits leave to a job that is admitted now.
    pub fn bounds(
        &mut self,
        limits: &AccountLimits,
        is_prepaid: bool,
        standing: &Standing,
        unix_ns: u64,
    ) -> Bounds {
        Bounds {
            month: limits.amount_micros_per_month.map(|limit| {
                self.month.update(standing.month, saturate(standing.month_micros));
                self.month.bound(limit)
            }),
            credit: is_prepaid.then(|| {
                let charged = u128::try_from(standing.charged_micros).unwrap_or(0);
                self.credit.update(0, saturate(charged));
                let credited = u128::try_from(standing.credited_micros).unwrap_or(0);
                self.credit.bound(saturate(credited))
            }),
            day: limits.flops_per_day.map(|limit| {
                self.day.update(standing.day, saturate(standing.day_flops));
                self.day.bound(limit)
            }),
            midnight_seconds: SECONDS_PER_DAY - unix_ns / SECOND_NS % SECONDS_PER_DAY,
        }
    }

    /// A job was charged: so much of its hold is spent, and the rest is void.
    pub fn post(&mut self, hold: Hold, amount_micros: u64, flops: u64) {
        self.month.post(hold.month, amount_micros);
        self.credit.post(hold.credit, amount_micros);
        self.day.post(hold.day, flops);
    }
}

fn saturate(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

impl Counter {
    /// Follows what the ledger says, which corrections change as well as jobs.
    fn update(&mut self, period: u32, spent: u64) {
        if self.period != Some(period) {
            *self = Self { period: Some(period), spent, taken: Arc::new(AtomicU64::new(spent)) };
        } else if spent >= self.spent {
            self.add(spent - self.spent);
        } else {
            let less = core::mem::replace(&mut self.spent, spent) - spent;
            self.taken.fetch_sub(less, Ordering::Relaxed);
        }
    }

    fn bound(&self, limit: u64) -> Bound {
        Bound { taken: self.taken.clone(), limit }
    }

    fn post(&mut self, share: Option<Share>, amount: u64) {
        match share {
            Some(mut share) if Arc::ptr_eq(&share.taken, &self.taken) => {
                // What is spent stays taken; more than was held is added, though no job costs more.
                let rest = share.amount.saturating_sub(amount);
                self.spent = self.spent.saturating_add(share.amount - rest);
                self.add(amount.saturating_sub(share.amount));
                share.amount = rest;
            }
            // Of another period, or of none.
            _ => self.add(amount),
        }
    }

    /// So much more is spent, of which nothing was held.
    fn add(&mut self, amount: u64) {
        self.spent = self.spent.saturating_add(amount);
        self.taken.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Bounds {
    /// Sets aside what a job may come to cost, and its operations.
    ///
    /// # Errors
    ///
    /// The limit that it would exceed with what is spent and held; nothing is held then.
    pub fn hold(&self, amount_micros_max: u64, flops: u64) -> Result<Hold, LimitReached> {
        let mut hold = Hold::default();
        if let Some(bound) = &self.month {
            let reached = || LimitReached::Spending { limit: bound.limit };
            hold.month = Some(bound.take(amount_micros_max).ok_or_else(reached)?);
        }
        if let Some(bound) = &self.credit {
            let reached = || LimitReached::Credit { limit: bound.limit };
            hold.credit = Some(bound.take(amount_micros_max).ok_or_else(reached)?);
        }
        if let Some(bound) = &self.day {
            let reached = || LimitReached::DailyFlops {
                limit: bound.limit,
                retry_after_seconds: (flops <= bound.limit).then_some(self.midnight_seconds),
            };
            hold.day = Some(bound.take(flops).ok_or_else(reached)?);
        }
        Ok(hold)
    }

    /// Operations of this day that are left, and in how many seconds it ends, where they are
    /// limited.
    pub fn flops_left(&self) -> Option<(u64, u64)> {
        let bound = self.day.as_ref()?;
        let taken = bound.taken.load(Ordering::Relaxed);
        Some((bound.limit.saturating_sub(taken), self.midnight_seconds))
    }
}

impl Bound {
    fn take(&self, amount: u64) -> Option<Share> {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(amount).filter(|after| *after <= self.limit)
            })
            .ok()?;
        Some(Share { taken: self.taken.clone(), amount })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::thread;

    use super::*;

    const NONE: AccountLimits = AccountLimits {
        requests_per_second: None,
        burst: None,
        jobs_at_once: None,
        flops_per_day: None,
        amount_micros_per_month: None,
        stored_bytes_max: None,
    };
    const CAPPED: AccountLimits =
        AccountLimits { amount_micros_per_month: Some(100), flops_per_day: Some(1000), ..NONE };

    fn taken(counters: &AccountCounters) -> [u64; 3] {
        [&counters.month, &counters.credit, &counters.day]
            .map(|counter| counter.taken.load(Ordering::Relaxed))
    }

    #[test]
    fn each_limit_counts_what_is_spent_and_what_is_held() {
        let mut counters = AccountCounters::default();
        let standing = Standing {
            month_micros: 30,
            day_flops: 400,
            charged_micros: 500,
            credited_micros: 560,
            ..Standing::default()
        };
        let unix_ns = 23 * 3600 * SECOND_NS;
        let bounds = counters.bounds(&CAPPED, true, &standing, unix_ns);
        let first = bounds.hold(50, 100).expect("all three have room");
        let daily =
            |retry_after_seconds| LimitReached::DailyFlops { limit: 1000, retry_after_seconds };
        for (amount, flops, expected) in [
            (21, 100, LimitReached::Spending { limit: 100 }),
            (11, 100, LimitReached::Credit { limit: 560 }),
            (10, 501, daily(Some(3600))),
            (10, 1001, daily(None)),
            (u64::MAX, 0, LimitReached::Spending { limit: 100 }),
        ] {
            assert_eq!(bounds.hold(amount, flops).expect_err("too much"), expected);
            assert_eq!(taken(&counters), [80, 550, 500], "a refused job holds nothing");
        }
        let second = bounds.hold(10, 500).expect("all that is left");
        assert_eq!(bounds.flops_left(), Some((0, 3600)));
        drop(first);
        counters.post(second, 4, 500);
        assert_eq!(taken(&counters), [34, 504, 900]);
        let spent = [&counters.month, &counters.credit, &counters.day].map(|it| it.spent);
        assert_eq!(spent, [34, 504, 900], "nothing is pending at rest");
    }

    #[test]
    fn an_account_without_limits_holds_nothing() {
        let mut counters = AccountCounters::default();
        let bounds = counters.bounds(&NONE, false, &Standing::default(), 0);
        let hold = bounds.hold(u64::MAX, u64::MAX).expect("there is no limit");
        counters.post(hold, 7, 9);
        assert!(counters.enter(&NONE).expect("no limit").is_none());
        assert_eq!(bounds.flops_left(), None);
    }

    #[test]
    fn another_month_begins_with_what_the_ledger_says_of_it() {
        let mut counters = AccountCounters::default();
        let january = Standing { month: 1, month_micros: 90, ..Standing::default() };
        let old = counters.bounds(&CAPPED, false, &january, 0).hold(10, 0).expect("room");
        let mut february = Standing { month: 2, ..Standing::default() };
        let bounds = counters.bounds(&CAPPED, false, &february, 0);
        let new = bounds.hold(60, 0).expect("a new month");
        // A job that began in January is charged in February.
        counters.post(old, 10, 0);
        february.month_micros = 10;
        let bounds = counters.bounds(&CAPPED, false, &february, 0);
        assert_eq!(taken(&counters)[0], 70);
        assert!(bounds.hold(31, 0).is_err() && bounds.hold(30, 0).is_ok());
        drop(new);
        // A correction gives back.
        february.month_micros = 3;
        counters.bounds(&CAPPED, false, &february, 0);
        assert_eq!(taken(&counters)[0], 3);
    }

    #[test]
    fn jobs_at_once_are_counted_until_they_are_dropped() {
        let counters = AccountCounters::default();
        let limits = AccountLimits { jobs_at_once: Some(2), ..NONE };
        let seats = [counters.enter(&limits), counters.enter(&limits)];
        assert!(seats.iter().all(|seat| matches!(seat, Ok(Some(_)))));
        assert_eq!(counters.enter(&limits).expect_err("two"), LimitReached::Jobs { limit: 2 });
        assert_eq!(counters.jobs(), 2);
        drop(seats);
        assert_eq!(counters.jobs(), 0);
    }

    /// Four threads hold and void at once, while this one posts.
    #[test]
    fn what_is_spent_and_held_never_exceeds_the_limit() {
        const JOBS: u64 = 20_000;
        let limits = AccountLimits { amount_micros_per_month: Some(50_000), ..NONE };
        let mut counters = AccountCounters::default();
        let bounds = counters.bounds(&limits, false, &Standing::default(), 0);
        let (done, jobs) = std::sync::mpsc::channel();
        let mut charged = 0;
        thread::scope(|scope| {
            for thread in 0..4 {
                let (bounds, done) = (bounds.clone(), done.clone());
                scope.spawn(move || {
                    for job in 0..JOBS {
                        let amount = 1 + (job * 7 + thread) % 13;
                        let Ok(hold) = bounds.hold(amount, 0) else { continue };
                        if job % 3 == 0 {
                            done.send((hold, amount - amount / 2)).expect("somebody listens");
                        }
                    }
                });
            }
            drop(done);
            while let Ok((hold, amount)) = jobs.recv() {
                counters.post(hold, amount, 0);
                charged += amount;
                assert!(taken(&counters)[0] <= 50_000);
            }
        });
        assert_eq!([taken(&counters)[0], counters.month.spent], [charged; 2]);
        assert!(
            bounds.hold(50_001 - charged, 0).is_err() && bounds.hold(50_000 - charged, 0).is_ok()
        );
    }
}
