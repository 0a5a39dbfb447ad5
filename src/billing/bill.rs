//! Bills, and the recent ones by job.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use serde::{Serialize, Serializer};

use crate::billing::{Tariff, Usage};
use crate::limits::RECENT_BILLS_MAX;
use crate::time::Civil;

/// A job's name: 128 random bits in hexadecimal, so that nobody reads a stranger's bill by
/// counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub [u8; 16]);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
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

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What one job is charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    pub tariff: &'static str,
    pub tariff_version: u32,
    pub amount_micros: u64,
    pub currency: &'static str,
    pub kernel: &'static str,
    /// Microseconds from the request's last byte to the encoded result.
    pub elapsed_us: u64,
    /// When the bill was made out, RFC 3339.
    pub issued_at: String,
    /// `ephemeral`: this machine keeps its bills in memory only.
    pub ledger: &'static str,
}

impl Bill {
    /// Makes out the bill of a finished job.
    pub fn new(
        job: JobId,
        usage: &Usage,
        tariff: &Tariff,
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
            tariff: tariff.name,
            tariff_version: tariff.version,
            amount_micros: tariff.amount_micros(usage),
            currency: tariff.currency,
            kernel,
            elapsed_us: elapsed_ns / 1_000,
            issued_at: Civil::from_unix_ns(issued_unix_ns).rfc3339().to_string(),
            ledger: "ephemeral",
        }
    }

    /// The bill as one line for the console.
    pub fn console_line(&self) -> String {
        format!(
            "bill job={} m={} n={} k={} dtype={} flops={} bytes_in={} bytes_out={} tariff={}/{} \
             amount_micros={} currency={} kernel={} elapsed_us={}",
            self.job,
            self.m,
            self.n,
            self.k,
            self.dtype,
            self.flops,
            self.bytes_in,
            self.bytes_out,
            self.tariff,
            self.tariff_version,
            self.amount_micros,
            self.currency,
            self.kernel,
            self.elapsed_us,
        )
    }
}

/// The last [`RECENT_BILLS_MAX`] bills, by job.
#[derive(Debug, Default)]
pub struct RecentBills {
    by_job: BTreeMap<JobId, Bill>,
    oldest_first: VecDeque<JobId>,
}

impl RecentBills {
    pub fn post(&mut self, bill: Bill) {
        if self.oldest_first.len() == RECENT_BILLS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_job.remove(&oldest);
        }
        self.oldest_first.push_back(bill.job);
        self.by_job.insert(bill.job, bill);
    }

    pub fn of_job(&self, job: JobId) -> Option<&Bill> {
        self.by_job.get(&job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::tariff::STANDARD;
    use crate::gemm::{Dtype, Shape};

    fn bill(number: u128) -> Bill {
        let shape = Shape { m: 1, n: 1, k: 1 };
        let usage = Usage { dtype: Dtype::F64, shape, flops: 2, bytes_in: 0, bytes_out: 0 };
        Bill::new(JobId(number.to_be_bytes()), &usage, &STANDARD, "none", 0, 0)
    }

    #[test]
    fn the_oldest_bill_makes_room() {
        let mut bills = RecentBills::default();
        for number in 0..=RECENT_BILLS_MAX as u128 {
            bills.post(bill(number));
        }
        assert_eq!(bills.of_job(JobId(0u128.to_be_bytes())), None);
        assert_eq!(bills.of_job(JobId(1u128.to_be_bytes())), Some(&bill(1)));
        assert_eq!(bills.by_job.len(), RECENT_BILLS_MAX);
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
