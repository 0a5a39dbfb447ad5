//! Matrices that are read: whole and in ranges, under conditions.

use gemmule::gemm::Dtype;

use crate::bench::{Bench, Raw, kind};

#[test]
fn ranges_are_of_the_file_and_their_digest_of_the_whole() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F32, 1500, 1200, 4);
    assert_eq!(bench.store(0, &matrix, "").status, 201);
    let file = matrix.npy();
    let whole = bench.get(&matrix.path());
    assert!(whole.status == 200 && whole.body == file);
    let etag = whole.field("ETag").expect("a tag").to_owned();
    let digest = whole.field("Repr-Digest").expect("a digest").to_owned();
    assert!(digest.starts_with("sha-256=:") && etag.starts_with('"'));
    assert_eq!(whole.field("Gemmule-Shape"), Some("1500x1200"));
    let bytes = file.len();
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-4999999", 100..5_000_000),
        ("bytes=127-128", 127..129),
        ("bytes=-5", bytes - 5..bytes),
        ("bytes=7000000-99999999", 7_000_000..bytes),
    ] {
        let part = bench.ask(0, "GET", &matrix.path(), &[("Range", range)], None);
        assert_eq!(part.status, 206, "{range}");
        let told = format!("bytes {}-{}/{bytes}", expected.start, expected.end - 1);
        assert_eq!(part.field("Content-Range"), Some(&*told));
        assert!(part.body == file[expected], "{range}");
        assert_eq!(part.field("Repr-Digest"), Some(&*digest));
    }
    let behind = format!("bytes={bytes}-");
    let refused = bench.ask(0, "GET", &matrix.path(), &[("Range", &behind)], None);
    assert_eq!((refused.status, &*kind(&refused)), (416, "range-not-satisfiable"));
    assert_eq!(refused.field("Content-Range"), Some(&*format!("bytes */{bytes}")));
    let head = bench.ask(0, "HEAD", &matrix.path(), &[], None);
    assert_eq!((head.status, head.field("ETag")), (200, Some(&*etag)));
    assert_eq!(head.field("Content-Length"), Some(&*bytes.to_string()));
    // Of raw elements the same bytes are elsewhere.
    let accept = ("Accept", "application/octet-stream");
    let part = bench.ask(0, "GET", &matrix.path(), &[accept, ("Range", "bytes=4-11")], None);
    assert!(part.status == 206 && part.body == matrix.bytes[4..12]);
    assert!(part.field("Repr-Digest").is_none() && part.field("ETag") != Some(&*etag));
}

#[test]
fn conditions_hang_on_the_address_and_the_format() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F64, 20, 20, 4);
    assert_eq!(bench.store(0, &matrix, "").status, 201);
    let path = matrix.path();
    let npy = bench.get(&path).field("ETag").expect("a tag").to_owned();
    let json = [("Accept", "application/json")];
    let json = bench.ask(0, "GET", &path, &json, None).field("ETag").expect("a tag").to_owned();
    assert_ne!(npy, json);
    for (fields, status) in [
        (vec![("If-None-Match", &*npy)], 304),
        (vec![("If-None-Match", &*json)], 200),
        (vec![("If-None-Match", "*")], 304),
        (vec![("If-Match", &*npy)], 200),
        (vec![("If-Match", &*json)], 412),
        (vec![("Range", "bytes=0-9"), ("If-Range", &*npy)], 206),
        (vec![("Range", "bytes=0-9"), ("If-Range", &*json)], 200),
        (vec![("Accept", "application/json"), ("If-None-Match", &*json)], 304),
        (vec![("Accept", "text/html")], 406),
    ] {
        let reply = bench.ask(0, "GET", &path, &fields, None);
        assert_eq!(reply.status, status, "{fields:?}");
        if status == 304 {
            assert!(reply.body.is_empty() && reply.field("ETag").is_some());
        }
    }
}

#[test]
fn an_account_never_learns_what_another_keeps() {
    let mut bench = Bench::in_memory();
    let (theirs, nobodys) =
        (Raw::random(Dtype::F64, 30, 30, 1), Raw::random(Dtype::F64, 30, 30, 2));
    assert_eq!(bench.store(1, &theirs, "&name=secret").status, 201);
    let mut tell = |method: &str, target: &str, fields: &[(&str, &str)], body: Option<&[u8]>| {
        let reply = bench.ask(0, method, target, fields, body);
        (reply.status, reply.fields.clone(), reply.body)
    };
    let json = [("Content-Type", "application/json")];
    for method in ["GET", "HEAD", "DELETE"] {
        let one = tell(method, &theirs.path(), &[], None);
        assert_eq!(one, tell(method, &nobodys.path(), &[], None), "{method}");
        assert_eq!(one.0, 404);
    }
    let change = Some(b"{\"pinned\":true}".as_slice());
    let one = tell("PATCH", &theirs.path(), &json, change);
    assert_eq!(one, tell("PATCH", &nobodys.path(), &json, change));
    let refer = |raw: &Raw| format!("{{\"matrix\":\"{}\"}}", raw.id());
    let one = tell("PUT", "/v1/references/w", &json, Some(refer(&theirs).as_bytes()));
    assert_eq!(one, tell("PUT", "/v1/references/w", &json, Some(refer(&nobodys).as_bytes())));
    assert_eq!(tell("GET", "/v1/references/secret", &[], None).0, 404);
    // An upload of what another keeps is an upload like any other.
    let begun = format!("/v1/matrices/uploads?{}&digest={}", theirs.query(), theirs.id());
    assert_eq!(tell("POST", &begun, &[], None).0, 202);
    assert_eq!(bench.store(0, &theirs, "").status, 201);
    let list = bench.get("/v1/matrices").json();
    assert_eq!((&list["count"], &list["bytes"]), (&1.into(), &7200.into()));
    assert_eq!(bench.ask(0, "DELETE", &theirs.path(), &[], None).status, 204);
    assert_eq!(bench.ask(1, "GET", &theirs.path(), &[], None).status, 200, "the other's stays");
}

#[test]
fn keys_need_the_scope_and_without_a_key_nothing_is_said() {
    let mut bench = Bench::in_memory();
    bench.keys[1] = String::new();
    let matrix = Raw::random(Dtype::F64, 2, 2, 1);
    for (method, path) in [
        ("GET", "/v1/matrices"),
        ("POST", "/v1/matrices"),
        ("GET", &matrix.path()),
        ("DELETE", &matrix.path()),
        ("POST", "/v1/matrices/uploads"),
        ("GET", "/v1/references"),
    ] {
        assert_eq!(bench.ask(1, method, path, &[], None).status, 401, "{method} {path}");
    }
}
