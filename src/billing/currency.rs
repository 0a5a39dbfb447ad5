//! Currencies by their code.

use core::fmt;
use core::str::{self, FromStr};

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// The code of a currency (ISO 4217): three capital letters. Which of them are in use changes over
/// the years, so that any three are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// The text is no code of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCurrency;

impl Currency {
    pub const EUR: Self = Self(*b"EUR");

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("capital letters are UTF-8")
    }
}

impl FromStr for Currency {
    type Err = NoCurrency;

    fn from_str(text: &str) -> Result<Self, NoCurrency> {
        let code = text.as_bytes().try_into().map_err(|_| NoCurrency)?;
        let is_code = text.bytes().all(|letter| letter.is_ascii_uppercase());
        if is_code { Ok(Self(code)) } else { Err(NoCurrency) }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for NoCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a currency is three capital letters, as in ISO 4217")
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Code;

        impl de::Visitor<'_> for Code {
            type Value = Currency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{NoCurrency}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Currency, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_three_capital_letters() {
        for (text, expected) in [
            ("EUR", Ok(Currency::EUR)),
            ("XTS", Ok(Currency(*b"XTS"))),
            ("", Err(NoCurrency)),
            ("EU", Err(NoCurrency)),
            ("EURO", Err(NoCurrency)),
            ("eur", Err(NoCurrency)),
            ("EU1", Err(NoCurrency)),
            ("Ä1", Err(NoCurrency)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
            let json = serde_json::to_string(text).expect("JSON");
            assert_eq!(serde_json::from_str(&json).ok(), expected.ok(), "{text}");
        }
        assert_eq!(serde_json::to_string(&Currency::EUR).expect("JSON"), r#""EUR""#);
    }
}
