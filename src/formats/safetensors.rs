//! safetensors: the length of a header, the header, which is a JSON object of tensors, and their
//! elements.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::formats::raw::RawReader;
use crate::formats::{ArrayHeader, Operands, Scalar, Source, Which};
use crate::limits::SAFETENSORS_HEADER_BYTES_MAX;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};

/// The length of the header.
const PREFIX_BYTES: usize = 8;
/// Free text, of no meaning here.
const METADATA: &str = "__metadata__";

/// Reads tensors.
#[derive(Debug)]
pub struct SafetensorsReader(Part);

#[derive(Debug)]
enum Part {
    Header {
        bytes: Vec<u8>,
        /// Until the header has come.
        operands: Option<Operands>,
        content_length: Option<u64>,
    },
    Elements(RawReader),
}

/// What the header says of a tensor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    /// Where its elements begin and end, from the end of the header.
    data_offsets: (u64, u64),
}

/// The tensors by name; no name is there twice.
struct Tensors(BTreeMap<String, Tensor>);

impl SafetensorsReader {
    pub fn new(operands: Operands, content_length: Option<u64>) -> Self {
        Self(Part::Header { bytes: Vec::new(), operands: Some(operands), content_length })
    }

    pub fn push(&mut self, content: &[u8], promise: &mut Promise) -> Result<usize, Problem> {
        let mut used = 0;
        while used < content.len() {
            let rest = &content[used..];
            match &mut self.0 {
                Part::Elements(reader) => used += reader.push(rest, promise)?,
                Part::Header { bytes, operands, content_length } => {
                    let taken = wanted(bytes)?.min(rest.len());
                    bytes.extend_from_slice(&rest[..taken]);
                    used += taken;
                    if wanted(bytes)? == 0
                        && let Some(operands) = operands.take()
                    {
                        let headers = parse(&bytes[PREFIX_BYTES..], &operands)?;
                        let header_bytes = bytes.len() as u64;
                        let length =
                            content_length.map(|length| length.saturating_sub(header_bytes));
                        let reader = RawReader::of(&headers, operands, length, promise)?;
                        self.0 = Part::Elements(reader);
                    }
                }
            }
        }
        Ok(used)
    }

    /// See [`Operands::fill`].
    pub fn fill(
        &mut self,
        most: usize,
        source: &mut Source,
        promise: &mut Promise,
    ) -> Result<Option<usize>, Problem> {
        match &mut self.0 {
            Part::Header { .. } => Ok(None),
            Part::Elements(reader) => reader.fill(most, source, promise),
        }
    }

    /// What has come.
    pub fn into_operands(self) -> Result<Operands, Problem> {
        match self.0 {
            Part::Elements(reader) => Ok(reader.into_operands()),
            Part::Header { .. } => Err(malformed("the body ends in its header")),
        }
    }
}

/// How many bytes are known to be missing from the header.
fn wanted(bytes: &[u8]) -> Result<usize, Problem> {
    let Some(prefix) = bytes.first_chunk() else { return Ok(PREFIX_BYTES - bytes.len()) };
    match usize::try_from(u64::from_le_bytes(*prefix)) {
        Ok(length) if length <= SAFETENSORS_HEADER_BYTES_MAX => {
            Ok(PREFIX_BYTES + length - bytes.len())
        }
        _ => {
            let detail = format!("a header may have up to {SAFETENSORS_HEADER_BYTES_MAX} bytes");
            Err(malformed(&detail).limit(SAFETENSORS_HEADER_BYTES_MAX as u64))
        }
    }
}

/// The matrices that a header tells of, in the order of their elements.
fn parse(text: &[u8], operands: &Operands) -> Result<Vec<(Which, ArrayHeader)>, Problem> {
    if !text.starts_with(b"{") {
        return Err(malformed("the header is not an object"));
    }
    let Tensors(tensors) =
        serde_json::from_slice(text).map_err(|error| malformed(&error.to_string()))?;
    let mut matrices = Vec::new();
    for (name, tensor) in tensors {
        let Some(which) = operands.named(&name) else {
            let detail = format!("{name:?} is not a, b or c");
            return Err(Problem::new(ProblemKind::UnknownField, detail).at(format!("/{name}")));
        };
        let Some(scalar) = scalar_of(&tensor.dtype) else {
            let detail = format!("elements of the type {:?} are not taken", tensor.dtype);
            return Err(Problem::new(ProblemKind::UnknownDtype, detail).at(which.pointer()));
        };
        let header = ArrayHeader::new(which, scalar, &tensor.shape)?;
        matrices.push((tensor.data_offsets, which, header));
    }
    matrices.sort_by_key(|(offsets, ..)| *offsets);
    let mut position = 0;
    for ((start, end), which, header) in &matrices {
        if *start != position || end.checked_sub(*start) != Some(header.bytes()) {
            let detail = format!("the elements lie at {start} to {end}, not where they should");
            return Err(malformed(&detail).at(which.pointer()));
        }
        position = *end;
    }
    Ok(matrices.into_iter().map(|(_, which, header)| (which, header)).collect())
}

fn scalar_of(dtype: &str) -> Option<Scalar> {
    Some(match dtype {
        "F64" => Scalar::F64,
        "F32" => Scalar::F32,
        "F16" => Scalar::F16,
        "BF16" => Scalar::Bf16,
        "I64" => Scalar::I64,
        "I32" => Scalar::I32,
        "I16" => Scalar::I16,
        "I8" => Scalar::I8,
        "U64" => Scalar::U64,
        "U32" => Scalar::U32,
        "U16" => Scalar::U16,
        "U8" => Scalar::U8,
        "BOOL" => Scalar::Bool,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TensorsVisitor;

        impl<'de> Visitor<'de> for TensorsVisitor {
            type Value = Tensors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tensors, M::Error> {
                let mut tensors = BTreeMap::new();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let is_new = if name == METADATA {
                        map.next_value::<IgnoredAny>()?;
                        !core::mem::replace(&mut has_metadata, true)
                    } else {
                        let tensor = map.next_value()?;
                        tensors.insert(name.clone(), tensor).is_none()
                    };
                    if !is_new {
                        return Err(de::Error::custom(format!("{name:?} is there twice")));
                    }
                }
                Ok(Tensors(tensors))
            }
        }

        deserializer.deserialize_map(TensorsVisitor)
    }
}

fn malformed(detail: &str) -> Problem {
    Problem::new(ProblemKind::MalformedBody, detail)
}
