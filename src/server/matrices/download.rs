//! A stored matrix on its way out.
//!
//! NumPy's array, safetensors and raw elements are a head and the elements as they lie, so that
//! they are read while they are sent, from any byte on. JSON, and an archive, whose head has a
//! checksum of all that follows, are made in memory before the first byte is sent.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::api::Encoder;
use crate::api::encode::{self, text_bytes_max};
use crate::formats::Format;
use crate::formats::write::{self, Checksum};
use crate::gemm::{Dtype, Element, Shape};
use crate::http::{Payload, Piece, Response};
use crate::job::errand::{Errand, Progress};
use crate::job::reading::BodySource;
use crate::job::{memory_problem, zeros};
use crate::memory::{MemoryBudget, Promise};
use crate::problem::Problem;
use crate::store::{Layout, Stored};

/// Bytes read between two chances to pause.
const SLICE_BYTES: usize = 256 * 1024;

/// Whether a matrix is sent in this format from where it lies.
pub(super) const fn is_streamed(format: Format) -> bool {
    matches!(format, Format::Npy | Format::Safetensors | Format::Raw)
}

/// The format in an entity tag.
pub(super) const fn format_name(format: Format) -> &'static str {
    match format {
        Format::Json => "json",
        Format::Npy => "npy",
        Format::Npz => "npz",
        Format::Safetensors => "safetensors",
        Format::Raw => "raw",
    }
}

fn shape_of(layout: Layout) -> Shape {
    Shape { m: layout.rows, n: layout.columns, k: 0 }
}

/// What stands before the elements in a format that is streamed.
pub(super) fn head_of(format: Format, layout: Layout) -> Vec<u8> {
    write::around(format, layout.dtype, shape_of(layout), None).0
}

/// A head and elements, from a byte to another.
#[derive(Debug)]
pub(super) struct Download {
    stored: Arc<Stored>,
    head: Vec<u8>,
    at: u64,
    end: u64,
}

impl Download {
    /// The bytes from `at` up to `end` of the head and the elements behind it.
    pub fn new(stored: Arc<Stored>, head: Vec<u8>, at: u64, end: u64) -> Box<Self> {
        Box::new(Self { stored, head, at, end })
    }
}

impl BodySource for Download {
    fn remaining(&self) -> u64 {
        self.end - self.at
    }

    fn read(&mut self, bytes_max: usize) -> Result<Vec<u8>, Problem> {
        let wanted = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(bytes_max);
        let head = usize::try_from(self.at).ok().and_then(|at| self.head.get(at..));
        let head = head.unwrap_or_default();
        let head = &head[..head.len().min(wanted)];
        let mut bytes = vec![0; wanted];
        bytes[..head.len()].copy_from_slice(head);
        let behind = &mut bytes[head.len()..];
        if !behind.is_empty() {
            let offset = self.at + head.len() as u64 - self.head.len() as u64;
            self.stored.read_bytes(offset, behind)?;
        }
        self.at += wanted as u64;
        Ok(bytes)
    }
}

/// A matrix that is made into a reply in memory.
#[derive(Debug)]
pub(super) struct Encoding {
    stored: Arc<Stored>,
    /// What the reply has besides its body.
    response: Response,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Into an archive.
    Bytes(Vec<u8>, usize, Checksum),
    ReadF64(Vec<f64>, usize),
    ReadF32(Vec<f32>, usize),
    F64(Encoder<f64>),
    F32(Encoder<f32>),
    Over,
}

