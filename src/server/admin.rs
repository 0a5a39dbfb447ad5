//! What operators do: accounts, keys, tariffs, credits and corrections.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use rand_chacha::rand_core::RngCore;

use crate::api::admin::{
    AccountChange, AccountList, AccountView, AdminPath, CorrectedView, KeyList, KeyView, MadeKey,
    NewAccount, NewCorrection, NewCredit, NewKey, ReceiptKeyRotation, Revocation, Rotation,
    TariffList, rfc3339,
};
use crate::api::{body, to_json};
use crate::billing::Tariff;
use crate::http::Response;
use crate::ledger::account::{LimitError, is_name};
use crate::ledger::book::AccountState;
use crate::ledger::entry::{Correction, Credit, Record};
use crate::ledger::key::{KeyId, Verdict};
use crate::ledger::{Account, AccountId, ApiKey, KeyRecord, Scope, Scopes};
use crate::limits::{ACCOUNT_NAME_BYTES_MAX, ACCOUNTS_PER_REPLY, AMOUNT_MICROS_MAX};
use crate::problem::{Problem, ProblemKind};
use crate::server::Server;
use crate::server::payer::Caller;
use crate::time::{Now, SECOND_NS};

/// A key that is to be made.
#[derive(Debug)]
pub(super) struct KeyDraft {
    pub account: AccountId,
    pub scopes: Scopes,
    pub label: String,
    pub expires_unix_ns: Option<u64>,
    pub one_time: bool,
}

impl Server {
    /// What there is under a path.
    pub(super) fn reply_admin(
        &self,
        path: &AdminPath,
        query: &str,
        now: Now,
    ) -> Result<Response, Problem> {
        let body = match path {
            AdminPath::Accounts => to_json(&self.account_list(query, now)?),
            AdminPath::Account(id) => to_json(&self.account_view(self.account_of(id)?, now)),
            AdminPath::Keys(id) => {
                self.account_of(id)?;
                let mut records: Vec<&KeyRecord> =
                    self.book.keys().filter(|record| record.account == *id).collect();
                records.sort_by_key(|record| (record.created_unix_ns, record.id));
                let views = records.into_iter().map(|record| KeyView::of(record, now.unix_ns));
                to_json(&KeyList { keys: views.collect() })
            }
            AdminPath::Tariffs => {
                let tariffs = self.book.tariffs().into_iter().flat_map(|all| all.tariffs());
                to_json(&TariffList { tariffs: tariffs.map(|it| &**it).collect() })
            }
            AdminPath::Credits(_)
            | AdminPath::Revoke(_)
            | AdminPath::Rotate(_)
            | AdminPath::Corrections
            | AdminPath::RotateReceiptKey => {
                unreachable!("the table of routes takes no GET for them")
            }
        };
        Ok(Response::json(200, body))
    }

    /// Does what a body under a path asks for. The reply rests on the entries that were made.
    pub(super) fn change(
        &mut self,
        path: &AdminPath,
        text: &[u8],
        caller: Caller,
        now: Now,
    ) -> Result<Response, Problem> {
        let json = match path {
            AdminPath::Accounts => self.create_account(body::read(text)?, now)?,
            AdminPath::Account(id) => self.change_account(id, body::read(text)?, now)?,
            AdminPath::Keys(id) => self.create_key(id, body::read(text)?, caller, now)?,
            AdminPath::Credits(id) => self.credit(id, body::read(text)?, now)?,
            AdminPath::Revoke(id) => {
                let Revocation {} = body::read(text)?;
                self.revoke(*id, now)?
            }
            AdminPath::Rotate(id) => self.rotate(*id, body::read(text)?, now)?,
            AdminPath::Tariffs => self.add_tariff(body::read(text)?, now)?,
            AdminPath::Corrections => self.correct(body::read(text)?, now)?,
            AdminPath::RotateReceiptKey => {
                let ReceiptKeyRotation {} = body::read(text)?;
                self.make_receipt_key(now.unix_ns);
                to_json(self.book.receipt_keys())
            }
        };
        Ok(Response::json(200, json))
    }

