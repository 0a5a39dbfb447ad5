//! NumPy's archives: zip files of arrays, as `numpy.savez` and `numpy.savez_compressed` write them.
//!
//! Members are read in the order in which they come, from their own headers, since the directory is
//! at the end. It is read only to see that it is there and has as many entries.

mod member;
mod record;

use alloc::format;
use alloc::string::String;
use core::mem;

use crate::formats::reader::STRIDE_BYTES;
use crate::formats::{Operands, Which};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

use member::Member;
use record::{Facts, Record, RecordReader};

/// Reads an archive.
#[derive(Debug)]
pub struct NpzReader {
    operands: Operands,
    /// Bytes of content that are still to come, if that is known.
    bytes_left: Option<u64>,
    part: Part,
    members: u64,
    entries: u64,
}

#[derive(Debug)]
enum Part {
    /// A member's header, or an entry of the directory.
    Record(RecordReader),
    Member(Member),
    /// The sizes behind a member that has none before it.
    Descriptor(Member, RecordReader),
    /// Behind the end of the directory.
    End,
}

impl NpzReader {
    pub fn new(operands: Operands, content_length: Option<u64>) -> Self {
        Self {
            operands,
            bytes_left: content_length,
            part: Part::Record(RecordReader::new()),
            members: 0,
            entries: 0,
        }
    }

    pub fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        let (mut used, mut output) = (0, 0);
        // A byte of what is compressed becomes a few thousand at most.
        while used < content.len() && (used == 0 || output < STRIDE_BYTES) {
            let rest = &content[used..];
            let taken = match &mut self.part {
                Part::End => return Err(malformed("there is content behind the archive")),
                Part::Member(member) => {
                    let (taken, written) =
                        member.push(rest, self.bytes_left, &mut self.operands, promise)?;
                    output += written;
                    taken
                }
                Part::Record(reader) | Part::Descriptor(_, reader) => reader.push(rest)?,
            };
            used += taken;
            self.bytes_left = self.bytes_left.map(|left| left.saturating_sub(taken as u64));
            self.turn()?;
        }
        Ok(used)
    }

    /// Goes on to the next part where one has ended.
    fn turn(&mut self) -> Result<(), Problem> {
        let part = mem::replace(&mut self.part, Part::End);
        self.part = match part {
            Part::Record(reader) if reader.is_whole()? => self.next(reader.into_record()?)?,
            Part::Member(member) if member.has_ended(&self.operands) => match member.stated() {
                Some(facts) => self.end(member, facts)?,
                None => {
                    let reader = RecordReader::of_descriptor(member.is_zip64());
                    Part::Descriptor(member, reader)
                }
            },
            Part::Descriptor(member, reader) if reader.is_whole()? => {
                self.end(member, reader.into_descriptor()?)?
            }
            other => other,
        };
        Ok(())
    }

    /// What follows a member that has ended.
    fn end(&self, member: Member, facts: Facts) -> Result<Part, Problem> {
        member.check(facts, &self.operands).map(|()| Part::Record(RecordReader::new()))
    }

    /// What follows a record.
    fn next(&mut self, record: Record) -> Result<Part, Problem> {
        match record {
            Record::Local(header) if self.entries == 0 => {
                let which = which_of(&header.name, &self.operands)?;
                self.members += 1;
                return Ok(Part::Member(Member::new(which, header)));
            }
            Record::Local(_) => return Err(malformed("a member comes behind the directory")),
            Record::Entry => self.entries += 1,
            Record::Other => {}
            Record::End { entries } => {
                let is_known = entries != u16::MAX;
                if self.entries != self.members || is_known && u64::from(entries) != self.entries {
                    return Err(malformed("the directory has other entries than the archive"));
                }
                return Ok(Part::End);
            }
        }
        Ok(Part::Record(RecordReader::new()))
    }

    /// What has come.
    pub fn into_operands(self) -> Result<Operands, Problem> {
        match self.part {
            Part::End => Ok(self.operands),
            _ => Err(malformed("the archive ends before its directory does")),
        }
    }
}

/// The matrix that is the member of this name.
fn which_of(name: &[u8], operands: &Operands) -> Result<Which, Problem> {
    let stem = name.strip_suffix(b".npy").and_then(|stem| core::str::from_utf8(stem).ok());
    stem.and_then(|stem| operands.named(stem)).ok_or_else(|| {
        let name = String::from_utf8_lossy(name);
        let detail = format!("{name:?} is not a.npy, b.npy or c.npy");
        Problem::new(ProblemKind::UnknownField, detail).at(format!("/{name}"))
    })
}

fn malformed(detail: &str) -> Problem {
    Problem::new(ProblemKind::MalformedBody, detail)
}
