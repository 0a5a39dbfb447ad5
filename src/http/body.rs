//! Message bodies: where they end, and what they carry once the framing is off.

use alloc::vec::Vec;

use crate::http::grammar::{parse_chunk_size, split_field};
use crate::http::head::Framing;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Reads one body off the wire.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// The line of chunked framing that is coming in, as far as it has come.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// This many content bytes are to come (RFC 9112, section 6.2).
    Length {
        left: u64,
    },
    /// In the line that gives a chunk's size (RFC 9112, section 7.1).
    SizeLine,
    /// In a chunk's content.
    Chunk {
        left: u64,
    },
    /// In the CR LF after a chunk's content.
    ChunkEnd,
    /// In the trailer section, of which so many bytes have come in whole lines.
    Trailer {
        bytes: usize,
    },
    Done,
}

/// What a step of reading brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Content bytes, never empty.
    Content(&'a [u8]),
    /// The body is whole.
    End,
    /// All input is used up and the body goes on.
    More,
}

/// The framing is broken: the connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyError(pub &'static str);

/// Fields that may not come behind the content that they would have changed: of framing, routing,
/// authentication, controls and the content's nature (RFC 9110, section 6.5.1). A recipient that
/// merged them into the head would see another request.
const FORBIDDEN_TRAILERS: &[&str] = &[
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "pragma",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::SizeLine,
        };
        Self { state, line: Vec::new() }
    }

    /// Whether the body is whole.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done | State::Length { left: 0 })
    }

    /// Content bytes still to come, where the framing tells.
    pub fn bytes_left(&self) -> Option<u64> {
        match self.state {
            State::Length { left } => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Content bytes that are to come with nothing between or in front of them, where there are
    /// any.
    pub fn plain_bytes_left(&self) -> Option<u64> {
        match self.state {
            State::Length { left } if left > 0 => Some(left),
            _ => None,
        }
    }

    /// So many of those were taken.
    pub fn pass(&mut self, bytes: u64) {
        if let State::Length { left } = &mut self.state {
            *left -= bytes;
        }
    }

    /// Takes back that the last `bytes` of the content read last were read.
    pub fn unread(&mut self, bytes: u64) {
        if let State::Length { left } | State::Chunk { left } = &mut self.state {
            *left += bytes;
        }
    }

    /// Takes bytes off the front of `input`: how many, and what they brought.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Piece<'a>), BodyError> {
        let mut used = 0;
        loop {
            match &mut self.state {
                State::Length { left: 0 } | State::Done => return Ok((used, Piece::End)),
                State::Length { left } | State::Chunk { left } if *left > 0 => {
                    let rest = &input[used..];
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    if taken == 0 {
                        return Ok((used, Piece::More));
                    }
                    *left -= taken as u64;
                    return Ok((used + taken, Piece::Content(&rest[..taken])));
                }
                State::Chunk { .. } => self.state = State::ChunkEnd,
                _ => {}
            }
            let Some(&byte) = input.get(used) else {
                return Ok((used, Piece::More));
            };
            used += 1;
            if self.ends_line(byte)? {
                self.state = self.state_after_line()?;
                self.line.clear();
            }
        }
    }

    /// Adds a byte to the line that is coming in: whether it is whole, and so without its CR LF.
    fn ends_line(&mut self, byte: u8) -> Result<bool, BodyError> {
        let is_after_cr = self.line.last() == Some(&b'\r');
        match byte {
            b'\n' if is_after_cr => {
                self.line.pop();
                return Ok(true);
            }
            _ if is_after_cr || byte == b'\n' => {
                return Err(BodyError("a line of chunked framing must end in CR LF"));
            }
            _ => self.line.push(byte),
        }
        match self.state {
            State::ChunkEnd if byte != b'\r' => Err(BodyError("a chunk is longer than its size")),
            State::Trailer { bytes } if bytes + self.line.len() > TRAILER_BYTES_MAX => {
                Err(BodyError("the trailer section is too long"))
            }
            State::SizeLine if self.line.len() > CHUNK_LINE_BYTES_MAX => {
                Err(BodyError("a chunk-size line is too long"))
            }
            _ => Ok(false),
        }
    }

    fn state_after_line(&self) -> Result<State, BodyError> {
        match self.state {
            State::SizeLine => match parse_chunk_size(&self.line) {
                Some(0) => Ok(State::Trailer { bytes: 0 }),
                Some(left) => Ok(State::Chunk { left }),
                None => Err(BodyError("a chunk-size line is malformed")),
            },
            State::ChunkEnd => Ok(State::SizeLine),
            State::Trailer { .. } if self.line.is_empty() => Ok(State::Done),
            State::Trailer { bytes } => {
                check_trailer(&self.line)?;
                Ok(State::Trailer { bytes: bytes + self.line.len() + 2 })
            }
            State::Length { .. } | State::Chunk { .. } | State::Done => {
                unreachable!("read() takes no lines in these states")
            }
        }
    }
}

/// Trailer fields are read, checked and dropped.
fn check_trailer(line: &[u8]) -> Result<(), BodyError> {
    let (name, _) = split_field(line).ok_or(BodyError("a trailer field is malformed"))?;
    let is_forbidden =
        FORBIDDEN_TRAILERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()));
    if is_forbidden {
        return Err(BodyError("a trailer field belongs in the head"));
    }
    Ok(())
}
