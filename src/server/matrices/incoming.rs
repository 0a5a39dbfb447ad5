//! Bodies that bring a matrix, or a chunk of one, while they come in.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::api::matrices::StoreQuery;
use crate::formats::{ArrayHeader, Scalar, Which};
use crate::gemm::Dtype;
use crate::http::RequestHead;
use crate::http::head::Framing;
use crate::http::range::{ByteRange, ContentRange, MalformedContentRange};
use crate::job::memory_problem;
use crate::limits::CHUNK_BYTES_MAX;
use crate::memory::{MemoryBudget, Promise, Shortage};
use crate::problem::{Problem, ProblemKind};
use crate::server::intake::Intake;
use crate::server::matrices::chunk::out_of_order;
use crate::server::matrices::uploads::{Claim, Upload};
use crate::server::payer::Caller;
use crate::store::{Layout, MatrixId};

/// A whole matrix.
#[derive(Debug)]
pub(in crate::server) struct MatrixBody {
    pub intake: Intake,
    pub query: StoreQuery,
    pub caller: Caller,
}

/// A chunk of an upload. It is written once it is whole: of one that breaks off nothing counts.
#[derive(Debug)]
pub(in crate::server) struct ChunkBody {
    upload: Arc<Upload>,
    /// Where it begins.
    first: u64,
    /// How long it is, if that was said.
    bytes_stated: Option<u64>,
    bytes: Vec<u8>,
    promise: Promise,
    digest: Option<MatrixId>,
    pub caller: Caller,
}

/// A chunk that is whole, and its upload's turn.
#[derive(Debug)]
pub(super) struct WholeChunk {
    pub claim: Claim,
    pub bytes: Vec<u8>,
    pub digest: Option<MatrixId>,
    pub promise: Promise,
}

/// What is reserved first for a chunk whose length is not known.
const BYTES_FIRST: usize = 64 * 1024;

impl ChunkBody {
    /// Admits a chunk before any of it is read.
    ///
    /// # Errors
    ///
    /// That it belongs elsewhere, is too long, is coded, or that there is no memory for it.
    pub fn admit(
        head: &RequestHead,
        upload: Arc<Upload>,
        digest: Option<MatrixId>,
        caller: Caller,
        memory: &MemoryBudget,
    ) -> Result<Self, Problem> {
        if head.field_values("content-encoding").next().is_some() {
            let detail = "chunks are of the file as it is stored: they are not coded";
            return Err(
                Problem::new(ProblemKind::UnsupportedContentCoding, detail).at("Content-Encoding")
            );
        }
        let range = ContentRange::of(head).map_err(|MalformedContentRange| {
            let detail = "it is bytes, the first and the last of them, and all or *: bytes 0-9/20";
            Problem::new(ProblemKind::MalformedRequest, detail).at(ContentRange::FIELD)
        })?;
        let length = match head.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        let range = range.map(|content| content.range);
        let bytes_stated = range.map(ByteRange::bytes);
        if let (Some(stated), Some(length)) = (bytes_stated, length) {
            check_length(stated, length)?;
        }
        let known = length.or(bytes_stated);
        if known.is_some_and(|bytes| bytes > CHUNK_BYTES_MAX as u64) {
            return Err(too_long());
        }
        let offset = upload.row().offset();
        let first = range.map_or(offset, |range| range.first);
        if first != offset {
            return Err(out_of_order(offset));
        }
        let promise = memory.promise(0).map_err(|shortage| memory_problem(shortage, 0))?;
        let mut body =
            Self { upload, first, bytes_stated, bytes: Vec::new(), promise, digest, caller };
        body.reserve(known.map_or(BYTES_FIRST, |bytes| bytes as usize))?;
        Ok(body)
    }

    /// Takes content.
    ///
    /// # Errors
    ///
    /// That it is too long, or that there is no memory for it.
    pub fn push(&mut self, content: &[u8]) -> Result<(), Problem> {
        let length = self.bytes.len() + content.len();
        if length > CHUNK_BYTES_MAX {
            return Err(too_long());
        }
        if length > self.bytes.capacity() {
            self.reserve(length.max(2 * self.bytes.capacity()).min(CHUNK_BYTES_MAX))?;
        }
        self.bytes.extend_from_slice(content);
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Problem> {
        // What grows may be copied, and held twice.
        let needed_bytes = bytes + self.bytes.len();
        self.promise
            .resize(needed_bytes)
            .map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        let more = bytes.saturating_sub(self.bytes.len());
        let reserved = self.bytes.try_reserve_exact(more);
        reserved.map_err(|_| memory_problem(Shortage::Now, needed_bytes))
    }

    /// The chunk, if its upload still stands where it did.
    pub(super) fn finish(self) -> Result<WholeChunk, Problem> {
        let Self { upload, first, bytes_stated, bytes, promise, digest, .. } = self;
        if let Some(stated) = bytes_stated {
            check_length(stated, bytes.len() as u64)?;
        }
        let claim = upload.claim()?;
        let offset = upload.row().offset();
        if first != offset {
            return Err(out_of_order(offset));
        }
        Ok(WholeChunk { claim, bytes, digest, promise })
    }
}

fn check_length(stated: u64, length: u64) -> Result<(), Problem> {
    if stated == length {
        return Ok(());
    }
    let detail = format!("the range is of {stated} bytes, and the body has {length}");
    Err(Problem::new(ProblemKind::LengthMismatch, detail).at(ContentRange::FIELD))
}

fn too_long() -> Problem {
    let detail = format!("a chunk has at most {CHUNK_BYTES_MAX} bytes");
    Problem::new(ProblemKind::BodyTooLarge, detail).limit(CHUNK_BYTES_MAX as u64)
}

/// The layout of raw elements of this shape.
///
/// # Errors
///
/// That it is too long or too wide.
pub(super) fn raw_layout(dtype: Dtype, (rows, columns): (u64, u64)) -> Result<Layout, Problem> {
    let header = ArrayHeader::new(Which::B, Scalar::of_dtype(dtype), &[rows, columns]);
    let header = header.map_err(|problem| problem.at("?shape"))?;
    Ok(Layout { dtype, rows: header.rows, columns: header.columns })
}
