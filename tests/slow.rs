//! Clients that are slow on purpose: slowhttptest holds 200 connections in each of its modes, and
//! others are served meanwhile. It takes more than a minute: `make test-slow`.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::host::Host;
use support::http::{Client, post_job};

/// Slow connections at once.
const CONNECTIONS: usize = 200;
/// Each mode lasts so long: longer than any time-out of a head or a body that stands still.
const MODE_SECONDS: &str = "25";
/// Others wait at most this long for their reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Between jobs of the others.
const PAUSE: Duration = Duration::from_millis(5);

const JOB: &str = r#"{"a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}"#;
const PRODUCT: &str = r#""c":[[19.0,22.0],[43.0,50.0]]"#;

/// The modes: heads that never end, bodies that never end, and replies that are hardly read.
const MODES: &[(&str, &str, &[&str])] = &[
    ("slow headers", "healthz", &["-H", "-i", "2"]),
    ("slow bodies", "v1/multiply", &["-B", "-i", "2", "-s", "60000", "-f", "application/json"]),
    ("slow reads", "metrics", &["-X", "-k", "10", "-w", "1", "-y", "32", "-n", "2", "-z", "1"]),
];

#[test]
#[ignore = "takes more than a minute: make test-slow"]
fn others_are_served_beside_slow_clients() {
    for (name, path, arguments) in MODES {
        let host = Host::serve(&[]);
        let url = format!("http://{}/{path}", host.addr());
        let mut attack = attack(&url, arguments);
        let mut kept_alive = Client::connect(host.addr(), REPLY_TIMEOUT).expect("a connection");
        let (mut jobs, mut open_most, mut slowest) = (0, 0, Duration::ZERO);
        while attack.try_wait().expect("it can be waited for").is_none() {
            let started = Instant::now();
            let first = kept_alive.post_job(JOB);
            let second = post_job(host.addr(), JOB, REPLY_TIMEOUT);
            slowest = slowest.max(started.elapsed());
            for reply in [first, second] {
                let reply = reply.unwrap_or_else(|error| panic!("{name}, job {jobs}: {error}"));
                assert_eq!(reply.status, 200, "{name}, job {jobs}");
                assert!(reply.text().contains(PRODUCT), "{name}, job {jobs}");
                jobs += 1;
            }
            open_most = open_most.max(connections_open(&mut kept_alive));
            std::thread::sleep(PAUSE);
        }
        let output = attack.wait_with_output().expect("its output is readable");
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(open_most > CONNECTIONS, "{name}: only {open_most} at once\n{report}");
        assert!(slowest <= REPLY_TIMEOUT, "{name}: two jobs took {slowest:?}");
        assert!(jobs > 1000, "{name}: {jobs} jobs");
        println!(
            "{name}: {open_most} connections at once, {jobs} jobs of others answered, two in at \
             most {} ms",
            slowest.as_millis()
        );
    }
}

fn attack(url: &str, arguments: &[&str]) -> Child {
    let connections = CONNECTIONS.to_string();
    Command::new("slowhttptest")
        .args(["-c", &connections, "-r", &connections, "-l", MODE_SECONDS, "-u", url])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("slowhttptest is there: tools/install slow")
}

fn connections_open(client: &mut Client) -> usize {
    let page = client.get("/metrics").expect("metrics");
    let line = page.text().lines().find_map(|line| line.strip_prefix("gemmule_connections_open "));
    line.expect("the metric").parse().expect("a number")
}
