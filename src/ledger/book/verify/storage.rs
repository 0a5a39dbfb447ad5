//! What accounts have stored: of times that do not overlap, at the price that their tariff says.

use alloc::format;
use alloc::string::String;

use super::{Walk, same_amount};
use crate::ledger::entry::{Entry, StorageCharge};
use crate::time::HOUR_NS;

impl Walk {
    /// A charge for storage: of an account that there is, of a time that no other covers, of the
    /// amount that its tariff says with all that the one before it has left over.
    pub(super) fn storage(&mut self, charge: &StorageCharge, entry: &Entry) -> Result<(), String> {
        let account = self.book.account_index(&charge.account);
        let account = account.ok_or_else(|| format!("there is no account {}", charge.account))?;
        let StorageCharge { from_unix_ns, until_unix_ns, .. } = *charge;
        let before = self.book.account(account).storage.unwrap_or_default();
        if from_unix_ns < before.until_unix_ns || until_unix_ns <= from_unix_ns {
            return Err(format!(
                "it is of {from_unix_ns} to {until_unix_ns}, and the account was charged up to {}",
                before.until_unix_ns
            ));
        }
        if entry.at_unix_ns < until_unix_ns {
            return Err(format!("it was made before {until_unix_ns}, up to which it charges"));
        }
        let tariff = self.tariff(&charge.tariff, charge.tariff_version)?;
        let (amount_micros, rest) =
            tariff.storage_micros(charge.byte_hours, before.rest_nano_micros);
        same_amount((charge.amount_micros, charge.currency), (amount_micros, tariff.currency))?;
        if charge.rest_nano_micros != rest || charge.rest_byte_ns >= HOUR_NS {
            return Err("it leaves over what its tariff does not".into());
        }
        self.amount_micros += u128::from(amount_micros);
        Ok(())
    }
}
