//! The limits of accounts, where requests meet them: at the head, before anything is read, and when
//! a job's shapes are known.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::billing::Usage;
use crate::http::Response;
use crate::job::queue::AccountIndex;
use crate::ledger::AccountLimits;
use crate::ledger::allowance::{self, Bucket, Left, LimitReached};
use crate::ledger::book::AccountState;
use crate::ledger::hold::{AccountCounters, Bounds, Hold, Seat, Standing};
use crate::problem::Problem;
use crate::server::payer::Payer;
use crate::server::{Server, SessionId};
use crate::time::Now;

/// What accounts that have limits have in use, by account.
#[derive(Debug, Default)]
pub(super) struct InUse(Vec<(AccountCounters, Bucket)>);

/// What the limits of its account let one job have, until it is charged or dropped.
#[derive(Debug)]
pub(crate) struct Allowance {
    bounds: Bounds,
    /// From when its shapes are known.
    hold: Option<Hold>,
    #[expect(dead_code, reason = "dropping it lets another job in")]
    seat: Option<Seat>,
}

impl InUse {
    fn of(&mut self, account: AccountIndex) -> &mut (AccountCounters, Bucket) {
        let index = account as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, Default::default);
        }
        &mut self.0[index]
    }
}

impl Payer {
    /// Sets aside what the job may come to cost: `usage` with the most bytes that its result can
    /// have. One that was paid for already costs nothing.
    ///
    /// # Errors
    ///
    /// The limit of the account that it might exceed.
    pub fn hold(&mut self, usage: &Usage) -> Result<(), Problem> {
        if self.done().is_some() {
            return Ok(());
        }
        let Some(allowance) = &mut self.allowance else { return Ok(()) };
        allowance.hold(self.tariff.amount_micros_max(usage), usage.flops)
    }
}

impl Allowance {
    /// Sets aside what a job may come to cost, and its operations.
    ///
    /// # Errors
    ///
    /// The limit of the account that it might exceed.
    pub fn hold(&mut self, amount_micros_max: u64, flops: u64) -> Result<(), Problem> {
        let hold = self.bounds.hold(amount_micros_max, flops);
        self.hold = Some(hold.map_err(LimitReached::into_problem)?);
        Ok(())
    }
}

impl Server {
    /// Lets a request for a product in, if the limits of its account do; `None` where it has none.
    ///
    /// # Errors
    ///
    /// The limit that is reached.
    pub(super) fn allow(
        &mut self,
        account: AccountIndex,
        now: Now,
    ) -> Result<Option<Box<Allowance>>, LimitReached> {
        let state = self.book.account(account);
        let Some(limits) = limits_of(state) else { return Ok(None) };
        let (standing, is_prepaid) = (standing(state, now), state.account.prepaid);
        let (counters, bucket) = self.in_use.of(account);
        if let Some((limit, burst)) = limits.request_bucket() {
            bucket.take(limit, burst, now.monotonic_ns).map_err(|retry_after_seconds| {
                LimitReached::Requests { limit, retry_after_seconds }
            })?;
        }
        let seat = counters.enter(&limits)?;
        let bounds = counters.bounds(&limits, is_prepaid, &standing, now.unix_ns);
        Ok(Some(Box::new(Allowance { bounds, hold: None, seat })))
    }

    /// A job was charged: what it held is spent, and the rest is void.
    pub(super) fn post(&mut self, payer: Payer, amount_micros: u64, flops: u64) {
        let Payer { account, allowance, .. } = payer;
        self.post_hold(account, allowance, amount_micros, flops);
    }

    /// A job that goes on by itself was charged.
    pub(super) fn post_hold(
        &mut self,
        account: AccountIndex,
        allowance: Option<Box<Allowance>>,
        amount_micros: u64,
        flops: u64,
    ) {
        if let Some(hold) = allowance.and_then(|allowance| allowance.hold) {
            self.in_use.of(account).0.post(hold, amount_micros, flops);
        }
    }

    /// A response, with what is left of the limits of the account that asked.
    pub(super) fn with_limits(&mut self, id: SessionId, response: Response, now: Now) -> Response {
        let account = self.session_mut(id).and_then(|session| session.account.take());
        let Some(account) = account else { return response };
        let state = self.book.account(account);
        let Some(limits) = limits_of(state) else { return response };
        let standing = standing(state, now);
        let (counters, bucket) = self.in_use.of(account);
        let left = Left {
            requests: limits
                .request_bucket()
                .map(|(per_second, burst)| bucket.left(per_second, burst, now.monotonic_ns)),
            flops: counters.bounds(&limits, false, &standing, now.unix_ns).flops_left(),
            jobs: limits.jobs_at_once.map(|limit| limit.saturating_sub(counters.jobs())),
        };
        match allowance::fields(&limits, &left) {
            None => response,
            Some((policies, states)) => {
                response.with_field("RateLimit-Policy", &policies).with_field("RateLimit", &states)
            }
        }
    }
}

/// The limits of an account that has some; what it pays in advance is one.
fn limits_of(state: &AccountState) -> Option<AccountLimits> {
    let limits = state.account.limits;
    (state.account.prepaid || limits != AccountLimits::default()).then_some(limits)
}

fn standing(state: &AccountState, now: Now) -> Standing {
    let month = state.month_at(now.unix_ns);
    Standing {
        month: month.first_hour,
        month_micros: month.amount_micros,
        day: month.day,
        day_flops: month.day_flops,
        charged_micros: state.charged_micros,
        credited_micros: state.credited_micros,
    }
}
