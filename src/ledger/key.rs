//! API keys: what a client shows, and what is kept of it.
//!
//! ```text
//! gml_3WZBKvYtP0d4q8nEw1sJ5uXgQmR7aLcVbHfTzNyDoUi16BaeN
//! |   |                                          |
//! |   256 random bits, 43 digits to base 62      CRC-32 of all before it, 6 such digits
//! so that scanners for secrets find it
//! ```
//!
//! The checksum tells a key that was mistyped from one that was never made. It says nothing about
//! which keys there are: anybody can compute it.

use alloc::string::String;
use core::fmt;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use crate::ledger::account::AccountId;
use crate::ledger::hash::Hash;
use crate::text::push_hex;

const PREFIX: &[u8] = b"gml_";
/// 62^43 is a little more than 2^256.
const SECRET_DIGITS: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM_DIGITS: usize = 6;
const BODY_BYTES: usize = PREFIX.len() + SECRET_DIGITS;

/// Bytes of a key's text.
pub const KEY_BYTES: usize = BODY_BYTES + CHECKSUM_DIGITS;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a key. It is compared by [`ApiKey::hash`] alone, and only [`ApiKey::reveal`] shows
/// it.
#[derive(Clone)]
pub struct ApiKey([u8; KEY_BYTES]);

/// A text that is no key of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Another length, another beginning, or a character that is no digit to base 62.
    NotAKey,
    /// The form is right, and a character is wrong or two changed places.
    BadChecksum,
}

impl ApiKey {
    /// The key of 256 bits that nobody can predict.
    pub fn from_random(mut bits: [u8; 32]) -> Self {
        let mut text = [0; KEY_BYTES];
        text[..PREFIX.len()].copy_from_slice(PREFIX);
        for digit in text[PREFIX.len()..BODY_BYTES].iter_mut().rev() {
            *digit = BASE62[divide_by_62(&mut bits)];
        }
        let checksum = checksum(&text[..BODY_BYTES]);
        text[BODY_BYTES..].copy_from_slice(&checksum);
        Self(text)
    }

    /// Reads what a client has sent.
    ///
    /// # Errors
    ///
    /// What is no key, or one with a typing error.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let key: [u8; KEY_BYTES] = text.try_into().map_err(|_| KeyError::NotAKey)?;
        let (prefix, digits) = key.split_at(PREFIX.len());
        if prefix != PREFIX || !digits.iter().all(u8::is_ascii_alphanumeric) {
            return Err(KeyError::NotAKey);
        }
        let (body, found) = key.split_at(BODY_BYTES);
        if found != checksum(body) {
            return Err(KeyError::BadChecksum);
        }
        Ok(Self(key))
    }

    /// The SHA-256 of its text, so that `printf %s KEY | sha256sum` tells which key one has. The
    /// secret is random and long: no salt and no slow hash would make it harder to guess.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        core::str::from_utf8(&self.0).expect("digits and letters are ASCII")
    }
}

/// Never the secret: what is printed for debugging ends in logs.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", KeyId::of(&self.hash()))
    }
}

/// Divides a number, its highest byte first, and gives the remainder.
fn divide_by_62(number: &mut [u8; 32]) -> usize {
    let mut remainder = 0;
    for byte in number {
        let dividend = remainder << 8 | u32::from(*byte);
        *byte = (dividend / 62) as u8;
        remainder = dividend % 62;
    }
    remainder as usize
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut rest = crc32fast::hash(body) as usize;
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    digits
}

/// Names a key without giving it away: the first 64 bits of its hash, 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    pub fn of(hash: &Hash) -> Self {
        Self(*hash.0.first_chunk().expect("a hash has more than 8 bytes"))
    }

    /// Reads 16 lower-case digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.as_bytes().iter().all(is_digit) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }

    /// Appends its digits.
    pub fn push_to(self, text: &mut String) {
        push_hex(text, &self.0);
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wanted = "16 hexadecimal digits";
        Self::parse(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &wanted))
    }
}

