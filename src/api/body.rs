//! The small JSON bodies of requests other than for products: collected whole, then read into a
//! type.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use crate::api::refusal::pointer_part;
use crate::formats::coding::{Coding, DECODER_BYTES, Decoder};
use crate::formats::{Format, Settings};
use crate::http::RequestHead;
use crate::http::head::Framing;
use crate::job::memory_problem;
use crate::json::{self, Fault, ReadError};
use crate::limits::SMALL_BODY_BYTES_MAX;
use crate::memory::{MemoryBudget, Promise};
use crate::problem::{Problem, ProblemKind};

/// Bytes of memory for a byte of the body: its text, and what is read of it.
const MEMORY_FACTOR: usize = 2;

/// A body while it comes in.
#[derive(Debug)]
pub struct SmallBody {
    text: Vec<u8>,
    decoder: Option<Decoder>,
    _promise: Promise,
}

impl SmallBody {
    /// Admits what the head announces, before any of it is read.
    ///
    /// # Errors
    ///
    /// A problem where it is not JSON, has a query as well, is too long, or there is no memory for
    /// it.
    pub fn admit(head: &RequestHead, memory: &MemoryBudget) -> Result<Self, Problem> {
        let json = Format::Json.media_type();
        let media_type = head.media_type();
        if media_type.as_deref() != Some(json) {
            let detail = match media_type {
                Some(other) => format!("{other:?} is not {json}"),
                None => format!("the request names no content type; {json} is taken"),
            };
            return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail)
                .at("Content-Type")
                .with_response_field("Accept-Post", json));
        }
        Settings::parse(&head.query, Format::Json)?;
        let coding = Coding::of_request(head.field_values("content-encoding"))?;
        let body_bytes = match head.framing {
            Framing::Length(length) if coding.is_none() => {
                usize::try_from(length).unwrap_or(usize::MAX)
            }
            _ => SMALL_BODY_BYTES_MAX,
        };
        if body_bytes > SMALL_BODY_BYTES_MAX {
            return Err(too_large());
        }
        let needed_bytes = body_bytes * MEMORY_FACTOR + coding.map_or(0, |_| DECODER_BYTES);
        let promise = memory
            .promise(needed_bytes)
            .map_err(|shortage| memory_problem(shortage, needed_bytes))?;
        Ok(Self { text: Vec::new(), decoder: coding.map(Decoder::new), _promise: promise })
    }

    /// Takes content.
    ///
    /// # Errors
    ///
    /// A problem where the body is too long, or not coded as it should be.
    pub fn push(&mut self, content: &[u8]) -> Result<(), Problem> {
        let Some(decoder) = &mut self.decoder else { return append(&mut self.text, content) };
        let mut used = 0;
        loop {
            let (taken, plain) = decoder.push(&content[used..])?;
            used += taken;
            if taken == 0 && plain.is_empty() {
                return Ok(());
            }
            append(&mut self.text, plain)?;
        }
    }

    /// The text, once the body is whole.
    ///
    /// # Errors
    ///
    /// A problem where it ends too early.
    pub fn finish(self) -> Result<Vec<u8>, Problem> {
        if let Some(decoder) = &self.decoder {
            decoder.finish()?;
        }
        Ok(self.text)
    }
}

fn append(text: &mut Vec<u8>, content: &[u8]) -> Result<(), Problem> {
    if content.len() > SMALL_BODY_BYTES_MAX - text.len() {
        return Err(too_large());
    }
    text.extend_from_slice(content);
    Ok(())
}

fn too_large() -> Problem {
    let detail = format!("a body without matrices has at most {SMALL_BODY_BYTES_MAX} bytes");
    Problem::new(ProblemKind::BodyTooLarge, detail).limit(SMALL_BODY_BYTES_MAX as u64)
}

/// Reads the object that a body is.
///
/// # Errors
///
/// A problem that names the field at fault by a JSON pointer.
pub fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Problem> {
    json::read(text).map_err(|ReadError { fault, detail, path }| {
        let kind = match fault {
            Fault::Malformed => ProblemKind::MalformedJson,
            // The body as a whole.
            Fault::WrongType if path.is_empty() => ProblemKind::MalformedJson,
            Fault::WrongType => ProblemKind::WrongType,
            Fault::InvalidValue => ProblemKind::InvalidValue,
            Fault::MissingField => ProblemKind::MissingField,
            Fault::UnknownField => ProblemKind::UnknownField,
            Fault::DuplicateField => ProblemKind::DuplicateField,
        };
        let problem = Problem::new(kind, detail);
        if path.is_empty() {
            return problem;
        }
        let parts = path.iter().rev().map(|part| pointer_part(part));
        problem.at(parts.fold(String::new(), |pointer, part| pointer + "/" + &part))
    })
}
