//! The grammar of lines that head, chunks and trailers share (RFC 9110, section 5; RFC 9112).

use core::net::Ipv6Addr;

/// Whether the bytes are a `token` (RFC 9110, section 5.6.2).
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a byte may stand in a field value: visible characters, blanks, and the octets above
/// ASCII, which are opaque (RFC 9110, section 5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Splits a field line into its name and its value, without the blanks around it; `None` where it
/// is none (RFC 9112, section 5). A line that begins with a blank continues none: folding is
/// obsolete.
pub(super) fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_sound = is_token(name) && value.iter().all(|byte| is_value_byte(*byte));
    is_sound.then(|| (name, value.trim_ascii()))
}

/// Reads a chunk-size line without its CR LF (RFC 9112, section 7.1); `None` where it is none.
/// Extensions are checked and ignored (section 7.1.1). At most 15 digits are taken, so that no sum
/// with a size overflows.
pub(super) fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, mut extensions) = line.split_at(digits);
    if !(1..=15).contains(&digits.len()) {
        return None;
    }
    while !extensions.is_empty() {
        extensions = skip_extension(extensions)?;
    }
    let digit = |byte: &u8| u64::from((*byte as char).to_digit(16).unwrap_or(0));
    Some(digits.iter().map(digit).fold(0, |size, digit| size * 16 + digit))
}

/// What stands behind one chunk extension: `;` and a token, and where there is a `=`, another or a
/// quoted string. The blanks that the grammar calls bad are bad here.
fn skip_extension(text: &[u8]) -> Option<&[u8]> {
    let rest = skip_token(text.strip_prefix(b";")?)?;
    match rest.strip_prefix(b"=") {
        None => Some(rest),
        Some(value) if value.first() == Some(&b'"') => skip_quoted(value),
        Some(value) => skip_token(value),
    }
}

fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    (length > 0).then(|| &text[length..])
}

/// What stands behind a quoted string (RFC 9110, section 5.6.4).
fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut is_escaped = false;
    for (index, &byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if !is_value_byte(byte) => return None,
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(&text[index + 1..]),
            _ => {}
        }
    }
    None
}

/// Whether the bytes are an authority without userinfo, of a host that is not empty and a port
/// that may be (RFC 3986, section 3.2; RFC 9110, section 4.2.1). Address literals are IPv6 alone.
pub(super) fn is_authority(text: &str) -> bool {
    let host_end = match text.strip_prefix('[') {
        Some(literal) => literal.find(']').map(|end| end + 2),
        None => text.find(':'),
    };
    let (host, behind) = text.split_at(host_end.unwrap_or(text.len()));
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_uri_text(host, ""),
    };
    let is_port = match behind.strip_prefix(':') {
        None => behind.is_empty(),
        Some("") => true,
        // Without the sign that a number's parser lets pass.
        Some(port) => {
            port.starts_with(|first: char| first.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
    };
    is_host && is_port
}

/// Whether a text has only what RFC 3986 lets stand in a registered name (section 3.2.2), the
/// characters of `more`, and whole percent-encodings.
pub(super) fn is_uri_text(text: &str, more: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_sound = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => {
                byte.is_ascii_alphanumeric()
                    || b"-._~!$&'()*+,;=".contains(&byte)
                    || more.as_bytes().contains(&byte)
            }
        };
        if !is_sound {
            return false;
        }
    }
    true
}
