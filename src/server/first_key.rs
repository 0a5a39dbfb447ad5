//! The key of an operator who has none yet.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ledger::entry::Record;
use crate::ledger::key::Verdict;
use crate::ledger::{Account, AccountId, KeyRecord, Scope};
use crate::limits::FIRST_KEY_SECONDS;
use crate::server::admin::{KeyDraft, after};
use crate::server::{Access, Server};
use crate::time::Now;

/// The account that the key belongs to.
const ACCOUNT: &str = "operator";

impl Server {
    /// Makes a key and prints it, once it is durable, where nobody has one to administer with: on
    /// an empty volume, and where the last was revoked or has expired. One that an earlier run
    /// printed ends then: it may be lost, and it must not lie in an old console's output.
    pub fn make_first_key(&mut self, now: Now) {
        if self.config.access == Access::Anonymous
            || self.book.keys().any(|record| self.is_for_good(record, now))
        {
            return;
        }
        let is_left = |record: &&KeyRecord| record.one_time && record.revoked_unix_ns.is_none();
        let left: Vec<KeyRecord> = self.book.keys().filter(is_left).cloned().collect();
        for record in left {
            self.end_key(record, now);
        }
        let account: AccountId = ACCOUNT.parse().expect("letters alone");
        let known = self.book.account_index(&account).map(|index| self.book.account(index));
        let open = known.map_or_else(
            || {
                let name = String::from("Who runs this service");
                let tariff = self.config.tariff.name.clone();
                Account::new(account.clone(), name, tariff, now.unix_ns)
            },
            |known| Account { closed: false, ..known.account.clone() },
        );
        if known.is_none_or(|known| known.account != open) {
            self.book.record(now.unix_ns, Record::Account(open));
        }
        let (key, _) = self.make_key(
            KeyDraft {
                account,
                scopes: [Scope::Admin].into_iter().collect(),
                label: String::from("printed at the start"),
                expires_unix_ns: Some(after(now, FIRST_KEY_SECONDS)),
                one_time: true,
            },
            now,
        );
        let hours = FIRST_KEY_SECONDS / 3600;
        let line =
            format!("admin key, for {hours} hours or until it has made another: {}", key.reveal());
        self.print_when_durable(line);
    }

    /// Whether an operator can use the key tomorrow as well.
    fn is_for_good(&self, record: &KeyRecord, now: Now) -> bool {
        let account = self.book.account_index(&record.account);
        record.scopes.contains(Scope::Admin)
            && !record.one_time
            && record.verdict(now.unix_ns) == Verdict::Ok
            && account.is_some_and(|index| !self.book.account(index).account.closed)
    }
}
