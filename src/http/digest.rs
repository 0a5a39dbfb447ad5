//! `Content-Digest`, `Repr-Digest` and the fields that want them (RFC 9530), for SHA-256.
//!
//! A content is what one message carries, a representation the whole of which that may be a range.
//! All are dictionaries of structured fields (RFC 8941, section 3.2), of which no more is read than
//! these need: byte sequences and integers, with parameters that are ignored.

use alloc::string::String;

use sha2::{Digest as _, Sha256};

use crate::base64;
use crate::http::head::RequestHead;
use crate::http::response::Response;

/// The name of the field in responses.
pub const FIELD: &str = "Content-Digest";

/// The name of the field for representations, in requests and responses.
pub const REPRESENTATION_FIELD: &str = "Repr-Digest";

/// The one algorithm; others are ignored (RFC 9530, section 2).
const ALGORITHM: &[u8] = b"sha-256";

/// A field that is no dictionary of byte sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedDigest;

/// Content as it passes, and the digest that it should have.
#[derive(Debug)]
pub struct DigestCheck {
    hasher: Sha256,
    expected: [u8; 32],
}

impl DigestCheck {
    /// What the head says that the content has; `None` where it says nothing.
    pub fn of(head: &RequestHead) -> Result<Option<Self>, MalformedDigest> {
        let expected = sent(head, FIELD)?;
        Ok(expected.map(|expected| Self { hasher: Sha256::new(), expected }))
    }

    pub fn update(&mut self, content: &[u8]) {
        self.hasher.update(content);
    }

    /// Whether the content, now whole, has that digest.
    pub fn is_met(self) -> bool {
        self.hasher.finalize()[..] == self.expected
    }
}

/// The digest of the representation that the head says it is about; `None` where it says none.
///
/// # Errors
///
/// Where it can't be read.
pub fn of_representation(head: &RequestHead) -> Result<Option<[u8; 32]>, MalformedDigest> {
    sent(head, REPRESENTATION_FIELD)
}

/// The digest that a field of that name brings.
fn sent(head: &RequestHead, name: &str) -> Result<Option<[u8; 32]>, MalformedDigest> {
    let mut digest = None;
    for value in head.field_values(name) {
        for member in members(value) {
            let (key, value) = member.ok_or(MalformedDigest)?;
            let digits = value
                .strip_prefix(b":")
                .and_then(|value| value.strip_suffix(b":"))
                .filter(|digits| base64::is_base64(digits))
                .ok_or(MalformedDigest)?;
            if key == ALGORITHM {
                // The last of a key counts (RFC 8941, section 4.2.2).
                digest = Some(decode(digits).ok_or(MalformedDigest)?);
            }
        }
    }
    Ok(digest)
}

/// Whether the client wants `Content-Digest` with the reply: a weight of `sha-256` other than 0.
/// What can't be read is no wish.
pub fn is_wanted(head: &RequestHead) -> bool {
    wants(head, "want-content-digest")
}

/// Whether it wants `Repr-Digest`.
pub fn is_representation_wanted(head: &RequestHead) -> bool {
    wants(head, "want-repr-digest")
}

fn wants(head: &RequestHead, name: &str) -> bool {
    let mut is_wanted = false;
    for value in head.field_values(name) {
        for member in members(value) {
            match member {
                Some((ALGORITHM, b"0")) => is_wanted = false,
                Some((ALGORITHM, b"10" | [b'1'..=b'9'])) => is_wanted = true,
                Some((ALGORITHM, _)) | None => return false,
                Some(_) => {}
            }
        }
    }
    is_wanted
}

/// The response with the digest of its content, which is hashed at once.
pub fn with_digest(response: Response) -> Response {
    let mut hasher = Sha256::new();
    response.body.pieces().for_each(|piece| hasher.update(piece.as_bytes()));
    response.with_field(FIELD, &field_value(hasher))
}

/// The value of `Content-Digest` for content that was hashed.
pub fn field_value(hasher: Sha256) -> String {
    value_of(&hasher.finalize().into())
}

/// The value of either field for a SHA-256.
pub fn value_of(hash: &[u8; 32]) -> String {
    let mut text = String::from("sha-256=:");
    base64::push(&mut text, hash);
    text.push(':');
    text
}

/// The members of a dictionary, key and value; `None` for what is none.
fn members(field: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    field.split(|byte| *byte == b',').filter(|_| !field.is_empty()).map(|member| {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let item = parts.next()?;
        let key_bytes = item.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&item[..key_bytes], &item[key_bytes + 1..]);
        let is_sound = is_key(key) && parts.all(is_parameter);
        is_sound.then_some((key, value))
    })
}

/// RFC 8941, section 3.1.2, without strings.
fn is_parameter(text: &[u8]) -> bool {
    let mut parts = text.splitn(2, |byte| *byte == b'=');
    parts.next().is_some_and(is_key)
        && parts.next().is_none_or(|value| {
            !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"')
        })
}

fn is_key(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'a'..=b'z' | b'*'))
        && text
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'))
}

/// The 32 bytes that 43 digits, and a `=` that may be left out, stand for.
fn decode(digits: &[u8]) -> Option<[u8; 32]> {
    base64::parse_unpadded(digits.strip_suffix(b"=").unwrap_or(digits))
}
