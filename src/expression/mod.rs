//! A job that is an expression over matrices: what `POST /v1/jobs` asks for, checked and turned
//! into the steps that compute it.
//!
//! [`JobRequest::parse`] reads the request. When the matrices that it names have been found, and so
//! their shapes are known, [`plan`] makes the [`Program`]:
//!
//! - what is written twice is computed once, and what no result needs is not computed;
//! - the products of a chain are done in the order with the fewest operations (`chain`), brackets
//!   are kept, and powers are made of squares, which powers of one matrix share, or, where that takes
//!   fewer, what stands beside a power is multiplied by its base again and again;
//! - a product takes transposes of its operands as they lie, and does by itself what comes next
//!   where nobody else reads it: a factor, a transpose, the addition of a matrix (`fold`).

mod chain;
mod emit;
mod fold;
mod graph;
mod key;
mod lower;
mod operand;
mod parse;
mod product;
mod program;
mod reader;
mod request;
mod tree;

use alloc::vec::Vec;

pub use key::operation_key;
pub use operand::{Inline, Operand, OperandContent};
pub use product::Product;
pub use program::{Input, NamedResult, Program, Source, Step, StepWork};
pub use request::JobRequest;

use lower::Powers;

use crate::problem::Problem;
use crate::store::Layout;

/// The program of a request whose operands have these layouts, in their order.
///
/// # Errors
///
/// A problem that names the expression at fault by a JSON pointer, and the limit where there is
/// one.
///
/// # Panics
///
/// Where there are not as many layouts as operands.
pub fn plan(request: &JobRequest, layouts: &[Layout]) -> Result<Program, Problem> {
    assert_eq!(layouts.len(), request.operands.len(), "a layout for each operand");
    request.check_dtypes(layouts)?;
    let names: Vec<&str> = request.operands.iter().map(|operand| &*operand.name).collect();
    let program_with = |powers| {
        let mut lowered = lower::lower(&request.tree, layouts, powers)?;
        fold::fold(&mut lowered.graph, &lowered.results);
        let program = emit::emit(&lowered, &request.tree, &names)?;
        Ok::<_, Problem>((program, lowered.has_powers))
    };
    let (program, has_powers) = program_with(Powers::Squared)?;
    if !has_powers {
        return Ok(program);
    }
    // A power that others read costs nothing more: which is cheaper, the whole program tells. One
    // that would have too many steps is none.
    match program_with(Powers::InSteps) {
        Ok((in_steps, _)) if in_steps.flops() < program.flops() => {
            let saved = program.flops() - in_steps.flops();
            let saved_flops = program.saved_flops.saturating_add(saved);
            Ok(Program { saved_flops, ..in_steps })
        }
        _ => Ok(program),
    }
}
