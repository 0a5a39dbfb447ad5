//! From a graph to the steps that compute it.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::fold::uses;
use super::graph::{Factor, Gemm, Node, Operation};
use super::lower::{Lowered, too_many_steps};
use super::program::{Input, NamedResult, Program, Source, Step, StepWork};
use super::tree::Tree;
use crate::billing::meter;
use crate::gemm::{Algorithm, Shape};
use crate::limits::JOB_STEPS_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::store::Layout;

/// The program of a graph, whose nodes are made of earlier ones.
///
/// # Errors
///
/// Where it has no steps, too many, or more operations than 64 bits count.
pub(super) fn emit(lowered: &Lowered, tree: &Tree, operands: &[&str]) -> Result<Program, Problem> {
    let Lowered { graph, results, saved_flops, .. } = lowered;
    let uses = uses(graph, results);
    let mut program = Program {
        inputs: Vec::new(),
        steps: Vec::new(),
        results: Vec::new(),
        saved_flops: *saved_flops,
    };
    let mut sources = vec![None; graph.nodes.len()];
    let needed = (0..graph.nodes.len()).filter(|id| uses[*id] > 0);
    for id in needed {
        let Node { operation, layout } = graph.nodes[id];
        sources[id] = Some(if let Operation::Input(index) = operation {
            program.inputs.push(Input { name: operands[index].into(), layout });
            Source::Input(program.inputs.len() - 1)
        } else {
            let known = operation.operands().map(|operand| sources[operand]);
            let known: Option<Vec<Source>> = known.collect();
            let known = known.expect("a node stands behind those that it is made of");
            let step = step(operation, layout, known, &program);
            program.steps.push(step.ok_or_else(|| uncountable(tree))?);
            Source::Step(program.steps.len() - 1)
        });
    }
    let flops = program.steps.iter().try_fold(0_u64, |sum, step| sum.checked_add(step.flops));
    if flops.is_none() {
        return Err(uncountable(tree));
    }
    if program.steps.is_empty() {
        let detail = "a job computes something";
        return Err(Problem::new(ProblemKind::InvalidValue, detail).at(tree.place()));
    }
    if program.steps.len() > JOB_STEPS_MAX {
        return Err(too_many_steps(tree));
    }
    program.results = tree
        .results
        .iter()
        .zip(results)
        .map(|((name, _), id)| NamedResult {
            name: name.clone(),
            source: sources[*id].expect("results are needed"),
        })
        .collect();
    Ok(program)
}

fn uncountable(tree: &Tree) -> Problem {
    let detail = "the job takes more operations than 64 bits count";
    Problem::new(ProblemKind::DimensionTooLarge, detail).at(tree.place())
}

/// `None` where its operations can't be counted.
pub(super) fn step(
    operation: Operation,
    layout: Layout,
    operands: Vec<Source>,
    before: &Program,
) -> Option<Step> {
    let (rows, columns) = (layout.rows, layout.columns);
    let area = rows as u64 * columns as u64;
    let (work, flops) = match operation {
        Operation::Input(_) => unreachable!("inputs are no steps"),
        Operation::Gemm(gemm) => {
            let a = before.layout_of(operands[0]);
            let k = if gemm.transpose_a { a.rows } else { a.columns };
            let shape = Shape { m: rows, n: columns, k };
            let work = StepWork::Gemm {
                alpha: gemm.alpha.number(),
                beta: gemm.c.map_or(0.0, |(_, beta)| beta.number()),
                transpose_a: gemm.transpose_a,
                transpose_b: gemm.transpose_b,
                algorithm: gemm.algorithm,
            };
            (work, meter::flops(shape, gemm.alpha != Factor::ONE, gemm.c.is_some())?)
        }
        Operation::Add { alpha, beta, .. } => {
            let factors = [alpha, beta].into_iter().filter(|factor| *factor != Factor::ONE).count();
            let work = StepWork::Add { alpha: alpha.number(), beta: beta.number() };
            (work, area.checked_mul(1 + factors as u64)?)
        }
        Operation::Scale { by, .. } => (StepWork::Scale { alpha: by.number() }, area),
        Operation::Transpose(_) => (StepWork::Transpose, 0),
        Operation::Iterate { steps, snapshot_every, .. } => {
            let x = before.layout_of(operands[1]);
            let shape = Shape { m: x.rows, n: x.columns, k: x.rows };
            let flops = meter::flops(shape, false, false)?.checked_mul(steps)?;
            (StepWork::Iterate { steps, snapshot_every }, flops)
        }
    };
    let id = name(&operation, &operands, before);
    Some(Step { id, work, operands, layout, flops })
}

/// As [`Step::id`] says.
fn name(operation: &Operation, operands: &[Source], before: &Program) -> String {
    let operand = |index: usize| match operands[index] {
        Source::Input(input) => before.inputs[input].name.clone(),
        Source::Step(step) => format!("#{}", step + 1),
    };
    let turned = |index, is_transposed| operand(index) + if is_transposed { "'" } else { "" };
    let mut text = format!("{}: ", before.steps.len() + 1);
    match *operation {
        Operation::Input(_) => unreachable!("inputs are no steps"),
        Operation::Gemm(Gemm { transpose_a, transpose_b, alpha, c, algorithm, .. }) => {
            push_factor(&mut text, alpha);
            text += &format!("{}*{}", turned(0, transpose_a), turned(1, transpose_b));
            if let Some((_, beta)) = c {
                text += " + ";
                push_factor(&mut text, beta);
                text += &operand(2);
            }
            if algorithm != Algorithm::Classical {
                text += ", ";
                text += algorithm.name();
            }
        }
        Operation::Add { alpha, beta, .. } => {
            push_factor(&mut text, alpha);
            text += &operand(0);
            text += " + ";
            push_factor(&mut text, beta);
            text += &operand(1);
        }
        Operation::Scale { by, .. } => {
            push_factor(&mut text, by);
            text += &operand(0);
        }
        Operation::Transpose(_) => text += &turned(0, true),
        Operation::Iterate { steps, .. } => {
            // Writing to a string never fails.
            let _ = write!(text, "{steps} steps of {} on {}", operand(0), operand(1));
        }
    }
    text
}

fn push_factor(text: &mut String, factor: Factor) {
    if factor == Factor::ONE {
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let digits = buffer.format(factor.number());
    text.push_str(digits.strip_suffix(".0").unwrap_or(digits));
    text.push('*');
}
