//! HTTP/1.1 as a table: each case is read whole, byte by byte, split at every point, and with a
//! pipelined request behind it, and must mean the same each time.

use gemmule::http::connection::{Broken, Connection, Event};
use gemmule::http::head::HeadError;
use gemmule::http::{Output, Response};
use gemmule::time::Now;

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 784_111_777_000_000_000 };

/// What a connection made of its input: requests as `METHOD path[?query] body`, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    requests: Vec<String>,
    broken: Option<Broken>,
    is_closing: bool,
    output: String,
}

/// Reads `pieces` as they would come from a socket, and answers every request with `ok`.
fn hear<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    let mut connection = Connection::new();
    let mut output = Output::default();
    let mut heard = Heard::default();
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let (used, event) = match connection.receive(&input) {
                Ok(progress) => progress,
                Err(broken) => {
                    heard.broken = Some(broken);
                    return heard;
                }
            };
            match event {
                Event::Head(head) => {
                    let query = if head.query.is_empty() { "" } else { "?" };
                    let target = format!("{}{query}{}", head.path, head.query);
                    heard.requests.push(format!("{:?} {target} ", head.method));
                    connection.accept_body(&mut output);
                }
                Event::Content(content) => {
                    let text = String::from_utf8_lossy(content).into_owned();
                    heard.requests.last_mut().expect("a head came before").push_str(&text);
                }
                Event::End => {
                    let response = Response::json(200, b"ok".to_vec());
                    connection.respond(response, NOW, &mut output);
                }
                Event::More if used == 0 => break,
                Event::More => {}
            }
            input.drain(..used);
        }
    }
    heard.is_closing = connection.is_closing();
    while !output.is_empty() {
        let bytes = output.next().len();
        heard.output.push_str(std::str::from_utf8(output.next()).expect("replies are text"));
        output.sent(bytes);
    }
    heard
}

const OK: &str = "HTTP/1.1 200 OK\r\nServer: gemmule\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                  Content-Type: application/json\r\nContent-Length: 2\r\n\r\nok";
const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\nServer: gemmule\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
     Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const OK_HEAD: &str = "HTTP/1.1 200 OK\r\nServer: gemmule\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                       Content-Type: application/json\r\nContent-Length: 2\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// The request that follows a case which leaves the connection open.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: g\r\n\r\n";

