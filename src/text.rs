//! Text that every job writes: its bill, its response's head. The machinery of `core::fmt` would take
//! longer for it than reading, multiplying and writing a small product together.

use alloc::string::String;

/// Appends a number in decimal.
pub(crate) fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Appends bytes that are ASCII.
pub(crate) fn push_ascii(text: &mut String, bytes: &[u8]) {
    text.push_str(core::str::from_utf8(bytes).expect("ASCII is UTF-8"));
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // As long as most of what is printed: a digest is one piece, since each has its price.
    for piece in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (two, byte) in digits.chunks_exact_mut(2).zip(piece) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        push_ascii(text, &digits[..2 * piece.len()]);
    }
}

/// A number below 100 in two digits.
pub(crate) fn two_digits(number: u8) -> [u8; 2] {
    debug_assert!(number < 100);
    [b'0' + number / 10, b'0' + number % 10]
}

/// A JSON object of plain words and numbers, field by field.
pub(crate) struct JsonObject<'a> {
    text: &'a mut String,
    before: char,
}

impl<'a> JsonObject<'a> {
    pub fn begin(text: &'a mut String) -> Self {
        Self { text, before: '{' }
    }

    pub fn number(&mut self, name: &str, number: u64) -> &mut Self {
        self.name(name);
        push_number(self.text, number);
        self
    }

    /// A word in which nothing has to be escaped.
    pub fn word(&mut self, name: &str, word: &str) -> &mut Self {
        self.text_of(name, |text| text.push_str(word))
    }

    /// The same, written by `write`.
    pub fn text_of(&mut self, name: &str, write: impl FnOnce(&mut String)) -> &mut Self {
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
    pub fn escaped(&mut self, name: &str, words: &str) -> &mut Self {
        self.name(name);
        self.text.push_str(&serde_json::to_string(words).expect("a text is JSON"));
        self
    }

    /// Whatever value `write` appends.
    pub fn value(&mut self, name: &str, write: impl FnOnce(&mut String)) -> &mut Self {
        self.name(name);
        write(self.text);
        self
    }

    /// An object within this one.
    pub fn object(&mut self, name: &str, write: impl FnOnce(&mut JsonObject<'_>)) -> &mut Self {
        self.name(name);
        let mut object = JsonObject::begin(self.text);
        write(&mut object);
        object.end();
        self
    }

    pub fn end(&mut self) {
        self.text.push('}');
    }

    fn name(&mut self, name: &str) {
        self.text.push(self.before);
        self.before = ',';
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }
}
