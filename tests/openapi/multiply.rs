//! Products and their bills.

use std::fs;

use gemmule::formats::{Format, coding};
use gemmule::ledger::Scope;
use gemmule::problem::ProblemKind;
use serde_json::{Map, Value, json};

use super::core::{ask, without_machine};
use super::document::{Operation, data_uri, path_parameter};
use super::jobs;
use super::schemas::{array, count, object, reference};
use crate::support::http::{Response, write_request};

/// What can be wrong with a job, whatever its format.
pub const JOB_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::MalformedDigest,
    ProblemKind::DigestMismatch,
    ProblemKind::MalformedJson,
    ProblemKind::MalformedBody,
    ProblemKind::SpendingCapReached,
    ProblemKind::CreditExhausted,
    ProblemKind::NotAcceptable,
    ProblemKind::BodyTooLarge,
    ProblemKind::MemoryExceeded,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::UnsupportedContentCoding,
    ProblemKind::MissingField,
    ProblemKind::UnknownField,
    ProblemKind::DuplicateField,
    ProblemKind::NotAMatrix,
    ProblemKind::EmptyMatrix,
    ProblemKind::RaggedRows,
    ProblemKind::NotANumber,
    ProblemKind::NumberNotFinite,
    ProblemKind::NumberOutOfRange,
    ProblemKind::UnknownDtype,
    ProblemKind::NotABoolean,
    ProblemKind::DimensionTooLarge,
    ProblemKind::ShapeMismatch,
    ProblemKind::LengthMismatch,
    ProblemKind::InvalidValue,
    ProblemKind::MalformedIdempotencyKey,
    ProblemKind::IdempotencyKeyInUse,
    ProblemKind::IdempotencyKeyReused,
    ProblemKind::ReplyChanged,
    ProblemKind::NoTariff,
    ProblemKind::LedgerFull,
    ProblemKind::LedgerUnavailable,
    ProblemKind::ResultNotFinite,
    ProblemKind::DailyFlopsExceeded,
    ProblemKind::TooManyJobs,
    ProblemKind::RateLimited,
    ProblemKind::ArithmeticFault,
    ProblemKind::NotOffered,
    ProblemKind::Overloaded,
    ProblemKind::Draining,
];

/// What can be wrong besides with a product that is to become a job.
const DEFERRED_PROBLEMS: &[ProblemKind] = &[
    ProblemKind::JobEnded,
    ProblemKind::StorageExceeded,
    ProblemKind::StorageFull,
    ProblemKind::StorageDamaged,
    ProblemKind::StorageUnavailable,
];

/// Response fields of every product.
pub const PRODUCT_FIELDS: [&str; 12] = [
    "Idempotency-Replayed",
    "Gemmule-Job",
    "Gemmule-Flops",
    "Gemmule-Amount-Micros",
    "Gemmule-Currency",
    "Server-Timing",
    "Gemmule-Check",
    "Content-Encoding",
    "Content-Digest",
    "traceparent",
    "RateLimit-Policy",
    "RateLimit",
];

const DESCRIPTION: &str = "A is m x k and B is k x n, after `transpose_a` and `transpose_b`. Matrices \
come in any of the formats and go out in any, chosen by `Accept`; without it, in the format they came \
in. JSON has its settings in the body, every other format in the query. With `Prefer: respond-async` the \
product becomes a job that goes on by itself. Schemas can't say that shapes \
fit, so that a job that follows them may be refused with 422 nevertheless.";

