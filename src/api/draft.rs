//! The fields of a request, as they are found in its text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use crate::api::forecast::Forecast;
use crate::api::matrix::{Fault, MatrixReader};
use crate::api::operation::{Addend, Operation, Parts};
use crate::api::refusal::{malformed, pointer_part, refused};
use crate::gemm::{Dtype, Element, Extent};
use crate::json::{Cursor, Error, Kind, Number, is_white_space};
use crate::problem::{Problem, ProblemKind};

/// Of a name that is not a field's, so many characters are repeated in the problem.
const NAME_CHARACTERS_SHOWN: usize = 64;

/// The fields that have been read.
#[derive(Debug)]
pub(super) struct Draft<T> {
    parts: Parts<T>,
    addend: Vec<T>,
    seen: [bool; Field::COUNT],
    next: Next,
    /// The matrix that is being read, or was.
    matrix: MatrixReader,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Start,
    NameOrEnd,
    Name,
    Value(Field),
    Matrix(Field),
    Separator,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    A,
    B,
    C,
    Alpha,
    Beta,
    TransposeA,
    TransposeB,
    Dtype,
}

impl Field {
    const COUNT: usize = Self::Dtype as usize + 1;

    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "a" => Self::A,
            "b" => Self::B,
            "c" => Self::C,
            "alpha" => Self::Alpha,
            "beta" => Self::Beta,
            "transpose_a" => Self::TransposeA,
            "transpose_b" => Self::TransposeB,
            "dtype" => Self::Dtype,
            _ => return None,
        })
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::A => "/a",
            Self::B => "/b",
            Self::C => "/c",
            Self::Alpha => "/alpha",
            Self::Beta => "/beta",
            Self::TransposeA => "/transpose_a",
            Self::TransposeB => "/transpose_b",
            Self::Dtype => "/dtype",
        }
    }

    /// What it is when its value is of another kind.
    fn expected(self) -> ProblemKind {
        match self {
            Self::A | Self::B | Self::C => ProblemKind::NotAMatrix,
            Self::Alpha | Self::Beta => ProblemKind::NotANumber,
            Self::TransposeA | Self::TransposeB => ProblemKind::NotABoolean,
            Self::Dtype => ProblemKind::UnknownDtype,
        }
    }
}

impl<T: Element + Number> Draft<T> {
    /// A request without fields yet, with room for its elements.
    pub fn new(forecast: &Forecast) -> Result<Self, Problem> {
        let (mut elements, mut addend) = (Vec::new(), Vec::new());
        let reserved = elements.try_reserve_exact(forecast.operand_elements);
        if reserved.and_then(|()| addend.try_reserve_exact(forecast.addend_elements)).is_err() {
            return Err(Problem::new(ProblemKind::Overloaded, "no memory for the matrices"));
        }
        let parts = Parts { elements, ..Parts::default() };
        Ok(Self {
            parts,
            addend,
            seen: [false; Field::COUNT],
            next: Next::Start,
            matrix: MatrixReader::Start,
        })
    }

