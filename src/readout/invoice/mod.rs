//! `GET /v1/invoices/{period}`: what a calendar month comes to, in four forms.
//!
//! A line is what one account used of one dtype on one day, or was charged for storage on it, or
//! what was given back to it by corrections made on that day, of whatever day their jobs were: what
//! was told once never changes.

mod table;

mod focus;

mod page;

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde::ser::Serializer;

use crate::billing::Currency;
use crate::formats::accept;
use crate::http::{RequestHead, Response};
use crate::ledger::Account;
use crate::ledger::usage::{Totals, UsageKind};
use crate::problem::{Problem, ProblemKind};
use crate::readout::Month;
use crate::readout::decimal;
use crate::readout::query::Query;
use crate::readout::span::{day_text, hour_text};

/// A form of invoices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Csv,
    /// CSV with the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.
    Focus,
    /// A page to print.
    Html,
}

impl Form {
    /// Those that `Accept` may choose come in the order of preference; FOCUS has no media type of
    /// its own.
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Html, Self::Focus];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Focus => "focus",
            Self::Html => "html",
        }
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv | Self::Focus => "text/csv; charset=utf-8; header=present",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// The form that a request wants: what its query says, or else what `Accept` wants most.
    ///
    /// # Errors
    ///
    /// A problem where it is none of these.
    pub fn find(query: &Query, head: &RequestHead) -> Result<Self, Problem> {
        let by_name = |name: &str| Self::ALL.into_iter().find(|form| form.name() == name);
        if let Some(form) = query.read("format", "json, csv, focus or html", by_name)? {
            return Ok(form);
        }
        let accepts = head.field_values("accept");
        if accepts.clone().next().is_none() {
            return Ok(Self::Json);
        }
        let weight = |form: Self| {
            let media_type = form.media_type().split(';').next().unwrap_or_default();
            accept::media_weight(accepts.clone(), media_type)
        };
        // The last of those that weigh most is taken.
        let wanted = [Self::Html, Self::Csv, Self::Json].into_iter().max_by_key(|it| weight(*it));
        wanted.filter(|form| weight(*form) > 0).ok_or_else(|| {
            let detail = "an invoice is application/json, text/csv or text/html";
            Problem::new(ProblemKind::NotAcceptable, detail).at("Accept")
        })
    }

    /// Bytes that a line has at most. A name may be of 256 quotation marks, which CSV doubles; it
    /// is in each line of FOCUS once.
    pub const fn line_bytes_max(self) -> usize {
        match self {
            Self::Json => 704,
            Self::Csv | Self::Html => 576,
            Self::Focus => 1792,
        }
    }

    /// Those of the rest; a page has two names in it, and five bytes for a `&`.
    pub const REST_BYTES_MAX: usize = 8192;
}

/// What a month comes to.
#[derive(Debug)]
pub struct Invoice<'a> {
    pub period: Month,
    /// Its month is not over: there may be more.
    pub is_open: bool,
    /// Whose; `None`: all accounts'.
    pub account: Option<&'a Account>,
    pub currency: Currency,
    pub ledger: &'static str,
    /// By account, day, and dtype or storage.
    pub lines: Vec<Line<'a>>,
    pub total: Totals,
}

/// One line.
#[derive(Debug)]
pub struct Line<'a> {
    pub account: &'a Account,
    /// In days since 1970.
    pub day: u32,
    pub of: UsageKind,
    pub is_correction: bool,
    /// Of a correction, all but `amount_micros` is 0.
    pub jobs: u64,
    pub flops: u128,
    pub bytes_in: u128,
    pub bytes_out: u128,
    pub byte_hours: u128,
    /// Below 0 where it is given back.
    pub amount_micros: i128,
}

