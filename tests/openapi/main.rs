//! `GET /openapi.json`: generated here from the service's own tables and replies, and served from
//! the file that is compared with it.
//!
//! `GEMMULE_BLESS=1 cargo test --test openapi` rewrites the file; the diff is reviewed.

mod core;

mod document;

mod multiply;

mod quote;

mod jobs;

mod job_schemas;

mod expressions;

mod readouts;

mod matrices;

mod machine;

mod admin;

mod inference;

mod infer;

mod schemas;

#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gemmule::api::routes;
use gemmule::problem::ProblemKind;
use serde_json::{Value, json};
use support::http::write_request;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi.json");

#[test]
fn the_file_is_up_to_date_and_served() {
    let text = document::text(&document::document());
    if std::env::var_os("GEMMULE_BLESS").is_some() {
        fs::write(FILE, &text).expect("the file can be written");
        return;
    }
    let file = fs::read_to_string(FILE).expect("the file is there");
    let first = text.lines().zip(file.lines()).find(|(new, old)| new != old);
    assert!(text == file, "the file is out of date: {first:?}; see above how to bless");
    let served = core::ask(&[write_request("GET", "/openapi.json", &[], None)]);
    assert_eq!((served.status, served.text()), (200, text.as_str()));
    assert_eq!(served.field("Content-Type"), Some("application/json"));
}

#[test]
fn every_path_is_described_with_its_methods() {
    let document = document::document();
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeMap<String, BTreeSet<String>> = paths
        .iter()
        .map(|(path, item)| {
            (pattern(path), item.as_object().expect("methods").keys().cloned().collect())
        })
        .collect();
    let mut expected = BTreeMap::new();
    for (path, allow) in routes::all() {
        // What is always refused has no reply to describe.
        let example = path.replace("{}", "matmul_fp64");
        let is_refused = |method: &str| {
            let body = ["POST", "PUT", "PATCH"].contains(&method).then_some(b"".as_slice());
            let reply = core::ask(&[write_request(method, &example, &[], body)]);
            reply.status == ProblemKind::NotOffered.status()
        };
        // `HEAD` is as `GET`, and `OPTIONS` is the same everywhere.
        let methods = allow.split(", ").filter(|method| !["HEAD", "OPTIONS"].contains(method));
        let methods = methods.filter(|method| !is_refused(method)).map(str::to_lowercase);
        let methods: BTreeSet<String> = methods.collect();
        if !methods.is_empty() {
            expected.insert(path.to_owned(), methods);
        }
    }
    assert_eq!(described, expected);
}

/// A path as the route table writes it.
fn pattern(path: &str) -> String {
    let segments = path.split('/');
    let plain = segments.map(|segment| match segment.split_once('}') {
        Some((_, behind)) => format!("{{}}{behind}"),
        None => segment.to_owned(),
    });
    plain.collect::<Vec<_>>().join("/")
}

#[test]
fn every_problem_is_described() {
    // As the problem of a request, or of a job that has failed.
    let text = document::document()["components"].to_string();
    for kind in ProblemKind::ALL {
        let is_there = text.contains(&format!("\"/problems/{}\"", kind.name()));
        // What has no path can't be described under one.
        assert_eq!(is_there, *kind != ProblemKind::UnknownPath, "{}", kind.name());
    }
}

#[test]
fn replies_have_the_fields_that_are_described_and_no_others() {
    let document = document::document();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("methods").values() {
            let replies = ["200", "201", "202"].map(|status| &operation["responses"][status]);
            for content in replies.map(|reply| &reply["content"]["application/json"]) {
                let named = content["examples"].as_object().into_iter().flatten();
                let values = named.map(|(_, example)| &example["value"]);
                for example in values.chain(content.get("example")) {
                    check(&document, &content["schema"], example, path);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 10, "there are examples");
}

/// Panics where a value has other properties than its schema names, or lacks one that it requires.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).expect(name);
        return check(document, target, value, place);
    }
    if let (Some(alternatives), Value::Object(members)) = (schema["oneOf"].as_array(), value) {
        let resolved = alternatives.iter().map(|schema| match schema["$ref"].as_str() {
            Some(name) => document.pointer(name.trim_start_matches('#')).expect(name),
            None => schema,
        });
        let has_all = |schema: &&Value| {
            let mut required = schema["required"].as_array().into_iter().flatten();
            required.all(|name| members.contains_key(name.as_str().expect("a name")))
        };
        let taken = resolved.filter(|schema| schema["type"] == "object").find(has_all);
        return check(document, taken.expect(place), value, place);
    }
    match value {
        Value::Object(members) if schema.get("properties").is_some() => {
            let described = schema["properties"].as_object().expect("properties");
            let required = schema["required"].as_array().expect("required properties");
            // What need not be there is not missed.
            let is_expected =
                |name: &&String| members.contains_key(*name) || required.contains(&json!(name));
            let expected: BTreeSet<_> = described.keys().filter(is_expected).collect();
            assert_eq!(members.keys().collect::<BTreeSet<_>>(), expected, "at {place}");
            for (name, member) in members {
                check(document, &described[name], member, &format!("{place}/{name}"));
            }
        }
        Value::Array(items) => {
            assert_eq!(schema["type"], "array", "at {place}");
            for item in items {
                check(document, &schema["items"], item, place);
            }
        }
        _ => {}
    }
}
