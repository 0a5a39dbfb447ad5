//! `GET /v1/usage/events`: charges and corrections as CloudEvents 1.0, in the order of the ledger.
//!
//! A cursor is the sequence number of the last entry that was looked at, so that nothing has to be
//! kept for those who read. An event is the same, to the byte, whenever it is read.

use alloc::format;
use alloc::string::String;

use serde::Serialize;

use crate::billing::JobId;
use crate::ledger::AccountId;
use crate::ledger::entry::{Charge, Correction, Entry, Record, StorageCharge};
use crate::limits::{EVENT_ENTRIES_MAX, EVENTS_DEFAULT, EVENTS_MAX, NODE_NAME_BYTES_MAX};
use crate::problem::{Problem, ProblemKind};
use crate::readout::decimal;
use crate::readout::query::{Query, invalid};
use crate::time::Civil;

/// Of a batch in JSON (CloudEvents 1.0, JSON event format, section 4).
pub const MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// The types of events.
pub const CHARGED: &str = "gemmule.job.charged";
pub const CORRECTED: &str = "gemmule.job.corrected";
pub const STORED: &str = "gemmule.storage.charged";

/// Bytes of JSON that an event of a charge has at most; that of a correction has its reason
/// besides.
pub const EVENT_BYTES_MAX: usize = 2048;

const _: () = assert!(1280 + 6 * NODE_NAME_BYTES_MAX < EVENT_BYTES_MAX, "JSON escapes any name");

/// What is asked.
#[derive(Debug)]
pub struct EventsQuery {
    /// The cursor: the last entry that was looked at.
    pub after: Option<u64>,
    pub limit: usize,
    pub account: Option<AccountId>,
}

impl EventsQuery {
    /// Reads the query.
    ///
    /// # Errors
    ///
    /// A problem that names the parameter at fault.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let query = Query::parse(query, &["after", "limit", "account"])?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let number = |text: &str| is_number(text).then(|| text.parse().ok()).flatten();
        let after = query.read("after", "a cursor of this feed", number)?;
        let limit = query.read("limit", "a number", number)?.unwrap_or(EVENTS_DEFAULT as u64);
        if !(1..=EVENTS_MAX as u64).contains(&limit) {
            let detail = format!("a reply has 1 to {EVENTS_MAX} events");
            return Err(invalid("limit", &detail).limit(EVENTS_MAX as u64));
        }
        Ok(Self { after, limit: limit as usize, account: query.account()? })
    }

    /// The first entry to look at, where those before `first_kept` are gone and those from
    /// `durable_until` on may not be told yet.
    ///
    /// # Errors
    ///
    /// A problem where entries behind the cursor are gone, or where it is of another ledger.
    pub fn first(&self, first_kept: u64, durable_until: u64) -> Result<u64, Problem> {
        let Some(after) = self.after else { return Ok(first_kept) };
        let expired = |detail: String| {
            Problem::new(ProblemKind::CursorExpired, detail).at("?after").limit(first_kept)
        };
        let next = after.saturating_add(1);
        if next < first_kept {
            let detail = format!("this ledger is in memory, and begins with entry {first_kept}");
            return Err(expired(detail));
        }
        if next > durable_until {
            return Err(expired(format!("this ledger has {durable_until} entries so far")));
        }
        Ok(next)
    }
}

/// Events as they are found.
#[derive(Debug)]
pub struct Batch<'a> {
    query: &'a EventsQuery,
    /// Whose events are wanted, as lines name it.
    wanted: Option<String>,
    source: String,
    text: String,
    events: usize,
    entries: usize,
    /// The last entry that was looked at.
    pub cursor: Option<u64>,
    /// A line that is no entry.
    pub is_damaged: bool,
}

impl<'a> Batch<'a> {
    /// None so far, of the ledger that is called so, and of an account or all.
    pub fn begin(query: &'a EventsQuery, ledger: &str, account: Option<&AccountId>) -> Self {
        Self {
            query,
            // Lines are written one way only, and a text within them has no bare quotes.
            wanted: account.map(|account| format!(":{{\"account\":\"{account}\",")),
            source: format!("/ledgers/{ledger}"),
            text: String::from("["),
            events: 0,
            entries: 0,
            cursor: query.after,
            is_damaged: false,
        }
    }

