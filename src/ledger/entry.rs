//! What the ledger says: one entry a line, each line a JSON object that is signed and chained as it
//! is written.
//!
//! ```json
//! {"sequence":7,"previous":"<hash>","at_unix_ns":1790000000000000000,"charge":{...}}
//! ```
//!
//! The hash of an entry is the SHA-256 of its line's bytes, and `previous` is that of the entry
//! before it, so that anything that computes SHA-256 can follow the chain.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::billing::{Currency, JobId, StorageMark, Tariff, Usage};
use crate::gemm::{Dtype, Shape};
use crate::ledger::account::{Account, AccountId};
use crate::ledger::digest::Digests;
use crate::ledger::hash::Hash;
use crate::ledger::key::{KeyId, KeyRecord};
use crate::ledger::receipt::PublicKey;
use crate::text::{JsonObject, field, push_labelled};

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// From 0, without gaps.
    pub sequence: u64,
    /// The hash of the entry before this one.
    pub previous: Hash,
    /// Nanoseconds of Unix time.
    pub at_unix_ns: u64,
    #[serde(flatten)]
    pub record: Record,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A machine has begun to write here.
    Opened(Opened),
    /// An account is from now on as it says.
    Account(Account),
    /// A key is from now on as it says.
    Key(KeyRecord),
    /// A version of a tariff was added.
    Tariff(Tariff),
    /// A job was done.
    Charge(Arc<Charge>),
    /// An account has stored something for some time.
    Storage(StorageCharge),
    /// An account was given credit.
    Credit(Credit),
    /// Part of what a job was charged is given back.
    Correction(Correction),
    /// Receipts are signed by this key from now on.
    ReceiptKey(NewReceiptKey),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Of this program.
    pub version: Cow<'static, str>,
    pub platform: Cow<'static, str>,
}

/// What one job is charged, and for what. Thousands are kept, so what few have is boxed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub account: AccountId,
    pub job: JobId,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The inner dimension.
    pub k: usize,
    pub dtype: Dtype,
    pub flops: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub tariff: Arc<str>,
    pub tariff_version: u32,
    pub amount_micros: u64,
    pub currency: Currency,
    pub kernel: Cow<'static, str>,
    /// Microseconds from the request's last byte to the encoded result.
    pub elapsed_us: u64,
    /// The job of several steps that this is one of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<JobId>,
    /// The step's name, of up to [`NODE_NAME_BYTES_MAX`](crate::limits::NODE_NAME_BYTES_MAX) bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The result was answered from the cache.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cached: bool,
    /// How it was multiplied, where not as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Cow<'static, str>>,
    /// Operations, where they were fewer than those that are billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed_flops: Option<u64>,
    /// Of the operands and the result, where they came and went with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<Digests>,
    /// Of the operands and the result, where they are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Box<Addresses>>,
    /// Of a request that named an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Box<Idempotency>>,
}

/// Which stored matrices a step has read and made, each by the SHA-256 of its `.npy` file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub operands: Vec<Hash>,
    pub result: Hash,
}

/// What makes a retry the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// SHA-256 of the account's id, a zero byte, and the key.
    pub key: Hash,
    /// Of the operands, the operation, and the form of the reply.
    pub fingerprint: Hash,
}

/// What an account has stored from one time up to another, which is where its next one begins at
/// the earliest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageCharge {
    pub account: AccountId,
    pub from_unix_ns: u64,
    pub until_unix_ns: u64,
    pub byte_hours: u64,
    pub tariff: Arc<str>,
    pub tariff_version: u32,
    pub amount_micros: u64,
    pub currency: Currency,
    /// Bytes times nanoseconds that are left for the next one.
    pub rest_byte_ns: u64,
    /// Billionths of a micro-unit that are left for the next one.
    pub rest_nano_micros: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    pub account: AccountId,
    /// Below zero to take some back.
    pub amount_micros: i64,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    pub account: AccountId,
    pub job: JobId,
    /// The job's, under which the usage is summed.
    pub dtype: Dtype,
    /// What is given back.
    pub amount_micros: u64,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewReceiptKey {
    pub id: KeyId,
    pub public_key: PublicKey,
}

impl StorageCharge {
    /// Where the account's next one goes on.
    pub fn mark(&self) -> StorageMark {
        StorageMark {
            until_unix_ns: self.until_unix_ns,
            rest_byte_ns: self.rest_byte_ns,
            rest_nano_micros: self.rest_nano_micros,
        }
    }
}