    /// Reads about so many tokens more; the operation, once the text has ended and if its fields go
    /// together.
    pub fn advance(
        &mut self,
        cursor: &mut Cursor,
        tokens: usize,
    ) -> Result<Option<Operation<T>>, Problem> {
        for _ in 0..tokens {
            let byte = cursor.peek_near();
            if byte.is_some_and(is_white_space) {
                continue;
            }
            match (self.next, byte) {
                (Next::Start, Some(b'{')) => {
                    cursor.pass(1);
                    self.next = Next::NameOrEnd;
                }
                (Next::Start, _) => {
                    return Err(malformed(&cursor.mismatch(Kind::Object), cursor));
                }
                (Next::NameOrEnd | Next::Separator, Some(b'}')) => {
                    cursor.pass(1);
                    self.next = Next::End;
                }
                (Next::NameOrEnd | Next::Name, _) => self.read_name(cursor)?,
                (Next::Value(field), _) => {
                    self.read_value(field, cursor)?;
                    self.next = Next::Separator;
                }
                (Next::Matrix(field), _) => {
                    if !self.read_matrix(field, cursor, tokens)? {
                        return Ok(None);
                    }
                }
                (Next::Separator, Some(b',')) => {
                    cursor.pass(1);
                    self.next = Next::Name;
                }
                (Next::Separator, _) => {
                    return Err(malformed(
                        &cursor.malformed("a comma or the object's end"),
                        cursor,
                    ));
                }
                (Next::End, _) => {
                    cursor.end().map_err(|error| malformed(&error, cursor))?;
                    return Operation::check(mem::take(&mut self.parts)).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn read_name(&mut self, cursor: &mut Cursor) -> Result<(), Problem> {
        let name = cursor.name().map_err(|error| malformed(&error, cursor))?;
        let Some(field) = Field::from_name(&name) else {
            let shown: String = name.chars().take(NAME_CHARACTERS_SHOWN).collect();
            let pointer = format!("/{}", pointer_part(&shown));
            let detail = "the field is not one of this request's";
            return Err(Problem::new(ProblemKind::UnknownField, detail).at(pointer));
        };
        if mem::replace(&mut self.seen[field as usize], true) {
            let detail = "the field is given twice";
            return Err(Problem::new(ProblemKind::DuplicateField, detail).at(field.pointer()));
        }
        self.next = match field {
            Field::A | Field::B | Field::C => {
                self.matrix = MatrixReader::Start;
                Next::Matrix(field)
            }
            _ => Next::Value(field),
        };
        Ok(())
    }

    fn read_value(&mut self, field: Field, cursor: &mut Cursor) -> Result<(), Problem> {
        let parts = &mut self.parts;
        let read = match field {
            Field::Alpha => cursor.number().map(|factor| parts.alpha = Some(factor)),
            Field::Beta => cursor.number().map(|factor| parts.beta = Some(factor)),
            Field::TransposeA => cursor.boolean().map(|is_set| parts.transpose_a = is_set),
            Field::TransposeB => cursor.boolean().map(|is_set| parts.transpose_b = is_set),
            Field::Dtype => match cursor.string() {
                Ok(name) => return check_dtype(&name),
                Err(error) => Err(error),
            },
            Field::A | Field::B | Field::C => unreachable!("matrices are read in slices"),
        };
        read.map_err(|error| {
            refused(&error, field.pointer().into(), field.expected(), T::DTYPE, cursor)
        })
    }

    /// True once the matrix has ended.
    fn read_matrix(
        &mut self,
        field: Field,
        cursor: &mut Cursor,
        tokens: usize,
    ) -> Result<bool, Problem> {
        let reader = &mut self.matrix;
        let elements = if field == Field::C { &mut self.addend } else { &mut self.parts.elements };
        let shape = match reader.advance(cursor, elements, tokens) {
            Ok(shape) => shape,
            Err(fault) => return Err(refused_matrix(&fault, field, reader, T::DTYPE, cursor)),
        };
        let Some((rows, columns)) = shape else { return Ok(false) };
        let end = elements.len();
        let extent = || Extent { start: end - rows * columns, rows, columns, ..Extent::default() };
        match field {
            Field::A => self.parts.a = Some(extent()),
            Field::B => self.parts.b = Some(extent()),
            _ => {
                let elements = mem::take(&mut self.addend);
                self.parts.c = Some(Addend { elements, rows, columns });
            }
        }
        self.next = Next::Separator;
        Ok(true)
    }
}

/// Which dtype it is was seen beforehand, so that the elements could be read as that.
fn check_dtype(name: &str) -> Result<(), Problem> {
    if Dtype::from_name(name).is_some() {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_CHARACTERS_SHOWN).collect();
    let detail = format!("{shown:?} is not a dtype of this service: f64, f32");
    Err(Problem::new(ProblemKind::UnknownDtype, detail).at(Field::Dtype.pointer()))
}

fn refused_matrix(
    fault: &Fault,
    field: Field,
    reader: &MatrixReader,
    dtype: Dtype,
    cursor: &Cursor,
) -> Problem {
    let matrix = field.pointer();
    match fault {
        // It is the matrix that is too large, wherever that was noticed.
        Fault::Value(Error::TooLong) => {
            refused(&Error::TooLong, matrix.into(), field.expected(), dtype, cursor)
        }
        Fault::Value(error) => {
            let expected = match error {
                Error::Mismatch { wanted: Kind::Number, .. } => ProblemKind::NotANumber,
                _ => ProblemKind::NotAMatrix,
            };
            refused(error, format!("{matrix}{}", reader.place()), expected, dtype, cursor)
        }
        Fault::Part { kind, part: "", detail } => Problem::new(*kind, detail.as_str()).at(matrix),
        Fault::Part { kind, part, detail } => {
            Problem::new(*kind, detail.as_str()).at(format!("{matrix}/{part}"))
        }
    }
}
