//! From a result to the content of its reply, in bounded slices.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::api::Encoder;
use crate::api::encode::{Layout, text_bytes_max};
use crate::formats::Format;
use crate::formats::coding::{self, COMPRESSOR_BYTES, Coding, Compressor};
use crate::formats::write::{self, Checksum};
use crate::gemm::{Element, Shape};
use crate::http::{Payload, Piece, RequestHead};
use crate::inference;
use crate::limits::COMPRESSED_TEXT_BYTES_MIN;
use crate::problem::{Problem, ProblemKind};

/// How a result is to be sent.
#[derive(Clone, Debug)]
pub struct ReplyForm {
    pub format: Format,
    /// What text is compressed by, where that is worth it. Matrices are sent as they are: the last
    /// bits of their elements are noise, and noise doesn't get smaller.
    pub coding: Option<Coding>,
    /// The reply is one of the inference protocol, to this request.
    pub inference: Option<Box<inference::Reply>>,
}

/// Bytes compressed between two chances to pause: some tenths of a millisecond.
const BYTES_PER_SLICE: usize = 32 * 1024;

/// Elements that go into a checksum between two chances to pause, about as long.
const CHECKED_PER_SLICE: usize = 64 * 1024;

/// A result that is being written.
#[derive(Debug)]
pub(crate) struct Writer<T> {
    stage: Stage<T>,
    shape: Shape,
    form: ReplyForm,
}

#[derive(Debug)]
enum Stage<T> {
    Text(Encoder<T>),
    Compress {
        text: Vec<u8>,
        matrix_bytes: u64,
        done: usize,
        compressed: Box<Compressed>,
    },
    Plain(Vec<T>),
    /// How many elements are part of the checksum.
    Check {
        c: Vec<T>,
        checksum: Checksum,
        done: usize,
    },
}

/// How far the writing has come.
#[derive(Debug)]
pub(crate) enum Progress<T> {
    Paused(Writer<T>),
    Whole(Written),
}

/// What is to be sent of a result. The bill is still to be added where it is part of the content.
#[derive(Debug)]
pub(crate) enum Written {
    Text { text: Vec<u8>, matrix_bytes: u64 },
    Compressed { compressed: Box<Compressed>, matrix_bytes: u64 },
    Binary { format: Format, payload: Payload },
}

/// Text as far as it is compressed.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub coding: Coding,
    pub compressor: Compressor,
    pub bytes: Vec<u8>,
}

/// What stands before the matrix in a reply to `/v1/multiply`.
const PREFIX: &[u8] = b"{\"c\":";

impl ReplyForm {
    /// What the client asks for: by `Accept`, in the request's format unless it says otherwise, and
    /// by `Accept-Encoding`.
    ///
    /// # Errors
    ///
    /// A problem where none of the service's formats is acceptable.
    pub fn negotiate(head: &RequestHead, request: Format) -> Result<Self, Problem> {
        let format = Format::negotiate(head.field_values("accept"), request)?;
        match format {
            Format::Json => Ok(Self::json(head)),
            _ => Ok(Self { format, coding: None, inference: None }),
        }
    }

    /// JSON, compressed as `Accept-Encoding` says.
    pub fn json(head: &RequestHead) -> Self {
        let coding = coding::negotiate(head.field_values("accept-encoding"));
        Self { format: Format::Json, coding, inference: None }
    }

    /// The form of a reply to a request of the inference protocol, which says itself what it wants.
    pub fn answer_inference(&mut self, reply: inference::Reply) {
        self.format = if reply.is_binary { Format::Raw } else { Format::Json };
        self.inference = Some(Box::new(reply));
    }

    /// An upper bound of the memory that writing an m x n result takes beside the result itself.
    pub fn bytes_max(&self, shape: Shape) -> Option<usize> {
        let before_bytes = match self.inference {
            Some(_) => inference::reply::JSON_BYTES_MAX,
            None => PREFIX.len(),
        };
        match self.format {
            Format::Json => {
                let text_bytes = text_bytes_max(shape)?.checked_add(before_bytes)?;
                let compressed_bytes = match self.coding {
                    Some(_) => Compressor::bytes_max(text_bytes).saturating_add(COMPRESSOR_BYTES),
                    None => 0,
                };
                text_bytes.checked_add(compressed_bytes)
            }
            _ => Some(write::HEAD_AND_TAIL_BYTES_MAX + before_bytes),
        }
    }

    /// The most bytes that a bill can say a result of that many elements has.
    pub fn result_bytes_max<T>(&self, shape: Shape) -> Option<usize> {
        match self.format {
            Format::Json => text_bytes_max(shape),
            _ => {
                let matrix_bytes = shape.m.checked_mul(shape.n)?.checked_mul(size_of::<T>())?;
                matrix_bytes.checked_add(self.bytes_max(shape)?)
            }
        }
    }
}

