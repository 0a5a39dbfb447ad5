//! The rate at which an account may ask, and how clients are told of limits: what is left of them,
//! and that one is reached.
//!
//! The fields are those of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` states each
//! limit, and `RateLimit` what is left of it and for how long that is all.

use alloc::format;
use alloc::string::{String, ToString};

use crate::ledger::account::AccountLimits;
use crate::problem::{Problem, ProblemKind};
use crate::time::SECOND_NS;

const SECONDS_PER_DAY: u64 = 86_400;
/// Operations are told in units of so many, since the integers of structured fields have 15 digits
/// (RFC 9651, section 3.3.1), and a machine does more in a day.
const FLOPS_PER_UNIT: u64 = 1_000_000_000;

/// A token bucket: requests are taken from it, and come back at the rate of its account. It is full
/// to begin with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// What is missing, in billionths of a request.
    missing: u64,
    /// When that was so, on the monotonic clock.
    at_ns: u64,
}

/// What the limits of an account leave, at one moment; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub requests: Option<RequestsLeft>,
    /// Operations left of this day, and seconds until the next.
    pub flops: Option<(u64, u64)>,
    pub jobs: Option<u32>,
}

/// What is in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestsLeft {
    pub requests: u32,
    /// Until there is one more, rounded up; nothing where the bucket is full.
    pub seconds_to_next: u64,
}

/// Which limit a request would exceed, and the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// In micro-units in a month.
    Spending { limit: u64 },
    /// Micro-units paid in advance.
    Credit { limit: u64 },
    /// Operations in a day, which ends in so many seconds; `None` where no day has as many.
    DailyFlops { limit: u64, retry_after_seconds: Option<u64> },
    /// Jobs in progress.
    Jobs { limit: u32 },
    /// Requests in a second, of which one is left in so many.
    Requests { limit: u32, retry_after_seconds: u64 },
}

impl Bucket {
    /// Takes one request, if one is left; else in how many seconds one will be, rounded up.
    ///
    /// # Errors
    ///
    /// Those seconds, at least one.
    pub fn take(&mut self, per_second: u32, burst: u32, now_ns: u64) -> Result<(), u64> {
        let left = self.left(per_second, burst, now_ns);
        if left.requests == 0 {
            return Err(left.seconds_to_next);
        }
        self.missing += SECOND_NS;
        Ok(())
    }

    /// What is left at a time.
    pub fn left(&mut self, per_second: u32, burst: u32, now_ns: u64) -> RequestsLeft {
        // In a nanosecond, as many billionths come back as requests are allowed in a second.
        let elapsed_ns = now_ns.saturating_sub(self.at_ns);
        let size = u64::from(burst) * SECOND_NS;
        let back = elapsed_ns.saturating_mul(per_second.into());
        // A limit that was lowered leaves no more missing than all.
        self.missing = self.missing.saturating_sub(back).min(size);
        self.at_ns = self.at_ns.max(now_ns);
        let left = size - self.missing;
        let is_full = self.missing == 0;
        let to_next_ns = (SECOND_NS - left % SECOND_NS).div_ceil(u64::from(per_second).max(1));
        RequestsLeft {
            requests: (left / SECOND_NS) as u32,
            seconds_to_next: if is_full { 0 } else { to_next_ns.div_ceil(SECOND_NS) },
        }
    }
}

/// The values of `RateLimit-Policy` and `RateLimit`, where there are limits.
pub fn fields(limits: &AccountLimits, left: &Left) -> Option<(String, String)> {
    let (mut policies, mut states) = (String::new(), String::new());
    let mut push = |policy: String, state: String| {
        for (list, item) in [(&mut policies, policy), (&mut states, state)] {
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(&item);
        }
    };
    if let Some((per_second, burst)) = limits.request_bucket()
        && let Some(left) = left.requests
    {
        // An empty bucket is full again after so long.
        let window = u64::from(burst).div_ceil(u64::from(per_second).max(1)).max(1);
        let RequestsLeft { requests, seconds_to_next } = left;
        push(
            format!("\"burst\";q={burst};w={window}"),
            format!("\"burst\";r={requests};t={seconds_to_next}"),
        );
    }
    if let Some(limit) = limits.flops_per_day
        && let Some((flops, seconds)) = left.flops
    {
        let (quota, rest) = (limit / FLOPS_PER_UNIT, flops / FLOPS_PER_UNIT);
        push(
            format!("\"flops\";q={quota};qu=\"gflops\";w={SECONDS_PER_DAY}"),
            format!("\"flops\";r={rest};t={seconds}"),
        );
    }
    if let (Some(limit), Some(jobs)) = (limits.jobs_at_once, left.jobs) {
        push(
            format!("\"jobs\";q={limit};qu=\"concurrent-requests\""),
            format!("\"jobs\";r={jobs}"),
        );
    }
    (!policies.is_empty()).then_some((policies, states))
}