impl<'a> Line<'a> {
    /// The lines of one sum: one for what was used, and one for what was given back.
    pub fn of(
        account: &'a Account,
        day: u32,
        of: UsageKind,
        totals: &Totals,
    ) -> impl Iterator<Item = Self> {
        let Totals { jobs, flops, bytes_in, bytes_out, byte_hours, .. } = *totals;
        let is_storage = of == UsageKind::Storage;
        let usage = (jobs > 0 || is_storage).then_some(Self {
            account,
            day,
            of,
            is_correction: false,
            jobs,
            flops,
            bytes_in,
            bytes_out,
            byte_hours,
            amount_micros: signed(totals.amount_micros),
        });
        let correction = (totals.corrected_micros > 0).then_some(Self {
            account,
            day,
            of,
            is_correction: true,
            jobs: 0,
            flops: 0,
            bytes_in: 0,
            bytes_out: 0,
            byte_hours: 0,
            amount_micros: -signed(totals.corrected_micros),
        });
        usage.into_iter().chain(correction)
    }

    const fn kind(&self) -> &'static str {
        match (self.is_correction, self.of) {
            (true, _) => "correction",
            (false, UsageKind::Storage) => "storage",
            (false, _) => "usage",
        }
    }

    /// Of products.
    const fn dtype(&self) -> Option<&'static str> {
        match self.of.dtype() {
            Some(dtype) => Some(dtype.name()),
            None => None,
        }
    }
}

impl Invoice<'_> {
    /// The invoice in a form.
    pub fn write(&self, form: Form) -> Response {
        let body = match form {
            Form::Json => crate::api::to_json(self),
            Form::Csv => table::write(self).into_bytes(),
            Form::Focus => focus::write(self).into_bytes(),
            Form::Html => page::write(self).into_bytes(),
        };
        let content_type = form.media_type();
        let response =
            Response { status: 200, content_type, fields: String::new(), body: body.into() };
        let response = response.with_field("Vary", "Accept");
        match form {
            // The page is text and a style; nothing in a name can be more than text.
            Form::Html => response.with_field(
                "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'",
            ),
            _ => response,
        }
    }

    const fn status(&self) -> &'static str {
        if self.is_open { "open" } else { "closed" }
    }

    /// What is to be paid: what was charged, less what was given back.
    pub fn due_micros(&self) -> i128 {
        signed(self.total.amount_micros) - signed(self.total.corrected_micros)
    }

    fn period(&self) -> String {
        let mut text = String::new();
        self.period.push_to(&mut text);
        text
    }

    /// Of the invoice of one account.
    fn number(&self, account: &Account) -> String {
        let mut text = self.period();
        text.push('-');
        text.push_str(account.id.as_str());
        text
    }
}

/// Sums of amounts are far below what either type ends at: see [`Totals`].
fn signed(micros: u128) -> i128 {
    i128::try_from(micros).unwrap_or(i128::MAX)
}

impl Serialize for Invoice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            period: String,
            status: &'static str,
            from: String,
            until: String,
            number: Option<String>,
            account: Option<&'a str>,
            account_name: Option<&'a str>,
            currency: Currency,
            ledger: &'static str,
            lines: &'a [Line<'a>],
            total: &'a Totals,
            due_micros: i128,
            due: String,
        }
        let json = Json {
            period: self.period(),
            status: self.status(),
            from: hour_text(self.period.first_hour()),
            until: hour_text(self.period.end_hour()),
            number: self.account.map(|account| self.number(account)),
            account: self.account.map(|account| account.id.as_str()),
            account_name: self.account.map(|account| account.name.as_str()),
            currency: self.currency,
            ledger: self.ledger,
            lines: &self.lines,
            total: &self.total,
            due_micros: self.due_micros(),
            due: decimal::amount(self.due_micros()),
        };
        json.serialize(serializer)
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            account: &'a str,
            day: String,
            dtype: Option<&'static str>,
            kind: &'static str,
            jobs: u64,
            flops: u128,
            bytes_in: u128,
            bytes_out: u128,
            byte_hours: u128,
            amount_micros: i128,
            amount: String,
        }
        let json = Json {
            account: self.account.id.as_str(),
            day: day_text(self.day),
            dtype: self.dtype(),
            kind: self.kind(),
            jobs: self.jobs,
            flops: self.flops,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            byte_hours: self.byte_hours,
            amount_micros: self.amount_micros,
            amount: decimal::amount(self.amount_micros),
        };
        json.serialize(serializer)
    }
}
