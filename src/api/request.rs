//! The body of `POST /v1/multiply`: JSON, read into one buffer of elements.
//!
//! All matrices of a request go into one buffer, in the order in which they come. Its size is
//! known before parsing: a matrix of e elements has at least e - 1 commas.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::gemm::{Dtype, Element, Extent, Shape};
use crate::limits::DIMENSION_MAX;
use crate::problem::{Problem, ProblemKind};

/// A checked request, by element type.
#[derive(Debug)]
pub enum MultiplyRequest {
    F64(Operation<f64>),
    F32(Operation<f32>),
}

/// What is to be computed: `alpha A B + beta C`, shapes checked.
#[derive(Debug)]
pub struct Operation<T> {
    /// The elements of all matrices.
    pub elements: Vec<T>,
    pub a: Extent,
    pub b: Extent,
    /// Present, and to be added, where beta is not zero.
    pub c: Option<Extent>,
    pub alpha: T,
    pub beta: T,
    pub shape: Shape,
}

impl MultiplyRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    ///
    /// A problem that names the field at fault, and the limit where there is one.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        // The element type may be named after the matrices. They are read as f64 until it is, and
        // read again in the rare case, since rounding twice could differ from rounding once.
        match Draft::<f64>::parse(body)? {
            Outcome::Whole(draft) => draft.check().map(Self::F64),
            Outcome::OtherDtype => match Draft::<f32>::parse(body)? {
                Outcome::Whole(draft) => draft.check().map(Self::F32),
                Outcome::OtherDtype => {
                    Err(Problem::new(ProblemKind::UnknownDtype, "two dtypes").at("/dtype"))
                }
            },
        }
    }
}

/// The fields as they were found, unchecked against each other.
#[derive(Debug)]
struct Draft<T> {
    elements: Vec<T>,
    a: Option<Extent>,
    b: Option<Extent>,
    c: Option<Extent>,
    alpha: Option<T>,
    beta: Option<T>,
    transpose_a: Option<bool>,
    transpose_b: Option<bool>,
    dtype: Option<Dtype>,
    /// Where the reader is, for errors.
    place: Place,
    /// What stopped the reader, where it was not JSON's grammar.
    stop: Option<Stop>,
}

/// Where in the body the reader is, and what it expects there.
#[derive(Debug)]
struct Place {
    field: String,
    row: Option<usize>,
    column: Option<usize>,
    /// The problem to report where another type of value stands there.
    expected: ProblemKind,
}

#[derive(Debug)]
enum Stop {
    Problem(Problem),
    OtherDtype,
}

enum Outcome<T> {
    Whole(Draft<T>),
    /// The request names the other element type.
    OtherDtype,
}

impl<T: Element> Draft<T> {
    fn parse(body: &[u8]) -> Result<Outcome<T>, Problem> {
        let mut elements = Vec::new();
        let commas = body.iter().filter(|byte| **byte == b',').count();
        // One more than the commas in each of three matrices.
        if elements.try_reserve_exact(commas + 3).is_err() {
            return Err(Problem::new(ProblemKind::Overloaded, "no memory for the matrices"));
        }
        let mut draft = Self {
            elements,
            a: None,
            b: None,
            c: None,
            alpha: None,
            beta: None,
            transpose_a: None,
            transpose_b: None,
            dtype: None,
            place: Place {
                field: String::new(),
                row: None,
                column: None,
                expected: ProblemKind::MalformedJson,
            },
            stop: None,
        };
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let read = (&mut deserializer)
            .deserialize_any(RequestVisitor(&mut draft))
            .and_then(|()| deserializer.end());
        match (draft.stop.take(), read) {
            (Some(Stop::Problem(problem)), _) => Err(problem),
            (Some(Stop::OtherDtype), _) => Ok(Outcome::OtherDtype),
            (None, Ok(())) => Ok(Outcome::Whole(draft)),
            (None, Err(error)) => Err(draft.reader_problem(&error, body)),
        }
    }

    /// Notes why reading must end, and makes the error that ends it.
    fn stop<E: de::Error>(&mut self, stop: Stop) -> E {
        self.stop = Some(stop);
        E::custom("stopped")
    }

    /// Refuses what stands at the current place.
    fn refuse<E: de::Error>(&mut self, kind: ProblemKind, detail: String) -> E {
        self.stop(Stop::Problem(Problem::new(kind, detail).at(self.place.pointer())))
    }

    fn refuse_range<E: de::Error>(&mut self) -> E {
        let problem = self.range_problem();
        self.stop(Stop::Problem(problem))
    }

    fn refuse_dimension<E: de::Error>(&mut self) -> E {
        let detail = format!("a matrix may have up to {DIMENSION_MAX} rows and columns");
        let problem = Problem::new(ProblemKind::DimensionTooLarge, detail)
            .at(self.place.pointer())
            .limit(DIMENSION_MAX as u64);
        self.stop(Stop::Problem(problem))
    }

