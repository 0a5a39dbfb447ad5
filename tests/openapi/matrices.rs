//! Matrices that stay.

use gemmule::formats::Format;
use gemmule::ledger::Scope;
use gemmule::limits::{CHUNK_BYTES_MAX, MATRICES_PER_REPLY, REFERENCE_NAME_BYTES_MAX};
use gemmule::problem::ProblemKind;
use serde_json::{Map, Value, json};

use super::core::ask;
use super::document::{Operation, json_reply, path_parameter};
use super::multiply::product_headers;
use super::schemas::{array, count, object, reference};
use crate::support::http::{Response, write_request};

/// Of `[[1, 2], [3, 4]]` in f64.
const BODY: &str = "[[1,2],[3,4]]";

/// What can be wrong with what is stored, and with the disk.
const STORE_PROBLEMS: [ProblemKind; 3] =
    [ProblemKind::StorageUnavailable, ProblemKind::Overloaded, ProblemKind::MemoryExceeded];
const ROOM_PROBLEMS: [ProblemKind; 2] = [ProblemKind::StorageExceeded, ProblemKind::StorageFull];
const QUERY_PROBLEMS: [ProblemKind; 3] =
    [ProblemKind::UnknownField, ProblemKind::DuplicateField, ProblemKind::InvalidValue];
/// What can be wrong with a matrix that comes, besides.
const MATRIX_PROBLEMS: [ProblemKind; 20] = [
    ProblemKind::MalformedDigest,
    ProblemKind::DigestMismatch,
    ProblemKind::MalformedJson,
    ProblemKind::MalformedBody,
    ProblemKind::BodyTooLarge,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::UnsupportedContentCoding,
    ProblemKind::MissingField,
    ProblemKind::NotAMatrix,
    ProblemKind::EmptyMatrix,
    ProblemKind::RaggedRows,
    ProblemKind::NotANumber,
    ProblemKind::NumberNotFinite,
    ProblemKind::NumberOutOfRange,
    ProblemKind::UnknownDtype,
    ProblemKind::DimensionTooLarge,
    ProblemKind::ShapeMismatch,
    ProblemKind::LengthMismatch,
    ProblemKind::WrongType,
    ProblemKind::TooManyReferences,
];
/// And with a chunk.
const CHUNK_PROBLEMS: [ProblemKind; 11] = [
    ProblemKind::UnknownUpload,
    ProblemKind::UploadInUse,
    ProblemKind::RangeNotSatisfiable,
    ProblemKind::MalformedDigest,
    ProblemKind::DigestMismatch,
    ProblemKind::MalformedBody,
    ProblemKind::BodyTooLarge,
    ProblemKind::UnsupportedContentCoding,
    ProblemKind::UnknownDtype,
    ProblemKind::DimensionTooLarge,
    ProblemKind::LengthMismatch,
];
const SMALL_BODY_PROBLEMS: [ProblemKind; 6] = [
    ProblemKind::MalformedDigest,
    ProblemKind::DigestMismatch,
    ProblemKind::MalformedJson,
    ProblemKind::BodyTooLarge,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::UnsupportedContentCoding,
];

pub fn paths() -> Vec<(String, Vec<Operation>)> {
    vec![
        ("/v1/matrices".into(), vec![list(), store()]),
        ("/v1/matrices/uploads".into(), vec![begin()]),
        ("/v1/matrices/uploads/{upload}".into(), vec![progress(), append(), complete(), cancel()]),
        ("/v1/matrices/{matrix}".into(), vec![read(), change(), remove()]),
        ("/v1/references".into(), vec![references()]),
        ("/v1/references/{name}".into(), vec![show(), refer(), unrefer()]),
    ]
}

fn json_request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let fields = [("Content-Type", "application/json")];
    write_request(method, target, &fields, Some(body.as_bytes()))
}

