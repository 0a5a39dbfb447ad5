//! The page of metrics, read strictly.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page by series, labels included, times in nanoseconds. Every line must be one
/// of the format's, every sample behind the help and the type of its metric.
pub fn parse(page: &str) -> BTreeMap<String, u64> {
    assert!(page.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut helped, mut typed, mut is_histogram) = ("", "", false);
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && name.starts_with("gemmule_"), "{line}");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            assert!(families.insert(name), "{name} comes twice");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "the type stands behind the help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
            typed = name;
            is_histogram = kind == "histogram";
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let (family, is_sum) = match name.strip_prefix(typed) {
                Some("_bucket" | "_count") if is_histogram => (typed, false),
                Some("_sum") if is_histogram => (typed, true),
                _ => (name, false),
            };
            assert!(family == helped && family == typed, "{line} stands behind {helped}, {typed}");
            if !labels.is_empty() {
                check_labels(labels.strip_suffix('}').expect("the end of the labels"));
            }
            let is_time = is_sum || typed.ends_with("_seconds_total");
            let value = if is_time { nanoseconds(value) } else { value.parse().ok() };
            let value = value.unwrap_or_else(|| panic!("not a number: {line}"));
            assert_eq!(samples.insert(series.to_string(), value), None, "{series} comes twice");
        }
    }
    samples
}

/// A decimal number of seconds.
fn nanoseconds(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    format!("{whole}{fraction:0<9}").parse().ok()
}

/// `name="value",…`, no value with a comma or anything to be escaped.
fn check_labels(labels: &str) {
    let mut names = BTreeSet::new();
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').expect("a label has a value");
        assert!(is_name(name) && names.insert(name), "{labels}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        assert!(value.is_some_and(|value| !value.contains(['"', '\\'])), "{labels}");
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.starts_with(is_letter)
        && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}
