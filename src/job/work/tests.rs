//! Whole jobs' work, without a server: what is found, and what becomes of faults.

use alloc::vec;

use super::*;
use crate::formats::Format;
use crate::gemm::Alone;
use crate::job::Done;
use crate::job::check::Checked;
use crate::ledger::Digests;
use crate::memory::MemoryBudget;
use crate::problem::ProblemKind;

const UNASKED: Checking = Checking { is_asked: false, seed: [3; 32], faults: 0 };
const ASKED: Checking = Checking { is_asked: true, ..UNASKED };
const MEMORY_BYTES: usize = 1 << 20;

fn operation(c: Option<Vec<f64>>) -> Operation<f64> {
    let extent = |start, rows, columns, transposed| Extent { start, rows, columns, transposed };
    Operation {
        elements: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        // 2 x 1 and 1 x 4.
        a: extent(0, 2, 1, false),
        b: extent(2, 4, 1, true),
        beta: if c.is_some() { 1.0 } else { 0.0 },
        c,
        alpha: 2.0,
        shape: Shape { m: 2, n: 4, k: 1 },
    }
}

fn run(
    operation: Operation<f64>,
    format: Format,
    fingerprinting: Fingerprinting,
    checking: Checking,
    memory_bytes: usize,
) -> Outcome {
    let reply = ReplyForm { format, coding: None, inference: None };
    let mut promise = MemoryBudget::new(memory_bytes).promise(0).expect("memory");
    let terms = Terms { threads: 1, bytes_in: 0, checking };
    let mut work = Work::new(operation, terms, &reply, &mut promise, |_| Ok(())).expect("memory");
    loop {
        if let Some(outcome) = work.advance(&reply, fingerprinting, &Alone, &|| true) {
            return outcome;
        }
    }
}

fn done(outcome: Outcome) -> Done {
    match outcome {
        Outcome::Done(done) => *done,
        other => panic!("{other:?}"),
    }
}

fn digest(elements: &[f64]) -> Hash {
    let bytes: Vec<u8> = elements.iter().flat_map(|it| it.to_le_bytes()).collect();
    Hash(blake3::hash(&bytes).into())
}

fn checked(c: Option<Vec<f64>>, checking: Checking) -> Outcome {
    run(operation(c), Format::Raw, Fingerprinting::Off, checking, MEMORY_BYTES)
}

#[test]
fn what_is_done_has_the_digests_of_its_matrices_as_they_came_and_as_they_went() {
    let c = vec![-1.0; 8];
    let result = [5.0, 7.0, 9.0, 11.0, 11.0, 15.0, 19.0, 23.0];
    let expected = Digests {
        a: digest(&[1.0, 2.0]),
        b: digest(&[3.0, 4.0, 5.0, 6.0]),
        c: Some(digest(&c)),
        result: digest(&result),
    };
    for checking in [UNASKED, ASKED] {
        let found = done(checked(Some(c.clone()), checking));
        assert_eq!((found.digests, found.fingerprint), (expected, None));
        let found = done(checked(None, checking));
        let result = digest(&result.map(|element| element + 1.0));
        assert_eq!(found.digests, Digests { c: None, result, ..expected });
    }
}

#[test]
fn a_request_of_another_fingerprint_is_not_multiplied() {
    let with = |c, format, fingerprinting| {
        run(operation(c), format, fingerprinting, UNASKED, MEMORY_BYTES)
    };
    let first = done(with(None, Format::Raw, Fingerprinting::Find)).fingerprint;
    let expected = Fingerprinting::Expect(first.expect("it was to be found"));
    assert_eq!(done(with(None, Format::Raw, expected)).fingerprint, first);
    for (c, format) in [(None, Format::Json), (Some(vec![0.0; 8]), Format::Raw)] {
        let Outcome::Failed(problem) = with(c, format, expected) else {
            panic!("another request must fail");
        };
        assert_eq!(problem.kind, ProblemKind::IdempotencyKeyReused);
    }
}

#[test]
fn a_product_is_checked_where_it_is_asked_for() {
    assert_eq!(done(checked(None, UNASKED)).checked, Checked::Not);
    assert_eq!(done(checked(Some(vec![0.5; 8]), ASKED)).checked, Checked::Passed);
}

#[test]
fn a_wrong_product_is_computed_again_by_another_kernel() {
    for c in [None, Some(vec![-1.0; 8])] {
        let right = done(checked(c.clone(), ASKED));
        assert_eq!(right.kernel, Kernel::of_this_machine());
        let found = done(checked(c, Checking { faults: 1, ..ASKED }));
        assert_eq!(found.checked, Checked::Recomputed { row: 1 });
        assert_ne!(found.kernel, right.kernel);
        // The same operations are billed, and these integers have one sum.
        assert_eq!((found.usage, found.digests), (right.usage, right.digests));
    }
}

#[test]
fn a_product_that_is_wrong_again_is_not_sent() {
    for (c, faults) in [(None, 2), (Some(vec![-1.0; 8]), 2), (None, 100)] {
        let Outcome::Failed(problem) = checked(c, Checking { faults, ..ASKED }) else {
            panic!("a wrong product must fail");
        };
        assert_eq!(problem.kind, ProblemKind::ArithmeticFault);
    }
}

/// C is kept to compute again from, where there is memory for that; where there is none, the job is
/// taken nevertheless.
#[test]
fn without_memory_to_keep_c_a_fault_ends_the_job() {
    let operation = || operation(Some(vec![-1.0; 8]));
    let reply = ReplyForm { format: Format::Raw, coding: None, inference: None };
    let Operation { a, b, .. } = operation();
    let needed_bytes = memory_bytes::<f64>(6, (a, b), 1, true, &reply).expect("a number");
    let faulty = |memory_bytes| {
        let checking = Checking { faults: 1, ..ASKED };
        run(operation(), Format::Raw, Fingerprinting::Off, checking, memory_bytes)
    };
    let kept_bytes = needed_bytes + 8 * size_of::<f64>();
    assert_eq!(done(faulty(kept_bytes)).checked, Checked::Recomputed { row: 1 });
    let Outcome::Failed(problem) = faulty(kept_bytes - 1) else { panic!("C was not kept") };
    assert_eq!(problem.kind, ProblemKind::ArithmeticFault);
    let right = run(operation(), Format::Raw, Fingerprinting::Off, ASKED, needed_bytes);
    assert_eq!(done(right).checked, Checked::Passed);
}