/// What a key lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send jobs.
    Submit,
    /// Read its account's bills, and what it has used.
    Read,
    /// Change accounts, keys and tariffs, and read those of all.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes; in JSON, a list of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        alloc::vec::Vec::<Scope>::deserialize(deserializer).map(Self::from_iter)
    }
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub id: KeyId,
    /// SHA-256 of its text.
    pub hash: Hash,
    pub account: AccountId,
    pub scopes: Scopes,
    /// What it is for, in its owner's words.
    pub label: String,
    pub created_unix_ns: u64,
    /// The first moment at which it is not taken any more.
    #[serde(default)]
    pub expires_unix_ns: Option<u64>,
    #[serde(default)]
    pub revoked_unix_ns: Option<u64>,
    /// It was printed when a volume had no usable key for its operator, and ends once it has made
    /// one.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub one_time: bool,
}

/// Whether a key that is known is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Expired,
    Revoked,
}

impl KeyRecord {
    /// The record of a new key that does not expire.
    pub fn new(
        key: &ApiKey,
        account: AccountId,
        scopes: Scopes,
        label: String,
        created_unix_ns: u64,
    ) -> Self {
        let hash = key.hash();
        Self {
            id: KeyId::of(&hash),
            hash,
            account,
            scopes,
            label,
            created_unix_ns,
            expires_unix_ns: None,
            revoked_unix_ns: None,
            one_time: false,
        }
    }

    /// Whether two hashes are one; takes as long for all that are not.
    pub fn same_hash(one: &Hash, other: &Hash) -> bool {
        one.0.ct_eq(&other.0).into()
    }

