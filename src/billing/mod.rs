//! Billing: how much work a job was, what it costs, and the bill that says so.

pub mod bill;
pub mod currency;
pub mod meter;
pub mod tariff;

pub use bill::{Bill, JobId, RecentBills};
pub use currency::Currency;
pub use meter::Usage;
pub use tariff::Tariff;
