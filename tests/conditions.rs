//! Conditions, ranges and digests of requests as tables: what each field comes to.

use gemmule::http::RequestHead;
use gemmule::http::condition::{Representation, Verdict};
use gemmule::http::digest::{self, MalformedDigest};
use gemmule::http::range::{ByteRange, ContentRange, Part};

const ETAG: &str = "\"sha256:ab\"";

fn head(method: &str, fields: &str) -> RequestHead {
    let text = format!("{method} / HTTP/1.1\r\nHost: g\r\n{fields}\r\n");
    RequestHead::parse(text.as_bytes()).expect("a head")
}

/// Fields; the verdict where a thing of this tag is there, for GET and for PUT, and for PUT where
/// nothing is there.
#[rustfmt::skip]
const CONDITIONS: &[(&str, Verdict, Verdict, Verdict)] = &[
    ("", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: \"sha256:ab\"\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: W/\"sha256:ab\"\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: w/\"sha256:ab\"\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: \"SHA256:AB\"\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: sha256:ab\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: \"x\", \"sha256:ab\"\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: \"x\" ,, \"sha256:ab\" ,\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: \"x\"\r\nIf-None-Match: \"sha256:ab\"\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: \"x, \\\"sha256:ab\"\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: \"a,b\", \"sha256:ab\"\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: \"x\"\"sha256:ab\"\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: \"sha256:ab\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match: *\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Go),
    ("If-None-Match: \"x\"\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-None-Match:\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-Match: \"sha256:ab\"\r\n", Verdict::Go, Verdict::Go, Verdict::Failed),
    ("If-Match: W/\"sha256:ab\"\r\n", Verdict::Failed, Verdict::Failed, Verdict::Failed),
    ("If-Match: \"x\", \"sha256:ab\"\r\n", Verdict::Go, Verdict::Go, Verdict::Failed),
    ("If-Match: *\r\n", Verdict::Go, Verdict::Go, Verdict::Failed),
    ("If-Match: \"x\"\r\n", Verdict::Failed, Verdict::Failed, Verdict::Failed),
    ("If-Match: x\r\n", Verdict::Failed, Verdict::Failed, Verdict::Failed),
    ("If-Match:\r\n", Verdict::Failed, Verdict::Failed, Verdict::Failed),
    // If-Match comes first (RFC 9110, section 13.2.2).
    ("If-None-Match: \"sha256:ab\"\r\nIf-Match: \"x\"\r\n", Verdict::Failed, Verdict::Failed, Verdict::Failed),
    ("If-None-Match: \"sha256:ab\"\r\nIf-Match: *\r\n", Verdict::NotModified, Verdict::Failed, Verdict::Failed),
    // Dates are not known here, and so mean nothing (sections 13.1.3 and 13.1.4).
    ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
    ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Verdict::Go, Verdict::Go, Verdict::Go),
];

#[test]
fn conditions_hang_on_the_tag() {
    for (fields, get, put, put_of_nothing) in CONDITIONS {
        assert_eq!(Verdict::of(&head("GET", fields), Some(ETAG)), *get, "GET {fields}");
        assert_eq!(Verdict::of(&head("HEAD", fields), Some(ETAG)), *get, "HEAD {fields}");
        for method in ["PUT", "PATCH", "DELETE", "POST"] {
            assert_eq!(Verdict::of(&head(method, fields), Some(ETAG)), *put, "{method} {fields}");
            assert_eq!(Verdict::of(&head(method, fields), None), *put_of_nothing, "{fields}");
        }
    }
}

const fn range(first: u64, last: u64) -> Part {
    Part::Range(ByteRange { first, last })
}

