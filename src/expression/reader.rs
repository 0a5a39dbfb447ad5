//! A JSON text read field by field, with the place of whatever is wrong.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::ops::RangeInclusive;

use crate::api::refusal::{malformed, pointer_part, refused};
use crate::gemm::Dtype;
use crate::json::{Cursor, Error, Kind, Skip};
use crate::problem::{Problem, ProblemKind};

/// Of a text that is not taken, so many characters are repeated in the problem.
const CHARACTERS_SHOWN: usize = 64;

/// A value in a text.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    pub cursor: Cursor<'a>,
    /// A JSON pointer (RFC 6901) to it.
    pub place: String,
}

impl<'a> Value<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(text), place: String::new() }
    }

    pub fn problem(&self, kind: ProblemKind, detail: impl Into<String>) -> Problem {
        let problem = Problem::new(kind, detail);
        if self.place.is_empty() { problem } else { problem.at(self.place.as_str()) }
    }

    /// That it is longer, larger or deeper than is taken.
    pub fn beyond(&self, limit: u64, what: &str) -> Problem {
        self.problem(ProblemKind::InvalidValue, format!("{what} {limit}")).limit(limit)
    }

    pub fn within(&self, part: &str) -> String {
        format!("{}/{}", self.place, pointer_part(part))
    }

    /// The first byte of the value.
    pub fn first(&mut self) -> Option<u8> {
        self.cursor.peek()
    }

    /// The place behind the value, all of which is checked to be JSON.
    pub fn behind(&self) -> Result<Cursor<'a>, Problem> {
        let mut cursor = self.cursor;
        let mut value = Skip::default();
        let skipped = value.advance(&mut cursor, usize::MAX);
        let place = self.place.clone();
        skipped
            .map_err(|error| refused(&error, place, ProblemKind::WrongType, Dtype::F64, &cursor))?;
        Ok(cursor)
    }

    /// That nothing follows the value, which has been read.
    pub fn ended(&mut self) -> Result<(), Problem> {
        self.cursor.end().map_err(|error| malformed(&error, &self.cursor))
    }

    /// The members of an object, in the order of their names here: each that is there.
    ///
    /// # Errors
    ///
    /// Where it is no object, or has other members, or one of them twice.
    pub fn members<const N: usize>(
        &mut self,
        names: [&'static str; N],
    ) -> Result<[Option<Self>; N], Problem> {
        let mut members = [const { None }; N];
        let place = self.clone();
        self.each_member(|name, value| {
            let Some(index) = names.iter().position(|taken| *taken == name) else {
                let detail = format!("the fields are {}", names.join(", "));
                let place = place.within(&shown(name));
                return Err(Problem::new(ProblemKind::UnknownField, detail).at(place));
            };
            if members[index].is_some() {
                return Err(value.problem(ProblemKind::DuplicateField, "the field is given twice"));
            }
            members[index] = Some(value);
            Ok(())
        })?;
        Ok(members)
    }

    /// Calls `take` with each member of an object, and stands behind it then.
    ///
    /// # Errors
    ///
    /// Where it is no object, and what `take` finds wrong.
    pub fn each_member(
        &mut self,
        mut take: impl FnMut(&str, Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        if self.cursor.peek() != Some(b'{') {
            return Err(self.mismatch(Kind::Object));
        }
        self.cursor.pass(1);
        if self.cursor.eat(b'}') {
            return Ok(());
        }
        loop {
            let name = self.cursor.name().map_err(|error| malformed(&error, &self.cursor))?;
            let value = Self { cursor: self.cursor, place: self.within(&name) };
            self.cursor = value.behind()?;
            take(&name, value)?;
            if self.cursor.eat(b'}') {
                return Ok(());
            }
            if !self.cursor.eat(b',') {
                let error = self.cursor.malformed("a comma or the object's end");
                return Err(malformed(&error, &self.cursor));
            }
        }
    }

    /// Calls `take` with each element of an array, and stands behind it then.
    ///
    /// # Errors
    ///
    /// Where it is no array, and what `take` finds wrong.
    pub fn each_element(
        &mut self,
        mut take: impl FnMut(Self) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        if self.cursor.peek() != Some(b'[') {
            return Err(self.mismatch(Kind::Array));
        }
        self.cursor.pass(1);
        if self.cursor.eat(b']') {
            return Ok(());
        }
        let mut index = 0_usize;
        loop {
            let value = Self { cursor: self.cursor, place: self.within(&index.to_string()) };
            self.cursor = value.behind()?;
            take(value)?;
            if self.cursor.eat(b']') {
                return Ok(());
            }
            if !self.cursor.eat(b',') {
                let error = self.cursor.malformed("a comma or the array's end");
                return Err(malformed(&error, &self.cursor));
            }
            index += 1;
        }
    }

    pub fn string(&mut self) -> Result<Cow<'a, str>, Problem> {
        self.cursor.string().map_err(|error| self.refused(&error, ProblemKind::WrongType))
    }

    /// A text of so many bytes.
    pub fn text(&mut self, bytes: RangeInclusive<usize>) -> Result<String, Problem> {
        let text = self.string()?;
        if text.len() > *bytes.end() {
            let detail = format!("the text may have up to {} bytes", bytes.end());
            let problem = self.problem(ProblemKind::TextTooLong, detail);
            return Err(problem.limit(*bytes.end() as u64));
        }
        if text.len() < *bytes.start() {
            return Err(self.problem(ProblemKind::InvalidValue, "the text is empty"));
        }
        Ok(text.into_owned())
    }

    pub fn boolean(&mut self) -> Result<bool, Problem> {
        self.cursor.boolean().map_err(|error| self.refused(&error, ProblemKind::NotABoolean))
    }

    pub fn number(&mut self) -> Result<f64, Problem> {
        self.cursor.number().map_err(|error| self.refused(&error, ProblemKind::NotANumber))
    }

    /// A whole number within these bounds.
    pub fn whole(&mut self, bounds: RangeInclusive<u64>) -> Result<u64, Problem> {
        let number = self.number()?;
        // Saturates, and is exact for all that a bound can be.
        let whole = number as u64;
        if whole as f64 == number && bounds.contains(&whole) {
            return Ok(whole);
        }
        let (least, most) = bounds.into_inner();
        let detail = format!("a whole number from {least} to {most} is taken");
        Err(self.problem(ProblemKind::InvalidValue, detail).limit(most))
    }

    pub fn dtype(&mut self) -> Result<Dtype, Problem> {
        let name = self.string()?;
        Dtype::from_name(&name).ok_or_else(|| {
            let detail = format!("{:?} is not a dtype of this service: f64, f32", shown(&name));
            self.problem(ProblemKind::UnknownDtype, detail)
        })
    }

    /// The problem of a value that is not what it should be, as `expected` says.
    pub fn refused(&self, error: &Error, expected: ProblemKind) -> Problem {
        refused(error, self.place.clone(), expected, Dtype::F64, &self.cursor)
    }

    fn mismatch(&mut self, wanted: Kind) -> Problem {
        let error = self.cursor.mismatch(wanted);
        if self.place.is_empty() {
            return malformed(&error, &self.cursor);
        }
        self.refused(&error, ProblemKind::WrongType)
    }
}

/// The beginning of a text of the client's.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(CHARACTERS_SHOWN).collect()
}
