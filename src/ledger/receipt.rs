//! Receipts: a line of the journal with the service's signature, which anybody can verify who has
//! the public key, without the service and without its program.
//!
//! The signature is Ed25519 (RFC 8032) over the bytes of the line. It is deterministic, so a
//! receipt is made when it is asked for, and the same every time until another key follows. One
//! that was given out before verifies as long as the public half of its key is known, which is
//! published for good.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::de::{Error as _, IgnoredAny, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base64;
use crate::billing::JobId;
use crate::ledger::hash::Hash;
use crate::ledger::key::KeyId;

/// The key pair that receipts are signed with. Its secret half is erased when it is dropped.
#[derive(Clone)]
pub struct ReceiptKey(SigningKey);

/// The half that is published.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// A public key, and when receipts are signed with its other half: from its first moment up to the
/// key that followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReceiptKeyRecord {
    pub id: KeyId,
    pub public_key: PublicKey,
    pub from_unix_ns: u64,
    #[serde(default)]
    pub until_unix_ns: Option<u64>,
}

/// What `GET /v1/receipt-keys` gives: every key there was, the first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PublishedKeys {
    pub keys: Vec<ReceiptKeyRecord>,
}

/// A signed line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The line of the journal, to the byte.
    pub entry: String,
    /// SHA-256 of the line, which the entry behind it names as `previous`.
    pub hash: Hash,
    /// Of the pair that it is signed with.
    pub key: KeyId,
    signature: SignatureBytes,
}

/// The receipts of a job of several steps, one for each line of its bill.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobReceipts {
    /// Not signed: whether they are its receipts their entries say.
    pub job: JobId,
    pub receipts: Vec<Receipt>,
}

/// What `GET /v1/jobs/{job}/receipt` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    One(Receipt),
    /// At least one.
    OfJob(JobReceipts),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SignatureBytes([u8; 64]);

/// Why a text is no receipt of this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptError {
    /// It is not a receipt's JSON.
    Malformed(String),
    /// It is a list of none.
    NoReceipts,
    /// It names a key that is not among those given.
    UnknownKey(KeyId),
    /// The hash is of another line.
    WrongHash,
    /// The signature is of another line, or by another key.
    WrongSignature,
}

impl ReceiptKey {
    /// The pair of 32 bytes that nobody can predict.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The bytes that it is made of, to be kept where nobody else reads them.
    pub fn secret(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub fn id(&self) -> KeyId {
        self.public_key().id()
    }

    /// The receipt for a line of the journal.
    pub fn sign(&self, line: &str) -> Receipt {
        Receipt {
            entry: line.to_owned(),
            hash: Hash::of(line.as_bytes()),
            key: self.id(),
            signature: SignatureBytes(self.0.sign(line.as_bytes()).to_bytes()),
        }
    }
}

/// Never the secret.
impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({})", self.id())
    }
}

impl PublicKey {
    /// The first 16 digits of the SHA-256 of its 32 bytes.
    pub fn id(&self) -> KeyId {
        KeyId::of(&Hash::of(&self.0))
    }

    /// Reads 44 digits of base64. Whether they are a point of the curve shows when it is used.
    pub fn parse(text: &str) -> Option<Self> {
        base64::parse(text).map(Self)
    }
}

impl Receipt {
    /// Reads one receipt.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, ReceiptError> {
        read(text)
    }

    /// Whether it is one of a service that has these keys.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<(), ReceiptError> {
        let key = keys.iter().find(|key| key.id() == self.key);
        let key = key.ok_or(ReceiptError::UnknownKey(self.key))?;
        if Hash::of(self.entry.as_bytes()) != self.hash {
            return Err(ReceiptError::WrongHash);
        }
        let signature = Signature::from_bytes(&self.signature.0);
        VerifyingKey::from_bytes(&key.0)
            .and_then(|key| key.verify_strict(self.entry.as_bytes(), &signature))
            .map_err(|_| ReceiptError::WrongSignature)
    }
}

impl Served {
    /// # Errors
    ///
    /// [`ReceiptError::Malformed`] or [`ReceiptError::NoReceipts`].
    pub fn parse(text: &[u8]) -> Result<Self, ReceiptError> {
        /// Which of the two it is, so that what is wrong with it is said of that.
        #[derive(Deserialize)]
        struct Outline {
            receipts: Option<IgnoredAny>,
        }
        if read::<Outline>(text)?.receipts.is_none() {
            return Receipt::parse(text).map(Self::One);
        }
        let of_job: JobReceipts = read(text)?;
        match of_job.receipts.is_empty() {
            true => Err(ReceiptError::NoReceipts),
            false => Ok(Self::OfJob(of_job)),
        }
    }
}

fn read<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, ReceiptError> {
    serde_json::from_slice(text).map_err(|error| ReceiptError::Malformed(alloc::format!("{error}")))
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not a receipt: {why}"),
            Self::NoReceipts => f.write_str("there is no receipt in it"),
            Self::UnknownKey(id) => write!(f, "signed with {id}, which is none of the keys"),
            Self::WrongHash => f.write_str("the hash is not that of the entry"),
            Self::WrongSignature => f.write_str("the signature is not one of this entry"),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_base64(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&in_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes_of(deserializer).map(Self)
    }
}

impl Serialize for SignatureBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&in_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for SignatureBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytes_of(deserializer).map(Self)
    }
}

fn in_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    base64::push(&mut text, bytes);
    text
}

fn bytes_of<'de, D: Deserializer<'de>, const BYTES: usize>(
    deserializer: D,
) -> Result<[u8; BYTES], D::Error> {
    let text = String::deserialize(deserializer)?;
    let wanted = alloc::format!("{BYTES} bytes in base64");
    base64::parse(&text)
        .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &wanted.as_str()))
}
