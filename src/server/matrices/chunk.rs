//! A chunk of an upload, on its way to the disk.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use crate::formats::ByteOrder;
use crate::formats::npy::header::HeaderReader;
use crate::formats::{ArrayHeader, Scalar, Which};
use crate::gemm::Dtype;
use crate::http::Response;
use crate::job::errand::{Errand, Progress};
use crate::job::memory_problem;
use crate::ledger::Batch;
use crate::memory::{MemoryBudget, Promise};
use crate::problem::{Problem, ProblemKind};
use crate::server::matrices::Desk;
use crate::server::matrices::uploads::{Claim, Live, Row, Upload};
use crate::store::{AddressHasher, Layout, MatrixId, RowsWriter};

/// Bytes written between two chances to pause: about a millisecond with their digests.
const SLICE_BYTES: usize = 256 * 1024;

/// A chunk that is being written.
#[derive(Debug)]
pub(super) struct Chunk {
    pub desk: Desk,
    pub claim: Claim,
    pub bytes: Vec<u8>,
    /// The chunk is the last, and the matrix has this address.
    pub digest: Option<MatrixId>,
    pub memory: MemoryBudget,
    /// Bytes of it that are written.
    pub at: usize,
    pub row: Row,
    pub live: Option<Live>,
}

impl Errand for Chunk {
    fn advance(mut self: Box<Self>, _: &mut Promise, pause: &dyn Fn() -> bool) -> Progress {
        let done = match self.write(pause) {
            Ok(false) => return Progress::Paused(self),
            Ok(true) => self.end(),
            Err(problem) => Err(problem),
        };
        if done.is_err() {
            self.give_up_room();
        }
        Progress::Done(done)
    }
}

impl Chunk {
    pub fn new(
        desk: Desk,
        claim: Claim,
        bytes: Vec<u8>,
        digest: Option<MatrixId>,
        memory: MemoryBudget,
    ) -> Box<Self> {
        let row = claim.upload.row();
        Box::new(Self { desk, claim, bytes, digest, memory, at: 0, row, live: None })
    }

