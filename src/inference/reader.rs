//! The body of `infer` where tensors follow the JSON as bytes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::formats::{Demand, Source};
use crate::http::RequestHead;
use crate::inference::Model;
use crate::inference::load::{Loader, Need};
use crate::job::memory_problem;
use crate::limits::INFERENCE_HEADER_BYTES_MAX;
use crate::memory::{Promise, Shortage};
use crate::problem::{Problem, ProblemKind};

/// The field that says how long the JSON is.
pub const HEADER_FIELD: &str = "Inference-Header-Content-Length";

/// How long the JSON before the tensors is, where the head says.
///
/// # Errors
///
/// A problem where it says so wrongly.
pub fn json_bytes(head: &RequestHead) -> Result<Option<u64>, Problem> {
    let mut values = head.field_values(HEADER_FIELD);
    let Some(value) = values.next() else { return Ok(None) };
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !is_number || values.next().is_some() {
        let detail = "the length of the JSON before the tensors is one whole number";
        return Err(Problem::new(ProblemKind::MalformedRequest, detail).at(HEADER_FIELD));
    }
    let digits = core::str::from_utf8(value).unwrap_or_default();
    // What overflows is longer than any body.
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

/// Reads JSON and tensors as they come.
#[derive(Debug)]
pub struct Reader {
    model: Model,
    demand: Demand,
    /// Bytes of the tensors, where the length of the body is known.
    tensor_bytes: Option<u64>,
    json_bytes: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Json(Vec<u8>),
    Tensors(Box<Loader>),
}

impl Reader {
    /// Sets out to read a body that begins with so many bytes of JSON.
    ///
    /// # Errors
    ///
    /// A problem where that is too many, or more than the body has.
    pub fn new(
        model: Model,
        json_bytes: u64,
        content_length: Option<u64>,
        demand: Demand,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        let tensor_bytes = match content_length {
            Some(length) if length < json_bytes => {
                let detail = format!("the JSON has {json_bytes} bytes, and the body {length}");
                return Err(Problem::new(ProblemKind::LengthMismatch, detail).at(HEADER_FIELD));
            }
            length => length.map(|length| length - json_bytes),
        };
        if json_bytes > INFERENCE_HEADER_BYTES_MAX as u64 {
            let limit = INFERENCE_HEADER_BYTES_MAX;
            let detail = format!("JSON that tensors follow as bytes has up to {limit} bytes");
            let problem = Problem::new(ProblemKind::BodyTooLarge, detail).at(HEADER_FIELD);
            return Err(problem.limit(limit as u64));
        }
        let json_bytes = json_bytes as usize;
        let short = |shortage| memory_problem(shortage, json_bytes);
        promise.resize(json_bytes).map_err(short)?;
        let mut text = Vec::new();
        text.try_reserve_exact(json_bytes).map_err(|_| short(Shortage::Now))?;
        Ok(Self { model, demand, tensor_bytes, json_bytes, stage: Stage::Json(text) })
    }

    /// Takes content; how many bytes of it, which is never none.
    ///
    /// # Errors
    ///
    /// A problem with what the JSON says, with the tensors' length, or with the memory.
    pub fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        match &mut self.stage {
            Stage::Json(text) => {
                let used = content.len().min(self.json_bytes - text.len());
                text.extend_from_slice(&content[..used]);
                if text.len() == self.json_bytes {
                    let text = core::mem::take(text);
                    let (model, demand) = (self.model, self.demand);
                    let loader = Loader::new(text, model, demand, self.tensor_bytes, promise)?;
                    self.stage = Stage::Tensors(Box::new(loader));
                }
                Ok(used)
            }
            Stage::Tensors(loader) => {
                if loader.need() != Need::Bytes {
                    let detail = "the body has more bytes than its tensors";
                    return Err(Problem::new(ProblemKind::LengthMismatch, detail));
                }
                loader.push(content, promise)
            }
        }
    }

    /// Has up to `most` bytes of a tensor read right into its place; how many. `None` where that
    /// can't be: then they are to be pushed.
    ///
    /// # Errors
    ///
    /// As for [`Reader::push`].
    pub fn fill(
        &mut self,
        most: usize,
        source: &mut Source,
        promise: &mut Promise,
    ) -> Result<Option<usize>, Problem> {
        match &mut self.stage {
            Stage::Json(_) => Ok(None),
            Stage::Tensors(loader) => loader.fill(most, source, promise),
        }
    }

    /// The tensors, of which only numbers in the JSON are still to be read, now that all content
    /// has come.
    ///
    /// # Errors
    ///
    /// A problem where it ends within the JSON.
    pub fn finish(self) -> Result<Box<Loader>, Problem> {
        match self.stage {
            Stage::Tensors(loader) => Ok(loader),
            Stage::Json(_) => {
                let detail = "the body ends within the JSON".to_string();
                Err(Problem::new(ProblemKind::LengthMismatch, detail).at(HEADER_FIELD))
            }
        }
    }
}
