//! The records of an archive: headers of members, entries of the directory, its end.

use alloc::format;
use alloc::vec::Vec;

use crate::formats::npz::malformed;
use crate::formats::zip;
use crate::limits::ZIP_RECORD_BYTES_MAX;
use crate::problem::Problem;

const SIGNATURE_BYTES: usize = 4;
/// Signature, checksum, and two sizes.
const DESCRIPTOR_BYTES: usize = 16;
const DESCRIPTOR_ZIP64_BYTES: usize = 24;

/// Flags of a member: its sizes are behind it; the others say that it is encrypted or patched.
const HAS_DESCRIPTOR: u16 = 1 << 3;
const IS_ENCRYPTED: u16 = 1 << 0 | 1 << 6 | 1 << 13;
const IS_PATCHED: u16 = 1 << 5;

/// How a member is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
}

/// The header of a member.
#[derive(Debug)]
pub struct LocalHeader {
    pub name: Vec<u8>,
    pub method: Method,
    /// `None` where they are behind the member.
    pub facts: Option<Facts>,
    /// Its sizes have 64 bits.
    pub is_zip64: bool,
}

/// What the archive says of a member, to be compared with what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub checksum: u32,
    pub compressed_bytes: u64,
    pub bytes: u64,
}

#[derive(Debug)]
pub enum Record {
    Local(LocalHeader),
    /// Of the directory.
    Entry,
    /// Sizes of the directory, if they are large.
    Other,
    /// `u16::MAX` where there are more, or their number stands elsewhere.
    End {
        entries: u16,
    },
}

/// Collects a record, or the sizes behind a member.
#[derive(Debug)]
pub struct RecordReader {
    bytes: Vec<u8>,
    /// The length of the sizes behind a member.
    descriptor_bytes: Option<usize>,
}

