//! What requests and replies in JSON look like.

use gemmule::inference::Model;
use gemmule::limits::{DIMENSION_MAX, NODE_NAME_BYTES_MAX, RECENT_BILLS_MAX};
use serde_json::{Map, Value, json};

use super::{admin, expressions, infer, job_schemas, matrices, quote, readouts};

pub fn schemas() -> Value {
    let all = [
        jobs(),
        machine(),
        problems(),
        inference(),
        infer::schemas(),
        quote::schemas(),
        job_schemas::schemas(),
        expressions::schemas(),
        readouts::schemas(),
        admin::schemas(),
        matrices::schemas(),
    ];
    let mut schemas = Map::new();
    for (name, schema) in all.into_iter().flatten() {
        assert!(schemas.insert(name.into(), schema).is_none(), "{name} is there twice");
    }
    Value::Object(schemas)
}

type Named = Vec<(&'static str, Value)>;

fn jobs() -> Named {
    let factor = |description: &str| {
        let mut factor = number();
        factor["default"] = 1.into();
        factor["description"] = description.into();
        factor
    };
    let flag = |description: &str| json!({"type": "boolean", "default": false, "description": description});
    let matrix = reference("Matrix");
    let job = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["a", "b"],
        "dependentRequired": {"beta": ["c"]},
        "properties": {
            "a": matrix,
            "b": matrix,
            "c": matrix,
            "transpose_a": flag("Use the transpose of a."),
            "transpose_b": flag("Use the transpose of b."),
            "alpha": factor("The factor of the product."),
            "beta": factor("The factor of c."),
            "dtype": {"$ref": "#/components/schemas/Dtype", "default": "f64"},
        },
    });
    vec![
        ("Job", job),
        ("Matrix", matrix_schema()),
        ("Dtype", json!({"type": "string", "enum": ["f64", "f32"]})),
        ("JobId", json!({"type": "string", "pattern": "^[0-9a-f]{32}$"})),
        ("Product", object(&[("c", rows_schema(0)), ("bill", reference("Bill"))])),
        ("Bill", bill()),
    ]
}

/// Rows, or a shape and what is in it.
fn matrix_schema() -> Value {
    let mut rows = rows_schema(1);
    rows["description"] = "Rows of one length. `[[]]` is 1 x 0.".into();
    let length = json!({"type": "integer", "minimum": 0, "maximum": DIMENSION_MAX});
    let mut flat = object(&[
        ("shape", json!({"type": "array", "minItems": 2, "maxItems": 2, "items": length})),
        ("data", array(number())),
    ]);
    flat["additionalProperties"] = false.into();
    flat["description"] = "Rows and columns, and the elements row by row.".into();
    json!({"oneOf": [rows, flat]})
}

/// An array of rows of finite numbers.
fn rows_schema(rows_min: usize) -> Value {
    json!({
        "type": "array",
        "minItems": rows_min,
        "maxItems": DIMENSION_MAX,
        "items": {
            "type": "array",
            "maxItems": DIMENSION_MAX,
            "items": number(),
        },
    })
}

/// What `f64` can hold. In `f32`, less is taken.
pub fn number() -> Value {
    json!({"type": "number", "minimum": f64::MIN, "maximum": f64::MAX})
}

fn bill() -> Value {
    let mut bill = object(&[
        ("job", reference("JobId")),
        ("account", text()),
        ("sequence", count()),
        ("m", count()),
        ("n", count()),
        ("k", count()),
        ("dtype", reference("Dtype")),
        ("flops", count()),
        ("bytes_in", count()),
        ("bytes_out", count()),
        ("tariff", text()),
        ("tariff_version", count()),
        ("amount_micros", count()),
        ("currency", text()),
        ("kernel", text()),
        ("elapsed_us", count()),
        ("issued_at", json!({"type": "string", "format": "date-time"})),
        ("ledger", json!({"enum": ["durable", "ephemeral"]})),
    ]);
    let mut corrected = count();
    corrected["description"] = "What was given back of it since, where something was".into();
    bill["properties"]["corrected_micros"] = corrected;
    let optional = json!({
        "task": reference("JobId"),
        "node": {"type": "string", "maxLength": NODE_NAME_BYTES_MAX},
        "cached": {"const": true},
        "algorithm": text(),
        "executed_flops": count(),
    });
    let properties = bill["properties"].as_object_mut().expect("properties");
    properties.extend(optional.as_object().expect("properties").clone());
    bill["description"] = format!(
        "What was multiplied, what it took and what it costs. Without a volume, the last \
         {RECENT_BILLS_MAX} are kept.",
    )
    .into();
    bill
}

