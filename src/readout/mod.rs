//! What the ledger comes to, for people and for the programs that bill them: usage by time, account
//! or dtype, invoices, and a feed of events.
//!
//! Everything here is a pure function of figures and texts; the server finds the figures.

mod query;

pub mod span;

mod decimal;

pub mod usage;

pub mod invoice;

pub mod events;

pub use query::Query;
pub use span::Month;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// `GET /v1/usage`
    Usage,
    /// `GET /v1/usage/events`
    Events,
    /// `GET /v1/invoices/{period}`
    Invoice(Month),
}
