//! Base64 (RFC 4648, section 4): each run of bytes has one spelling here, and no other is taken.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends bytes in digits, padded.
pub(crate) fn push(text: &mut String, bytes: &[u8]) {
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
}

/// The bytes that padded digits stand for.
pub(crate) fn parse<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let padding = (3 - BYTES % 3) % 3;
    let digits = text.strip_suffix(&"=="[..padding])?;
    parse_unpadded(digits.as_bytes())
}

/// The bytes that padded digits stand for, as many as they are.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = vec![0; text.len() / 4 * 3 - padding];
    decode_to(digits.as_bytes(), &mut bytes)?;
    Some(bytes)
}

/// The bytes that digits stand for, without padding.
pub(crate) fn parse_unpadded<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    decode_to(digits, &mut bytes)?;
    Some(bytes)
}

/// Fills `bytes` from as many digits as they need.
fn decode_to(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() != (8 * bytes.len()).div_ceil(6) {
        return None;
    }
    let (mut bits, mut bit_count) = (0_u32, 0);
    let mut places = bytes.iter_mut();
    for digit in digits {
        let value = DIGITS.iter().position(|known| known == digit)?;
        bits = bits << 6 | value as u32;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            *places.next()? = (bits >> bit_count) as u8;
        }
    }
    // What is left over must be nothing.
    (bits & ((1 << bit_count) - 1) == 0).then_some(())
}

/// Whether these are digits, and perhaps padding behind them.
pub(crate) fn is_base64(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    padding <= 2 && text[..text.len() - padding].iter().all(|digit| DIGITS.contains(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn examples_there_and_back() {
        fn check<const BYTES: usize>(bytes: &[u8; BYTES], text: &str) {
            assert_eq!(decode(text).as_deref(), Some(&bytes[..]));
            let mut pushed = String::new();
            push(&mut pushed, bytes);
            assert_eq!(pushed, text);
            assert_eq!(parse::<BYTES>(text).as_ref(), Some(bytes));
        }
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"foob", "Zm9vYg==");
        check(b"fooba", "Zm9vYmE=");
        check(b"foobar", "Zm9vYmFy");
    }

    #[test]
    fn one_spelling_is_taken() {
        for wrong in ["Zh==", "Zg=", "Zg", "Zg===", "Z-==", " Zg==", "Zm8=", ""] {
            assert_eq!(parse::<1>(wrong), None, "{wrong:?}");
        }
    }
}
