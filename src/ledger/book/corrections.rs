//! What was given back of what jobs were charged.

use alloc::vec::Vec;

use super::Book;
use crate::billing::JobId;
use crate::ledger::entry::{Correction, Record};
use crate::ledger::volume::{Batch, Table, VolumeError};

impl Book {
    /// Everything that was given back of a job's charge.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn corrected_micros(&self, job: JobId) -> Result<u64, VolumeError> {
        if let Some(micros) = self.corrected.get(&job) {
            return Ok(*micros);
        }
        let Some(volume) = &self.volume else { return Ok(0) };
        let Some(row) = volume.get(Table::Meta, &row_key(job))? else { return Ok(0) };
        let bytes = row.try_into().map_err(|_| VolumeError::Damaged("a correction".into()))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// Makes the entry of a correction: everything that is given back of the job's charge now.
    ///
    /// # Errors
    ///
    /// What the volume says; nothing is recorded then.
    pub fn correct(&mut self, at_unix_ns: u64, correction: Correction) -> Result<u64, VolumeError> {
        let job = correction.job;
        let micros = self.corrected_micros(job)?.saturating_add(correction.amount_micros);
        // It stays in memory, though it will be durable: operators correct few jobs.
        self.corrected.insert(job, micros);
        self.record(at_unix_ns, Record::Correction(correction));
        Ok(micros)
    }

    pub(super) fn push_corrected(&self, jobs: impl IntoIterator<Item = JobId>, rows: &mut Batch) {
        for job in jobs {
            let micros = self.corrected[&job].to_be_bytes().to_vec();
            rows.puts.push((Table::Meta, row_key(job), micros));
        }
    }
}

/// What the keys of the rows begin with, in the table of what is known of the volume.
const PREFIX: &[u8] = b"corrected ";

fn row_key(job: JobId) -> Vec<u8> {
    [PREFIX, &job.0].concat()
}

/// The job that a row is of; `None` where it is another row, and inside where it names no job.
pub(super) fn job_of_row(key: &[u8]) -> Option<Option<JobId>> {
    key.strip_prefix(PREFIX).map(|job| job.try_into().ok().map(JobId))
}