impl<T: Element> Writer<T>
where
    Piece: From<Vec<T>>,
{
    /// Sets out to write the m x n result `c`, row by row.
    ///
    /// # Errors
    ///
    /// A problem where memory for the text can't be had, though it was promised.
    pub fn new(c: Vec<T>, shape: Shape, form: &ReplyForm) -> Result<Self, Problem> {
        let stage = match form.format {
            Format::Json => Stage::Text(match &form.inference {
                Some(reply) => {
                    Encoder::new(c, shape, reply.before_data(shape).as_bytes(), Layout::Flat)?
                }
                None => Encoder::new(c, shape, PREFIX, Layout::Rows)?,
            }),
            _ => Stage::Plain(c),
        };
        Ok(Self { stage, shape, form: form.clone() })
    }

    /// Writes until `pause` says so, which is asked every so many elements.
    ///
    /// # Errors
    ///
    /// A problem where the format has no word for an element.
    pub fn advance(mut self, pause: &mut dyn FnMut() -> bool) -> Result<Progress<T>, Problem> {
        let (format, shape) = (self.form.format, self.shape);
        loop {
            self.stage = match self.stage {
                Stage::Text(mut encoder) => {
                    if !encoder.advance(pause)? {
                        self.stage = Stage::Text(encoder);
                        return Ok(Progress::Paused(self));
                    }
                    let (text, matrix_bytes) = encoder.into_text();
                    let is_long = text.len() >= COMPRESSED_TEXT_BYTES_MIN;
                    let Some(coding) = self.form.coding.filter(|_| is_long) else {
                        return Ok(Progress::Whole(Written::Text { text, matrix_bytes }));
                    };
                    let compressed = Compressed::new(coding, text.len())?;
                    Stage::Compress { text, matrix_bytes, done: 0, compressed }
                }
                Stage::Compress { text, matrix_bytes, done, mut compressed } => {
                    let end = text.len().min(done + BYTES_PER_SLICE);
                    compressed.push(&text[done..end]);
                    if end == text.len() {
                        return Ok(Progress::Whole(Written::Compressed {
                            compressed,
                            matrix_bytes,
                        }));
                    }
                    Stage::Compress { text, matrix_bytes, done: end, compressed }
                }
                Stage::Plain(c) if write::needs_checksum(format) => {
                    Stage::Check { c, checksum: Checksum::new(T::DTYPE, shape), done: 0 }
                }
                Stage::Plain(c) => return Ok(Progress::Whole(binary(format, shape, c, None))),
                Stage::Check { c, mut checksum, done } => {
                    let end = c.len().min(done + CHECKED_PER_SLICE);
                    checksum.update(bytemuck::cast_slice(&c[done..end]));
                    if end == c.len() {
                        let checksum = Some(checksum.finish());
                        return Ok(Progress::Whole(binary(format, shape, c, checksum)));
                    }
                    Stage::Check { c, checksum, done: end }
                }
            };
            if pause() {
                return Ok(Progress::Paused(self));
            }
        }
    }
}

fn binary<T: Element>(format: Format, shape: Shape, c: Vec<T>, checksum: Option<u32>) -> Written
where
    Piece: From<Vec<T>>,
{
    let (head, tail) = write::around(format, T::DTYPE, shape, checksum);
    let mut payload = Payload::from(head);
    payload.push(c.into());
    payload.push(Piece::Bytes(tail));
    Written::Binary { format, payload }
}

impl Compressed {
    fn new(coding: Coding, text_bytes: usize) -> Result<Box<Self>, Problem> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(Compressor::bytes_max(text_bytes))
            .map_err(|_| Problem::new(ProblemKind::Overloaded, "no memory for the reply"))?;
        let compressor = Compressor::new(coding, &mut bytes);
        Ok(Box::new(Self { coding, compressor, bytes }))
    }

    fn push(&mut self, text: &[u8]) {
        self.compressor.push(text, &mut self.bytes);
    }

    /// The content, once `end` is behind it.
    pub fn finish(mut self, end: &[u8]) -> Vec<u8> {
        self.push(end);
        self.compressor.finish(&mut self.bytes);
        self.bytes
    }
}

impl Written {
    /// Bytes of the result in its format: in JSON, of the matrix alone.
    pub fn result_bytes(&self) -> u64 {
        match self {
            Self::Text { matrix_bytes, .. } | Self::Compressed { matrix_bytes, .. } => {
                *matrix_bytes
            }
            Self::Binary { payload, .. } => payload.bytes() as u64,
        }
    }

    /// The memory that it holds until it is sent.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.capacity(),
            Self::Compressed { compressed, .. } => compressed.bytes.capacity() + COMPRESSOR_BYTES,
            Self::Binary { payload, .. } => payload.bytes(),
        }
    }
}
