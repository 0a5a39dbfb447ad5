//! Claims of the README and of `docs/api.md` that can be checked against the core: samples, limits,
//! problems, prices; and whether the links of all pages lead somewhere.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gemmule::billing::Tariff;
use gemmule::formats::Format;
use gemmule::gemm::{Alone, Peak};
use gemmule::limits::{
    AMOUNT_MICROS_MAX, JOB_KEEP_SECONDS_DEFAULT, NPY_HEADER_BYTES_MAX, PRICE_MICROS_MAX,
    PRIORITY_MAX, SAFETENSORS_HEADER_BYTES_MAX, SMALL_BODY_BYTES_MAX, TARIFF_NAME_BYTES_MAX,
    TASKS_ENDED_MAX, TASKS_KEPT_SECONDS, TASKS_PER_REPLY, TASKS_RUNNING_MAX, TASKS_WAITING_MAX,
    VOLUME_TIERS_MAX, WAIT_SECONDS_MAX, ZIP_RECORD_BYTES_MAX,
};
use gemmule::problem::ProblemKind;
use gemmule::server::{Access, Config, Server};
use gemmule::time::Now;
use serde_json::Value;
use support::machine::Machine;
use support::power::PowerCut;

/// The two one after the other.
const TOLD: &str = concat!(include_str!("../README.md"), include_str!("../docs/api.md"));
const NOW: Now = Now { monotonic_ns: 0, unix_ns: 0 };

fn reply(request: &str) -> Value {
    serde_json::from_str(&reply_text(request)).expect("a reply is JSON")
}

fn reply_text(request: &str) -> String {
    let config = Config {
        memory_bytes: 64 << 20,
        sessions_max: 1024,
        tariff: Tariff::standard().into(),
        access: Access::Anonymous,
        platform: "test",
        threads: 1,
        peak: Peak::default(),
    };
    let mut server = Server::new(config, [9; 32]);
    let session = server.open(NOW).expect("a session is free");
    server.receive(session, request.as_bytes(), NOW);
    while let Some(mut job) = server.next_job() {
        while !job.advance(&Alone, &|| false) {}
        server.finish(job, NOW);
    }
    let mut bytes = Vec::new();
    while !server.output(session).is_empty() {
        bytes.extend_from_slice(server.output(session));
        server.sent(session, server.output(session).len(), NOW);
    }
    let text = String::from_utf8(bytes).expect("replies are text");
    text.split_once("\r\n\r\n").expect("a reply has a head").1.into()
}

/// The first block of code in that language behind a heading or any other text.
fn block<'a>(behind: &str, language: &str) -> &'a str {
    let (_, rest) = TOLD.split_once(behind).expect(behind);
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0
}