/// Requests that are understood: input, requests heard, output, and whether the connection closes.
#[rustfmt::skip]
const UNDERSTOOD: &[(&str, &str, &[&str], &str, bool)] = &[
    ("get", "GET / HTTP/1.1\r\nHost: g\r\n\r\n", &["Get / "], OK, false),
    ("empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: g\r\n\r\n", &["Get / "], OK, false),
    ("head", "HEAD / HTTP/1.1\r\nHost: g\r\n\r\n", &["Head / "], OK_HEAD, false),
    ("query", "GET /p?a=/b&c=?d HTTP/1.1\r\nHost: g\r\n\r\n", &["Get /p?a=/b&c=?d "], OK, false),
    ("empty query", "GET /p? HTTP/1.1\r\nHost: g\r\n\r\n", &["Get /p "], OK, false),
    ("absolute form, query and no path", "GET http://g?q HTTP/1.1\r\nHost: g\r\n\r\n", &["Get /?q "], OK, false),
    ("absolute form", "GET http://g/p?q HTTP/1.1\r\nHost: g\r\n\r\n", &["Get /p?q "], OK, false),
    ("absolute form, no path", "GET http://g HTTP/1.1\r\nHost: g\r\n\r\n", &["Get / "], OK, false),
    ("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n", &["Options * "], OK, false),
    ("put", "PUT / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi", &["Put / hi"], OK, false),
    ("put of nothing", "PUT / HTTP/1.1\r\nHost: g\r\n\r\n", &["Put / "], OK, false),
    ("put in chunks", "PUT / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &["Put / hi"], OK, false),
    ("put, continue", "PUT / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", &["Put / hi"], "100 then 200", false),
    ("patch", "PATCH / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi", &["Patch / hi"], OK, false),
    ("patch in chunks", "PATCH / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &["Patch / hi"], OK, false),
    ("patch, continue, chunks", "PATCH / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", &["Patch / hi"], "100 then 200", false),
    ("delete", "DELETE / HTTP/1.1\r\nHost: g\r\n\r\n", &["Delete / "], OK, false),
    ("delete with a body", "DELETE / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi", &["Delete / hi"], OK, false),
    ("delete, continue without body", "DELETE / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\n\r\n", &["Delete / "], OK, false),
    ("method in lower case", "delete / HTTP/1.1\r\nHost: g\r\n\r\n", &["Other / "], OK, false),
    ("unknown method", "BREW / HTTP/1.1\r\nHost: g\r\n\r\n", &["Other / "], OK, false),
    ("length", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello", &["Post / hello"], OK, false),
    ("length, odd case", "POST / HTTP/1.1\r\nhOsT: g\r\ncOnTeNt-LeNgTh:5\r\n\r\nhello", &["Post / hello"], OK, false),
    ("length zero", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n", &["Post / "], OK, false),
    ("length in get", "GET / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi", &["Get / hi"], OK, false),
    ("body like a request", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n", &["Post / GET / HTTP/1.1\r\n\r\n"], OK, false),
    ("chunks", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", &["Post / hello"], OK, false),
    ("chunks, odd case", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: Chunked\r\n\r\n00A\r\n0123456789\r\n000\r\n\r\n", &["Post / 0123456789"], OK, false),
    ("chunk extension", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b;c\"\r\nhi\r\n0;x\r\n\r\n", &["Post / hi"], OK, false),
    ("trailers", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\nC: d\r\n\r\n", &["Post / hi"], OK, false),
    ("continue", "POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi", &["Post / hi"], "100 then 200", false),
    ("continue without body", "POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\n\r\n", &["Post / "], OK, false),
    ("two at once", "GET /1 HTTP/1.1\r\nHost: g\r\n\r\nGET /2 HTTP/1.1\r\nHost: g\r\n\r\n", &["Get /1 ", "Get /2 "], "200 then 200", false),
    ("close", "GET / HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n", &["Get / "], OK_CLOSE, true),
    ("close in a list", "GET / HTTP/1.1\r\nHost: g\r\nConnection: te, Close\r\n\r\n", &["Get / "], OK_CLOSE, true),
    ("1.0", "GET / HTTP/1.0\r\n\r\n", &["Get / "], OK_CLOSE, true),
    ("1.0 kept alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["Get / "], OK, false),
    ("1.0 expects nothing", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", &["Post / hi"], OK_CLOSE, true),
];

#[test]
fn what_is_understood_is_so_in_any_pieces() {
    for &(name, input, requests, output, is_closing) in UNDERSTOOD {
        let output = match output {
            "100 then 200" => format!("{CONTINUE}{OK}"),
            "200 then 200" => format!("{OK}{OK}"),
            output => output.into(),
        };
        let requests = requests.iter().map(|request| (*request).into()).collect();
        let expected = Heard { requests, broken: None, is_closing, output };
        check_in_pieces(name, input, &expected);
        if !is_closing {
            let mut with_next = expected;
            with_next.requests.push("Get /next ".into());
            with_next.output.push_str(OK);
            check_in_pieces(name, &format!("{input}{NEXT}"), &with_next);
        }
    }
}

fn check_in_pieces(name: &str, input: &str, expected: &Heard) {
    let bytes = input.as_bytes();
    assert_eq!(hear([bytes].into_iter()), *expected, "{name}, whole");
    assert_eq!(hear(bytes.chunks(1)), *expected, "{name}, byte by byte");
    for point in 1..bytes.len() {
        let (front, back) = bytes.split_at(point);
        assert_eq!(hear([front, back].into_iter()), *expected, "{name}, split at {point}");
    }
}

/// Requests that are refused: input, and what is wrong. None of them leaves a request heard that
/// stands behind the broken place.
#[rustfmt::skip]
const BROKEN: &[(&str, &str, Verdict)] = &[
    ("no host", "GET / HTTP/1.1\r\n\r\n", Verdict::Malformed),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Verdict::Malformed),
    ("bare LF", "GET / HTTP/1.1\nHost: g\n\r\n\r\n", Verdict::Malformed),
    ("bare LF in fields", "GET / HTTP/1.1\r\nHost: g\nA: b\r\n\r\n", Verdict::Malformed),
    ("bare CR", "GET / HTTP/1.1\r\nHost: g\rA: b\r\n\r\n", Verdict::Malformed),
    ("folded field", "GET / HTTP/1.1\r\nHost: g\r\nA: b\r\n c\r\n\r\n", Verdict::Malformed),
    ("space before the colon", "GET / HTTP/1.1\r\nHost : g\r\n\r\n", Verdict::Malformed),
    ("space before the name", "GET / HTTP/1.1\r\n Host: g\r\n\r\n", Verdict::Malformed),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: g\r\nA: \0\r\n\r\n", Verdict::Malformed),
    ("no colon", "GET / HTTP/1.1\r\nHost: g\r\nA\r\n\r\n", Verdict::Malformed),
    ("empty name", "GET / HTTP/1.1\r\nHost: g\r\n: a\r\n\r\n", Verdict::Malformed),
    ("no target", "GET HTTP/1.1\r\nHost: g\r\n\r\n", Verdict::Malformed),
    ("relative target", "GET p HTTP/1.1\r\nHost: g\r\n\r\n", Verdict::Malformed),
    ("authority as target", "GET g:80 HTTP/1.1\r\nHost: g\r\n\r\n", Verdict::Malformed),
    ("not HTTP at all", "\x16\x03\x01\x02\x00", Verdict::Malformed),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Verdict::Version),
    ("HTTP/3", "GET / HTTP/3.0\r\nHost: g\r\n\r\n", Verdict::Version),
    ("length and coding", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Verdict::Malformed),
    ("two lengths", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", Verdict::Malformed),
    ("list of lengths", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 2, 2\r\n\r\nhi", Verdict::Malformed),
    ("signed length", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: +2\r\n\r\nhi", Verdict::Malformed),
    ("negative length", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: -2\r\n\r\nhi", Verdict::Malformed),
    ("hexadecimal length", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 0x2\r\n\r\nhi", Verdict::Malformed),
    ("empty length", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length:\r\n\r\n", Verdict::Malformed),
    ("endless length", "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 18446744073709551616\r\n\r\n", Verdict::Malformed),
    ("gzip coding", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Verdict::TransferCoding),
    ("chunked twice", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Verdict::TransferCoding),
    ("coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Verdict::Malformed),
    ("other expectation", "POST / HTTP/1.1\r\nHost: g\r\nExpect: 200-ok\r\n\r\n", Verdict::Expectation),
    ("chunk size missing", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", Verdict::Body),
    ("chunk size signed", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n", Verdict::Body),
    ("chunk size prefixed", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n", Verdict::Body),
    ("chunk size endless", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n", Verdict::Body),
    ("chunk size, space behind", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n", Verdict::Body),
    ("chunk line with bare LF", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", Verdict::Body),
    ("chunk too long", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhip\r\n0\r\n\r\n", Verdict::Body),
    ("chunk end with bare LF", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n", Verdict::Body),
    ("trailer with bare LF", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n", Verdict::Body),
    ("control in an extension", "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n0;\0\r\n\r\n", Verdict::Body),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Malformed,
    Version,
    TransferCoding,
    Expectation,
    Body,
}

#[test]
fn what_is_broken_is_refused_in_any_pieces() {
    for &(name, input, verdict) in BROKEN {
        let bytes = format!("{input}{NEXT}").into_bytes();
        let mut ways = vec![vec![bytes.as_slice()], bytes.chunks(1).collect()];
        ways.extend((1..bytes.len()).map(|point| vec![&bytes[..point], &bytes[point..]]));
        for way in ways {
            let pieces = way.len();
            let heard = hear(way.into_iter());
            let found = heard.broken.map(|broken| match broken {
                Broken::Head(HeadError::Malformed(_)) => Verdict::Malformed,
                Broken::Head(HeadError::Version) => Verdict::Version,
                Broken::Head(HeadError::TransferCoding) => Verdict::TransferCoding,
                Broken::Head(HeadError::Expectation) => Verdict::Expectation,
                Broken::Head(error) => panic!("{name}: {error:?}"),
                Broken::Body(_) => Verdict::Body,
            });
            assert_eq!(found, Some(verdict), "{name}, in {pieces} pieces: {:?}", heard.requests);
            assert!(
                heard.requests.iter().all(|request| !request.contains("/next")),
                "{name}: what stands behind is not a request"
            );
        }
    }
}

#[test]
fn heads_are_bounded() {
    let long_field = format!("GET / HTTP/1.1\r\nHost: g\r\nA: {}\r\n\r\n", "x".repeat(16 * 1024));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: g\r\n{}\r\n", "A: b\r\n".repeat(64));
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: g\r\n\r\n", "x".repeat(2048));
    for (input, expected) in [
        (long_field, HeadError::TooLarge),
        (many_fields, HeadError::TooLarge),
        (long_target, HeadError::TargetTooLong),
    ] {
        for pieces in [1, 7, input.len()] {
            let heard = hear(input.as_bytes().chunks(pieces));
            assert_eq!(heard.broken, Some(Broken::Head(expected)));
        }
    }
    let fits = format!("GET / HTTP/1.1\r\nHost: g\r\n{}\r\n", "A: b\r\n".repeat(63));
    assert_eq!(hear([fits.as_bytes()].into_iter()).requests, ["Get / "]);
}

#[test]
fn chunk_lines_and_trailers_are_bounded() {
    let head = "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1024)),
        format!("0\r\n{}\r\n", "A: b\r\n".repeat(700)),
    ] {
        let input = format!("{head}{body}");
        let heard = hear([input.as_bytes()].into_iter());
        assert!(matches!(heard.broken, Some(Broken::Body(_))), "{:?}", heard.broken);
    }
}

/// Reads a head and answers at once, while the body is still to come.
fn answer_early(input: &str) -> (String, bool, bool) {
    let mut connection = Connection::new();
    let mut output = Output::default();
    let (used, event) = connection.receive(input.as_bytes()).expect("a head");
    assert!(matches!(event, Event::Head(_)) && used == input.len());
    connection.respond(Response::json(413, b"no".to_vec()), NOW, &mut output);
    let text = String::from_utf8_lossy(output.next()).into_owned();
    (text, connection.is_closing(), connection.is_idle())
}

#[test]
fn a_refused_body_is_dropped_where_it_is_short_and_closes_where_it_is_long() {
    let (text, closing, idle) =
        answer_early("POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 65536\r\n\r\n");
    assert!(!text.contains("Connection: close") && !closing && !idle);
    for head in [
        "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 65537\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let (text, closing, _) = answer_early(head);
        assert!(text.contains("Connection: close") && closing, "{head}");
    }
}

#[test]
fn a_dropped_body_is_not_taken_for_a_request() {
    let mut connection = Connection::new();
    let mut output = Output::default();
    let input = b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 30\r\n\r\n";
    connection.receive(input).expect("a head");
    connection.respond(Response::json(422, b"no".to_vec()), NOW, &mut output);
    let body = "GET /smuggled HTTP/1.1\r\n\r\n....";
    assert_eq!(body.len(), 30);
    let (used, _) = connection.receive(body.as_bytes()).expect("HTTP");
    assert!(used == 30 && connection.is_idle(), "the next byte is the next request's");
    match connection.receive(NEXT.as_bytes()) {
        Ok((_, Event::Head(head))) => assert_eq!(head.path, "/next"),
        other => panic!("{other:?}"),
    }
}