impl RecordReader {
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), descriptor_bytes: None }
    }

    pub const fn of_descriptor(is_zip64: bool) -> Self {
        let length = if is_zip64 { DESCRIPTOR_ZIP64_BYTES } else { DESCRIPTOR_BYTES };
        Self { bytes: Vec::new(), descriptor_bytes: Some(length) }
    }

    /// Takes bytes of a record, up to where its length is known, or to its end; how many.
    pub fn push(&mut self, content: &[u8]) -> Result<usize, Problem> {
        let taken = self.wanted()?.min(content.len());
        self.bytes.extend_from_slice(&content[..taken]);
        Ok(taken)
    }

    pub fn is_whole(&self) -> Result<bool, Problem> {
        Ok(self.wanted()? == 0)
    }

    /// How many bytes it is known to lack.
    fn wanted(&self) -> Result<usize, Problem> {
        if let Some(length) = self.descriptor_bytes {
            return Ok(length - self.bytes.len());
        }
        let Some(signature) = self.u32_at(0) else {
            return Ok(SIGNATURE_BYTES - self.bytes.len());
        };
        // Lengths of names, extra fields and comments stand in these places.
        let (fixed, lengths): (_, &[usize]) = match signature {
            zip::LOCAL => (zip::LOCAL_BYTES, &[26, 28]),
            zip::CENTRAL => (zip::CENTRAL_BYTES, &[28, 30, 32]),
            zip::END => (zip::END_BYTES, &[20]),
            zip::END_ZIP64 => (zip::END_ZIP64_BYTES, &[]),
            zip::END_ZIP64_LOCATOR => (zip::END_ZIP64_LOCATOR_BYTES, &[]),
            _ => return Err(malformed("a part of the archive is unknown")),
        };
        if self.bytes.len() < fixed {
            return Ok(fixed - self.bytes.len());
        }
        let mut length = fixed as u64;
        for place in lengths {
            length += self.u16_at(*place).map_or(0, u64::from);
        }
        if signature == zip::END_ZIP64 {
            length = length.saturating_add(self.u64_at(4).unwrap_or(0));
        }
        match usize::try_from(length) {
            Ok(length) if length <= ZIP_RECORD_BYTES_MAX => Ok(length - self.bytes.len()),
            _ => {
                let detail = format!("a header may have up to {ZIP_RECORD_BYTES_MAX} bytes");
                Err(malformed(&detail).limit(ZIP_RECORD_BYTES_MAX as u64))
            }
        }
    }

    /// The record, which is whole.
    pub fn into_record(self) -> Result<Record, Problem> {
        match self.u32_at(0) {
            Some(zip::LOCAL) => self.local_header().map(Record::Local),
            Some(zip::CENTRAL) => Ok(Record::Entry),
            Some(zip::END) => Ok(Record::End { entries: self.u16_at(10).unwrap_or(u16::MAX) }),
            _ => Ok(Record::Other),
        }
    }

    /// The sizes behind a member, which are whole. Their signature is optional, but everyone writes
    /// it, and without it they can't be told from what follows.
    pub fn into_descriptor(self) -> Result<Facts, Problem> {
        let facts = match self.bytes.len() {
            DESCRIPTOR_ZIP64_BYTES => self.facts(4, self.u64_at(8), self.u64_at(16)),
            _ => self.facts(4, self.u32_at(8).map(u64::from), self.u32_at(12).map(u64::from)),
        };
        let facts = facts.filter(|_| self.u32_at(0) == Some(zip::DESCRIPTOR));
        facts.ok_or_else(|| malformed("the sizes of a member are not behind it"))
    }

    fn facts(
        &self,
        checksum_at: usize,
        compressed_bytes: Option<u64>,
        bytes: Option<u64>,
    ) -> Option<Facts> {
        Some(Facts {
            checksum: self.u32_at(checksum_at)?,
            compressed_bytes: compressed_bytes?,
            bytes: bytes?,
        })
    }

    fn local_header(&self) -> Result<LocalHeader, Problem> {
        let short = || malformed("a member's header is too short");
        let flags = self.u16_at(6).ok_or_else(short)?;
        if flags & (IS_ENCRYPTED | IS_PATCHED) != 0 {
            return Err(malformed("encrypted members are not taken"));
        }
        let method = match self.u16_at(8) {
            Some(0) => Method::Stored,
            Some(8) => Method::Deflated,
            other => {
                let detail = format!("members are stored or deflated, not {other:?}");
                return Err(malformed(&detail));
            }
        };
        let name_bytes = usize::from(self.u16_at(26).ok_or_else(short)?);
        let (name, extra) = self.bytes[zip::LOCAL_BYTES..].split_at(name_bytes);
        let large = zip64_sizes(extra);
        let sizes = match large {
            Some((bytes, compressed_bytes)) => (Some(compressed_bytes), Some(bytes)),
            None => (self.u32_at(18).map(u64::from), self.u32_at(22).map(u64::from)),
        };
        let facts = self.facts(14, sizes.0, sizes.1).ok_or_else(short)?;
        Ok(LocalHeader {
            name: name.into(),
            method,
            facts: (flags & HAS_DESCRIPTOR == 0).then_some(facts),
            is_zip64: large.is_some(),
        })
    }

    fn u16_at(&self, place: usize) -> Option<u16> {
        array_at(&self.bytes, place).map(u16::from_le_bytes)
    }

    fn u32_at(&self, place: usize) -> Option<u32> {
        array_at(&self.bytes, place).map(u32::from_le_bytes)
    }

    fn u64_at(&self, place: usize) -> Option<u64> {
        array_at(&self.bytes, place).map(u64::from_le_bytes)
    }
}

fn array_at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..)?.first_chunk().copied()
}

/// The size of a member and its compressed size, from the extra field of a header.
fn zip64_sizes(extra: &[u8]) -> Option<(u64, u64)> {
    let mut rest = extra;
    loop {
        let kind = u16::from_le_bytes(array_at(rest, 0)?);
        let length = usize::from(u16::from_le_bytes(array_at(rest, 2)?));
        let field = rest.get(4..4 + length)?;
        if kind == zip::EXTRA_ZIP64 {
            let number = |place| array_at(field, place).map(u64::from_le_bytes);
            return Some((number(0)?, number(8)?));
        }
        rest = &rest[4 + length..];
    }
}
