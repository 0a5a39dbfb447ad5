//! What is refused of a request, with the field at fault; and what a good one says.

use gemmule::expression::{JobRequest, OperandContent};
use gemmule::gemm::Dtype;
use gemmule::limits::{
    BATCH_MAX, CHAIN_LENGTH_MAX, EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX,
    JOB_OPERANDS_MAX, JOB_RESULTS_MAX,
};
use gemmule::problem::Problem;
use gemmule::store::Layout;
use serde_json::{Value, json};

use crate::program;

fn parse(body: &Value) -> Result<JobRequest, Problem> {
    JobRequest::parse(body.to_string().as_bytes())
}

/// The kind, place and limit of the problem of a request that is refused when read or planned.
fn refusal(body: &str) -> (&'static str, String, Option<u64>) {
    let problem = match JobRequest::parse(body.as_bytes()) {
        Err(problem) => problem,
        Ok(_) => program(&serde_json::from_str(body).expect("JSON"))
            .expect_err(&format!("{body} is wrong")),
    };
    (problem.kind.name(), problem.field.unwrap_or_default(), problem.limit)
}

#[test]
fn a_request_says_all_that_a_job_needs() {
    let address = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let body = json!({
        "operands": {
            "A": {"matrix": address}, "b_2": {"reference": "weights"},
            "x": {"data": [[1, 2], [3, 0.1]]}, "y": {"data": [0.1, 7], "shape": [1, 2], "dtype": "f32"},
            "e": {"data": [], "shape": [0, 3], "dtype": "f32"},
        },
        "results": {"p": {"multiply": ["A", "b_2"]}, "q": {"add": ["x", {"multiply": ["y", "e"]}]}},
        "name": "today", "priority": 9, "deadline_seconds": 60, "memory_bytes": 1048576, "keep": 86400,
    });
    let request = parse(&body).expect("it is right");
    assert_eq!((request.priority, request.dtype, request.deadline_seconds), (9, None, Some(60)));
    assert_eq!((request.memory_bytes, request.keep_seconds), (Some(1 << 20), Some(86_400)));
    assert_eq!(request.reference_of("p").as_deref(), Some("today.p"));
    let found: Vec<(&str, String)> = request
        .operands
        .iter()
        .map(|operand| {
            let content = match &operand.content {
                OperandContent::Matrix(id) => id.to_string(),
                OperandContent::Reference(name) => name.clone(),
                OperandContent::Inline(inline) => {
                    format!("{:?} {:?}", inline.layout(), inline.bytes())
                }
            };
            (operand.name.as_str(), content)
        })
        .collect();
    let bytes = |numbers: [f64; 4]| numbers.map(f64::to_le_bytes).concat();
    let layout = |dtype, rows, columns| Layout { dtype, rows, columns };
    let y = [0.1_f32, 7.0].map(f32::to_le_bytes).concat();
    let mut expected = vec![
        ("A", address),
        ("b_2", "weights".into()),
        ("e", format!("{:?} []", layout(Dtype::F32, 0, 3))),
        ("x", format!("{:?} {:?}", layout(Dtype::F64, 2, 2), bytes([1.0, 2.0, 3.0, 0.1]))),
        ("y", format!("{:?} {y:?}", layout(Dtype::F32, 1, 2))),
    ];
    expected.sort();
    assert_eq!(found, expected);

    let short = json!({"operands": {"A": {"data": [[1]]}}, "dtype": "f32",
        "expression": {"scale": {"of": "A", "by": 2}}, "name": "n"});
    let request = parse(&short).expect("it is right");
    assert_eq!((request.priority, request.dtype), (5, Some(Dtype::F32)));
    assert_eq!((request.deadline_seconds, request.memory_bytes), (None, None));
    assert_eq!(request.reference_of("result").as_deref(), Some("n"));
    let OperandContent::Inline(inline) = &request.operands[0].content else {
        panic!("it came along")
    };
    assert_eq!(inline.layout(), layout(Dtype::F32, 1, 1));
}