impl Charge {
    /// What a job of that usage is charged by a tariff; what has multiplied, for how long, and what
    /// proves it are to be added.
    pub fn of_usage(
        (account, job): (AccountId, JobId),
        usage: &Usage,
        tariff: &Tariff,
        amount_micros: u64,
    ) -> Self {
        Self {
            account,
            job,
            m: usage.shape.m,
            n: usage.shape.n,
            k: usage.shape.k,
            dtype: usage.dtype,
            flops: usage.flops,
            bytes_in: usage.bytes_in,
            bytes_out: usage.bytes_out,
            tariff: tariff.name.clone(),
            tariff_version: tariff.version,
            amount_micros,
            currency: tariff.currency,
            kernel: Cow::Borrowed(""),
            elapsed_us: 0,
            task: None,
            node: None,
            cached: usage.cached,
            algorithm: None,
            executed_flops: None,
            digests: None,
            addresses: None,
            idempotency: None,
        }
    }

    pub fn usage(&self) -> Usage {
        Usage {
            dtype: self.dtype,
            shape: Shape { m: self.m, n: self.n, k: self.k },
            flops: self.flops,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            cached: self.cached,
        }
    }

    /// Operations that were executed for it.
    pub fn executed(&self) -> u64 {
        if self.cached { 0 } else { self.executed_flops.unwrap_or(self.flops) }
    }

    /// Appends what was multiplied, what it took and what it costs: the same in the entry and in
    /// the bill.
    pub(crate) fn push_figures(&self, object: &mut JsonObject<'_>) {
        object
            .number(field!("m"), self.m as u64)
            .number(field!("n"), self.n as u64)
            .number(field!("k"), self.k as u64)
            .word(field!("dtype"), self.dtype.name())
            .number(field!("flops"), self.flops)
            .number(field!("bytes_in"), self.bytes_in)
            .number(field!("bytes_out"), self.bytes_out)
            .word(field!("tariff"), &self.tariff)
            .number(field!("tariff_version"), self.tariff_version.into())
            .number(field!("amount_micros"), self.amount_micros)
            .word(field!("currency"), self.currency.as_str())
            .word(field!("kernel"), &self.kernel)
            .number(field!("elapsed_us"), self.elapsed_us);
        if let Some(task) = self.task {
            object.text_of(field!("task"), |text| task.push_to(text));
        }
        if let Some(node) = &self.node {
            object.escaped(field!("node"), node);
        }
        if self.cached {
            object.value(field!("cached"), |text| text.push_str("true"));
        }
        if let Some(algorithm) = &self.algorithm {
            object.word(field!("algorithm"), algorithm);
        }
        if let Some(flops) = self.executed_flops {
            object.number(field!("executed_flops"), flops);
        }
    }

    /// Appends it as a JSON object; by hand, since every job does it.
    fn push_json(&self, text: &mut String) {
        let mut object = JsonObject::begin(text);
        object
            .word(field!("account"), self.account.as_str())
            .text_of(field!("job"), |text| self.job.push_to(text));
        self.push_figures(&mut object);
        if let Some(Digests { a, b, c, result }) = &self.digests {
            object.object(field!("digests"), |object| {
                object
                    .text_of(field!("a"), |text| a.push_to(text))
                    .text_of(field!("b"), |text| b.push_to(text));
                if let Some(c) = c {
                    object.text_of(field!("c"), |text| c.push_to(text));
                }
                object.text_of(field!("result"), |text| result.push_to(text));
            });
        }
        if let Some(addresses) = &self.addresses {
            let json = serde_json::to_string(addresses).expect("hashes are JSON");
            object.value(field!("addresses"), |text| text.push_str(&json));
        }
        if let Some(Idempotency { key, fingerprint }) = self.idempotency.as_deref() {
            object.object(field!("idempotency"), |object| {
                object
                    .text_of(field!("key"), |text| key.push_to(text))
                    .text_of(field!("fingerprint"), |text| fingerprint.push_to(text));
            });
        }
        object.end();
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Entry {
    /// Appends the entry as its line, without the line's end.
    pub fn push_line(&self, text: &mut String) {
        push_labelled(text, "{\"sequence\":", self.sequence);
        text.push_str(",\"previous\":\"");
        self.previous.push_to(text);
        push_labelled(text, "\",\"at_unix_ns\":", self.at_unix_ns);
        match &self.record {
            Record::Charge(charge) => {
                text.push_str(",\"charge\":");
                charge.push_json(text);
                text.push('}');
            }
            other => {
                let json =
                    serde_json::to_string(other).expect("a record is plain text and numbers");
                // `{"kind":{...}}` without its first brace: the last closes the line.
                text.push(',');
                text.push_str(&json[1..]);
            }
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}