fn machine() -> Named {
    let of_dtype = object(&[("f64", count()), ("f32", count())]);
    let health = object(&[
        ("status", json!({"const": "ok"})),
        ("ledger", json!({"const": "ephemeral"})),
        ("sessions_open", count()),
        ("memory_bytes_promised", count()),
    ]);
    let version = object(&[
        ("name", text()),
        ("version", text()),
        ("api", json!({"const": "v1"})),
        ("platform", text()),
        ("kernel", text()),
        ("caches", object(&[("l1_bytes", count()), ("l2_bytes", count())])),
        ("threads", count()),
        ("core_peak_flops_per_second", of_dtype),
        ("dtypes", array(reference("Dtype"))),
        ("tariff", reference("Tariff")),
        ("limits", json!({"type": "object", "additionalProperties": count()})),
    ]);
    let regions = json!({"type": "array", "maxItems": 0});
    vec![("Tariff", tariff()), ("Health", health), ("Version", version), ("Regions", regions)]
}

/// Prices that came later are left out where they change nothing.
pub fn tariff() -> Value {
    let mut schema = object(&[
        ("name", text()),
        ("version", count()),
        ("currency", text()),
        ("micros_per_tflop_f64", count()),
        ("micros_per_tflop_f32", count()),
        ("micros_per_gb_in", count()),
        ("micros_per_gb_out", count()),
        ("job_micros_min", count()),
        ("free_flops_per_month", count()),
        ("volume_tiers", array(object(&[("from_flops", count()), ("per_mille", count())]))),
        ("micros_per_gb_hour", count()),
        ("cached_per_mille", json!({"type": "integer", "minimum": 0, "maximum": 1000})),
        ("in_force_from_unix_s", count()),
    ]);
    let required = schema["required"].as_array_mut().expect("a list");
    required.retain(|name| name != "micros_per_gb_hour" && name != "cached_per_mille");
    schema
}

fn problems() -> Named {
    let facts = [
        ("type", json!({"type": "string", "format": "uri-reference"})),
        ("title", text()),
        ("status", json!({"type": "integer", "minimum": 400, "maximum": 599})),
    ];
    let field = json!({
        "type": "string",
        "description": "The place at fault: a JSON pointer into the body, the name of a header \
            field, or `?` and the name of a parameter.",
    });
    let mut limit = count();
    limit["description"] = "The bound that was exceeded.".into();
    let mut problem = object(&facts);
    problem["properties"]["detail"] = text();
    problem["properties"]["field"] = field;
    problem["properties"]["limit"] = limit;
    problem["required"] = json!(["type", "title", "status", "detail"]);
    let mut for_inference = problem.clone();
    for_inference["properties"]["error"] = text();
    for_inference["required"] = json!(["type", "title", "status", "detail", "error"]);
    vec![("ProblemType", object(&facts)), ("Problem", problem), ("InferenceProblem", for_inference)]
}

fn inference() -> Named {
    let model = json!({"type": "string", "enum": Model::ALL.map(Model::name)});
    let datatype = json!({"type": "string", "enum": Model::ALL.map(Model::datatype)});
    let shape = array(json!({"type": "integer", "minimum": -1}));
    let yes = json!({"const": true});
    let flag = json!({"type": "boolean"});
    let tensor = object(&[("name", text()), ("datatype", datatype), ("shape", shape.clone())]);
    let metadata = object(&[
        ("name", model.clone()),
        ("versions", array(text())),
        ("platform", text()),
        ("inputs", array(tensor.clone())),
        ("outputs", array(tensor)),
    ]);
    let input = object(&[
        ("name", text()),
        ("data_type", text()),
        ("format", text()),
        ("dims", shape.clone()),
        ("is_shape_tensor", flag.clone()),
        ("allow_ragged_batch", flag.clone()),
        ("optional", flag.clone()),
    ]);
    let output = object(&[
        ("name", text()),
        ("data_type", text()),
        ("dims", shape),
        ("label_filename", text()),
        ("is_shape_tensor", flag),
    ]);
    let config = object(&[
        ("name", model.clone()),
        ("platform", text()),
        ("backend", text()),
        ("version_policy", object(&[("latest", object(&[("num_versions", count())]))])),
        ("max_batch_size", count()),
        ("input", array(input)),
        ("output", array(output)),
    ]);
    let index = object(&[
        ("name", model.clone()),
        ("version", text()),
        ("state", json!({"enum": ["READY", "UNAVAILABLE"]})),
        ("reason", text()),
    ]);
    let server = object(&[("name", text()), ("version", text()), ("extensions", array(text()))]);
    vec![
        ("Server", server),
        ("Live", object(&[("live", yes.clone())])),
        ("Ready", object(&[("ready", yes.clone())])),
        ("ModelReady", object(&[("name", model.clone()), ("ready", yes)])),
        ("Model", metadata),
        ("ModelConfig", config),
        ("Index", array(index)),
        ("Statistics", object(&[("model_stats", array(statistics(model)))])),
    ]
}

/// What one model has done.
fn statistics(model: Value) -> Value {
    let tally = object(&[("count", count()), ("ns", count())]);
    object(&[
        ("name", model),
        ("version", text()),
        ("last_inference", count()),
        ("inference_count", count()),
        ("execution_count", count()),
        ("inference_stats", object(&[("success", tally.clone()), ("fail", tally)])),
        ("batch_stats", array(json!({"type": "object"}))),
    ])
}

pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object that has all these properties.
pub fn object(properties: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

pub fn array(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

pub fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub fn text() -> Value {
    json!({"type": "string"})
}
