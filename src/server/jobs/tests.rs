//! What clients, the console and the metrics are told of faults.

use alloc::string::String;

use crate::billing::Tariff;
use crate::gemm::{Alone, Kernel, Peak};
use crate::server::{Access, Config, Server};
use crate::time::Now;

const NOW: Now = Now { monotonic_ns: 1, unix_ns: 1_800_000_000_000_000_000 };

/// The reply to a product that the machine gets wrong so many times, what the console says, and the
/// metrics.
fn reply(fields: &str, checks_all: bool, faults: usize) -> (String, String, String) {
    let config = Config {
        memory_bytes: 1 << 20,
        sessions_max: 2,
        tariff: Tariff::standard().into(),
        platform: "test",
        threads: 1,
        access: Access::Anonymous,
        peak: Peak::default(),
    };
    let mut server = Server::new(config, [1; 32]).with_all_checks(checks_all);
    let body = r#"{"a":[[1,2],[3,4]],"b":[[5,6],[7,8]]}"#;
    let request = alloc::format!(
        "POST /v1/multiply HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    );
    let reply = exchange(&mut server, &request, faults);
    let mut console = String::new();
    while let Some(line) = server.take_console() {
        console.push_str(&line);
        console.push('\n');
    }
    let metrics = exchange(&mut server, "GET /metrics HTTP/1.1\r\nHost: g\r\n\r\n", 0);
    (reply, console, metrics)
}

fn exchange(server: &mut Server, request: &str, faults: usize) -> String {
    let session = server.open(NOW).expect("a session");
    server.receive(session, request.as_bytes(), NOW);
    while let Some(mut job) = server.next_job() {
        job.plant_faults(faults);
        while !job.advance(&Alone, &|| false) {}
        server.finish(job, NOW);
    }
    let mut reply = String::new();
    while let output @ [_, ..] = server.output(session) {
        reply.push_str(core::str::from_utf8(output).expect("text"));
        server.sent(session, output.len(), NOW);
    }
    server.gone(session);
    reply
}

fn verdicts(metrics: &str) -> [u64; 3] {
    ["passed", "recomputed", "failed"].map(|verdict| {
        let start = alloc::format!("gemmule_checks_total{{verdict=\"{verdict}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(start.as_str()));
        value.expect("a sample").parse().expect("a number")
    })
}

const ASKED: &str = "Gemmule-Check: residual\r\n";
const PRODUCT: &str = r#"{"c":[[19.0,22.0],[43.0,50.0]],"#;

#[test]
fn a_check_is_made_where_the_client_or_the_operator_asks_for_it() {
    for (fields, checks_all, checks) in
        [("", false, 0), (ASKED, false, 1), ("", true, 1), (ASKED, true, 1)]
    {
        let (reply, console, metrics) = reply(fields, checks_all, 0);
        assert!(reply.contains(PRODUCT), "{reply}");
        assert_eq!(reply.contains("\r\nGemmule-Check: residual\r\n"), checks == 1, "{reply}");
        assert_eq!(verdicts(&metrics), [checks, 0, 0]);
        assert!(!console.contains("fault"), "{console}");
    }
    let (reply, ..) = reply("Gemmule-Check: parity\r\n", false, 0);
    assert!(reply.starts_with("HTTP/1.1 422 ") && reply.contains("invalid-value"), "{reply}");
}

/// Without a check, nobody would know.
#[test]
fn a_wrong_product_is_computed_again_and_billed_as_any_other() {
    assert!(reply("", false, 1).0.contains("51.0"));
    let (right, ..) = reply(ASKED, false, 0);
    let (again, console, metrics) = reply(ASKED, false, 1);
    assert!(again.contains(PRODUCT), "{again}");
    let kernel = Kernel::of_this_machine();
    let (wrong, other) = (kernel.name(), kernel.to_compute_again().name());
    let named = |name: &str| alloc::format!("\"kernel\":\"{name}\"");
    let body = |reply: &str| reply.split_once("\r\n\r\n").map(|(_, body)| String::from(body));
    assert_eq!(body(&again.replace(&named(other), &named(wrong))), body(&right));
    assert!(again.contains(&named(other)), "{again}");
    let line =
        alloc::format!("m=2 n=2 k=2 dtype=f64: row 1 was wrong by {wrong}, and right by {other}\n");
    assert!(console.contains("fault job=") && console.contains(&line), "{console}");
    assert_eq!(verdicts(&metrics), [0, 1, 0]);
}

#[test]
fn a_product_that_can_not_be_made_right_is_neither_sent_nor_billed() {
    let (reply, console, metrics) = reply(ASKED, false, 2);
    assert!(reply.starts_with("HTTP/1.1 500 ") && reply.contains("arithmetic-fault"), "{reply}");
    assert!(!reply.contains("Gemmule-Amount-Micros"), "{reply}");
    assert!(console.contains("fault job=") && !console.contains("bill"), "{console}");
    assert_eq!(verdicts(&metrics), [0, 0, 1]);
    assert!(metrics.contains("gemmule_billed_flops_total{dtype=\"f64\"} 0\n"), "{metrics}");
}