impl LimitReached {
    /// The limit as the client is told.
    pub fn into_problem(self) -> Problem {
        let problem = |kind, limit: u64, retry_after_seconds: Option<u64>, detail: String| {
            let problem = Problem::new(kind, detail).limit(limit);
            match retry_after_seconds {
                None => problem,
                Some(seconds) => problem.with_response_field("Retry-After", seconds.to_string()),
            }
        };
        match self {
            Self::Spending { limit } => {
                let detail = format!(
                    "the account is charged at most {limit} micro-units in a month, and this job \
                     might exceed that with those that were charged and are in progress"
                );
                problem(ProblemKind::SpendingCapReached, limit, None, detail)
            }
            Self::Credit { limit } => {
                let detail = format!(
                    "{limit} micro-units were paid in advance, and this job might exceed that with \
                     those that were charged and are in progress"
                );
                problem(ProblemKind::CreditExhausted, limit, None, detail)
            }
            Self::DailyFlops { limit, retry_after_seconds } => {
                let detail = match retry_after_seconds {
                    Some(_) => format!("too few of the day's {limit} operations are left"),
                    None => format!("the job takes more than the {limit} operations of a day"),
                };
                problem(ProblemKind::DailyFlopsExceeded, limit, retry_after_seconds, detail)
            }
            Self::Jobs { limit } => {
                let detail = format!("{limit} jobs of the account are in progress");
                problem(ProblemKind::TooManyJobs, limit.into(), Some(1), detail)
            }
            Self::Requests { limit, retry_after_seconds } => {
                let detail = format!("the account may ask {limit} times a second on average");
                let retry_after = Some(retry_after_seconds);
                problem(ProblemKind::RateLimited, limit.into(), retry_after, detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_at_its_rate_up_to_its_burst() {
        let mut bucket = Bucket::default();
        let start_ns = 7 * SECOND_NS;
        let third_ns = SECOND_NS / 3;
        for (at_ns, expected) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(1)),
            (third_ns, Err(1)),
            // A third of a second is no whole number of nanoseconds.
            (third_ns + 1, Ok(())),
            (2 * third_ns, Err(1)),
            (2 * third_ns + 1, Ok(())),
            // No more than the burst comes together.
            (60 * SECOND_NS, Ok(())),
            (60 * SECOND_NS, Ok(())),
            (60 * SECOND_NS, Err(1)),
        ] {
            assert_eq!(bucket.take(3, 2, start_ns + at_ns), expected, "at {at_ns}");
        }
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let mut bucket = Bucket::default();
        let left = |bucket: &mut Bucket, at_ns| {
            let RequestsLeft { requests, seconds_to_next } = bucket.left(1, 5, at_ns);
            (requests, seconds_to_next)
        };
        assert_eq!(left(&mut bucket, 0), (5, 0));
        assert_eq!(bucket.take(1, 5, 0), Ok(()));
        assert_eq!(left(&mut bucket, 0), (4, 1));
        assert_eq!(left(&mut bucket, SECOND_NS - 1), (4, 1));
        assert_eq!(left(&mut bucket, SECOND_NS), (5, 0));
        // The clock of another thread may have been read a little earlier.
        assert_eq!(bucket.take(1, 5, SECOND_NS - 1), Ok(()));
        assert_eq!(left(&mut bucket, SECOND_NS), (4, 1));
        assert_eq!(bucket.left(1, 2, SECOND_NS).requests, 1, "a lower limit counts at once");
    }

    #[test]
    fn fields_say_what_is_left_of_each_limit() {
        let none = AccountLimits::default();
        let requests = AccountLimits { requests_per_second: Some(3), burst: Some(100), ..none };
        let all = AccountLimits {
            flops_per_day: Some(2_500_000_000_000),
            jobs_at_once: Some(4),
            ..requests
        };
        let left = Left {
            requests: Some(RequestsLeft { requests: 50, seconds_to_next: 1 }),
            flops: Some((1_999_999_999, 3_600)),
            jobs: Some(3),
        };
        for (limits, policies, states) in [
            (requests, r#""burst";q=100;w=34"#, r#""burst";r=50;t=1"#),
            (
                all,
                r#""burst";q=100;w=34, "flops";q=2500;qu="gflops";w=86400, "jobs";q=4;qu="concurrent-requests""#,
                r#""burst";r=50;t=1, "flops";r=1;t=3600, "jobs";r=3"#,
            ),
        ] {
            let found = fields(&limits, &left).expect("there are limits");
            assert_eq!((found.0.as_str(), found.1.as_str()), (policies, states));
        }
        assert_eq!(fields(&none, &left), None);
    }
}
