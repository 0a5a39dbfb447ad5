//! What serves, and how it is.

use gemmule::problem::ProblemKind;
use serde_json::json;

use super::core::json_of;
use super::document::{Operation, json_reply, path_parameter};

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    let get = |id, summary, reply| Operation::get("machine", id, summary, reply);
    let health = json_reply("Jobs are taken.", "Health", json_of("GET", "/healthz"));
    let health =
        get("health", "Whether jobs are taken", health).with(Vec::new(), &[ProblemKind::Draining]);
    let version = json_of("GET", "/v1/version");
    let version = json_reply("Software, processor, prices and limits.", "Version", version);
    let page = json!({
        "description": "Prometheus's text format 0.0.4.",
        "content": {"text/plain": {
            "schema": {"type": "string"},
            "example": "# HELP gemmule_connections_open Connections open now.\n\
                # TYPE gemmule_connections_open gauge\ngemmule_connections_open 1\n",
        }},
    });
    let document = json!({
        "description": "OpenAPI 3.1.",
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["openapi", "info", "paths", "components"],
        }}},
    });
    let names: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
    let name = path_parameter("name", json!({"type": "string", "enum": names}), "ragged-rows");
    let meaning = json_of("GET", "/problems/ragged-rows");
    let meaning = json_reply("What the problem means.", "ProblemType", meaning);
    let problem = get("problemType", "What a problem type means", meaning)
        .with(vec![name], &[ProblemKind::UnknownProblem]);
    vec![
        ("/healthz".into(), vec![health]),
        ("/v1/version".into(), vec![get("version", "What serves, at which prices", version)]),
        ("/metrics".into(), vec![get("metrics", "Counts and times", page)]),
        ("/openapi.json".into(), vec![get("openapi", "This document", document)]),
        ("/problems/{name}".into(), vec![problem]),
    ]
}
