//! The header of a NumPy array: a magic number, a version, a length, and a dictionary in Python's
//! syntax, of which only what NumPy writes is understood.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::formats::{ArrayHeader, ByteOrder, Scalar, Which};
use crate::limits::NPY_HEADER_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Magic, two bytes of version.
const VERSIONED_BYTES: usize = MAGIC.len() + 2;

/// Collects a header.
#[derive(Debug)]
pub struct HeaderReader {
    bytes: Vec<u8>,
}

/// What the dictionary says.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    /// As NumPy writes it, `<f8` say.
    pub descr: String,
    pub is_fortran: bool,
    pub shape: Vec<u64>,
}

impl HeaderReader {
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes bytes up to the end of the header: how many, and what it says once it is whole.
    pub fn push(
        &mut self,
        which: Which,
        bytes: &[u8],
    ) -> Result<(usize, Option<Description>), Problem> {
        let mut taken = 0;
        loop {
            let wanted = self.wanted(which)?;
            if wanted == 0 {
                let dictionary = &self.bytes[VERSIONED_BYTES + length_bytes(&self.bytes)..];
                let description = parse(dictionary).ok_or_else(|| {
                    let text = String::from_utf8_lossy(dictionary);
                    let detail = format!("the header is not one of NumPy's: {}", text.trim_end());
                    malformed(which, detail)
                })?;
                return Ok((taken, Some(description)));
            }
            let step = wanted.min(bytes.len() - taken);
            if step == 0 {
                return Ok((taken, None));
            }
            self.bytes.extend_from_slice(&bytes[taken..taken + step]);
            taken += step;
        }
    }

    /// How many bytes are known to be missing.
    fn wanted(&self, which: Which) -> Result<usize, Problem> {
        let bytes = &self.bytes[..];
        let common = bytes.len().min(MAGIC.len());
        if bytes[..common] != MAGIC[..common] {
            return Err(malformed(which, "an array begins with \\x93NUMPY"));
        }
        if bytes.len() < VERSIONED_BYTES {
            return Ok(VERSIONED_BYTES - bytes.len());
        }
        if !matches!(bytes[MAGIC.len()..VERSIONED_BYTES], [1..=3, 0]) {
            let detail = format!("version {}.{} is unknown", bytes[6], bytes[7]);
            return Err(malformed(which, detail));
        }
        let start = VERSIONED_BYTES + length_bytes(bytes);
        let Some(length) = bytes.get(VERSIONED_BYTES..start) else {
            return Ok(start - bytes.len());
        };
        let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > NPY_HEADER_BYTES_MAX {
            let detail = format!("a header may have up to {NPY_HEADER_BYTES_MAX} bytes");
            return Err(malformed(which, detail).limit(NPY_HEADER_BYTES_MAX as u64));
        }
        Ok(start + length - bytes.len())
    }
}

/// How many bytes the length of the dictionary has.
fn length_bytes(bytes: &[u8]) -> usize {
    if bytes[MAGIC.len()] == 1 { 2 } else { 4 }
}

impl Description {
    /// The header of a matrix.
    ///
    /// # Errors
    ///
    /// A problem where its elements are no numbers, or it is no matrix.
    pub fn array_header(&self, which: Which) -> Result<ArrayHeader, Problem> {
        let (scalar, order) = self.scalar().map_err(|reason| {
            let detail = format!("elements of the type {:?} {reason}", self.descr);
            Problem::new(ProblemKind::UnknownDtype, detail).at(which.pointer())
        })?;
        let header = ArrayHeader::new(which, scalar, &self.shape)?;
        Ok(header.in_order(order).by_columns(self.is_fortran))
    }

    /// The type of the elements, or why it isn't taken.
    fn scalar(&self) -> Result<(Scalar, ByteOrder), &'static str> {
        let (order, kind) = match self.descr.split_at_checked(1) {
            Some(("<" | "|", kind)) => (ByteOrder::Little, kind),
            Some((">", kind)) => (ByteOrder::Big, kind),
            _ => return Err("are not taken"),
        };
        let scalar = match kind {
            "f8" => Scalar::F64,
            "f4" => Scalar::F32,
            "f2" => Scalar::F16,
            "i8" => Scalar::I64,
            "i4" => Scalar::I32,
            "i2" => Scalar::I16,
            "i1" => Scalar::I8,
            "u8" => Scalar::U64,
            "u4" => Scalar::U32,
            "u2" => Scalar::U16,
            "u1" => Scalar::U8,
            "b1" => Scalar::Bool,
            _ => {
                return Err(match kind.as_bytes() {
                    [b'O', ..] => "are Python objects, which are never unpickled",
                    [b'c', ..] => "are complex, and only real ones are multiplied",
                    [b'f', ..] => "are floats of a length that is not taken",
                    [b'S' | b'U' | b'a', ..] => "are text",
                    [b'M' | b'm', ..] => "are times",
                    [b'V', ..] => "have no type",
                    _ => "are not taken",
                });
            }
        };
        if scalar.bytes() > 1 && self.descr.starts_with('|') {
            return Err("have no byte order");
        }
        Ok((scalar, order))
    }
}

