//! The document as a whole, and what all its operations share.

use gemmule::ledger::Scope;
use gemmule::problem::ProblemKind;
use serde_json::{Map, Value, json};

use super::{admin, inference, jobs, machine, matrices, multiply, quote, readouts, schemas};

/// Problems that any request can meet, before or after its path is known.
const ANYWHERE: [ProblemKind; 8] = [
    ProblemKind::MalformedRequest,
    ProblemKind::RequestTimeout,
    ProblemKind::MethodNotAllowed,
    ProblemKind::TargetTooLong,
    ProblemKind::ExpectationFailed,
    ProblemKind::HeadTooLarge,
    ProblemKind::UnsupportedTransferCoding,
    ProblemKind::VersionNotSupported,
];

/// What can be wrong with a key.
const KEY_PROBLEMS: [ProblemKind; 7] = [
    ProblemKind::Unauthorized,
    ProblemKind::MalformedKey,
    ProblemKind::UnknownKey,
    ProblemKind::ExpiredKey,
    ProblemKind::RevokedKey,
    ProblemKind::Forbidden,
    ProblemKind::AccountClosed,
];

const DESCRIPTION: &str = "Matrix multiplication as a service: a job is one request, and its reply \
is the product with a bill for the floating-point operations it took. Every path answers `OPTIONS` \
with the methods it takes, and `HEAD` where it takes `GET`. Errors are problem details (RFC 9457), \
whose `type` is stable.";

/// One method of one path.
#[derive(Clone)]
pub struct Operation {
    pub method: &'static str,
    pub tag: &'static str,
    /// A name for generated clients.
    pub id: String,
    pub summary: &'static str,
    /// What the summary leaves open; nothing where it does not.
    pub description: &'static str,
    pub parameters: Vec<Value>,
    pub body: Option<Value>,
    /// The reply where all is well, and its status.
    pub reply: Value,
    pub status: &'static str,
    /// Replies with other statuses, where all is well too.
    pub also: Vec<(&'static str, Value)>,
    /// What can go wrong, besides what can go wrong anywhere.
    pub problems: Vec<ProblemKind>,
    /// What a key must let its holder do; nothing where none is needed.
    pub scope: Option<Scope>,
}

/// The whole document.
pub fn document() -> Value {
    let mut problems = Map::new();
    let mut paths = Map::new();
    let all = [
        multiply::paths(),
        quote::paths(),
        jobs::paths(),
        readouts::paths(),
        matrices::paths(),
        machine::paths(),
        admin::paths(),
        inference::paths(),
    ];
    for (path, operations) in all.into_iter().flatten() {
        let operations = operations.into_iter().map(|operation| {
            (
                operation.method.to_owned(),
                operation.into_value(path.starts_with("/v2"), &mut problems),
            )
        });
        let is_new = paths.insert(path.clone(), Value::Object(operations.collect())).is_none();
        assert!(is_new, "{path} is described twice");
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gemmule",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Matrix multiplication as a service",
            "description": DESCRIPTION,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "tags": [
            {"name": "jobs", "description": "Products and their bills."},
            {"name": "matrices", "description": "Matrices that stay."},
            {"name": "accounting", "description": "What the ledger comes to."},
            {"name": "machine", "description": "What serves, and how it is."},
            {"name": "admin", "description": "Accounts, keys and tariffs, for operators."},
            {"name": "inference", "description": inference::DESCRIPTION},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::schemas(),
            "headers": multiply::headers(),
            "responses": problems,
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "gml_ and 49 letters and digits",
                "description": "A key of an account, with the scopes that its operator gave it. A \
                    service that is run open needs none for jobs.",
            }},
        },
    })
}

impl Operation {
    pub fn get(tag: &'static str, id: &str, summary: &'static str, reply: Value) -> Self {
        Self {
            method: "get",
            tag,
            id: id.to_owned(),
            summary,
            description: "",
            parameters: Vec::new(),
            body: None,
            reply,
            status: "200",
            also: Vec::new(),
            problems: Vec::new(),
            scope: None,
        }
    }

