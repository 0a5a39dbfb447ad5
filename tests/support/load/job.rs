//! One small product: its request, and the check of what came back for it.

use std::collections::HashSet;

use serde_json::Value;

use super::Shape;
use crate::support::http::{self, Response};
use crate::support::random::Random;

/// C = A B in quarters: small enough for every product and sum to be exact in f64, and fractions,
/// so that the decimals on the wire are exercised too.
pub struct Job {
    m: usize,
    n: usize,
    k: usize,
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Job {
    pub fn random(random: &mut Random, shape: Shape) -> Job {
        let mut extent = || match shape {
            Shape::Square(extent) => extent,
            Shape::Varied(extent_max) => 1 + random.below(extent_max as u64) as usize,
        };
        let (m, n, k) = (extent(), extent(), extent());
        let mut matrix = |elements: usize| -> Vec<f64> {
            (0..elements).map(|_| (random.below(2001) as f64 - 1000.0) / 4.0).collect()
        };
        Job { m, n, k, a: matrix(m * k), b: matrix(k * n) }
    }

    pub fn request(&self) -> Vec<u8> {
        let json = |elements: &[f64], columns: usize| {
            let rows: Vec<String> =
                elements.chunks(columns).map(|row| format!("{row:?}")).collect();
            format!("[{}]", rows.join(","))
        };
        let (a, b) = (json(&self.a, self.k), json(&self.b, self.n));
        http::write_job(&format!("{{\"a\":{a},\"b\":{b}}}"))
    }

    /// Whether `response` is the right product with the right bill, for a job not in `jobs_seen`.
    pub fn check(
        &self,
        response: &Response,
        jobs_seen: &mut HashSet<String>,
    ) -> Result<(), String> {
        let wrong = |what: &str| {
            let body = String::from_utf8_lossy(&response.body);
            Err(format!("{what}: {} {:?} {body}", response.status, response.fields))
        };
        if response.status != 200 {
            return wrong("status");
        }
        let Ok(answer) = serde_json::from_slice::<Value>(&response.body) else {
            return wrong("not JSON");
        };
        let c: Option<Vec<Vec<f64>>> =
            answer["c"].as_array().and_then(|rows| rows.iter().map(numbers).collect());
        if c != Some(self.product()) {
            return wrong("product");
        }
        let bill = &answer["bill"];
        let flops = 2 * self.m * self.n * self.k;
        for (key, value) in [("m", self.m), ("n", self.n), ("k", self.k), ("flops", flops)] {
            if bill[key] != value {
                return wrong(key);
            }
        }
        let Some(amount_micros @ 1..) = bill["amount_micros"].as_u64() else {
            return wrong("amount");
        };
        let Some(job) = bill["job"].as_str() else { return wrong("job") };
        if response.field("Gemmule-Job") != Some(job)
            || response.field("Gemmule-Flops") != Some(&flops.to_string())
            || response.field("Gemmule-Amount-Micros") != Some(&amount_micros.to_string())
        {
            return wrong("bill fields differ from the bill");
        }
        if !jobs_seen.insert(job.to_string()) {
            return wrong("a job billed twice");
        }
        Ok(())
    }

    fn product(&self) -> Vec<Vec<f64>> {
        let element = |i: usize, j: usize| -> f64 {
            (0..self.k).map(|p| self.a[i * self.k + p] * self.b[p * self.n + j]).sum()
        };
        (0..self.m).map(|i| (0..self.n).map(|j| element(i, j)).collect()).collect()
    }
}

fn numbers(row: &Value) -> Option<Vec<f64>> {
    row.as_array()?.iter().map(Value::as_f64).collect()
}
