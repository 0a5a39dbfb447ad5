//! Jobs that are expressions: what is refused and where, which steps are planned, and that the
//! steps compute what was written.

mod evaluate;
mod plan;
mod random;
mod request;

use gemmule::expression::{JobRequest, OperandContent, Program, plan};
use gemmule::gemm::Dtype;
use gemmule::problem::Problem;
use gemmule::store::Layout;
use serde_json::{Value, json};

/// The program of a request whose operands all come with it.
fn program(body: &Value) -> Result<Program, Problem> {
    let request = JobRequest::parse(body.to_string().as_bytes())?;
    let layouts: Vec<Layout> = request
        .operands
        .iter()
        .map(|operand| match &operand.content {
            OperandContent::Inline(inline) => inline.layout(),
            other => panic!("{other:?} is not inline"),
        })
        .collect();
    plan(&request, &layouts)
}

/// The program of an expression over stored matrices of these shapes, or results of that.
fn program_of(expression: &Value, operands: &[(&str, usize, usize)]) -> Result<Program, Problem> {
    let names = operands.iter().map(|(name, ..)| ((*name).into(), json!({"reference": name})));
    let operand = Value::Object(names.collect());
    let body = json!({"operands": operand, "expression": expression});
    planned(&body, operands, Dtype::F64)
}

fn planned(
    body: &Value,
    operands: &[(&str, usize, usize)],
    dtype: Dtype,
) -> Result<Program, Problem> {
    let request = JobRequest::parse(body.to_string().as_bytes())?;
    let layouts = request.operands.iter().map(|operand| {
        let (_, rows, columns) =
            operands.iter().find(|(name, ..)| *name == operand.name).expect("a shape");
        Layout { dtype, rows: *rows, columns: *columns }
    });
    plan(&request, &layouts.collect::<Vec<_>>())
}
