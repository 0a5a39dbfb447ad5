//! Expressions and programs evaluated over whole numbers, as they are written.

use std::collections::BTreeMap;

use gemmule::expression::{Program, Source, Step, StepWork};
use serde_json::Value;

/// A matrix, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub elements: Vec<i128>,
}

/// A factor that is a whole number.
fn whole(number: f64) -> i128 {
    assert_eq!(number, number.trunc());
    number as i128
}

impl Matrix {
    fn of(
        rows: usize,
        columns: usize,
        element: impl Fn(usize, usize) -> Option<i128>,
    ) -> Option<Self> {
        let elements = (0..rows * columns).map(|index| element(index / columns, index % columns));
        Some(Self { rows, columns, elements: elements.collect::<Option<_>>()? })
    }

    fn at(&self, row: usize, column: usize) -> i128 {
        self.elements[row * self.columns + column]
    }

    fn transposed(&self) -> Self {
        Self::of(self.columns, self.rows, |row, column| Some(self.at(column, row)))
            .expect("it fits")
    }

    /// `None` where a number would not fit, as of the next two.
    fn times(&self, other: &Self) -> Option<Self> {
        assert_eq!(self.columns, other.rows);
        Self::of(self.rows, other.columns, |row, column| {
            (0..self.columns).try_fold(0_i128, |sum, index| {
                sum.checked_add(self.at(row, index).checked_mul(other.at(index, column))?)
            })
        })
    }

    fn scaled(&self, by: i128) -> Option<Self> {
        Self::of(self.rows, self.columns, |row, column| self.at(row, column).checked_mul(by))
    }

    fn plus(&self, other: &Self) -> Option<Self> {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns));
        Self::of(self.rows, self.columns, |row, column| {
            self.at(row, column).checked_add(other.at(row, column))
        })
    }

    fn beside(&self, other: &Self) -> Self {
        assert_eq!(self.rows, other.rows);
        Self::of(self.rows, self.columns + other.columns, |row, column| {
            Some(match column.checked_sub(self.columns) {
                None => self.at(row, column),
                Some(column) => other.at(row, column),
            })
        })
        .expect("it fits")
    }

    /// `x <- A x`, for this matrix.
    fn iterate(&self, x: &Self, steps: u64, every: u64) -> Option<Self> {
        let (mut x, mut kept) = (x.clone(), None);
        for step in 1..=steps {
            x = self.times(&x)?;
            if step % every == 0 || step == steps {
                kept = Some(kept.map_or(x.clone(), |kept: Self| kept.beside(&x)));
            }
        }
        kept
    }
}

/// The value of an expression, as its JSON says.
pub fn expression(json: &Value, operands: &BTreeMap<String, Matrix>) -> Option<Matrix> {
    if let Some(name) = json.as_str() {
        return Some(operands[name].clone());
    }
    let of = |json: &Value| expression(json, operands);
    let factor = |json: &Value, name: &str| {
        json.get(name).map_or(1, |it| whole(it.as_f64().expect("a number")))
    };
    let flag =
        |json: &Value, name: &str| json.get(name).is_some_and(|it| it.as_bool() == Some(true));
    let number = |json: &Value, name: &str| json[name].as_u64().expect("a whole number");
    if let Some(factors) = json.get("multiply") {
        let mut factors = factors.as_array().expect("a list").iter();
        let first = of(factors.next().expect("a factor"))?;
        return factors
            .try_fold(first, |product, factor| product.times(&of(factor)?))?
            .scaled(factor(json, "alpha"));
    }
    if let Some(gemm) = json.get("gemm") {
        let operand = |name: &str, transpose: &str| {
            let matrix = of(&gemm[name])?;
            Some(if flag(gemm, transpose) { matrix.transposed() } else { matrix })
        };
        let product = operand("a", "transpose_a")?.times(&operand("b", "transpose_b")?)?;
        let product = product.scaled(factor(gemm, "alpha"))?;
        return match gemm.get("c") {
            None => Some(product),
            Some(c) => product.plus(&of(c)?.scaled(factor(gemm, "beta"))?),
        };
    }
    if let Some(terms) = json.get("add") {
        let x = of(&terms[0])?.scaled(factor(json, "alpha"))?;
        return x.plus(&of(&terms[1])?.scaled(factor(json, "beta"))?);
    }
    if let Some(scale) = json.get("scale") {
        return of(&scale["of"])?.scaled(factor(scale, "by"));
    }
    if let Some(inner) = json.get("transpose") {
        return Some(of(inner)?.transposed());
    }
    if let Some(power) = json.get("power") {
        let matrix = of(&power["of"])?;
        let times = number(power, "exponent") - 1;
        return (0..times).try_fold(matrix.clone(), |product, _| product.times(&matrix));
    }
    let iterate = &json["iterate"];
    let steps = number(iterate, "steps");
    let every = iterate.get("snapshot_every").map_or(steps, |every| every.as_u64().expect("whole"));
    of(&iterate["a"])?.iterate(&of(&iterate["x"])?, steps, every)
}

