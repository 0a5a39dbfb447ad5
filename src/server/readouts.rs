//! Finds the figures of a readout, and sends them once they are durable.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::api::{auth, to_json};
use crate::billing::Currency;
use crate::http::{RequestHead, Response};
use crate::job::memory_problem;
use crate::job::queue::AccountIndex;
use crate::ledger::usage::{UsageKey, UsageKind};
use crate::ledger::volume::VolumeError;
use crate::ledger::{AccountId, Scope};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::readout::events::{self, EventsQuery};
use crate::readout::invoice::{Form, Invoice, Line};
use crate::readout::span::hour_text;
use crate::readout::usage::{self, Sums, UsageQuery, UsageReply};
use crate::readout::{Month, Query, Readout};
use crate::server::payer::Caller;
use crate::server::{Server, SessionId};
use crate::text::{push_hex, push_number};
use crate::time::{Now, hour_of};

/// What is sent, and the memory that it holds.
type Reply = (Response, Promise);

impl Server {
    /// Answers a request for a readout: events at once, which are durable, and what sums entries
    /// once they are.
    ///
    /// # Errors
    ///
    /// A problem with what is asked.
    pub(super) fn read_out(
        &mut self,
        id: SessionId,
        readout: Readout,
        head: &RequestHead,
        caller: Caller,
        now: Now,
    ) -> Result<(), Problem> {
        let ((response, promise), until) = match readout {
            Readout::Events => (self.events(&head.query, caller)?, 0),
            Readout::Usage => (self.usage(&head.query, caller, now)?, self.book.sequence()),
            Readout::Invoice(period) => {
                (self.invoice(period, head, caller, now)?, self.book.sequence())
            }
        };
        self.answer_when_durable(id, response, Some(promise), until, now);
        Ok(())
    }

    fn usage(&mut self, query: &str, caller: Caller, now: Now) -> Result<Reply, Problem> {
        let query = UsageQuery::parse(query, now.unix_ns)?;
        let account = self.account_to_read(query.account.as_ref(), caller)?;
        let sums =
            self.sums(account, query.from, query.until, |key| usage::group(query.by, key))?;
        let bytes_max = usage::REST_BYTES_MAX + sums.rows.len() * usage::ROW_BYTES_MAX;
        let promise = self.promise_reply(bytes_max)?;
        let id = |account| &self.book.account(account).account.id;
        let reply = UsageReply {
            by: query.by,
            from: hour_text(query.from),
            until: hour_text(query.until),
            account: account.map(id),
            currency: self.currency(),
            ledger: self.book.kind(),
            rows: usage::rows(query.by, &sums.rows, id),
            total: sums.total,
        };
        Ok(fitting(Response::json(200, to_json(&reply)), promise, bytes_max))
    }

    fn invoice(
        &mut self,
        period: Month,
        head: &RequestHead,
        caller: Caller,
        now: Now,
    ) -> Result<Reply, Problem> {
        let query = Query::parse(&head.query, &["format", "account"])?;
        let form = Form::find(&query, head)?;
        let account = self.account_to_read(query.account()?.as_ref(), caller)?;
        let (from, until) = (period.first_hour(), period.end_hour());
        if hour_of(now.unix_ns) < from {
            return Err(Problem::new(ProblemKind::UnknownPeriod, "the month has not begun"));
        }
        let place = |key: UsageKey| (key.account, key.hour / 24, key.kind);
        let sums = self.sums(account, from, until, place)?;
        let bytes_max = Form::REST_BYTES_MAX + 2 * sums.rows.len() * form.line_bytes_max();
        let promise = self.promise_reply(bytes_max)?;
        let of = |index| &self.book.account(index).account;
        let mut lines: Vec<Line<'_>> = sums
            .rows
            .iter()
            .flat_map(|((account, day, kind), totals): (&(AccountIndex, u32, UsageKind), _)| {
                Line::of(of(*account), *day, *kind, totals)
            })
            .collect();
        // Stable: days, kinds and corrections stay in order.
        lines.sort_by(|one, next| one.account.id.cmp(&next.account.id));
        let invoice = Invoice {
            period,
            is_open: period.is_open(now.unix_ns),
            account: account.map(of),
            currency: self.currency(),
            ledger: self.book.kind(),
            lines,
            total: sums.total,
        };
        Ok(fitting(invoice.write(form), promise, bytes_max))
    }