    /// Writes until `pause` says so; true once all of the chunk is written.
    fn write(&mut self, pause: &dyn Fn() -> bool) -> Result<bool, Problem> {
        if self.row.layout.is_none() && !self.begin()? {
            return Ok(true);
        }
        if self.live.is_none() {
            let live = match self.claim.upload.take_live() {
                Some(live) => live,
                None => self.resume()?,
            };
            self.live = Some(live);
            self.check_length()?;
        }
        let Some(live) = &mut self.live else { return Ok(true) };
        while self.at < self.bytes.len() {
            let piece = &self.bytes[self.at..];
            let piece = &piece[..piece.len().min(SLICE_BYTES)];
            live.hasher.update(piece);
            live.writer.push(piece)?;
            self.at += piece.len();
            self.row.elements_bytes += piece.len() as u64;
            if pause() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds the shape, and takes room for the matrix; false where more of the header is to come.
    fn begin(&mut self) -> Result<bool, Problem> {
        let layout = match self.row.raw {
            Some(layout) => layout,
            None => match self.read_head()? {
                Some(layout) => layout,
                None => return Ok(false),
            },
        };
        let draft = self.desk.begin(layout)?;
        self.row.layout = Some(layout);
        self.row.number = Some(draft.number());
        Ok(true)
    }

    /// Reads on in NumPy's header.
    fn read_head(&mut self) -> Result<Option<Layout>, Problem> {
        let mut reader = HeaderReader::new();
        let known = self.row.head.len();
        self.row.head.extend_from_slice(&self.bytes);
        let (taken, description) = reader.push(Which::B, &self.row.head).map_err(plain)?;
        self.row.head.truncate(taken);
        self.row.head_bytes = taken as u64;
        self.at = taken - known;
        let Some(description) = description else { return Ok(None) };
        self.row.head = Vec::new();
        let header = description.array_header(Which::B).map_err(plain)?;
        layout_of(&header).map(Some)
    }

    fn check_length(&self) -> Result<(), Problem> {
        let layout = self.row.layout.expect("the writer has one");
        let rest = (self.bytes.len() - self.at) as u64;
        if self.row.elements_bytes + rest <= layout.bytes() {
            return Ok(());
        }
        let detail = format!("the chunk goes on behind the matrix, of {} bytes", layout.bytes());
        Err(Problem::new(ProblemKind::LengthMismatch, detail))
    }

    /// What it goes on from, where that is not in memory.
    fn resume(&self) -> Result<Live, Problem> {
        let number = self.row.number.expect("it has begun");
        let draft = self.desk.store.draft(number).expect("an upload's matrix is not finished");
        let hasher = match self.row.elements_bytes {
            0 => AddressHasher::new(&draft.layout()),
            _ => AddressHasher::from_bytes(&self.row.hasher).ok_or_else(|| {
                Problem::new(ProblemKind::StorageUnavailable, "the upload's row can't be read")
            })?,
        };
        let writer = RowsWriter::resume(draft, self.row.elements_bytes);
        let writer = writer?;
        let needed_bytes = writer.memory_bytes();
        let promise = self.memory.promise(needed_bytes);
        let promise = promise.map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        Ok(Live { writer, hasher, promise })
    }

    /// Makes what was written last, and answers.
    fn end(&mut self) -> Result<Response, Problem> {
        self.row.touched_unix_ns = self.desk.now_unix_ns;
        let upload = self.claim.upload.clone();
        if let Some(live) = &mut self.live {
            live.writer.flush()?;
            self.row.hasher = live.hasher.to_bytes();
        }
        let mut batch = Batch::default();
        self.desk.uploads.put(&mut batch, &upload, &self.row);
        let committed = match &self.live {
            Some(live) => live.writer.draft().commit_with(batch),
            None => self.desk.uploads.commit(&batch),
        };
        committed?;
        let Some(digest) = self.digest else {
            upload.go_on(self.row.clone(), self.live.take());
            return Ok(progress(202, &upload));
        };
        self.complete(digest)
    }

    /// The chunk that would have begun the matrix has failed: nobody knows of the room it has
    /// taken.
    fn give_up_room(&self) {
        if let Some(number) = self.row.number
            && self.claim.upload.row().number.is_none()
        {
            // Where not even that can be written, it is given up when the volume is opened again.
            let _ = self.desk.store.abandon(number);
        }
    }

    /// The matrix is whole, if its address is right.
    fn complete(&mut self, digest: MatrixId) -> Result<Response, Problem> {
        let upload = self.claim.upload.clone();
        let live = self.live.take();
        let draft = live.as_ref().map(|live| live.writer.draft().clone());
        let found = live.as_ref().map(|live| live.hasher.clone().finish());
        upload.go_on(self.row.clone(), live);
        let (draft, found) = match (draft, found, self.row.bytes()) {
            (Some(draft), Some(found), Some(bytes)) if bytes == self.row.offset() => (draft, found),
            (_, _, bytes) => return Err(incomplete(&self.row, bytes)),
        };
        if found != digest {
            let detail = format!("the matrix is {found}");
            return Err(Problem::new(ProblemKind::DigestMismatch, detail).at("?digest"));
        }
        drop(upload.take_live());
        let Row { keeping, name, .. } = self.row.clone();
        let stored = self.desk.finish(&draft, found, keeping.from(self.desk.now_unix_ns))?;
        self.desk.uploads.end(&self.claim, &self.desk.store, true)?;
        self.desk.answer_stored(&stored, name.as_ref())
    }
}

/// The layout of what is stored as it comes.
fn layout_of(header: &ArrayHeader) -> Result<Layout, Problem> {
    let dtype = match (header.scalar, header.order, header.is_fortran) {
        (Scalar::F64, ByteOrder::Little, false) => Dtype::F64,
        (Scalar::F32, ByteOrder::Little, false) => Dtype::F32,
        _ => {
            let detail = "in chunks an array comes as little-endian f4 or f8 and row by row; \
                          post any other whole to /v1/matrices";
            return Err(Problem::new(ProblemKind::UnknownDtype, detail));
        }
    };
    Ok(Layout { dtype, rows: header.rows, columns: header.columns })
}

/// A problem with the only matrix there is.
fn plain(mut problem: Problem) -> Problem {
    problem.field = None;
    problem
}

fn incomplete(row: &Row, bytes: Option<u64>) -> Problem {
    let offset = row.offset();
    let detail = match bytes {
        Some(bytes) => format!("{offset} bytes have come of {bytes}"),
        None => format!("{offset} bytes have come, and the array's header is not whole"),
    };
    Problem::new(ProblemKind::UploadIncomplete, detail)
        .with_response_field(OFFSET_FIELD, format!("{offset}"))
}

/// The field that says where the next chunk of an upload begins.
pub(super) const OFFSET_FIELD: &str = "Gemmule-Upload-Offset";

/// How far an upload has come, as OCI registries say it.
pub(super) fn progress(status: u16, upload: &Upload) -> Response {
    let offset = upload.row().offset();
    Response::empty(status)
        .with_field_of("Location", |text| {
            text.push_str(&format!("/v1/matrices/uploads/{}", upload.id));
        })
        .with_field("Range", &range(offset))
        .with_number(OFFSET_FIELD, offset)
}

/// The bytes that have come: the last one counts, and where there are none it is 0 as well.
pub(super) fn range(offset: u64) -> alloc::string::String {
    format!("0-{}", offset.saturating_sub(1))
}

/// Where in an upload a chunk belongs that was sent for another place.
pub(super) fn out_of_order(offset: u64) -> Problem {
    let detail = format!("the next chunk begins at {offset}");
    Problem::new(ProblemKind::RangeNotSatisfiable, detail)
        .at("Content-Range")
        .with_response_field("Range", range(offset))
        .with_response_field(OFFSET_FIELD, format!("{offset}"))
}
