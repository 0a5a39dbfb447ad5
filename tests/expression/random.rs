//! Random expressions: their programs compute what they say, exactly.

use std::collections::BTreeMap;

use gemmule::expression::{JobRequest, OperandContent, Program, plan};
use gemmule::gemm::Dtype;
use gemmule::store::Layout;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Map, Value, json};

use crate::evaluate::{self, Matrix};
use crate::program;

struct Writer {
    random: ChaCha8Rng,
    operands: BTreeMap<String, Matrix>,
    /// Expressions written before, with their shapes: to be written again.
    known: Vec<(usize, usize, Value)>,
}

impl Writer {
    fn below(&mut self, end: usize) -> usize {
        self.random.next_u32() as usize % end
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Zero and one are special.
    fn factor(&mut self) -> i32 {
        [-2, -1, 0, 1, 2, 3][self.below(6)]
    }

    fn size(&mut self) -> usize {
        [1, 1, 2, 2, 3, 4][self.below(6)]
    }

    fn operand(&mut self, rows: usize, columns: usize) -> Value {
        let alike = self.operands.iter().filter(|(_, it)| (it.rows, it.columns) == (rows, columns));
        let names: Vec<String> = alike.map(|(name, _)| name.clone()).collect();
        if !names.is_empty() && self.chance(80) {
            return names[self.below(names.len())].clone().into();
        }
        let elements = (0..rows * columns).map(|_| self.below(5) as i128 - 2).collect();
        let name = format!("M{}", self.operands.len());
        self.operands.insert(name.clone(), Matrix { rows, columns, elements });
        name.into()
    }

    fn expression(&mut self, rows: usize, columns: usize, depth: usize) -> Value {
        let alike = self.known.iter().filter(|it| (it.0, it.1) == (rows, columns));
        let alike: Vec<Value> = alike.map(|it| it.2.clone()).collect();
        if !alike.is_empty() && self.chance(15) {
            return alike[self.below(alike.len())].clone();
        }
        if depth == 0 || self.chance(10) {
            return self.operand(rows, columns);
        }
        let written = self.operation(rows, columns, depth - 1);
        self.known.push((rows, columns, written.clone()));
        written
    }

    fn operation(&mut self, rows: usize, columns: usize, depth: usize) -> Value {
        match self.below(8) {
            0 | 1 => {
                let count = 2 + self.below(4);
                let mut sizes: Vec<usize> = (0..=count).map(|_| self.size()).collect();
                (sizes[0], sizes[count]) = (rows, columns);
                let factors: Vec<Value> = sizes
                    .windows(2)
                    .map(|pair| self.expression(pair[0], pair[1], depth.min(1)))
                    .collect();
                self.beside(json!({"multiply": factors}), &["alpha"])
            }
            2 => self.gemm(rows, columns, depth),
            3 => {
                let terms = [0; 2].map(|_| self.expression(rows, columns, depth));
                self.beside(json!({"add": terms}), &["alpha", "beta"])
            }
            4 => {
                let of = self.expression(rows, columns, depth);
                json!({"scale": {"of": of, "by": self.factor()}})
            }
            5 => json!({"transpose": self.expression(columns, rows, depth)}),
            6 if rows == columns => {
                let of = self.expression(rows, rows, depth.min(1));
                json!({"power": {"of": of, "exponent": 1 + self.below(9)}})
            }
            7 => {
                let widths: Vec<usize> =
                    (1..=columns).filter(|width| columns.is_multiple_of(*width)).collect();
                let width = widths[self.below(widths.len())];
                let (states, every) = (columns / width, 1 + self.below(2));
                let steps = (states - 1) * every + 1 + self.below(every);
                let (a, x) = (
                    self.expression(rows, rows, depth.min(1)),
                    self.expression(rows, width, depth),
                );
                let mut iterate = json!({"a": a, "x": x, "steps": steps});
                if states > 1 || self.chance(50) {
                    iterate["snapshot_every"] = every.min(steps).into();
                }
                json!({"iterate": iterate})
            }
            _ => self.operation(rows, columns, depth),
        }
    }

    fn gemm(&mut self, rows: usize, columns: usize, depth: usize) -> Value {
        let inner = self.size();
        let (transpose_a, transpose_b) = (self.chance(30), self.chance(30));
        let turned = |(rows, columns), is| if is { (columns, rows) } else { (rows, columns) };
        let ((m, k), (l, n)) =
            (turned((rows, inner), transpose_a), turned((inner, columns), transpose_b));
        let (a, b) = (self.expression(m, k, depth), self.expression(l, n, depth));
        let mut gemm =
            json!({"a": a, "b": b, "transpose_a": transpose_a, "transpose_b": transpose_b});
        if self.chance(50) {
            gemm["c"] = self.expression(rows, columns, depth);
            gemm = self.beside(gemm, &["beta"]);
        }
        json!({"gemm": self.beside(gemm, &["alpha"])})
    }

    /// Some of these factors, given.
    fn beside(&mut self, mut json: Value, names: &[&str]) -> Value {
        for name in names {
            if self.chance(40) {
                json[name] = self.factor().into();
            }
        }
        json
    }
}

/// The names that an expression is made of.
fn names(json: &Value, found: &mut Vec<String>) {
    match json {
        Value::String(name) => found.push(name.clone()),
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Object(members) => members.values().for_each(|value| names(value, found)),
        _ => {}
    }
}

const SIGNS: &[u8] = b"\"{}[],:0-.eE\\nA";

/// A digit is replaced by another, or some bytes are replaced, left out or repeated.
fn spoil(text: &mut Vec<u8>, writer: &mut Writer) {
    let at = writer.below(text.len());
    let end = text.len().min(at + 1 + writer.below(12));
    match writer.below(20) {
        4.. => {
            let digits: Vec<usize> =
                (0..text.len()).filter(|index| text[*index].is_ascii_digit()).collect();
            if !digits.is_empty() {
                text[digits[writer.below(digits.len())]] = b'0' + writer.below(10) as u8;
            }
        }
        0 => text[at] = SIGNS[writer.below(SIGNS.len())],
        1 => text[at] = writer.below(256) as u8,
        2 => drop(text.drain(at..end)),
        _ => {
            let part = text[at..end].to_vec();
            text.splice(at..at, part);
        }
    }
}

#[test]
fn what_is_spoilt_is_refused_or_read_and_never_more_than_that() {
    let (mut read, mut refused) = (0, 0);
    for seed in 0..300 {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let mut writer = Writer { random, operands: BTreeMap::new(), known: Vec::new() };
        let expression = writer.expression(2, 2, 2);
        let mut used = Vec::new();
        names(&expression, &mut used);
        writer.operands.retain(|name, _| used.contains(name));
        let mut operands = Map::new();
        for (name, it) in &writer.operands {
            let data: Vec<i64> = it.elements.iter().map(|it| *it as i64).collect();
            operands.insert(name.clone(), json!({"data": data, "shape": [it.rows, it.columns]}));
        }
        let body =
            json!({"operands": operands, "expression": expression, "priority": 3}).to_string();
        for _ in 0..50 {
            let mut text = body.clone().into_bytes();
            for _ in 0..1 + writer.below(3) {
                spoil(&mut text, &mut writer);
            }
            let Ok(request) = JobRequest::parse(&text) else {
                refused += 1;
                continue;
            };
            let layouts = request.operands.iter().map(|operand| match &operand.content {
                OperandContent::Inline(inline) => inline.layout(),
                _ => Layout { dtype: Dtype::F64, rows: 2, columns: 2 },
            });
            match plan(&request, &layouts.collect::<Vec<_>>()) {
                Ok(program) => read += program.steps.len().min(1),
                Err(problem) => refused += problem.detail.len().min(1),
            }
        }
    }
    assert!(read > 500 && refused > 5000, "{read}, {refused}");
}

#[test]
fn programs_compute_what_expressions_say() {
    let (mut compared, mut with_steps_saved) = (0, 0);
    for seed in 0..3000 {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let mut writer = Writer { random, operands: BTreeMap::new(), known: Vec::new() };
        let mut results = Map::new();
        for name in ["p", "q", "r"].iter().take(1 + seed as usize % 3) {
            let (rows, columns, depth) = (writer.size(), writer.size(), 1 + writer.below(4));
            results.insert((*name).into(), writer.expression(rows, columns, depth));
        }
        let mut used = Vec::new();
        names(&results.clone().into(), &mut used);
        writer.operands.retain(|name, _| used.contains(name));
        let operands: Map<String, Value> = writer
            .operands
            .iter()
            .map(|(name, matrix)| {
                let data: Vec<i64> = matrix.elements.iter().map(|it| *it as i64).collect();
                (name.clone(), json!({"shape": [matrix.rows, matrix.columns], "data": data}))
            })
            .collect();
        let body = json!({"operands": operands, "results": results});
        let expected: Option<BTreeMap<String, Matrix>> = results
            .iter()
            .map(|(name, json)| Some((name.clone(), evaluate::expression(json, &writer.operands)?)))
            .collect();
        let planned = match program(&body) {
            Ok(planned) => planned,
            Err(problem) if problem.limit.is_some() => continue,
            Err(problem) => {
                assert_eq!(problem.detail, "a job computes something", "{seed}: {body}");
                continue;
            }
        };
        let written = serde_json::to_string(&planned).expect("JSON");
        assert_eq!(serde_json::from_str::<Program>(&written).expect("a program"), planned);
        let found = evaluate::program(&planned, &writer.operands);
        if let (Some(found), Some(expected)) = (found, expected) {
            assert_eq!(found, expected, "{seed}: {body}\n{planned:#?}");
            compared += 1;
            with_steps_saved += usize::from(planned.saved_flops > 0);
        }
    }
    // The others would overflow 128 bits, compute nothing, or are too long.
    assert!(compared > 2500 && with_steps_saved > 300, "{compared}, {with_steps_saved}");
}
