//! What the ledger comes to, against the bills that clients were given: in virtual time, over
//! months, accounts and dtypes, in memory and on a volume.

#[path = "../accounts/service.rs"]
#[allow(dead_code)]
mod service;

mod months;

mod csv;

mod bills;

mod usage;

mod invoices;

mod events;

mod feeds;

#[path = "../support/mod.rs"]
mod support;
