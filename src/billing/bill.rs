//! Bills, and the recent ones by job.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ledger::entry::Charge;
use crate::limits::RECENT_BILLS_MAX;
use crate::text::{JsonObject, field, push_hex, push_labelled};
use crate::time::Civil;

/// Room for a line of the console, so that it is made in one piece.
const CONSOLE_LINE_BYTES: usize = 256;

/// A job's name: the time and 80 random bits in hexadecimal, so that nobody guesses a stranger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// A new one: 48 bits of milliseconds, so that the ledger's rows are in the order of time, and
    /// 80 of `random`.
    pub fn new(unix_ns: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&(unix_ns / 1_000_000).to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The id of a step of a job that goes on by itself, or of the job: they differ in the last 16
    /// bits, which are all ones in the job's.
    pub fn of_step(mut self, step: Option<usize>) -> Self {
        let step = step.map_or(u16::MAX, |step| step as u16);
        self.0[14..].copy_from_slice(&step.to_be_bytes());
        self
    }

    /// A seed as unpredictable as the id was before the job came into being.
    pub(crate) fn as_seed(self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.0);
        seed
    }

    /// Appends its 32 digits.
    pub fn push_to(self, text: &mut String) {
        push_hex(text, &self.0);
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = String::with_capacity(32);
        self.push_to(&mut digits);
        f.write_str(&digits)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|()| D::Error::custom("a job's id is 32 hexadecimal digits"))
    }
}

impl FromStr for JobId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.as_bytes().iter().all(is_hex) {
            return Err(());
        }
        u128::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| ())
    }
}

/// What one job is charged, as its client sees it: an entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The entry's number.
    pub sequence: u64,
    /// When it was made, in nanoseconds of Unix time.
    pub issued_unix_ns: u64,
    pub charge: Arc<Charge>,
    /// `durable`, or `ephemeral`: this machine keeps its ledger in memory only.
    pub ledger: &'static str,
}

impl Bill {
    /// Appends the bill as a JSON object, as it was first told.
    pub fn push_json(&self, text: &mut String) {
        self.push_json_corrected(0, text);
    }

    /// Appends it with what was given back of it since.
    pub fn push_json_corrected(&self, corrected_micros: u64, text: &mut String) {
        let charge = &*self.charge;
        let mut object = JsonObject::begin(text);
        object
            .text_of(field!("job"), |text| charge.job.push_to(text))
            .word(field!("account"), charge.account.as_str())
            .number(field!("sequence"), self.sequence);
        charge.push_figures(&mut object);
        if corrected_micros > 0 {
            object.number(field!("corrected_micros"), corrected_micros);
        }
        object
            .text_of(field!("issued_at"), |text| {
                Civil::from_unix_ns(self.issued_unix_ns).push_rfc3339(text)
            })
            .word(field!("ledger"), self.ledger)
            .end();
    }

    /// The bill as one line for the console.
    pub fn console_line(&self) -> String {
        let charge = &*self.charge;
        let mut text = String::with_capacity(CONSOLE_LINE_BYTES);
        text.push_str("bill job=");
        charge.job.push_to(&mut text);
        text.push_str(" account=");
        text.push_str(charge.account.as_str());
        push_labelled(&mut text, " m=", charge.m as u64);
        push_labelled(&mut text, " n=", charge.n as u64);
        push_labelled(&mut text, " k=", charge.k as u64);
        text.push_str(" dtype=");
        text.push_str(charge.dtype.name());
        push_labelled(&mut text, " flops=", charge.flops);
        push_labelled(&mut text, " bytes_in=", charge.bytes_in);
        push_labelled(&mut text, " bytes_out=", charge.bytes_out);
        text.push_str(" tariff=");
        text.push_str(&charge.tariff);
        push_labelled(&mut text, "/", charge.tariff_version.into());
        push_labelled(&mut text, " amount_micros=", charge.amount_micros);
        text.push_str(" currency=");
        text.push_str(charge.currency.as_str());
        text.push_str(" kernel=");
        text.push_str(&charge.kernel);
        push_labelled(&mut text, " elapsed_us=", charge.elapsed_us);
        if charge.cached {
            text.push_str(" cached=true");
        }
        if let Some(task) = charge.task {
            text.push_str(" task=");
            task.push_to(&mut text);
        }
        text
    }
}

