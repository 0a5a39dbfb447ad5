//! What single fields of a request bring about: `traceparent`, `Origin`.

use gemmule::billing::tariff::STANDARD;
use gemmule::gemm::{Alone, Peak};
use gemmule::http::Cors;
use gemmule::server::{Config, Server};
use gemmule::time::Now;

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 1_700_000_000_000_000_000 };
const JOB: &str = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;

fn server() -> Server {
    let config = Config {
        memory_bytes: 64 << 20,
        sessions_max: 1,
        tariff: STANDARD,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    Server::new(config, [6; 32])
}

/// The whole reply to one request, its head and its content.
fn exchange(server: &mut Server, request: &str) -> (String, Vec<u8>) {
    let session = server.open(NOW).expect("a session is free");
    let mut unread = request.as_bytes();
    let mut reply = Vec::new();
    loop {
        let used = server.receive(session, unread, NOW);
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
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
        ("Access-Control-Allow-Headers", "*"),
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
