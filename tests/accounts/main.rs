//! Accounts, keys and what operators do with them: in virtual time, and through power cuts.

mod service;

mod keys;

mod operators;

mod flood;

mod durable;

#[path = "../support/mod.rs"]
mod support;