/// Parses the dictionary, with its three keys in any order, and the spaces and line end behind it.
pub fn parse(text: &[u8]) -> Option<Description> {
    let mut rest = Cursor(text);
    let (mut descr, mut is_fortran, mut shape) = (None, None, None);
    rest.expect(b'{')?;
    while !rest.accept(b'}') {
        let key = rest.string()?;
        rest.expect(b':')?;
        match key {
            b"descr" if descr.is_none() => descr = Some(rest.descr()?),
            b"fortran_order" if is_fortran.is_none() => is_fortran = Some(rest.boolean()?),
            b"shape" if shape.is_none() => shape = Some(rest.tuple()?),
            _ => return None,
        }
        if !rest.accept(b',') {
            rest.expect(b'}')?;
            break;
        }
    }
    rest.skip_spaces();
    rest.0.is_empty().then_some(Description {
        descr: descr?,
        is_fortran: is_fortran?,
        shape: shape?,
    })
}

/// What is still to be parsed.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.accept(byte).then_some(())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.skip_spaces();
        let [quote @ (b'\'' | b'"'), rest @ ..] = self.0 else { return None };
        let length = rest.iter().position(|byte| byte == quote)?;
        let (text, behind) = (&rest[..length], &rest[length + 1..]);
        self.0 = behind;
        (!text.contains(&b'\\')).then_some(text)
    }

    /// The type of the elements. That of structured ones is a list, which is kept as its text.
    fn descr(&mut self) -> Option<String> {
        self.skip_spaces();
        if !self.0.starts_with(b"[") {
            return String::from_utf8(self.string()?.into()).ok();
        }
        let mut depth = 0_usize;
        let length = self.0.iter().position(|byte| {
            match byte {
                b'[' | b'(' => depth += 1,
                b']' | b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        })?;
        let (text, rest) = self.0.split_at(length + 1);
        self.0 = rest;
        String::from_utf8(text.into()).ok()
    }

    fn boolean(&mut self) -> Option<bool> {
        self.skip_spaces();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Some(value);
            }
        }
        None
    }

    /// Whole numbers in parentheses; one alone has a comma behind it.
    fn tuple(&mut self) -> Option<Vec<u64>> {
        self.expect(b'(')?;
        let mut items = Vec::new();
        let mut has_comma = true;
        while !self.accept(b')') {
            if !has_comma {
                return None;
            }
            items.push(self.number()?);
            has_comma = self.accept(b',');
        }
        (items.len() != 1 || has_comma).then_some(items)
    }

    fn number(&mut self) -> Option<u64> {
        self.skip_spaces();
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        core::str::from_utf8(digits).ok()?.parse().ok()
    }
}

fn malformed(which: Which, detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::MalformedBody, detail).at(which.pointer())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, if it is: type, order, shape.
    type Expected = Option<(&'static str, bool, &'static [u64])>;

    #[test]
    fn the_dictionary_is_read_as_numpy_writes_it_and_no_other() {
        #[rustfmt::skip]
        let cases: &[(&str, Expected)] = &[
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }   \n", Some(("<f8", false, &[2, 3]))),
            ("{\"shape\":(2,),\"descr\":\"|u1\",\"fortran_order\":True}", Some(("|u1", true, &[2]))),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': ()}", Some(("<f8", false, &[]))),
            ("{'descr': [('x', '<f8'), ('y', '<i4', (2,))], 'fortran_order': False, 'shape': (2,)}",
                Some(("[('x', '<f8'), ('y', '<i4', (2,))]", false, &[2]))),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2)}", None),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2 3)}", None),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, 3)}", None),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", None),
            ("{'descr': '<f8', 'fortran_order': False}", None),
            ("{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", None),
            ("{'descr': '<f8', 'fortran_order': 0, 'shape': (2,)}", None),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'more': 1}", None),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)} + 1", None),
            ("{'descr': '<f8' 'fortran_order': False, 'shape': (2,)}", None),
            ("{'descr': '<\\x668', 'fortran_order': False, 'shape': (2,)}", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(descr, is_fortran, shape)| Description {
                descr: descr.into(),
                is_fortran,
                shape: shape.into(),
            });
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }
}
