//! Values of Rust's types read by serde, for texts that are small: in one go, and with the place of
//! whatever is wrong.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::str;

use serde::de::value::CowStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Expected, Unexpected, Visitor};

use super::cursor::Cursor;
use super::error::{self, Kind};
use super::skip::{NESTING_MAX, Skip};

/// Whole numbers below this are written the same with a point behind them.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// Why a text is not what was wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadError {
    pub fault: Fault,
    pub detail: String,
    /// Names of members and indices of elements that lead to the place, the innermost first; none
    /// where the text is not JSON.
    pub path: Vec<String>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Malformed,
    WrongType,
    /// A value of the right type that is not taken.
    InvalidValue,
    /// The path leads to the field, of this and the next two.
    MissingField,
    UnknownField,
    DuplicateField,
}

/// Reads the one value that a text is.
///
/// # Errors
///
/// The first thing that is wrong, in the order of the text.
pub fn read<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, ReadError> {
    let mut reader = Reader { cursor: Cursor::new(text), depth: 0 };
    let value = T::deserialize(&mut reader)?;
    reader.cursor.end().map_err(|error| reader.error(&error))?;
    Ok(value)
}

struct Reader<'de> {
    cursor: Cursor<'de>,
    /// Arrays and objects that are open.
    depth: u32,
}

impl<'de> Reader<'de> {
    fn error(&self, error: &error::Error) -> ReadError {
        let fault = match error {
            error::Error::Malformed { .. } => Fault::Malformed,
            error::Error::OutOfRange => Fault::InvalidValue,
            _ => Fault::WrongType,
        };
        ReadError::new(fault, error.detail(self.cursor.text()))
    }

    fn malformed(&self, wanted: &'static str) -> ReadError {
        self.error(&self.cursor.malformed(wanted))
    }

    fn kind(&mut self) -> Result<Kind, ReadError> {
        self.cursor.kind().map_err(|error| self.error(&error))
    }

    fn string(&mut self) -> Result<Cow<'de, str>, ReadError> {
        self.cursor.string().map_err(|error| self.error(&error))
    }

    fn name(&mut self) -> Result<Cow<'de, str>, ReadError> {
        self.cursor.name().map_err(|error| self.error(&error))
    }

    /// A whole number as such, to its last digit.
    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadError> {
        let start = self.cursor.position();
        let number: f64 = self.cursor.number().map_err(|error| self.error(&error))?;
        let text = &self.cursor.text()[start..self.cursor.position()];
        let text = str::from_utf8(text).map_err(|_| self.malformed("a number"))?;
        if let Ok(whole) = text.parse() {
            return visitor.visit_u64(whole);
        }
        if let Ok(whole) = text.parse() {
            return visitor.visit_i64(whole);
        }
        // Spelt `3.0` or `3e2`, it is the same number.
        match number as i64 {
            whole if number.abs() < WHOLE_MAX && whole as f64 == number => visitor.visit_i64(whole),
            _ => visitor.visit_f64(number),
        }
    }

    /// Reads what stands between brackets.
    fn nested<V>(
        &mut self,
        end: u8,
        read: impl FnOnce(&mut Self) -> Result<V, ReadError>,
    ) -> Result<V, ReadError> {
        if self.depth == NESTING_MAX {
            return Err(self.malformed("no deeper nesting"));
        }
        self.depth += 1;
        self.cursor.pass(1);
        let value = read(self)?;
        self.depth -= 1;
        if self.cursor.eat(end) {
            return Ok(value);
        }
        // Whoever reads a list stops at a comma where it has all that it takes.
        Err(match self.cursor.peek() {
            Some(b',') => ReadError::new(Fault::WrongType, "there are too many elements"),
            _ => self.malformed("a comma or the end"),
        })
    }

    /// Whether there is another item before the end; a comma stands before all but the first.
    fn has_next(&mut self, end: u8, is_first: bool) -> Result<bool, ReadError> {
        if self.cursor.peek() == Some(end) {
            return Ok(false);
        }
        if !is_first && !self.cursor.eat(b',') {
            return Err(self.malformed("a comma or the end"));
        }
        Ok(true)
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.kind()? {
            Kind::Null => {
                self.cursor.null();
                visitor.visit_unit()
            }
            Kind::Boolean => {
                let value = self.cursor.boolean().map_err(|error| self.error(&error))?;
                visitor.visit_bool(value)
            }
            Kind::Number => self.number(visitor),
            Kind::String => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Kind::Array => {
                self.nested(b']', |reader| visitor.visit_seq(Items { reader, index: 0 }))
            }
            Kind::Object => self.nested(b'}', |reader| {
                visitor.visit_map(Members { reader, is_first: true, name: String::new() })
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.cursor.null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// An object; serde would take an array of its fields as well.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.kind()? {
            Kind::Object => self.deserialize_any(visitor),
            found => {
                let error = error::Error::Mismatch { wanted: Kind::Object, found };
                Err(self.error(&error))
            }
        }
    }

    /// A word for one of several variants.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_enum(CowStrDeserializer::new(self.string()?))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let mut skip = Skip::default();
        while !skip.advance(&mut self.cursor, usize::MAX).map_err(|error| self.error(&error))? {}
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        if !self.reader.has_next(b']', self.index == 0)? {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        seed.deserialize(&mut *self.reader).map(Some).map_err(|error| error.within(index))
    }
}

struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    is_first: bool,
    name: String,
}

