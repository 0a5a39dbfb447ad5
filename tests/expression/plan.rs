//! Which steps are planned: their names on the bill, operations, and what was saved.

use gemmule::expression::{Program, Source, StepWork, operation_key};
use gemmule::gemm::Dtype;
use gemmule::ledger::hash::Hash;
use gemmule::limits::JOB_STEPS_MAX;
use gemmule::store::MatrixId;
use serde_json::{Value, json};

use crate::{planned, program_of};

/// The names of the steps, and their operations.
fn steps(program: &Program) -> Vec<(&str, u64)> {
    program.steps.iter().map(|step| (step.id.as_str(), step.flops)).collect()
}

#[test]
fn steps_have_their_names_and_operations() {
    // A is 2 x 3, B is 3 x 4, C is 2 x 4, S is 3 x 3, x is 3 x 1.
    let operands = [("A", 2, 3), ("B", 3, 4), ("C", 2, 4), ("S", 3, 3), ("x", 3, 1)];
    let ab = || json!({"multiply": ["A", "B"]});
    for (expression, expected) in [
        (ab(), &[("1: A*B", 48)][..]),
        (json!({"multiply": ["A", "B"], "alpha": 2}), &[("1: 2*A*B", 56)]),
        (json!({"multiply": ["A", "B"], "alpha": 0}), &[("1: A*B", 48), ("2: 0*#1", 8)]),
        (json!({"gemm": {"a": "A", "b": "B", "c": "C", "beta": 0}}), &[("1: A*B", 48)]),
        (json!({"gemm": {"a": "A", "b": "B", "c": "C"}}), &[("1: A*B + C", 64)]),
        (
            json!({"gemm": {"a": "B", "b": "A", "c": "C", "alpha": -0.5, "beta": 1e300,
                "transpose_a": true, "transpose_b": true, "algorithm": "strassen_winograd"}}),
            // C is not of this shape: see below.
            &[],
        ),
        (
            json!({"gemm": {"a": "B", "b": "A", "alpha": -0.5, "transpose_a": true,
                "transpose_b": true, "algorithm": "strassen_winograd"}}),
            &[("1: -0.5*B'*A', strassen_winograd", 56)],
        ),
        (json!({"add": [ab(), "C"]}), &[("1: A*B + C", 64)]),
        (json!({"add": ["C", ab()], "alpha": 3, "beta": 2}), &[("1: 2*A*B + 3*C", 72)]),
        (json!({"add": ["C", ab()], "alpha": 0}), &[("1: A*B", 48), ("2: 0*C + #1", 16)]),
        (json!({"add": ["C", "C"]}), &[("1: C + C", 8)]),
        (json!({"add": ["C", "C"], "alpha": 2, "beta": 3}), &[("1: 2*C + 3*C", 24)]),
        (json!({"add": [{"scale": {"of": "C", "by": 2}}, "C"]}), &[("1: C + 2*C", 16)]),
        // The product is read twice: it is computed once, and nothing is folded into it.
        (json!({"add": [ab(), ab()]}), &[("1: A*B", 48), ("2: #1 + #1", 8)]),
        // One product is added by the other.
        (
            json!({"add": [ab(), {"multiply": ["A", "S", "B"]}]}),
            &[("1: A*B", 48), ("2: A*S", 36), ("3: #2*B + #1", 64)],
        ),
        (json!({"transpose": "A"}), &[("1: A'", 0)]),
        (json!({"transpose": ab()}), &[("1: B'*A'", 48)]),
        (json!({"multiply": [{"transpose": "B"}, {"transpose": "A"}]}), &[("1: B'*A'", 48)]),
        (
            json!({"multiply": [{"transpose": ab()}, {"scale": {"of": "C", "by": 4}}]}),
            &[("1: A*B", 48), ("2: 4*#1'*C", 80)],
        ),
        (json!({"scale": {"of": {"scale": {"of": "A", "by": 2}}, "by": 3}}), &[("1: 6*A", 6)]),
        (
            json!({"scale": {"of": {"scale": {"of": "A", "by": 1e200}}, "by": 1e200}}),
            &[("1: 1e+200*A", 6), ("2: 1e+200*#1", 6)],
        ),
        (json!({"scale": {"of": {"transpose": ab()}, "by": 3}}), &[("1: 3*B'*A'", 56)]),
        (
            json!({"add": [{"transpose": "A"}, {"transpose": "A"}]}),
            &[("1: A + A", 6), ("2: #1'", 0)],
        ),
        (
            json!({"power": {"of": {"transpose": "S"}, "exponent": 3}}),
            &[("1: S*S", 54), ("2: #1'*S'", 54)],
        ),
        (json!({"iterate": {"a": "S", "x": "x", "steps": 10}}), &[("1: 10 steps of S on x", 180)]),
        (
            json!({"iterate": {"a": {"scale": {"of": "S", "by": 2}}, "x": "x", "steps": 10, "snapshot_every": 3}}),
            &[("1: 2*S", 9), ("2: 10 steps of #1 on x", 180)],
        ),
        (
            json!({"batch": {"a": ["A", "A", "S"], "b": ["B", "S", "B"]}}),
            &[("1: A*B", 48), ("2: A*S", 36), ("3: S*B", 72)],
        ),
    ] {
        let mut names = Vec::new();
        names_of(&expression, &mut names);
        let used: Vec<_> =
            operands.iter().filter(|it| names.contains(&it.0.to_string())).copied().collect();
        match program_of(&expression, &used) {
            Ok(program) => assert_eq!(steps(&program), expected, "{expression}"),
            Err(problem) => assert!(expected.is_empty(), "{expression}: {problem:?}"),
        }
    }
}

