//! `gemmule admin` against the service on Linux.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::service::key_of;
use crate::support::host::Host;

/// Runs `gemmule admin` with a key.
fn admin(host: &Host, key: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gemmule"))
        .arg("admin")
        .args(words)
        .env("GEMMULE_URL", format!("http://{}", host.addr()))
        .env("GEMMULE_KEY", key)
        .output()
        .expect("the binary starts")
}

#[test]
fn the_command_line_makes_accounts_and_keys() {
    let host = Host::start(&["--threads", "0"]);
    let first = host.wait_for_line("admin key");
    let first = first.split("another: ").nth(1).expect("a key").trim();
    let json = |key: &str, words: &[&str]| -> Value {
        let output = admin(&host, key, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let made = json(first, &["key", "create", "operator", "--scopes", "admin"]);
    let key = key_of(&made);
    json(&key, &["account", "create", "acme", "--name", "Acme & Co", "--jobs-at-once", "4"]);
    let changed = json(&key, &["account", "limits", "acme", "--jobs-at-once", "none"]);
    assert_eq!((&changed["name"], &changed["prepaid"]), (&json!("Acme & Co"), &json!(false)));
    assert_eq!(changed["limits"]["jobs_at_once"], Value::Null);
    let submit = json(&key, &["key", "create", "acme", "--scopes", "submit"]);
    let rotated = json(&key, &["key", "rotate", submit["id"].as_str().expect("an id")]);
    json(&key, &["key", "revoke", rotated["id"].as_str().expect("an id")]);
    let keys = json(&key, &["keys", "acme"]);
    let states = [&keys["keys"][0]["state"], &keys["keys"][1]["state"]];
    assert!(states.contains(&&json!("expired")) && states.contains(&&json!("revoked")), "{keys}");
    assert_eq!(json(&key, &["credit", "acme", "-5", "a mistake"])["credited_micros"], -5);
    assert_eq!(json(&key, &["tariffs"])["tariffs"][0]["name"], "standard");
    let keys = json(&key, &["receipt-key", "rotate"]);
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(2), "{keys}");
    // What is refused ends with 1, and says why; a key is never an argument.
    let refused = admin(&host, &key, &["account", "create", "acme"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("/problems/account-exists"));
    let mistyped = admin(&host, "gml_", &["accounts"]);
    assert_eq!(mistyped.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&mistyped.stderr).contains("mistyped"));
    assert_eq!(admin(&host, &key, &["frobnicate"]).status.code(), Some(2));
}