impl<'de> de::MapAccess<'de> for Members<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        if !self.reader.has_next(b'}', self.is_first)? {
            return Ok(None);
        }
        self.is_first = false;
        let name = self.reader.name()?;
        self.name.clear();
        self.name.push_str(&name);
        seed.deserialize(CowStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        seed.deserialize(&mut *self.reader).map_err(|error| error.within(&self.name))
    }
}

impl ReadError {
    fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into(), path: Vec::new() }
    }

    fn within(mut self, place: impl ToString) -> Self {
        if self.fault != Fault::Malformed {
            self.path.push(place.to_string());
        }
        self
    }
}

impl de::Error for ReadError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Fault::InvalidValue, message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::WrongType, alloc::format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Fault::InvalidValue, alloc::format!("expected {expected}, found {found}"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Fault::MissingField, alloc::format!("{name} is required")).within(name)
    }

    fn unknown_field(name: &str, taken: &'static [&'static str]) -> Self {
        let detail = alloc::format!("the fields are {}", taken.join(", "));
        Self::new(Fault::UnknownField, detail).within(name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Fault::DuplicateField, alloc::format!("{name} is given twice")).within(name)
    }
}

impl Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl core::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Thing {
        count: u64,
        change: i64,
        share: f64,
        is_new: bool,
        name: String,
        colour: Option<Colour>,
        parts: Vec<Part>,
        by_name: BTreeMap<String, u8>,
        pair: (u8, u8),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        id: u64,
    }

    #[test]
    fn values_are_read_to_their_last_digit() {
        let text = r#" {"count":18446744073709551615, "change":-9223372036854775808,"share":3,
            "is_new":true,"name":"a\u0062\n","colour":"red","parts":[{"id":1},{"id":3.0}],
            "by_name":{"x":1,"y~/":2e1},"pair":[4,5]} "#;
        let expected = Thing {
            count: u64::MAX,
            change: i64::MIN,
            share: 3.0,
            is_new: true,
            name: "ab\n".into(),
            colour: Some(Colour::Red),
            parts: [Part { id: 1 }, Part { id: 3 }].into(),
            by_name: [("x".into(), 1), ("y~/".into(), 20)].into(),
            pair: (4, 5),
        };
        assert_eq!(read(text.as_bytes()), Ok(expected));
        assert_eq!(read(b"{}"), Ok(Thing::default()));
        assert_eq!(read(br#"{"colour":null}"#), Ok(Thing::default()));
        assert_eq!(read(br#"{"change":-3.0}"#), Ok(Thing { change: -3, ..Thing::default() }));
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, fault, place) in [
            ("", Fault::Malformed, ""),
            ("{", Fault::Malformed, ""),
            ("{}}", Fault::Malformed, ""),
            ("{,}", Fault::Malformed, ""),
            (r#"{"count":1,}"#, Fault::Malformed, ""),
            (r#"{"count":1 "change":2}"#, Fault::Malformed, ""),
            (r#"{"count"}"#, Fault::Malformed, ""),
            (r#"{"count":01}"#, Fault::Malformed, ""),
            (r#"{"count":tru}"#, Fault::Malformed, ""),
            (r#"{"parts":[{"id":1},]}"#, Fault::Malformed, ""),
            (r#"{"parts":[{"id":1}"#, Fault::Malformed, ""),
            ("[]", Fault::WrongType, ""),
            ("3", Fault::WrongType, ""),
            (r#"{"count":-1}"#, Fault::InvalidValue, "count"),
            (r#"{"count":1.5}"#, Fault::WrongType, "count"),
            (r#"{"count":18446744073709551616}"#, Fault::WrongType, "count"),
            (r#"{"share":1e400}"#, Fault::InvalidValue, "share"),
            (r#"{"count":null}"#, Fault::WrongType, "count"),
            (r#"{"count":"1"}"#, Fault::WrongType, "count"),
            (r#"{"name":[]}"#, Fault::WrongType, "name"),
            (r#"{"colour":"blue"}"#, Fault::InvalidValue, "colour"),
            (r#"{"colour":{"red":null}}"#, Fault::WrongType, "colour"),
            (r#"{"parts":[{"id":1},{"id":"x"}]}"#, Fault::WrongType, "id 1 parts"),
            (r#"{"parts":[{"id":1},{}]}"#, Fault::MissingField, "id 1 parts"),
            (r#"{"parts":[{"id":1,"is":2}]}"#, Fault::UnknownField, "is 0 parts"),
            (r#"{"parts":[{"id":1,"id":1}]}"#, Fault::DuplicateField, "id 0 parts"),
            (r#"{"by_name":{"x":256}}"#, Fault::InvalidValue, "x by_name"),
            (r#"{"pair":[1]}"#, Fault::InvalidValue, "pair"),
            (r#"{"pair":[1,2,3]}"#, Fault::WrongType, "pair"),
        ] {
            let error = read::<Thing>(text.as_bytes()).expect_err(text);
            assert_eq!((error.fault, error.path.join(" ").as_str()), (fault, place), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let depth_max = NESTING_MAX as usize;
        assert!(read::<serde_json::Value>(nested(depth_max).as_bytes()).is_ok());
        let error = read::<serde_json::Value>(nested(depth_max + 1).as_bytes());
        assert_eq!(error.expect_err("too deep").fault, Fault::Malformed);
    }
}
