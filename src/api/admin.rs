//! `/v1/admin`: accounts, keys, tariffs and corrections, as operators write and read them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize};

use crate::billing::{JobId, Tariff};
use crate::ledger::key::{KeyId, Verdict};
use crate::ledger::{Account, AccountId, AccountLimits, KeyRecord, Scopes};
use crate::time::Civil;

/// A path under `/v1/admin`; `GET` reads what is there, `POST` adds to it or changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminPath {
    /// `accounts`
    Accounts,
    /// `accounts/{id}`
    Account(AccountId),
    /// `accounts/{id}/keys`
    Keys(AccountId),
    /// `accounts/{id}/credits`
    Credits(AccountId),
    /// `keys/{id}/revoke`
    Revoke(KeyId),
    /// `keys/{id}/rotate`
    Rotate(KeyId),
    /// `tariffs`
    Tariffs,
    /// `corrections`
    Corrections,
    /// `receipt-keys/rotate`
    RotateReceiptKey,
}

/// `POST /v1/admin/accounts`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    pub id: AccountId,
    #[serde(default)]
    pub name: String,
    /// The standard one unless given.
    #[serde(default, deserialize_with = "not_null")]
    pub tariff: Option<Arc<str>>,
    #[serde(default)]
    pub limits: AccountLimits,
    #[serde(default)]
    pub prepaid: bool,
}

/// `POST /v1/admin/accounts/{id}`: what is not given stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountChange {
    #[serde(deserialize_with = "not_null")]
    pub name: Option<String>,
    #[serde(deserialize_with = "not_null")]
    pub tariff: Option<Arc<str>>,
    pub limits: LimitsChange,
    #[serde(deserialize_with = "not_null")]
    pub prepaid: Option<bool>,
    #[serde(deserialize_with = "not_null")]
    pub closed: Option<bool>,
}

/// Limits to be set; `null` lifts one, and what is not given stays.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsChange {
    #[serde(deserialize_with = "given")]
    pub requests_per_second: Option<Option<u32>>,
    #[serde(deserialize_with = "given")]
    pub burst: Option<Option<u32>>,
    #[serde(deserialize_with = "given")]
    pub jobs_at_once: Option<Option<u32>>,
    #[serde(deserialize_with = "given")]
    pub flops_per_day: Option<Option<u64>>,
    #[serde(deserialize_with = "given")]
    pub amount_micros_per_month: Option<Option<u64>>,
    #[serde(deserialize_with = "given")]
    pub stored_bytes_max: Option<Option<u64>>,
}

/// A field that is there, though it be `null`.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A field that need not be there, and isn't `null` where it is.
pub(super) fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl AccountChange {
    /// The account as it is to be.
    pub fn apply(self, account: &mut Account) {
        let limits = &mut account.limits;
        // A burst is of requests per second, and goes with their limit.
        if self.limits.requests_per_second == Some(None) {
            limits.burst = None;
        }
        set(&mut limits.requests_per_second, self.limits.requests_per_second);
        set(&mut limits.burst, self.limits.burst);
        set(&mut limits.jobs_at_once, self.limits.jobs_at_once);
        set(&mut limits.flops_per_day, self.limits.flops_per_day);
        set(&mut limits.amount_micros_per_month, self.limits.amount_micros_per_month);
        set(&mut limits.stored_bytes_max, self.limits.stored_bytes_max);
        set(&mut account.name, self.name);
        set(&mut account.tariff, self.tariff);
        set(&mut account.prepaid, self.prepaid);
        set(&mut account.closed, self.closed);
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// `POST /v1/admin/accounts/{id}/keys`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub scopes: Scopes,
    #[serde(default)]
    pub label: String,
    /// It does not expire unless given.
    #[serde(default, deserialize_with = "not_null")]
    pub expires_in_seconds: Option<u64>,
}

/// `POST /v1/admin/keys/{id}/rotate`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// For how long the old key is taken as well.
    pub overlap_seconds: u64,
}

/// `POST /v1/admin/keys/{id}/revoke`, which has nothing to say.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {}

/// `POST /v1/admin/receipt-keys/rotate`, which has nothing to say either.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptKeyRotation {}

/// `POST /v1/admin/accounts/{id}/credits`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCredit {
    /// Below zero to take some back.
    pub amount_micros: i64,
    pub reason: String,
}

/// `POST /v1/admin/corrections`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCorrection {
    pub job: JobId,
    /// What is given back.
    pub amount_micros: u64,
    pub reason: String,
}

/// An account as it is shown.
#[derive(Debug, Serialize)]
pub struct AccountView<'a> {
    pub id: &'a AccountId,
    pub name: &'a str,
    pub tariff: &'a str,
    pub limits: LimitsView,
    pub prepaid: bool,
    pub closed: bool,
    pub created_at: String,
    /// Everything it was charged, less what was given back.
    pub charged_micros: i128,
    /// Everything it was credited.
    pub credited_micros: i128,
    /// Of this calendar month, in UTC.
    pub month_flops: u128,
    pub month_amount_micros: u128,
}

