//! Bills, and the recent ones by job.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::billing::{Tariff, Usage};
use crate::limits::RECENT_BILLS_MAX;
use crate::text::{JsonObject, push_ascii, push_number};
use crate::time::Civil;

/// Room for a line of the console, so that it is made in one piece.
const CONSOLE_LINE_BYTES: usize = 256;

/// A job's name: 128 random bits in hexadecimal, so that nobody reads a stranger's bill by
/// counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// Its 32 digits.
    fn digits(self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 32];
        for (two, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }

    /// Appends its digits.
    pub fn push_to(self, text: &mut String) {
        push_ascii(text, &self.digits());
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.digits()).expect("ASCII is UTF-8"))
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

/// What one job is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    pub job: JobId,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The inner dimension.
    pub k: usize,
    pub dtype: &'static str,
    pub flops: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// What it was priced by.
    pub tariff: Arc<Tariff>,
    pub amount_micros: u64,
    pub kernel: &'static str,
    /// Microseconds from the request's last byte to the encoded result.
    pub elapsed_us: u64,
    /// When the bill was made out, in nanoseconds of Unix time.
    pub issued_unix_ns: u64,
    /// `ephemeral`: this machine keeps its bills in memory only.
    pub ledger: &'static str,
}

impl Bill {
    /// Makes out the bill of a finished job.
    pub fn new(
        job: JobId,
        usage: &Usage,
        tariff: Arc<Tariff>,
        amount_micros: u64,
        kernel: &'static str,
        elapsed_ns: u64,
        issued_unix_ns: u64,
    ) -> Self {
        Self {
            job,
            m: usage.shape.m,
            n: usage.shape.n,
            k: usage.shape.k,
            dtype: usage.dtype.name(),
            flops: usage.flops,
            bytes_in: usage.bytes_in,
            bytes_out: usage.bytes_out,
            tariff,
            amount_micros,
            kernel,
            elapsed_us: elapsed_ns / 1_000,
            issued_unix_ns,
            ledger: "ephemeral",
        }
    }

    /// Appends the bill as a JSON object.
    pub fn push_json(&self, text: &mut String) {
        JsonObject::begin(text)
            .text_of("job", |text| self.job.push_to(text))
            .number("m", self.m as u64)
            .number("n", self.n as u64)
            .number("k", self.k as u64)
            .word("dtype", self.dtype)
            .number("flops", self.flops)
            .number("bytes_in", self.bytes_in)
            .number("bytes_out", self.bytes_out)
            .word("tariff", &self.tariff.name)
            .number("tariff_version", self.tariff.version.into())
            .number("amount_micros", self.amount_micros)
            .word("currency", self.tariff.currency.as_str())
            .word("kernel", self.kernel)
            .number("elapsed_us", self.elapsed_us)
            .text_of("issued_at", |text| {
                Civil::from_unix_ns(self.issued_unix_ns).push_rfc3339(text)
            })
            .word("ledger", self.ledger)
            .end();
    }

    /// The bill as one line for the console.
    pub fn console_line(&self) -> String {
        let mut text = String::with_capacity(CONSOLE_LINE_BYTES);
        text.push_str("bill job=");
        self.job.push_to(&mut text);
        let number = |text: &mut String, name, number| {
            text.push_str(name);
            push_number(text, number);
        };
        let word = |text: &mut String, name, word| {
            text.push_str(name);
            text.push_str(word);
        };
        number(&mut text, " m=", self.m as u64);
        number(&mut text, " n=", self.n as u64);
        number(&mut text, " k=", self.k as u64);
        word(&mut text, " dtype=", self.dtype);
        number(&mut text, " flops=", self.flops);
        number(&mut text, " bytes_in=", self.bytes_in);
        number(&mut text, " bytes_out=", self.bytes_out);
        word(&mut text, " tariff=", &self.tariff.name);
        number(&mut text, "/", self.tariff.version.into());
        number(&mut text, " amount_micros=", self.amount_micros);
        word(&mut text, " currency=", self.tariff.currency.as_str());
        word(&mut text, " kernel=", self.kernel);
        number(&mut text, " elapsed_us=", self.elapsed_us);
        text
    }
}

/// The last [`RECENT_BILLS_MAX`] bills, by job: a hash table, since ids are random already. Its
/// links lie apart from the bills, so that following them stays in the nearest cache.
#[derive(Debug)]
pub struct RecentBills {
    /// As many as there may be, the oldest to be written over next.
    bills: Vec<Bill>,
    oldest: usize,
    /// The place of the bill that is next in the bucket of the one at this place.
    next: Vec<Option<u16>>,
    /// The place of each bucket's first.
    first: Vec<Option<u16>>,
}

const _: () = assert!(RECENT_BILLS_MAX <= u16::MAX as usize, "a place is told in 16 bits");

impl Default for RecentBills {
    fn default() -> Self {
        let links = vec![None; RECENT_BILLS_MAX];
        Self { bills: Vec::new(), oldest: 0, next: links.clone(), first: links }
    }
}

impl RecentBills {
    pub fn post(&mut self, bill: Bill) {
        let bucket = bucket(bill.job);
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
        self.next[at] = self.first[bucket].replace(at as u16);
    }

    pub fn of_job(&self, job: JobId) -> Option<&Bill> {
        let mut place = self.first[bucket(job)];
        while let Some(at) = place.map(usize::from) {
            if self.bills[at].job == job {
                return Some(&self.bills[at]);
            }
            place = self.next[at];
        }
        None
    }

    /// Takes the bill at a place out of its bucket.
    fn unlink(&mut self, at: usize) {
        let bucket = bucket(self.bills[at].job);
        let after = self.next[at];
        let mut before = None;
        let mut place = self.first[bucket];
        while let Some(here) = place.map(usize::from).filter(|here| *here != at) {
            before = Some(here);
            place = self.next[here];
        }
        match before {
            Some(before) => self.next[before] = after,
            None => self.first[bucket] = after,
        }
    }
}

fn bucket(job: JobId) -> usize {
    usize::from(u16::from_be_bytes([job.0[0], job.0[1]])) % RECENT_BILLS_MAX
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::gemm::{Dtype, Shape};

    fn bill(number: u128, tariff: &Arc<Tariff>) -> Bill {
        let shape = Shape { m: 1, n: 1, k: 1 };
        let usage = Usage { dtype: Dtype::F64, shape, flops: 2, bytes_in: 0, bytes_out: 0 };
        Bill::new(JobId(number.to_be_bytes()), &usage, Arc::clone(tariff), 1, "none", 0, 0)
    }

    #[test]
    fn the_oldest_bills_make_room() {
        let mut bills = RecentBills::default();
        let tariff = Arc::new(Tariff::standard());
        // Ids that share buckets, and ids that don't.
        let number = |at: usize| ((at as u128 % 700) << 112) | at as u128;
        let count = 3 * RECENT_BILLS_MAX + 5;
        for at in 0..count {
            bills.post(bill(number(at), &tariff));
        }
        for at in 0..count {
            let expected = (at >= count - RECENT_BILLS_MAX).then(|| bill(number(at), &tariff));
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