/// A job that every format has an example of.
struct Example {
    format: Format,
    summary: &'static str,
    query: &'static str,
    body: Vec<u8>,
}

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    let multiply = Operation {
        status: "200",
        method: "post",
        tag: "jobs",
        id: "multiply".into(),
        summary: "Multiplies: C = alpha A B + beta C",
        description: DESCRIPTION,
        parameters: [setting_parameters(), field_parameters(), vec![jobs::prefer_async()]].concat(),
        body: Some(json!({"required": true, "content": requests()})),
        reply: product_reply(),
        also: vec![("202", jobs::deferred_reply())],
        problems: [JOB_PROBLEMS, DEFERRED_PROBLEMS].concat(),
        scope: Some(Scope::Submit),
    };
    let product = post(&examples()[0], &[]);
    let job = product.field("Gemmule-Job").expect("a job's id").to_owned();
    let example = without_machine(product.json())["bill"].take();
    let job = path_parameter("job", reference("JobId"), &job);
    let job_parameter = job.clone();
    let bill = Operation::get("jobs", "bill", "The bill of a recent job", bill_reply(example))
        .with(vec![job.clone()], &[ProblemKind::UnknownJob, ProblemKind::JobNotDone])
        .needs(Scope::Read);
    let receipt = Operation::get("jobs", "receipt", "The receipt of a job", receipt_reply())
        .with(vec![job_parameter], &[ProblemKind::UnknownJob, ProblemKind::JobNotDone])
        .needs(Scope::Read);
    let keys = Operation::get(
        "jobs",
        "receiptKeys",
        "The keys that receipts are signed with",
        keys_reply(),
    );
    vec![
        ("/v1/multiply".into(), vec![multiply]),
        ("/v1/jobs/{job}/bill".into(), vec![bill]),
        ("/v1/jobs/{job}/receipt".into(), vec![receipt]),
        ("/v1/receipt-keys".into(), vec![keys]),
    ]
}

/// Of a product, or of a job that has gone on by itself.
fn bill_reply(example: Value) -> Value {
    json!({
        "description": "The bill.",
        "content": {"application/json": {
            "schema": {"oneOf": [reference("Bill"), reference("JobBill")]},
            "examples": {
                "product": {"summary": "Of a product", "value": example},
                "job": {"summary": "Of a job of two steps", "value": jobs::bill_example()},
            },
        }},
    })
}

fn receipt_reply() -> Value {
    let line = json!({"type": "string", "description": "The line of the ledger, to the byte"});
    let receipt =
        object(&[("entry", line), ("hash", hex(64)), ("key", hex(16)), ("signature", base64())]);
    let of_job = object(&[("job", reference("JobId")), ("receipts", array(receipt.clone()))]);
    let description = "The entry of a product in the ledger, signed with Ed25519; those of the steps \
        of a job that has gone on by itself.";
    unlike_reply(description, json!({"oneOf": [receipt, of_job]}))
}

/// Public halves, as they are published.
pub fn keys_reply() -> Value {
    let key = object(&[
        ("id", hex(16)),
        ("public_key", base64()),
        ("from_unix_ns", count()),
        ("until_unix_ns", json!({"type": ["integer", "null"], "minimum": 0})),
    ]);
    unlike_reply("Every key there was, the first one first.", object(&[("keys", array(key))]))
}

