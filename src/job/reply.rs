//! From a result to the content of its reply, in bounded slices.

use alloc::format;
use alloc::vec::Vec;

use crate::api::Encoder;
use crate::api::encode::text_bytes_max;
use crate::formats::{Format, write};
use crate::gemm::{Element, Shape};
use crate::http::{Payload, Piece, RequestHead};
use crate::problem::{Problem, ProblemKind};

/// How a result is to be sent.
#[derive(Clone, Debug)]
pub struct ReplyForm {
    pub format: Format,
}

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
    Plain(Vec<T>),
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
    Binary { format: Format, payload: Payload },
}

impl ReplyForm {
    /// What the client asks for: by `Accept`, in the request's format unless it says otherwise.
    ///
    /// # Errors
    ///
    /// A problem where none of the service's formats is acceptable.
    pub fn negotiate(head: &RequestHead, request: Format) -> Result<Self, Problem> {
        let format = Format::negotiate(head.field_values("accept"), request)?;
        match format {
            Format::Npz | Format::Safetensors => {
                let detail = format!("{} is not written yet", format.media_type());
                Err(Problem::new(ProblemKind::NotAcceptable, detail).at("Accept"))
            }
            _ => Ok(Self { format }),
        }
    }

    /// An upper bound of the memory that writing an m x n result takes beside the result itself.
    pub fn bytes_max(&self, shape: Shape) -> Option<usize> {
        match self.format {
            Format::Json => text_bytes_max(shape),
            _ => Some(write::HEAD_AND_TAIL_BYTES_MAX),
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
            Format::Json => Stage::Text(Encoder::new(c, shape)?),
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
        match self.stage {
            Stage::Text(mut encoder) => {
                if encoder.advance(pause)? {
                    let (text, matrix_bytes) = encoder.into_text();
                    return Ok(Progress::Whole(Written::Text { text, matrix_bytes }));
                }
                self.stage = Stage::Text(encoder);
                Ok(Progress::Paused(self))
            }
            Stage::Plain(c) => Ok(Progress::Whole(binary(format, shape, c))),
        }
    }
}

fn binary<T: Element>(format: Format, shape: Shape, c: Vec<T>) -> Written
where
    Piece: From<Vec<T>>,
{
    let (head, tail) = write::around::<T>(format, shape);
    let mut payload = Payload::from(head);
    payload.push(c.into());
    payload.push(Piece::Bytes(tail));
    Written::Binary { format, payload }
}

impl Written {
    /// Bytes of the result in its format: in JSON, of the matrix alone.
    pub fn result_bytes(&self) -> u64 {
        match self {
            Self::Text { matrix_bytes, .. } => *matrix_bytes,
            Self::Binary { payload, .. } => payload.bytes() as u64,
        }
    }

    /// The memory that it holds until it is sent.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.capacity(),
            Self::Binary { payload, .. } => payload.bytes(),
        }
    }
}
