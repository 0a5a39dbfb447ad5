//! Walking over the JSON of a request: values of one kind, each with its place, a JSON pointer.
//!
//! Every error names the place at fault.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use core::ops::Range;

use crate::api::refusal;
use crate::gemm::Dtype;
use crate::json::{Cursor, Error, Kind, Skip};
use crate::problem::{Problem, ProblemKind};

/// Reads an object: `member` is given each name with its place, and reads the value.
pub fn each_member<'t>(
    cursor: &mut Cursor<'t>,
    place: &str,
    mut member: impl FnMut(&mut Cursor<'t>, &str, &str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if !cursor.eat(b'{') {
        return Err(wrong_type(&cursor.mismatch(Kind::Object), cursor, place));
    }
    if cursor.eat(b'}') {
        return Ok(());
    }
    loop {
        let name = cursor.name().map_err(|error| refusal::malformed(&error, cursor))?;
        member(cursor, &name, &format!("{place}/{}", refusal::pointer_part(&name)))?;
        if cursor.eat(b'}') {
            return Ok(());
        }
        if !cursor.eat(b',') {
            return Err(refusal::malformed(
                &cursor.malformed("a comma or the object's end"),
                cursor,
            ));
        }
    }
}

/// Reads an array: `item` is given the place of each element, and reads it.
pub fn each_item<'t>(
    cursor: &mut Cursor<'t>,
    place: &str,
    mut item: impl FnMut(&mut Cursor<'t>, &str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if !cursor.eat(b'[') {
        return Err(wrong_type(&cursor.mismatch(Kind::Array), cursor, place));
    }
    if cursor.eat(b']') {
        return Ok(());
    }
    let mut index = 0;
    loop {
        item(cursor, &format!("{place}/{index}"))?;
        index += 1;
        if cursor.eat(b']') {
            return Ok(());
        }
        if !cursor.eat(b',') {
            return Err(refusal::malformed(
                &cursor.malformed("a comma or the array's end"),
                cursor,
            ));
        }
    }
}

/// Reads a field that may come once.
pub fn once<T>(
    field: &mut Option<T>,
    place: &str,
    read: impl FnOnce() -> Result<T, Problem>,
) -> Result<(), Problem> {
    if field.is_some() {
        return Err(twice(place));
    }
    *field = Some(read()?);
    Ok(())
}

pub fn read_string<'t>(cursor: &mut Cursor<'t>, place: &str) -> Result<Cow<'t, str>, Problem> {
    cursor.string().map_err(|error| wrong_type(&error, cursor, place))
}

pub fn read_boolean(cursor: &mut Cursor, place: &str) -> Result<bool, Problem> {
    cursor.boolean().map_err(|error| {
        refusal::refused(&error, place.to_string(), ProblemKind::NotABoolean, Dtype::F64, cursor)
    })
}

/// A whole number that is not negative.
pub fn read_count(cursor: &mut Cursor, place: &str) -> Result<u64, Problem> {
    let text = number_text(cursor, place)?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let detail = format!("{text} is not a whole number");
        return Err(Problem::new(ProblemKind::WrongType, detail).at(place));
    }
    // What overflows is refused as too large, by whoever knows the limit.
    Ok(text.parse().unwrap_or(u64::MAX))
}

pub fn number_text<'t>(cursor: &mut Cursor<'t>, place: &str) -> Result<&'t str, Problem> {
    cursor.peek();
    let start = cursor.position();
    cursor.pass_number().map_err(|error| {
        refusal::refused(&error, place.to_string(), ProblemKind::NotANumber, Dtype::F64, cursor)
    })?;
    let text = &cursor.text()[start..cursor.position()];
    Ok(core::str::from_utf8(text).expect("a number is ASCII"))
}

pub fn pass(cursor: &mut Cursor, place: &str) -> Result<(), Problem> {
    let passed = Skip::default().advance(cursor, usize::MAX);
    passed.map(|_| ()).map_err(|error| wrong_type(&error, cursor, place))
}

/// Passes over an array of numbers by its brackets alone; what is between them is read later, and
/// must then end in the same place.
pub fn pass_array(cursor: &mut Cursor, place: &str) -> Result<Range<usize>, Problem> {
    if cursor.peek() != Some(b'[') {
        return Err(wrong_type(&cursor.mismatch(Kind::Array), cursor, place));
    }
    let start = cursor.position();
    let Some(length) = bracketed(&cursor.text()[start..]) else {
        cursor.pass(usize::MAX);
        return Err(refusal::malformed(&cursor.malformed("the array's end"), cursor));
    };
    cursor.pass(length);
    Ok(start..start + length)
}

/// The bytes up to where as many brackets have closed as have opened.
fn bracketed(text: &[u8]) -> Option<usize> {
    const BLOCK: usize = 64;
    let mut open = 0_usize;
    for (index, block) in text.chunks(BLOCK).enumerate() {
        // Counted block by block first: vectors do that, and most blocks have no end in them.
        let opening = block.iter().filter(|byte| **byte == b'[').count();
        let closing = block.iter().filter(|byte| **byte == b']').count();
        if closing < open {
            open = open + opening - closing;
            continue;
        }
        for (at, byte) in block.iter().enumerate() {
            match byte {
                b'[' => open += 1,
                b']' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Some(index * BLOCK + at + 1);
            }
        }
    }
    None
}

fn wrong_type(error: &Error, cursor: &Cursor, place: &str) -> Problem {
    match error {
        Error::Mismatch { .. } => {
            Problem::new(ProblemKind::WrongType, error.detail(cursor.text())).at(place)
        }
        _ => refusal::malformed(error, cursor),
    }
}

pub fn missing(place: &str) -> Problem {
    let name = place.rsplit('/').next().unwrap_or(place);
    Problem::new(ProblemKind::MissingField, format!("{name} is required")).at(place)
}

pub fn unknown(place: &str) -> Problem {
    Problem::new(ProblemKind::UnknownField, "the field is not one of this request's").at(place)
}

pub fn twice(place: &str) -> Problem {
    Problem::new(ProblemKind::DuplicateField, "the field or tensor is given twice").at(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_ends_where_its_brackets_do() {
        for (text, length) in [
            ("[]", Some(2)),
            ("[1,2],[3]", Some(5)),
            ("[[1],[2]]]", Some(9)),
            ("[[1],[2]", None),
            ("[", None),
        ] {
            assert_eq!(bracketed(text.as_bytes()), length, "{text}");
        }
        // Around every block's end, at every depth there.
        for digits in 0..200 {
            let digits = "7".repeat(digits);
            for text in [format!("[{digits}]"), format!("[[{digits}],[{digits}]]")] {
                assert_eq!(bracketed(format!("{text},[[").as_bytes()), Some(text.len()));
                assert_eq!(bracketed(&text.as_bytes()[..text.len() - 1]), None);
            }
        }
    }
}
