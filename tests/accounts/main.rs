//! Accounts, keys and what operators do with them: in virtual time, through power cuts, and from
//! the command line.

mod service;

mod keys;

mod operators;

mod receipt_keys;

mod verified;

mod flood;

mod durable;

mod command_line;

#[path = "../support/mod.rs"]
mod support;
