//! Bodies in every binary format: whole, byte by byte, split anywhere, cut short and damaged.

mod support;

use gemmule::api::MultiplyRequest;
use gemmule::formats::write::{Checksum, HEAD_AND_TAIL_BYTES_MAX, around};
use gemmule::formats::{Demand, Format, Reader};
use gemmule::gemm::{Alone, Dtype, Element, Product, Shape};
use gemmule::memory::{MemoryBudget, Promise};
use gemmule::problem::{Problem, ProblemKind};
use serde::Deserialize;

use support::random::Random;

const DEMAND: Demand =
    Demand { threads: 2, is_check_asked: false, reply_is_text: false, kept_bytes: 0 };
const MIB: usize = 1 << 20;

/// What `make.py` says of one of its files.
#[derive(Deserialize)]
struct Case {
    file: String,
    format: String,
    query: String,
    #[serde(flatten)]
    end: End,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum End {
    Product { dtype: String, shape: (usize, usize), c: Vec<f64> },
    Refused { problem: String, field: Option<String> },
}

/// A product: its dtype, shape and elements.
type Found = (String, (usize, usize), Vec<f64>);

fn directory() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

/// Every case, with the bytes of its file.
fn cases() -> Vec<(Case, Vec<u8>)> {
    let text = std::fs::read(directory().join("cases.json")).expect("the list of cases");
    let cases: Vec<Case> = serde_json::from_slice(&text).expect("cases");
    let with_bytes = |case: Case| {
        let bytes = std::fs::read(directory().join(&case.file)).expect(&case.file);
        (case, bytes)
    };
    cases.into_iter().map(with_bytes).collect()
}

impl Case {
    fn format(&self) -> Format {
        match self.format.as_str() {
            "npy" => Format::Npy,
            "npz" => Format::Npz,
            "safetensors" => Format::Safetensors,
            "raw" => Format::Raw,
            other => panic!("{other} is no format"),
        }
    }

    fn read<'a>(
        &self,
        length: Option<usize>,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Found, Problem> {
        read(self.format(), &self.query, length, pieces)
    }