/// A reply without an example: no two machines have the same keys.
fn unlike_reply(description: &str, schema: Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn hex(digits: usize) -> Value {
    json!({"type": "string", "pattern": format!("^[0-9a-f]{{{digits}}}$")})
}

fn base64() -> Value {
    json!({"type": "string", "contentEncoding": "base64"})
}

fn examples() -> Vec<Example> {
    let file = |name: &str| {
        let path = format!("{}/tests/fixtures/formats/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::read(&path).expect(&path)
    };
    let json = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;
    let all = r#"{"a":[[1,3],[2,4]],"b":[[5,6],[7,8]],"transpose_a":true,"transpose_b":false,
        "alpha":0.5,"c":[[1,0],[0,1]],"beta":2,"dtype":"f32"}"#;
    let flat =
        r#"{"a":{"shape":[2,3],"data":[1,2,3,4,5,6]},"b":{"shape":[3,1],"data":[1,10,100]}}"#;
    let example = |format, summary, query, body| Example { format, summary, query, body };
    vec![
        example(Format::Json, "A B", "", json.into()),
        example(Format::Json, "alpha A^T B + beta C in f32", "", all.into()),
        example(Format::Json, "Shapes and data", "", flat.into()),
        example(Format::Npy, "np.save of A, then of B", "", file("npy-f4-little.npy")),
        example(Format::Npz, "np.savez_compressed of a and b", "", file("npz-deflated.npz")),
        example(Format::Safetensors, "save of a and b", "", file("st-mixed.safetensors")),
        example(Format::Raw, "?a=2x3&b=3x4 in f64", "a=2x3&b=3x4", file("raw-f64.bin")),
    ]
}

/// Posts an example, which must go well.
fn post(example: &Example, fields: &[(&str, &str)]) -> Response {
    let target = format!("/v1/multiply?{}", example.query);
    let fields = [&[("Content-Type", example.format.media_type())], fields].concat();
    let response = ask(&[write_request("POST", &target, &fields, Some(&example.body))]);
    assert_eq!(response.status, 200, "{}", example.summary);
    response
}

/// What a format's content is, and examples of it under their summaries.
fn media(format: Format, schema: &str, examples: Vec<(&str, &[u8])>) -> Value {
    let is_json = format == Format::Json;
    let named = examples.into_iter().enumerate().map(|(number, (summary, body))| {
        let example = if is_json {
            let value: Value = serde_json::from_slice(body).expect("JSON");
            json!({"summary": summary, "value": without_machine(value)})
        } else {
            let uri = data_uri(format.media_type(), body);
            json!({"summary": summary, "externalValue": uri})
        };
        (format!("example-{}", number + 1), example)
    });
    let mut media = json!({"examples": named.collect::<Map<_, _>>()});
    if is_json {
        media["schema"] = reference(schema);
    }
    media
}

fn of_format(format: Format) -> Vec<Example> {
    examples().into_iter().filter(|example| example.format == format).collect()
}

fn requests() -> Value {
    let content = Format::ALL.into_iter().map(|format| {
        let examples = of_format(format);
        assert!(!examples.is_empty(), "{format:?} has an example");
        let shown = examples.iter().map(|example| (example.summary, example.body.as_slice()));
        (format.media_type().to_owned(), media(format, "Job", shown.collect()))
    });
    Value::Object(content.collect())
}

fn replies() -> Value {
    let content = Format::ALL.into_iter().map(|format| {
        let response = post(&examples()[0], &[("Accept", format.media_type())]);
        let shown = vec![("The product of the first example", response.body.as_slice())];
        (format.media_type().to_owned(), media(format, "Product", shown))
    });
    Value::Object(content.collect())
}

fn product_reply() -> Value {
    let of_jobs = ["Preference-Applied", "Location"];
    let names = [PRODUCT_FIELDS.as_slice(), &["Gemmule-Shape", "Gemmule-Dtype"], &of_jobs].concat();
    json!({
        "description": "The product, and its bill.",
        "headers": product_headers(&names),
        "content": replies(),
        "links": {"bill": {
            "operationId": "bill",
            "parameters": {"job": "$response.header.Gemmule-Job"},
        }},
    })
}

/// Fields of a response, by their names.
pub fn product_headers(names: &[&str]) -> Map<String, Value> {
    let of_name = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    names.iter().map(|name| ((*name).to_owned(), of_name(name))).collect()
}

/// Fields of responses.
pub fn headers() -> Value {
    let number = json!({"type": "integer", "minimum": 0});
    let text = json!({"type": "string"});
    let header =
        |description: &str, schema: &Value| json!({"description": description, "schema": schema});
    let shape = json!({"type": "string", "pattern": "^[0-9]+x[0-9]+$"});
    let binary = "where the format is not JSON";
    json!({
        "Allow": header("The methods that the path takes.", &text),
        "WWW-Authenticate": header("How to show a key, or what is wrong with it.", &text),
        "Retry-After": header("Seconds until it is worth trying again.", &number),
        "Location": header("Where it is.", &text),
        "Preference-Applied": header("What of `Prefer` was done.", &text),
        "Range": header("What has come of an upload, as `0-99`.", &text),
        "Gemmule-Upload-Offset": header("Where the next chunk of an upload begins.", &number),
        "ETag": header("Of the matrix in this format; strong.", &text),
        "Repr-Digest": header("Of the whole file, where it is NumPy's (RFC 9530).", &text),
        "Accept-Ranges": header("bytes, where ranges are served.", &text),
        "Content-Range": header("Which bytes these are, where they are not all.", &text),
        "Gemmule-Cursor": header("Where to go on later.", &number),
        "Link": header("The next events, where there are more (RFC 8288).", &text),
        "Gemmule-Job": header("The job's id.", &reference("JobId")),
        "Gemmule-Flops": header("Floating-point operations on the bill.", &number),
        "Gemmule-Amount-Micros":
            header("The price in millionths of the currency unit.", &number),
        "Gemmule-Currency": header("The currency, ISO 4217.", &text),
        "Gemmule-Shape": header(&format!("Rows and columns of the result, {binary}."), &shape),
        "Gemmule-Dtype": header(&format!("Of the result, {binary}."), &reference("Dtype")),
        "Server-Timing": header(
            "Milliseconds from the request's last byte on: queue, parse, gemm, proof, encode.",
            &text,
        ),
        "Idempotency-Replayed": header("The request repeats one that was done, and costs nothing.", &text),
        "Gemmule-Check": header("The check that the product has passed.", &text),
        "Content-Encoding": header("Of JSON, as Accept-Encoding lets it.", &coding_schema()),
        "Content-Digest": header("Where it is wanted (RFC 9530).", &text),
        "traceparent": header("As in the request, where it is valid.", &text),
        "RateLimit-Policy": header(
            "The limits of the account, where it has some \
             (draft-ietf-httpapi-ratelimit-headers-10).",
            &text,
        ),
        "RateLimit": header("What is left of them.", &text),
    })
}

pub fn header(description: &str, schema: &Value) -> Value {
    json!({"description": description, "schema": schema})
}

fn coding_schema() -> Value {
    let codings: Vec<&str> = coding::ACCEPTED.split(", ").collect();
    json!({"type": "string", "enum": codings})
}

/// The settings of a job that is not JSON.
fn setting_parameters() -> Vec<Value> {
    let shape = json!({"type": "string", "pattern": "^[0-9]{1,8}x[0-9]{1,8}$"});
    let number = json!({"type": "number", "minimum": f64::MIN, "maximum": f64::MAX});
    let flag = json!({"type": "boolean"});
    let parameter = |name: &str, description: &str, schema: &Value| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let mut a = parameter("a", "Rows and columns of raw A.", &shape);
    a["example"] = "2x3".into();
    let mut b = parameter("b", "Rows and columns of raw B.", &shape);
    b["example"] = "3x4".into();
    vec![
        a,
        b,
        parameter("c", "Rows and columns of raw C.", &shape),
        parameter("transpose_a", "Use the transpose of A.", &flag),
        parameter("transpose_b", "Use the transpose of B.", &flag),
        parameter("alpha", "The factor of the product; 1 unless given.", &number),
        parameter("beta", "The factor of C; 1 unless given.", &number),
        parameter("dtype", "What is multiplied in.", &reference("Dtype")),
    ]
}

pub fn field_parameters() -> Vec<Value> {
    let field = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "description": description, "schema": schema});
    let text = json!({"type": "string"});
    let mut request_coding = coding_schema();
    // RFC 9110, section 8.4: a list, which may be empty.
    let codings = request_coding["enum"].as_array_mut().expect("a list");
    codings.extend(["identity".into(), "".into()]);
    vec![
        field("Content-Encoding", "Of the body; none where it is empty.", request_coding),
        field(
            "Content-Digest",
            "SHA-256 of the content, which is checked (RFC 9530).",
            text.clone(),
        ),
        field("Want-Content-Digest", "Whether the reply is to have one.", text.clone()),
        field(
            "Gemmule-Check",
            "Has the product checked, whatever its size.",
            json!({"type": "string", "enum": ["residual"]}),
        ),
        field("Accept-Encoding", "Codings that a reply in JSON may have.", text.clone()),
        field("traceparent", "The trace that the request belongs to (W3C Trace Context).", text),
    ]
}
