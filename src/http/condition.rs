//! Conditions: entity tags, and the requests that hang on them (RFC 9110, sections 8.8.3 and 13).
//!
//! Tags are strong here: a representation's bytes are what its tag names. There are no dates.

use crate::http::head::{Method, RequestHead};

/// What is chosen to answer with, as far as conditions and ranges depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Representation<'a> {
    /// Its strong tag, with the quotation marks.
    pub etag: &'a str,
    /// Its length.
    pub bytes: u64,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are met, or there are none.
    Go,
    /// The client has what it would be sent: 304.
    NotModified,
    /// What it wants to act upon is not what is there: 412.
    Failed,
}

impl Verdict {
    /// Of `If-Match` and `If-None-Match`, in the order of section 13.2.2, where `etag` is that of
    /// what is there now, and `None` where there is nothing. A field that can't be read is one that
    /// names no tag: `If-Match` fails then, and `If-None-Match` is met.
    pub fn of(head: &RequestHead, etag: Option<&str>) -> Self {
        let has = |name: &str| head.field_values(name).next().is_some();
        let names = |name: &str, is_same: fn(&[u8], &str) -> bool| {
            head.field_values(name).any(|list| {
                etag.is_some_and(|etag| list == b"*" || Tags(list).any(|tag| is_same(tag, etag)))
            })
        };
        if has("if-match") && !names("if-match", is_same_strongly) {
            return Self::Failed;
        }
        if has("if-none-match") && names("if-none-match", is_same_weakly) {
            return match head.method {
                Method::Get | Method::Head => Self::NotModified,
                _ => Self::Failed,
            };
        }
        Self::Go
    }
}

/// Section 8.8.3.2, strong comparison: neither is weak.
pub(super) fn is_same_strongly(tag: &[u8], etag: &str) -> bool {
    tag == etag.as_bytes()
}

/// Weak comparison: whether either is weak does not count.
fn is_same_weakly(tag: &[u8], etag: &str) -> bool {
    tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes()
}

/// The tags of a list, until something in it is none.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // A list may have empty members (section 5.6.1.2).
        let is_between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        let skipped = self.0.iter().take_while(|byte| is_between(byte)).count();
        let rest = &self.0[skipped..];
        let opaque = rest.strip_prefix(b"W/").unwrap_or(rest);
        let inside = opaque.strip_prefix(b"\"")?;
        let inside_bytes = inside.iter().take_while(|byte| is_tag_byte(**byte)).count();
        let behind = inside[inside_bytes..].strip_prefix(b"\"")?;
        let is_end = behind.first().is_none_or(is_between);
        self.0 = behind;
        is_end.then(|| &rest[..rest.len() - behind.len()])
    }
}

/// `etagc` of section 8.8.3.
fn is_tag_byte(byte: u8) -> bool {
    byte == b'!' || (byte >= b'#' && byte != 0x7f)
}
