//! A request's body, from its first byte to the job that it becomes.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use crate::api::MultiplyReader;
use crate::api::matrices::StoreQuery;
use crate::formats::coding::{Coding, DECODER_BYTES, Decoder};
use crate::formats::place::{self, Partial};
use crate::formats::{self, Demand, Format, STRIDE_BYTES, Settings, Source};
use crate::http::RequestHead;
use crate::http::head::Framing;
use crate::inference::{self, Model};
use crate::job::memory_problem;
use crate::job::reply::ReplyForm;
use crate::job::{Input, Request};
use crate::limits::{JSON_MEMORY_BYTES_MIN, JSON_MEMORY_FACTOR};
use crate::memory::{MemoryBudget, Promise, Shortage};
use crate::problem::{Problem, ProblemKind};
use crate::server::matrices::Arrived;

/// A request that was admitted, while its body comes in.
#[derive(Debug)]
pub(super) struct Intake {
    decoder: Option<Decoder>,
    destination: Destination,
    reply: ReplyForm,
    promise: Promise,
    /// Of the body, as they are sent.
    bytes_in: u64,
    is_check_asked: bool,
}

/// Where the content goes.
#[derive(Debug)]
enum Destination {
    /// The JSON of a product, to be read when it is whole.
    Product(MultiplyReader),
    /// That of one matrix, too.
    Text(Vec<u8>),
    /// Straight into the matrices.
    Matrices(Box<formats::Reader>),
    /// The JSON of a request to a model, to be read when it is whole.
    InferenceText(Model, Vec<u8>),
    /// JSON, and bytes straight into the matrices.
    Tensors(Box<inference::Reader>),
}

/// The field that asks for a check of the product, and says that there was one; its only value.
pub(super) const CHECK_FIELD: &str = "Gemmule-Check";
pub(super) const CHECK: &str = "residual";

/// The first reservation for a body whose length is not known.
const TEXT_BYTES_FIRST: usize = 16 * 1024;

impl Intake {
    /// Admits what the head announces, before any of its body is read.
    ///
    /// # Errors
    ///
    /// A problem where the formats are not known, or where the memory that it may need is more than
    /// there is, or more than is free.
    pub fn admit(
        head: &RequestHead,
        model: Option<Model>,
        memory: &MemoryBudget,
        threads: usize,
        checks_all: bool,
    ) -> Result<Self, Problem> {
        let is_check_asked = checks_all | is_check_asked(head)?;
        // A request to a model says in its JSON what it wants.
        let (format, reply) = match model {
            Some(_) => (Format::Json, ReplyForm::json(head)),
            None => {
                let format = request_format(head)?;
                (format, ReplyForm::negotiate(head, format)?)
            }
        };
        let coding = Coding::of_request(head.field_values("content-encoding"))?;
        let length = known_length(head, coding);
        let mut promise = memory.promise(0).map_err(|shortage| memory_problem(shortage, 0))?;
        let kept_bytes = coding.map_or(0, |_| DECODER_BYTES);
        let destination = match format {
            Format::Json if let Some(model) = model => {
                let demand = Demand { threads, is_check_asked, reply_is_text: true, kept_bytes };
                Destination::of_inference(head, model, length, demand, &mut promise)?
            }
            Format::Json => {
                Settings::parse(&head.query, format)?;
                let text = first_text(length, &mut promise)?;
                Destination::Product(MultiplyReader::new(text))
            }
            _ => {
                let reply_is_text = reply.format == Format::Json;
                let demand = Demand { threads, is_check_asked, reply_is_text, kept_bytes };
                let promise = &mut promise;
                let reader = formats::Reader::new(format, &head.query, length, demand, promise)?;
                Destination::Matrices(Box::new(reader))
            }
        };
        let decoder = coding.map(Decoder::new);
        Ok(Self { decoder, destination, reply, promise, bytes_in: 0, is_check_asked })
    }

    /// Whether the product is to be checked, whatever that costs.
    pub fn is_check_asked(&self) -> bool {
        self.is_check_asked
    }

    /// Admits one matrix that is to be kept.
    ///
    /// # Errors
    ///
    /// As for [`Intake::admit`].
    pub fn admit_single(
        head: &RequestHead,
        query: &StoreQuery,
        memory: &MemoryBudget,
    ) -> Result<Self, Problem> {
        let format = request_format(head)?;
        if let (Some(_), false) = (query.shape, format == Format::Raw) {
            let detail = "only a raw matrix has its shape in the query";
            return Err(Problem::new(ProblemKind::UnknownField, detail).at("?shape"));
        }
        let coding = Coding::of_request(head.field_values("content-encoding"))?;
        let length = known_length(head, coding);
        let mut promise = memory.promise(0).map_err(|shortage| memory_problem(shortage, 0))?;
        let kept_bytes = coding.map_or(0, |_| DECODER_BYTES);
        let destination = match format {
            Format::Json => Destination::Text(first_text(length, &mut promise)?),
            _ => Destination::Matrices(Box::new(formats::Reader::of_single(
                format,
                query.dtype,
                query.shape,
                length,
                kept_bytes,
                &mut promise,
            )?)),
        };
        let (decoder, reply) = (coding.map(Decoder::new), ReplyForm::json(head));
        Ok(Self { decoder, destination, reply, promise, bytes_in: 0, is_check_asked: false })
    }

