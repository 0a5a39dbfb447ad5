//! The gzip format (RFC 1952): members, each a header, a deflate stream, a checksum and a length.

use core::mem;

use crate::formats::coding::malformed;
use crate::formats::inflate::{Inflater, Wrapping};
use crate::problem::Problem;

/// The header of what is written: no name, no time, of no system.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Bytes that names, comments and other optional parts of a header may have.
const OPTIONS_BYTES_MAX: usize = 1024;

const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Decodes members that follow each other.
#[derive(Debug)]
pub struct Gunzip {
    part: Part,
    /// Of the output of this member.
    checksum: crc32fast::Hasher,
    output_bytes: u64,
}

#[derive(Debug)]
enum Part {
    Header(Header),
    Stream(Inflater),
    Trailer {
        bytes: [u8; 8],
        filled: usize,
    },
    /// A member has ended, and another may begin.
    Between,
}

/// Where in a header.
#[derive(Debug)]
struct Header {
    fixed: [u8; 10],
    filled: usize,
    /// What is left of the optional parts, in their order.
    options: u8,
    /// The bytes of the length of the extra field that have come, and what is left of that field.
    extra: (usize, usize),
    option_bytes: usize,
}

/// The end of a member whose text has that checksum and length.
pub fn trailer(checksum: u32, text_bytes: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes[4..].copy_from_slice(&(text_bytes as u32).to_le_bytes());
    bytes
}

impl Gunzip {
    pub fn new() -> Self {
        Self {
            part: Part::Header(Header::new()),
            checksum: crc32fast::Hasher::new(),
            output_bytes: 0,
        }
    }

    /// As [`Inflater::step`].
    pub fn push(&mut self, content: &[u8]) -> Result<(usize, &[u8]), Problem> {
        let mut used = 0;
        loop {
            let rest = &content[used..];
            match &mut self.part {
                Part::Between if rest.is_empty() => return Ok((used, &[])),
                Part::Between => {
                    if rest[0] != HEADER[0] {
                        return Err(malformed("there is content behind the end of the stream"));
                    }
                    *self = Self::new();
                }
                Part::Header(header) => match rest {
                    [] => return Ok((used, &[])),
                    [byte, ..] => {
                        used += 1;
                        if header.push(*byte)? {
                            self.part = Part::Stream(Inflater::new(Wrapping::None));
                        }
                    }
                },
                Part::Stream(inflater) if inflater.is_done() => {
                    self.part = Part::Trailer { bytes: [0; 8], filled: 0 };
                }
                Part::Stream(_) => return self.inflate(content, used),
                Part::Trailer { bytes, filled } => match rest {
                    [] => return Ok((used, &[])),
                    [byte, ..] => {
                        used += 1;
                        bytes[*filled] = *byte;
                        *filled += 1;
                        if *filled == bytes.len() {
                            self.check_trailer()?;
                        }
                    }
                },
            }
        }
    }

    /// One stretch of the stream, behind what was used of the content before.
    fn inflate(&mut self, content: &[u8], used: usize) -> Result<(usize, &[u8]), Problem> {
        let Part::Stream(inflater) = &mut self.part else { return Ok((used, &[])) };
        let (taken, output) = inflater
            .step(&content[used..])
            .map_err(|_| malformed("a gzip member holds no deflate stream"))?;
        self.checksum.update(output);
        self.output_bytes += output.len() as u64;
        Ok((used + taken, output))
    }

    fn check_trailer(&mut self) -> Result<(), Problem> {
        let checksum = mem::take(&mut self.checksum).finalize();
        let expected = trailer(checksum, self.output_bytes);
        match mem::replace(&mut self.part, Part::Between) {
            Part::Trailer { bytes, .. } if bytes == expected => Ok(()),
            _ => Err(malformed("the checksum or the length of a gzip member is wrong")),
        }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.part, Part::Between)
    }
}

impl Header {
    fn new() -> Self {
        Self { fixed: [0; 10], filled: 0, options: 0, extra: (0, 0), option_bytes: 0 }
    }

    /// Takes a byte; true at the last one.
    fn push(&mut self, byte: u8) -> Result<bool, Problem> {
        if self.filled < self.fixed.len() {
            self.fixed[self.filled] = byte;
            self.filled += 1;
            let start = self.filled.min(3);
            if self.fixed[..start] != HEADER[..start] {
                return Err(malformed("the content is not gzip's"));
            }
            if self.filled == self.fixed.len() {
                self.options = self.fixed[3];
            }
            if self.fixed[3] & RESERVED != 0 {
                return Err(malformed("the header of a gzip member has unknown parts"));
            }
        } else {
            self.option_bytes += 1;
            if self.option_bytes > OPTIONS_BYTES_MAX {
                return Err(malformed("the header of a gzip member is too long")
                    .limit(OPTIONS_BYTES_MAX as u64));
            }
            self.push_option(byte);
        }
        let options = HAS_EXTRA | HAS_NAME | HAS_COMMENT | HAS_CHECKSUM;
        Ok(self.filled == self.fixed.len() && self.options & options == 0)
    }

    fn push_option(&mut self, byte: u8) {
        let (length_bytes, left) = &mut self.extra;
        if self.options & HAS_EXTRA != 0 {
            if *length_bytes < 2 {
                *left |= usize::from(byte) << (8 * *length_bytes);
                *length_bytes += 1;
            } else {
                *left -= 1;
            }
            if *length_bytes == 2 && *left == 0 {
                self.options &= !HAS_EXTRA;
                self.extra = (0, 0);
            }
        } else if self.options & HAS_NAME != 0 {
            if byte == 0 {
                self.options &= !HAS_NAME;
            }
        } else if self.options & HAS_COMMENT != 0 {
            if byte == 0 {
                self.options &= !HAS_COMMENT;
            }
        } else {
            // The checksum of the header, two bytes. It protects nothing that is used.
            *length_bytes += 1;
            if *length_bytes == 2 {
                self.options &= !HAS_CHECKSUM;
            }
        }
    }
}
