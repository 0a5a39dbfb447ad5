//! The published client of the inference protocol, from the Python package index.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::python::environment;

/// The suite, and what it needs.
const SUITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton");

/// Runs `tests/triton` against the service at `addr`.
pub fn run_suite(addr: SocketAddr, arguments: &[&str]) {
    let environment = environment("triton", &Path::new(SUITE).join("requirements.txt"));
    let output = Command::new(environment.join("bin/python3"))
        .args(["-B", SUITE, &addr.to_string()])
        .args(arguments)
        .output()
        .expect("the environment's Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
