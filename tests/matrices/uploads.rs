//! Uploads in chunks.

use gemmule::gemm::Dtype;
use gemmule::limits::{CHUNK_BYTES_MAX, UPLOAD_IDLE_NS, UPLOADS_MAX};
use gemmule::time::SECOND_NS;

use crate::bench::{Bench, Raw, kind};
use crate::support::http::Response;

fn begin(bench: &mut Bench, query: &str) -> String {
    let reply = bench.ask(0, "POST", &format!("/v1/matrices/uploads?{query}"), &[], Some(b""));
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert_eq!(reply.field("Gemmule-Upload-Offset"), Some("0"));
    assert_eq!(reply.json()["chunk_bytes_max"], CHUNK_BYTES_MAX);
    reply.field("Location").expect("where it is").to_owned()
}

fn patch(bench: &mut Bench, upload: &str, range: &str, body: &[u8]) -> Response {
    bench.ask(0, "PATCH", upload, &[("Content-Range", range)], Some(body))
}

fn offset(reply: &Response) -> usize {
    reply.field("Gemmule-Upload-Offset").expect("an offset").parse().expect("a number")
}

#[test]
fn chunks_of_any_length_make_one_matrix() {
    for (dtype, rows, columns) in
        [(Dtype::F32, 3000, 1500), (Dtype::F64, 40, 3), (Dtype::F64, 3, 0)]
    {
        let matrix = Raw::random(dtype, rows, columns, 5);
        let file = matrix.npy();
        for (is_npy, chunk) in [(true, 1 << 20), (true, 77_777), (false, 1 << 20), (false, 250_001)]
        {
            if rows * columns < 1000 && chunk == 1 << 20 {
                continue;
            }
            let chunk = if rows * columns < 1000 { 7 } else { chunk };
            let mut bench = Bench::in_memory();
            let query = if is_npy { String::new() } else { matrix.query() };
            let sent: &[u8] = if is_npy { &file } else { &matrix.bytes };
            let upload = begin(&mut bench, &query);
            let mut at = 0;
            for (number, piece) in sent.chunks(chunk).enumerate() {
                let last = at + piece.len() - 1;
                let range = match number % 3 {
                    0 => format!("{at}-{last}"),
                    1 => format!("bytes {at}-{last}/*"),
                    _ => format!("bytes {at}-{last}/{}", sent.len()),
                };
                let reply = patch(&mut bench, &upload, &range, piece);
                assert_eq!(reply.status, 202, "{}", reply.text());
                at += piece.len();
                assert_eq!(reply.field("Range"), Some(&*format!("0-{}", at - 1)));
                assert_eq!(offset(&reply), at);
                let status = bench.get(&upload);
                assert_eq!((status.status, offset(&status)), (204, at));
            }
            let done = format!("{upload}?digest={}", matrix.id());
            let reply = bench.ask(0, "PUT", &done, &[], Some(b""));
            assert_eq!(reply.status, 201, "{}", reply.text());
            assert_eq!(reply.field("Location"), Some(&*matrix.path()));
            assert_eq!(kind(&bench.get(&upload)), "unknown-upload");
            let back = bench.get(&matrix.path());
            assert!(back.body == file, "{rows}x{columns} by {chunk}");
            bench.ask(0, "DELETE", &matrix.path(), &[], None);
            assert_eq!((bench.server.stored_bytes(), bench.server.promised_bytes()), (0, 0));
        }
    }
}

#[test]
fn a_chunk_that_belongs_elsewhere_is_told_where_the_next_begins() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F64, 10, 10, 1);
    let upload = begin(&mut bench, &matrix.query());
    for (range, body, status, expected) in [
        ("0-99", 0..100, 202, ""),
        ("0-99", 0..100, 416, "range-not-satisfiable"),
        ("200-299", 200..300, 416, "range-not-satisfiable"),
        ("100-299", 100..300, 202, ""),
        ("300-298", 0..0, 400, "malformed-request"),
        ("bytes 300-399/*, bytes 400-499/*", 0..0, 400, "malformed-request"),
        ("300-399", 300..401, 422, "length-mismatch"),
        ("300-900", 300..700, 422, "length-mismatch"),
    ] {
        let reply = patch(&mut bench, &upload, range, &matrix.bytes[body]);
        assert_eq!(reply.status, status, "{range}: {}", reply.text());
        if status >= 400 {
            assert_eq!(kind(&reply), expected, "{range}");
        }
        if status == 416 {
            assert!(reply.field("Range").is_some());
            assert!([100].contains(&offset(&reply)), "{range}");
        }
    }
    let too_long = format!("300-{}", 300 + CHUNK_BYTES_MAX);
    assert_eq!(patch(&mut bench, &upload, &too_long, b"").status, 422);
    let beyond = [&matrix.bytes[300..], &[0; 8]].concat();
    let reply = patch(&mut bench, &upload, "300-807", &beyond);
    assert_eq!((reply.status, &*kind(&reply)), (422, "length-mismatch"));
    assert_eq!(offset(&bench.get(&upload)), 300, "of what was refused nothing counts");
    // Without a range, it goes on where it is; the last chunk may come with the end.
    let reply = bench.ask(0, "PATCH", &upload, &[], Some(&matrix.bytes[300..500]));
    assert_eq!((reply.status, offset(&reply)), (202, 500));
    let early = format!("{upload}?digest={}", matrix.id());
    let reply = bench.ask(0, "PUT", &early, &[], Some(&matrix.bytes[500..600]));
    assert_eq!((reply.status, &*kind(&reply)), (409, "upload-incomplete"));
    assert_eq!(offset(&reply), 600);
    let wrong = format!("{upload}?digest={}", Raw::random(Dtype::F64, 1, 1, 2).id());
    let reply = bench.ask(0, "PUT", &wrong, &[], Some(&matrix.bytes[600..]));
    assert_eq!(kind(&reply), "digest-mismatch");
    assert_eq!(bench.get("/v1/matrices").json()["count"], 0);
    assert_eq!(bench.ask(0, "PUT", &early, &[], None).status, 201, "with the right one it ends");
    assert_eq!(kind(&bench.ask(0, "PUT", &upload, &[], None)), "unknown-upload");
}

