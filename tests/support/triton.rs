//! The published client of the inference protocol, from the Python package index.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, process};

/// The suite, and what it needs.
const SUITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/triton");
const REQUIREMENTS: &str = include_str!("../triton/requirements.txt");

/// Runs `tests/triton` against the service at `addr`.
pub fn run_suite(addr: SocketAddr, arguments: &[&str]) {
    let output = Command::new(python())
        .args(["-B", SUITE, &addr.to_string()])
        .args(arguments)
        .output()
        .expect("the environment's Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The Python of an environment that has the client, which the first test on a machine makes.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        // Cargo names the folder to tests and benchmarks, which are all that come here.
        let folder = Path::new(option_env!("CARGO_TARGET_TMPDIR").unwrap_or_default());
        let mut hasher = DefaultHasher::new();
        REQUIREMENTS.hash(&mut hasher);
        let environment = folder.join(format!("triton-{:x}", hasher.finish()));
        if !environment.exists() {
            // Two test binaries may come here at once: each makes its own, and the first one stays.
            let draft = folder.join(format!("triton-draft-{}", process::id()));
            make_environment(&draft);
            if fs::rename(&draft, &environment).is_err() {
                fs::remove_dir_all(&draft).expect("the draft is there");
            }
        }
        environment.join("bin/python3")
    })
}

fn make_environment(folder: &Path) {
    let run = |command: &mut Command, what: &str| {
        let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {error}");
    };
    run(
        Command::new("python3").args(["-m", "venv"]).arg(folder),
        "making an environment (Debian: python3-venv)",
    );
    run(
        Command::new(folder.join("bin/python3"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["-r", &format!("{SUITE}/requirements.txt")]),
        "installing the client from the Python package index",
    );
}