fn stored() -> Vec<u8> {
    json_request("POST", "/v1/matrices?name=weights&ttl_seconds=86400", BODY)
}

/// The reply of a service that keeps a matrix.
fn with_matrix(method: &str, target: &str, body: Option<&str>) -> Response {
    let request = match body {
        Some(body) => json_request(method, target, body),
        None => write_request(method, target, &[], None),
    };
    let reply = ask(&[stored(), request]);
    assert!(reply.status < 300, "{method} {target}: {}", reply.text());
    reply
}

fn address() -> String {
    ask(&[stored()]).json()["matrix"].as_str().expect("an address").to_owned()
}

fn operation(
    method: &'static str,
    id: &str,
    summary: &'static str,
    (status, reply): (&'static str, Value),
    problems: &[&[ProblemKind]],
) -> Operation {
    let scope = if ["list", "read"].iter().any(|read| id.starts_with(read)) || id == "reference" {
        Scope::Read
    } else {
        Scope::Submit
    };
    let mut operation = Operation::get("matrices", id, summary, reply).needs(scope);
    (operation.method, operation.status) = (method, status);
    operation.problems = [problems, &[STORE_PROBLEMS.as_slice()]].concat().concat();
    operation.problems.sort_by_key(|kind| *kind as usize);
    operation.problems.dedup();
    operation
}

fn nothing(description: &str, headers: &[&str]) -> Value {
    json!({"description": description, "headers": product_headers(headers)})
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn page(after: &str) -> Vec<Value> {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": MATRICES_PER_REPLY,
        "default": MATRICES_PER_REPLY});
    vec![
        query("after", "`next` of the reply before.", reference(after)),
        query("limit", "How many at most.", limit),
    ]
}

fn store_query(digest: &str) -> Vec<Value> {
    let seconds = json!({"type": "integer", "minimum": 1, "maximum": u64::MAX});
    let shape = json!({"type": "string", "pattern": "^[0-9]+x[0-9]+$"});
    vec![
        query("dtype", "What the elements are, or are converted to.", reference("Dtype")),
        query("shape", "Rows and columns of raw elements.", shape),
        query("digest", digest, reference("MatrixId")),
        query("name", "A name that the matrix is given.", reference("ReferenceName")),
        query("ttl_seconds", "For how long it is kept; for ever unless given.", seconds),
        query("pinned", "It is kept beyond that.", json!({"type": "boolean", "default": false})),
    ]
}

fn matrix() -> Value {
    path_parameter("matrix", reference("MatrixId"), &address())
}

fn upload() -> Value {
    path_parameter("upload", reference("UploadId"), "00112233445566778899aabbccddeeff")
}

fn name() -> Value {
    path_parameter("name", reference("ReferenceName"), "weights")
}

fn body(schema: &str, example: Value) -> Value {
    json!({"required": true, "content": {"application/json": {
        "schema": reference(schema), "example": example,
    }}})
}

fn chunk() -> Value {
    json!({"content": {"application/octet-stream": {"schema": {}}}})
}

fn content_range() -> Value {
    json!({
        "name": "Content-Range",
        "in": "header",
        "description": "`bytes 0-1048575/8388736`, `bytes 0-1048575/*` or `0-1048575`: where the \
            chunk belongs. Without it, it goes on where the last one ended.",
        "schema": {"type": "string",
            "pattern": "^(bytes [0-9]{1,12}-[0-9]{1,12}/([0-9]{1,12}|\\*)|[0-9]{1,12}-[0-9]{1,12})$"},
    })
}

fn list() -> Operation {
    let reply = json_reply(
        "In the order of addresses.",
        "MatrixList",
        with_matrix("GET", "/v1/matrices", None).json(),
    );
    let mut operation = operation(
        "get",
        "listMatrices",
        "What the account keeps",
        ("200", reply),
        &[&QUERY_PROBLEMS],
    );
    operation.parameters = page("MatrixId");
    operation
}

