//! The request target (RFC 9112, section 3.2).

use alloc::string::String;

use crate::http::grammar::{is_authority, is_uri_text};
use crate::http::head::{HeadError, Method};

/// Path and query of a target in origin form or absolute form; `*` stays `*`. The authority form
/// belongs to `CONNECT`, which no path takes.
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
    Ok((path.into(), query.into()))
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
