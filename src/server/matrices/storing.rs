//! A matrix that has come whole, on its way to the disk.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use crate::api::matrices::StoreQuery;
use crate::api::single::SingleReader;
use crate::formats::Matrix;
use crate::gemm::Dtype;
use crate::http::Response;
use crate::job::errand::{Errand, Progress};
use crate::job::memory_problem;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::matrices::Desk;
use crate::store::{AddressHasher, Layout, MatrixId, RowsWriter};

/// Bytes of rows that are moved between two chances to pause.
const BAND_BYTES: usize = 256 * 1024;

/// What has come.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// JSON, unread.
    Text(Vec<u8>),
    Matrix(Matrix),
}

/// A matrix that is being stored.
#[derive(Debug)]
pub(super) struct Storing {
    desk: Desk,
    query: StoreQuery,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Read(SingleReader),
    /// Its address is being found: this far.
    Hash(Rows, AddressHasher),
    Write(Rows, Box<RowsWriter>, MatrixId),
    /// Nothing is left to do.
    Over,
}

/// Rows of a matrix in memory, one band after the other.
#[derive(Debug)]
struct Rows {
    matrix: Matrix,
    layout: Layout,
    row: usize,
    band: Vec<u8>,
}

impl Storing {
    pub fn new(desk: Desk, query: StoreQuery, arrived: Arrived) -> Box<Self> {
        let dtype = query.dtype.unwrap_or(Dtype::F64);
        let stage = match arrived {
            Arrived::Text(text) => Stage::Read(SingleReader::new(text, dtype)),
            Arrived::Matrix(matrix) => Rows::begin(matrix),
        };
        Box::new(Self { desk, query, stage })
    }

    /// Goes on a little; the reply, once it is stored.
    fn step(
        &mut self,
        promise: &mut Promise,
        pause: &dyn Fn() -> bool,
    ) -> Result<Option<Response>, Problem> {
        self.stage = match core::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Read(mut reader) => match reader.advance(pause)? {
                None => Stage::Read(reader),
                Some(matrix) => Rows::begin(matrix),
            },
            Stage::Hash(mut rows, mut hasher) => {
                if rows.next() {
                    hasher.update(&rows.band);
                    self.stage = Stage::Hash(rows, hasher);
                    return Ok(None);
                }
                let id = hasher.finish();
                if let Some(digest) = self.query.digest.filter(|digest| *digest != id) {
                    let detail = format!("the matrix is {id}, not {digest}");
                    return Err(Problem::new(ProblemKind::DigestMismatch, detail).at("?digest"));
                }
                let keep = self.query.keeping.from(self.desk.now_unix_ns);
                if let Some(stored) = self.desk.keep_known(id, keep)? {
                    let name = self.query.name.as_ref();
                    return self.desk.answer_stored(&stored, name).map(Some);
                }
                let draft = self.desk.begin(rows.layout)?;
                let number = draft.number();
                let writer = Box::new(draft.rows_writer());
                let needed_bytes = promise.bytes().saturating_add(writer.memory_bytes());
                if let Err(shortage) = promise.resize(needed_bytes) {
                    self.desk.abandon(number);
                    return Err(memory_problem(shortage, needed_bytes));
                }
                rows.row = 0;
                Stage::Write(rows, writer, id)
            }
            Stage::Write(mut rows, mut writer, id) => {
                let number = writer.draft().number();
                let written = match rows.next() {
                    true => writer.push(&rows.band).map(|()| None),
                    false => writer.draft().commit().map(|()| Some(writer.draft().clone())),
                };
                match written {
                    Ok(None) => Stage::Write(rows, writer, id),
                    Ok(Some(draft)) => {
                        let keep = self.query.keeping.from(self.desk.now_unix_ns);
                        let stored = self.desk.finish(&draft, id, keep)?;
                        let name = self.query.name.as_ref();
                        return self.desk.answer_stored(&stored, name).map(Some);
                    }
                    Err(error) => {
                        self.desk.abandon(number);
                        return Err(error.into());
                    }
                }
            }
            Stage::Over => Stage::Over,
        };
        Ok(None)
    }
}

impl Errand for Storing {
    fn advance(mut self: Box<Self>, promise: &mut Promise, pause: &dyn Fn() -> bool) -> Progress {
        loop {
            match self.step(promise, pause) {
                Ok(None) => {}
                Ok(Some(response)) => return Progress::Done(Ok(response)),
                Err(problem) => return Progress::Done(Err(problem)),
            }
            if pause() {
                return Progress::Paused(self);
            }
        }
    }
}

impl Rows {
    fn begin(matrix: Matrix) -> Stage {
        let (rows, columns) = matrix.shape();
        let layout = Layout { dtype: matrix.dtype(), rows, columns };
        Stage::Hash(Self { matrix, layout, row: 0, band: Vec::new() }, AddressHasher::new(&layout))
    }

    /// Goes on to the next rows; false where there are none.
    fn next(&mut self) -> bool {
        let Layout { dtype, rows, columns } = self.layout;
        let row_bytes = columns * dtype.bytes();
        let taken = (BAND_BYTES / row_bytes.max(1)).max(1).min(rows - self.row);
        self.band.clear();
        if taken == 0 || row_bytes == 0 {
            return false;
        }
        self.matrix.push_rows(self.row..self.row + taken, &mut self.band);
        self.row += taken;
        true
    }
}
