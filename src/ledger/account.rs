//! Accounts: who pays, by which tariff, and within which limits.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{
    ACCOUNT_BURST_MAX, ACCOUNT_ID_BYTES_MAX, ACCOUNT_JOBS_AT_ONCE_MAX, ACCOUNT_NAME_BYTES_MAX,
    ACCOUNT_REQUESTS_PER_SECOND_MAX,
};

/// The name of an account in paths, in the ledger and on invoices: some of `a` to `z`, `0` to `9`
/// and `-`, chosen by the operator for good.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountId(Arc<str>);

/// Not the id of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAccountId;

impl AccountId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = NotAnAccountId;

    fn from_str(text: &str) -> Result<Self, NotAnAccountId> {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_id = (1..=ACCOUNT_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        if is_id { Ok(Self(text.into())) } else { Err(NotAnAccountId) }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wanted = "1 to 32 of a-z, 0-9 and -";
        text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &wanted))
    }
}

const _: () = assert!(ACCOUNT_ID_BYTES_MAX == 32, "messages say so");

/// One who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    /// For people.
    pub name: String,
    /// The name of its tariff.
    pub tariff: Arc<str>,
    #[serde(default)]
    pub limits: AccountLimits,
    /// It pays in advance: what it was credited is what it can be charged.
    #[serde(default)]
    pub prepaid: bool,
    /// Its keys are not taken any more; what it was charged stays.
    #[serde(default)]
    pub closed: bool,
    pub created_unix_ns: u64,
}

/// What an account may use; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountLimits {
    /// Requests for products, on average.
    pub requests_per_second: Option<u32>,
    /// Requests at once, before that average counts; as many as a second's, unless given.
    pub burst: Option<u32>,
    /// Jobs in progress.
    pub jobs_at_once: Option<u32>,
    /// Operations billed in a day, which begins at midnight in UTC.
    pub flops_per_day: Option<u64>,
    /// Micro-units of the currency billed in a calendar month, in UTC.
    pub amount_micros_per_month: Option<u64>,
    /// Bytes of stored matrices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes_max: Option<u64>,
}

/// A limit that is none, or none that can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitError {
    /// The field at fault.
    pub field: &'static str,
    pub reason: &'static str,
    /// The most that it can be.
    pub limit: Option<u64>,
}

impl Account {
    /// An open one without limits, which pays afterwards.
    pub fn new(id: AccountId, name: String, tariff: Arc<str>, created_unix_ns: u64) -> Self {
        let limits = AccountLimits::default();
        Self { id, name, tariff, limits, prepaid: false, closed: false, created_unix_ns }
    }
}

impl AccountLimits {
    /// # Errors
    ///
    /// A rate of nothing, or beyond what can be counted, and a burst without a rate.
    pub fn check(&self) -> Result<(), LimitError> {
        for (field, value, limit) in [
            ("requests_per_second", self.requests_per_second, ACCOUNT_REQUESTS_PER_SECOND_MAX),
            ("burst", self.burst, ACCOUNT_BURST_MAX),
            ("jobs_at_once", self.jobs_at_once, ACCOUNT_JOBS_AT_ONCE_MAX),
        ] {
            let reason = match value {
                Some(0) => "it is at least 1: an account that may do nothing is closed",
                Some(value) if value > limit => "it is more than can be counted",
                _ => continue,
            };
            return Err(LimitError { field, reason, limit: Some(limit.into()) });
        }
        if self.burst.is_some() && self.requests_per_second.is_none() {
            let reason = "a burst is of requests_per_second, which is not limited";
            return Err(LimitError { field: "burst", reason, limit: None });
        }
        Ok(())
    }

    /// The token bucket of its requests: tokens a second, and as many as it holds.
    pub fn request_bucket(&self) -> Option<(u32, u32)> {
        let per_second = self.requests_per_second?;
        Some((per_second, self.burst.unwrap_or(per_second)))
    }
}

/// Whether a text can be the name of an account, or the like: for people, on one line.
pub fn is_name(text: &str) -> bool {
    text.len() <= ACCOUNT_NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn ids_of_accounts() {
        for (text, is_id) in [
            ("a", true),
            ("acme-2", true),
            ("-", true),
            ("0123456789abcdefghijklmnopqrstuv", true),
            ("0123456789abcdefghijklmnopqrstuvw", false),
            ("", false),
            ("Acme", false),
            ("a b", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(text.parse::<AccountId>().is_ok(), is_id, "{text:?}");
            let json = serde_json::to_string(text).expect("JSON");
            let read = serde_json::from_str::<AccountId>(&json);
            assert_eq!(read.is_ok_and(|id| id.as_str() == text), is_id, "{text:?}");
        }
    }

    #[test]
    fn limits_that_can_be_held() {
        let none = AccountLimits::default();
        let field = |limits: AccountLimits| limits.check().err().map(|error| error.field);
        for (limits, expected) in [
            (none, None),
            (AccountLimits { requests_per_second: Some(1), ..none }, None),
            (AccountLimits { requests_per_second: Some(1), burst: Some(9), ..none }, None),
            (AccountLimits { flops_per_day: Some(0), ..none }, None),
            (AccountLimits { amount_micros_per_month: Some(u64::MAX), ..none }, None),
            (AccountLimits { requests_per_second: Some(0), ..none }, Some("requests_per_second")),
            (
                AccountLimits {
                    requests_per_second: Some(ACCOUNT_REQUESTS_PER_SECOND_MAX + 1),
                    ..none
                },
                Some("requests_per_second"),
            ),
            (AccountLimits { burst: Some(9), ..none }, Some("burst")),
            (AccountLimits { requests_per_second: Some(1), burst: Some(0), ..none }, Some("burst")),
            (AccountLimits { jobs_at_once: Some(0), ..none }, Some("jobs_at_once")),
        ] {
            assert_eq!(field(limits), expected, "{limits:?}");
        }
    }

    #[test]
    fn a_burst_is_a_seconds_requests_unless_given() {
        for (requests_per_second, burst, expected) in
            [(None, None, None), (Some(5), None, Some((5, 5))), (Some(5), Some(7), Some((5, 7)))]
        {
            let limits = AccountLimits { requests_per_second, burst, ..AccountLimits::default() };
            assert_eq!(limits.request_bucket(), expected);
        }
    }

    #[test]
    fn accounts_in_json() {
        let text = "{\"id\":\"acme\",\"name\":\"Acme\",\"tariff\":\"standard\",\
                    \"created_unix_ns\":7}";
        let account: Account = serde_json::from_str(text).expect("an account");
        assert_eq!(account.limits, AccountLimits::default());
        assert!(!account.closed && !account.prepaid);
        let text = serde_json::to_string(&account).expect("JSON");
        assert_eq!(serde_json::from_str::<Account>(&text).expect("an account"), account);
        assert_eq!(account.id.to_string(), "acme");
        assert!(serde_json::from_str::<AccountLimits>("{\"flops\":1}").is_err());
    }

    #[test]
    fn names_are_one_line() {
        for (text, expected) in [("", true), ("Ärzte & Söhne", true), ("a\nb", false)] {
            assert_eq!(is_name(text), expected, "{text:?}");
        }
        assert!(!is_name(&"a".repeat(ACCOUNT_NAME_BYTES_MAX + 1)));
    }
}
