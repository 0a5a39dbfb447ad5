//! Who asks, and whether they may: the key in a request's head.

use alloc::format;

use crate::http::RequestHead;
use crate::ledger::key::{KeyError, Verdict};
use crate::ledger::{Account, ApiKey, KeyRecord, Scope};
use crate::problem::{Problem, ProblemKind};

/// The field that a key comes in.
const FIELD: &str = "Authorization";

/// The key that a request shows, or `None` where it shows none (RFC 6750, section 2.1).
///
/// # Errors
///
/// What is no key, or a mistyped one: both can be told without knowing any.
pub fn bearer(head: &RequestHead) -> Result<Option<ApiKey>, Problem> {
    let mut values = head.field_values("authorization");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed("there is more than one Authorization"));
    }
    let scheme_bytes = value.iter().take_while(|byte| **byte != b' ').count();
    let (scheme, credentials) = value.split_at(scheme_bytes);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(malformed("keys are shown as \"Authorization: Bearer gml_...\""));
    }
    match ApiKey::parse(credentials.trim_ascii()) {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::NotAKey) => Err(malformed("a key is gml_ and 49 letters and digits")),
        Err(KeyError::BadChecksum) => {
            Err(malformed("the key's checksum is wrong: it was mistyped, or cut and pasted badly"))
        }
    }
}

/// The record of a key, if the key is taken now.
///
/// # Errors
///
/// A key that is not known, and one that is expired or revoked. Only who has had a key can learn
/// what became of it.
pub fn admit(record: Option<&KeyRecord>, now_unix_ns: u64) -> Result<&KeyRecord, Problem> {
    let record = record.ok_or_else(|| {
        refused(ProblemKind::UnknownKey, "no account of this service has this key")
    })?;
    match record.verdict(now_unix_ns) {
        Verdict::Ok => Ok(record),
        Verdict::Expired => Err(refused(ProblemKind::ExpiredKey, "the key was valid until a time")),
        Verdict::Revoked => Err(refused(ProblemKind::RevokedKey, "the key was taken back")),
    }
}

/// Whether a key lets its holder do that. Who administers all accounts may read them.
///
/// # Errors
///
/// That it does not.
pub fn require(record: &KeyRecord, scope: Scope) -> Result<(), Problem> {
    let is_implied = scope == Scope::Read && record.scopes.contains(Scope::Admin);
    if is_implied || record.scopes.contains(scope) { Ok(()) } else { Err(lacking(scope)) }
}

/// That a key would need a scope to let its holder do that.
pub fn lacking(scope: Scope) -> Problem {
    let name = scope.name();
    let detail = format!("the key would need the scope {name}");
    let challenge =
        format!("Bearer realm=\"gemmule\", error=\"insufficient_scope\", scope=\"{name}\"");
    Problem::new(ProblemKind::Forbidden, detail)
        .at(FIELD)
        .with_response_field("WWW-Authenticate", challenge)
}

/// Whether an account is served.
///
/// # Errors
///
/// That it is closed.
pub fn require_open(account: &Account) -> Result<(), Problem> {
    if !account.closed {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::AccountClosed, format!("the account {} is closed", account.id)))
}

/// That a key is needed (RFC 6750, section 3: nothing was wrong with one, so that no error is
/// named).
pub fn key_needed() -> Problem {
    let detail = "show a key: \"Authorization: Bearer gml_...\"";
    Problem::new(ProblemKind::Unauthorized, detail)
        .at(FIELD)
        .with_response_field("WWW-Authenticate", "Bearer realm=\"gemmule\"")
}

fn malformed(detail: &str) -> Problem {
    refused(ProblemKind::MalformedKey, detail)
}

fn refused(kind: ProblemKind, detail: &str) -> Problem {
    let challenge = "Bearer realm=\"gemmule\", error=\"invalid_token\"";
    Problem::new(kind, detail).at(FIELD).with_response_field("WWW-Authenticate", challenge)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn head(fields: &str) -> RequestHead {
        let text = format!("GET / HTTP/1.1\r\nHost: g\r\n{fields}\r\n");
        RequestHead::parse(text.as_bytes()).expect("a head")
    }

    #[test]
    fn keys_in_heads() {
        let key = ApiKey::from_random([7; 32]);
        let text = key.reveal();
        let malformed = Err(ProblemKind::MalformedKey);
        let changed = text.replace("gml_1", "gml_2");
        assert_ne!(changed, text);
        for (fields, expected) in [
            (String::new(), Ok(None)),
            (format!("Authorization: Bearer {text}\r\n"), Ok(Some(key.hash()))),
            (format!("authorization:   bearer   {text}  \r\n"), Ok(Some(key.hash()))),
            (format!("Authorization: {text}\r\n"), malformed),
            (format!("Authorization: Basic {text}\r\n"), malformed),
            (format!("Authorization: Bearer {text}, {text}\r\n"), malformed),
            (format!("Authorization: Bearer {changed}\r\n"), malformed),
            (String::from("Authorization:\r\n"), malformed),
            (String::from("Authorization: Bearer\r\n"), malformed),
            (format!("Authorization: Bearer {text}\r\n").repeat(2), malformed),
        ] {
            let found = bearer(&head(&fields));
            let found = found.map(|key| key.map(|key| key.hash())).map_err(|problem| problem.kind);
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn what_keys_let_their_holders_do() {
        let key = ApiKey::from_random([7; 32]);
        let account = "acme".parse().expect("an id");
        let scopes = [Scope::Read].into_iter().collect();
        let mut record = KeyRecord::new(&key, account, scopes, String::new(), 0);
        record.expires_unix_ns = Some(200);
        let kind =
            |record: Option<&KeyRecord>, now| admit(record, now).err().map(|problem| problem.kind);
        assert_eq!(kind(None, 0), Some(ProblemKind::UnknownKey));
        assert_eq!(kind(Some(&record), 199), None);
        assert_eq!(kind(Some(&record), 200), Some(ProblemKind::ExpiredKey));
        record.revoked_unix_ns = Some(100);
        assert_eq!(kind(Some(&record), 100), Some(ProblemKind::RevokedKey));
        assert_eq!(require(&record, Scope::Read), Ok(()));
        let refused = require(&record, Scope::Admin).expect_err("no such scope");
        assert_eq!(refused.kind, ProblemKind::Forbidden);
    }
}