/// The reply to the first command behind some text, which posts to a path.
fn reply_to_sample(path: &str, behind: &str) -> Value {
    let command = block(behind, "sh");
    let body = command.split_once("-d '").expect("a body").1.split('\'').next().expect("its end");
    assert!(command.contains(path), "it is sent to {path}");
    reply(&format!(
        "POST {path} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// The cells of every row of the table behind some text.
fn rows(behind: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = TOLD.split_once(behind).expect(behind);
    rest.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn the_sample_job_gets_the_sample_reply() {
    let found = reply_to_sample("/v1/multiply", "from another terminal");
    let shown: Value = serde_json::from_str(block("from another terminal", "json")).expect("JSON");
    assert_eq!(found["c"], shown["c"]);
    let (found, shown) = (found["bill"].as_object(), shown["bill"].as_object());
    let (found, shown) = (found.expect("a bill"), shown.expect("a bill"));
    for (name, value) in found {
        match name.as_str() {
            "job" | "kernel" | "elapsed_us" | "issued_at" => {
                assert!(shown.contains_key(name), "{name}")
            }
            _ => assert_eq!(shown.get(name), Some(value), "{name}"),
        }
    }
    assert_eq!(found.len(), shown.len());
    let described: String = rows("comes with its bill").concat().concat();
    for name in found.keys() {
        assert!(described.contains(&format!("`{name}`")), "{name} is explained");
    }
}

#[test]
fn the_sample_of_a_job_gets_its_quote() {
    let heading = "## Jobs that go on by themselves";
    let found = reply_to_sample("/v1/jobs", heading);
    let mut shown: Value = serde_json::from_str(block(heading, "json")).expect("JSON");
    let url = format!("/v1/jobs/{}", shown["job"].as_str().expect("an id"));
    assert_eq!(shown["status_url"].as_str(), Some(url.as_str()));
    // What differs from job to job, and from machine to machine.
    for pointer in ["/job", "/status_url", "/quote/memory_bytes", "/quote/compute_seconds"] {
        let found = found.pointer(pointer).unwrap_or_else(|| panic!("{pointer}: {found}"));
        *shown.pointer_mut(pointer).expect(pointer) = found.clone();
    }
    assert_eq!(found, shown);
}

#[test]
fn jobs_have_the_bounds_that_are_told() {
    let days = TASKS_KEPT_SECONDS / (24 * 60 * 60);
    for told in [
        format!(
            "is told for {days} days; without a volume, and in the list, of the last {TASKS_ENDED_MAX}."
        ),
        format!("Up to {TASKS_RUNNING_MAX} jobs run at once"),
        format!("and up to {TASKS_WAITING_MAX} wait"),
        format!("at most {WAIT_SECONDS_MAX}, with 202"),
        format!("a day ({JOB_KEEP_SECONDS_DEFAULT}) unless given"),
        format!("The body has at most {SMALL_BODY_BYTES_MAX} bytes"),
        format!("the newest first, up to {TASKS_PER_REPLY}"),
        format!("0 to {PRIORITY_MAX}, and 5 unless given"),
    ] {
        let words: Vec<&str> = TOLD.split_whitespace().collect();
        assert!(words.join(" ").contains(&told), "{told}");
    }
}

#[test]
fn the_limits_are_those_that_are_enforced() {
    let version = reply("GET /v1/version HTTP/1.1\r\nHost: g\r\n\r\n");
    let limits = version["limits"].as_object().expect("limits");
    let rows = rows("| limit | name in");
    for (name, value) in limits {
        if name == "json_body_bytes" {
            continue;
        }
        let row = rows.iter().find(|row| row[1] == format!("`{name}`"));
        let row = row.unwrap_or_else(|| panic!("{name} is not told"));
        // What depends on the machine is told in words.
        if name != "memory_bytes" {
            let figure = row[2].split(' ').next().expect("a figure");
            assert_eq!(figure, value.to_string(), "{name}");
        }
    }
    assert_eq!(rows.len() + 1, limits.len());
}

#[test]
fn the_formats_have_the_names_that_are_listed() {
    let rows = rows("| media type | also taken");
    assert_eq!(rows.len(), Format::ALL.len());
    for (row, format) in rows.iter().zip(Format::ALL) {
        let names: Vec<&str> = row[..2].iter().flat_map(|cell| cell.split(", ")).collect();
        let names = names.iter().filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
        for (index, name) in names.enumerate() {
            assert_eq!(Format::from_media_type(name), Some(format), "{name}");
            assert_eq!(name == format.media_type(), index == 0, "{name}");
        }
    }
}

#[test]
fn headers_in_bodies_have_the_bounds_that_are_told() {
    let told = format!(
        "The header of an array may have up to {NPY_HEADER_BYTES_MAX} bytes, of a safetensors file \
         {SAFETENSORS_HEADER_BYTES_MAX}, of a member of an archive {ZIP_RECORD_BYTES_MAX}."
    );
    let words: Vec<&str> = TOLD.split_whitespace().collect();
    assert!(words.join(" ").contains(&told), "{told}");
}

#[test]
fn every_metric_is_listed() {
    // On a volume, of which some tell.
    let disk = PowerCut::device(96 << 20);
    let mut machine = Machine::boot(&disk, 0).expect("it boots");
    let session = machine.send("GET /metrics HTTP/1.1\r\nHost: g\r\n\r\n");
    let page = machine.read(session);
    let names = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let written: BTreeSet<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    let rows = rows("| metric | labels");
    let listed = rows.iter().flat_map(|row| row[0].split(", ")).map(|name| name.trim_matches('`'));
    assert_eq!(listed.collect::<BTreeSet<_>>(), written);
}

#[test]
fn every_problem_is_listed_with_its_status() {
    let mut listed = BTreeSet::new();
    for row in rows("`limit`, where there is one") {
        for name in row[0].split(", ") {
            let name = name.trim_matches('`');
            let kind = ProblemKind::ALL.iter().find(|kind| kind.name() == name);
            let kind = kind.unwrap_or_else(|| panic!("{name} is not a problem"));
            assert_eq!(kind.status().to_string(), row[1], "{name}");
            listed.insert(name);
        }
    }
    assert_eq!(listed.len(), ProblemKind::ALL.len());
}

#[test]
fn the_prices_are_the_tariffs() {
    let prices: Vec<String> =
        rows("The standard tariff").iter().map(|row| row[1].to_owned()).collect();
    let tariff = Tariff::standard();
    let figures = [
        tariff.micros_per_tflop_f64,
        tariff.micros_per_tflop_f32,
        tariff.micros_per_gb_in,
        tariff.micros_per_gb_out,
        tariff.micros_per_gb_hour,
        tariff.cached_per_mille.into(),
        tariff.job_micros_min,
    ];
    assert_eq!(prices, figures.map(|price| price.to_string()));
    assert_eq!((tariff.version, tariff.currency.as_str()), (1, "EUR"));
}

#[test]
fn a_tariff_has_the_fields_and_limits_that_are_told() {
    let written = serde_json::to_value(Tariff::standard()).expect("JSON");
    let rows = rows("A tariff is a JSON object");
    let told = rows.iter().flat_map(|row| row[0].split(", ")).map(|name| name.trim_matches('`'));
    let fields = written.as_object().expect("an object").keys().map(String::as_str);
    assert_eq!(told.collect::<BTreeSet<_>>(), fields.collect::<BTreeSet<_>>());
    assert_eq!((PRICE_MICROS_MAX, AMOUNT_MICROS_MAX), (10_u64.pow(12), 2_u64.pow(53) - 1));
    for told in [
        format!("1 to {TARIFF_NAME_BYTES_MAX} of"),
        format!("up to {VOLUME_TIERS_MAX} of"),
        "Prices and the minimum are at most 10^12".to_owned(),
        "never more than 2^53 - 1 millionths".to_owned(),
    ] {
        let words: Vec<&str> = TOLD.split_whitespace().collect();
        assert!(words.join(" ").contains(&told), "{told}");
    }
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("a directory");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    pages.extend([root.join("README.md"), root.join("hermit-config/README.md")]);
    let mut links = 0;
    for page in &pages {
        let text = fs::read_to_string(page).expect("text");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => page.clone(),
                _ => page.with_file_name("").join(file),
            };
            let text = fs::read_to_string(&linked).unwrap_or_else(|_| panic!("{page:?}: {target}"));
            let mut anchors = text.lines().filter_map(|line| line.strip_prefix('#')).map(anchor_of);
            assert!(anchor.is_empty() || anchors.any(|it| it == anchor), "{page:?}: {target}");
            links += 1;
        }
    }
    assert!(links > 50, "{links}");
}

/// What a heading is linked by.
fn anchor_of(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    heading.chars().filter(kept).map(|it| if it == ' ' { '-' } else { it }).collect()
}
