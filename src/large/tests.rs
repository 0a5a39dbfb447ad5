//! What the check of a block finds, and what it lets pass.

use alloc::vec;

use super::plan::Operand;
use super::*;
use crate::gemm::Alone;
use crate::ledger::AccountId;
use crate::memory::MemoryBudget;
use crate::store::{AddressHasher, Keep, Purpose, Store};

fn account() -> AccountId {
    "weather".parse().expect("an account")
}

fn keep<T: Element>(store: &Store, (rows, columns): (usize, usize), elements: &[T]) -> Arc<Stored> {
    let layout = Layout { dtype: T::DTYPE, rows, columns };
    let draft = store.begin(layout, Purpose::Upload, &account(), 0).expect("there is room");
    let (mut writer, mut hasher) = (draft.clone().rows_writer(), AddressHasher::new(&layout));
    writer.push(bytemuck::cast_slice(elements)).expect("it is written");
    hasher.update(bytemuck::cast_slice(elements));
    writer.flush().expect("it is written");
    draft.commit().expect("it lasts");
    store.finish(&draft, hasher.finish(), Keep::default(), 0).expect("it is kept")
}

/// Between -1 and 1, by the generator of Marsaglia's "Xorshift RNGs".
fn elements<T: Element>(count: usize, seed: u64) -> Vec<T> {
    let mut state = seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::from_f64((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
    };
    core::iter::repeat_with(next).take(count).collect()
}

struct Case {
    shape: Shape,
    gemm: Gemm,
    /// Of the memory that is of use, the least is none and the most is all.
    share: f64,
}

impl Case {
    /// Runs with so many faults, and with an element of A changed; which operand was held.
    fn run<T: Element>(
        &self,
        faults: usize,
        change: Option<f64>,
    ) -> (Result<MatrixId, StepError>, Counts, Operand) {
        let Self { shape: Shape { m, n, k }, gemm, share } = *self;
        let store = Store::in_memory(MemoryBudget::new(1 << 30));
        let lying = |sides: (usize, usize), turned| if turned { (sides.1, sides.0) } else { sides };
        let mut of_a = elements::<T>(m * k, 1);
        of_a[m * k / 2] = change.map_or(of_a[m * k / 2], T::from_f64);
        let mut operands = vec![
            keep(&store, lying((m, k), gemm.transpose_a), &of_a),
            keep(&store, lying((k, n), gemm.transpose_b), &elements::<T>(k * n, 2)),
        ];
        if gemm.beta != 0.0 {
            operands.push(keep(&store, (m, n), &elements::<T>(m * n, 3)));
        }
        let layout = Layout { dtype: T::DTYPE, rows: m, columns: n };
        let output = store.begin(layout, Purpose::Result, &account(), 0).expect("there is room");
        let problem = gemm.problem(operands[0].layout(), operands[1].layout(), Rules::LATEST);
        let (least, most) = (problem.least_bytes(), problem.most_bytes());
        let memory_bytes = least + ((most - least) as f64 * share) as usize;
        let rules = Rules::LATEST;
        let resources = Resources { memory_bytes, threads: 1, background: None, rules };
        let mut job = gemm.job(&operands, layout, resources).expect("a plan");
        // Smaller than what is worth it.
        job.plan.is_checked = true;
        let held = job.plan.held;
        let mut run = ProductRun::<T>::new(job, output);
        run.faults = faults;
        let outcome = loop {
            match run.step(&Alone, &|| false) {
                Ok(false) => {}
                Ok(true) => break Ok(run.id().expect("all is there")),
                Err(error) => break Err(error),
            }
        };
        (outcome, run.counts(), held)
    }

    fn check<T: Element>(&self) -> Operand {
        let what = || alloc::format!("{:?} {:?} {}", self.gemm, self.shape, self.share);
        let (right, counts, held) = self.run::<T>(0, None);
        let right = right.expect("it is right");
        assert_eq!(
            (counts.blocks_again, counts.flops),
            (Some(0), self.shape.flops()),
            "{}",
            what()
        );
        let (again, counts, _) = self.run::<T>(1, None);
        assert_eq!(again, Ok(right), "{}", what());
        assert_eq!(
            (counts.blocks_again, counts.flops),
            (Some(1), self.shape.flops()),
            "{}",
            what()
        );
        let (wrong, counts, _) = self.run::<T>(2, None);
        assert!(matches!(wrong, Err(StepError::Wrong { .. })), "{}: {wrong:?}", what());
        assert_eq!(counts.blocks_again, Some(1), "{}", what());
        held
    }
}

fn cases(algorithm: Algorithm) -> impl Iterator<Item = Case> {
    let shapes = [(1100, 600, 1300), (500, 1200, 1100), (1030, 1100, 40)];
    let transposed = [(false, false), (true, false), (false, true), (true, true)];
    shapes.into_iter().enumerate().flat_map(move |(index, (m, n, k))| {
        transposed.into_iter().enumerate().map(move |(turn, (transpose_a, transpose_b))| {
            let (alpha, beta) = [(1.0, 0.0), (-0.5, 3.0)][(index + turn) % 2];
            let gemm = Gemm { alpha, beta, transpose_a, transpose_b, algorithm };
            Case { shape: Shape { m, n, k }, gemm, share: turn as f64 / 3.0 }
        })
    })
}

#[test]
fn a_block_that_is_wrong_is_computed_again_and_then_refused() {
    let held: Vec<_> = cases(Algorithm::Classical)
        .flat_map(|case| [case.check::<f64>(), case.check::<f32>()])
        .collect();
    assert!(held.contains(&Operand::A) && held.contains(&Operand::B), "{held:?}");
}

#[test]
fn products_of_fewer_operations_are_held_against_their_own_bound() {
    let shape = Shape { m: 2100, n: 2060, k: 2080 };
    for (transpose, share) in [(false, 0.0), (true, 1.0)] {
        let gemm = Gemm {
            alpha: 2.0,
            beta: 1.0,
            transpose_a: transpose,
            transpose_b: transpose,
            algorithm: Algorithm::StrassenWinograd,
        };
        Case { shape, gemm, share }.check::<f64>();
    }
}

#[test]
fn nothing_is_said_of_what_is_not_finite() {
    for case in cases(Algorithm::Classical).take(4) {
        for change in [f64::NAN, f64::INFINITY, f64::MAX] {
            let (outcome, counts, _) = case.run::<f64>(0, Some(change));
            assert!(outcome.is_ok(), "{change}: {outcome:?}");
            assert_eq!(counts.blocks_again, Some(0), "{change}");
        }
    }
}