/// The last [`RECENT_BILLS_MAX`] bills, by job: a hash table, since the ends of ids are random. Its
/// links lie apart from the bills, so that following them stays in the nearest cache.
#[derive(Debug)]
pub struct RecentBills {
    /// As many as there may be, the oldest to be written over next.
    bills: Vec<Bill>,
    oldest: usize,
    /// Of the bill at each place.
    links: Vec<Link>,
    /// The place of each bucket's first.
    first: Vec<Option<u16>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    bucket: u16,
    /// The place of the next in the bucket.
    next: Option<u16>,
}

const _: () = assert!(RECENT_BILLS_MAX <= u16::MAX as usize, "a place is told in 16 bits");

impl Default for RecentBills {
    fn default() -> Self {
        let (links, first) =
            (vec![Link::default(); RECENT_BILLS_MAX], vec![None; RECENT_BILLS_MAX]);
        Self { bills: Vec::new(), oldest: 0, links, first }
    }
}

impl RecentBills {
    pub fn post(&mut self, bill: Bill) {
        let bucket = bucket(bill.charge.job);
        let at = if self.bills.len() < RECENT_BILLS_MAX {
            self.bills.push(bill);
            self.bills.len() - 1
        } else {
            let at = self.oldest;
            self.unlink(at);
            self.bills[at] = bill;
            self.oldest = (at + 1) % RECENT_BILLS_MAX;
            at
        };
        let next = self.first[usize::from(bucket)].replace(at as u16);
        self.links[at] = Link { bucket, next };
    }

    pub fn of_job(&self, job: JobId) -> Option<&Bill> {
        let mut place = self.first[usize::from(bucket(job))];
        while let Some(at) = place.map(usize::from) {
            if self.bills[at].charge.job == job {
                return Some(&self.bills[at]);
            }
            place = self.links[at].next;
        }
        None
    }

    /// Takes the bill at a place out of its bucket.
    fn unlink(&mut self, at: usize) {
        let Link { bucket, next: after } = self.links[at];
        let bucket = usize::from(bucket);
        let mut before = None;
        let mut place = self.first[bucket];
        while let Some(here) = place.map(usize::from).filter(|here| *here != at) {
            before = Some(here);
            place = self.links[here].next;
        }
        match before {
            Some(before) => self.links[before].next = after,
            None => self.first[bucket] = after,
        }
    }
}

fn bucket(job: JobId) -> u16 {
    u16::from_be_bytes([job.0[14], job.0[15]]) % RECENT_BILLS_MAX as u16
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::billing::Currency;
    use crate::gemm::Dtype;
    use crate::ledger::Digests;
    use crate::ledger::hash::Hash;

    fn bill(number: u128) -> Bill {
        let none = Hash::ZERO;
        let charge = Charge {
            account: "anonymous".parse().unwrap(),
            job: JobId(number.to_be_bytes()),
            m: 1,
            n: 1,
            k: 1,
            dtype: Dtype::F64,
            flops: 2,
            bytes_in: 0,
            bytes_out: 0,
            tariff: "standard".into(),
            tariff_version: 1,
            amount_micros: 1,
            currency: Currency::EUR,
            kernel: "none".into(),
            elapsed_us: 0,
            task: None,
            node: None,
            cached: false,
            algorithm: None,
            executed_flops: None,
            digests: Some(Digests { a: none, b: none, c: None, result: none }),
            addresses: None,
            idempotency: None,
        };
        Bill { sequence: 0, issued_unix_ns: 0, charge: Arc::new(charge), ledger: "ephemeral" }
    }

    #[test]
    fn the_oldest_bills_make_room() {
        let mut bills = RecentBills::default();
        // Ids that share buckets, and ids that don't.
        let number = |at: usize| ((at as u128) << 16) | (at as u128 % 700);
        let count = 3 * RECENT_BILLS_MAX + 5;
        for at in 0..count {
            bills.post(bill(number(at)));
        }
        for at in 0..count {
            let expected = (at >= count - RECENT_BILLS_MAX).then(|| bill(number(at)));
            assert_eq!(bills.of_job(JobId(number(at).to_be_bytes())), expected.as_ref(), "{at}");
        }
        assert_eq!(bills.bills.len(), RECENT_BILLS_MAX);
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = JobId(*b"\0gemmule\xff\xfe\x7f\x80\x01\x02\x03\x04");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0", "+0000000000000000000000000000000", &id.to_string().to_uppercase()] {
            assert_eq!(wrong.parse::<JobId>(), Err(()), "{wrong}");
        }
    }
}
