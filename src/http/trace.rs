//! `traceparent`: the trace that a request belongs to (W3C Trace Context, section 3.2).

use alloc::string::String;

use crate::http::head::RequestHead;

/// The length of version 00: `00-` 32 digits `-` 16 digits `-` 2 digits.
const LENGTH: usize = 55;

/// The `traceparent` of a request, where it has exactly one and that is valid; any other is ignored
/// (section 3.3).
pub fn traceparent(head: &RequestHead) -> Option<String> {
    let mut values = head.field_values("traceparent");
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let text = core::str::from_utf8(value).ok()?;
    is_valid(text).then(|| text.into())
}

fn is_valid(text: &str) -> bool {
    // A later version may put more behind another hyphen (section 3.2.4); 00 does not.
    let (known, later) = text.split_at_checked(LENGTH).unwrap_or(("", ""));
    let mut parts = known.split('-');
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: Option<&str>, digits| {
        part.is_some_and(|part| is_hex(part, digits) && part.bytes().any(|digit| digit != b'0'))
    };
    let version = parts.next().unwrap_or("");
    is_hex(version, 2)
        && version != "ff"
        && is_id(parts.next(), 32)
        && is_id(parts.next(), 16)
        && parts.next().is_some_and(|flags| is_hex(flags, 2))
        && (later.is_empty() || (version != "00" && later.starts_with('-') && later.is_ascii()))
}