    fn events(&mut self, query: &str, caller: Caller) -> Result<Reply, Problem> {
        let query = EventsQuery::parse(query)?;
        let account = self.account_to_read(query.account.as_ref(), caller)?;
        let durable_until = self.book.durable_until();
        let first = query.first(self.book.first_kept(), durable_until)?;
        let bytes_max = usage::REST_BYTES_MAX + query.limit * events::EVENT_BYTES_MAX;
        let promise = self.promise_reply(bytes_max)?;
        let account = account.map(|index| &self.book.account(index).account.id);
        let mut batch = events::Batch::begin(&query, &self.ledger_name(), account);
        let visited = self.book.visit_lines(first, &mut |at, line| batch.push(at, line));
        let visited = match visited {
            Ok(()) if batch.is_damaged => Err(VolumeError::Damaged("a line is no entry".into())),
            visited => visited,
        };
        let cursor = batch.cursor;
        let body = batch.finish();
        visited.map_err(|error| self.ledger_problem(&error))?;
        let mut response = Response {
            status: 200,
            content_type: events::MEDIA_TYPE,
            fields: String::new(),
            body: body.into_bytes().into(),
        };
        if let Some(cursor) = cursor {
            response = response.with_number("Gemmule-Cursor", cursor);
            if cursor + 1 < durable_until {
                response = response.with_field_of("Link", |text| push_next(text, &query, cursor));
            }
        }
        Ok(fitting(response, promise, bytes_max))
    }

    /// Whose figures are read: those of the account that is named, or else of all where the caller
    /// may read them, and of the caller's own where not.
    ///
    /// # Errors
    ///
    /// A problem where there is no such account, or where it is none of the caller's business.
    fn account_to_read(
        &self,
        named: Option<&AccountId>,
        caller: Caller,
    ) -> Result<Option<AccountIndex>, Problem> {
        let Some(id) = named else {
            return Ok((!caller.is_admin).then_some(caller.account));
        };
        match self.book.account_index(id) {
            Some(index) if caller.is_admin || index == caller.account => Ok(Some(index)),
            None if caller.is_admin => {
                let detail = format!("there is no account {id}");
                Err(Problem::new(ProblemKind::UnknownAccount, detail).at("?account"))
            }
            _ => Err(auth::lacking(Scope::Admin)),
        }
    }

    /// What was used, by what `place` makes of each sum.
    fn sums<K: Ord>(
        &mut self,
        account: Option<AccountIndex>,
        from: u32,
        until: u32,
        place: impl Fn(UsageKey) -> K,
    ) -> Result<Sums<K>, Problem> {
        let mut sums = Sums::default();
        let read =
            self.book.usage(account, from, until, &mut |key, totals| sums.add(place(key), totals));
        read.map_err(|error| self.ledger_problem(&error))?;
        sums.finish()
    }

    fn promise_reply(&self, bytes_max: usize) -> Result<Promise, Problem> {
        self.memory.promise(bytes_max).map_err(|shortage| memory_problem(shortage, bytes_max))
    }

    /// Of all amounts.
    pub(super) fn currency(&self) -> Currency {
        self.book.tariffs().map_or(self.config.tariff.currency, |tariffs| tariffs.currency())
    }

    /// What tells this ledger from others: its volume's name.
    fn ledger_name(&self) -> String {
        match self.book.volume() {
            None => String::from("ephemeral"),
            Some(volume) => {
                let mut name = String::new();
                push_hex(&mut name, &volume.id());
                name
            }
        }
    }
}

/// A reply with no more memory than it takes.
fn fitting(response: Response, mut promise: Promise, bytes_max: usize) -> Reply {
    let bytes = response.body.bytes();
    debug_assert!(bytes <= bytes_max, "{bytes} bytes, {bytes_max} were promised");
    promise.resize(bytes).expect("a promise can be made smaller");
    (response, promise)
}

/// Appends where the next events are (RFC 8288).
fn push_next(text: &mut String, query: &EventsQuery, cursor: u64) {
    text.push_str("</v1/usage/events?after=");
    push_number(text, cursor);
    text.push_str("&limit=");
    push_number(text, query.limit as u64);
    if let Some(account) = &query.account {
        text.push_str("&account=");
        text.push_str(account.as_str());
    }
    text.push_str(">; rel=\"next\"");
}
