//! What a job computes: an expression over its operands.

use std::sync::LazyLock;

use gemmule::gemm::Algorithm;
use gemmule::limits::{
    BATCH_MAX, CHAIN_LENGTH_MAX, EXPONENT_MAX, ITERATE_STEPS_MAX, JOB_OPERANDS_MAX,
    JOB_RESULTS_MAX, OPERAND_NAME_BYTES_MAX, REFERENCE_NAME_BYTES_MAX,
};
use serde_json::{Value, json};

use super::schemas::{number, reference};

/// Of the examples.
pub static JOB_OPERANDS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "A": {"data": [[1, 2], [3, 4], [5, 6]]},
        "B": {"data": [[1, 0, 2], [0, 1, 3]]},
        "x": {"shape": [3, 1], "data": [1, 2, 3]},
    })
});

/// The part of a job's body that says what is computed.
pub fn job_request() -> Value {
    let names = json!({"pattern": name_pattern()});
    let result = json!({"anyOf": [reference("Expression"), reference("Batch")]});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["operands"],
        "oneOf": [{"required": ["expression"]}, {"required": ["results"]}],
        "properties": {
            "operands": {
                "type": "object",
                "maxProperties": JOB_OPERANDS_MAX,
                "propertyNames": names,
                "additionalProperties": reference("Operand"),
                "description": "Each is named by an expression.",
            },
            "expression": result,
            "results": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": JOB_RESULTS_MAX,
                "propertyNames": names,
                "additionalProperties": result,
                "description": "Several, by their names.",
            },
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": REFERENCE_NAME_BYTES_MAX,
                "description": "The reference that the result is given; each of several is given it \
                    with a point and its own name behind.",
            },
            "dtype": reference("Dtype"),
        },
    })
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![("Operand", operand()), ("Expression", expression()), ("Batch", batch())]
}

/// Of operands and results.
fn name_pattern() -> String {
    format!("^[A-Za-z0-9_]{{1,{OPERAND_NAME_BYTES_MAX}}}$")
}

/// An object of these properties alone.
fn exact(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn operand() -> Value {
    let stored = json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"});
    let name = json!({"type": "string", "minLength": 1, "maxLength": REFERENCE_NAME_BYTES_MAX});
    let rows = json!({"type": "array", "items": {"type": "array", "items": number()}});
    let length = json!({"type": "integer", "minimum": 0});
    let shape = json!({"type": "array", "minItems": 2, "maxItems": 2, "items": length});
    let flat = json!({"type": "array", "items": number()});
    let dtype = reference("Dtype");
    json!({"oneOf": [
        exact(&["matrix"], json!({"matrix": stored})),
        exact(&["reference"], json!({"reference": name})),
        exact(&["data"], json!({"data": rows, "dtype": dtype})),
        exact(&["data", "shape"], json!({"data": flat, "shape": shape, "dtype": dtype})),
    ]})
}

fn algorithm() -> Value {
    let names = Algorithm::ALL.map(Algorithm::name);
    json!({"type": "string", "enum": names, "default": Algorithm::Classical.name()})
}

fn expression() -> Value {
    let inner = reference("Expression");
    let factor = {
        let mut factor = number();
        factor["default"] = 1.into();
        factor
    };
    let flag = json!({"type": "boolean", "default": false});
    let list = |least: usize, most: usize| json!({"type": "array", "minItems": least, "maxItems": most, "items": inner});
    let whole = |most: u64| json!({"type": "integer", "minimum": 1, "maximum": most});
    let gemm = exact(
        &["a", "b"],
        json!({
            "a": inner, "b": inner, "c": inner, "alpha": factor, "beta": factor,
            "transpose_a": flag, "transpose_b": flag, "algorithm": algorithm(),
        }),
    );
    let power = exact(&["of", "exponent"], json!({"of": inner, "exponent": whole(EXPONENT_MAX)}));
    let iterate = exact(
        &["a", "x", "steps"],
        json!({
            "a": inner, "x": inner, "steps": whole(ITERATE_STEPS_MAX),
            "snapshot_every": whole(ITERATE_STEPS_MAX),
        }),
    );
    json!({
        "description": "The name of an operand, or an operation on expressions.",
        "anyOf": [
            {"type": "string", "pattern": name_pattern()},
            exact(&["multiply"], json!({
                "multiply": list(2, CHAIN_LENGTH_MAX), "alpha": factor, "algorithm": algorithm(),
            })),
            exact(&["gemm"], json!({"gemm": gemm})),
            exact(&["add"], json!({"add": list(2, 2), "alpha": factor, "beta": factor})),
            exact(&["scale"], json!({
                "scale": exact(&["of", "by"], json!({"of": inner, "by": number()})),
            })),
            exact(&["transpose"], json!({"transpose": inner})),
            exact(&["power"], json!({"power": power, "algorithm": algorithm()})),
            exact(&["iterate"], json!({"iterate": iterate})),
        ],
    })
}

fn batch() -> Value {
    let list = json!({
        "type": "array", "minItems": 1, "maxItems": BATCH_MAX, "items": reference("Expression"),
    });
    let mut batch = exact(
        &["batch"],
        json!({
            "batch": exact(&["a", "b"], json!({"a": list, "b": list})),
            "algorithm": algorithm(),
        }),
    );
    batch["description"] = "A product of each pair, as results of their own.".into();
    batch
}