    fn range_problem(&self) -> Problem {
        let detail = format!("the number is larger than {} can hold", T::DTYPE.name());
        Problem::new(ProblemKind::NumberOutOfRange, detail).at(self.place.pointer())
    }

    /// The problem behind an error of the JSON reader itself.
    fn reader_problem(&self, error: &serde_json::Error, body: &[u8]) -> Problem {
        let message = error.to_string();
        // The reader's categories don't tell this one apart; a test holds its wording in place.
        if message.starts_with("number out of range") {
            return self.range_problem();
        }
        if let Some(spelling) = non_finite_spelling(body, error.line(), error.column()) {
            let detail = format!("{spelling} is not a JSON number, and not taken as one");
            return Problem::new(ProblemKind::NumberNotFinite, detail).at(self.place.pointer());
        }
        match error.classify() {
            Category::Data if self.place.field.is_empty() => {
                Problem::new(ProblemKind::MalformedJson, message)
            }
            Category::Data => Problem::new(self.place.expected, message).at(self.place.pointer()),
            _ => Problem::new(ProblemKind::MalformedJson, message),
        }
    }

    fn check(self) -> Result<Operation<T>, Problem> {
        let missing = |field: &str| {
            Problem::new(ProblemKind::MissingField, format!("{field} is required"))
                .at(format!("/{field}"))
        };
        let mut a = self.a.ok_or_else(|| missing("a"))?;
        let mut b = self.b.ok_or_else(|| missing("b"))?;
        a.transposed = self.transpose_a.unwrap_or(false);
        b.transposed = self.transpose_b.unwrap_or(false);
        let ((m, k), (b_rows, n)) = (a.shape(), b.shape());
        if k != b_rows {
            let detail = format!("a is {m} x {k} and b is {b_rows} x {n}: {k} is not {b_rows}");
            return Err(Problem::new(ProblemKind::ShapeMismatch, detail).at("/b"));
        }
        let zero = T::from_f64(0.0);
        let beta = match (self.beta, self.c) {
            (None, None) => zero,
            (None, Some(_)) => T::from_f64(1.0),
            (Some(beta), c) if beta == zero || c.is_some() => beta,
            (Some(_), _) => return Err(missing("c")),
        };
        if let Some(c) = self.c
            && c.shape() != (m, n)
        {
            let detail = format!("c is {} x {} and the product is {m} x {n}", c.rows, c.columns);
            return Err(Problem::new(ProblemKind::ShapeMismatch, detail).at("/c"));
        }
        Ok(Operation {
            elements: self.elements,
            a,
            b,
            c: self.c.filter(|_| beta != zero),
            alpha: self.alpha.unwrap_or(T::from_f64(1.0)),
            beta,
            shape: Shape { m, n, k },
        })
    }
}

impl Place {
    /// A JSON pointer (RFC 6901) to the place.
    fn pointer(&self) -> String {
        let field = self.field.replace('~', "~0").replace('/', "~1");
        match (self.row, self.column) {
            (Some(row), Some(column)) => format!("/{field}/{row}/{column}"),
            (Some(row), None) => format!("/{field}/{row}"),
            _ => format!("/{field}"),
        }
    }
}

/// The NaN or infinity that stands where the reader stopped, if one does.
fn non_finite_spelling(body: &[u8], line: usize, column: usize) -> Option<&str> {
    let line_start = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    // The reader stops at the first byte of the word, a few bytes into it, or behind its quotes.
    let stop = (line_start + column).min(body.len());
    let is_word = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'+' | b'-' | b'"');
    let start = stop - body[..stop].iter().rev().take_while(|byte| is_word(byte)).count();
    let length = body[start..].iter().take_while(|byte| is_word(byte)).count();
    let word = core::str::from_utf8(&body[start..start + length]).ok()?;
    is_non_finite_word(word.trim_matches('"')).then_some(word)
}

fn is_non_finite_word(word: &str) -> bool {
    let unsigned = word.trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|name| unsigned.eq_ignore_ascii_case(name))
}

/// The request object.
struct RequestVisitor<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> Visitor<'de> for RequestVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a and b")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let draft = self.0;
        while let Some(name) = map.next_key::<String>()? {
            let already = match name.as_str() {
                "a" => Some(draft.a.is_some()),
                "b" => Some(draft.b.is_some()),
                "c" => Some(draft.c.is_some()),
                "alpha" => Some(draft.alpha.is_some()),
                "beta" => Some(draft.beta.is_some()),
                "transpose_a" => Some(draft.transpose_a.is_some()),
                "transpose_b" => Some(draft.transpose_b.is_some()),
                "dtype" => Some(draft.dtype.is_some()),
                _ => None,
            };
            let expected = ProblemKind::MalformedJson;
            draft.place = Place { field: name, row: None, column: None, expected };
            match already {
                Some(false) => {}
                Some(true) => {
                    let detail = "the field is given twice".to_owned();
                    return Err(draft.refuse(ProblemKind::DuplicateField, detail));
                }
                None => {
                    let detail = "the field is not one of this request's".to_owned();
                    return Err(draft.refuse(ProblemKind::UnknownField, detail));
                }
            }
            draft.read_field(&mut map)?;
        }
        Ok(())
    }
}

