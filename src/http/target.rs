//! The request target (RFC 9112, section 3.2).

use alloc::string::String;

use crate::http::grammar::{is_authority, is_uri_text};
use crate::http::head::{HeadError, Method};

/// Path and query of a target in origin form or absolute form; `*` stays `*`. The authority form
/// belongs to `CONNECT`, which no path takes. In the path nothing is encoded that may stand there.
pub(super) fn parse(target: &str, method: Method) -> Result<(String, String), HeadError> {
    if target == "*" {
        // Section 3.2.4: the asterisk form is only for OPTIONS.
        return match method {
            Method::Options => Ok(("*".into(), String::new())),
            _ => Err(HeadError::Malformed("a target of * is only for OPTIONS")),
        };
    }
    let origin = if target.starts_with('/') { target } else { skip_authority(target)? };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    // A fragment is no part of a target (RFC 9112, section 3.2.1), and neither is anything else
    // that RFC 3986 has no place for: others may cut it elsewhere.
    if !is_uri_text(path, ":@/") || !is_uri_text(query, ":@/?") {
        return Err(HeadError::Malformed("the target has a character that must be encoded"));
    }
    // RFC 9110, section 4.2.3: an empty path is the same as `/`.
    let path = if path.is_empty() { "/" } else { path };
    Ok((decoded(path), query.into()))
}

/// The characters of a segment.
const SEGMENT_MARKS: &str = ":@";

/// A path with each encoded character that may stand in a segment as itself: clients encode the
/// colon in the address of a matrix or do not. Others stay encoded, a slash above all (RFC 3986,
/// section 2.2).
fn decoded(path: &str) -> String {
    if !path.as_bytes().contains(&b'%') {
        return path.into();
    }
    let mut pieces = path.split('%');
    let mut text = String::from(pieces.next().unwrap_or(""));
    for piece in pieces {
        // Whole encodings alone have come so far.
        let (digits, behind) = piece.split_at(2);
        let byte = u8::from_str_radix(digits, 16).unwrap_or(b'%');
        let character = char::from(byte);
        if character.is_ascii() && is_uri_text(character.encode_utf8(&mut [0; 4]), SEGMENT_MARKS) {
            text.push(character);
        } else {
            text.push('%');
            text.push_str(digits);
        }
        text.push_str(behind);
    }
    text
}

/// The part of an absolute form behind its authority.
fn skip_authority(target: &str) -> Result<&str, HeadError> {
    let malformed = HeadError::Malformed("the request target");
    let (scheme, rest) = target.split_once("://").ok_or(malformed)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(malformed);
    }
    let (authority, origin) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // RFC 9110, sections 4.2.1 and 4.2.4: an empty host is invalid, userinfo is an error.
    if is_authority(authority) { Ok(origin) } else { Err(malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_need_not_be_encoded_is_not() {
        for (target, path) in [
            ("/v1/matrices/sha256%3Aab%2d", "/v1/matrices/sha256:ab-"),
            ("/v1/%6Dultiply?a=%3A", "/v1/multiply"),
            ("/a%2fb%2Fc%25%3f%23%20%c3%A9%00", "/a%2fb%2Fc%25%3f%23%20%c3%A9%00"),
            ("/%40%3A%2", ""),
        ] {
            let parsed = parse(target, Method::Get).map(|(path, _)| path);
            assert_eq!(parsed.as_deref().unwrap_or(""), path, "{target}");
        }
    }
}
