//! What a client would rather have (RFC 7240).

use crate::http::head::RequestHead;
use crate::limits::WAIT_SECONDS_MAX;
use crate::time::SECOND_NS;

/// How long a client would wait for a reply before it is told where to find it later, in
/// nanoseconds and up to the limit; `None` where it does not say. What can't be read is no
/// preference (section 2).
pub fn wait_ns(head: &RequestHead) -> Option<u64> {
    let seconds = preferences(head).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        value.trim().trim_matches('"').parse::<u64>().ok().filter(|_| is_wait)
    })?;
    Some(seconds.min(WAIT_SECONDS_MAX) * SECOND_NS)
}

/// Whether the client would rather not wait for the reply.
pub fn is_async(head: &RequestHead) -> bool {
    preferences(head).any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
}

fn preferences(head: &RequestHead) -> impl Iterator<Item = &str> {
    let values = head.field_values("prefer");
    values
        .filter_map(|value| core::str::from_utf8(value).ok())
        .flat_map(|value| value.split([',', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_and_others_left_alone() {
        for (fields, wait, asynchronous) in [
            ("", None, false),
            ("Prefer: wait=5\r\n", Some(5), false),
            ("Prefer: respond-async, wait=100\r\n", Some(60), true),
            ("Prefer: Respond-Async\r\nPrefer: WAIT = \"7\"\r\n", Some(7), true),
            ("Prefer: wait=x, return=minimal\r\n", None, false),
            ("Prefer: waiting=3\r\n", None, false),
        ] {
            let text = alloc::format!("GET / HTTP/1.1\r\nHost: g\r\n{fields}\r\n");
            let head = RequestHead::parse(text.as_bytes()).expect("a head");
            assert_eq!(wait_ns(&head), wait.map(|seconds: u64| seconds * SECOND_NS), "{fields}");
            assert_eq!(is_async(&head), asynchronous, "{fields}");
        }
    }
}