    /// Looks at a line; false where there is enough.
    pub fn push(&mut self, sequence: u64, line: &str) -> bool {
        self.cursor = Some(sequence);
        self.entries += 1;
        let is_wanted = self.wanted.as_ref().is_none_or(|wanted| line.contains(wanted.as_str()));
        if is_wanted {
            match Entry::parse(line) {
                Ok(entry) => self.push_entry(&entry),
                Err(_) => self.is_damaged = true,
            }
        }
        !self.is_damaged && self.events < self.query.limit && self.entries < EVENT_ENTRIES_MAX
    }

    fn push_entry(&mut self, entry: &Entry) {
        let (kind, account, data) = match &entry.record {
            Record::Charge(charge) => (CHARGED, &charge.account, Data::of_charge(entry, charge)),
            Record::Correction(correction) => {
                (CORRECTED, &correction.account, Data::of_correction(entry, correction))
            }
            Record::Storage(charge) => (STORED, &charge.account, Data::of_storage(entry, charge)),
            _ => return,
        };
        // A job's id is never given twice, on whatever ledger, and tells its entries apart by their
        // numbers. Of an account, no two records of storage begin at one time.
        let id = match (&data.job, data.from_unix_ns) {
            (Some(job), _) => format!("{job}-{}", entry.sequence),
            (None, from) => format!("storage-{account}-{}", from.unwrap_or_default()),
        };
        let mut time = String::new();
        Civil::from_unix_ns(entry.at_unix_ns).push_rfc3339(&mut time);
        let event = Event {
            specversion: "1.0",
            id,
            source: &self.source,
            kind,
            subject: account,
            time,
            datacontenttype: "application/json",
            data,
        };
        if self.events > 0 {
            self.text.push(',');
        }
        let json = serde_json::to_string(&event).expect("an event is plain text and numbers");
        self.text.push_str(&json);
        self.events += 1;
    }

    /// The batch as JSON.
    pub fn finish(mut self) -> String {
        self.text.push(']');
        self.text
    }
}

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a AccountId,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

/// The same fields in all events that can be summed, so that whatever sums them needs no cases; but
/// storage has its own.
#[derive(Serialize)]
struct Data<'a> {
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobId>,
    account: &'a AccountId,
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<&'static str>,
    flops: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// In and out.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_hours: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_unix_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_unix_ns: Option<u64>,
    /// Below 0 where it is given back.
    amount_micros: i128,
    amount: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tariff: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tariff_version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executed_flops: Option<u64>,
}

impl<'a> Data<'a> {
    fn of_charge(entry: &Entry, charge: &'a Charge) -> Self {
        Self {
            job: Some(charge.job),
            dtype: Some(charge.dtype.name()),
            flops: charge.flops,
            bytes_in: charge.bytes_in,
            bytes_out: charge.bytes_out,
            bytes: charge.bytes_in.saturating_add(charge.bytes_out),
            currency: Some(charge.currency.as_str()),
            tariff: Some(&charge.tariff),
            tariff_version: Some(charge.tariff_version),
            task: charge.task,
            node: charge.node.as_deref(),
            cached: charge.cached.then_some(true),
            algorithm: charge.algorithm.as_deref(),
            executed_flops: charge.executed_flops,
            ..Self::of(entry, &charge.account, charge.amount_micros.into())
        }
    }

    fn of_correction(entry: &Entry, correction: &'a Correction) -> Self {
        let amount_micros = -i128::from(correction.amount_micros);
        Self {
            job: Some(correction.job),
            dtype: Some(correction.dtype.name()),
            reason: Some(&correction.reason),
            ..Self::of(entry, &correction.account, amount_micros)
        }
    }

    fn of_storage(entry: &Entry, charge: &'a StorageCharge) -> Self {
        Self {
            byte_hours: Some(charge.byte_hours),
            from_unix_ns: Some(charge.from_unix_ns),
            until_unix_ns: Some(charge.until_unix_ns),
            currency: Some(charge.currency.as_str()),
            tariff: Some(&charge.tariff),
            tariff_version: Some(charge.tariff_version),
            ..Self::of(entry, &charge.account, charge.amount_micros.into())
        }
    }

    /// What all events have.
    fn of(entry: &Entry, account: &'a AccountId, amount_micros: i128) -> Self {
        Self {
            sequence: entry.sequence,
            job: None,
            account,
            dtype: None,
            flops: 0,
            bytes_in: 0,
            bytes_out: 0,
            bytes: 0,
            byte_hours: None,
            from_unix_ns: None,
            until_unix_ns: None,
            amount_micros,
            amount: decimal::amount(amount_micros),
            currency: None,
            tariff: None,
            tariff_version: None,
            reason: None,
            task: None,
            node: None,
            cached: None,
            algorithm: None,
            executed_flops: None,
        }
    }
}
