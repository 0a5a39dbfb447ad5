//! Strings: borrowed where they have no escapes.

use alloc::borrow::Cow;
use alloc::string::String;
use core::str;

use super::error::Error;

/// The string whose opening quote stands at a place, and where it ends.
pub fn string(text: &[u8], quote: usize) -> Result<(Cow<'_, str>, usize), Error> {
    let start = quote + 1;
    let mut at = plain_end(text, start);
    if text.get(at) == Some(&b'"') {
        return Ok((Cow::Borrowed(utf8(text, start, at)?), at + 1));
    }
    let mut string = String::from(utf8(text, start, at)?);
    loop {
        match text.get(at) {
            Some(b'"') => return Ok((Cow::Owned(string), at + 1)),
            Some(b'\\') => {
                let (character, behind) = escaped(text, at + 1)?;
                string.push(character);
                at = plain_end(text, behind);
                string.push_str(utf8(text, behind, at)?);
            }
            Some(_) => return Err(Error::Malformed { at, wanted: "no control character" }),
            None => return Err(Error::Malformed { at, wanted: "the string's end" }),
        }
    }
}

/// Where the characters that stand for themselves end.
fn plain_end(text: &[u8], start: usize) -> usize {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    text[start..].iter().position(special).map_or(text.len(), |length| start + length)
}

fn utf8(text: &[u8], start: usize, end: usize) -> Result<&str, Error> {
    str::from_utf8(&text[start..end])
        .map_err(|error| Error::Malformed { at: start + error.valid_up_to(), wanted: "UTF-8" })
}

/// The character behind a backslash, and where its escape ends.
fn escaped(text: &[u8], at: usize) -> Result<(char, usize), Error> {
    let character = match text.get(at) {
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return escaped_unit(text, at + 1),
        _ => return Err(Error::Malformed { at, wanted: "an escape" }),
    };
    Ok((character, at + 1))
}

/// The character of one unit of UTF-16, or of a pair of surrogates.
fn escaped_unit(text: &[u8], at: usize) -> Result<(char, usize), Error> {
    let first = unit(text, at)?;
    let mut behind = at + 4;
    let mut units = [first, 0];
    let mut count = 1;
    if (0xd800..0xdc00).contains(&first) && text[behind..].starts_with(b"\\u") {
        units[1] = unit(text, behind + 2)?;
        count = 2;
        behind += 6;
    }
    match char::decode_utf16(units.into_iter().take(count)).next() {
        Some(Ok(character)) => Ok((character, behind)),
        _ => Err(Error::Malformed { at, wanted: "no surrogate without the other" }),
    }
}

/// Four hexadecimal digits.
fn unit(text: &[u8], at: usize) -> Result<u16, Error> {
    let mut unit = 0;
    for place in at..at + 4 {
        let digit = text.get(place).and_then(|byte| char::from(*byte).to_digit(16));
        let digit = digit.ok_or(Error::Malformed { at: place, wanted: "a hexadecimal digit" })?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}
