//! What the integration tests and benchmarks share.
//!
//! Tests write `mod support;`, benchmarks `#[path = "../tests/support/mod.rs"] mod support;`.
//! Listed in the order a test needs them: a machine to talk to, a client to talk with, many clients
//! at once, a wire that loses frames, a disk that loses power, the core on it, accounts, and Linux
//! to be compared with.

// Every test binary compiles all of this and uses its own part.
#![allow(dead_code)]

pub mod host;
pub mod vm;

pub mod http;

pub mod transcript;

pub mod metrics;

pub mod load;

pub mod transfer;

pub mod clients;

pub mod payers;

pub mod python;

pub mod triton;

pub mod wire;

pub mod power;

pub mod machine;

pub mod accounts;

pub mod peer;

pub mod random;
