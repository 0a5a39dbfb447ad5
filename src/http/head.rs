//! The request head: from bytes to a type that can't be wrong.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::http::grammar::is_authority;
use crate::http::target;
use crate::limits::{FIELDS_MAX, TARGET_BYTES_MAX};

/// Methods that some path takes; no path takes [`Method::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Other,
}

/// How the body's end is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, or zero where the head names no body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request head, checked.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// The path of the target, without query.
    pub path: String,
    /// What stands behind the target's `?`; empty where there is none.
    pub query: String,
    /// Whether the connection may carry another request after this one.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client knows the chunked coding, which came with version 1.1.
    pub takes_chunks: bool,
    pub framing: Framing,
    text: Box<[u8]>,
    fields: Vec<(Range<u16>, Range<u16>)>,
}

/// Why a head was refused. The connection is closed after each of them, since what follows can't
/// be told from an attempt to smuggle a request (RFC 9112, section 11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not the grammar of RFC 9112; the text says where.
    Malformed(&'static str),
    /// Longer than [`crate::limits::HEAD_BYTES_MAX`], or more than [`FIELDS_MAX`] fields.
    TooLarge,
    /// The target is longer than [`TARGET_BYTES_MAX`].
    TargetTooLong,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// An expectation other than `100-continue`.
    Expectation,
}

impl RequestHead {
    /// Parses a whole head, its empty line included.
    pub fn parse(text: &[u8]) -> Result<Self, HeadError> {
        check_line_ends(0, text)?;
        let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(text, &mut slots) {
            Ok(httparse::Status::Complete(length)) if length == text.len() => {}
            Ok(_) => return Err(HeadError::Malformed("the head does not end where it should")),
            Err(error) => return Err(grammar_error(error, text)),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(HeadError::Malformed("the request line is incomplete"));
        };
        if target.len() > TARGET_BYTES_MAX {
            return Err(HeadError::TargetTooLong);
        }
        let fields = request
            .headers
            .iter()
            .map(|field| (range_in(text, field.name.as_bytes()), range_in(text, field.value)))
            .collect();
        let method = parse_method(method);
        let (path, query) = target::parse(target, method)?;
        let mut head = Self {
            method,
            path,
            query,
            keep_alive: true,
            expect_continue: false,
            takes_chunks: minor >= 1,
            framing: Framing::Length(0),
            text: text.into(),
            fields,
        };
        head.framing = head.parse_framing(minor)?;
        head.keep_alive = head.parse_keep_alive(minor);
        head.expect_continue = head.parse_expectation(minor)?;
        head.check_host(minor)?;
        Ok(head)
    }

