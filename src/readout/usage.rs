//! `GET /v1/usage`: sums by hour, day, account or dtype.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;

use crate::billing::Currency;
use crate::ledger::AccountId;
use crate::ledger::usage::{Totals, UsageKey, UsageKind};
use crate::limits::{READOUT_HOURS_MAX, READOUT_ROWS_MAX, READOUT_SUMS_MAX};
use crate::problem::{Problem, ProblemKind};
use crate::readout::query::{Query, invalid};
use crate::readout::span::{day_text, hour_text, parse_hour};
use crate::time::{Civil, hour_of};

/// What each row sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Hour,
    Day,
    Account,
    Dtype,
}

impl By {
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Account, Self::Dtype];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Account => "account",
            Self::Dtype => "dtype",
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub struct UsageQuery {
    pub by: By,
    /// In hours since 1970.
    pub from: u32,
    /// The first hour that is not asked about.
    pub until: u32,
    pub account: Option<AccountId>,
}

impl UsageQuery {
    /// Reads the query: from the first hour of this month until the end of this hour, unless it
    /// says otherwise.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter at fault.
    pub fn parse(query: &str, now_unix_ns: u64) -> Result<Self, Problem> {
        let query = Query::parse(query, &["by", "from", "until", "account"])?;
        let by = |name: &str| By::ALL.into_iter().find(|by| by.name() == name);
        let by = query.read("by", "hour, day, account or dtype", by)?.unwrap_or(By::Day);
        let wanted = "a date, or a time of RFC 3339 at a whole hour";
        let from = query.read("from", wanted, parse_hour)?;
        let from = from.unwrap_or_else(|| Civil::month_first_hour(now_unix_ns));
        let until = query.read("until", wanted, parse_hour)?;
        let until = until.unwrap_or_else(|| hour_of(now_unix_ns) + 1);
        if from >= until {
            let detail = format!("it is {}, and from is {}", hour_text(until), hour_text(from));
            return Err(invalid("until", &detail));
        }
        if until - from > READOUT_HOURS_MAX {
            let detail = format!("one reply spans at most {READOUT_HOURS_MAX} hours");
            return Err(invalid("from", &detail).limit(READOUT_HOURS_MAX.into()));
        }
        Ok(Self { by, from, until, account: query.account()? })
    }
}

/// Sums as they come, by what is asked for.
#[derive(Debug)]
pub struct Sums<K> {
    pub rows: BTreeMap<K, Totals>,
    pub total: Totals,
    taken: usize,
    too_many: Option<usize>,
}

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), total: Totals::default(), taken: 0, too_many: None }
    }
}

impl<K: Ord> Sums<K> {
    /// Adds to a row; false where there are more than there may be.
    pub fn add(&mut self, key: K, totals: &Totals) -> bool {
        self.taken += 1;
        if self.taken > READOUT_SUMS_MAX {
            self.too_many = Some(READOUT_SUMS_MAX);
            return false;
        }
        *self.rows.entry(key).or_default() += totals;
        self.total += totals;
        if self.rows.len() > READOUT_ROWS_MAX {
            self.too_many = Some(READOUT_ROWS_MAX);
        }
        self.too_many.is_none()
    }

    /// The same, if it is all.
    ///
    /// # Errors
    ///
    /// A problem where there was more than is added up for one reply.
    pub fn finish(self) -> Result<Self, Problem> {
        let Some(limit) = self.too_many else { return Ok(self) };
        let detail = match limit {
            READOUT_ROWS_MAX => format!("a reply has at most {limit} rows"),
            _ => format!("at most {limit} sums of an hour are added up"),
        };
        let detail = format!("{detail}: ask for a shorter time, or for one account");
        Err(Problem::new(ProblemKind::TooManyRows, detail).limit(limit as u64))
    }
}

/// The row that a sum belongs to: an hour, a day, or a number of an account, or of a dtype or
/// storage.
pub fn group(by: By, key: UsageKey) -> u32 {
    match by {
        By::Hour => key.hour,
        By::Day => key.hour / 24,
        By::Account => key.account,
        By::Dtype => key.kind as u32,
    }
}

/// The reply.
#[derive(Debug, Serialize)]
pub struct UsageReply<'a> {
    pub by: By,
    pub from: String,
    pub until: String,
    /// The one that was asked about; `None`: all.
    pub account: Option<&'a AccountId>,
    pub currency: Currency,
    pub ledger: &'static str,
    pub rows: Vec<Row>,
    pub total: Totals,
}

/// One row: its hour, day, account or dtype (or `storage`), and what there was.
#[derive(Debug, Serialize)]
pub struct Row {
    pub group: String,
    #[serde(flatten)]
    pub totals: Totals,
}

/// Bytes of JSON that a row has at most: six numbers of 39 digits, one of 20, their names, and an
/// id.
pub const ROW_BYTES_MAX: usize = 460;
/// Those of the rest.
pub const REST_BYTES_MAX: usize = 1024;

/// The rows of sums, in order; `account` names those.
pub fn rows<'a>(
    by: By,
    sums: &BTreeMap<u32, Totals>,
    account: impl Fn(u32) -> &'a AccountId,
) -> Vec<Row> {
    let name = |group: u32| match by {
        By::Hour => hour_text(group),
        By::Day => day_text(group),
        By::Account => account(group).to_string(),
        By::Dtype => UsageKind::ALL[group as usize].name().into(),
    };
    let mut rows: Vec<Row> =
        sums.iter().map(|(group, totals)| Row { group: name(*group), totals: *totals }).collect();
    // Times are in order as they are.
    rows.sort_by(|one, next| one.group.cmp(&next.group));
    rows
}