#[test]
fn every_fault_of_a_request_has_its_place() {
    for (body, kind, place) in [
        ("", "malformed-json", ""),
        ("[]", "malformed-json", ""),
        ("{} {}", "malformed-json", ""),
        (r#"{"operands":{},}"#, "malformed-json", ""),
        ("{}", "missing-field", "/operands"),
        (r#"{"operand":{}}"#, "unknown-field", "/operand"),
        (r#"{"operands":{},"operands":{}}"#, "duplicate-field", "/operands"),
        (r#"{"operands":[],"expression":"A"}"#, "wrong-type", "/operands"),
        (r#"{"operands":{}}"#, "missing-field", "/expression"),
        (r#"{"operands":{},"expression":"A","results":{}}"#, "invalid-value", "/results"),
        (r#"{"operands":{},"results":{}}"#, "invalid-value", "/results"),
        (r#"{"operands":{},"results":[]}"#, "wrong-type", "/results"),
        (r#"{"operands":{},"dtype":"f16"}"#, "unknown-dtype", "/dtype"),
        (r#"{"operands":{},"dtype":64}"#, "wrong-type", "/dtype"),
    ] {
        let (found, at, _) = refusal(body);
        assert_eq!((found, at.as_str()), (kind, place), "{body}");
    }
}

#[test]
fn every_fault_of_an_operand_has_its_place() {
    for (operand, kind, place) in [
        (r#""A":3"#, "wrong-type", "/A"),
        (r#""A":{}"#, "invalid-value", "/A"),
        (r#""A":{"data":[[1]],"reference":"x"}"#, "invalid-value", "/A"),
        (r#""A":{"date":[[1]]}"#, "unknown-field", "/A/date"),
        (r#""A":{"data":[[1]]},"A":{"data":[[1]]}"#, "duplicate-field", "/A"),
        (r#""":{"data":[[1]]}"#, "invalid-value", "/"),
        (r#""a/b":{"data":[[1]]}"#, "invalid-value", "/a~1b"),
        (r#""ä":{"data":[[1]]}"#, "invalid-value", "/ä"),
        (
            r#""abcdefghijklmnopqrstuvwxyz0123456":{}"#,
            "text-too-long",
            "/abcdefghijklmnopqrstuvwxyz0123456",
        ),
        (r#""A":{"matrix":"sha256:12"}"#, "invalid-value", "/A/matrix"),
        (r#""A":{"matrix":12}"#, "wrong-type", "/A/matrix"),
        (r#""A":{"reference":""}"#, "invalid-value", "/A/reference"),
        (r#""A":{"reference":"x","dtype":"f64"}"#, "unknown-field", "/A/dtype"),
        (r#""A":{"reference":"x","shape":[1,1]}"#, "unknown-field", "/A/shape"),
        (r#""A":{"data":[[1]],"dtype":"f8"}"#, "unknown-dtype", "/A/dtype"),
        (r#""A":{"data":1}"#, "not-a-matrix", "/A/data"),
        (r#""A":{"data":[1]}"#, "not-a-matrix", "/A/data/0"),
        (r#""A":{"data":[]}"#, "empty-matrix", "/A/data"),
        (r#""A":{"data":[[1],[2,3]]}"#, "ragged-rows", "/A/data/1"),
        (r#""A":{"data":[[1,"x"]]}"#, "not-a-number", "/A/data/0/1"),
        (r#""A":{"data":[[1,"NaN"]]}"#, "number-not-finite", "/A/data/0/1"),
        (r#""A":{"data":[[1,1e400]]}"#, "number-out-of-range", "/A/data/0/1"),
        (r#""A":{"data":[[1e40]],"dtype":"f32"}"#, "number-out-of-range", "/A/data/0/0"),
        (r#""A":{"data":[[1]],"shape":[1,1]}"#, "not-a-number", "/A/data/0"),
        (r#""A":{"data":[1,2,3],"shape":[2,2]}"#, "shape-mismatch", "/A/data"),
        (r#""A":{"data":[1],"shape":[1]}"#, "invalid-value", "/A/shape"),
        (r#""A":{"data":[1],"shape":[1,1,1]}"#, "invalid-value", "/A/shape"),
        (r#""A":{"data":[1],"shape":"1,1"}"#, "wrong-type", "/A/shape"),
        (r#""A":{"data":[1],"shape":[1,0.5]}"#, "invalid-value", "/A/shape/1"),
        (r#""A":{"data":[1],"shape":[-1,1]}"#, "invalid-value", "/A/shape/0"),
        (r#""A":{"data":[],"shape":[0,16777217]}"#, "dimension-too-large", "/A/shape/1"),
        (r#""A":{"data":[[1]]},"B":{"data":[[1]]}"#, "invalid-value", "/B"),
    ] {
        let body = format!(r#"{{"expression":{{"transpose":"A"}},"operands":{{{operand}}}}}"#);
        let (found, at, _) = refusal(&body);
        assert_eq!((found, at), (kind, format!("/operands{place}")), "{operand}");
    }
}

#[test]
fn every_fault_of_an_expression_has_its_place() {
    for (expression, kind, place) in [
        ("3", "wrong-type", ""),
        ("null", "wrong-type", ""),
        (r#""D""#, "invalid-value", ""),
        ("{}", "invalid-value", ""),
        (r#"{"alpha":2}"#, "invalid-value", ""),
        (r#"{"times":["A","B"]}"#, "unknown-field", "/times"),
        (r#"{"multiply":["A","B"],"add":["A","A"]}"#, "invalid-value", ""),
        (r#"{"multiply":["A","B"],"multiply":["A","B"]}"#, "duplicate-field", "/multiply"),
        (r#"{"multiply":["A","B"],"beta":1}"#, "unknown-field", "/beta"),
        (r#"{"multiply":["A","B"],"alpha":"2"}"#, "not-a-number", "/alpha"),
        (r#"{"multiply":["A","B"],"alpha":1e400}"#, "number-out-of-range", "/alpha"),
        (r#"{"multiply":["A","B"],"algorithm":"fast"}"#, "invalid-value", "/algorithm"),
        (r#"{"multiply":["A"]}"#, "invalid-value", "/multiply"),
        (r#"{"multiply":"A"}"#, "wrong-type", "/multiply"),
        (r#"{"multiply":["A","D"]}"#, "invalid-value", "/multiply/1"),
        (r#"{"multiply":["A",7]}"#, "wrong-type", "/multiply/1"),
        (r#"{"multiply":["A","A"]}"#, "shape-mismatch", "/multiply/1"),
        (
            r#"{"multiply":["A","B",{"multiply":["A","F"]}]}"#,
            "invalid-value",
            "/multiply/2/multiply/1",
        ),
        (r#"{"gemm":["A","B"]}"#, "wrong-type", "/gemm"),
        (r#"{"gemm":{"a":"A"}}"#, "missing-field", "/gemm/b"),
        (r#"{"gemm":{"a":"A","b":"B","d":"C"}}"#, "unknown-field", "/gemm/d"),
        (r#"{"gemm":{"a":"A","b":"A"}}"#, "shape-mismatch", "/gemm/b"),
        (r#"{"gemm":{"a":"A","b":"B","transpose_a":1}}"#, "not-a-boolean", "/gemm/transpose_a"),
        (r#"{"gemm":{"a":"A","b":"B","transpose_b":true}}"#, "shape-mismatch", "/gemm/b"),
        (r#"{"gemm":{"a":"A","b":"B","beta":2}}"#, "missing-field", "/gemm/c"),
        (r#"{"gemm":{"a":"A","b":"B","c":"A"}}"#, "shape-mismatch", "/gemm/c"),
        (r#"{"gemm":{"a":"A","b":"B","algorithm":3}}"#, "wrong-type", "/gemm/algorithm"),
        (r#"{"gemm":{"a":"F","b":"F","alpha":1e39}}"#, "number-out-of-range", "/gemm/alpha"),
        (r#"{"add":["A"]}"#, "invalid-value", "/add"),
        (r#"{"add":["A","A","A"]}"#, "invalid-value", "/add"),
        (r#"{"add":["A","B"]}"#, "shape-mismatch", "/add/1"),
        (r#"{"add":["C","F"]}"#, "invalid-value", "/add/1"),
        (r#"{"add":["F","F"],"beta":-1e39}"#, "number-out-of-range", "/beta"),
        (r#"{"add":["C","C"],"algorithm":"classical"}"#, "unknown-field", "/algorithm"),
        (r#"{"scale":{"of":"A"}}"#, "missing-field", "/scale/by"),
        (r#"{"scale":{"by":2}}"#, "missing-field", "/scale/of"),
        (r#"{"scale":{"of":"A","by":true}}"#, "not-a-number", "/scale/by"),
        (r#"{"scale":{"of":"F","by":1e39}}"#, "number-out-of-range", "/scale/by"),
        (r#"{"transpose":["A"]}"#, "wrong-type", "/transpose"),
        (r#"{"power":{"of":"A","exponent":2}}"#, "shape-mismatch", "/power/of"),
        (r#"{"power":{"of":"C","exponent":0}}"#, "invalid-value", "/power/exponent"),
        (r#"{"power":{"of":"C","exponent":1000001}}"#, "invalid-value", "/power/exponent"),
        (r#"{"power":{"of":"C","exponent":1.5}}"#, "invalid-value", "/power/exponent"),
        (r#"{"power":{"of":"C","exponent":1}}"#, "invalid-value", ""),
        (r#"{"iterate":{"a":"A","x":"B","steps":1}}"#, "shape-mismatch", "/iterate/a"),
        (r#"{"iterate":{"a":"C","x":"B","steps":1}}"#, "shape-mismatch", "/iterate/x"),
        (r#"{"iterate":{"a":"C","x":"F","steps":1}}"#, "invalid-value", "/iterate/x"),
        (r#"{"iterate":{"a":"C","x":"C","steps":0}}"#, "invalid-value", "/iterate/steps"),
        (
            r#"{"iterate":{"a":"C","x":"C","steps":2,"snapshot_every":3}}"#,
            "invalid-value",
            "/iterate/snapshot_every",
        ),
        (
            r#"{"iterate":{"a":"C","x":"C","steps":65537,"snapshot_every":1}}"#,
            "invalid-value",
            "/iterate/snapshot_every",
        ),
        (r#"{"batch":{"a":["A"],"b":[]}}"#, "length-mismatch", "/batch/b"),
        (r#"{"batch":{"a":[],"b":[]}}"#, "invalid-value", "/batch/a"),
        (r#"{"batch":{"a":["A"]}}"#, "missing-field", "/batch/b"),
        (r#"{"batch":{"a":["A"],"b":["B"]},"alpha":2}"#, "unknown-field", "/alpha"),
        (r#"{"batch":{"a":["A","A"],"b":["B","A"]}}"#, "shape-mismatch", "/batch/b/1"),
        (r#"{"transpose":{"batch":{"a":["A"],"b":["B"]}}}"#, "invalid-value", "/transpose/batch"),
    ] {
        // A result of its own names each operand, so that none is missed.
        let body = format!(
            r#"{{"results":{{"all":{{"multiply":["A","B","C"]}},"f":"F","e":{expression}}},"operands":{{
               "A":{{"data":[[1,2]]}},"B":{{"data":[[1],[2]]}},"C":{{"data":[[1]]}},
               "F":{{"data":[[1]],"dtype":"f32"}}}}}}"#
        );
        let place = format!("/results/e{place}");
        if expression.contains(r#""exponent":1}"#) {
            let alone =
                format!(r#"{{"operands":{{"C":{{"data":[[1]]}}}},"expression":{expression}}}"#);
            assert_eq!(refusal(&alone), (kind, "/expression".into(), None));
            continue;
        }
        let (found, at, _) = refusal(&body);
        assert_eq!((found, at), (kind, place), "{expression}");
    }
}

#[test]
fn bounds_are_told() {
    let nested = |depth: usize| (1..depth).fold(json!("A"), |inner, _| json!({"transpose": inner}));
    let multiply = |count: usize| json!({"multiply": vec!["A"; count]});
    let batch = |count: usize| json!({"batch": {"a": vec!["A"; count], "b": vec!["A"; count]}});
    let many = |count: usize| {
        let sum = |count| (1..count).fold(json!("A"), |_, _| json!({"add": ["A", "A"]}));
        let results = (0..count).map(|index| (format!("r{index}"), sum(2)));
        Value::Object(results.collect())
    };
    let nodes = |count: usize| {
        // 65 for each product, and as many as are missing.
        let products = (count / 65, count % 65);
        let chain = |length: usize| multiply(length);
        let mut results: serde_json::Map<String, Value> =
            (0..products.0).map(|index| (format!("r{index}"), chain(64))).collect();
        results.insert("last".into(), chain(products.1 - 1));
        Value::Object(results)
    };
    let one = |field: &str, value: Value| {
        json!({"operands": {"A": {"data": [[1]]}}, field: value}).to_string()
    };
    let (chain, depth) = (CHAIN_LENGTH_MAX, EXPRESSION_DEPTH_MAX);
    let spaces = |count: usize| {
        one("expression", nested(2))
            .replace("[[1]]", "[[2]]")
            .replace(r#":{"transpose""#, &format!(r#":{{{}"transpose""#, " ".repeat(count)))
    };
    let text = r#"{"transpose":"A"}"#.len();
    for (right, wrong, place, limit) in [
        (one("expression", nested(depth)), one("expression", nested(depth + 1)), "deep", depth),
        (
            one("expression", multiply(chain)),
            one("expression", multiply(chain + 1)),
            "/expression/multiply",
            chain,
        ),
        (
            one("expression", batch(BATCH_MAX)),
            one("expression", batch(BATCH_MAX + 1)),
            "/expression/batch/a",
            BATCH_MAX,
        ),
        (
            one("results", many(JOB_RESULTS_MAX)),
            one("results", many(JOB_RESULTS_MAX + 1)),
            "any",
            JOB_RESULTS_MAX,
        ),
        (
            one("results", nodes(EXPRESSION_NODES_MAX)),
            one("results", nodes(EXPRESSION_NODES_MAX + 1)),
            "any",
            EXPRESSION_NODES_MAX,
        ),
        (
            spaces(EXPRESSION_BYTES_MAX - text),
            spaces(EXPRESSION_BYTES_MAX - text + 1),
            "/expression",
            EXPRESSION_BYTES_MAX,
        ),
    ] {
        assert!(
            JobRequest::parse(right.as_bytes()).is_ok(),
            "{limit}: {:?}",
            JobRequest::parse(right.as_bytes())
        );
        let (kind, at, found) = refusal(&wrong);
        assert_eq!((kind, found), ("invalid-value", Some(limit as u64)), "{at}");
        assert!(at.starts_with(place) || matches!(place, "any" | "deep"), "{at}");
        assert!(place != "deep" || at.matches("transpose").count() == depth, "{at}");
    }
    let operands = |count: usize| {
        let all = (0..count).map(|index| (format!("o{index}"), json!({"data": [[1]]})));
        json!({"operands": Value::Object(all.collect()), "expression": {"transpose": "o0"}})
            .to_string()
    };
    assert_eq!(refusal(&operands(JOB_OPERANDS_MAX)).1, "/operands/o1");
    let expected = ("invalid-value", "/operands".into(), Some(JOB_OPERANDS_MAX as u64));
    assert_eq!(refusal(&operands(JOB_OPERANDS_MAX + 1)), expected);
    for (field, value, limit) in [
        ("priority", json!(10), 9),
        ("deadline_seconds", json!(0), 2_678_400),
        ("keep", json!(1e12), 315_360_000),
        ("memory_bytes", json!(0.5), (1 << 53) - 1),
    ] {
        let mut body =
            json!({"operands": {"A": {"data": [[1]]}}, "expression": {"transpose": "A"}});
        body[field] = value;
        assert_eq!(refusal(&body.to_string()), ("invalid-value", format!("/{field}"), Some(limit)));
    }
    let mut body = json!({"operands": {"A": {"data": [[1]]}}, "expression": {"transpose": "A"}});
    body["name"] = "n".repeat(129).into();
    assert_eq!(refusal(&body.to_string()), ("text-too-long", "/name".into(), Some(128)));
}

#[test]
fn one_dtype_for_all_is_checked() {
    let body = |given: &str, of_a: &str| {
        format!(
            r#"{{"operands":{{"A":{{"data":[[1]],"dtype":"{of_a}"}}}},"dtype":"{given}","expression":{{"transpose":"A"}}}}"#
        )
    };
    assert_eq!(refusal(&body("f32", "f64")), ("invalid-value", "/operands/A/dtype".into(), None));
    assert!(program(&serde_json::from_str(&body("f32", "f32")).expect("JSON")).is_ok());
    // A stored matrix is checked when it has been found.
    let stored = json!({"operands": {"A": {"reference": "a"}}, "dtype": "f32", "expression": {"transpose": "A"}});
    let problem = crate::planned(&stored, &[("A", 1, 1)], Dtype::F64).expect_err("it is another");
    assert_eq!(
        (problem.kind.name(), problem.field.as_deref()),
        ("invalid-value", Some("/operands/A"))
    );
}
