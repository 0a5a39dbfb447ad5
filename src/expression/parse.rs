//! Reads expressions from their text.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::operand::Operand;
use super::reader::{Value, shown};
use super::request::check_name;
use super::tree::{Gemm, Node, Tree, Work};
use crate::gemm::Algorithm;
use crate::limits::{
    BATCH_MAX, CHAIN_LENGTH_MAX, EXPONENT_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX,
    ITERATE_STEPS_MAX, JOB_RESULTS_MAX, SNAPSHOTS_MAX,
};
use crate::problem::{Problem, ProblemKind};

/// The name of a result that the request gives none.
pub(super) const RESULT: &str = "result";

/// Reads `expression`.
pub(super) fn read_expression(value: Value, operands: &[Operand]) -> Result<Tree, Problem> {
    let mut parser = Parser { operands, tree: Tree::default(), named: Vec::new() };
    parser.result(RESULT, value)?;
    Ok(parser.tree)
}

/// Reads `results`, an object of expressions.
pub(super) fn read_results(mut value: Value, operands: &[Operand]) -> Result<Tree, Problem> {
    let mut parser = Parser { operands, tree: Tree::default(), named: Vec::new() };
    let object = value.clone();
    value.each_member(|name, value| {
        check_name(name, &object)?;
        if parser.named.iter().any(|taken| taken == name) {
            let detail = "two results have this name";
            return Err(value.problem(ProblemKind::DuplicateField, detail));
        }
        parser.named.push(name.into());
        parser.result(name, value)
    })?;
    if parser.named.is_empty() {
        return Err(object.problem(ProblemKind::InvalidValue, "a job has a result"));
    }
    Ok(parser.tree)
}

struct Parser<'a> {
    operands: &'a [Operand],
    tree: Tree,
    /// Names of results.
    named: Vec<String>,
}

const OPERATORS: [&str; 8] =
    ["multiply", "gemm", "add", "scale", "transpose", "power", "iterate", "batch"];

