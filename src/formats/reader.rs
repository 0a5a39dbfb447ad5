//! The body of a request, in whatever format but JSON.

use crate::api::operation::MultiplyRequest;
use crate::formats::inflate::INFLATER_BYTES;
use crate::formats::npy::NpyReader;
use crate::formats::npz::NpzReader;
use crate::formats::raw::RawReader;
use crate::formats::safetensors::SafetensorsReader;
use crate::formats::single::Matrix;
use crate::formats::{ArrayHeader, Demand, Format, Operands, Scalar, Settings, Source, Which};
use crate::gemm::Dtype;
use crate::job::memory_problem;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

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

    /// Sets out to read one matrix, which is converted to `dtype` if that is given. `shape` is that
    /// of a raw one.
    ///
    /// # Errors
    ///
    /// As for [`Reader::new`].
    ///
    /// # Panics
    ///
    /// Where the format is JSON, which is read as a whole.
    pub fn of_single(
        format: Format,
        dtype: Option<Dtype>,
        shape: Option<(u64, u64)>,
        content_length: Option<u64>,
        kept_bytes: usize,
        promise: &mut Promise,
    ) -> Result<Self, Problem> {
        let inflater_bytes = if format == Format::Npz { INFLATER_BYTES } else { 0 };
        let kept_bytes = kept_bytes.saturating_add(inflater_bytes);
        promise.resize(kept_bytes).map_err(|shortage| memory_problem(shortage, kept_bytes))?;
        let operands = Operands::single(dtype, kept_bytes);
        Ok(match format {
            Format::Json => panic!("JSON is not read here"),
            Format::Npy => Self::Npy(NpyReader::new(operands, content_length)),
            Format::Npz => Self::Npz(NpzReader::new(operands, content_length)),
            Format::Safetensors => {
                Self::Safetensors(SafetensorsReader::new(operands, content_length))
            }
            Format::Raw => {
                let (rows, columns) = shape.ok_or_else(|| {
                    let detail = "the shape of a raw matrix is required, as shape=2x3";
                    Problem::new(ProblemKind::MissingField, detail).at("?shape")
                })?;
                let scalar = Scalar::of_dtype(dtype.unwrap_or(Dtype::F64));
                let header = ArrayHeader::new(Which::B, scalar, &[rows, columns])?;
                let headers = [(Which::B, header)];
                Self::Raw(RawReader::of(&headers, operands, content_length, promise)?)
            }
        })
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

    /// Has up to `most` bytes of content read right to where they belong; how many. `None` where
    /// that can't be: then they are to be pushed.
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
        match self {
            Self::Npy(reader) => Ok(reader.fill(most, source)),
            // Its bytes are compressed, or at least summed.
            Self::Npz(_) => Ok(None),
            Self::Safetensors(reader) => reader.fill(most, source, promise),
            Self::Raw(reader) => reader.fill(most, source, promise),
        }
    }

    /// The request, now that all content has come.
    ///
    /// # Errors
    ///
    /// A problem where the content is incomplete, or a matrix is missing.
    pub fn finish(self) -> Result<MultiplyRequest, Problem> {
        self.into_operands()?.finish()
    }

    /// The one matrix, now that all content has come.
    ///
    /// # Errors
    ///
    /// A problem where the content is incomplete.
    pub fn finish_single(self) -> Result<Matrix, Problem> {
        self.into_operands()?.finish_single()
    }

    fn into_operands(self) -> Result<Operands, Problem> {
        match self {
            Self::Npy(reader) => reader.into_operands(),
            Self::Npz(reader) => reader.into_operands(),
            Self::Safetensors(reader) => reader.into_operands(),
            Self::Raw(reader) => Ok(reader.into_operands()),
        }
    }
}
