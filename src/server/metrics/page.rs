//! Prometheus's text format 0.0.4.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::server::metrics::histogram::{BOUNDS_NS, Histogram};
use crate::time::SECOND_NS;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text as far as it is written.
#[derive(Default)]
pub struct Page(String);

/// The samples of one metric, under its name.
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

/// Names of labels and their values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// Nanoseconds, to be shown as seconds.
struct Seconds(u64);

impl Page {
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, "counter", help)
    }

    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_seconds"), "{name}");
        self.family(name, "histogram", help)
    }

    pub fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.write(format_args!("# HELP gemmule_{name} {help}\n# TYPE gemmule_{name} {kind}\n"));
        Family { page: self, name }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        fmt::Write::write_fmt(&mut self.0, text).expect("a string takes all text");
    }
}

impl Family<'_> {
    pub fn value(self, value: u64) {
        self.sample(&[], value);
    }

    pub fn sample(mut self, labels: Labels<'_>, value: u64) -> Self {
        self.line("", labels, value);
        self
    }

    /// A time in nanoseconds.
    pub fn seconds(mut self, labels: Labels<'_>, ns: u64) -> Self {
        self.line("", labels, Seconds(ns));
        self
    }

    /// All series of a histogram.
    pub fn times(mut self, labels: Labels<'_>, times: &Histogram) -> Self {
        let bounds = BOUNDS_NS.into_iter().map(|bound_ns| Seconds(bound_ns).to_string());
        let bounds = bounds.chain([String::from("+Inf")]);
        for (bound, count) in bounds.zip(times.up_to()) {
            self.line("_bucket", &[labels, &[("le", &*bound)]].concat(), count);
        }
        self.line("_sum", labels, Seconds(times.sum_ns()));
        self.line("_count", labels, times.count());
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, value: impl fmt::Display) {
        let name = self.name;
        let labels: String =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\",", escape(value))).collect();
        let labels = labels.strip_suffix(',').map(|labels| format!("{{{labels}}}"));
        let labels = labels.unwrap_or_default();
        self.page.write(format_args!("gemmule_{name}{suffix}{labels} {value}\n"));
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{}.{:09}", self.0 / SECOND_NS, self.0 % SECOND_NS);
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_and_short() {
        for (ns, text) in
            [(0, "0"), (1, "0.000000001"), (250_000, "0.00025"), (10_000_000_000, "10")]
        {
            assert_eq!(Seconds(ns).to_string(), text);
        }
    }
}
