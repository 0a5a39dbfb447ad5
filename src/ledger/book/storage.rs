//! What accounts have stored, as it is charged.

use super::Book;
use crate::billing::{StorageSpan, Tariff};
use crate::job::queue::AccountIndex;
use crate::ledger::entry::{Record, StorageCharge};

impl Book {
    /// Makes the entry of what an account has stored from one time to another, and of its price:
    /// the amount in micro-units.
    pub fn charge_storage(
        &mut self,
        at_unix_ns: u64,
        account: AccountIndex,
        span: StorageSpan,
        tariff: &Tariff,
    ) -> u64 {
        let state = self.account(account);
        let rest = state.storage.map_or(0, |mark| mark.rest_nano_micros);
        let (amount_micros, rest_nano_micros) = tariff.storage_micros(span.byte_hours, rest);
        let charge = StorageCharge {
            account: state.account.id.clone(),
            from_unix_ns: span.from_unix_ns,
            until_unix_ns: span.until_unix_ns,
            byte_hours: span.byte_hours,
            tariff: tariff.name.clone(),
            tariff_version: tariff.version,
            amount_micros,
            currency: tariff.currency,
            rest_byte_ns: span.rest_byte_ns,
            rest_nano_micros,
        };
        self.record(at_unix_ns, Record::Storage(charge));
        amount_micros
    }
}
