//! Who asks, what the asker may do, and who pays.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::api::{Needs, auth};
use crate::billing::Tariff;
use crate::http::RequestHead;
use crate::job::fingerprint::Fingerprinting;
use crate::job::queue::AccountIndex;
use crate::ledger::Scope;
use crate::ledger::book::{Attempt, Done};
use crate::ledger::entry::Idempotency;
use crate::ledger::hash::Hash;
use crate::ledger::key::KeyId;
use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::server::Server;
use crate::server::limits::Allowance;
use crate::time::Now;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub account: AccountIndex,
    /// The caller's key is for all accounts.
    pub is_admin: bool,
    /// The caller's key, where one was shown.
    pub key: Option<KeyId>,
}

/// Who pays for a job, by which tariff, and whether it is paid for already.
#[derive(Debug)]
pub(crate) struct Payer {
    pub account: AccountIndex,
    /// The one in force when the job was admitted.
    pub tariff: Arc<Tariff>,
    pub retry: Option<Retry>,
    /// What the limits of the account let the job have, where it has some.
    pub allowance: Option<Box<Allowance>>,
}

/// A request that named an idempotency key.
#[derive(Debug)]
pub(crate) struct Retry {
    pub key: Hash,
    /// The first request with this key holds it.
    #[expect(dead_code, reason = "dropping it frees the key")]
    pub guard: Option<Arc<()>>,
    /// What was done for an earlier one.
    pub done: Option<Done>,
}

impl Payer {
    /// What the ledger is to say of a first request's key.
    pub fn idempotency(&self, fingerprint: Option<Hash>) -> Option<Idempotency> {
        let (retry, fingerprint) = (self.retry.as_ref()?, fingerprint?);
        Some(Idempotency { key: retry.key, fingerprint })
    }

    /// What the job is to find out about its request.
    pub fn fingerprinting(&self) -> Fingerprinting {
        match &self.retry {
            None => Fingerprinting::Off,
            Some(Retry { done: None, .. }) => Fingerprinting::Find,
            Some(Retry { done: Some(done), .. }) => Fingerprinting::Expect(done.fingerprint),
        }
    }

    /// The request that this one repeats.
    pub fn done(&self) -> Option<Done> {
        self.retry.as_ref().and_then(|retry| retry.done)
    }
}

impl Server {
    /// Who asks, if whoever it is may ask for this.
    ///
    /// # Errors
    ///
    /// A problem where there is no key, or no good one, or where it does not have the scope.
    pub(super) fn caller(
        &self,
        head: &RequestHead,
        needs: Needs,
        now: Now,
    ) -> Result<Option<Caller>, Problem> {
        let Needs::Scope(scope) = needs else { return Ok(None) };
        let caller = match (auth::bearer(head)?, self.anonymous) {
            (None, Some(account)) if scope != Scope::Admin => {
                Caller { account, is_admin: false, key: None }
            }
            (None, _) => return Err(auth::key_needed()),
            (Some(key), _) => {
                let record = auth::admit(self.book.key(&key.hash()), now.unix_ns)?;
                auth::require(record, scope)?;
                let account = self.book.account_index(&record.account);
                Caller {
                    account: account.expect("keys are of accounts"),
                    is_admin: record.scopes.contains(Scope::Admin),
                    key: Some(record.id),
                }
            }
        };
        auth::require_open(&self.book.account(caller.account).account)?;
        Ok(Some(caller))
    }

    /// Who pays for the job that a head asks for.
    ///
    /// # Errors
    ///
    /// A problem where the account has no tariff, or where the idempotency key is
    /// malformed or in use.
    pub(super) fn payer(
        &mut self,
        head: &RequestHead,
        caller: Caller,
        allowance: Option<Box<Allowance>>,
        now: Now,
    ) -> Result<Payer, Problem> {
        let tariff = self.tariff_of(caller.account, now)?;
        let key = self.idempotency_hash(head, caller.account)?;
        let retry = key.map(|key| self.retry(key, now)).transpose()?;
        Ok(Payer { account: caller.account, tariff, retry, allowance })
    }

    /// What the key of a request that names one comes to: the SHA-256 of the account's id, a zero
    /// byte, and the key.
    ///
    /// # Errors
    ///
    /// That the key is malformed.
    pub(super) fn idempotency_hash(
        &self,
        head: &RequestHead,
        account: AccountIndex,
    ) -> Result<Option<Hash>, Problem> {
        let Some(key) = idempotency_key(head)? else { return Ok(None) };
        let account = self.book.account(account).account.id.as_str();
        Ok(Some(Hash::of(&[account.as_bytes(), &[0], key.as_bytes()].concat())))
    }

    /// The tariff by which an account is charged for what is admitted now.
    pub(super) fn tariff_of(
        &self,
        account: AccountIndex,
        now: Now,
    ) -> Result<Arc<Tariff>, Problem> {
        let account = &self.book.account(account).account;
        let tariffs = self.book.tariffs();
        let tariff = tariffs.and_then(|all| all.in_force(&account.tariff, now.unix_ns));
        tariff.cloned().ok_or_else(|| {
            let detail = alloc::format!("there is no tariff {}", account.tariff);
            Problem::new(ProblemKind::NoTariff, detail)
        })
    }

    /// A request that named a key.
    ///
    /// # Errors
    ///
    /// That another one with this key is being served, or that the volume can't be read.
    pub(super) fn retry(&mut self, key: Hash, now: Now) -> Result<Retry, Problem> {
        match self.book.attempt(key, now.unix_ns).map_err(|error| self.ledger_problem(&error))? {
            Attempt::First(guard) => Ok(Retry { key, guard: Some(guard), done: None }),
            Attempt::Done(done) => Ok(Retry { key, guard: None, done: Some(done) }),
            Attempt::Running => {
                let detail = "a request with this key is being served";
                Err(Problem::new(ProblemKind::IdempotencyKeyInUse, detail)
                    .at(IDEMPOTENCY_FIELD)
                    .with_response_field("Retry-After", "1"))
            }
        }
    }
}

const IDEMPOTENCY_FIELD: &str = "Idempotency-Key";

/// The key of a request that names one: a structured field's string (draft-ietf-httpapi-
/// idempotency-key-header-07, section 2.1), or the same characters without quotes, as many clients
/// send it.
fn idempotency_key(head: &RequestHead) -> Result<Option<&str>, Problem> {
    let mut values = head.field_values("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = |detail: &str| {
        Problem::new(ProblemKind::MalformedIdempotencyKey, detail).at(IDEMPOTENCY_FIELD)
    };
    if values.next().is_some() {
        return Err(malformed("the field is there twice"));
    }
    let text = core::str::from_utf8(value).map_err(|_| malformed("it is not ASCII"))?.trim();
    let key = text.strip_prefix('"').map_or(Some(text), |text| text.strip_suffix('"'));
    let key = key.ok_or_else(|| malformed("the closing quote is missing"))?;
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let detail = alloc::format!("a key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters");
        return Err(malformed(&detail).limit(IDEMPOTENCY_KEY_BYTES_MAX as u64));
    }
    let is_plain = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if !key.bytes().all(is_plain) {
        return Err(malformed("quotes, backslashes and control characters are not taken"));
    }
    Ok(Some(key))
}
