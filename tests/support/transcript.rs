//! Golden transcripts: what goes in, and what comes out, to the byte.
//!
//! A transcript is a text file of one connection. A line that begins with `> ` is sent with CR LF
//! behind it, `>| ` without; `< ` and `<| ` are what must come back. `\r`, `\n` and `\\` stand for
//! themselves in the lines with a bar, `{job}` for the id of the last job. An empty line ends a
//! step: what follows is sent once its replies have come. `! closed` at the end says that the
//! server closes the connection; without it the client closes its side, and the server must then
//! close without another word. What differs from run to run (ids, times, the platform, the
//! processor) is masked on both sides.
//!
//! `GEMMULE_BLESS=1 cargo test --test transcripts core_says_what` rewrites the expectations; the
//! diff is reviewed.

use std::fs;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::http::{parse_response, read};

/// The memory for requests that every server under test is given, in MiB: limits are part of what
/// transcripts show.
pub const MEMORY_MIB: usize = 16;

/// The jobs in all transcripts that are multiplied and billed, and steps of jobs.
pub const TRANSCRIPT_JOBS: usize = 10;

/// One connection to a server under test.
pub trait Wire {
    fn send(&mut self, bytes: &[u8]);

    /// Waits for more bytes; none when the server has closed.
    fn receive(&mut self) -> Vec<u8>;

    /// Closes the client's sending side.
    fn finish(&mut self);
}

/// A wire to a server behind a socket.
pub struct SocketWire(TcpStream);

/// How long a server may take for one reply, under an emulator too.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

impl SocketWire {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, REPLY_TIMEOUT).expect("a connection");
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a time-out can be set");
        Self(stream)
    }
}

impl Wire for SocketWire {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let count = read(&mut self.0, &mut bytes).expect("a reply in time");
        bytes.truncate(count);
        bytes
    }

    fn finish(&mut self) {
        self.0.shutdown(Shutdown::Write).expect("the connection is open");
    }
}

/// Replays every transcript over wires that `connect` opens, and panics at the first difference.
pub fn replay_all(mut connect: impl FnMut() -> Box<dyn Wire>) {
    let paths = transcript_paths();
    assert!(paths.len() >= 8, "the transcripts are there");
    for path in paths {
        let steps = parse(&text_of(&path));
        compare(&path, &steps, &replay(&steps, &mut *connect()));
    }
}

/// Replays every transcript and writes down what is heard as what must be.
pub fn bless_all(mut connect: impl FnMut() -> Box<dyn Wire>) {
    for path in transcript_paths() {
        let text = text_of(&path);
        let heard = replay(&parse(&text), &mut *connect());
        fs::write(&path, write(&text, &heard)).expect("a transcript is writable");
    }
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).expect("a transcript is readable")
}

fn transcript_paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the transcripts' folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

/// What is sent, and what must come back before the next is sent.
#[derive(Debug, Default, PartialEq)]
struct Step {
    sent: String,
    expected: String,
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps = vec![Step::default()];
    for line in text.lines() {
        let is_sent = line.starts_with('>');
        if line.is_empty() {
            steps.push(Step::default());
        }
        let step = steps.last_mut().expect("there is always one");
        let part = if is_sent { &mut step.sent } else { &mut step.expected };
        match line.split_at_checked(1) {
            Some((">" | "<", rest)) => match rest.strip_prefix("| ") {
                Some(raw) => part.push_str(&unescape(raw)),
                None => {
                    part.push_str(rest.strip_prefix(' ').unwrap_or(rest));
                    part.push_str("\r\n");
                }
            },
            Some(("!", " closed")) => part.push_str("! closed"),
            Some(("#", _)) | None => {}
            _ => panic!("not a line of a transcript: {line}"),
        }
    }
    steps
}

fn unescape(raw: &str) -> String {
    raw.replace("\\r", "\r").replace("\\n", "\n").replace("\\\\", "\\")
}

/// Sends every step and hears what comes back: the replies of each step, masked.
fn replay(steps: &[Step], wire: &mut dyn Wire) -> Vec<Vec<String>> {
    let mut received = Vec::new();
    let mut job = String::new();
    let mut heard = Vec::new();
    let mut is_closed = false;
    for step in steps {
        wire.send(step.sent.replace("{job}", &job).as_bytes());
        let mut replies = Vec::new();
        for is_head in expected_replies(&step.sent) {
            let Some(reply) = take_reply(&mut received, is_head, wire) else {
                is_closed = true;
                break;
            };
            for before in ["Gemmule-Job: ", "Location: /v1/jobs/"] {
                if let Some((_, rest)) = reply.split_once(before) {
                    job = rest[..32].into();
                }
            }
            let is_last = reply.contains("\r\nConnection: close\r\n");
            replies.push(mask(reply));
            if is_last {
                is_closed = true;
                break;
            }
        }
        heard.push(replies);
        if is_closed {
            break;
        }
    }
    if !is_closed {
        wire.finish();
    }
    let rest = wire.receive();
    assert!(received.is_empty() && rest.is_empty(), "more came: {received:?} {rest:?}");
    if is_closed {
        heard.last_mut().expect("a step was heard").push("! closed".into());
    }
    heard
}

