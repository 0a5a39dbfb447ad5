//! Programs from the Python package index, in environments of their own.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Mutex;

/// The folder of an environment that has what a requirements file names, which the first test on a
/// machine makes.
pub fn environment(name: &str, requirements: &Path) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _guard = MAKING.lock().expect("no environment has failed");
    // Cargo names the folder to tests and benchmarks, which are all that come here.
    let folder = Path::new(option_env!("CARGO_TARGET_TMPDIR").unwrap_or_default());
    let mut hasher = DefaultHasher::new();
    fs::read(requirements).expect("the requirements are there").hash(&mut hasher);
    let environment = folder.join(format!("{name}-{:x}", hasher.finish()));
    if !environment.exists() {
        // Two test binaries may come here at once: each makes its own, and the first one stays.
        let draft = folder.join(format!("{name}-draft-{}", process::id()));
        make_environment(&draft, requirements);
        if fs::rename(&draft, &environment).is_err() {
            fs::remove_dir_all(&draft).expect("the draft is there");
        }
    }
    environment
}

fn make_environment(folder: &Path, requirements: &Path) {
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
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(requirements),
        "installing from the Python package index",
    );
}
