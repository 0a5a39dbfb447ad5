//! The lines of the journal, read or written again.

use alloc::string::String;
use alloc::sync::Arc;

use super::Book;
use crate::billing::JobId;
use crate::ledger::entry::{Charge, Entry, Record};
use crate::ledger::journal::{self, line_of};
use crate::ledger::volume::{Table, VolumeError};

impl Book {
    /// The line of an entry that may be announced, and is still kept.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn line(&self, sequence: u64) -> Result<Option<String>, VolumeError> {
        if sequence >= self.durable_until {
            return Ok(None);
        }
        if let Some(volume) = &self.volume {
            return line_of(volume, sequence);
        }
        let nth = sequence.checked_sub(self.first_kept()).and_then(|nth| usize::try_from(nth).ok());
        Ok(nth.and_then(|nth| self.kept.get(nth)).map(|entry| {
            let mut line = String::new();
            entry.push_line(&mut line);
            line
        }))
    }

    /// Shows `visit` the lines of entries that may be announced, from an entry on, with their
    /// sequence numbers, in order, for as long as it says true.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn visit_lines(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, &str) -> bool,
    ) -> Result<(), VolumeError> {
        if from >= self.durable_until {
            return Ok(());
        }
        if let Some(volume) = &self.volume {
            return journal::visit_lines(volume, from, &mut |sequence, line| {
                sequence < self.durable_until && visit(sequence, line)
            });
        }
        let first = self.first_kept();
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut line = String::new();
        self.kept.iter().skip(skipped).all(|entry| {
            line.clear();
            entry.push_line(&mut line);
            visit(entry.sequence, &line)
        });
        Ok(())
    }

    /// The sequence number of the first entry whose line is kept.
    pub fn first_kept(&self) -> u64 {
        match self.volume {
            Some(_) => 0,
            None => self.sequence - self.kept.len() as u64,
        }
    }

    /// The sequence number of a job's charge.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn sequence_of_job(&self, job: JobId) -> Result<Option<u64>, VolumeError> {
        match &self.volume {
            // Few are asked for, and all are charged: looking through them costs less than an
            // index.
            None => {
                let charges = |entry: &&Entry| match &entry.record {
                    Record::Charge(charge) => charge.job == job,
                    _ => false,
                };
                Ok(self.kept.iter().rev().find(charges).map(|entry| entry.sequence))
            }
            Some(volume) => {
                let bytes = volume.get(Table::Jobs, &job.0)?;
                Ok(bytes.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))))
            }
        }
    }

    /// What a job was charged, and in which entry; `None` where that is not known any more, or not
    /// durable yet.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub fn charge_of_job(&self, job: JobId) -> Result<Option<(Entry, Arc<Charge>)>, VolumeError> {
        let Some(sequence) = self.sequence_of_job(job)? else { return Ok(None) };
        let Some(line) = self.line(sequence)? else { return Ok(None) };
        let entry =
            Entry::parse(&line).map_err(|_| VolumeError::Damaged("a line is no entry".into()))?;
        match &entry.record {
            Record::Charge(charge) => {
                let charge = charge.clone();
                Ok(Some((entry, charge)))
            }
            _ => Err(VolumeError::Damaged("a job's entry is no charge".into())),
        }
    }
}
