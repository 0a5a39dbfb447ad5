//! Malformed requests and their sound neighbours: every row of the tables in `tests/malformed`, in
//! any pieces, with a request behind it that must be answered where the connection stays open, and
//! never where it does not. `tools/compare-h11` holds the same tables against h11.

use std::fs;
use std::path::{Path, PathBuf};

use gemmule::billing::Tariff;
use gemmule::gemm::{Alone, Peak};
use gemmule::server::{Access, Config, Server};
use gemmule::time::Now;

const NOW: Now = Now { monotonic_ns: 0, unix_ns: 1_700_000_000_000_000_000 };

/// What stands behind every request: if it is answered, the connection goes on.
const TAIL: &[u8] = b"GET /problems/draining HTTP/1.1\r\nHost: tail\r\n\r\n";
const TAIL_ANSWER: &str = "/problems/draining";

/// Rows up to this length are also split at every point.
const SPLIT_BYTES_MAX: usize = 400;

/// The tables hold at least so many rows, and so many of them are refused.
const ROWS_MIN: usize = 300;
const REFUSED_MIN: usize = 250;

/// One request, and what must come of it.
struct Row {
    name: String,
    bytes: Vec<u8>,
    /// The statuses, with `close` behind if the connection ends; or `waits`.
    ours: String,
    h11: String,
    why: String,
}

impl Row {
    fn is_refused(&self) -> bool {
        self.ours.ends_with(" close") && !self.ours.ends_with("200 close")
    }

    fn is_refused_by_h11(&self) -> bool {
        self.h11.ends_with(|last: char| last.is_ascii_digit())
    }
}

/// Every row of every table; `README.txt` beside them says how they are written.
fn rows() -> Vec<Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the tables' folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.ends_with("README.txt"))
        .collect();
    paths.sort();
    paths.iter().flat_map(|path| read_table(path)).collect()
}

fn read_table(path: &Path) -> Vec<Row> {
    let text = fs::read_to_string(path).expect("a table is readable");
    let file = path.file_name().expect("a file").to_string_lossy();
    let mut rows = Vec::new();
    for block in text.split("\n\n") {
        let lines: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        let [name, sent @ .., verdicts] = lines.as_slice() else { continue };
        let sent = sent.iter().map(|line| line.strip_prefix("> ").expect("a line of bytes"));
        let verdicts = verdicts.strip_prefix("= ").unwrap_or_else(|| panic!("{name}: verdicts"));
        let verdicts: Vec<&str> = verdicts.split('|').map(str::trim).collect();
        let [ours, h11, why] = verdicts[..] else { panic!("{file}: {name}: three verdicts") };
        rows.push(Row {
            name: format!("{file}: {name}"),
            bytes: unescape(&sent.collect::<String>()),
            ours: ours.into(),
            h11: h11.into(),
            why: why.into(),
        });
    }
    rows
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (name, behind) = escaped.split_at(1);
        rest = behind;
        match name {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "0" => bytes.push(0),
            "\\" => bytes.push(b'\\'),
            "x" => {
                let (digits, behind) = rest.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                rest = behind;
            }
            "*" => {
                let (count, behind) = rest.split_once('{').expect("what is repeated");
                let (part, behind) = behind.split_once('}').expect("the end of what is repeated");
                let count = count.parse().expect("a number of times");
                bytes.extend(unescape(part).repeat(count));
                rest = behind;
            }
            other => panic!("\\{other} is no escape"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// What a server makes of pieces that come one after another: everything that it sends, and
/// whether it then wants the connection closed.
fn serve<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (String, bool) {
    let config = Config {
        memory_bytes: 1 << 20,
        sessions_max: 1,
        tariff: Tariff::standard().into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    let mut server = Server::new(config, [5; 32]);
    let session = server.open(NOW).expect("a session is free");
    let mut unread = Vec::new();
    let mut sent = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let used = server.receive(session, &unread, NOW);
            unread.drain(..used);
            let mut is_still = used == 0;
            while let Some(mut job) = server.next_job() {
                while !job.advance(&Alone, &|| false) {}
                server.finish(job, NOW);
                is_still = false;
            }
            while !server.output(session).is_empty() {
                sent.extend_from_slice(server.output(session));
                server.sent(session, server.output(session).len(), NOW);
                is_still = false;
            }
            if is_still {
                break;
            }
        }
    }
    (String::from_utf8(sent).expect("replies are text"), server.close_wanted(session))
}

/// The verdict that a server's output amounts to: the statuses, in the table's words.
fn verdict(output: &str, is_closed: bool) -> String {
    let mut words: Vec<&str> = output
        .match_indices("HTTP/1.1 ")
        .map(|(start, line)| &output[start + line.len()..][..3])
        .filter(|status| *status != "100")
        .collect();
    if is_closed {
        assert!(output.contains("\r\nConnection: close\r\n"), "the last reply says so");
        words.push("close");
    }
    if words.is_empty() { "waits".into() } else { words.join(" ") }
}

/// Checks one way to cut a row, with and without the tail behind it.
fn check(row: &Row, cut: impl Fn(&[u8]) -> Vec<&[u8]>) {
    let (output, is_closed) = serve(cut(&row.bytes).into_iter());
    let pieces = cut(&row.bytes).len();
    assert_eq!(verdict(&output, is_closed), row.ours, "{}, in {pieces} pieces", row.name);
    if row.ours == "waits" {
        return;
    }
    let with_tail = [&row.bytes, TAIL].concat();
    let (output, is_still_closed) = serve(cut(&with_tail).into_iter());
    let expected = if is_closed { row.ours.clone() } else { format!("{} 200", row.ours) };
    assert_eq!(verdict(&output, is_still_closed), expected, "{}, with a tail", row.name);
    assert_eq!(output.contains(TAIL_ANSWER), !is_closed, "{}, with a tail", row.name);
}

#[test]
fn every_request_gets_its_verdict_in_any_pieces() {
    for row in rows() {
        check(&row, |bytes| vec![bytes]);
        check(&row, |bytes| bytes.chunks(1).collect());
        for point in 1..row.bytes.len().min(SPLIT_BYTES_MAX) {
            check(&row, |bytes| vec![&bytes[..point], &bytes[point..]]);
        }
    }
}

#[test]
fn what_h11_refuses_is_refused_and_differences_have_reasons() {
    for row in rows() {
        match (row.is_refused(), row.is_refused_by_h11()) {
            (false, true) => assert!(row.why.starts_with("RFC "), "{}: no RFC", row.name),
            (true, false) => assert!(!row.why.is_empty(), "{}: no reason", row.name),
            _ => {}
        }
    }
}

#[test]
fn the_tables_are_all_there() {
    let rows = rows();
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let refused = rows.iter().filter(|row| row.is_refused()).count();
    assert!(refused >= REFUSED_MIN, "{refused} are refused");
    let names: std::collections::BTreeSet<&str> = rows.iter().map(|row| &*row.name).collect();
    assert_eq!(names.len(), rows.len(), "no name stands twice");
}
