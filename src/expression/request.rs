//! The body of `POST /v1/jobs`, before anything is known of the matrices that it names.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::operand::{self, Operand};
use super::parse;
use super::reader::{Value, shown};
use super::tree::Tree;
use crate::gemm::Dtype;
use crate::limits::{
    EXPRESSION_BYTES_MAX, JOB_DEADLINE_SECONDS_MAX, JOB_OPERANDS_MAX, KEEP_SECONDS_MAX,
    OPERAND_NAME_BYTES_MAX, PRIORITY_DEFAULT, PRIORITY_MAX, REFERENCE_NAME_BYTES_MAX,
};
use crate::problem::{Problem, ProblemKind};
use crate::store::Layout;

/// The largest whole number that every reader of JSON takes to the last digit.
const WHOLE_MAX: u64 = (1 << 53) - 1;

/// What is asked.
#[derive(Debug)]
pub struct JobRequest {
    /// Each is named by the expression.
    pub operands: Vec<Operand>,
    /// Of all operands, where it is given.
    pub dtype: Option<Dtype>,
    /// Jobs of a higher one go first.
    pub priority: u8,
    pub deadline_seconds: Option<u64>,
    /// What the job may hold at once.
    pub memory_bytes: Option<u64>,
    /// How long its results are kept.
    pub keep_seconds: Option<u64>,
    /// The reference to give the result.
    name: Option<String>,
    pub(super) tree: Tree,
}

impl JobRequest {
    /// # Errors
    ///
    /// A problem that names the field at fault by a JSON pointer, and the limit where there is one.
    pub fn parse(text: &[u8]) -> Result<Self, Problem> {
        let mut body = Value::new(text);
        let [
            operands,
            expression,
            results,
            name,
            dtype,
            priority,
            deadline_seconds,
            memory_bytes,
            keep,
        ] = body.members([
            "operands",
            "expression",
            "results",
            "name",
            "dtype",
            "priority",
            "deadline_seconds",
            "memory_bytes",
            "keep",
        ])?;
        body.ended()?;
        let dtype = dtype.map(|mut dtype| dtype.dtype()).transpose()?;
        let operands = read_operands(operands.ok_or_else(|| missing("operands"))?, dtype)?;
        let tree = match (expression, results) {
            (Some(expression), None) => {
                check_length(&expression)?;
                parse::read_expression(expression, &operands)?
            }
            (None, Some(results)) => {
                check_length(&results)?;
                parse::read_results(results, &operands)?
            }
            (None, None) => return Err(missing("expression")),
            (Some(_), Some(results)) => {
                let detail = "either an expression or results are given";
                return Err(results.problem(ProblemKind::InvalidValue, detail));
            }
        };
        if let Some(index) = tree.first_unused(operands.len()) {
            let name = &operands[index].name;
            let detail = format!("no expression names the operand {name}");
            let problem = Problem::new(ProblemKind::InvalidValue, detail);
            return Err(problem.at(format!("/operands/{name}")));
        }
        let whole = |value: Option<Value>, least, most| {
            value.map(|mut value| value.whole(least..=most)).transpose()
        };
        let priority = whole(priority, 0, PRIORITY_MAX.into())?;
        Ok(Self {
            operands,
            dtype,
            priority: priority.map_or(PRIORITY_DEFAULT, |priority| priority as u8),
            deadline_seconds: whole(deadline_seconds, 1, JOB_DEADLINE_SECONDS_MAX)?,
            memory_bytes: whole(memory_bytes, 1, WHOLE_MAX)?,
            keep_seconds: whole(keep, 1, KEEP_SECONDS_MAX)?,
            name: name.map(|mut name| name.text(1..=REFERENCE_NAME_BYTES_MAX)).transpose()?,
            tree,
        })
    }

    /// Checks that stored operands have the dtype that the request names, if it names one.
    pub(super) fn check_dtypes(&self, layouts: &[Layout]) -> Result<(), Problem> {
        let Some(dtype) = self.dtype else { return Ok(()) };
        let mut operands = self.operands.iter().zip(layouts);
        let Some((operand, layout)) = operands.find(|(_, layout)| layout.dtype != dtype) else {
            return Ok(());
        };
        let detail = format!("the matrix is {}, and not {}", layout.dtype.name(), dtype.name());
        let problem = Problem::new(ProblemKind::InvalidValue, detail);
        Err(problem.at(format!("/operands/{}", operand.name)))
    }

    /// The reference that a result of this name is to be given: the request's name, with a point
    /// and the result's where there are several.
    pub fn reference_of(&self, result: &str) -> Option<String> {
        let name = self.name.as_ref()?;
        Some(if self.tree.results.len() == 1 { name.clone() } else { format!("{name}.{result}") })
    }
}

fn missing(field: &str) -> Problem {
    Problem::new(ProblemKind::MissingField, format!("{field} is required")).at(format!("/{field}"))
}

/// Bounds the work of reading it, which is more than once for what is nested.
fn check_length(value: &Value) -> Result<(), Problem> {
    if value.behind()?.position() - value.cursor.position() > EXPRESSION_BYTES_MAX {
        let limit = EXPRESSION_BYTES_MAX as u64;
        return Err(value.beyond(limit, "the bytes of an expression's text are at most"));
    }
    Ok(())
}

fn read_operands(mut value: Value, dtype: Option<Dtype>) -> Result<Vec<Operand>, Problem> {
    let object = value.clone();
    let mut operands: Vec<Operand> = Vec::new();
    value.each_member(|name, value| {
        check_name(name, &object)?;
        if operands.iter().any(|operand| operand.name == name) {
            let detail = "two operands have this name";
            return Err(value.problem(ProblemKind::DuplicateField, detail));
        }
        if operands.len() == JOB_OPERANDS_MAX {
            return Err(object.beyond(JOB_OPERANDS_MAX as u64, "the operands of a job are at most"));
        }
        operands.push(operand::read(name, value, dtype)?);
        Ok(())
    })?;
    Ok(operands)
}

/// Checks the name of an operand or a result, which is a member of `object`.
pub(super) fn check_name(name: &str, object: &Value) -> Result<(), Problem> {
    let place = object.within(&shown(name));
    if name.len() > OPERAND_NAME_BYTES_MAX {
        let detail = format!("a name may have up to {OPERAND_NAME_BYTES_MAX} bytes");
        let problem = Problem::new(ProblemKind::TextTooLong, detail).at(place);
        return Err(problem.limit(OPERAND_NAME_BYTES_MAX as u64));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(is_plain) {
        let detail = "a name is made of ASCII letters, digits and underscores";
        return Err(Problem::new(ProblemKind::InvalidValue, detail).at(place));
    }
    Ok(())
}