    /// Whether the key is taken at a time. What was revoked stays revoked, though the clock be set
    /// back.
    pub fn verdict(&self, now_unix_ns: u64) -> Verdict {
        if self.revoked_unix_ns.is_some() {
            Verdict::Revoked
        } else if self.expires_unix_ns.is_some_and(|end_ns| end_ns <= now_unix_ns) {
            Verdict::Expired
        } else {
            Verdict::Ok
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn keys_are_written_as_elsewhere() {
        // By Python: base 62 by divmod, the checksum by zlib.crc32.
        let counting: [u8; 32] = core::array::from_fn(|index| index as u8);
        for (bits, text) in [
            ([0; 32], "gml_00000000000000000000000000000000000000000003v6Dit"),
            ([255; 32], "gml_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp12IaIvD"),
            (counting, "gml_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4b45z9"),
        ] {
            let key = ApiKey::from_random(bits);
            assert_eq!(key.reveal(), text);
            assert_eq!(ApiKey::parse(text.as_bytes()).map(|key| key.hash()), Ok(key.hash()));
        }
    }

    #[test]
    fn what_is_no_key_and_what_was_mistyped() {
        let key = ApiKey::from_random([7; 32]);
        let text = key.reveal();
        let with = |at: usize, byte: u8| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = byte;
            bytes
        };
        let verdict = |text: &[u8]| ApiKey::parse(text).map(|key| key.hash());
        assert_eq!(verdict(text.as_bytes()), Ok(key.hash()));
        for wrong in ["", "gml_", &text[1..], &text[..KEY_BYTES - 1], &format!("{text}0")] {
            assert_eq!(verdict(wrong.as_bytes()), Err(KeyError::NotAKey), "{wrong}");
        }
        for at in 0..KEY_BYTES {
            for byte in
                [b'-', b'_', b' ', 0, 0xff].into_iter().filter(|byte| text.as_bytes()[at] != *byte)
            {
                assert_eq!(verdict(&with(at, byte)), Err(KeyError::NotAKey), "{at}");
            }
            // One other digit, wherever it stands.
            for byte in BASE62.iter().filter(|byte| text.as_bytes()[at] != **byte) {
                let expected =
                    if at < PREFIX.len() { KeyError::NotAKey } else { KeyError::BadChecksum };
                assert_eq!(verdict(&with(at, *byte)), Err(expected), "{at}");
            }
        }
        for at in PREFIX.len()..KEY_BYTES - 1 {
            let mut swapped = text.as_bytes().to_vec();
            swapped.swap(at, at + 1);
            if swapped != text.as_bytes() {
                assert_eq!(verdict(&swapped), Err(KeyError::BadChecksum), "{at}");
            }
        }
    }

    #[test]
    fn debugging_shows_no_secret() {
        let key = ApiKey::from_random([7; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("ApiKey({})", KeyId::of(&key.hash())));
        assert!(!shown.contains(&key.reveal()[PREFIX.len()..]));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let hash = ApiKey::from_random([7; 32]).hash();
        let id = KeyId::of(&hash);
        let text = id.to_string();
        assert_eq!(text, hash.to_string()[..16]);
        assert_eq!(KeyId::parse(&text), Some(id));
        for wrong in ["", &text[1..], &text.to_uppercase(), "+123456789abcdef"] {
            assert_eq!(KeyId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn records_in_json() {
        let key = ApiKey::from_random([7; 32]);
        let account = "acme".parse().expect("an id");
        let scopes = [Scope::Admin, Scope::Submit].into_iter().collect();
        let mut record = KeyRecord::new(&key, account, scopes, "the press".into(), 5);
        let hash = key.hash();
        let json = serde_json::to_string(&record).expect("JSON");
        assert_eq!(
            json,
            format!(
                "{{\"id\":\"{}\",\"hash\":\"{hash}\",\"account\":\"acme\",\
                 \"scopes\":[\"submit\",\"admin\"],\"label\":\"the press\",\"created_unix_ns\":5,\
                 \"expires_unix_ns\":null,\"revoked_unix_ns\":null}}",
                record.id
            )
        );
        record.expires_unix_ns = Some(u64::MAX);
        let json = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<KeyRecord>(&json).expect("a record"), record);
        assert!(serde_json::from_str::<Scopes>("[\"root\"]").is_err());
    }

    #[test]
    fn a_key_is_known_by_all_of_its_hash() {
        let hash = ApiKey::from_random([7; 32]).hash();
        assert!(KeyRecord::same_hash(&hash, &hash));
        for at in 0..32 {
            let mut other = hash;
            other.0[at] ^= 1;
            assert!(!KeyRecord::same_hash(&hash, &other), "{at}");
        }
    }

    #[test]
    fn verdicts() {
        let key = ApiKey::from_random([7; 32]);
        let account: AccountId = "acme".parse().expect("an id");
        let record = KeyRecord::new(&key, account, Scopes::default(), String::new(), 100);
        for (expires_unix_ns, revoked_unix_ns, now_unix_ns, expected) in [
            (None, None, 0, Verdict::Ok),
            (None, None, u64::MAX, Verdict::Ok),
            (Some(200), None, 199, Verdict::Ok),
            (Some(200), None, 200, Verdict::Expired),
            (None, Some(150), 150, Verdict::Revoked),
            (None, Some(150), 149, Verdict::Revoked),
            (Some(200), Some(150), 300, Verdict::Revoked),
        ] {
            let record = KeyRecord { expires_unix_ns, revoked_unix_ns, ..record.clone() };
            assert_eq!(record.verdict(now_unix_ns), expected, "{record:?} at {now_unix_ns}");
        }
    }

    #[test]
    fn sets_of_scopes() {
        let all: Scopes = Scope::ALL.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), Scope::ALL);
        let one: Scopes = [Scope::Read, Scope::Read].into_iter().collect();
        assert_eq!(Scope::ALL.map(|scope| one.contains(scope)), [false, true, false]);
        assert!(!one.is_empty() && Scopes::default().is_empty());
    }
}
