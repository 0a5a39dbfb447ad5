//! What a machine goes on with that was begun by the one before it on this volume.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Task;
use crate::ledger::book::BookError;
use crate::ledger::volume::Table;
use crate::limits::TASKS_KEPT_SECONDS;
use crate::server::Server;
use crate::server::payer::Payer;
use crate::store::MatrixNumber;
use crate::task::{Control, Record, State};
use crate::time::{Now, SECOND_NS};

impl Server {
    /// Takes up the jobs of the volume that have not ended, forgets those that have ended long ago,
    /// and removes what belongs to none.
    ///
    /// # Errors
    ///
    /// What the volume says.
    pub(in crate::server) fn open_tasks(&mut self, now: Now) -> Result<(), BookError> {
        let Some(volume) = self.book.volume().cloned() else { return Ok(()) };
        let kept_since = now.unix_ns.saturating_sub(TASKS_KEPT_SECONDS * SECOND_NS);
        let mut found = Vec::new();
        let mut old = crate::ledger::Batch::default();
        let mut newer = 0;
        volume.range(Table::Tasks, &[], None, &mut |key, value| {
            match (key.try_into().map(crate::billing::JobId), Record::read(value)) {
                (Ok(_), Some(record)) if record.ended_unix_ns.is_some_and(|at| at < kept_since) => {
                    old.delete(Table::Tasks, key);
                }
                (Ok(id), Some(record)) => found.push((id, record)),
                _ => newer += 1,
            }
            true
        })?;
        if newer > 0 {
            self.print(alloc::format!("{newer} jobs can't be read by this version, and wait"));
        }
        if !old.is_empty() {
            volume.commit(&old)?;
        }
        let mut owned = BTreeSet::new();
        for (id, mut record) in found {
            if !record.state.has_ended() {
                record.state = State::Waiting;
                owned.extend(record.steps.iter().map(|step| step.output));
                owned.extend(record.stored_inputs());
                for number in record.stored_inputs() {
                    // One that is not there is missed when it is to be read.
                    let _ = self.store.need(number);
                }
            }
            let Some(account) = self.book.account_index(&record.account) else { continue };
            let tariffs = self.book.tariffs();
            let tariff = tariffs.and_then(|all| all.find(&record.tariff, record.tariff_version));
            let Some(tariff) = tariff.cloned() else { continue };
            let payer = Payer { account, tariff, retry: None, allowance: None };
            self.tasks.insert(Task::new(Control::new(id, record), payer));
        }
        // Of jobs that a later version has begun, nothing is touched.
        if newer == 0 {
            self.remove_orphans(&owned);
        }
        self.tasks.forget_some();
        // They begin once the host looks for what is due.
        self.tasks.look_again(now.monotonic_ns);
        Ok(())
    }

    /// Removes matrices that were made for jobs which do not go on.
    fn remove_orphans(&mut self, owned: &BTreeSet<MatrixNumber>) {
        for number in self.store.made_for_jobs() {
            if !owned.contains(&number)
                && let Err(error) = self.store.abandon(number)
            {
                self.print(alloc::format!("a matrix of no job: {error}"));
            }
        }
    }
}
