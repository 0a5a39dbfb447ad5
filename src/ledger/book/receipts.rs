//! The keys that receipts are signed with.

use super::rows::json;
use super::{Book, BookError};
use crate::ledger::entry::{NewReceiptKey, Record};
use crate::ledger::receipt::{PublishedKeys, Receipt, ReceiptKey, ReceiptKeyRecord};
use crate::ledger::volume::{Batch, Table, Volume, VolumeError};

/// The row of the public halves, in the table of what is known of the volume.
pub(super) const PUBLIC_ROW: &[u8] = b"receipt-keys";
/// The row of the secret half in use.
const SECRET_ROW: &[u8] = b"receipt-key";

#[derive(Debug, Default)]
pub(super) struct ReceiptKeys {
    /// `None` until the first is made.
    in_use: Option<ReceiptKey>,
    published: PublishedKeys,
    is_dirty: bool,
}

impl ReceiptKeys {
    pub fn open(volume: &Volume) -> Result<Self, BookError> {
        let damaged = |what: &str| BookError::Damaged(what.into());
        let mut keys = Self::default();
        if let Some(row) = volume.get(Table::Meta, PUBLIC_ROW)? {
            keys.published =
                serde_json::from_slice(&row).map_err(|_| damaged("the row of receipt keys"))?;
        }
        if let Some(secret) = volume.get(Table::Secrets, SECRET_ROW)? {
            let secret = secret.try_into().map_err(|_| damaged("the secret receipt key"))?;
            keys.in_use = Some(ReceiptKey::from_secret(&secret));
        }
        Ok(keys)
    }

    /// A key follows the last one.
    pub fn follow(&mut self, key: &NewReceiptKey, at_unix_ns: u64) {
        let NewReceiptKey { id, public_key } = *key;
        if let Some(last) = self.published.keys.last_mut() {
            last.until_unix_ns = Some(at_unix_ns);
        }
        let record =
            ReceiptKeyRecord { id, public_key, from_unix_ns: at_unix_ns, until_unix_ns: None };
        self.published.keys.push(record);
        self.is_dirty = true;
    }

    /// The secret half of the key before is written over.
    pub fn take_rows(&mut self, rows: &mut Batch) {
        if core::mem::take(&mut self.is_dirty) {
            rows.put(Table::Meta, PUBLIC_ROW, json(&self.published));
            if let Some(key) = &self.in_use {
                rows.put(Table::Secrets, SECRET_ROW, key.secret());
            }
        }
    }
}

impl Book {
    /// The public halves of the keys that receipts were ever signed with.
    pub fn receipt_keys(&self) -> &PublishedKeys {
        &self.receipt_keys.published
    }

    /// Whether receipts can be signed.
    pub fn has_receipt_key(&self) -> bool {
        self.receipt_keys.in_use.is_some()
    }

    /// Receipts are signed with the pair of this secret from now on; the one before is forgotten.
    pub fn turn_to_receipt_key(&mut self, secret: &[u8; 32], at_unix_ns: u64) -> u64 {
        let key = ReceiptKey::from_secret(secret);
        let record = NewReceiptKey { id: key.id(), public_key: key.public_key() };
        self.receipt_keys.in_use = Some(key);
        self.record(at_unix_ns, Record::ReceiptKey(record))
    }

    /// The receipt for an entry that may be announced; `None` where it is not kept any more.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn receipt(&self, sequence: u64) -> Result<Option<Receipt>, VolumeError> {
        let Some(key) = &self.receipt_keys.in_use else { return Ok(None) };
        Ok(self.line(sequence)?.map(|line| key.sign(&line)))
    }
}
