//! The body of `POST /v1/multiply`: JSON, read into one buffer of elements.
//!
//! All matrices of a request go into one buffer, in the order in which they come. Its size is
//! known before parsing: a matrix of e elements has at least e - 1 commas.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::de::{self, Deserializer};
use serde_json::error::Category;

use crate::api::operation::{Addend, MultiplyRequest, Operation, Parts};
use crate::api::reader::RequestVisitor;
use crate::gemm::{Dtype, Element, Extent};
use crate::limits::DIMENSION_MAX;
use crate::problem::{Problem, ProblemKind};

impl MultiplyRequest {
    /// Reads and checks a body.
    ///
    /// # Errors
    ///
    /// A problem that names the field at fault, and the limit where there is one.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        // The element type may be named after the matrices. They are read as f64 until it is, and
        // read again in the rare case, since rounding twice could differ from rounding once.
        if let Some(draft) = Draft::<f64>::parse(body)? {
            return draft.check().map(Self::F64);
        }
        match Draft::<f32>::parse(body)? {
            Some(draft) => draft.check().map(Self::F32),
            None => Err(Problem::new(ProblemKind::UnknownDtype, "two dtypes").at("/dtype")),
        }
    }
}

/// The fields as they were found, unchecked against each other.
#[derive(Debug)]
pub(super) struct Draft<T> {
    pub elements: Vec<T>,
    pub a: Option<Extent>,
    pub b: Option<Extent>,
    pub c: Option<Extent>,
    pub alpha: Option<T>,
    pub beta: Option<T>,
    pub transpose_a: Option<bool>,
    pub transpose_b: Option<bool>,
    pub dtype: Option<Dtype>,
    /// Where the reader is, for errors.
    pub place: Place,
    /// What stopped the reader, where it was not JSON's grammar.
    stop: Option<Stop>,
}

/// Where in the body the reader is, and what it expects there.
#[derive(Debug)]
pub(super) struct Place {
    pub field: String,
    pub row: Option<usize>,
    pub column: Option<usize>,
    /// The problem to report where another type of value stands there.
    pub expected: ProblemKind,
}

#[derive(Debug)]
pub(super) enum Stop {
    Problem(Problem),
    OtherDtype,
}

impl<T: Element> Draft<T> {
    /// Reads a body as one of this element type; `None` where it names the other.
    fn parse(body: &[u8]) -> Result<Option<Self>, Problem> {
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
            (Some(Stop::OtherDtype), _) => Ok(None),
            (None, Ok(())) => Ok(Some(draft)),
            (None, Err(error)) => Err(draft.reader_problem(&error, body)),
        }
    }

    /// Notes why reading must end, and makes the error that ends it.
    pub fn stop<E: de::Error>(&mut self, stop: Stop) -> E {
        self.stop = Some(stop);
        E::custom("stopped")
    }

    /// Refuses what stands at the current place.
    pub fn refuse<E: de::Error>(&mut self, kind: ProblemKind, detail: String) -> E {
        self.stop(Stop::Problem(Problem::new(kind, detail).at(self.place.pointer())))
    }

    pub fn refuse_range<E: de::Error>(&mut self) -> E {
        let problem = self.range_problem();
        self.stop(Stop::Problem(problem))
    }

    pub fn refuse_dimension<E: de::Error>(&mut self) -> E {
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
        let c = self.c.map(|c| Addend {
            elements: self.elements[c.start..c.start + c.rows * c.columns].to_vec(),
            rows: c.rows,
            columns: c.columns,
        });
        Operation::check(Parts {
            elements: self.elements,
            a: self.a,
            b: self.b,
            c,
            alpha: self.alpha,
            beta: self.beta,
            transpose_a: self.transpose_a.unwrap_or(false),
            transpose_b: self.transpose_b.unwrap_or(false),
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
