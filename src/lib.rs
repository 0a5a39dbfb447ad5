//! Gemmule's core: matrix jobs over HTTP, multiplied, metered and billed.
//!
//! The core does no I/O and reads no clock: bytes, the time and a random seed come in as
//! arguments. The modules stand in the order in which a request meets them.

#![no_std]
#![deny(unsafe_code)]
#![deny(missing_debug_implementations)]

extern crate alloc;

pub mod server;

pub mod http;

pub mod api;
pub mod formats;
pub mod inference;

pub mod store;

pub mod expression;
pub mod task;

pub mod job;
pub mod json;

pub mod gemm;
pub mod large;

pub mod billing;
pub mod ledger;
pub mod readout;

mod base64;
pub mod limits;
pub mod memory;
pub mod problem;
mod text;
pub mod time;
