//! Responses: what goes back on the wire.

use alloc::collections::VecDeque;
use alloc::string::String;

use crate::http::payload::{Payload, Piece};
use crate::text::push_number;
use crate::time::{Civil, Now};

/// A final response, before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    /// The lines of further fields, each with its end.
    pub fields: String,
    pub body: Payload,
}

/// What follows the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its body.
    Whole,
    /// So many bytes, from elsewhere.
    Later(u64),
    /// Bytes from elsewhere, nobody knows how many: in chunks (RFC 9112, section 7.1) where the
    /// client knows them.
    Endless { is_chunked: bool },
}

/// Bodies up to this size are written behind their head, so that a small reply is one packet;
/// longer ones are sent from where they lie.
const JOINED_BODY_BYTES_MAX: usize = 4096;

/// Room for a head's own fields, so that it is made in one piece.
const HEAD_BYTES: usize = 192;

impl Response {
    /// A response with a JSON body.
    pub fn json(status: u16, body: impl Into<Payload>) -> Self {
        Self { status, content_type: "application/json", fields: String::new(), body: body.into() }
    }

    /// A response without content.
    pub fn empty(status: u16) -> Self {
        Self { status, content_type: "", fields: String::new(), body: Payload::default() }
    }

    /// Adds a field.
    pub fn with_field(self, name: &str, value: &str) -> Self {
        self.with_field_of(name, |text| text.push_str(value))
    }

    /// Adds a field whose value is a number.
    pub fn with_number(self, name: &str, value: u64) -> Self {
        self.with_field_of(name, |text| push_number(text, value))
    }

    /// Adds a field whose value is written by `write`.
    pub fn with_field_of(mut self, name: &str, write: impl FnOnce(&mut String)) -> Self {
        push_field(&mut self.fields, name, write);
        self
    }

    /// Writes the head and, unless the request was `HEAD`, the body (RFC 9110, section 9.3.2: the
    /// head is the one that `GET` would get, its `Content-Length` included).
    pub(super) fn write(
        self,
        content: Content,
        now: Now,
        keep_alive: bool,
        is_head: bool,
        output: &mut Output,
    ) {
        let body_bytes = self.body.bytes();
        let is_joined = !is_head && body_bytes <= JOINED_BODY_BYTES_MAX;
        let joined_bytes = if is_joined { body_bytes } else { 0 };
        let mut text = String::with_capacity(HEAD_BYTES + self.fields.len() + joined_bytes);
        text.push_str("HTTP/1.1 ");
        push_number(&mut text, self.status.into());
        text.push(' ');
        text.push_str(reason_phrase(self.status));
        text.push_str("\r\nServer: gemmule\r\n");
        push_field(&mut text, "Date", |text| Civil::from_unix_ns(now.unix_ns).push_http(text));
        if !self.content_type.is_empty() {
            push_field(&mut text, "Content-Type", |text| text.push_str(self.content_type));
        }
        let length = match content {
            Content::Whole => Some(body_bytes as u64),
            Content::Later(bytes) => Some(bytes),
            Content::Endless { .. } => None,
        };
        // RFC 9110, section 8.6: a 204 has no Content-Length, and that of a 304 would be the
        // whole's.
        if let Some(length) = length.filter(|_| !matches!(self.status, 204 | 304)) {
            push_field(&mut text, "Content-Length", |text| push_number(text, length));
        }
        if content == (Content::Endless { is_chunked: true }) {
            push_field(&mut text, "Transfer-Encoding", |text| text.push_str("chunked"));
        }
        text.push_str(&self.fields);
        if !keep_alive {
            push_field(&mut text, "Connection", |text| text.push_str("close"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if is_head {
            output.push(Piece::Bytes(bytes));
            return;
        }
        let mut pieces = self.body.into_pieces();
        if is_joined {
            pieces.by_ref().for_each(|piece| bytes.extend_from_slice(piece.as_bytes()));
        }
        output.push(Piece::Bytes(bytes));
        pieces.for_each(|piece| output.push(piece));
    }
}

/// Inlined, so that the length of a name is known.
#[inline(always)]
fn push_field(text: &mut String, name: &str, write_value: impl FnOnce(&mut String)) {
    text.push_str(name);
    text.push_str(": ");
    write_value(text);
    text.push_str("\r\n");
}

/// The reason phrase of the statuses the service sends (RFC 9110, section 15).
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        // The phrase may be empty (RFC 9112, section 4).
        _ => "",
    }
}

/// Bytes on their way out, in the pieces they were made in.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    sent: usize,
}

impl Output {
    pub fn push(&mut self, piece: Piece) {
        if !piece.as_bytes().is_empty() {
            self.pieces.push_back(piece);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many bytes are left to send.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.as_bytes().len()).sum::<usize>() - self.sent
    }

    /// Drops what was not sent.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next bytes to send; empty when there are none.
    pub fn next(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece.as_bytes()[self.sent..])
    }

    /// Marks `bytes` of [`Output::next`] as sent.
    pub fn sent(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.next().len());
        self.sent += bytes;
        if self.pieces.front().is_some_and(|piece| self.sent >= piece.as_bytes().len()) {
            self.pieces.pop_front();
            self.sent = 0;
        }
    }
}