    fn account_list(&self, query: &str, now: Now) -> Result<AccountList<'_>, Problem> {
        let after = match query {
            "" => None,
            _ => {
                let id = query.strip_prefix("after=").and_then(|id| id.parse::<AccountId>().ok());
                let detail = "the query is empty, or after= and the id of an account";
                Some(id.ok_or_else(|| Problem::new(ProblemKind::UnknownField, detail).at("?"))?)
            }
        };
        let mut states = self
            .book
            .accounts()
            .filter(|state| after.as_ref().is_none_or(|after| state.account.id > *after));
        let accounts: Vec<_> = states
            .by_ref()
            .take(ACCOUNTS_PER_REPLY)
            .map(|state| self.account_view(state, now))
            .collect();
        let has_more = states.next().is_some();
        let next = accounts.last().filter(|_| has_more).map(|view| view.id);
        Ok(AccountList { accounts, next })
    }

    fn account_view<'a>(&self, state: &'a AccountState, now: Now) -> AccountView<'a> {
        let account = &state.account;
        let month = state.month_at(now.unix_ns);
        AccountView {
            id: &account.id,
            name: &account.name,
            tariff: &account.tariff,
            limits: account.limits.into(),
            prepaid: account.prepaid,
            closed: account.closed,
            created_at: rfc3339(account.created_unix_ns),
            charged_micros: state.charged_micros,
            credited_micros: state.credited_micros,
            month_flops: month.flops,
            month_amount_micros: month.amount_micros,
        }
    }

    fn account_of(&self, id: &AccountId) -> Result<&AccountState, Problem> {
        let index = self.book.account_index(id).ok_or_else(|| {
            Problem::new(ProblemKind::UnknownAccount, format!("there is no account {id}"))
        })?;
        Ok(self.book.account(index))
    }

    fn create_account(&mut self, new: NewAccount, now: Now) -> Result<Vec<u8>, Problem> {
        if self.book.account_index(&new.id).is_some() {
            let detail = format!("there is an account {} already", new.id);
            return Err(Problem::new(ProblemKind::AccountExists, detail).at("/id"));
        }
        let tariff = new.tariff.unwrap_or_else(|| self.config.tariff.name.clone());
        let account = Account {
            limits: new.limits,
            prepaid: new.prepaid,
            ..Account::new(new.id, new.name, tariff, now.unix_ns)
        };
        self.put_account(account, now)
    }

    fn change_account(
        &mut self,
        id: &AccountId,
        change: AccountChange,
        now: Now,
    ) -> Result<Vec<u8>, Problem> {
        let mut account = self.account_of(id)?.account.clone();
        change.apply(&mut account);
        self.put_account(account, now)
    }

    fn put_account(&mut self, account: Account, now: Now) -> Result<Vec<u8>, Problem> {
        check_text("/name", &account.name)?;
        account.limits.check().map_err(|LimitError { field, reason, limit }| Problem {
            limit,
            ..invalid(&format!("/limits/{field}"), reason)
        })?;
        let tariffs = self.book.tariffs();
        if tariffs.and_then(|all| all.in_force(&account.tariff, now.unix_ns)).is_none() {
            let detail = format!("there is no tariff {:?}", account.tariff);
            return Err(Problem::new(ProblemKind::UnknownTariff, detail).at("/tariff"));
        }
        let id = account.id.clone();
        self.book.record(now.unix_ns, Record::Account(account));
        Ok(to_json(&self.account_view(self.account_of(&id)?, now)))
    }

    fn create_key(
        &mut self,
        account: &AccountId,
        new: NewKey,
        caller: Caller,
        now: Now,
    ) -> Result<Vec<u8>, Problem> {
        let account = self.account_of(account)?.account.id.clone();
        if new.scopes.is_empty() {
            return Err(invalid("/scopes", "a key without a scope is of no use"));
        }
        check_text("/label", &new.label)?;
        let expires_unix_ns = new.expires_in_seconds.map(|seconds| after(now, seconds));
        let NewKey { scopes, label, .. } = new;
        let draft = KeyDraft { account, scopes, label, expires_unix_ns, one_time: false };
        let (key, record) = self.make_key(draft, now);
        // The key that a new volume printed has served its purpose.
        let by = caller.key.and_then(|id| self.book.key_of_id(id)).filter(|by| by.one_time);
        if let Some(by) = by.filter(|_| record.scopes.contains(Scope::Admin)).cloned() {
            self.end_key(by, now);
        }
        Ok(made(&key, &record, now))
    }

    /// Makes a key and its entry.
    pub(super) fn make_key(&mut self, new: KeyDraft, now: Now) -> (ApiKey, KeyRecord) {
        let KeyDraft { account, scopes, label, expires_unix_ns, one_time } = new;
        let mut bits = [0; 32];
        self.random.fill_bytes(&mut bits);
        let key = ApiKey::from_random(bits);
        let record = KeyRecord {
            expires_unix_ns,
            one_time,
            ..KeyRecord::new(&key, account, scopes, label, now.unix_ns)
        };
        self.book.record(now.unix_ns, Record::Key(record.clone()));
        (key, record)
    }

    /// Ends a key now.
    pub(super) fn end_key(&mut self, mut record: KeyRecord, now: Now) -> KeyRecord {
        record.revoked_unix_ns.get_or_insert(now.unix_ns);
        self.book.record(now.unix_ns, Record::Key(record.clone()));
        record
    }

    fn key_of_id(&self, id: KeyId) -> Result<KeyRecord, Problem> {
        self.book.key_of_id(id).cloned().ok_or_else(|| {
            Problem::new(ProblemKind::UnknownKeyId, format!("there is no key with the id {id}"))
        })
    }

    fn revoke(&mut self, id: KeyId, now: Now) -> Result<Vec<u8>, Problem> {
        let record = self.key_of_id(id)?;
        let record =
            if record.revoked_unix_ns.is_some() { record } else { self.end_key(record, now) };
        Ok(to_json(&KeyView::of(&record, now.unix_ns)))
    }

    /// The new key is valid for as long as the old one was made to be.
    fn rotate(&mut self, id: KeyId, rotation: Rotation, now: Now) -> Result<Vec<u8>, Problem> {
        let mut old = self.key_of_id(id)?;
        if old.verdict(now.unix_ns) != Verdict::Ok {
            let detail = "the key has ended: make a new one";
            return Err(Problem::new(ProblemKind::KeyEnded, detail));
        }
        let lasts_ns = old.expires_unix_ns.map(|end_ns| end_ns.saturating_sub(old.created_unix_ns));
        let expires_unix_ns =
            lasts_ns.filter(|_| !old.one_time).map(|ns| now.unix_ns.saturating_add(ns));
        let draft = KeyDraft {
            account: old.account.clone(),
            scopes: old.scopes,
            label: old.label.clone(),
            expires_unix_ns,
            one_time: false,
        };
        let (key, record) = self.make_key(draft, now);
        let overlap_seconds = if old.one_time { 0 } else { rotation.overlap_seconds };
        let end_ns = after(now, overlap_seconds);
        old.expires_unix_ns = Some(old.expires_unix_ns.map_or(end_ns, |ns| ns.min(end_ns)));
        self.book.record(now.unix_ns, Record::Key(old));
        Ok(made(&key, &record, now))
    }

    /// Receipts are signed with a new key from now on.
    pub(super) fn make_receipt_key(&mut self, now_unix_ns: u64) {
        let mut secret = [0; 32];
        self.random.fill_bytes(&mut secret);
        self.book.turn_to_receipt_key(&secret, now_unix_ns);
    }

    fn credit(&mut self, id: &AccountId, new: NewCredit, now: Now) -> Result<Vec<u8>, Problem> {
        let account = self.account_of(id)?.account.id.clone();
        let amount_micros = new.amount_micros;
        if amount_micros == 0 || amount_micros.unsigned_abs() > AMOUNT_MICROS_MAX {
            let detail = "a credit is an amount other than 0, of at most 2^53 - 1";
            return Err(invalid("/amount_micros", detail).limit(AMOUNT_MICROS_MAX));
        }
        check_reason(&new.reason)?;
        let credit = Credit { account, amount_micros, reason: new.reason };
        self.book.record(now.unix_ns, Record::Credit(credit));
        Ok(to_json(&self.account_view(self.account_of(id)?, now)))
    }

    fn add_tariff(&mut self, tariff: Tariff, now: Now) -> Result<Vec<u8>, Problem> {
        let mut tariffs = self.book.tariffs().expect("there is one from the start").clone();
        tariffs.add(tariff.clone(), now.unix_ns)?;
        let json = to_json(&tariff);
        self.book.record(now.unix_ns, Record::Tariff(tariff));
        Ok(json)
    }

    fn correct(&mut self, new: NewCorrection, now: Now) -> Result<Vec<u8>, Problem> {
        let NewCorrection { job, amount_micros, reason } = new;
        check_reason(&reason)?;
        let found = self.book.charge_of_job(job).map_err(|error| self.ledger_problem(&error))?;
        let Some((_, charge)) = found else {
            let detail = format!("the ledger has no job {job}");
            return Err(Problem::new(ProblemKind::UnknownJob, detail).at("/job"));
        };
        let before =
            self.book.corrected_micros(job).map_err(|error| self.ledger_problem(&error))?;
        let left = charge.amount_micros.saturating_sub(before);
        if amount_micros == 0 || amount_micros > left {
            let detail = format!("{left} of what the job was charged can be given back");
            return Err(invalid("/amount_micros", &detail).limit(left));
        }
        let account = charge.account.clone();
        let correction = Correction { account, job, dtype: charge.dtype, amount_micros, reason };
        let corrected = self.book.correct(now.unix_ns, correction);
        let corrected_micros = corrected.map_err(|error| self.ledger_problem(&error))?;
        self.counters.ledger.corrected(amount_micros);
        Ok(to_json(&CorrectedView {
            job: job.to_string(),
            account: &charge.account,
            charged_micros: charge.amount_micros,
            corrected_micros,
        }))
    }
}

fn made(key: &ApiKey, record: &KeyRecord, now: Now) -> Vec<u8> {
    to_json(&MadeKey { key: key.reveal(), view: KeyView::of(record, now.unix_ns) })
}

pub(super) fn after(now: Now, seconds: u64) -> u64 {
    now.unix_ns.saturating_add(seconds.saturating_mul(SECOND_NS))
}

fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.is_empty() {
        return Err(invalid("/reason", "an entry of the ledger says why it was made"));
    }
    check_text("/reason", reason)
}

fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    if is_name(text) {
        return Ok(());
    }
    let detail = format!("it is one line of at most {ACCOUNT_NAME_BYTES_MAX} bytes");
    Err(invalid(field, &detail).limit(ACCOUNT_NAME_BYTES_MAX as u64))
}

fn invalid(field: &str, detail: &str) -> Problem {
    Problem::new(ProblemKind::InvalidValue, detail).at(field)
}
