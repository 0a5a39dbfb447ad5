//! Passing over values that nobody asks for, checked all the same.

use super::cursor::{Cursor, is_white_space};
use super::error::{Error, Kind};

/// Arrays and objects within each other.
pub const NESTING_MAX: u32 = 127;

/// Passes over one value.
#[derive(Debug, Default)]
pub struct Skip {
    open: u32,
    /// A bit for each that is open, the innermost the lowest: whether it is an object.
    objects: u128,
    next: Next,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Separator,
}

impl Skip {
    /// Passes over up to `tokens` more of the value's tokens; true once it has ended.
    ///
    /// # Errors
    ///
    /// Where it is not JSON, or nested more than [`NESTING_MAX`] deep.
    pub fn advance(&mut self, cursor: &mut Cursor, tokens: usize) -> Result<bool, Error> {
        for _ in 0..tokens {
            let byte = cursor.peek_near();
            match (self.next, byte) {
                (_, Some(byte)) if is_white_space(byte) => {}
                (Next::Value | Next::ValueOrEnd, Some(b'[' | b'{')) => self.open(cursor)?,
                (Next::ValueOrEnd | Next::Separator, Some(b']')) if !self.in_object() => {
                    self.close(cursor);
                }
                (Next::NameOrEnd | Next::Separator, Some(b'}')) if self.in_object() => {
                    self.close(cursor);
                }
                (Next::Value | Next::ValueOrEnd, _) => {
                    scalar(cursor)?;
                    self.next = Next::Separator;
                }
                (Next::Name | Next::NameOrEnd, _) => {
                    cursor.name()?;
                    self.next = Next::Value;
                }
                (Next::Separator, Some(b',')) => {
                    cursor.pass(1);
                    self.next = if self.in_object() { Next::Name } else { Next::Value };
                }
                (Next::Separator, _) => return Err(cursor.malformed("a comma or the end")),
            }
            if self.open == 0 && matches!(self.next, Next::Separator) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn open(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        if self.open == NESTING_MAX {
            return Err(cursor.malformed("no deeper nesting"));
        }
        let is_object = cursor.peek() == Some(b'{');
        cursor.pass(1);
        self.open += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.next = if is_object { Next::NameOrEnd } else { Next::ValueOrEnd };
        Ok(())
    }

    fn close(&mut self, cursor: &mut Cursor) {
        cursor.pass(1);
        self.open -= 1;
        self.objects >>= 1;
        self.next = Next::Separator;
    }
}

/// Passes over a value that is neither array nor object.
fn scalar(cursor: &mut Cursor) -> Result<(), Error> {
    match cursor.kind()? {
        Kind::Null => {
            cursor.null();
        }
        Kind::Boolean => {
            cursor.boolean()?;
        }
        Kind::String => {
            cursor.string()?;
        }
        Kind::Number => cursor.pass_number()?,
        Kind::Array | Kind::Object => unreachable!("those are opened"),
    }
    Ok(())
}