    pub fn needs(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// The same, with more that can go wrong.
    pub fn and(mut self, problems: &[ProblemKind]) -> Self {
        self.problems.extend(problems);
        self
    }

    pub fn with(mut self, parameters: Vec<Value>, problems: &[ProblemKind]) -> Self {
        self.parameters = parameters;
        self.problems = problems.to_vec();
        self
    }

    fn into_value(self, is_inference: bool, shared: &mut Map<String, Value>) -> Value {
        let replies = [vec![(self.status, self.reply)], self.also].concat().into_iter();
        let mut responses: Map<_, _> =
            replies.map(|(status, reply)| (status.to_owned(), reply)).collect();
        let of_keys = if self.scope.is_some() { KEY_PROBLEMS.as_slice() } else { &[] };
        let mut kinds = [ANYWHERE.as_slice(), &self.problems, of_keys].concat();
        kinds.sort_by_key(|kind| (kind.status(), *kind as usize));
        for kinds in kinds.chunk_by(|one, next| one.status() == next.status()) {
            let mut name = component_name(kinds, is_inference);
            let response = problem_response(kinds, is_inference);
            // Two sets that begin alike, and are as large, differ in what stands further behind.
            for kind in kinds.iter().rev() {
                if shared.get(&name).is_none_or(|known| *known == response) {
                    break;
                }
                name = format!("{name}-{}", kind.name());
            }
            let known = shared.entry(name.clone()).or_insert_with(|| response.clone());
            assert_eq!(*known, response, "two sets of problems are called {name}");
            responses.insert(
                kinds[0].status().to_string(),
                json!({"$ref": format!("#/components/responses/{name}")}),
            );
        }
        let mut operation = json!({
            "tags": [self.tag],
            "operationId": self.id,
            "summary": self.summary,
            "responses": responses,
        });
        if let Some(scope) = self.scope {
            // A service that is run open asks nobody for a key but its operator.
            operation["security"] = match scope {
                Scope::Admin => json!([{"key": [scope.name()]}]),
                Scope::Submit | Scope::Read => json!([{"key": [scope.name()]}, {}]),
            };
        }
        if !self.description.is_empty() {
            operation["description"] = self.description.into();
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = Value::Array(self.parameters);
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

/// A name for a set of problems with one status.
fn component_name(kinds: &[ProblemKind], is_inference: bool) -> String {
    let more = match kinds.len() - 1 {
        0 => String::new(),
        more => format!("-and-{more}-more"),
    };
    let prefix = if is_inference { "inference-" } else { "" };
    format!("{prefix}{}{more}", kinds[0].name())
}

fn problem_response(kinds: &[ProblemKind], is_inference: bool) -> Value {
    let schema = if is_inference { "InferenceProblem" } else { "Problem" };
    let types: Vec<String> =
        kinds.iter().map(|kind| format!("/problems/{}", kind.name())).collect();
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let mut response = json!({
        "description": titles.join(". "),
        "content": {"application/problem+json": {"schema": {
            "allOf": [{"$ref": format!("#/components/schemas/{schema}")}],
            "properties": {"type": {"enum": types}, "status": {"const": kinds[0].status()}},
        }}},
    });
    match kinds[0].status() {
        401 | 403 => {
            response["headers"] =
                json!({"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}});
        }
        405 => response["headers"] = json!({"Allow": {"$ref": "#/components/headers/Allow"}}),
        429 => {
            let names = ["Retry-After", "RateLimit-Policy", "RateLimit"];
            response["headers"] = super::multiply::product_headers(&names).into();
        }
        503 => {
            response["headers"] =
                json!({"Retry-After": {"$ref": "#/components/headers/Retry-After"}});
        }
        _ => {}
    }
    response
}

/// A reply in JSON that follows a schema.
pub fn json_reply(description: &str, schema: &str, example: Value) -> Value {
    json!({
        "description": description,
        "content": {"application/json": {
            "schema": {"$ref": format!("#/components/schemas/{schema}")},
            "example": example,
        }},
    })
}

/// A segment of the path.
pub fn path_parameter(name: &str, schema: Value, example: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": schema, "example": example})
}

/// Bytes as a URI that holds them (RFC 2397).
pub fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut uri = format!("data:{media_type};base64,");
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize % 64];
            uri.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    uri
}

/// The text that is served: what fits on a line stands on one, so that a change is a short diff.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text.push('\n');
    text
}

const LINE_BYTES_MAX: usize = 100;

fn write(value: &Value, text: &mut String) {
    let line = value.to_string();
    let (open, members, close) = match value {
        _ if line.len() <= LINE_BYTES_MAX => return text.push_str(&line),
        Value::Object(object) => {
            let named = |(name, member)| (format!("{}:", Value::from(name)), member);
            let pairs = object.iter().map(|(name, member)| named((name.as_str(), member)));
            ('{', pairs.collect::<Vec<_>>(), '}')
        }
        Value::Array(items) => ('[', items.iter().map(|item| (String::new(), item)).collect(), ']'),
        _ => return text.push_str(&line),
    };
    let mut separator = open;
    for (name, member) in members {
        text.push(separator);
        text.push('\n');
        text.push_str(&name);
        write(member, text);
        separator = ',';
    }
    text.push('\n');
    text.push(close);
}