fn store() -> Operation {
    let reply = created(ask(&[stored()]).json());
    let problems = [&QUERY_PROBLEMS[..], &ROOM_PROBLEMS, &MATRIX_PROBLEMS];
    let mut operation = operation(
        "post",
        "storeMatrix",
        "Keeps a matrix that comes whole",
        ("201", reply),
        &problems,
    );
    operation.parameters = store_query("The address that it should have.");
    let mut content = Map::new();
    content.insert(
        "application/json".into(),
        json!({
            "schema": reference("Matrix"),
            "example": serde_json::from_str::<Value>(BODY).expect("JSON"),
        }),
    );
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Json) {
        content.insert(format.media_type().into(), json!({"schema": {}}));
    }
    operation.body = Some(json!({"required": true, "content": content}));
    operation.description = "Its address is the SHA-256 of what NumPy's `save` writes of it, row by \
        row and little-endian. One that is kept already is kept as long as either request says.";
    operation
}

fn created(example: Value) -> Value {
    let mut reply = json_reply("It is kept.", "StoredMatrix", example);
    reply["headers"] = product_headers(&["Location"]).into();
    reply
}

fn begin() -> Operation {
    let example = ask(&[write_request("POST", "/v1/matrices/uploads", &[], Some(b""))]).json();
    let mut reply = json_reply("It is begun.", "Upload", example);
    reply["headers"] = product_headers(&["Location", "Range", "Gemmule-Upload-Offset"]).into();
    let problems = [
        &QUERY_PROBLEMS[..],
        &ROOM_PROBLEMS,
        &[ProblemKind::TooManyUploads, ProblemKind::MissingField, ProblemKind::UnknownDtype],
        &[ProblemKind::NotAMatrix, ProblemKind::DimensionTooLarge],
    ];
    let mut operation =
        operation("post", "beginUpload", "Begins an upload in chunks", ("202", reply), &problems);
    operation.also = vec![("201", created(ask(&[stored()]).json()))];
    operation.parameters =
        store_query("Where the account keeps this already, the reply is 201 and says where.");
    operation.description = "Of raw elements, whose dtype and shape are in the query, or of a file \
        as NumPy's `save` writes it, of little-endian f4 or f8 row by row.";
    operation
}

fn progress() -> Operation {
    let reply = nothing("How far it has come.", &["Range", "Gemmule-Upload-Offset"]);
    let mut operation = operation(
        "get",
        "uploadProgress",
        "Where an upload goes on",
        ("204", reply),
        &[&[ProblemKind::UnknownUpload]],
    );
    operation.parameters = vec![upload()];
    operation
}

fn append() -> Operation {
    let reply = nothing("The chunk lasts.", &["Location", "Range", "Gemmule-Upload-Offset"]);
    let mut operation = operation(
        "patch",
        "appendChunk",
        "Adds a chunk to an upload",
        ("202", reply),
        &[&CHUNK_PROBLEMS, &ROOM_PROBLEMS, &[ProblemKind::MalformedRequest]],
    );
    operation.problems.retain(|kind| *kind != ProblemKind::MalformedRequest);
    operation.parameters = vec![upload(), content_range()];
    operation.body = Some(chunk());
    assert_eq!(CHUNK_BYTES_MAX, 64 << 20, "the description says so");
    operation.description = "At most 64 MiB. Once it is answered it outlasts a power cut.";
    operation
}

fn complete() -> Operation {
    let reply = created(ask(&[stored()]).json());
    let own =
        [ProblemKind::UploadIncomplete, ProblemKind::MissingField, ProblemKind::TooManyReferences];
    let problems = [&CHUNK_PROBLEMS[..], &ROOM_PROBLEMS, &QUERY_PROBLEMS, &own];
    let mut operation =
        operation("put", "completeUpload", "Ends an upload", ("201", reply), &problems);
    let mut digest = query("digest", "The address of the matrix.", reference("MatrixId"));
    digest["required"] = true.into();
    operation.parameters = vec![upload(), digest, content_range()];
    operation.body = Some(chunk());
    operation.description = "With the last chunk or without one. Where the digest is another, the \
        upload stays as it is.";
    operation
}

