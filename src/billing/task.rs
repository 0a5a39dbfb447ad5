//! Jobs of several steps: each step is a line of the bill.
//!
//! A step's line costs what its operations and bytes do, rounded up by itself; operations take
//! their places in the month one line after the other. The least that a job costs is due once:
//! where the lines come to less, the last one is raised by the difference.

use alloc::string::String;
use alloc::vec::Vec;

use crate::billing::{Bill, JobId, MonthToDate, Tariff, Usage};
use crate::text::{JsonObject, field};

impl Tariff {
    /// What each line of a job costs in micro-units, for an account that has had so much in the
    /// month before it. A job without a line costs nothing.
    pub fn task_amounts_micros(&self, lines: &[Usage], mut month: MonthToDate) -> Vec<u64> {
        let mut amounts: Vec<u64> = Vec::with_capacity(lines.len());
        for usage in lines {
            amounts.push(self.line_micros(usage, month));
            month.flops = month.flops.saturating_add(usage.flops.into());
        }
        let total = sum(amounts.iter().copied());
        if let Some(last) = amounts.last_mut() {
            *last += self.job_micros_min.saturating_sub(total);
        }
        amounts
    }

    /// What they cost together at most, whatever the account has had.
    pub fn task_amount_micros_max(&self, lines: &[Usage]) -> u64 {
        let total = sum(lines.iter().map(|usage| self.line_micros_max(usage)));
        if lines.is_empty() { 0 } else { total.max(self.job_micros_min) }
    }
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// What a job of several steps is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskBill {
    pub task: JobId,
    /// In the order of the steps.
    pub lines: Vec<Bill>,
    pub amount_micros: u64,
    /// That are billed.
    pub flops: u64,
    /// Fewer where an algorithm needs fewer, or a result was in the cache.
    pub executed_flops: u64,
}

impl TaskBill {
    pub fn of(task: JobId, lines: Vec<Bill>) -> Self {
        Self {
            task,
            amount_micros: sum(lines.iter().map(|line| line.charge.amount_micros)),
            flops: sum(lines.iter().map(|line| line.charge.flops)),
            executed_flops: sum(lines.iter().map(|line| line.charge.executed())),
            lines,
        }
    }

    /// Appends the bill as a JSON object.
    pub fn push_json(&self, text: &mut String) {
        let mut object = JsonObject::begin(text);
        object.text_of(field!("job"), |text| self.task.push_to(text));
        if let Some(first) = self.lines.first() {
            object.word(field!("account"), first.charge.account.as_str());
        }
        object
            .number(field!("amount_micros"), self.amount_micros)
            .number(field!("flops"), self.flops)
            .number(field!("executed_flops"), self.executed_flops);
        if let Some(first) = self.lines.first() {
            object.word(field!("currency"), first.charge.currency.as_str());
        }
        object.value(field!("lines"), |text| {
            text.push('[');
            for (index, line) in self.lines.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                line.push_json(text);
            }
            text.push(']');
        });
        object.end();
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::billing::tariff::Terms;
    use crate::gemm::{Dtype, Shape};

    const TERA: u64 = 1_000_000_000_000;

    fn usage(flops: u64) -> Usage {
        let shape = Shape { m: 1, n: 1, k: 1 };
        Usage { dtype: Dtype::F64, shape, flops, bytes_in: 0, bytes_out: 0, cached: false }
    }

    fn tariff(job_micros_min: u64) -> Tariff {
        let terms = Terms::clone(&Tariff::standard());
        let terms = Terms { job_micros_min, free_flops_per_month: TERA, ..terms };
        Tariff::try_from(terms).expect("sound terms")
    }

    #[test]
    fn the_least_that_a_job_costs_is_due_once() {
        let month = MonthToDate { flops: TERA.into() };
        for (minimum, lines, expected) in [
            (5, vec![], vec![]),
            (5, vec![0], vec![5]),
            (5, vec![TERA / 400], vec![5]),
            (5, vec![TERA / 400, 0, TERA / 200], vec![1, 0, 4]),
            (5, vec![TERA / 400, TERA / 100], vec![1, 4]),
            (5, vec![TERA / 400, TERA / 100 + 1], vec![1, 5]),
            (5, vec![TERA, 0], vec![400, 0]),
            // Each line is rounded up by itself.
            (0, vec![1, 1, 1], vec![1, 1, 1]),
            (0, vec![0, 0], vec![0, 0]),
        ] {
            let usages: Vec<Usage> = lines.iter().map(|flops| usage(*flops)).collect();
            let tariff = tariff(minimum);
            let found = tariff.task_amounts_micros(&usages, month);
            assert_eq!(found, expected, "{minimum} {lines:?}");
            assert_eq!(tariff.task_amount_micros_max(&usages), sum(found.into_iter()));
        }
    }

    #[test]
    fn lines_have_their_places_one_after_the_other() {
        let usages = [usage(TERA / 2), usage(TERA), usage(TERA)];
        let found = tariff(0).task_amounts_micros(&usages, MonthToDate::default());
        assert_eq!(found, [0, 200, 400]);
        assert_eq!(tariff(0).task_amount_micros_max(&usages), 1000);
    }
}
