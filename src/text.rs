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
    // As long as a digest, which is most of what is printed.
    let (pieces, rest) = bytes.as_chunks::<32>();
    for piece in pieces {
        push_ascii(text, hex_digits(piece).as_flattened());
    }
    if rest.is_empty() {
        return;
    }
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    push_ascii(text, &hex_digits(&last).as_flattened()[..2 * rest.len()]);
}

/// Two digits a byte, by arithmetic that takes all bytes at once: a table would take them one by one.
fn hex_digits(bytes: &[u8; 32]) -> [[u8; 2]; 32] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    bytes.map(|byte| [digit(byte >> 4), digit(byte & 15)])
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
