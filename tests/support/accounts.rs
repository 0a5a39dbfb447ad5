//! A volume with accounts on it, for those who need more than one.

use std::sync::Arc;

use gemmule::billing::Tariff;
use gemmule::ledger::book::Book;
use gemmule::ledger::entry::{Credit, Record};
use gemmule::ledger::{Account, AccountId, AccountLimits, ApiKey, KeyRecord, Scope, Volume};

use super::power::PowerCut;

/// Much more than a few accounts take.
const DISK_BYTES_MAX: u64 = 1 << 30;
const CACHE_BYTES: usize = 1 << 20;

/// An account that is to be.
pub struct Draft {
    pub id: &'static str,
    pub limits: AccountLimits,
    /// What it has paid in advance, where it has to.
    pub credit_micros: Option<i64>,
}

impl Draft {
    /// One without limits.
    pub fn new(id: &'static str) -> Self {
        Self { id, limits: AccountLimits::default(), credit_micros: None }
    }

    /// What its key is shown as.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.key().reveal())
    }

    fn key(&self) -> ApiKey {
        let mut bits = [0; 32];
        bits[..self.id.len()].copy_from_slice(self.id.as_bytes());
        ApiKey::from_random(bits)
    }
}

/// A volume on an empty disk, with accounts on the standard tariff that may submit.
pub fn volume(drafts: &[Draft], unix_ns: u64) -> (PowerCut, Arc<Volume>) {
    let disk = PowerCut::new(Vec::new(), DISK_BYTES_MAX);
    let volume = Volume::open(Box::new(disk.clone()), [1; 16], CACHE_BYTES);
    let volume = Arc::new(volume.expect("an empty disk"));
    let mut book = Book::open(volume.clone(), unix_ns).expect("an empty volume");
    let tariff = Tariff::standard();
    let name = tariff.name.clone();
    book.record(unix_ns, Record::Tariff(tariff));
    for draft in drafts {
        let id: AccountId = draft.id.parse().expect("an id");
        let account = Account {
            limits: draft.limits,
            prepaid: draft.credit_micros.is_some(),
            ..Account::new(id.clone(), String::new(), name.clone(), unix_ns)
        };
        book.record(unix_ns, Record::Account(account));
        let scopes = [Scope::Submit].into_iter().collect();
        let key = KeyRecord::new(&draft.key(), id.clone(), scopes, String::new(), unix_ns);
        book.record(unix_ns, Record::Key(key));
        if let Some(amount_micros) = draft.credit_micros {
            let credit = Credit { account: id, amount_micros, reason: "paid".into() };
            book.record(unix_ns, Record::Credit(credit));
        }
    }
    let pending = book.take_pending(unix_ns).expect("the disk has power").expect("entries");
    pending.commit(&volume).expect("the disk has power");
    (disk, volume)
}
