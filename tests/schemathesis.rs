//! The service against its own description, by schemathesis, which makes requests of it that it
//! allows and that it doesn't, and checks the replies. What it can't know of jobs is in
//! `tests/schemathesis`.
//!
//! `SEED=N` and `EXAMPLES=N` make other requests, and more for each operation.

mod support;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use support::host::Host;
use support::python::environment;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");

/// Requests for each operation and phase, where the environment doesn't say: some ten seconds.
const EXAMPLES: &str = "10";

#[test]
fn the_service_does_what_its_description_says() {
    let host = Host::serve(&[]);
    let environment = environment("schemathesis", &Path::new(FOLDER).join("requirements.txt"));
    // It leaves files where it runs.
    let scratch = environment.join("scratch");
    fs::create_dir_all(&scratch).expect("a folder can be made");
    let examples = env::var("EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let random = match env::var("SEED") {
        Ok(seed) => format!("--seed={seed}"),
        Err(_) => "--generation-deterministic".to_owned(),
    };
    let output = Command::new(environment.join("bin/python3"))
        .args(["-B", "-m", "schemathesis.cli", "run", "--no-color", "--max-examples", &examples])
        // The first need the operator's key; the others something that is there already, a job or a
        // matrix or a name, or bytes that are a matrix, which no schema tells apart from others.
        .args(["--exclude-path-regex", "^/v1/(admin/|jobs/[^/]+|matrices|references/)"])
        .arg(random)
        .arg(format!("http://{}/openapi.json", host.addr()))
        .env("SCHEMATHESIS_HOOKS", Path::new(FOLDER).join("hooks.py"))
        .current_dir(scratch)
        .output()
        .expect("the environment's Python runs");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!report.contains("Warnings:"), "some operation was not put to the test: {report}");
}
