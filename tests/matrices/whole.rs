//! Matrices that come in one request, in every format, and go out in every format.

use gemmule::formats::Format;
use gemmule::gemm::Dtype;
use serde_json::json;

use crate::bench::{Bench, Raw, kind};

const FORMATS: [&str; 5] = [
    "application/json",
    "application/x-npy",
    "application/x-npz",
    "application/vnd.safetensors",
    "application/octet-stream",
];

#[test]
fn what_goes_out_in_any_format_comes_in_as_the_same_matrix() {
    assert_eq!(FORMATS.map(Format::from_media_type), Format::ALL.map(Some));
    for (dtype, rows, columns) in
        [(Dtype::F64, 3, 5), (Dtype::F32, 1100, 70), (Dtype::F32, 1, 1), (Dtype::F64, 0, 4)]
    {
        let matrix = Raw::random(dtype, rows, columns, 7);
        let mut bench = Bench::in_memory();
        let stored = bench.store(0, &matrix, "");
        assert_eq!(stored.status, 201, "{}", stored.text());
        assert_eq!(stored.field("Location"), Some(&*matrix.path()));
        let view = stored.json();
        assert_eq!(view["shape"], json!([rows, columns]));
        assert_eq!(view["bytes"], matrix.bytes.len());
        for format in FORMATS {
            let out = bench.ask(0, "GET", &matrix.path(), &[("Accept", format)], None);
            assert_eq!((out.status, out.field("Content-Type")), (200, Some(format)));
            let other = Raw::random(Dtype::F64, 1, 3, 8);
            let mut second = Bench::in_memory();
            // Raw elements and JSON do not say what they are.
            let query = match format {
                "application/octet-stream" => matrix.query(),
                "application/json" => format!("dtype={}", dtype.name()),
                _ => String::new(),
            };
            let target = format!("/v1/matrices?{query}&digest={}", matrix.id());
            let fields = [("Content-Type", format)];
            let back = second.ask(0, "POST", &target, &fields, Some(&out.body));
            assert_eq!(back.status, 201, "{format} {rows}x{columns}: {}", back.text());
            assert_eq!(back.json()["matrix"], matrix.id().to_string());
            let target = target.replace(&matrix.id().to_string(), &other.id().to_string());
            let refused = second.ask(0, "POST", &target, &fields, Some(&out.body));
            assert_eq!(kind(&refused), "digest-mismatch");
        }
    }
}

#[test]
fn arrays_of_any_kind_become_what_they_hold() {
    let expected = Raw {
        layout: gemmule::store::Layout { dtype: Dtype::F64, rows: 2, columns: 3 },
        bytes: (1..=6).flat_map(|it| f64::from(it).to_le_bytes()).collect(),
    };
    let npy = |descr: &str, is_fortran: &str, shape: &str, elements: Vec<u8>| {
        let dictionary =
            format!("{{'descr': '{descr}', 'fortran_order': {is_fortran}, 'shape': {shape}, }}\n");
        let length = (dictionary.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], dictionary.as_bytes(), &elements].concat()
    };
    let big = (1..=6).flat_map(|it| f64::from(it).to_be_bytes()).collect();
    let columns =
        [1, 4, 2, 5, 3, 6].map(f64::from).iter().flat_map(|it| it.to_le_bytes()).collect();
    for array in [
        npy("|i1", "False", "(2, 3)", vec![1, 2, 3, 4, 5, 6]),
        npy(">f8", "False", "(2, 3)", big),
        npy("<f8", "True", "(2, 3)", columns),
    ] {
        let mut bench = Bench::in_memory();
        let fields = [("Content-Type", "application/x-npy")];
        let reply = bench.ask(0, "POST", "/v1/matrices", &fields, Some(&array));
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(reply.json()["matrix"], expected.id().to_string());
    }
    let mut bench = Bench::in_memory();
    let vector = npy("|i1", "False", "(3,)", vec![1, 2, 3]);
    let fields = [("Content-Type", "application/x-npy")];
    let reply = bench.ask(0, "POST", "/v1/matrices", &fields, Some(&vector));
    assert_eq!(reply.json()["shape"], json!([3, 1]), "a vector is a column");
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_kept() {
    let mut bench = Bench::in_memory();
    for (target, media_type, body, expected) in [
        ("/v1/matrices", "text/plain", "x", "unsupported-media-type"),
        ("/v1/matrices", "application/json", "[[1,2],[3]]", "ragged-rows"),
        ("/v1/matrices", "application/json", "[[1", "malformed-json"),
        ("/v1/matrices?shape=1x1", "application/json", "[[1]]", "unknown-field"),
        ("/v1/matrices?dtype=f16", "application/json", "[[1]]", "unknown-dtype"),
        ("/v1/matrices", "application/octet-stream", "12345678", "missing-field"),
        ("/v1/matrices?shape=1x2", "application/octet-stream", "12345678", "length-mismatch"),
        ("/v1/matrices", "application/x-npy", "\u{93}NUMPX", "malformed-body"),
        ("/v1/matrices?name=a/b", "application/json", "[[1]]", "invalid-value"),
        ("/v1/matrices?shape=3000x3000", "application/octet-stream", "", "length-mismatch"),
    ] {
        let fields = [("Content-Type", media_type)];
        let reply = bench.ask(0, "POST", target, &fields, Some(body.as_bytes()));
        assert_eq!(kind(&reply), expected, "{target} {body}");
    }
    assert_eq!(bench.get("/v1/matrices").json()["count"], 0);
    assert_eq!((bench.server.stored_bytes(), bench.server.promised_bytes()), (0, 0));
}

#[test]
fn memory_and_room_are_given_back() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F64, 100, 100, 1);
    for _ in 0..2 {
        assert_eq!(bench.store(0, &matrix, "").status, 201);
        // What is kept in memory is promised, and nothing else.
        assert_eq!(bench.server.promised_bytes(), 80_000);
        assert!(bench.server.stored_bytes() >= 80_000);
    }
    assert_eq!(bench.ask(0, "DELETE", &matrix.path(), &[], None).status, 204);
    assert_eq!((bench.server.stored_bytes(), bench.server.promised_bytes()), (0, 0));
    assert_eq!(kind(&bench.ask(0, "DELETE", &matrix.path(), &[], None)), "unknown-matrix");
    assert_eq!(kind(&bench.get(&matrix.path())), "unknown-matrix");
}
