//! Ranges of bytes: `Range`, `If-Range` and `Content-Range` (RFC 9110, section 14).
//!
//! One range is answered with its bytes; several with the whole, as section 14.2 lets a server do:
//! who wants many parts asks for each.

use alloc::string::String;

use crate::http::condition::{Representation, is_same_strongly};
use crate::http::head::{Method, RequestHead};
use crate::text::push_number;

/// What of a representation a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: 200.
    Whole,
    /// One range of it: 206.
    Range(ByteRange),
    /// Nothing, since the range begins behind its end: 416.
    None,
}

/// Bytes of a representation, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first, counted from 0.
    pub first: u64,
    /// The last, which belongs to it.
    pub last: u64,
}

impl ByteRange {
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }
}

impl Part {
    /// What the head asks for of a representation whose conditions are met.
    pub fn of(head: &RequestHead, representation: Representation<'_>) -> Self {
        // Section 14.2: only GET has ranges.
        if head.method != Method::Get {
            return Self::Whole;
        }
        let mut fields = head.field_values("range");
        let (Some(field), None) = (fields.next(), fields.next()) else { return Self::Whole };
        // Section 13.1.5: another representation is sent whole. A date never matches: what is
        // addressed by its content has none.
        let mut validators = head.field_values("if-range");
        let is_current = match (validators.next(), validators.next()) {
            (None, _) => true,
            (Some(validator), None) => is_same_strongly(validator, representation.etag),
            (Some(_), Some(_)) => false,
        };
        match parse_range(field) {
            Some(spec) if is_current => spec.part_of(representation.bytes),
            _ => Self::Whole,
        }
    }

    /// The value of `Content-Range` with the reply, for a representation of so many bytes; `None`
    /// where the reply is the whole.
    pub fn content_range(self, bytes: u64) -> Option<String> {
        let mut text = String::from("bytes ");
        match self {
            Self::Whole => return None,
            Self::Range(ByteRange { first, last }) => {
                push_number(&mut text, first);
                text.push('-');
                push_number(&mut text, last);
            }
            Self::None => text.push('*'),
        }
        text.push('/');
        push_number(&mut text, bytes);
        Some(text)
    }
}

/// One range as a client writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// From a byte to another, or to the end.
    From(u64, Option<u64>),
    /// The last bytes, so many.
    Last(u64),
}

impl Spec {
    fn part_of(self, bytes: u64) -> Part {
        // Section 14.1.2: a range that can't be satisfied begins behind the end, or has no bytes.
        let Some(end) = bytes.checked_sub(1) else { return Part::None };
        match self {
            Self::From(first, _) if first > end => Part::None,
            Self::From(first, last) => {
                Part::Range(ByteRange { first, last: last.map_or(end, |last| last.min(end)) })
            }
            Self::Last(0) => Part::None,
            Self::Last(count) => {
                Part::Range(ByteRange { first: bytes.saturating_sub(count), last: end })
            }
        }
    }
}

/// The one range of a `Range` field; `None` where there are several, or where it is none of bytes:
/// section 14.2 has what is invalid, or of another unit, ignored.
fn parse_range(field: &[u8]) -> Option<Spec> {
    let equals = field.iter().position(|byte| *byte == b'=')?;
    let (unit, set) = (&field[..equals], &field[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    // A list may have empty members (section 5.6.1.2).
    let mut members = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut specs = members.by_ref().filter(|member| !member.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return None };
    match split_range(spec)? {
        (b"", count) => parse_position(count).map(Spec::Last),
        (first, b"") => parse_position(first).map(|first| Spec::From(first, None)),
        (first, last) => {
            let (first, last) = (parse_position(first)?, parse_position(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// What `Content-Range` says of a request's body: where it belongs (RFC 9110, section 14.4; section
/// 14.5 lets `PATCH` and `PUT` have it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    pub range: ByteRange,
    /// Of the whole, where that is known.
    pub bytes: Option<u64>,
}

/// A `Content-Range` that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedContentRange;

impl ContentRange {
    pub const FIELD: &str = "Content-Range";

    /// What the head says; `None` where it says nothing. Besides `bytes 0-9/20` and `bytes 0-9/*`
    /// that is `0-9`, as the clients of OCI registries write it.
    ///
    /// # Errors
    ///
    /// Whatever is not exactly that: the body would go to a wrong place.
    pub fn of(head: &RequestHead) -> Result<Option<Self>, MalformedContentRange> {
        let mut fields = head.field_values(Self::FIELD);
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(field), None) => Self::parse(field).map(Some).ok_or(MalformedContentRange),
            (Some(_), Some(_)) => Err(MalformedContentRange),
        }
    }

    fn parse(field: &[u8]) -> Option<Self> {
        let (range, bytes) = match field.iter().position(|byte| *byte == b' ') {
            None => (field, None),
            Some(blank) => {
                let (unit, rest) = (&field[..blank], &field[blank + 1..]);
                let slash = rest.iter().position(|byte| *byte == b'/')?;
                if !unit.eq_ignore_ascii_case(b"bytes") {
                    return None;
                }
                let bytes = match &rest[slash + 1..] {
                    b"*" => None,
                    bytes => Some(parse_position(bytes)?),
                };
                (&rest[..slash], bytes)
            }
        };
        let (first, last) = split_range(range)?;
        let (first, last) = (parse_position(first)?, parse_position(last)?);
        let is_sound = first <= last && bytes.is_none_or(|bytes| last < bytes);
        is_sound.then_some(Self { range: ByteRange { first, last }, bytes })
    }
}

/// What stands before and behind the hyphen.
fn split_range(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let hyphen = text.iter().position(|byte| *byte == b'-')?;
    Some((&text[..hyphen], &text[hyphen + 1..]))
}

/// Digits alone, as many as are below 2^63, so that no sum with a length overflows.
fn parse_position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = core::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}