impl Parser<'_> {
    /// Reads an expression that is a result, or several where it is a batch.
    fn result(&mut self, name: &str, mut value: Value) -> Result<(), Problem> {
        if value.first() == Some(b'{') {
            let [batch, ..] = value.clone().members(["batch", "algorithm"]).unwrap_or_default();
            if batch.is_some() {
                return self.batch(name, value);
            }
        }
        let node = self.expression(value.clone(), 1)?;
        self.add_result(name.into(), node, &value)
    }

    fn add_result(&mut self, name: String, node: usize, at: &Value) -> Result<(), Problem> {
        if self.tree.results.len() == JOB_RESULTS_MAX {
            return Err(at.beyond(JOB_RESULTS_MAX as u64, "the results of a job are at most"));
        }
        self.tree.results.push((name, node));
        Ok(())
    }

    /// `{"batch": {"a": [e, …], "b": [e, …]}}`: a product of each pair.
    fn batch(&mut self, name: &str, mut value: Value) -> Result<(), Problem> {
        let [batch, algorithm] = value.members(["batch", "algorithm"])?;
        let mut batch = required(batch, &value, "batch")?;
        let algorithm = read_algorithm(algorithm)?;
        let [a, b] = batch.members(["a", "b"])?;
        let [mut a, mut b] = [required(a, &batch, "a")?, required(b, &batch, "b")?];
        let a_nodes = self.list(&mut a, BATCH_MAX, "the products of a batch are at most", 2)?;
        let b_nodes = self.list(&mut b, BATCH_MAX, "the products of a batch are at most", 2)?;
        if a_nodes.len() != b_nodes.len() {
            let detail = format!("a has length {}, and b has {}", a_nodes.len(), b_nodes.len());
            return Err(b.problem(ProblemKind::LengthMismatch, detail));
        }
        if a_nodes.is_empty() {
            return Err(a.problem(ProblemKind::InvalidValue, "a batch has a product"));
        }
        for (index, (a, b)) in a_nodes.into_iter().zip(b_nodes).enumerate() {
            let work = Work::Multiply { factors: [a, b].into(), alpha: 1.0, algorithm };
            let node = self.add(work, &batch)?;
            self.add_result(format!("{name}.{index}"), node, &batch)?;
        }
        Ok(())
    }

    /// Reads an expression; its node. `depth` counts expressions around it, and itself.
    fn expression(&mut self, mut value: Value, depth: usize) -> Result<usize, Problem> {
        if depth > EXPRESSION_DEPTH_MAX {
            let limit = EXPRESSION_DEPTH_MAX as u64;
            return Err(value.beyond(limit, "expressions within each other are at most"));
        }
        let whole = value.clone();
        match value.first() {
            Some(b'"') => {
                let name = value.string()?;
                let index = self.operands.iter().position(|operand| operand.name == name);
                let index = index.ok_or_else(|| {
                    let detail = format!("no operand is called {:?}", shown(&name));
                    whole.problem(ProblemKind::InvalidValue, detail)
                })?;
                self.add(Work::Operand(index), &whole)
            }
            Some(b'{') => {
                let work = self.operation(&mut value, &whole, depth)?;
                self.add(work, &whole)
            }
            _ => {
                let detail = "an expression is the name of an operand, or an object";
                Err(whole.problem(ProblemKind::WrongType, detail))
            }
        }
    }

    fn add(&mut self, work: Work, at: &Value) -> Result<usize, Problem> {
        if self.tree.nodes.len() == EXPRESSION_NODES_MAX {
            let limit = EXPRESSION_NODES_MAX as u64;
            return Err(at.beyond(limit, "names and operations in a job's expressions are at most"));
        }
        self.tree.nodes.push(Node { work, place: at.place.clone() });
        Ok(self.tree.nodes.len() - 1)
    }

    fn operation(
        &mut self,
        value: &mut Value,
        whole: &Value,
        depth: usize,
    ) -> Result<Work, Problem> {
        let [multiply, gemm, add, scale, transpose, power, iterate, batch, alpha, beta, algorithm] =
            value.members([
                "multiply",
                "gemm",
                "add",
                "scale",
                "transpose",
                "power",
                "iterate",
                "batch",
                "alpha",
                "beta",
                "algorithm",
            ])?;
        let operators = [multiply, gemm, add, scale, transpose, power, iterate, batch];
        let mut given =
            operators.into_iter().zip(OPERATORS).filter_map(|(value, name)| Some((value?, name)));
        let (Some((inner, name)), None) = (given.next(), given.next()) else {
            let detail = format!("an expression is one of: {}", OPERATORS.join(", "));
            return Err(whole.problem(ProblemKind::InvalidValue, detail));
        };
        // What stands beside an operator that doesn't take it.
        let alpha = Beside::new(alpha, matches!(name, "multiply" | "add"))?;
        let beta = Beside::new(beta, name == "add")?;
        let algorithm = Beside::new(algorithm, matches!(name, "multiply" | "power"))?;
        let (alpha, beta) = (read_factor(alpha.0)?, read_factor(beta.0)?);
        let algorithm = read_algorithm(algorithm.0)?;
        let below = depth + 1;
        match name {
            "multiply" => self.multiply(inner, alpha, algorithm, below),
            "gemm" => self.gemm(inner, below),
            "add" => self.sum(inner, alpha, beta, below),
            "scale" => self.scale(inner, below),
            "transpose" => Ok(Work::Transpose(self.expression(inner, below)?)),
            "power" => self.power(inner, algorithm, below),
            "iterate" => self.iterate(inner, below),
            _ => {
                let detail = "a batch is no matrix, so that no expression is made of one";
                Err(inner.problem(ProblemKind::InvalidValue, detail))
            }
        }
    }

    /// Reads an array of at most so many expressions.
    fn list(
        &mut self,
        value: &mut Value,
        length_max: usize,
        what: &str,
        depth: usize,
    ) -> Result<Vec<usize>, Problem> {
        let whole = value.clone();
        let mut nodes = Vec::new();
        value.each_element(|element| {
            if nodes.len() == length_max {
                return Err(whole.beyond(length_max as u64, what));
            }
            nodes.push(self.expression(element, depth)?);
            Ok(())
        })?;
        Ok(nodes)
    }

    fn multiply(
        &mut self,
        mut inner: Value,
        alpha: f64,
        algorithm: Algorithm,
        depth: usize,
    ) -> Result<Work, Problem> {
        let what = "the factors of a product are at most";
        let factors = self.list(&mut inner, CHAIN_LENGTH_MAX, what, depth)?;
        if factors.len() < 2 {
            let detail = "a product has two factors or more";
            return Err(inner.problem(ProblemKind::InvalidValue, detail));
        }
        Ok(Work::Multiply { factors, alpha, algorithm })
    }

    fn gemm(&mut self, mut inner: Value, depth: usize) -> Result<Work, Problem> {
        let [a, b, c, alpha, beta, transpose_a, transpose_b, algorithm] = inner.members([
            "a",
            "b",
            "c",
            "alpha",
            "beta",
            "transpose_a",
            "transpose_b",
            "algorithm",
        ])?;
        let [a, b] = [required(a, &inner, "a")?, required(b, &inner, "b")?];
        let flag = |value: Option<Value>| value.map_or(Ok(false), |mut value| value.boolean());
        let has_beta = beta.is_some();
        let (alpha, beta) = (read_factor(alpha)?, read_factor(beta)?);
        let (transpose_a, transpose_b) = (flag(transpose_a)?, flag(transpose_b)?);
        let algorithm = read_algorithm(algorithm)?;
        let (a, b) = (self.expression(a, depth)?, self.expression(b, depth)?);
        let c = match c {
            Some(c) => Some(self.expression(c, depth)?),
            None if has_beta && beta != 0.0 => return Err(required(c, &inner, "c").unwrap_err()),
            None => None,
        };
        // Where beta is 0, C is not read.
        let c = c.filter(|_| beta != 0.0).map(|c| (c, beta));
        Ok(Work::Gemm(Gemm { a, b, c, alpha, transpose_a, transpose_b, algorithm }))
    }

    fn sum(
        &mut self,
        mut inner: Value,
        alpha: f64,
        beta: f64,
        depth: usize,
    ) -> Result<Work, Problem> {
        let terms = self.list(&mut inner, 2, "the terms of a sum are at most", depth)?;
        let [x, y] = terms[..] else {
            return Err(inner.problem(ProblemKind::InvalidValue, "a sum has two terms"));
        };
        Ok(Work::Add { x, y, alpha, beta })
    }

    fn scale(&mut self, mut inner: Value, depth: usize) -> Result<Work, Problem> {
        let [of, by] = inner.members(["of", "by"])?;
        let [of, mut by] = [required(of, &inner, "of")?, required(by, &inner, "by")?];
        let by = by.number()?;
        Ok(Work::Scale { of: self.expression(of, depth)?, by })
    }

    fn power(
        &mut self,
        mut inner: Value,
        algorithm: Algorithm,
        depth: usize,
    ) -> Result<Work, Problem> {
        let [of, exponent] = inner.members(["of", "exponent"])?;
        let of = required(of, &inner, "of")?;
        let exponent = required(exponent, &inner, "exponent")?.whole(1..=EXPONENT_MAX)?;
        Ok(Work::Power { of: self.expression(of, depth)?, exponent, algorithm })
    }

    fn iterate(&mut self, mut inner: Value, depth: usize) -> Result<Work, Problem> {
        let [a, x, steps, every] = inner.members(["a", "x", "steps", "snapshot_every"])?;
        let [a, x] = [required(a, &inner, "a")?, required(x, &inner, "x")?];
        let steps = required(steps, &inner, "steps")?.whole(1..=ITERATE_STEPS_MAX)?;
        let snapshot_every = match every {
            None => steps,
            Some(mut every) => {
                let snapshot_every = every.whole(1..=steps)?;
                if steps.div_ceil(snapshot_every) > SNAPSHOTS_MAX {
                    return Err(every.beyond(SNAPSHOTS_MAX, "the snapshots are at most"));
                }
                snapshot_every
            }
        };
        let (a, x) = (self.expression(a, depth)?, self.expression(x, depth)?);
        Ok(Work::Iterate { a, x, steps, snapshot_every })
    }
}

