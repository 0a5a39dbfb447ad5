//! Matrices that stay: sent whole or in chunks, read back, named, kept for a time, and told to
//! nobody but their account.

mod bench;

mod whole;

mod uploads;

mod reading;

mod keeping;

mod cuts;

mod link;

#[path = "../support/mod.rs"]
mod support;
