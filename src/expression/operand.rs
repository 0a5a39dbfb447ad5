//! Where the matrices of a job come from.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::reader::Value;
use crate::api::refusal::{element_place, refused};
use crate::gemm::{Dtype, Element};
use crate::json::{Error, Kind, Number, NumberArray};
use crate::limits::{DIMENSION_MAX, REFERENCE_NAME_BYTES_MAX};
use crate::problem::{Problem, ProblemKind};
use crate::store::{Layout, MatrixId};

/// A matrix of a request.
#[derive(Debug)]
pub struct Operand {
    pub name: String,
    pub content: OperandContent,
}

#[derive(Debug)]
pub enum OperandContent {
    /// A stored one, by its address.
    Matrix(MatrixId),
    /// A stored one, by a name of the account's.
    Reference(String),
    /// It came with the request.
    Inline(Inline),
}

/// The elements of a matrix, row by row.
#[derive(Debug, PartialEq)]
pub struct Inline {
    rows: usize,
    columns: usize,
    elements: Elements,
}

#[derive(Debug, PartialEq)]
enum Elements {
    F64(Vec<f64>),
    F32(Vec<f32>),
}

impl Inline {
    pub fn layout(&self) -> Layout {
        let dtype = match &self.elements {
            Elements::F64(_) => Dtype::F64,
            Elements::F32(_) => Dtype::F32,
        };
        Layout { dtype, rows: self.rows, columns: self.columns }
    }

    /// The elements, row by row, as this machine has them.
    pub fn bytes(&self) -> &[u8] {
        match &self.elements {
            Elements::F64(elements) => bytemuck::cast_slice(elements),
            Elements::F32(elements) => bytemuck::cast_slice(elements),
        }
    }
}

/// Reads an operand, whose elements have that dtype unless it says another.
pub(super) fn read(
    name: &str,
    mut value: Value,
    of_all: Option<Dtype>,
) -> Result<Operand, Problem> {
    let whole = value.clone();
    let [matrix, reference, data, shape, dtype] =
        value.members(["matrix", "reference", "data", "shape", "dtype"])?;
    let content = match (matrix, reference, data) {
        (Some(mut matrix), None, None) => OperandContent::Matrix(address(&mut matrix)?),
        (None, Some(mut reference), None) => {
            OperandContent::Reference(reference.text(1..=REFERENCE_NAME_BYTES_MAX)?)
        }
        (None, None, Some(data)) => {
            let dtype = match dtype {
                None => of_all.unwrap_or(Dtype::F64),
                Some(mut value) => {
                    let dtype = value.dtype()?;
                    if of_all.is_some_and(|of_all| of_all != dtype) {
                        let detail = "all operands are to have the dtype of the request";
                        return Err(value.problem(ProblemKind::InvalidValue, detail));
                    }
                    dtype
                }
            };
            let inline = match dtype {
                Dtype::F64 => inline(data, shape, Elements::F64)?,
                Dtype::F32 => inline(data, shape, Elements::F32)?,
            };
            return Ok(Operand { name: name.into(), content: OperandContent::Inline(inline) });
        }
        _ => {
            let detail = "an operand has one of: matrix, reference, data";
            return Err(whole.problem(ProblemKind::InvalidValue, detail));
        }
    };
    if let Some(extra) = shape.or(dtype) {
        let detail = "a stored matrix has its own shape and dtype";
        return Err(extra.problem(ProblemKind::UnknownField, detail));
    }
    Ok(Operand { name: name.into(), content })
}

fn address(value: &mut Value) -> Result<MatrixId, Problem> {
    let text = value.string()?;
    text.parse().map_err(|()| {
        let detail = "a matrix is named by sha256: and 64 lower-case hexadecimal digits";
        value.problem(ProblemKind::InvalidValue, detail)
    })
}

fn inline<T: Element + Number>(
    mut data: Value,
    shape: Option<Value>,
    wrap: impl FnOnce(Vec<T>) -> Elements,
) -> Result<Inline, Problem> {
    let stated = shape.map(|mut shape| read_shape(&mut shape)).transpose()?;
    let (mut array, kind) = match stated {
        None => (NumberArray::new(2..=2, DIMENSION_MAX), ProblemKind::NotAMatrix),
        Some(_) => (NumberArray::new(1..=1, usize::MAX), ProblemKind::WrongType),
    };
    let text = &data.cursor.text()[data.cursor.position()..data.behind()?.position()];
    let mut elements = Vec::new();
    let numbers_max = 1 + text.iter().filter(|byte| **byte == b',').count();
    if elements.try_reserve_exact(numbers_max).is_err() {
        return Err(data.problem(ProblemKind::Overloaded, "no memory for the matrix"));
    }
    while !array.advance(&mut data.cursor, &mut elements, usize::MAX).map_err(|error| {
        let (place, kind) = match error {
            // It is the matrix that is too large, wherever that was noticed.
            Error::TooLong => (data.place.clone(), kind),
            Error::Mismatch { wanted: Kind::Number, .. } => {
                (element_place(data.place.clone(), array.place()), ProblemKind::NotANumber)
            }
            _ => (element_place(data.place.clone(), array.place()), kind),
        };
        refused(&error, place, kind, T::DTYPE, &data.cursor)
    })? {}
    let lengths: Vec<usize> = array.shape().collect();
    let (rows, columns) = stated.unwrap_or_else(|| (lengths[0], lengths[1]));
    if rows.checked_mul(columns) != Some(elements.len()) {
        let length = elements.len();
        let detail = format!("the shape is {rows} x {columns}, and data has length {length}");
        return Err(data.problem(ProblemKind::ShapeMismatch, detail));
    }
    Ok(Inline { rows, columns, elements: wrap(elements) })
}

fn read_shape(value: &mut Value) -> Result<(usize, usize), Problem> {
    let mut dimensions = Vec::new();
    let whole = value.clone();
    value.each_element(|mut element| {
        if dimensions.len() == 2 {
            let detail = "a shape is [rows, columns]".to_string();
            return Err(whole.problem(ProblemKind::InvalidValue, detail));
        }
        let number = element.clone().number()?;
        if number > DIMENSION_MAX as f64 {
            return Err(element.refused(&Error::TooLong, ProblemKind::NotAMatrix));
        }
        dimensions.push(element.whole(0..=DIMENSION_MAX as u64)? as usize);
        Ok(())
    })?;
    match dimensions[..] {
        [rows, columns] => Ok((rows, columns)),
        _ => {
            let detail = "a shape is [rows, columns]";
            Err(whole.problem(ProblemKind::InvalidValue, detail))
        }
    }
}
