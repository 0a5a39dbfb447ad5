//! The service against its own description, by schemathesis, which makes requests of it that it
//! allows and that it doesn't, and checks the replies. What it can't know, as what is there to be
//! asked for, is in `tests/schemathesis`.
//!
//! `SEED=N` and `EXAMPLES=N` make other requests, and more for each operation.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs};

use serde_json::{Value, json};
use support::host::Host;
use support::http::Client;
use support::python::environment;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");

/// Requests for each operation and phase, where the environment doesn't say.
const EXAMPLES: &str = "10";

/// It ends the service that is asked, so that it is asked once.
const DRAIN: &str = "/v1/admin/drain";
const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn the_service_does_what_its_description_says() {
    let anyone = Tool::of(Host::serve(&[]), None);
    let for_anyone = anyone.run("clients", &["--exclude-path-regex", "^/v1/admin/"]);
    drop(anyone);
    let host = Host::start(&[]);
    let key = operator_key(&host);
    let operator = Tool::of(host, Some(key));
    let paths = ["--include-path-regex", "^/v1/admin/", "--exclude-path", DRAIN];
    let for_operators = operator.run("operators", &paths);
    operator.drain();
    // None is left out but the last, which was asked for by itself.
    assert_eq!(for_anyone["tested"], for_anyone["selected"]);
    assert_eq!(for_operators["tested"], for_operators["selected"]);
    let count = |operations: &Value| operations["tested"].as_u64().expect("a count");
    assert_eq!(json!(count(&for_anyone) + count(&for_operators) + 1), for_anyone["total"]);
}

/// What may be done with everything, by whoever has it.
fn operator_key(host: &Host) -> String {
    let line = host.wait_for_line("admin key");
    let first = line.rsplit(' ').next().expect("the line ends with the key");
    let bearer = format!("Bearer {first}");
    let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let scopes = json!({"scopes": ["admin", "read", "submit"]}).to_string();
    let mut client = Client::connect(host.addr(), TIMEOUT).expect("it serves");
    let path = "/v1/admin/accounts/operator/keys";
    let made = client.request("POST", path, &fields, Some(scopes.as_bytes())).expect("a reply");
    made.json()["key"].as_str().expect("a key").to_owned()
}

/// schemathesis, and what it is put to.
struct Tool {
    host: Host,
    key: Option<String>,
    environment: PathBuf,
}

impl Tool {
    fn of(host: Host, key: Option<String>) -> Self {
        let requirements = Path::new(FOLDER).join("requirements.txt");
        Self { host, key, environment: environment("schemathesis", &requirements) }
    }

    /// Puts operations to the test; how many there are, and how many were.
    ///
    /// # Panics
    ///
    /// If one has failed, or the tool doubts that it was tested.
    fn run(&self, name: &str, paths: &[&str]) -> Value {
        let examples = env::var("EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
        let random = match env::var("SEED") {
            Ok(seed) => format!("--seed={seed}"),
            Err(_) => "--generation-deterministic".to_owned(),
        };
        let file = self.environment.join(format!("{name}.json"));
        let mut command = self.python();
        command
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(Path::new(FOLDER).join("schemathesis.toml"))
            .args(["run", "--no-color", "--report", "json"])
            .args(["--max-examples", &examples, &random])
            .arg("--report-json-path")
            .arg(&file)
            .args(paths);
        if let Some(key) = &self.key {
            command.args(["--header", &format!("Authorization: Bearer {key}")]);
        }
        let output = command.arg(format!("http://{}/openapi.json", self.host.addr())).output();
        let text = expect_success(&output.expect("the environment's Python runs"));
        assert!(!text.contains("Warnings:"), "some operation was not put to the test: {text}");
        let report = fs::read(file).expect("it has written the report");
        serde_json::from_slice::<Value>(&report).expect("JSON")["operations"].take()
    }

    /// The service ends in order, and says so first.
    fn drain(self) {
        let output = self.python().arg(Path::new(FOLDER).join("drain.py")).output();
        expect_success(&output.expect("the environment's Python runs"));
        assert!(self.host.wait(TIMEOUT).success());
    }

    fn python(&self) -> Command {
        // It leaves files where it runs.
        let scratch = self.environment.join("scratch");
        fs::create_dir_all(&scratch).expect("a folder can be made");
        let mut command = Command::new(self.environment.join("bin/python3"));
        command
            .arg("-B")
            .env("PYTHONPATH", FOLDER)
            .env("SCHEMATHESIS_HOOKS", Path::new(FOLDER).join("hooks.py"))
            .env("GEMMULE_URL", format!("http://{}", self.host.addr()))
            .current_dir(scratch);
        match &self.key {
            Some(key) => command.env("GEMMULE_KEY", key),
            None => command.env_remove("GEMMULE_KEY"),
        };
        command
    }
}

/// What it has printed.
fn expect_success(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}