impl<T: Element> Draft<T> {
    fn read_field<'de, M: MapAccess<'de>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        match self.place.field.as_str() {
            "a" => self.a = Some(map.next_value_seed(MatrixSeed(self))?),
            "b" => self.b = Some(map.next_value_seed(MatrixSeed(self))?),
            "c" => self.c = Some(map.next_value_seed(MatrixSeed(self))?),
            "alpha" => self.alpha = Some(map.next_value_seed(ElementSeed(self))?),
            "beta" => self.beta = Some(map.next_value_seed(ElementSeed(self))?),
            "transpose_a" => self.transpose_a = Some(map.next_value_seed(BoolSeed(self))?),
            "transpose_b" => self.transpose_b = Some(map.next_value_seed(BoolSeed(self))?),
            _ => {
                let dtype = map.next_value_seed(DtypeSeed(self))?;
                self.dtype = Some(dtype);
                if dtype != T::DTYPE {
                    return Err(self.stop(Stop::OtherDtype));
                }
            }
        }
        Ok(())
    }
}

/// An array of rows.
struct MatrixSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for MatrixSeed<'_, T> {
    type Value = Extent;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Extent, D::Error> {
        self.0.place.expected = ProblemKind::NotAMatrix;
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Element> Visitor<'de> for MatrixSeed<'_, T> {
    type Value = Extent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut rows: S) -> Result<Extent, S::Error> {
        let draft = self.0;
        let start = draft.elements.len();
        let mut extent = Extent { start, ..Extent::default() };
        loop {
            draft.place.row = Some(extent.rows);
            draft.place.column = None;
            draft.place.expected = ProblemKind::NotAMatrix;
            let Some(columns) = rows.next_element_seed(RowSeed(draft))? else { break };
            if extent.rows == 0 {
                extent.columns = columns;
            } else if columns != extent.columns {
                let detail = format!(
                    "row {} has length {columns}, and row 0 has length {}",
                    extent.rows, extent.columns
                );
                draft.place.column = None;
                return Err(draft.refuse(ProblemKind::RaggedRows, detail));
            }
            extent.rows += 1;
            if extent.rows.max(columns) > DIMENSION_MAX {
                draft.place.row = None;
                return Err(draft.refuse_dimension());
            }
        }
        draft.place.row = None;
        if extent.rows == 0 {
            let detail = "[] has no second dimension; [[]] is 1 x 0".to_owned();
            return Err(draft.refuse(ProblemKind::EmptyMatrix, detail));
        }
        Ok(extent)
    }
}

/// An array of numbers, appended to the elements; its value is its length.
struct RowSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for RowSeed<'_, T> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Element> Visitor<'de> for RowSeed<'_, T> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row, an array of numbers")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut row: S) -> Result<usize, S::Error> {
        let draft = self.0;
        let mut columns = 0;
        loop {
            draft.place.column = Some(columns);
            let Some(element) = row.next_element_seed(ElementSeed(draft))? else { break };
            // The buffer was made for every comma of the body, so this never grows it.
            draft.elements.push(element);
            columns += 1;
        }
        Ok(columns)
    }
}

/// One number.
struct ElementSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for ElementSeed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        self.0.place.expected = ProblemKind::NotANumber;
        T::deserialize(deserializer, self)
    }
}

impl<'de, T: Element> Visitor<'de> for ElementSeed<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        let element = T::from_f64(value);
        if element.is_finite() { Ok(element) } else { Err(self.0.refuse_range()) }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Ok(T::from_u64(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        Ok(T::from_i64(value))
    }
}

/// `true` or `false`.
struct BoolSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for BoolSeed<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        self.0.place.expected = ProblemKind::NotABoolean;
        bool::deserialize(deserializer)
    }
}

/// The name of an element type.
struct DtypeSeed<'a, T>(&'a mut Draft<T>);

impl<'de, T: Element> DeserializeSeed<'de> for DtypeSeed<'_, T> {
    type Value = Dtype;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dtype, D::Error> {
        self.0.place.expected = ProblemKind::UnknownDtype;
        let name = String::deserialize(deserializer)?;
        Dtype::from_name(&name).ok_or_else(|| {
            let detail = format!("{name:?} is not a dtype of this service: f64, f32");
            self.0.refuse(ProblemKind::UnknownDtype, detail)
        })
    }
}
