//! What errands about an account's matrices have in common: whose they are, and what is said of
//! them.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::api::matrices::{MatrixView, ReferenceName};
use crate::api::to_json;
use crate::http::Response;
use crate::ledger::AccountId;
use crate::limits::REFERENCES_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::server::matrices::uploads::Uploads;
use crate::store::{Draft, Keep, Layout, MatrixId, MatrixNumber, Purpose, Store, Stored};

/// An account's matrices, for one request.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub store: Arc<Store>,
    pub uploads: Arc<Uploads>,
    pub account: AccountId,
    /// The most that the account may keep.
    pub bytes_max: Option<u64>,
    pub now_unix_ns: u64,
}

impl Desk {
    /// A matrix that the account keeps.
    ///
    /// # Errors
    ///
    /// That it keeps none of this address: the same whether or not another account does.
    pub fn find(&self, id: MatrixId) -> Result<Arc<Stored>, Problem> {
        self.known(id).ok_or_else(unknown)
    }

    fn known(&self, id: MatrixId) -> Option<Arc<Stored>> {
        self.store.find(&self.account, id).filter(|stored| is_kept(stored, self.now_unix_ns))
    }

    /// All that the account keeps, by address.
    pub fn list(&self) -> Vec<Arc<Stored>> {
        let mut stored = self.store.list(&self.account);
        stored.retain(|stored| is_kept(stored, self.now_unix_ns));
        stored
    }

    /// Its names, of what is there, by name.
    pub fn references(&self) -> Vec<(String, MatrixId)> {
        let mut references = self.store.references(&self.account);
        references.retain(|(_, id)| self.known(*id).is_some());
        references
    }

    pub fn view(&self, stored: &Stored) -> MatrixView {
        let references = self.store.references(&self.account).into_iter();
        let names = references.filter(|(_, id)| *id == stored.id()).map(|(name, _)| name);
        MatrixView::of(stored, names.collect())
    }

    /// Takes room for a matrix.
    ///
    /// # Errors
    ///
    /// That the account may not keep as much, or that there is no room.
    pub fn begin(&self, layout: Layout) -> Result<Arc<Draft>, Problem> {
        self.check_quota(layout.bytes())?;
        let begun = self.store.begin(layout, Purpose::Upload, &self.account, self.now_unix_ns);
        let draft = begun?;
        // Of two that begin at once, both may find that there was room for one.
        if let Err(problem) = self.check_quota(0) {
            self.abandon(draft.number());
            return Err(problem);
        }
        Ok(draft)
    }

    /// Gives up a matrix that was begun.
    pub fn abandon(&self, number: MatrixNumber) {
        // Where not even that can be written, it is given up when the volume is opened again.
        let _ = self.store.abandon(number);
    }

    pub fn check_quota(&self, more_bytes: u64) -> Result<(), Problem> {
        let Some(bytes_max) = self.bytes_max else { return Ok(()) };
        let bytes = self.store.bytes_held_for(&self.account);
        if bytes.saturating_add(more_bytes) <= bytes_max {
            return Ok(());
        }
        let detail =
            format!("the account keeps {bytes} bytes, and this would be {more_bytes} more");
        Err(Problem::new(ProblemKind::StorageExceeded, detail).limit(bytes_max))
    }

    /// Keeps one that is there already as long as it was to be kept, or as long as this says.
    pub fn keep_known(&self, id: MatrixId, keep: Keep) -> Result<Option<Arc<Stored>>, Problem> {
        let Some(stored) = self.known(id) else { return Ok(None) };
        self.store.keep(&stored, longer(stored.keep(), keep))?;
        Ok(Some(stored))
    }

    /// A matrix is whole, and its account's from now on.
    pub fn finish(&self, draft: &Draft, id: MatrixId, keep: Keep) -> Result<Arc<Stored>, Problem> {
        Ok(self.store.finish(draft, id, keep, self.now_unix_ns)?)
    }

    /// Calls a matrix by a name.
    pub fn refer(&self, name: &ReferenceName, id: MatrixId) -> Result<(), Problem> {
        let is_new = self.store.reference(&self.account, name.as_str()).is_none();
        if is_new && self.store.references(&self.account).len() >= REFERENCES_MAX {
            let detail = "delete some of the account's names first";
            return Err(
                Problem::new(ProblemKind::TooManyReferences, detail).limit(REFERENCES_MAX as u64)
            );
        }
        let referred = self.store.refer(&self.account, name.as_str(), Some(id));
        Ok(referred?)
    }

    /// That a matrix is stored.
    pub fn answer_stored(
        &self,
        stored: &Stored,
        name: Option<&ReferenceName>,
    ) -> Result<Response, Problem> {
        if let Some(name) = name {
            self.refer(name, stored.id())?;
        }
        let location = format!("/v1/matrices/{}", stored.id());
        Ok(Response::json(201, to_json(&self.view(stored))).with_field("Location", &location))
    }
}

/// Whether the time of a matrix is not up.
fn is_kept(stored: &Stored, now_unix_ns: u64) -> bool {
    let Keep { until_unix_ns, is_pinned } = stored.keep();
    let is_over = !is_pinned && until_unix_ns.is_some_and(|until| until <= now_unix_ns);
    !is_over
}

fn longer(one: Keep, other: Keep) -> Keep {
    let until = one.until_unix_ns.zip(other.until_unix_ns);
    Keep {
        until_unix_ns: until.map(|(one, other)| one.max(other)),
        is_pinned: one.is_pinned || other.is_pinned,
    }
}

/// That an account does not keep a matrix.
pub(crate) fn unknown() -> Problem {
    Problem::new(ProblemKind::UnknownMatrix, "this account keeps no matrix of this address")
}