    /// The values of every field of that name, in order.
    pub fn field_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        // Most of those that are asked for are not there, and most others have not even their
        // length.
        let fields = self.fields.iter().filter(|(field_name, _)| field_name.len() == name.len());
        fields.filter_map(move |(field_name, value)| {
            let field_name = &self.text[usize::from(field_name.start)..usize::from(field_name.end)];
            field_name
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| self.text[usize::from(value.start)..usize::from(value.end)].trim_ascii())
        })
    }

    /// The media type of `Content-Type` in lower case, without parameters; `None` without one.
    pub fn media_type(&self) -> Option<Cow<'_, str>> {
        let value = self.field_values("content-type").next()?;
        let essence = value.split(|byte| *byte == b';').next()?.trim_ascii();
        match str::from_utf8(essence) {
            Ok(text) if !essence.iter().any(u8::is_ascii_uppercase) => Some(text.into()),
            _ => Some(String::from_utf8_lossy(essence).to_ascii_lowercase().into()),
        }
    }

    fn parse_framing(&self, minor: u8) -> Result<Framing, HeadError> {
        let mut codings = self.field_values("transfer-encoding");
        let mut lengths = self.field_values("content-length");
        match (codings.next(), lengths.next()) {
            (None, None) => Ok(Framing::Length(0)),
            // RFC 9112, section 6.1: both are an attempt to smuggle, and version 1.0 has no
            // transfer codings.
            (Some(_), Some(_)) => {
                Err(HeadError::Malformed("both Content-Length and Transfer-Encoding"))
            }
            (Some(_), None) if minor == 0 => {
                Err(HeadError::Malformed("Transfer-Encoding in an HTTP/1.0 request"))
            }
            (Some(coding), None) => {
                if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() {
                    Ok(Framing::Chunked)
                } else {
                    Err(HeadError::TransferCoding)
                }
            }
            (None, Some(length)) => {
                if lengths.next().is_some() {
                    return Err(HeadError::Malformed("more than one Content-Length"));
                }
                parse_length(length).map(Framing::Length)
            }
        }
    }

    fn parse_keep_alive(&self, minor: u8) -> bool {
        let has = |option: &[u8]| {
            self.field_values("connection")
                .flat_map(|value| value.split(|byte| *byte == b','))
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(option))
        };
        // RFC 9112, section 9.3.
        !has(b"close") && (minor >= 1 || has(b"keep-alive"))
    }

    fn parse_expectation(&self, minor: u8) -> Result<bool, HeadError> {
        let mut expectations = self.field_values("expect").peekable();
        // RFC 9110, section 10.1.1: a server ignores it in an HTTP/1.0 request.
        if expectations.peek().is_none() || minor == 0 {
            return Ok(false);
        }
        if expectations.all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
            Ok(true)
        } else {
            Err(HeadError::Expectation)
        }
    }

    /// RFC 9112, section 3.2: exactly one `Host` in HTTP/1.1, and a valid one.
    fn check_host(&self, minor: u8) -> Result<(), HeadError> {
        let mut hosts = self.field_values("host");
        match (hosts.next(), hosts.next()) {
            (None, _) if minor == 0 => Ok(()),
            (None, _) => Err(HeadError::Malformed("no Host field")),
            (Some(host), None) => match core::str::from_utf8(host) {
                Ok(host) if is_authority(host) => Ok(()),
                _ => Err(HeadError::Malformed("the Host field")),
            },
            (Some(_), Some(_)) => Err(HeadError::Malformed("more than one Host field")),
        }
    }
}

/// Every line ends in CR LF: a parser that takes a bare LF, or drops a bare CR, sees other lines
/// than a proxy in front of it may have seen (RFC 9112, section 2.2).
///
/// `previous` is the byte that stands before `text`.
pub(super) fn check_line_ends(mut previous: u8, text: &[u8]) -> Result<(), HeadError> {
    // All at once, and then one by one what is wrong.
    let is_unpaired = |previous: u8, byte: u8| (previous == b'\r') != (byte == b'\n');
    let first = text.first().is_some_and(|byte| is_unpaired(previous, *byte));
    let pairs = text.iter().zip(text.iter().skip(1));
    if !pairs.fold(first, |wrong, (previous, byte)| wrong | is_unpaired(*previous, *byte)) {
        return Ok(());
    }
    for &byte in text {
        match (previous, byte) {
            (b'\r', b'\n') => {}
            (b'\r', _) => return Err(HeadError::Malformed("a CR without its LF")),
            (_, b'\n') => return Err(HeadError::Malformed("a LF without its CR")),
            _ => {}
        }
        previous = byte;
    }
    Ok(())
}

fn grammar_error(error: httparse::Error, text: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Version if names_version(text) => HeadError::Version,
        httparse::Error::Version => HeadError::Malformed("the version"),
        httparse::Error::HeaderName => HeadError::Malformed("a field name"),
        httparse::Error::HeaderValue => HeadError::Malformed("a field value"),
        httparse::Error::Token => HeadError::Malformed("the request line"),
        httparse::Error::NewLine => HeadError::Malformed("a line end"),
        httparse::Error::Status => HeadError::Malformed("the status"),
    }
}

/// Whether the third part of the request line is some version of HTTP (RFC 9112, section 2.3).
fn names_version(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or(text);
    let version = line.splitn(3, |byte| *byte == b' ').nth(2);
    matches!(version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Where `part`, a slice of `text`, lies in it.
fn range_in(text: &[u8], part: &[u8]) -> Range<u16> {
    // An empty field value may be a slice of nothing at all; it has no place in the text.
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    let end = start + part.len();
    debug_assert!(end <= text.len());
    start as u16..end as u16
}

fn parse_method(method: &str) -> Method {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    }
}

/// RFC 9110, section 8.6: digits only; no sign, no space, no list.
fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Malformed("the Content-Length"));
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}