/// For each reply that a step brings, whether it is one to `HEAD`.
fn expected_replies(sent: &str) -> Vec<bool> {
    let mut replies = Vec::new();
    for line in sent.split("\r\n") {
        // A body may stand before the method, without a line end.
        if let Some((method, _)) = line.split_once(" /").filter(|_| line.contains(" HTTP/")) {
            replies.push(method.ends_with("HEAD"));
        }
        if line.eq_ignore_ascii_case("Expect: 100-continue") {
            replies.push(false);
        }
    }
    replies
}

fn take_reply(received: &mut Vec<u8>, is_head: bool, wire: &mut dyn Wire) -> Option<String> {
    loop {
        if let Some((_, bytes)) = parse_response(received, is_head, false).expect("a sound reply") {
            let reply = received.drain(..bytes).collect();
            return Some(String::from_utf8(reply).expect("replies are text"));
        }
        let more = wire.receive();
        if more.is_empty() {
            assert!(received.is_empty(), "closed within a reply: {received:?}");
            return None;
        }
        received.extend_from_slice(&more);
    }
}

/// Replaces what differs from run to run. The length of a body is checked when it is parsed, and
/// masked where the body holds a masked number.
fn mask(reply: String) -> String {
    let mut masked = mask_ids(&reply);
    for (before, after) in [
        ("\r\nDate: ", "\r\n"),
        ("\r\nServer-Timing: ", "\r\n"),
        ("\"sequence\":", ","),
        ("\"elapsed_us\":", ","),
        ("\"issued_at\":\"", "\""),
        ("\"submitted_at\":\"", "\""),
        ("\"started_at\":\"", "\""),
        ("\"ended_at\":\"", "\""),
        ("\"memory_bytes\":", ","),
        ("\"compute_seconds\":", "}"),
        ("\"platform\":\"", "\""),
        ("\"kernel\":\"", "\""),
        ("\"l1_bytes\":", ","),
        ("\"l2_bytes\":", "}"),
        ("\"threads\":", ","),
        ("\"core_peak_flops_per_second\":{", "}"),
        ("\"sessions_open\":", ","),
        ("\"sessions\":", ","),
    ] {
        masked = mask_between(&masked, before, after);
    }
    let unlike = ["\"elapsed_us\"", "\"platform\"", "\"memory_bytes\""];
    if unlike.iter().any(|name| masked.contains(name)) {
        masked = mask_between(&masked, "\r\nContent-Length: ", "\r\n");
    }
    masked
}

fn mask_between(text: &str, before: &str, after: &str) -> String {
    let Some((front, rest)) = text.split_once(before) else { return text.into() };
    let end = rest.find(after).expect("the end of what is masked");
    format!("{front}{before}*{}", mask_between(&rest[end..], before, after))
}

/// Job ids are the only runs of 32 hexadecimal digits.
fn mask_ids(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_hexdigit()) {
        let run = rest[start..].find(|letter: char| !letter.is_ascii_hexdigit());
        let end = run.map_or(rest.len(), |length| start + length);
        masked.push_str(&rest[..start]);
        masked.push_str(if end - start == 32 { "<job>" } else { &rest[start..end] });
        rest = &rest[end..];
    }
    masked + rest
}

fn compare(path: &Path, steps: &[Step], heard: &[Vec<String>]) {
    let name = path.file_name().expect("a file").to_string_lossy();
    for (number, (step, heard)) in steps.iter().zip(heard).enumerate() {
        assert_eq!(heard.concat(), step.expected, "{name}, step {number}, sent {:?}", step.sent);
    }
    assert_eq!(heard.len(), steps.len(), "{name} ends early");
}

/// The transcript with what was heard in place of what was expected; comments stay.
fn write(text: &str, heard: &[Vec<String>]) -> String {
    let mut steps: Vec<String> = text
        .split("\n\n")
        .map(|step| step.lines().filter(|line| !line.starts_with(['<', '!'])).collect::<Vec<_>>())
        .map(|lines| lines.join("\n") + "\n")
        .collect();
    for (step, replies) in steps.iter_mut().zip(heard) {
        for line in replies.iter().flat_map(|reply| reply.split_inclusive("\r\n")) {
            step.push_str(&match line.strip_suffix("\r\n") {
                Some("") => "<\n".into(),
                Some(whole) => format!("< {whole}\n"),
                None if line == "! closed" => "! closed\n".into(),
                None => format!("<| {line}\n"),
            });
        }
    }
    steps.join("\n")
}