fn required<'a>(
    value: Option<Value<'a>>,
    object: &Value,
    name: &str,
) -> Result<Value<'a>, Problem> {
    value.ok_or_else(|| {
        let problem = Problem::new(ProblemKind::MissingField, format!("{name} is required"));
        problem.at(object.within(name))
    })
}

/// A field beside an operator's.
struct Beside<'a>(Option<Value<'a>>);

impl<'a> Beside<'a> {
    fn new(value: Option<Value<'a>>, is_taken: bool) -> Result<Self, Problem> {
        match value {
            Some(value) if !is_taken => {
                let detail = "the operation does not take this field here".to_string();
                Err(value.problem(ProblemKind::UnknownField, detail))
            }
            value => Ok(Self(value)),
        }
    }
}

/// 1 where none is given.
fn read_factor(value: Option<Value>) -> Result<f64, Problem> {
    value.map_or(Ok(1.0), |mut value| value.number())
}

fn read_algorithm(value: Option<Value>) -> Result<Algorithm, Problem> {
    let Some(mut value) = value else { return Ok(Algorithm::Classical) };
    let name = value.string()?;
    Algorithm::from_name(&name).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        let detail = format!("{:?} is not one of the algorithms: {names}", shown(&name));
        value.problem(ProblemKind::InvalidValue, detail)
    })
}