fn cancel() -> Operation {
    let reply = nothing("Nothing of it is left.", &[]);
    let problems = [ProblemKind::UnknownUpload, ProblemKind::UploadInUse];
    let mut operation =
        operation("delete", "cancelUpload", "Gives up an upload", ("204", reply), &[&problems]);
    operation.parameters = vec![upload()];
    operation
}

fn read() -> Operation {
    let mut content = Map::new();
    for format in Format::ALL {
        // Bytes have no schema.
        content.insert(format.media_type().into(), json!({}));
    }
    let mut part = content.clone();
    part.retain(|media_type, _| media_type != "application/json");
    content["application/json"]["schema"] = reference("Matrix");
    let names =
        ["ETag", "Repr-Digest", "Accept-Ranges", "Content-Range", "Gemmule-Shape", "Gemmule-Dtype"];
    let reply = json!({
        "description": "The matrix, as `Accept` has it; as NumPy's `save` writes it unless there is \
            one. A `Range` of the binary formats other than archives is answered with 206, and \
            `If-None-Match` with 304 where the tag is the same.",
        "headers": product_headers(&names),
        "content": content,
    });
    let part = json!({
        "description": "The part of it that `Range` names.",
        "headers": product_headers(&names),
        "content": part,
    });
    let own = [
        ProblemKind::UnknownMatrix,
        ProblemKind::NotAcceptable,
        ProblemKind::PreconditionFailed,
        ProblemKind::RangeNotSatisfiable,
        ProblemKind::ResultNotFinite,
        ProblemKind::StorageDamaged,
    ];
    let mut operation = operation("get", "readMatrix", "A matrix", ("200", reply), &[&own]);
    let range = json!({"name": "Range", "in": "header", "schema": {"type": "string"}});
    operation.parameters = vec![matrix(), range];
    operation.also = vec![
        ("206", part),
        ("304", nothing("It is the one that `If-None-Match` names.", &["ETag"])),
    ];
    operation
}

fn change() -> Operation {
    let path = format!("/v1/matrices/{}", address());
    let request = json!({"ttl_seconds": 604_800, "pinned": true});
    let reply = with_matrix("PATCH", &path, Some(&request.to_string())).json();
    let reply = json_reply("It is kept so from now on.", "StoredMatrix", reply);
    let own = [
        ProblemKind::UnknownMatrix,
        ProblemKind::UnknownField,
        ProblemKind::DuplicateField,
        ProblemKind::InvalidValue,
        ProblemKind::WrongType,
    ];
    let mut operation = operation(
        "patch",
        "keepMatrix",
        "Changes how long a matrix is kept",
        ("200", reply),
        &[&own, &SMALL_BODY_PROBLEMS],
    );
    operation.parameters = vec![matrix()];
    operation.body = Some(body("MatrixChange", request));
    operation
}

fn remove() -> Operation {
    let reply = nothing(
        "It is gone, and its names with it. Jobs that need it can read it until they have ended.",
        &[],
    );
    let mut operation = operation(
        "delete",
        "removeMatrix",
        "Removes a matrix",
        ("204", reply),
        &[&[ProblemKind::UnknownMatrix]],
    );
    operation.parameters = vec![matrix()];
    operation
}

fn references() -> Operation {
    let reply = with_matrix("GET", "/v1/references", None).json();
    let reply = json_reply("In the order of names.", "ReferenceList", reply);
    let mut operation = operation(
        "get",
        "listReferences",
        "The names that the account has given",
        ("200", reply),
        &[&QUERY_PROBLEMS],
    );
    operation.parameters = page("ReferenceName");
    operation
}