/// Fields, and what of 100 bytes they ask for.
#[rustfmt::skip]
const RANGES: &[(&str, Part)] = &[
    ("", Part::Whole),
    ("Range: bytes=0-0\r\n", range(0, 0)),
    ("Range: bytes=0-99\r\n", range(0, 99)),
    ("Range: bytes=10-19\r\n", range(10, 19)),
    ("Range: BYTES=10-19\r\n", range(10, 19)),
    ("Range: bytes= 10-19 \r\n", range(10, 19)),
    ("Range: bytes=,10-19,\r\n", range(10, 19)),
    ("Range: bytes=010-00019\r\n", range(10, 19)),
    ("Range: bytes=99-\r\n", range(99, 99)),
    ("Range: bytes=10-\r\n", range(10, 99)),
    ("Range: bytes=10-100\r\n", range(10, 99)),
    ("Range: bytes=10-9223372036854775807\r\n", range(10, 99)),
    ("Range: bytes=-1\r\n", range(99, 99)),
    ("Range: bytes=-100\r\n", range(0, 99)),
    ("Range: bytes=-101\r\n", range(0, 99)),
    ("Range: bytes=-0\r\n", Part::None),
    ("Range: bytes=100-\r\n", Part::None),
    ("Range: bytes=100-200\r\n", Part::None),
    // Several are answered with the whole.
    ("Range: bytes=0-1,3-4\r\n", Part::Whole),
    ("Range: bytes=0-1\r\nRange: bytes=3-4\r\n", Part::Whole),
    // What is none of bytes is ignored.
    ("Range: bytes=19-10\r\n", Part::Whole),
    ("Range: bytes=-\r\n", Part::Whole),
    ("Range: bytes=\r\n", Part::Whole),
    ("Range: bytes\r\n", Part::Whole),
    ("Range:\r\n", Part::Whole),
    ("Range: 0-1\r\n", Part::Whole),
    ("Range: rows=0-1\r\n", Part::Whole),
    ("Range: bytes =0-1\r\n", Part::Whole),
    ("Range: bytes=+0-1\r\n", Part::Whole),
    ("Range: bytes=0 - 1\r\n", Part::Whole),
    ("Range: bytes=0-1-2\r\n", Part::Whole),
    ("Range: bytes=--1\r\n", Part::Whole),
    ("Range: bytes=a-b\r\n", Part::Whole),
    ("Range: bytes=0x0-0x1\r\n", Part::Whole),
    ("Range: bytes=0-18446744073709551616\r\n", Part::Whole),
    ("Range: bytes=9223372036854775808-\r\n", Part::Whole),
    // Of another representation, the whole is wanted.
    ("Range: bytes=0-1\r\nIf-Range: \"sha256:ab\"\r\n", range(0, 1)),
    ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n", Part::Whole),
    ("Range: bytes=0-1\r\nIf-Range: W/\"sha256:ab\"\r\n", Part::Whole),
    ("Range: bytes=0-1\r\nIf-Range: *\r\n", Part::Whole),
    ("Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Part::Whole),
    ("Range: bytes=0-1\r\nIf-Range: \"sha256:ab\"\r\nIf-Range: \"sha256:ab\"\r\n", Part::Whole),
    ("Range: bytes=100-\r\nIf-Range: \"x\"\r\n", Part::Whole),
    ("If-Range: \"sha256:ab\"\r\n", Part::Whole),
];

#[test]
fn one_range_is_a_part_and_anything_else_the_whole() {
    let representation = Representation { etag: ETAG, bytes: 100 };
    for (fields, part) in RANGES {
        assert_eq!(Part::of(&head("GET", fields), representation), *part, "{fields}");
        for method in ["HEAD", "POST", "PUT"] {
            assert_eq!(Part::of(&head(method, fields), representation), Part::Whole, "{fields}");
        }
    }
}

#[test]
fn of_nothing_there_is_no_range() {
    let representation = Representation { etag: ETAG, bytes: 0 };
    for fields in ["Range: bytes=0-\r\n", "Range: bytes=-1\r\n", "Range: bytes=0-0\r\n"] {
        assert_eq!(Part::of(&head("GET", fields), representation), Part::None, "{fields}");
    }
    assert_eq!(Part::of(&head("GET", ""), representation), Part::Whole);
}

#[test]
fn a_part_says_which_it_is() {
    for (part, bytes, field) in [
        (Part::Whole, 100, None),
        (range(0, 0), 1, Some("bytes 0-0/1")),
        (range(10, 19), 100, Some("bytes 10-19/100")),
        (Part::None, 100, Some("bytes */100")),
    ] {
        assert_eq!(part.content_range(bytes).as_deref(), field);
    }
    assert_eq!(ByteRange { first: 10, last: 19 }.bytes(), 10);
}

/// The first byte, the last, and how many there are.
type Said = (u64, u64, Option<u64>);

/// The value of `Content-Range`, and what it says.
#[rustfmt::skip]
const CONTENT_RANGES: &[(&str, Option<Said>)] = &[
    ("bytes 0-9/20", Some((0, 9, Some(20)))),
    ("bytes 0-9/10", Some((0, 9, Some(10)))),
    ("Bytes 0-9/*", Some((0, 9, None))),
    ("0-9", Some((0, 9, None))),
    ("10-10", Some((10, 10, None))),
    ("0-9223372036854775807", Some((0, 9_223_372_036_854_775_807, None))),
    // The last is not the number of bytes.
    ("bytes 0-9/9", None),
    ("bytes 9-0/20", None),
    ("9-0", None),
    ("bytes */20", None),
    ("bytes 0-9", None),
    ("bytes=0-9/20", None),
    ("bytes  0-9/20", None),
    ("bytes 0-9 /20", None),
    ("bytes 0 - 9/20", None),
    ("bytes 0-9/", None),
    ("bytes 0-/20", None),
    ("bytes -9/20", None),
    ("bytes 0-9/20/30", None),
    ("bytes +0-9/20", None),
    ("rows 0-9/20", None),
    ("0-9/20", None),
    ("0-", None),
    ("-9", None),
    ("0", None),
    ("0-9,10-19", None),
    ("0-9223372036854775808", None),
    ("", None),
];

#[test]
fn where_content_belongs_is_said_exactly_or_not_at_all() {
    for (value, expected) in CONTENT_RANGES {
        let found = ContentRange::of(&head("PATCH", &format!("Content-Range: {value}\r\n")));
        let found = found.ok().map(|range| range.expect("there is one"));
        let found = found.map(|it| (it.range.first, it.range.last, it.bytes));
        assert_eq!(found, *expected, "{value}");
    }
    assert_eq!(ContentRange::of(&head("PATCH", "")), Ok(None));
    let twice = "Content-Range: 0-9\r\nContent-Range: 0-9\r\n";
    assert!(ContentRange::of(&head("PATCH", twice)).is_err());
}

/// `Repr-Digest` with a request, and whether it is that of the empty content.
#[rustfmt::skip]
const DIGESTS: &[(&str, Result<bool, MalformedDigest>)] = &[
    ("", Ok(false)),
    ("Repr-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\r\n", Ok(true)),
    ("repr-digest: md5=:AAAA:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU:\r\n", Ok(true)),
    ("Content-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\r\n", Ok(false)),
    ("Repr-Digest: md5=:AAAA:\r\n", Ok(false)),
    ("Repr-Digest: sha-256=:47DEQpj8HBSa:\r\n", Err(MalformedDigest)),
    ("Repr-Digest: sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n", Err(MalformedDigest)),
    ("Repr-Digest: sha-256\r\n", Err(MalformedDigest)),
];

#[test]
fn a_request_may_say_what_its_representation_is() {
    for (fields, expected) in DIGESTS {
        let found = digest::of_representation(&head("PUT", fields));
        if let Ok(Some(hash)) = &found {
            let value = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
            assert_eq!(digest::value_of(hash), value, "{fields}");
        }
        assert_eq!(found.map(|hash| hash.is_some()), *expected, "{fields}");
    }
}

#[test]
fn a_digest_of_a_representation_is_wanted_by_its_own_field() {
    for (fields, is_wanted, is_content_wanted) in [
        ("", false, false),
        ("Want-Repr-Digest: sha-256=1\r\n", true, false),
        ("Want-Repr-Digest: sha-512=10, sha-256=3\r\n", true, false),
        ("Want-Repr-Digest: sha-256=0\r\n", false, false),
        ("Want-Repr-Digest: sha-512=10\r\n", false, false),
        ("Want-Repr-Digest: sha-256\r\n", false, false),
        ("Want-Content-Digest: sha-256=1\r\n", false, true),
    ] {
        let head = head("GET", fields);
        assert_eq!(digest::is_representation_wanted(&head), is_wanted, "{fields}");
        assert_eq!(digest::is_wanted(&head), is_content_wanted, "{fields}");
    }
}
