//! A matrix in a JSON text: rows, or an object of its shape and its data.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::api::refusal::element_place;
use crate::json::{Cursor, Error, Kind, Number, NumberArray, is_white_space};
use crate::limits::DIMENSION_MAX;
use crate::problem::ProblemKind;

/// Reads a matrix in either form, and appends its elements, row by row.
#[derive(Debug)]
pub(super) enum MatrixReader {
    /// Nothing has been read.
    Start,
    Rows(NumberArray),
    Object(ObjectReader),
}

/// `{"shape":[rows,columns],"data":[…]}`, in either order.
#[derive(Debug)]
pub(super) struct ObjectReader {
    next: Next,
    shape: Option<(usize, usize)>,
    data: Option<NumberArray>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Name,
    NameOrEnd,
    Data,
    Separator,
}

/// Why it can't be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is wrong as JSON, or as an array of numbers, at [`MatrixReader::place`].
    Value(Error),
    /// A part of an object is wrong.
    Part { kind: ProblemKind, part: &'static str, detail: String },
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Value(error)
    }
}

impl MatrixReader {
    /// Reads up to about so many tokens more; its rows and columns once it has ended.
    pub fn advance<T: Number>(
        &mut self,
        cursor: &mut Cursor,
        elements: &mut Vec<T>,
        tokens: usize,
    ) -> Result<Option<(usize, usize)>, Fault> {
        if let Self::Start = self {
            *self = if cursor.peek() == Some(b'{') {
                cursor.pass(1);
                Self::Object(ObjectReader { next: Next::NameOrEnd, shape: None, data: None })
            } else {
                Self::Rows(NumberArray::new(2..=2, DIMENSION_MAX))
            };
        }
        match self {
            Self::Rows(rows) => {
                let has_ended = rows.advance(cursor, elements, tokens)?;
                let mut shape = rows.shape();
                Ok(has_ended.then(|| (shape.next().unwrap_or(0), shape.next().unwrap_or(0))))
            }
            Self::Object(object) => object.advance(cursor, elements, tokens),
            Self::Start => unreachable!("it has just started"),
        }
    }

    /// A JSON pointer, within the matrix, to what is read now.
    pub fn place(&self) -> String {
        let (part, indices) = match self {
            Self::Rows(rows) => ("", rows.place()),
            Self::Object(ObjectReader { next: Next::Data, data: Some(data), .. }) => {
                ("/data", data.place())
            }
            Self::Start | Self::Object(_) => ("", [].as_slice()),
        };
        element_place(part.into(), indices)
    }
}

impl ObjectReader {
    fn advance<T: Number>(
        &mut self,
        cursor: &mut Cursor,
        elements: &mut Vec<T>,
        tokens: usize,
    ) -> Result<Option<(usize, usize)>, Fault> {
        for _ in 0..tokens {
            let byte = cursor.peek_near();
            match (self.next, &mut self.data) {
                _ if byte.is_some_and(is_white_space) => {}
                (Next::Data, Some(data)) => {
                    if !data.advance(cursor, elements, tokens)? {
                        return Ok(None);
                    }
                    self.next = Next::Separator;
                }
                (Next::Separator, _) if cursor.eat(b',') => self.next = Next::Name,
                (Next::NameOrEnd | Next::Separator, _) if cursor.eat(b'}') => {
                    return self.checked_shape().map(Some);
                }
                (Next::Separator, _) => {
                    return Err(cursor.malformed("a comma or the object's end").into());
                }
                _ => self.read_part(cursor)?,
            }
        }
        Ok(None)
    }

    fn read_part(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        let name = cursor.name()?;
        let (part, is_twice) = match &*name {
            "shape" => ("shape", self.shape.is_some()),
            "data" => ("data", self.data.is_some()),
            _ => {
                let detail = "a matrix that is an object has a shape and data".to_string();
                return Err(Fault::Part { kind: ProblemKind::NotAMatrix, part: "", detail });
            }
        };
        if is_twice {
            let detail = "the field is given twice".to_string();
            return Err(Fault::Part { kind: ProblemKind::DuplicateField, part, detail });
        }
        if part == "shape" {
            self.shape = Some(read_shape(cursor)?);
            self.next = Next::Separator;
        } else {
            self.data = Some(NumberArray::new(1..=1, usize::MAX));
            self.next = Next::Data;
        }
        Ok(())
    }

    /// The shape, if the data has as many elements.
    fn checked_shape(&self) -> Result<(usize, usize), Fault> {
        let missing = |part| Fault::Part {
            kind: ProblemKind::MissingField,
            part,
            detail: format!("{part} is required"),
        };
        let (rows, columns) = self.shape.ok_or_else(|| missing("shape"))?;
        let data = self.data.as_ref().ok_or_else(|| missing("data"))?;
        let length = data.shape().next().unwrap_or(0);
        if rows.checked_mul(columns) != Some(length) {
            let detail = format!("the shape is {rows} x {columns}, and data has length {length}");
            return Err(Fault::Part { kind: ProblemKind::ShapeMismatch, part: "data", detail });
        }
        Ok((rows, columns))
    }
}

/// Two whole numbers.
fn read_shape(cursor: &mut Cursor) -> Result<(usize, usize), Fault> {
    let refused = |detail: &str| Fault::Part {
        kind: ProblemKind::NotAMatrix,
        part: "shape",
        detail: detail.to_string(),
    };
    if !cursor.eat(b'[') {
        return Err(match cursor.mismatch(Kind::Array) {
            Error::Mismatch { .. } => refused("a shape is [rows, columns]"),
            error => error.into(),
        });
    }
    let mut dimensions = [0; 2];
    for (index, dimension) in dimensions.iter_mut().enumerate() {
        if index > 0 && !cursor.eat(b',') {
            return Err(match cursor.peek() {
                Some(b']') => refused("a shape has two dimensions, this one has one"),
                _ => cursor.malformed("a comma or the array's end").into(),
            });
        }
        if index == 0 && cursor.peek() == Some(b']') {
            return Err(refused("a shape has two dimensions, this one has none"));
        }
        let number: f64 = match cursor.number() {
            Ok(number) => number,
            Err(Error::Mismatch { found, .. }) => {
                return Err(refused(&format!("a dimension is a number, not {}", found.name())));
            }
            Err(Error::OutOfRange) => f64::INFINITY,
            Err(error) => return Err(error.into()),
        };
        if number > DIMENSION_MAX as f64 {
            return Err(Error::TooLong.into());
        }
        *dimension = number as usize;
        if *dimension as f64 != number {
            return Err(refused("a dimension is a whole number, zero or more"));
        }
    }
    match cursor.peek() {
        Some(b']') => {
            cursor.pass(1);
            Ok((dimensions[0], dimensions[1]))
        }
        Some(b',') => Err(refused("a shape has two dimensions, this one has more")),
        _ => Err(cursor.malformed("a comma or the array's end").into()),
    }
}