impl Encoding {
    /// Sets out, with the memory that it takes.
    ///
    /// # Errors
    ///
    /// That there is not as much.
    pub fn begin(
        stored: Arc<Stored>,
        response: Response,
        memory: &MemoryBudget,
    ) -> Result<(Box<Self>, Promise), Problem> {
        let layout = stored.layout();
        let (elements, bytes) = (layout.rows * layout.columns, layout.bytes());
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let is_text = response.content_type == Format::Json.media_type();
        let text_bytes = if is_text { text_bytes_max(shape_of(layout)) } else { Some(0) };
        let needed_bytes = text_bytes.unwrap_or(usize::MAX).saturating_add(bytes);
        let promise = memory.promise(needed_bytes);
        let promise = promise.map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        let stage = match (is_text, layout.dtype) {
            (false, dtype) => {
                Stage::Bytes(zeros(bytes)?, 0, Checksum::new(dtype, shape_of(layout)))
            }
            (true, Dtype::F64) => Stage::ReadF64(zeros(elements)?, 0),
            (true, Dtype::F32) => Stage::ReadF32(zeros(elements)?, 0),
        };
        Ok((Box::new(Self { stored, response, stage }), promise))
    }

    fn step(&mut self, stage: Stage, pause: &dyn Fn() -> bool) -> Result<Stage, Problem> {
        let layout = self.stored.layout();
        Ok(match stage {
            Stage::Bytes(mut bytes, at, mut checksum) => {
                let end = bytes.len().min(at + SLICE_BYTES);
                self.read(at, &mut bytes[at..end])?;
                checksum.update(&bytes[at..end]);
                if end < bytes.len() {
                    return Ok(Stage::Bytes(bytes, end, checksum));
                }
                let checksum = Some(checksum.finish());
                let (head, tail) =
                    write::around(Format::Npz, layout.dtype, shape_of(layout), checksum);
                let mut body = Payload::from(head);
                body.push(Piece::Bytes(bytes));
                body.push(Piece::Bytes(tail));
                self.response.body = body;
                Stage::Over
            }
            Stage::ReadF64(mut elements, at) => match self.read_on(&mut elements, at)? {
                Some(at) => Stage::ReadF64(elements, at),
                None => Stage::F64(encoder(elements, layout)?),
            },
            Stage::ReadF32(mut elements, at) => match self.read_on(&mut elements, at)? {
                Some(at) => Stage::ReadF32(elements, at),
                None => Stage::F32(encoder(elements, layout)?),
            },
            Stage::F64(mut encoder) => match encoder.advance(&mut || pause())? {
                false => Stage::F64(encoder),
                true => self.end(encoder.into_text().0),
            },
            Stage::F32(mut encoder) => match encoder.advance(&mut || pause())? {
                false => Stage::F32(encoder),
                true => self.end(encoder.into_text().0),
            },
            Stage::Over => Stage::Over,
        })
    }

    /// Reads on from a byte: the next one, until all elements are there.
    fn read_on<T: Element>(&self, out: &mut [T], at: usize) -> Result<Option<usize>, Problem> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(out);
        let end = bytes.len().min(at + SLICE_BYTES);
        self.read(at, &mut bytes[at..end])?;
        Ok((end < bytes.len()).then_some(end))
    }

    fn read(&self, at: usize, out: &mut [u8]) -> Result<(), Problem> {
        Ok(self.stored.read_bytes(at as u64, out)?)
    }

    fn end(&mut self, mut text: Vec<u8>) -> Stage {
        text.push(b'}');
        self.response.body = text.into();
        Stage::Over
    }
}

impl Errand for Encoding {
    fn advance(mut self: Box<Self>, _: &mut Promise, pause: &dyn Fn() -> bool) -> Progress {
        loop {
            let stage = core::mem::replace(&mut self.stage, Stage::Over);
            match self.step(stage, pause) {
                Ok(Stage::Over) => return Progress::Done(Ok(self.response)),
                Ok(stage) => self.stage = stage,
                Err(problem) => return Progress::Done(Err(problem)),
            }
            if pause() {
                return Progress::Paused(self);
            }
        }
    }
}

/// The form that a matrix has in a request.
fn encoder<T: Element>(elements: Vec<T>, layout: Layout) -> Result<Encoder<T>, Problem> {
    let Layout { rows, columns, .. } = layout;
    let prefix = alloc::format!("{{\"shape\":[{rows},{columns}],\"data\":");
    Encoder::new(elements, shape_of(layout), prefix.as_bytes(), encode::Layout::Flat)
}