fn names_of(json: &Value, names: &mut Vec<String>) {
    match json {
        Value::String(name) => names.push(name.clone()),
        Value::Array(items) => items.iter().for_each(|item| names_of(item, names)),
        Value::Object(members) => members.values().for_each(|value| names_of(value, names)),
        _ => {}
    }
}

#[test]
fn a_chain_of_eight_is_done_in_the_cheapest_order() {
    // Those of the example of Cormen, Leiserson, Rivest and Stein, and two more.
    let sizes = [30, 35, 15, 5, 10, 20, 25, 8, 40];
    let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
    let operands: Vec<(&str, usize, usize)> =
        names.iter().zip(sizes.windows(2)).map(|(name, pair)| (*name, pair[0], pair[1])).collect();
    let program = program_of(&json!({"multiply": names}), &operands).expect("a chain");
    let found: Vec<&str> = program.steps.iter().map(|step| step.id.as_str()).collect();
    let expected = ["1: B*C", "2: A*#1", "3: D*E", "4: #3*F", "5: #4*G", "6: #5*H", "7: #2*#6"];
    assert_eq!(found, expected);
    assert_eq!(program.flops(), least(&sizes));
    // A B, then C and so on to H, from the left.
    let from_left: u64 =
        (2..9).map(|index| 2 * 30 * sizes[index - 1] as u64 * sizes[index] as u64).sum();
    assert_eq!(program.saved_flops, from_left - program.flops());
    assert_eq!(program.inputs.len(), 8);
}

/// By trying all orders.
fn least(sizes: &[usize]) -> u64 {
    let last = sizes.len() - 1;
    (1..last)
        .map(|cut| {
            let product = 2 * (sizes[0] * sizes[cut] * sizes[last]) as u64;
            least(&sizes[..=cut]) + least(&sizes[cut..]) + product
        })
        .min()
        .unwrap_or(0)
}

#[test]
fn powers_take_as_many_products_as_their_bits_say() {
    for exponent in 1_u32..=100 {
        let expression = json!({"transpose": {"power": {"of": "S", "exponent": exponent}}});
        let program = program_of(&expression, &[("S", 7, 7)]).expect("a power");
        let products = u64::from(exponent.ilog2() + exponent.count_ones() - 1);
        assert_eq!(program.flops(), products * 2 * 343, "{exponent}");
        // A transpose of S itself, and none for a product.
        assert_eq!(program.steps.len() as u64, products.max(1), "{exponent}");
    }
}

#[test]
fn a_power_beside_something_narrow_is_multiplied_by_in_steps() {
    let power = json!({"power": {"of": "S", "exponent": 5}});
    let operands = [("S", 20, 20), ("x", 20, 1), ("A", 7, 20)];
    for (expression, names, planned, saved) in [
        // Squared: three products of 16,000, and one with a vector of 800.
        (json!({"multiply": [power, "x"]}), "Sx", vec![("1: 5 steps of S on x", 4_000)], 44_800),
        (
            json!({"multiply": ["A", power, "x"]}),
            "SxA",
            vec![("1: 5 steps of S on x", 4_000), ("2: A*#1", 280)],
            // From the left: 48,000 for the power, 5,600 for A with it, 280.
            49_600,
        ),
        (
            json!({"multiply": [{"transpose": "x"}, power]}),
            "Sx",
            vec![("1: S'", 0), ("2: 5 steps of #1 on x", 4_000), ("3: #2'", 0)],
            44_800,
        ),
        // A factor of the chain that is no power itself is computed.
        (
            json!({"multiply": [{"scale": {"of": power, "by": 2}}, "x"]}),
            "Sx",
            vec![("1: S*S", 16_000), ("2: #1*#1", 16_000), ("3: S*#2", 16_000), ("4: 2*#3*x", 820)],
            0,
        ),
    ] {
        let operands: Vec<_> =
            operands.into_iter().filter(|(name, ..)| names.contains(name)).collect();
        let program = program_of(&expression, &operands).expect("a job");
        assert_eq!(steps(&program), planned, "{expression}");
        assert_eq!(program.saved_flops, saved, "{expression}");
    }
}

