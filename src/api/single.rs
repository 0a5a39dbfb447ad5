//! A matrix that is a whole JSON text, read in slices.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::api::matrix::{Fault, MatrixReader};
use crate::api::refusal::{malformed, refused};
use crate::formats::Matrix;
use crate::formats::single::Elements;
use crate::gemm::{Dtype, Element, Extent};
use crate::json::{Cursor, Error, Kind, Number};
use crate::problem::{Problem, ProblemKind};

/// Bytes looked at, and tokens read, between two chances to pause.
const BYTES_PER_SLICE: usize = 256 * 1024;
const TOKENS_PER_SLICE: usize = 2048;

/// Reads a text.
#[derive(Debug)]
pub struct SingleReader {
    text: Vec<u8>,
    at: usize,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Counting elements, so that room for them is made once.
    Count(Dtype, usize),
    F64(Draft<f64>),
    F32(Draft<f32>),
}

#[derive(Debug)]
struct Draft<T> {
    reader: MatrixReader,
    elements: Vec<T>,
}

impl SingleReader {
    /// Nothing of the text has been read yet.
    pub fn new(text: Vec<u8>, dtype: Dtype) -> Self {
        Self { text, at: 0, stage: Stage::Count(dtype, 1) }
    }

    /// Reads until `pause` says so; the matrix, once, when all has been read.
    ///
    /// # Errors
    ///
    /// A problem that names the place at fault.
    pub fn advance(&mut self, pause: &dyn Fn() -> bool) -> Result<Option<Matrix>, Problem> {
        loop {
            let matrix = self.read_slice()?;
            if matrix.is_some() || pause() {
                return Ok(matrix);
            }
        }
    }

    fn read_slice(&mut self) -> Result<Option<Matrix>, Problem> {
        match &mut self.stage {
            Stage::Count(dtype, elements) => {
                let end = self.text.len().min(self.at + BYTES_PER_SLICE);
                // A matrix has one element more than commas, or fewer.
                *elements += self.text[self.at..end].iter().filter(|it| **it == b',').count();
                self.at = end;
                if end == self.text.len() {
                    self.at = 0;
                    self.stage = match dtype {
                        Dtype::F64 => Stage::F64(Draft::new(*elements)?),
                        Dtype::F32 => Stage::F32(Draft::new(*elements)?),
                    };
                }
                Ok(None)
            }
            Stage::F64(draft) => Ok(draft.read(&self.text, &mut self.at)?.map(Matrix::F64)),
            Stage::F32(draft) => Ok(draft.read(&self.text, &mut self.at)?.map(Matrix::F32)),
        }
    }
}

impl<T: Element + Number> Draft<T> {
    fn new(capacity: usize) -> Result<Self, Problem> {
        let mut elements = Vec::new();
        elements
            .try_reserve_exact(capacity)
            .map_err(|_| Problem::new(ProblemKind::Overloaded, "no memory for the matrix"))?;
        Ok(Self { reader: MatrixReader::Start, elements })
    }

    fn read(&mut self, text: &[u8], at: &mut usize) -> Result<Option<Elements<T>>, Problem> {
        let mut cursor = Cursor::from(text, *at);
        let shape = self.reader.advance(&mut cursor, &mut self.elements, TOKENS_PER_SLICE);
        *at = cursor.position();
        let shape = shape.map_err(|fault| refused_text(&fault, &self.reader, T::DTYPE, &cursor))?;
        let Some((rows, columns)) = shape else { return Ok(None) };
        cursor.end().map_err(|error| malformed(&error, &cursor))?;
        let extent = Extent { rows, columns, ..Extent::default() };
        Ok(Some(Elements { elements: core::mem::take(&mut self.elements), extent }))
    }
}

fn refused_text(fault: &Fault, reader: &MatrixReader, dtype: Dtype, cursor: &Cursor) -> Problem {
    match fault {
        Fault::Value(error) => {
            let expected = match error {
                Error::Mismatch { wanted: Kind::Number, .. } => ProblemKind::NotANumber,
                _ => ProblemKind::NotAMatrix,
            };
            let place =
                if matches!(error, Error::TooLong) { "".to_string() } else { reader.place() };
            refused(error, place, expected, dtype, cursor)
        }
        Fault::Part { kind, part: "", detail } => Problem::new(*kind, detail.as_str()),
        Fault::Part { kind, part, detail } => {
            Problem::new(*kind, detail.as_str()).at(alloc::format!("/{part}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, dtype: Dtype) -> Result<Matrix, Problem> {
        let mut reader = SingleReader::new(text.as_bytes().to_vec(), dtype);
        loop {
            if let Some(matrix) = reader.advance(&|| true)? {
                return Ok(matrix);
            }
        }
    }

    #[test]
    fn a_matrix_is_rows_or_a_shape_and_data() {
        for text in ["[[1,2],[3,4]]", " {\"shape\":[2,2],\"data\":[1,2,3,4]} "] {
            let matrix = read(text, Dtype::F32).expect("a matrix");
            assert_eq!((matrix.dtype(), matrix.shape()), (Dtype::F32, (2, 2)), "{text}");
            let mut bytes = Vec::new();
            matrix.push_rows(1..2, &mut bytes);
            assert_eq!(bytes, [3_f32, 4.0].map(f32::to_le_bytes).concat());
        }
        for (text, kind, field) in [
            ("[[1,2],[3]]", ProblemKind::RaggedRows, "/1"),
            ("[[1,\"x\"]]", ProblemKind::NotANumber, "/0/1"),
            ("[[1]] 2", ProblemKind::MalformedJson, ""),
            ("7", ProblemKind::NotAMatrix, ""),
            ("{\"shape\":[2,2]}", ProblemKind::MissingField, "/data"),
        ] {
            let problem = read(text, Dtype::F64).expect_err("it is wrong");
            assert_eq!(problem.kind, kind, "{text}");
            assert_eq!(problem.field.unwrap_or_default(), field, "{text}");
        }
    }
}