#[test]
fn a_chunk_that_breaks_off_does_not_count_and_a_whole_one_does() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F64, 10, 10, 1);
    let upload = begin(&mut bench, &matrix.query());
    let fields = format!(
        "Host: g\r\nAuthorization: Bearer {}\r\nContent-Range: 0-799\r\nContent-Length: 800\r\n",
        bench.keys[0]
    );
    let request =
        [format!("PATCH {upload} HTTP/1.1\r\n{fields}\r\n").as_bytes(), &matrix.bytes].concat();
    let session = bench.server.open(bench.now).expect("a session is free");
    bench.server.receive(session, &request[..request.len() - 1], bench.now);
    // Meanwhile another sends the same.
    let second = bench.server.open(bench.now).expect("a session is free");
    bench.server.receive(second, &request, bench.now);
    bench.server.gone(session);
    assert_eq!(offset(&bench.ask_without_running("GET", &upload)), 0);
    let busy = bench.ask_without_running("DELETE", &upload);
    assert_eq!((busy.status, &*kind(&busy)), (409, "upload-in-use"));
    // Its client goes before it is written.
    bench.server.gone(second);
    bench.run();
    assert_eq!(offset(&bench.get(&upload)), 800);
    let done = format!("{upload}?digest={}", matrix.id());
    assert_eq!(bench.ask(0, "PUT", &done, &[], None).status, 201);
}

#[test]
fn uploads_are_given_up_when_they_are_told_to_or_nothing_comes() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F64, 10, 10, 1);
    let cancelled = begin(&mut bench, &matrix.query());
    let idle = begin(&mut bench, "");
    for upload in [&cancelled, &idle] {
        let file = matrix.npy();
        let body = if *upload == idle { &file[..300] } else { &matrix.bytes[..300] };
        assert_eq!(bench.ask(0, "PATCH", upload, &[], Some(body)).status, 202);
    }
    assert_eq!(bench.get("/v1/matrices").json()["bytes"], 1600);
    assert_eq!(bench.ask(0, "DELETE", &cancelled, &[], None).status, 204);
    assert_eq!(kind(&bench.get(&cancelled)), "unknown-upload");
    bench.wait(UPLOAD_IDLE_NS / SECOND_NS - 1);
    assert_eq!(bench.get(&idle).status, 204);
    bench.wait(1);
    assert_eq!(kind(&bench.get(&idle)), "unknown-upload");
    assert_eq!((bench.server.stored_bytes(), bench.server.promised_bytes()), (0, 0));
    for _ in 0..UPLOADS_MAX {
        begin(&mut bench, "");
    }
    let refused = bench.ask(0, "POST", "/v1/matrices/uploads", &[], None);
    assert_eq!((refused.status, &*kind(&refused)), (409, "too-many-uploads"));
}

#[test]
fn arrays_that_can_only_come_whole_are_refused_in_chunks() {
    let mut bench = Bench::in_memory();
    for dictionary in [
        "{'descr': '>f8', 'fortran_order': False, 'shape': (2, 3), }\n",
        "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }\n",
    ] {
        let length = (dictionary.len() as u16).to_le_bytes();
        let head = [b"\x93NUMPY\x01\x00", &length[..], dictionary.as_bytes()].concat();
        let upload = begin(&mut bench, "");
        let reply = bench.ask(0, "PATCH", &upload, &[], Some(&head));
        assert_eq!((reply.status, &*kind(&reply)), (422, "unknown-dtype"), "{dictionary}");
    }
    let coded = begin(&mut bench, "");
    let reply = bench.ask(0, "PATCH", &coded, &[("Content-Encoding", "gzip")], Some(b"x"));
    assert_eq!(kind(&reply), "unsupported-content-coding");
}