    fn check(&self, found: Result<Found, Problem>, how: &str) {
        let file = &self.file;
        match (&self.end, found) {
            (End::Product { dtype, shape, c }, Ok(found)) => {
                assert_eq!((dtype, shape, c), (&found.0, &found.1, &found.2), "{file} {how}");
            }
            (End::Refused { problem, field }, Err(found)) => {
                assert_eq!(*problem, found.kind.name(), "{file} {how}: {found:?}");
                assert_eq!(*field, found.field, "{file} {how}: {found:?}");
            }
            (_, found) => panic!("{file} {how}: {found:?}"),
        }
    }
}

fn promise(budget: &MemoryBudget) -> Promise {
    budget.promise(0).expect("nothing is always free")
}

/// Reads pieces of a body and multiplies what they are.
fn read<'a>(
    format: Format,
    query: &str,
    length: Option<usize>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Found, Problem> {
    let budget = MemoryBudget::new(MIB);
    let mut promise = promise(&budget);
    let length = length.map(|length| length as u64);
    let mut reader = Reader::new(format, query, length, DEMAND, &mut promise)?;
    for mut piece in pieces {
        while !piece.is_empty() {
            let used = reader.push(piece, &mut promise)?;
            assert!(used > 0, "a reader always gets on");
            piece = &piece[used..];
        }
    }
    reader.finish().map(found)
}

/// The same of a body that is read right into its place, up to so many bytes at a time, where it
/// has one; and how many bytes that were.
fn read_placed(case: &Case, body: &[u8], most: usize) -> (Result<Found, Problem>, usize) {
    let budget = MemoryBudget::new(MIB);
    let mut promise = promise(&budget);
    let (length, mut placed) = (Some(body.len() as u64), 0);
    let mut read = || {
        let mut reader = Reader::new(case.format(), &case.query, length, DEMAND, &mut promise)?;
        let mut left = body;
        while !left.is_empty() {
            let filled = reader.fill(
                most.min(left.len()),
                &mut |place| {
                    // Not as many as there is room for.
                    place.push(&left[..most.min(left.len()).div_ceil(2)]);
                },
                &mut promise,
            )?;
            placed += filled.unwrap_or(0);
            let used = match filled {
                Some(filled) => filled,
                None => reader.push(&left[..most.min(left.len())], &mut promise)?,
            };
            assert!(used > 0, "a reader always gets on");
            left = &left[used..];
        }
        reader.finish()
    };
    let request = read();
    (request.map(found), placed)
}

fn found(request: MultiplyRequest) -> Found {
    match request {
        MultiplyRequest::F64(operation) => product("f64", operation),
        MultiplyRequest::F32(operation) => product("f32", operation),
    }
}

fn product<T: Element + Into<f64>>(dtype: &str, operation: gemmule::api::Operation<T>) -> Found {
    let gemmule::api::Operation { elements, a, b, c, alpha, beta, shape } = operation;
    let c = c.unwrap_or_else(|| vec![T::from_f64(f64::NAN); shape.m * shape.n]);
    let mut product = Product::new(elements, (a, b), (alpha, beta), c, 1).expect("memory");
    while !product.advance(&Alone, &|| false) {}
    let elements = product.into_result().into_iter().map(Into::into).collect();
    (dtype.into(), (shape.m, shape.n), elements)
}

#[test]
fn files_are_read_whole_byte_by_byte_and_split_anywhere() {
    for (case, bytes) in cases() {
        case.check(case.read(Some(bytes.len()), [&bytes[..]]), "whole");
        case.check(case.read(None, [&bytes[..]]), "of unknown length");
        case.check(case.read(Some(bytes.len()), bytes.chunks(1)), "byte by byte");
        case.check(case.read(None, bytes.chunks(7)), "in sevens");
        for place in 0..bytes.len() {
            let (before, behind) = bytes.split_at(place);
            case.check(case.read(Some(bytes.len()), [before, behind]), "split");
        }
    }
}

#[test]
fn elements_that_come_as_they_lie_are_read_into_their_places() {
    let mut placed_bytes = 0;
    for (case, bytes) in cases() {
        for most in [1, 2, 7, 31, 64, usize::MAX] {
            let (found, placed) = read_placed(&case, &bytes, most);
            case.check(found, "placed");
            placed_bytes += placed;
        }
    }
    assert!(placed_bytes > 0, "some are");
    // Of two matrices in their dtype, all but the headers.
    let elements: Vec<u8> =
        (0..8_u8).flat_map(|element| f64::from(element).to_le_bytes()).collect();
    let case = Case {
        file: "two squares".into(),
        format: "raw".into(),
        query: "a=2x2&b=2x2".into(),
        end: End::Product { dtype: "f64".into(), shape: (2, 2), c: vec![6.0, 7.0, 26.0, 31.0] },
    };
    for most in [1, 5, 8, 24, usize::MAX] {
        let (found, placed) = read_placed(&case, &elements, most);
        case.check(found, "placed");
        assert_eq!(placed, elements.len(), "{most}");
    }
}

#[test]
fn files_cut_short_are_refused() {
    for (case, bytes) in cases() {
        for length in 0..bytes.len() {
            let short = &bytes[..length];
            for known in [None, Some(length)] {
                match case.read(known, [short]) {
                    Err(problem) => assert!(problem.kind.status() < 500, "{}", case.file),
                    // Without its last array, a file of three or four is whole.
                    Ok(_) => {
                        let is_npy = case.format() == Format::Npy;
                        let is_at_array = bytes[length..].starts_with(b"\x93NUMPY");
                        assert!(is_npy && is_at_array, "{} at {length}", case.file);
                    }
                }
            }
        }
    }
}

#[test]
fn damaged_files_are_answered() {
    let mut random = Random::new(0x6d61_7472_6963_6573);
    for (case, bytes) in cases() {
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << random.below(8);
            // Read or refused, it must not panic, nor take memory that is not there.
            let _ = case.read(Some(damaged.len()), [&damaged[..]]);
            damaged[place] = random.next() as u8;
            let _ = case.read(None, damaged.chunks(64));
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let problem = case.read(None, [&longer[..]]).expect_err(&case.file);
        assert!(problem.kind.status() < 500, "{}", case.file);
    }
}

#[rustfmt::skip]
const QUERIES: &[(Format, &str, &str, Option<&str>)] = &[
    (Format::Raw, "", "missing-field", Some("?a")),
    (Format::Raw, "a=1x1", "missing-field", Some("?b")),
    (Format::Raw, "a=1&b=1x1", "not-a-matrix", Some("?a")),
    (Format::Raw, "a=1x&b=1x1", "not-a-matrix", Some("?a")),
    (Format::Raw, "a=+1x1&b=1x1", "not-a-matrix", Some("?a")),
    (Format::Raw, "a=1x1x1&b=1x1", "not-a-matrix", Some("?a")),
    (Format::Raw, "a=1x1&b=1x1&a=1x1", "duplicate-field", Some("?a")),
    (Format::Raw, "a=1x2&b=1x1", "shape-mismatch", Some("/b")),
    (Format::Raw, "a=1x1&b=1x1&c=1x2", "shape-mismatch", Some("/c")),
    (Format::Raw, "a=1x16777217&b=1x1", "dimension-too-large", Some("/a")),
    (Format::Raw, "a=1x1&b=1x99999999999999999999999", "dimension-too-large", Some("/b")),
    (Format::Raw, "a=16777216x16777216&b=16777216x16777216", "memory-exceeded", None),
    (Format::Raw, "a=16777216x0&b=0x16777216", "memory-exceeded", None),
    (Format::Raw, "a=1x1&b=1x1&beta=2", "missing-field", Some("/c")),
    (Format::Raw, "a=1x1&b=1x1&dtype=f16", "unknown-dtype", Some("?dtype")),
    (Format::Raw, "a=1x1&b=1x1&gamma=1", "unknown-field", Some("?gamma")),
    (Format::Raw, "a=1x1&b=1x1&=1", "unknown-field", Some("?")),
    (Format::Raw, "a=1x1&b=1x1&alpha", "not-a-number", Some("?alpha")),
    (Format::Raw, "a=1x1&b=1x1&alpha=1e39&dtype=f32", "number-out-of-range", Some("?alpha")),
    (Format::Npy, "a=1x1", "unknown-field", Some("?a")),
    (Format::Npy, "alpha=1&alpha=1", "duplicate-field", Some("?alpha")),
    (Format::Npy, "alpha=1&%61lpha=1", "duplicate-field", Some("?alpha")),
    (Format::Npy, "alpha=.5", "not-a-number", Some("?alpha")),
    (Format::Npy, "alpha=0x10", "not-a-number", Some("?alpha")),
    (Format::Npy, "alpha=01", "not-a-number", Some("?alpha")),
    (Format::Npy, "alpha=1.", "not-a-number", Some("?alpha")),
    (Format::Npy, "alpha=1e", "not-a-number", Some("?alpha")),
    (Format::Npy, "alpha=", "not-a-number", Some("?alpha")),
    (Format::Npy, "beta=NaN", "number-not-finite", Some("?beta")),
    (Format::Npy, "beta=-infinity", "number-not-finite", Some("?beta")),
    (Format::Npy, "beta=1e999", "number-out-of-range", Some("?beta")),
    (Format::Npy, "transpose_a=yes", "not-a-boolean", Some("?transpose_a")),
    (Format::Npy, "transpose_b=True", "not-a-boolean", Some("?transpose_b")),
    (Format::Npy, "alpha=%3", "malformed-request", None),
    (Format::Npy, "alpha=%zz", "malformed-request", None),
    (Format::Npy, "%ff=1", "malformed-request", None),
];

#[test]
fn what_a_query_may_not_say_is_refused_with_its_field() {
    for (format, query, kind, field) in QUERIES {
        let budget = MemoryBudget::new(MIB);
        let mut promise = promise(&budget);
        let problem = Reader::new(*format, query, None, DEMAND, &mut promise)
            .and_then(|mut reader| reader.push(&[0; 16], &mut promise).map(|_| reader))
            .and_then(Reader::finish)
            .expect_err(query);
        assert_eq!((problem.kind.name(), problem.field.as_deref()), (*kind, *field), "{query}");
    }
}

#[test]
fn numbers_in_a_query_are_rounded_once() {
    let ones = [1_f64.to_le_bytes(), 1_f64.to_le_bytes()].concat();
    let ones_f32 = [1_f32.to_le_bytes(), 1_f32.to_le_bytes()].concat();
    let shapes = "a=1x1&b=1x1";
    #[rustfmt::skip]
    let cases = [
        (&ones, "&alpha=0.1", 0.1), (&ones, "&alpha=-1E-3", -0.001), (&ones, "&alpha=%2B2.5e+0", 2.5),
        (&ones, "&alpha=+2", 2.0), (&ones, "&beta=0&alpha=1e-999", 0.0),
        // Rounded to f64 first, this would be rounded to f32 a second time, and down.
        (&ones_f32, "&dtype=f32&alpha=1.00000005960464477540", f64::from(1.0000001_f32)),
    ];
    for (bytes, query, expected) in cases {
        let query = format!("{shapes}{query}");
        let (_, _, c) = read(Format::Raw, &query, None, [&bytes[..]]).expect(&query);
        assert_eq!(c, [expected], "{query}");
    }
}

#[test]
fn a_raw_body_of_another_length_is_refused_before_it_comes() {
    for length in [0, 15, 17, u64::MAX] {
        let budget = MemoryBudget::new(MIB);
        let mut promise = promise(&budget);
        let query = "a=1x1&b=1x1";
        let problem = Reader::new(Format::Raw, query, Some(length), DEMAND, &mut promise)
            .expect_err("the length is wrong");
        assert_eq!(problem.kind, ProblemKind::LengthMismatch);
        assert!(problem.detail.contains(&length.to_string()) && problem.detail.contains("16"));
    }
}

/// A result of two rows in a format, with the elements 1 to 8.
fn result(format: Format, dtype: Dtype) -> Vec<u8> {
    let numbers = 1..=8_u8;
    let elements: Vec<u8> = match dtype {
        Dtype::F64 => numbers.flat_map(|it| f64::from(it).to_le_bytes()).collect(),
        Dtype::F32 => numbers.flat_map(|it| f32::from(it).to_le_bytes()).collect(),
    };
    let shape = Shape { m: 2, n: 4, k: 1 };
    let mut checksum = Checksum::new(dtype, shape);
    elements.chunks(7).for_each(|piece| checksum.update(piece));
    let (head, tail) = around(format, dtype, shape, Some(checksum.finish()));
    [head, elements, tail].concat()
}

#[test]
fn results_are_written_as_numpy_and_safetensors_write_them() {
    let file = |name| std::fs::read(directory().join(name)).expect(name);
    assert!(result(Format::Npy, Dtype::F64) == file("result.npy"));
    assert!(result(Format::Safetensors, Dtype::F32) == file("result.safetensors"));
    assert_eq!(result(Format::Raw, Dtype::F32).len(), 8 * 4);
}

#[test]
fn a_result_in_an_archive_is_read_back_and_its_checksum_is_right() {
    for dtype in [Dtype::F64, Dtype::F32] {
        let archive = result(Format::Npz, dtype);
        let lacking = read(Format::Npz, "", None, [&archive[..]]).expect_err("only C is there");
        assert_eq!(
            (lacking.kind, lacking.field.as_deref()),
            (ProblemKind::MissingField, Some("/a"))
        );
        let mut damaged = archive.clone();
        let middle = archive.len() / 2;
        damaged[middle] ^= 1;
        let wrong = read(Format::Npz, "", None, [&damaged[..]]).expect_err("it is damaged");
        assert_eq!(wrong.kind, ProblemKind::MalformedBody);
    }
}

#[test]
fn sizes_that_32_bits_cannot_hold_have_64_in_an_archive() {
    // The largest member whose sizes fit, and what is one row longer.
    for (m, is_large) in [((1 << 19) - 1, false), (1 << 19, true), ((1 << 24), true)] {
        let shape = Shape { m, n: 1 << 10, k: 1 };
        let (head, tail) = around(Format::Npz, Dtype::F64, shape, Some(0x0102_0304));
        assert!(head.len() + tail.len() <= HEAD_AND_TAIL_BYTES_MAX);
        let array_bytes = (m as u64) * 8192 + 128;
        let member_bytes = head.len() as u64 + array_bytes - 128;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        if is_large {
            let extra = &head[30 + "c.npy".len()..][..20];
            assert_eq!(extra[..4], [1, 0, 16, 0]);
            assert_eq!((number(&extra[4..12]), number(&extra[12..])), (array_bytes, array_bytes));
            let end = &tail[tail.len() - 98..];
            assert_eq!(end[..4], *b"PK\x06\x06");
            assert_eq!(number(&end[40..48]), tail.len() as u64 - 98);
            assert_eq!(number(&end[48..56]), member_bytes);
            assert_eq!(end[56..60], *b"PK\x06\x07");
            assert_eq!(number(&end[64..72]), member_bytes + tail.len() as u64 - 98);
        } else {
            assert_eq!(
                u64::from(u32::from_le_bytes(head[18..22].try_into().unwrap())),
                array_bytes
            );
            assert_eq!(tail.len(), 46 + "c.npy".len() + 22);
        }
    }
}
