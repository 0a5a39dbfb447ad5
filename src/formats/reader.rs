//! The body of a request, in whatever format but JSON.

use crate::api::operation::MultiplyRequest;
use crate::formats::inflate::INFLATER_BYTES;
use crate::formats::npy::NpyReader;
use crate::formats::npz::NpzReader;
use crate::formats::raw::RawReader;
use crate::formats::safetensors::SafetensorsReader;
use crate::formats::{Demand, Format, Operands, Settings};
use crate::job::memory_problem;
use crate::memory::Promise;
use crate::problem::Problem;

/// How many bytes of content, or of what comes of it, are worked on in one call.
pub const STRIDE_BYTES: usize = 256 * 1024;

/// Reads matrices from content as it comes.
#[derive(Debug)]
pub enum Reader {
    Npy(NpyReader),
    Npz(NpzReader),
    Safetensors(SafetensorsReader),
    Raw(RawReader),
}

impl Reader {
    /// Sets out to read a body of that format, and of that length if it is known, under the
    /// settings of the query. What is known to be needed before the body comes is promised.
    ///
    /// # Errors
    ///
    /// A problem where the query is wrong, the body can't have the right length, or there isn't
    /// enough memory.
    ///
    /// # Panics
    ///
    /// Where the format is JSON, which is read as a whole.
    pub fn new(
        format: Format,
        query: &str,
        content_length: Option<u64>,
        demand: Demand,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        let settings = Settings::parse(query, format)?;
        let mut demand = demand;
        if format == Format::Npz {
            demand.kept_bytes = demand.kept_bytes.saturating_add(INFLATER_BYTES);
        }
        let kept_bytes = demand.kept_bytes;
        promise.resize(kept_bytes).map_err(|shortage| memory_problem(shortage, kept_bytes))?;
        match format {
            Format::Json => panic!("JSON is not read here"),
            Format::Npy => {
                let operands = Operands::new(settings, demand);
                Ok(Self::Npy(NpyReader::new(operands, content_length)))
            }
            Format::Npz => {
                let operands = Operands::new(settings, demand);
                Ok(Self::Npz(NpzReader::new(operands, content_length)))
            }
            Format::Safetensors => {
                let operands = Operands::new(settings, demand);
                Ok(Self::Safetensors(SafetensorsReader::new(operands, content_length)))
            }
            Format::Raw => RawReader::new(settings, content_length, demand, promise).map(Self::Raw),
        }
    }

    /// Takes content; how many bytes of it. Fewer than there are, though never none, bound the work
    /// of one call: the others are to be given again.
    ///
    /// # Errors
    ///
    /// A problem where the content breaks its format, asks for what can't be done, or needs more
    /// memory than there is.
    pub fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        let content = &content[..content.len().min(STRIDE_BYTES)];
        match self {
            Self::Npy(reader) => reader.push(content, promise),
            Self::Npz(reader) => reader.push(content, promise),
            Self::Safetensors(reader) => reader.push(content, promise),
            Self::Raw(reader) => reader.push(content, promise),
        }
    }

    /// The request, now that all content has come.
    ///
    /// # Errors
    ///
    /// A problem where the content is incomplete, or a matrix is missing.
    pub fn finish(self) -> Result<MultiplyRequest, Problem> {
        match self {
            Self::Npy(reader) => reader.finish(),
            Self::Npz(reader) => reader.finish(),
            Self::Safetensors(reader) => reader.finish(),
            Self::Raw(reader) => reader.finish(),
        }
    }
}
