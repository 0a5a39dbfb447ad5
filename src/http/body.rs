//! Message bodies: where they end, and what they carry once the framing is off.

use crate::http::head::Framing;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Reads one body off the wire.
#[derive(Debug)]
pub struct BodyReader(State);

#[derive(Debug, PartialEq)]
enum State {
    /// This many content bytes are to come (RFC 9112, section 6.2).
    Length {
        left: u64,
    },
    /// In the line that gives a chunk's size (RFC 9112, section 7.1).
    SizeLine {
        size: u64,
        digits: u8,
        in_extension: bool,
        cr: bool,
        length: usize,
    },
    /// In a chunk's content.
    Chunk {
        left: u64,
    },
    /// In the CR LF after a chunk's content.
    ChunkEnd {
        cr: bool,
    },
    /// In the trailer section: `line` bytes into a line, `length` into the section.
    Trailer {
        line: usize,
        cr: bool,
        length: usize,
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

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => size_line(),
        })
    }

    /// Whether the body is whole.
    pub fn is_done(&self) -> bool {
        matches!(self.0, State::Done | State::Length { left: 0 })
    }

    /// Content bytes still to come, where the framing tells.
    pub fn bytes_left(&self) -> Option<u64> {
        match self.0 {
            State::Length { left } => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes bytes off the front of `input`: how many, and what they brought.
    pub fn read<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Piece<'a>), BodyError> {
        let mut used = 0;
        loop {
            match &mut self.0 {
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
                _ => {}
            }
            let Some(&byte) = input.get(used) else {
                return Ok((used, Piece::More));
            };
            used += 1;
            self.0 = next_state(&self.0, byte)?;
        }
    }
}

fn size_line() -> State {
    State::SizeLine { size: 0, digits: 0, in_extension: false, cr: false, length: 0 }
}

/// The state after one byte of chunked framing.
fn next_state(state: &State, byte: u8) -> Result<State, BodyError> {
    match *state {
        State::SizeLine { size, digits, in_extension, cr, length } => {
            if length == CHUNK_LINE_BYTES_MAX {
                return Err(BodyError("a chunk-size line is too long"));
            }
            let length = length + 1;
            match byte {
                b'\n' if cr && size == 0 => Ok(State::Trailer { line: 0, cr: false, length: 0 }),
                b'\n' if cr => Ok(State::Chunk { left: size }),
                _ if cr || byte == b'\n' => Err(BodyError("a chunk-size line must end in CR LF")),
                b'\r' if digits > 0 => {
                    Ok(State::SizeLine { size, digits, in_extension, cr: true, length })
                }
                // Extensions are ignored (RFC 9112, section 7.1.1), but for control characters.
                b';' if digits > 0 && !in_extension => {
                    Ok(State::SizeLine { size, digits, in_extension: true, cr, length })
                }
                _ if in_extension && (byte == b'\t' || !byte.is_ascii_control()) => {
                    Ok(State::SizeLine { size, digits, in_extension, cr, length })
                }
                _ if !in_extension && byte.is_ascii_hexdigit() && digits < 15 => {
                    let digit = (byte as char).to_digit(16).unwrap_or(0);
                    let size = size * 16 + u64::from(digit);
                    Ok(State::SizeLine { size, digits: digits + 1, in_extension, cr, length })
                }
                _ => Err(BodyError("a chunk size is not a hexadecimal number")),
            }
        }
        State::Chunk { .. } | State::ChunkEnd { cr: false } => match byte {
            b'\r' => Ok(State::ChunkEnd { cr: true }),
            _ => Err(BodyError("a chunk is longer than its size")),
        },
        State::ChunkEnd { cr: true } => match byte {
            b'\n' => Ok(size_line()),
            _ => Err(BodyError("a chunk must end in CR LF")),
        },
        State::Trailer { line, cr, length } => {
            if length == TRAILER_BYTES_MAX {
                return Err(BodyError("the trailer section is too long"));
            }
            let length = length + 1;
            match byte {
                b'\n' if cr && line == 0 => Ok(State::Done),
                b'\n' if cr => Ok(State::Trailer { line: 0, cr: false, length }),
                _ if cr || byte == b'\n' => Err(BodyError("a trailer line must end in CR LF")),
                b'\r' => Ok(State::Trailer { line, cr: true, length }),
                // Trailer fields are read and dropped (RFC 9110, section 6.5.1).
                _ => Ok(State::Trailer { line: line + 1, cr, length }),
            }
        }
        State::Length { .. } | State::Done => unreachable!("read() returns before it gets here"),
    }
}