#[test]
fn a_power_that_is_there_is_multiplied_by_at_once() {
    let power = json!({"power": {"of": "S", "exponent": 5}});
    let product = json!({"multiply": [power, "x"]});
    let body = json!({
        "operands": {"S": {"reference": "s"}, "x": {"reference": "x"}},
        "results": {"p": power, "y": product},
    });
    let program = planned(&body, &[("S", 20, 20), ("x", 20, 1)], Dtype::F64).expect("a job");
    assert_eq!(steps(&program).last(), Some(&("4: #3*x", 800)));
    // Who asks for an algorithm gets its products.
    let strassen = json!({"multiply": [power, "x"], "algorithm": "strassen_winograd"});
    let program = program_of(&strassen, &[("S", 20, 20), ("x", 20, 1)]).expect("a job");
    assert_eq!(program.steps.len(), 4);
}

#[test]
fn powers_of_one_matrix_share_their_squares() {
    let power = |exponent| json!({"power": {"of": "S", "exponent": exponent}});
    let body = json!({"operands": {"S": {"reference": "s"}}, "results": {"a": power(8), "b": power(9), "c": power(4), "d": "S"}});
    let program = planned(&body, &[("S", 5, 5)], Dtype::F32).expect("powers");
    assert_eq!(
        steps(&program),
        [("1: S*S", 250), ("2: #1*#1", 250), ("3: #2*#2", 250), ("4: S*#3", 250)]
    );
    let results: Vec<(&str, String)> = program
        .results
        .iter()
        .map(|result| (result.name.as_str(), format!("{:?}", result.source)))
        .collect();
    let expected = [("a", "Step(2)"), ("b", "Step(3)"), ("c", "Step(1)"), ("d", "Input(0)")];
    assert_eq!(results, expected.map(|(name, source)| (name, source.to_owned())));
    // The square alone is not a result, and is let go behind the second step.
    assert_eq!((program.peak_intermediate_bytes(), program.result_bytes()), (100, 300));
}

#[test]
fn what_is_written_twice_is_saved_and_done_once() {
    let chain = json!({"multiply": ["A", "B", "x"]});
    let operands = [("A", 10, 10), ("B", 10, 10), ("x", 10, 1)];
    let program =
        program_of(&json!({"add": [chain, {"scale": {"of": chain, "by": 2}}]}), &operands);
    let program = program.expect("a sum");
    let expected = [("1: B*x", 200), ("2: A*#1", 200), ("3: #2 + 2*#2", 20)];
    assert_eq!(steps(&program), expected);
    assert_eq!(program.saved_flops, 2 * 1000 + 200 - 400);
}

#[test]
fn what_takes_hours_is_done_in_steps_that_last() {
    let iterate = |steps: u64, every: u64| json!({"iterate": {"a": "A", "x": "x", "steps": steps, "snapshot_every": every}});
    let operands = [("A", 10_000, 10_000), ("x", 10_000, 1)];
    for (steps, every, count) in [
        (90_000, 90_000, 1),
        (100_000, 100_000, 2),
        (1_000_001, 1_000_001, 20),
        // What is in between is to be kept, side by side with the others.
        (1_000_001, 1_000_000, 1),
        (900_000_001, 900_000_001, 64),
    ] {
        let program = program_of(&iterate(steps, every), &operands).expect("it is right");
        assert_eq!(program.steps.len(), count, "{steps}");
        assert_eq!(program.flops(), 200_000_000 * steps, "{steps}");
        let mut done = 0;
        for (index, step) in program.steps.iter().enumerate() {
            let before = if index == 0 { Source::Input(1) } else { Source::Step(index - 1) };
            assert_eq!(step.operands, [Source::Input(0), before], "{steps}");
            let StepWork::Iterate { steps: part, .. } = step.work else { panic!("{step:?}") };
            assert!(count == 1 || part.abs_diff(steps / count as u64) <= 1, "{steps}: {part}");
            done += part;
        }
        assert_eq!(done, steps);
    }
}