    /// The one matrix is whole.
    ///
    /// # Errors
    ///
    /// A problem where it ends too early.
    pub fn finish_single(self) -> Result<(Arrived, Promise), Problem> {
        if let Some(decoder) = &self.decoder {
            decoder.finish()?;
        }
        let arrived = match self.destination {
            Destination::Text(text) => Arrived::Text(text),
            Destination::Matrices(reader) => Arrived::Matrix(reader.finish_single()?),
            _ => unreachable!("a matrix that is kept is not asked of a model"),
        };
        Ok((arrived, self.promise))
    }

    /// Takes content: how many bytes of it were used. Where not all were, to bound the work, the
    /// others are to be brought again.
    ///
    /// # Errors
    ///
    /// A problem with what came, or with the memory for what is to come.
    pub fn push(&mut self, content: &[u8]) -> Result<usize, Problem> {
        let Self { decoder, destination, promise, .. } = self;
        let used = match decoder {
            None => destination.push(content, promise)?,
            Some(decoder) => decode(decoder, content, destination, promise)?,
        };
        self.bytes_in += used as u64;
        Ok(used)
    }

    /// Has up to `most` bytes of content read right to where they belong; how many. `None` where
    /// that can't be: then they are to be pushed.
    ///
    /// # Errors
    ///
    /// As for [`Intake::push`].
    pub fn fill(&mut self, most: usize, source: &mut Source) -> Result<Option<usize>, Problem> {
        if self.decoder.is_some() {
            return Ok(None);
        }
        let filled = self.destination.fill(most, source, &mut self.promise)?;
        self.bytes_in += filled.unwrap_or(0) as u64;
        Ok(filled)
    }

    /// The body is whole.
    ///
    /// # Errors
    ///
    /// A problem where it ends too early, or where its parts don't go together.
    pub fn finish(self) -> Result<Request, Problem> {
        let Self { decoder, destination, reply, promise, bytes_in, is_check_asked } = self;
        if let Some(decoder) = &decoder {
            decoder.finish()?;
        }
        let input = match destination {
            Destination::Product(reader) => Input::Text(reader),
            Destination::Text(_) => unreachable!("one matrix makes no product"),
            Destination::Matrices(reader) => Input::Operation(reader.finish()?),
            Destination::InferenceText(model, text) => Input::Inference(model, text),
            Destination::Tensors(reader) => Input::Tensors(reader.finish()?),
        };
        Ok(Request { input, reply, promise, bytes_in, is_check_asked })
    }
}

impl Destination {
    /// Of a body for a model, of that length if it is known.
    fn of_inference(
        head: &RequestHead,
        model: Model,
        length: Option<u64>,
        demand: Demand,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        match inference::reader::json_bytes(head)? {
            Some(json_bytes) if length != Some(json_bytes) => {
                let reader = inference::Reader::new(model, json_bytes, length, demand, promise)?;
                Ok(Self::Tensors(Box::new(reader)))
            }
            _ => Ok(Self::InferenceText(model, first_text(length, promise)?)),
        }
    }

    fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        match self {
            Self::Product(reader) => {
                push_text(reader.text_mut(), content, promise)?;
                reader.look_ahead();
                Ok(content.len())
            }
            Self::Text(text) | Self::InferenceText(_, text) => {
                push_text(text, content, promise).map(|()| content.len())
            }
            Self::Matrices(reader) => reader.push(content, promise),
            Self::Tensors(reader) => reader.push(content, promise),
        }
    }

    fn fill(
        &mut self,
        most: usize,
        source: &mut Source,
        promise: &mut Promise,
    ) -> Result<Option<usize>, Problem> {
        match self {
            Self::Product(reader) => {
                let filled = fill_text(reader.text_mut(), most, source);
                reader.look_ahead();
                Ok(filled)
            }
            Self::Text(text) | Self::InferenceText(_, text) => Ok(fill_text(text, most, source)),
            Self::Matrices(reader) => reader.fill(most, source, promise),
            Self::Tensors(reader) => reader.fill(most, source, promise),
        }
    }
}

