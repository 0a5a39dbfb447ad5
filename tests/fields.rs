//! What single fields of a request bring about: `traceparent`, `Origin`, `Content-Digest` and
//! `Want-Content-Digest`.

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::http::Cors;
use gemmule::server::{Access, Config, Server, SessionId};
use gemmule::time::Now;
use sha2::{Digest, Sha256};

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 1_700_000_000_000_000_000 };
const JOB: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;

fn server() -> Server {
    let config = Config {
        memory_bytes: 64 << 20,
        sessions_max: 1,
        tariff: Tariff::standard().into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    Server::new(config, [6; 32])
}

/// The whole reply to one request, its head and its content.
fn exchange(server: &mut Server, request: &str) -> (String, Vec<u8>) {
    exchange_by(server, request, |server, session, unread| server.receive(session, unread, NOW))
}

/// The same, of a body that goes right to its place, some bytes at a time, where it has one.
fn exchange_placed(server: &mut Server, request: &str) -> (String, Vec<u8>) {
    let head_bytes = request.find("\r\n\r\n").expect("a head") + 4;
    exchange_by(server, request, |server, session, unread| {
        let placed = server.receive_into(session, 7, NOW, &mut |place| {
            place.push(unread);
        });
        let is_in_head = request.len() - unread.len() < head_bytes;
        let most = if is_in_head { head_bytes } else { 7.min(unread.len()) };
        placed.unwrap_or_else(|| server.receive(session, &unread[..most], NOW))
    })
}

/// `receive` takes bytes off the front of those that are left, and says how many.
fn exchange_by(
    server: &mut Server,
    request: &str,
    receive: impl Fn(&mut Server, SessionId, &[u8]) -> usize,
) -> (String, Vec<u8>) {
    let session = server.open(NOW).expect("a session is free");
    let mut unread = request.as_bytes();
    let mut reply = Vec::new();
    loop {
        let used = receive(server, session, unread);
        unread = &unread[used..];
        let job = server.next_job();
        if used == 0 && job.is_none() {
            break;
        }
        if let Some(mut job) = job {
            while !job.advance(&Alone, &|| true) {}
            server.finish(job, NOW);
        }
        while !server.output(session).is_empty() {
            reply.extend_from_slice(server.output(session));
            server.sent(session, server.output(session).len(), NOW);
        }
    }
    server.gone(session);
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let content = reply.split_off(end);
    (String::from_utf8(reply).expect("a head is text"), content)
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: g\r\n{fields}\r\n")
}

fn post(content: &str, fields: &str) -> String {
    let length = content.len();
    format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{fields}\r\n{content}"
    )
}

/// The value of a field of a head that has it at most once.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut values = head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next();
    assert_eq!(values.next(), None, "{name} stands once in {head}");
    value
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_trace_is_echoed_with_every_kind_of_reply() {
    let trace = format!("traceparent: {TRACE}\r\n");
    let mut server = server();
    for request in [
        get("/healthz", &trace),
        get("/nowhere", &trace),
        post(JOB, &trace),
        post("{}", &trace),
        post(JOB, &format!("Expect: 100-continue\r\nTraceParent:{TRACE}\r\n")),
    ] {
        let (head, content) = exchange(&mut server, &request);
        let whole = format!("{head}{}", String::from_utf8_lossy(&content));
        assert!(whole.contains(&format!("\r\ntraceparent: {TRACE}\r\n")), "{request}{whole}");
    }
    let both = format!("{}{}", get("/healthz", &trace), get("/healthz", ""));
    let (_, rest) = exchange(&mut server, &both);
    assert!(!String::from_utf8_lossy(&rest).contains("traceparent"), "each request has its own");
}