fn show() -> Operation {
    let reply = with_matrix("GET", "/v1/references/weights", None).json();
    let reply = json_reply("What it names.", "Reference", reply);
    let mut operation = operation(
        "get",
        "reference",
        "What a name stands for",
        ("200", reply),
        &[&[ProblemKind::UnknownReference]],
    );
    operation.parameters = vec![name()];
    operation
}

fn refer() -> Operation {
    let request = json!({"matrix": address()});
    let reply = with_matrix("PUT", "/v1/references/weights", Some(&request.to_string())).json();
    let reply = json_reply("It stands for that from now on.", "Reference", reply);
    let own = [
        ProblemKind::UnknownMatrix,
        ProblemKind::UnknownReference,
        ProblemKind::TooManyReferences,
        ProblemKind::MissingField,
        ProblemKind::UnknownField,
        ProblemKind::DuplicateField,
        ProblemKind::InvalidValue,
        ProblemKind::WrongType,
    ];
    let mut operation = operation(
        "put",
        "refer",
        "Gives a matrix a name",
        ("200", reply),
        &[&own, &SMALL_BODY_PROBLEMS],
    );
    operation.parameters = vec![name()];
    operation.body = Some(body("NewReference", request));
    operation
}

fn unrefer() -> Operation {
    let reply = nothing("Nothing has the name.", &[]);
    let mut operation = operation(
        "delete",
        "unrefer",
        "Takes a name back",
        ("204", reply),
        &[&[ProblemKind::UnknownReference]],
    );
    operation.parameters = vec![name()];
    operation
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let maybe = |schema: Value| json!({"oneOf": [schema, {"type": "null"}]});
    let time = json!({"type": "string", "format": "date-time"});
    let flag = json!({"type": "boolean"});
    let shape = json!({"type": "array", "minItems": 2, "maxItems": 2, "items": count()});
    let name = format!("^[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{}}}$", REFERENCE_NAME_BYTES_MAX - 1);
    let seconds = json!({"type": ["integer", "null"], "minimum": 1, "maximum": u64::MAX});
    let stored = object(&[
        ("matrix", reference("MatrixId")),
        ("dtype", reference("Dtype")),
        ("shape", shape),
        ("bytes", count()),
        ("created_at", time.clone()),
        ("expires_at", maybe(time.clone())),
        ("pinned", flag.clone()),
        ("references", array(reference("ReferenceName"))),
    ]);
    let list = object(&[
        ("matrices", array(reference("StoredMatrix"))),
        ("next", maybe(reference("MatrixId"))),
        ("count", count()),
        ("bytes", count()),
        ("bytes_max", maybe(count())),
    ]);
    let named = object(&[("name", reference("ReferenceName")), ("matrix", reference("MatrixId"))]);
    let names = object(&[
        ("references", array(reference("Reference"))),
        ("next", maybe(reference("ReferenceName"))),
    ]);
    let upload = object(&[
        ("upload", reference("UploadId")),
        ("offset", count()),
        ("bytes", maybe(count())),
        ("chunk_bytes_max", count()),
        ("expires_at", time),
    ]);
    let closed = |mut schema: Value, required: Value| {
        schema["required"] = required;
        schema["additionalProperties"] = false.into();
        schema
    };
    let change = object(&[("ttl_seconds", seconds), ("pinned", flag)]);
    let new = object(&[("matrix", reference("MatrixId"))]);
    vec![
        ("MatrixId", json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})),
        ("UploadId", json!({"type": "string", "pattern": "^[0-9a-f]{32}$"})),
        ("ReferenceName", json!({"type": "string", "pattern": name})),
        ("StoredMatrix", stored),
        ("MatrixList", list),
        ("MatrixChange", closed(change, json!([]))),
        ("Upload", upload),
        ("Reference", named),
        ("ReferenceList", names),
        ("NewReference", closed(new, json!(["matrix"]))),
    ]
}
