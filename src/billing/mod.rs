//! Billing: how much work a job was, what it costs, and the bill that says so.

pub mod meter;

pub mod currency;

pub mod tariff;

pub mod terms;

pub mod storage;

pub mod book;

pub mod bill;

pub mod task;

pub use bill::{Bill, JobId, RecentBills};
pub use book::TariffBook;
pub use currency::Currency;
pub use meter::Usage;
pub use storage::{StorageMark, StorageMeter, StorageSpan};
pub use tariff::{MonthToDate, Tariff};
pub use task::TaskBill;