#[test]
fn only_a_valid_trace_is_echoed() {
    let mut server = server();
    let later = format!("01{}-more", &TRACE[2..]);
    let later_alone = format!("cc{}", &TRACE[2..]);
    for (value, is_valid) in [
        (TRACE, true),
        (&later, true),
        (&later_alone, true),
        ("", false),
        ("00", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.", false),
        ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more", false),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", false),
        ("00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01", false),
        ("0-00af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
        ("00 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 01", false),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\u{e4}-01", false),
    ] {
        let request = get("/healthz", &format!("traceparent: {value}\r\n"));
        let (head, _) = exchange(&mut server, &request);
        assert!(head.starts_with("HTTP/1.1 200 "), "{value}: {head}");
        assert_eq!(field(&head, "traceparent"), is_valid.then_some(value), "{value}");
    }
    let twice = format!("traceparent: {TRACE}\r\ntraceparent: {TRACE}\r\n");
    let (head, _) = exchange(&mut server, &get("/healthz", &twice));
    assert_eq!(field(&head, "traceparent"), None);
}

const ORIGIN: &str = "https://page.example";

#[test]
fn no_reply_speaks_of_origins_unless_told_to() {
    let mut server = server();
    let origin = format!("Origin: {ORIGIN}\r\nAccess-Control-Request-Method: POST\r\n");
    let preflight = format!("OPTIONS /v1/multiply HTTP/1.1\r\nHost: g\r\n{origin}\r\n");
    for request in [get("/healthz", &origin), post(JOB, &origin), preflight] {
        let (head, _) = exchange(&mut server, &request);
        assert!(!head.contains("Access-Control-") && !head.contains("Vary: Origin"), "{head}");
    }
}

#[test]
fn pages_of_the_origins_named_may_read_replies() {
    let mut cors = Cors::Off;
    for origin in [ORIGIN, "http://127.0.0.1:3000"] {
        cors.allow(origin).expect("an origin");
    }
    let mut server = server().with_cors(cors);
    for (origin, allowed) in [
        (Some(ORIGIN), Some(ORIGIN)),
        (Some("http://127.0.0.1:3000"), Some("http://127.0.0.1:3000")),
        (Some("http://127.0.0.1:3001"), None),
        (Some("https://page.example.evil"), None),
        (Some("https://PAGE.example"), None),
        (Some("null"), None),
        (Some("*"), None),
        (None, None),
    ] {
        let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        for request in [get("/healthz", &origin), get("/no", &origin), post(JOB, &origin)] {
            let (head, _) = exchange(&mut server, &request);
            assert_eq!(field(&head, "Access-Control-Allow-Origin"), allowed, "{request}{head}");
            assert_eq!(field(&head, "Vary"), Some("Origin"), "{request}{head}");
            let exposed = field(&head, "Access-Control-Expose-Headers");
            assert_eq!(exposed.is_some(), allowed.is_some());
            assert!(exposed.is_none_or(|names| names.contains("Gemmule-Job, ")));
            assert_eq!(field(&head, "Access-Control-Allow-Methods"), None, "no preflight");
        }
    }
}

#[test]
fn a_browser_that_asks_first_is_told() {
    let mut cors = Cors::Off;
    cors.allow("*").expect("every origin");
    let mut server = server().with_cors(cors);
    let (head, content) = exchange(
        &mut server,
        "OPTIONS /v1/multiply HTTP/1.1\r\nHost: g\r\nOrigin: null\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type, traceparent\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 204 ") && content.is_empty(), "{head}");
    for (name, value) in [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        ("Access-Control-Allow-Headers", "Authorization, *"),
        ("Access-Control-Max-Age", "86400"),
        ("Allow", "POST, OPTIONS"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    let plain = "OPTIONS /v1/multiply HTTP/1.1\r\nHost: g\r\nOrigin: null\r\n\r\n";
    let (head, _) = exchange(&mut server, plain);
    assert_eq!(field(&head, "Access-Control-Allow-Methods"), None, "a question of another kind");
}

#[test]
fn origins_are_named_as_browsers_name_them() {
    for origin in ["https://a.example", "http://a:8080", "http://[::1]:1", "moz-extension://a-b"] {
        assert_eq!(Cors::Off.allow(origin), Ok(()), "{origin}");
    }
    for text in [
        "",
        "null",
        "a.example",
        "://a",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a:",
        "https://A.example",
        "HTTPS://a",
        "https://a b",
        "https://u@a",
        "https://a:x",
        "https://*.example",
    ] {
        assert!(Cors::Off.allow(text).is_err(), "{text}");
    }
}

/// The example of RFC 9530, section 2: content and its field.
const EXAMPLE: &str = "{\"hello\": \"world\"}\n";
const EXAMPLE_DIGEST: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

#[test]
fn content_that_is_not_what_its_digest_says_is_refused_and_not_billed() {
    let job_digest = digest_field(JOB.as_bytes());
    let mut server = server();
    for (content, digest, expected) in [
        (EXAMPLE, EXAMPLE_DIGEST, "/problems/unknown-field"),
        (JOB, EXAMPLE_DIGEST, "/problems/digest-mismatch"),
        (EXAMPLE, &*job_digest, "/problems/digest-mismatch"),
        ("", EXAMPLE_DIGEST, "/problems/digest-mismatch"),
        ("", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "/problems/malformed-json"),
        (JOB, &*job_digest, "\"c\":"),
        (JOB, &*format!("md5=:AAAA:, {job_digest};a;b=c ,unixsum=:MzAx:"), "\"c\":"),
        (JOB, &*format!("{EXAMPLE_DIGEST}, {job_digest}"), "\"c\":"),
        (JOB, &*format!("{job_digest}, {EXAMPLE_DIGEST}"), "/problems/digest-mismatch"),
        (JOB, "sha-512=:AAAA:", "\"c\":"),
        (JOB, "", "\"c\":"),
    ] {
        let field = format!("Content-Digest: {digest}\r\n");
        for request in [post(content, &field), chunked(content, &field)] {
            for exchange in [exchange, exchange_placed] {
                let (_, reply) = exchange(&mut server, &request);
                let reply = String::from_utf8_lossy(&reply);
                assert!(reply.contains(expected), "{request}{reply}");
                let is_billed = server.take_console().is_some();
                assert_eq!(is_billed, expected == "\"c\":", "a bill or none");
            }
        }
    }
}

/// The same content in chunks of five bytes.
fn chunked(content: &str, fields: &str) -> String {
    let chunk = |bytes: &[u8]| {
        format!("{:x}\r\n{}\r\n", bytes.len(), std::str::from_utf8(bytes).expect("ASCII"))
    };
    let chunks: String = content.as_bytes().chunks(5).map(chunk).collect();
    format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n{fields}\r\n{chunks}0\r\n\r\n"
    )
}

#[test]
fn a_digest_that_cannot_be_read_is_refused() {
    let mut server = server();
    let digits = &EXAMPLE_DIGEST["sha-256=:".len()..][..43];
    for value in [
        format!("sha-256={digits}="),
        format!("sha-256=:{digits}="),
        format!("sha-256=\"{digits}=\""),
        format!("sha-256:{digits}=:"),
        format!("SHA-256=:{digits}=:"),
        format!("sha-256 =:{digits}=:"),
        format!("sha-256= :{digits}=:"),
        format!("sha-256=:{digits}A:"),
        format!("sha-256=:{}=:", &digits[1..]),
        format!("sha-256=:{}_=:", &digits[1..]),
        format!("sha-256=:{}h=:", &digits[..42]),
        format!("{EXAMPLE_DIGEST},"),
        format!(",{EXAMPLE_DIGEST}"),
        format!("{EXAMPLE_DIGEST};"),
        format!("{EXAMPLE_DIGEST};a=\"b\""),
        format!("{EXAMPLE_DIGEST} {EXAMPLE_DIGEST}"),
        String::from("sha-256"),
        String::from("sha-256=::"),
        String::from("sha-256=1"),
        String::from("md5=1"),
        String::from("1=:AAAA:"),
        String::from("\u{e4}"),
    ] {
        let field = format!("Content-Digest: {value}\r\n");
        let (head, reply) = exchange(&mut server, &post(EXAMPLE, &field));
        let reply = String::from_utf8_lossy(&reply);
        assert!(head.starts_with("HTTP/1.1 400 "), "{value}: {head}");
        assert!(reply.contains("/problems/malformed-digest"), "{value}: {reply}");
    }
    let both = format!("Content-Digest: {EXAMPLE_DIGEST}\r\nContent-Digest: x\r\n");
    let (head, _) = exchange(&mut server, &post(EXAMPLE, &both));
    assert!(head.starts_with("HTTP/1.1 400 "), "every field counts: {head}");
}

/// The field for some content, by another implementation of base64.
fn digest_field(content: &[u8]) -> String {
    let bits: String = Sha256::digest(content).iter().map(|byte| format!("{byte:08b}")).collect();
    let digit = |six: &[u8]| {
        let six = format!("{:0<6}", std::str::from_utf8(six).expect("ASCII"));
        match u8::from_str_radix(&six, 2).expect("six bits") {
            value @ 0..26 => (b'A' + value) as char,
            value @ 26..52 => (b'a' + value - 26) as char,
            value @ 52..62 => (b'0' + value - 52) as char,
            62 => '+',
            _ => '/',
        }
    };
    let digits: String = bits.as_bytes().chunks(6).map(digit).collect();
    format!("sha-256=:{digits}=:")
}

/// A job whose reply is so long that its digest is no work for the thread that does I/O.
fn long_job() -> String {
    let column = vec!["[1]"; 150].join(",");
    let row = vec!["3"; 150].join(",");
    format!(r#"{{"a":[{column}],"b":[[{row}]]}}"#)
}

#[test]
fn a_digest_comes_with_the_reply_where_it_is_wanted() {
    assert_eq!(digest_field(EXAMPLE.as_bytes()), EXAMPLE_DIGEST);
    let long = long_job();
    let mut server = server();
    for (want, is_wanted) in [
        ("sha-256=10", true),
        ("sha-256=1", true),
        ("sha-512=10, sha-256=3;a=1", true),
        ("sha-256=0", false),
        ("sha-256=11", false),
        ("sha-256=-1", false),
        ("sha-256=1.0", false),
        ("sha-256", false),
        ("sha-256=1,", false),
        ("sha-512=10", false),
        ("", false),
    ] {
        let field = format!("Want-Content-Digest: {want}\r\n");
        for request in [
            get("/healthz", &field),
            get("/nowhere", &field),
            post(JOB, &field),
            post("{}", &field),
            post(&long, &field),
        ] {
            let (head, content) = exchange(&mut server, &request);
            let expected = is_wanted.then(|| digest_field(&content));
            assert_eq!(self::field(&head, "Content-Digest"), expected.as_deref(), "{want}: {head}");
        }
    }
    let both =
        format!("{}{}", get("/healthz", "Want-Content-Digest: sha-256=1\r\n"), get("/healthz", ""));
    let (_, rest) = exchange(&mut server, &both);
    assert!(!String::from_utf8_lossy(&rest).contains("Content-Digest"), "each has its own");
}

#[test]
fn a_long_reply_is_billed_once_and_then_hashed_in_slices() {
    let mut server = server();
    let session = server.open(NOW).expect("a session is free");
    server.receive(
        session,
        post(&long_job(), "Want-Content-Digest: sha-256=1\r\n").as_bytes(),
        NOW,
    );
    let mut job = server.next_job().expect("a job");
    while !job.advance(&Alone, &|| true) {}
    assert_eq!(server.finish(job, NOW), None, "nothing to send yet");
    assert!(server.take_console().is_some() && server.output(session).is_empty());
    let mut sealing = server.next_job().expect("its digest is still to be found");
    let mut slices = 1;
    while !sealing.advance(&Alone, &|| true) {
        slices += 1;
    }
    assert!(slices > 4, "{slices} slices");
    let promised = server.promised_bytes();
    assert_eq!(server.finish(sealing, NOW), Some(session));
    assert!(server.take_console().is_none(), "one bill");
    assert_eq!(
        server.promised_bytes(),
        promised,
        "the reply's memory is promised until it is sent"
    );
    assert!(promised > 0 && !server.output(session).is_empty());
}

#[test]
fn a_client_that_goes_while_its_reply_is_hashed_holds_nothing() {
    let mut server = server();
    let session = server.open(NOW).expect("a session is free");
    server.receive(
        session,
        post(&long_job(), "Want-Content-Digest: sha-256=1\r\n").as_bytes(),
        NOW,
    );
    let mut job = server.next_job().expect("a job");
    while !job.advance(&Alone, &|| false) {}
    server.finish(job, NOW);
    let mut sealing = server.next_job().expect("its digest is still to be found");
    server.gone(session);
    assert!(sealing.advance(&Alone, &|| false), "there is no more to do");
    assert_eq!(server.finish(sealing, NOW), None);
    assert_eq!(server.promised_bytes(), 0);
    let (_, metrics) = exchange(&mut server, &get("/metrics", ""));
    let metrics = String::from_utf8(metrics).expect("text");
    assert!(metrics.contains("gemmule_jobs_total{end=\"done\"} 1\n"), "{metrics}");
    assert!(metrics.contains("gemmule_jobs_total{end=\"cancelled\"} 0\n"), "{metrics}");
}