/// Passes coded content on: how many bytes of it were used, at least one. What comes of them is
/// bounded, however well the content is compressed.
fn decode(
    decoder: &mut Decoder,
    content: &[u8],
    destination: &mut Destination,
    promise: &mut Promise,
) -> Result<usize, Problem> {
    let (mut used, mut plain_bytes) = (0, 0);
    loop {
        let (taken, mut plain) = decoder.push(&content[used..])?;
        used += taken;
        if taken == 0 && plain.is_empty() {
            return Ok(used);
        }
        plain_bytes += plain.len();
        while !plain.is_empty() {
            plain = &plain[destination.push(plain, promise)?..];
        }
        if plain_bytes >= STRIDE_BYTES && used > 0 && used < content.len() {
            return Ok(used);
        }
    }
}

/// Whether the client wants the product to be checked. A check that is not known is refused: its
/// client relies on it.
fn is_check_asked(head: &RequestHead) -> Result<bool, Problem> {
    let mut is_asked = false;
    for value in head.field_values(CHECK_FIELD) {
        if value.trim_ascii() != CHECK.as_bytes() {
            let detail = format!("{CHECK} is the only check");
            return Err(Problem::new(ProblemKind::InvalidValue, detail).at(CHECK_FIELD));
        }
        is_asked = true;
    }
    Ok(is_asked)
}

/// The length of what is to be read, where it is known before.
fn known_length(head: &RequestHead, coding: Option<Coding>) -> Option<u64> {
    match head.framing {
        Framing::Length(length) if coding.is_none() => Some(length),
        _ => None,
    }
}

/// The format of a request's body.
fn request_format(head: &RequestHead) -> Result<Format, Problem> {
    let media_type = head.media_type();
    if let Some(format) = media_type.as_deref().and_then(Format::from_media_type) {
        return Ok(format);
    }
    let taken = Format::accept_post();
    let detail = match media_type {
        Some(other) => format!("{other:?} is not one of {taken}"),
        None => format!("the request names no content type; one of {taken} is taken"),
    };
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail)
        .at("Content-Type")
        .with_response_field("Accept-Post", taken))
}

fn first_text(length: Option<u64>, promise: &mut Promise) -> Result<Vec<u8>, Problem> {
    let total_bytes = promise.budget_bytes();
    let length = match length {
        Some(length) => {
            usize::try_from(length).map_err(|_| too_large(u128::from(length), total_bytes))?
        }
        None => TEXT_BYTES_FIRST.min(text_bytes_max(total_bytes) / 2),
    };
    let mut text = Vec::new();
    reserve(&mut text, length, promise)?;
    Ok(text)
}

/// Adds content to a text; grows what was reserved for one of unknown length.
fn push_text(text: &mut Vec<u8>, content: &[u8], promise: &mut Promise) -> Result<(), Problem> {
    let length = text.len() + content.len();
    if length > text.capacity() {
        let ample = length.max(2 * text.capacity());
        reserve(text, ample, promise).or_else(|_| reserve(text, length, promise))?;
    }
    text.extend_from_slice(content);
    Ok(())
}

/// Has content read to the end of a text, where there is room; how many bytes.
fn fill_text(text: &mut Vec<u8>, most: usize, source: &mut Source) -> Option<usize> {
    let has_room = text.len() < text.capacity();
    has_room.then(|| place::fill(text, &mut Partial::default(), most, source))
}

/// Makes room for a text of `length` bytes, after promising the memory that it and the numbers in
/// it may take.
fn reserve(text: &mut Vec<u8>, length: usize, promise: &mut Promise) -> Result<(), Problem> {
    let needed_bytes =
        length.saturating_mul(JSON_MEMORY_FACTOR).saturating_add(JSON_MEMORY_BYTES_MIN);
    promise.resize(needed_bytes).map_err(|shortage| match shortage {
        Shortage::Never { total_bytes } => too_large(length as u128, total_bytes),
        Shortage::Now => memory_problem(shortage, needed_bytes),
    })?;
    text.try_reserve_exact(length - text.len())
        .map_err(|_| memory_problem(Shortage::Now, needed_bytes))
}

/// The largest JSON body that a budget of `total_bytes` admits.
pub(super) fn text_bytes_max(total_bytes: usize) -> usize {
    total_bytes.saturating_sub(JSON_MEMORY_BYTES_MIN) / JSON_MEMORY_FACTOR
}

fn too_large(length: u128, total_bytes: usize) -> Problem {
    let limit = text_bytes_max(total_bytes);
    let detail = format!("a body of {length} bytes may need more memory than there is");
    Problem::new(ProblemKind::BodyTooLarge, detail).limit(limit as u64)
}
