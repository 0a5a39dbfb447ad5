//! A place in a text, and the tokens that stand there.

use alloc::borrow::Cow;

use super::decimal::Number;
use super::error::{Error, Kind};
use super::number::number;
use super::string::string;

/// A place in a text. Whatever fails leaves it where it was, but for white space.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// White space that [`Self::peek_near`] passes over.
    const NEAR_BYTES: usize = 512;

    /// The beginning of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self::from(text, 0)
    }

    /// A place that another cursor in the same text had reached.
    pub fn from(text: &'a [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// How many bytes of the text are before the place.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The next byte that is not white space, if there is one.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !is_white_space(*byte) {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// As [`Self::peek`], but after half a KiB of white space comes one of it: for readers whose
    /// slices are to be short, however much white space there is.
    #[inline]
    pub fn peek_near(&mut self) -> Option<u8> {
        let end = self.text.len().min(self.at + Self::NEAR_BYTES);
        while self.at < end && is_white_space(self.text[self.at]) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Goes so many bytes on, or to the end of the text.
    pub fn pass(&mut self, bytes: usize) {
        self.at = self.text.len().min(self.at.saturating_add(bytes));
    }

    /// Passes the next byte behind white space if it is this one, and tells.
    #[inline]
    pub fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// That this is not JSON, here.
    pub fn malformed(&self, wanted: &'static str) -> Error {
        Error::Malformed { at: self.at, wanted }
    }

    /// The kind of the value that is next. All of it is checked, unless it is an array or an
    /// object.
    ///
    /// # Errors
    ///
    /// Where no value stands there.
    pub fn kind(&mut self) -> Result<Kind, Error> {
        let mut behind = *self;
        match self.peek() {
            Some(b'[') => Ok(Kind::Array),
            Some(b'{') => Ok(Kind::Object),
            Some(b'"') => behind.string().map(|_| Kind::String),
            Some(b'-' | b'0'..=b'9') => behind.pass_number().map(|()| Kind::Number),
            Some(b't' | b'f') => behind.boolean().map(|_| Kind::Boolean),
            Some(b'n') if self.is_word(b"null") => Ok(Kind::Null),
            _ => Err(self.malformed("a value")),
        }
    }

    /// That the value that is next has another kind than the one wanted.
    #[cold]
    pub fn mismatch(&mut self, wanted: Kind) -> Error {
        match self.kind() {
            Ok(found) => Error::Mismatch { wanted, found },
            Err(error) => error,
        }
    }

    /// Reads a number, rounded once to the type that is wanted.
    ///
    /// # Errors
    ///
    /// Where another value or none stands there, or the number overflows the type.
    #[inline]
    pub fn number<T: Number>(&mut self) -> Result<T, Error> {
        let start = *self;
        let number: T = self.finite_or_not()?;
        if !number.is_finite() {
            *self = start;
            return Err(Error::OutOfRange);
        }
        Ok(number)
    }

    /// Passes over a number of any size.
    ///
    /// # Errors
    ///
    /// As for [`Self::number`].
    pub fn pass_number(&mut self) -> Result<(), Error> {
        self.finite_or_not::<f64>().map(|_| ())
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    ///
    /// Where another value or none stands there.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        let first = self.peek();
        let (word, value): (&[u8], bool) = match first {
            Some(b't') => (b"true", true),
            Some(b'f') => (b"false", false),
            _ => return Err(self.mismatch(Kind::Boolean)),
        };
        if !self.is_word(word) {
            return Err(self.malformed("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Reads a string.
    ///
    /// # Errors
    ///
    /// Where another value or none stands there, or the string isn't UTF-8 or wrongly escaped.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        if self.peek() != Some(b'"') {
            return Err(self.mismatch(Kind::String));
        }
        let (string, behind) = string(self.text, self.at)?;
        self.at = behind;
        Ok(string)
    }

    /// Reads `null`, if that is next, and tells.
    pub fn null(&mut self) -> bool {
        let is_there = self.peek() == Some(b'n') && self.is_word(b"null");
        self.at += if is_there { 4 } else { 0 };
        is_there
    }

    /// Reads a member's name and its colon.
    ///
    /// # Errors
    ///
    /// Where none stands there.
    pub fn name(&mut self) -> Result<Cow<'a, str>, Error> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed("a member's name"));
        }
        let mut behind = *self;
        let name = behind.string()?;
        if !behind.eat(b':') {
            return Err(behind.malformed("a colon"));
        }
        *self = behind;
        Ok(name)
    }

    /// # Errors
    ///
    /// Where there is more than white space.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed("the end")),
        }
    }

    #[inline]
    fn finite_or_not<T: Number>(&mut self) -> Result<T, Error> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.mismatch(Kind::Number));
        }
        let (number, behind) = number(self.text, self.at)?;
        self.at = behind;
        Ok(number)
    }

    fn is_word(&self, word: &[u8]) -> bool {
        self.text[self.at..].starts_with(word)
    }
}

/// Whether a byte may stand between tokens.
#[inline(always)]
pub fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