#[test]
fn too_much_is_refused() {
    // More operations than 64 bits count.
    let big = [("A", 1 << 24, 1 << 24)];
    for expression in [
        json!({"multiply": ["A", "A"]}),
        json!({"iterate": {"a": "A", "x": "A", "steps": 1}}),
        json!({"iterate": {"a": "A", "x": "A", "steps": 2, "snapshot_every": 1}}),
    ] {
        let problem = program_of(&expression, &big).expect_err("too many");
        assert_eq!(problem.kind.name(), "dimension-too-large", "{expression}");
        assert_eq!(problem.field.as_deref(), Some("/expression"), "{expression}");
    }
    // More steps than have a line on the bill: seven for each power, whose lower bits all differ.
    let power = |exponent: usize| json!({"power": {"of": "A", "exponent": exponent}});
    let results: serde_json::Map<_, _> =
        (0..150).map(|index| (format!("r{index}"), power(0x7f000 + index))).collect();
    let body = json!({"operands": {"A": {"reference": "a"}}, "results": results});
    let problem = planned(&body, &[("A", 2, 2)], Dtype::F64).expect_err("too many");
    assert_eq!(problem.limit, Some(JOB_STEPS_MAX as u64));
    assert_eq!(problem.field.as_deref(), Some("/results"));
}

#[test]
fn programs_are_read_back_if_they_are_whole_and_known() {
    let expression = json!({"gemm": {"a": "A", "b": "A", "c": "A", "alpha": 0.1}});
    let program = program_of(&expression, &[("A", 3, 3)]).expect("a program");
    let written = serde_json::to_string(&program).expect("JSON");
    let expected = r##"{"inputs":[{"name":"A","layout":{"dtype":"f64","rows":3,"columns":3}}],"steps":[{"id":"1: 0.1*A*A + A","work":{"gemm":{"alpha":0.1,"beta":1.0,"transpose_a":false,"transpose_b":false,"algorithm":"classical"}},"operands":[{"input":0},{"input":0},{"input":0}],"layout":{"dtype":"f64","rows":3,"columns":3},"flops":81}],"results":[{"name":"result","source":{"step":0}}],"saved_flops":0}"##;
    assert_eq!(written, expected);
    assert_eq!(serde_json::from_str::<Program>(&written).expect("it is read"), program);
    for (from, to, fault) in [
        ("\"gemm\"", "\"invert\"", "unknown variant `invert`, expected one of `gemm`"),
        ("\"classical\"", "\"laser\"", "unknown variant `laser`, expected"),
        ("\"saved_flops\"", "\"spent\":0,\"saved_flops\"", "unknown field `spent`"),
        ("\"beta\":1.0", "\"beta\":0.0", "another number of operands"),
        ("[{\"input\":0},", "[{\"input\":1},", "not computed before it"),
        ("[{\"input\":0},", "[{\"step\":0},", "not computed before it"),
        (
            "\"source\":{\"step\":0}",
            "\"source\":{\"step\":1}",
            "result of the program is not computed",
        ),
    ] {
        let changed = written.replacen(from, to, 1);
        assert_ne!(changed, written);
        let error = serde_json::from_str::<Program>(&changed).expect_err(from).to_string();
        assert!(error.contains(fault), "{error}");
    }
}

#[test]
fn the_key_of_a_result_depends_on_all_that_it_does() {
    let key = |expression: &Value, operands: [u8; 2], kernel| {
        let program = program_of(expression, &[("A", 2, 2), ("B", 2, 2)]).expect("a program");
        let step = program.steps.last().expect("a step");
        operation_key(step, &operands.map(|it| MatrixId(Hash([it; 32]))), kernel)
    };
    let product = json!({"multiply": ["A", "B"]});
    let known = key(&product, [1, 2], "k");
    assert_eq!(known, key(&json!({"gemm": {"a": "A", "b": "B"}}), [1, 2], "k"));
    assert_ne!(known, key(&product, [2, 1], "k"));
    assert_ne!(known, key(&product, [1, 2], "l"));
    assert_ne!(known, key(&json!({"multiply": ["A", "B"], "alpha": 2}), [1, 2], "k"));
    assert_ne!(
        known,
        key(&json!({"gemm": {"a": "A", "b": "B", "transpose_a": true}}), [1, 2], "k")
    );
    assert_ne!(
        known,
        key(&json!({"multiply": ["A", "B"], "algorithm": "strassen_winograd"}), [1, 2], "k")
    );
    // A sum is the same either way.
    let sum = |alpha, beta| json!({"add": ["A", "B"], "alpha": alpha, "beta": beta});
    assert_eq!(key(&sum(2, 3), [1, 2], "k"), key(&sum(3, 2), [2, 1], "k"));
    assert_ne!(key(&sum(2, 3), [1, 2], "k"), key(&sum(3, 2), [1, 2], "k"));
}
