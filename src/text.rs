//! Text that every job writes: its bill, its response's head. The machinery of `core::fmt` would
//! take longer for it than reading, multiplying and writing a small product together.

use alloc::string::String;

/// Appends a number in decimal.
pub(crate) fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Appends a label and a number in decimal. Inlined, so that the label's length is known.
#[inline(always)]
pub(crate) fn push_labelled(text: &mut String, label: &str, number: u64) {
    text.push_str(label);
    push_number(text, number);
}

/// Appends bytes that are ASCII.
pub(crate) fn push_ascii(text: &mut String, bytes: &[u8]) {
    text.push_str(core::str::from_utf8(bytes).expect("ASCII is UTF-8"));
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    // As long as a job's id; a digest is two.
    let (pieces, rest) = bytes.as_chunks::<16>();
    for piece in pieces {
        text.push_str(const_hex::Buffer::<16>::new().format(piece));
    }
    for byte in rest {
        text.push_str(const_hex::Buffer::<1>::new().format(&[*byte]));
    }
}

/// A number below 100 in two digits.
pub(crate) fn two_digits(number: u8) -> [u8; 2] {
    debug_assert!(number < 100);
    [b'0' + number / 10, b'0' + number % 10]
}

/// The name of a field of a [`JsonObject`], with what stands before and behind it: one piece is
/// appended sooner than four.
macro_rules! field {
    ($name:literal) => {
        $crate::text::Field(concat!(",\"", $name, "\":"))
    };
}

pub(crate) use field;

/// What [`field`] makes.
#[derive(Clone, Copy)]
pub(crate) struct Field(pub &'static str);

/// A JSON object of plain words and numbers, field by field.
pub(crate) struct JsonObject<'a> {
    text: &'a mut String,
    is_empty: bool,
}

impl<'a> JsonObject<'a> {
    pub fn begin(text: &'a mut String) -> Self {
        text.push('{');
        Self { text, is_empty: true }
    }

    #[inline(always)]
    pub fn number(&mut self, name: Field, number: u64) -> &mut Self {
        self.name(name);
        push_number(self.text, number);
        self
    }

    /// A word in which nothing has to be escaped.
    #[inline(always)]
    pub fn word(&mut self, name: Field, word: &str) -> &mut Self {
        self.text_of(name, |text| text.push_str(word))
    }

    /// The same, written by `write`.
    #[inline(always)]
    pub fn text_of(&mut self, name: Field, write: impl FnOnce(&mut String)) -> &mut Self {
        self.name(name);
        self.text.push('"');
        let start = self.text.len();
        write(self.text);
        debug_assert!(
            self.text[start..]
                .bytes()
                .all(|byte| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'),
            "{}",
            &self.text[start..]
        );
        self.text.push('"');
        self
    }

    /// Any text.
    pub fn escaped(&mut self, name: Field, words: &str) -> &mut Self {
        self.name(name);
        self.text.push_str(&serde_json::to_string(words).expect("a text is JSON"));
        self
    }

    /// Whatever value `write` appends.
    pub fn value(&mut self, name: Field, write: impl FnOnce(&mut String)) -> &mut Self {
        self.name(name);
        write(self.text);
        self
    }

    /// An object within this one.
    pub fn object(&mut self, name: Field, write: impl FnOnce(&mut JsonObject<'_>)) -> &mut Self {
        self.name(name);
        let mut object = JsonObject::begin(self.text);
        write(&mut object);
        object.end();
        self
    }

    pub fn end(&mut self) {
        self.text.push('}');
    }

    /// Inlined, so that its length is known.
    #[inline(always)]
    fn name(&mut self, Field(name): Field) {
        self.text.push_str(if self.is_empty { &name[1..] } else { name });
        self.is_empty = false;
    }
}