/// Limits as they are shown, each of them: in the ledger, those that came later are left out where
/// there is none.
#[derive(Debug, Serialize)]
pub struct LimitsView {
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    jobs_at_once: Option<u32>,
    flops_per_day: Option<u64>,
    amount_micros_per_month: Option<u64>,
    stored_bytes_max: Option<u64>,
}

impl From<AccountLimits> for LimitsView {
    fn from(limits: AccountLimits) -> Self {
        Self {
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            jobs_at_once: limits.jobs_at_once,
            flops_per_day: limits.flops_per_day,
            amount_micros_per_month: limits.amount_micros_per_month,
            stored_bytes_max: limits.stored_bytes_max,
        }
    }
}

/// `GET /v1/admin/accounts`
#[derive(Debug, Serialize)]
pub struct AccountList<'a> {
    pub accounts: Vec<AccountView<'a>>,
    /// The last one's id where there are more: `?after=` it gives them.
    pub next: Option<&'a AccountId>,
}

/// A key as it is shown: never its hash.
#[derive(Debug, Serialize)]
pub struct KeyView<'a> {
    pub id: KeyId,
    pub account: &'a AccountId,
    pub scopes: Scopes,
    pub label: &'a str,
    /// `valid`, `expired` or `revoked`.
    pub state: &'static str,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
}

/// `GET /v1/admin/accounts/{id}/keys`
#[derive(Debug, Serialize)]
pub struct KeyList<'a> {
    pub keys: Vec<KeyView<'a>>,
}

/// A key that was made, this once with its text.
#[derive(Debug, Serialize)]
pub struct MadeKey<'a> {
    pub key: &'a str,
    #[serde(flatten)]
    pub view: KeyView<'a>,
}

/// `GET /v1/admin/tariffs`
#[derive(Debug, Serialize)]
pub struct TariffList<'a> {
    pub tariffs: Vec<&'a Tariff>,
}

/// What became of a job's charge.
#[derive(Debug, Serialize)]
pub struct CorrectedView<'a> {
    pub job: String,
    pub account: &'a AccountId,
    pub charged_micros: u64,
    /// Everything that was given back of it.
    pub corrected_micros: u64,
}

impl<'a> KeyView<'a> {
    pub fn of(record: &'a KeyRecord, now_unix_ns: u64) -> Self {
        Self {
            id: record.id,
            account: &record.account,
            scopes: record.scopes,
            label: &record.label,
            state: match record.verdict(now_unix_ns) {
                Verdict::Ok => "valid",
                Verdict::Expired => "expired",
                Verdict::Revoked => "revoked",
            },
            created_at: rfc3339(record.created_unix_ns),
            expires_at: record.expires_unix_ns.map(rfc3339),
            revoked_at: record.revoked_unix_ns.map(rfc3339),
        }
    }
}

/// A time as it is shown.
pub fn rfc3339(unix_ns: u64) -> String {
    let mut text = String::new();
    Civil::from_unix_ns(unix_ns).push_rfc3339(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_with_the_limit_that_it_is_of() {
        let mut account: Account = serde_json::from_str(
            "{\"id\":\"acme\",\"name\":\"Acme\",\"tariff\":\"standard\",\"created_unix_ns\":7,\
             \"limits\":{\"requests_per_second\":3,\"burst\":9}}",
        )
        .expect("an account");
        for (text, burst) in [
            ("{\"limits\":{\"requests_per_second\":4}}", Some(9)),
            ("{\"limits\":{\"requests_per_second\":null,\"burst\":2}}", Some(2)),
            ("{\"limits\":{\"requests_per_second\":null}}", None),
        ] {
            serde_json::from_str::<AccountChange>(text).expect("a change").apply(&mut account);
            assert_eq!(account.limits.burst, burst, "{text}");
        }
    }

    #[test]
    fn changes_leave_what_they_do_not_name() {
        let account: Account = serde_json::from_str(
            "{\"id\":\"acme\",\"name\":\"Acme\",\"tariff\":\"standard\",\"created_unix_ns\":7,\
             \"limits\":{\"jobs_at_once\":3,\"flops_per_day\":9}}",
        )
        .expect("an account");
        let limits = account.limits;
        for (text, expected) in [
            ("{}", account.clone()),
            ("{\"closed\":true}", Account { closed: true, ..account.clone() }),
            ("{\"name\":\"B\"}", Account { name: "B".into(), ..account.clone() }),
            ("{\"tariff\":\"t\"}", Account { tariff: "t".into(), ..account.clone() }),
            (
                "{\"limits\":{\"jobs_at_once\":null,\"burst\":2}}",
                Account {
                    limits: AccountLimits { jobs_at_once: None, burst: Some(2), ..limits },
                    ..account.clone()
                },
            ),
        ] {
            let mut changed = account.clone();
            serde_json::from_str::<AccountChange>(text).expect("a change").apply(&mut changed);
            assert_eq!(changed, expected, "{text}");
        }
        assert!(serde_json::from_str::<AccountChange>("{\"id\":\"b\"}").is_err());
    }
}