/// The results of a program, by their names. What was let go is not there any more.
pub fn program(
    program: &Program,
    operands: &BTreeMap<String, Matrix>,
) -> Option<BTreeMap<String, Matrix>> {
    let mut known: BTreeMap<Source, Matrix> = BTreeMap::new();
    for (index, input) in program.inputs.iter().enumerate() {
        known.insert(Source::Input(index), operands[&input.name].clone());
    }
    let (mut bytes, mut peak) = (0, 0);
    for (index, step) in program.steps.iter().enumerate() {
        let result = evaluate(step, &known)?;
        assert_eq!((result.rows, result.columns), (step.layout.rows, step.layout.columns));
        known.insert(Source::Step(index), result);
        let is_intermediate =
            |source| matches!(source, Source::Step(_)) && !program.is_result(source);
        let size =
            |source| if is_intermediate(source) { program.layout_of(source).bytes() } else { 0 };
        bytes += size(Source::Step(index));
        peak = peak.max(bytes);
        for source in program.released_after(index) {
            assert!(known.remove(&source).is_some(), "{source:?} is let go once");
            bytes -= size(source);
        }
    }
    assert_eq!((bytes, peak), (0, program.peak_intermediate_bytes()));
    let results = program.results.iter();
    let results: BTreeMap<_, _> =
        results.map(|result| (result.name.clone(), known[&result.source].clone())).collect();
    let needed = program
        .results
        .iter()
        .map(|result| result.source)
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(known.len(), needed.len(), "nothing else is left");
    Some(results)
}

fn evaluate(step: &Step, known: &BTreeMap<Source, Matrix>) -> Option<Matrix> {
    let operand = |index: usize| &known[&step.operands[index]];
    match step.work {
        StepWork::Gemm { alpha, beta, transpose_a, transpose_b, .. } => {
            let turned = |index, is_transposed| {
                if is_transposed { operand(index).transposed() } else { operand(index).clone() }
            };
            let product =
                turned(0, transpose_a).times(&turned(1, transpose_b))?.scaled(whole(alpha))?;
            assert_eq!(step.operands.len(), if beta == 0.0 { 2 } else { 3 });
            if beta == 0.0 { Some(product) } else { product.plus(&operand(2).scaled(whole(beta))?) }
        }
        StepWork::Add { alpha, beta } => {
            operand(0).scaled(whole(alpha))?.plus(&operand(1).scaled(whole(beta))?)
        }
        StepWork::Scale { alpha } => operand(0).scaled(whole(alpha)),
        StepWork::Transpose => Some(operand(0).transposed()),
        StepWork::Iterate { steps, snapshot_every } => {
            operand(0).iterate(operand(1), steps, snapshot_every)
        }
    }
}
