//! Uploads that are under way: what has come of each, and lasts.
//!
//! What is said of an upload is what its row says, and the row is written in the commit that makes
//! the elements last that it tells of. So after a power cut an upload goes on where the last reply
//! said.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};
use spin::mutex::SpinMutex;

use crate::api::matrices::{Keeping, ReferenceName, UploadId, UploadView};
use crate::api::{admin::rfc3339, to_json};
use crate::ledger::{AccountId, Batch, Table, Volume};
use crate::limits::{CHUNK_BYTES_MAX, UPLOAD_IDLE_NS, UPLOADS_MAX};
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::store::{AddressHasher, Layout, MatrixNumber, Purpose, RowsWriter, Store, StoreError};

/// All uploads. Any thread may use it.
#[derive(Debug)]
pub(crate) struct Uploads {
    /// Where rows are kept, if elements are.
    volume: Option<Arc<Volume>>,
    table: SpinMutex<BTreeMap<(AccountId, UploadId), Arc<Upload>>>,
}

/// One upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub id: UploadId,
    pub account: AccountId,
    state: SpinMutex<State>,
}

#[derive(Debug)]
struct State {
    row: Row,
    /// What the next chunk goes on from, if that is in memory.
    live: Option<Live>,
    /// A chunk is being written.
    is_claimed: bool,
    /// It is complete, or given up.
    is_over: bool,
}

/// What an upload's row says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub begun_unix_ns: u64,
    /// When a chunk came last.
    pub touched_unix_ns: u64,
    /// Of raw elements; `None`: what comes is NumPy's array, which has its own.
    pub raw: Option<Layout>,
    /// What has come of NumPy's header, until it is whole.
    pub head: Vec<u8>,
    /// How long it is, as far as it has come.
    pub head_bytes: u64,
    /// From when the shape is known.
    pub layout: Option<Layout>,
    pub number: Option<MatrixNumber>,
    /// Bytes of elements that last.
    pub elements_bytes: u64,
    /// Of the address, in digits.
    pub hasher: Vec<u8>,
    pub keeping: Keeping,
    pub name: Option<ReferenceName>,
}

/// Where the next chunk's elements go.
#[derive(Debug)]
pub(crate) struct Live {
    pub writer: RowsWriter,
    pub hasher: AddressHasher,
    /// Covers the writer.
    #[expect(dead_code, reason = "dropping it gives the memory back")]
    pub promise: Promise,
}

impl Row {
    pub fn begun(
        raw: Option<Layout>,
        keeping: Keeping,
        name: Option<ReferenceName>,
        now_unix_ns: u64,
    ) -> Self {
        Self {
            begun_unix_ns: now_unix_ns,
            touched_unix_ns: now_unix_ns,
            raw,
            head: Vec::new(),
            head_bytes: 0,
            layout: None,
            number: None,
            elements_bytes: 0,
            hasher: Vec::new(),
            keeping,
            name,
        }
    }

    /// Bytes that have come and last.
    pub fn offset(&self) -> u64 {
        self.head_bytes + self.elements_bytes
    }

    /// How many there will be.
    pub fn bytes(&self) -> Option<u64> {
        self.layout.map(|layout| self.head_bytes + layout.bytes())
    }

    fn is_idle(&self, now_unix_ns: u64) -> bool {
        self.expires_unix_ns() <= now_unix_ns
    }

    fn expires_unix_ns(&self) -> u64 {
        self.touched_unix_ns.saturating_add(UPLOAD_IDLE_NS)
    }
}

/// A chunk's hold of its upload: no other is written meanwhile.
#[derive(Debug)]
pub(crate) struct Claim {
    pub upload: Arc<Upload>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.upload.state.lock().is_claimed = false;
    }
}

impl Upload {
    fn new(id: UploadId, account: AccountId, row: Row) -> Arc<Self> {
        let state = State { row, live: None, is_claimed: false, is_over: false };
        Arc::new(Self { id, account, state: state.into() })
    }

    pub fn row(&self) -> Row {
        self.state.lock().row.clone()
    }

    pub fn view(&self) -> UploadView {
        let row = &self.state.lock().row;
        UploadView {
            upload: self.id,
            offset: row.offset(),
            bytes: row.bytes(),
            chunk_bytes_max: CHUNK_BYTES_MAX,
            expires_at: rfc3339(row.expires_unix_ns()),
        }
    }

    /// Holds the upload for a chunk, or for its end.
    ///
    /// # Errors
    ///
    /// That another request does, or that it is over.
    pub fn claim(self: &Arc<Self>) -> Result<Claim, Problem> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(unknown());
        }
        if core::mem::replace(&mut state.is_claimed, true) {
            let detail = "another request for this upload is being served";
            return Err(Problem::new(ProblemKind::UploadInUse, detail)
                .with_response_field("Retry-After", "1"));
        }
        Ok(Claim { upload: self.clone() })
    }

    pub fn take_live(&self) -> Option<Live> {
        self.state.lock().live.take()
    }

    /// A chunk has become lasting.
    pub fn go_on(&self, row: Row, live: Option<Live>) {
        let mut state = self.state.lock();
        (state.row, state.live) = (row, live);
    }
}

impl Uploads {
    /// Those that a volume has. What was begun for others, and for those that time was up for, is
    /// given up.
    pub fn open(
        volume: Option<&Arc<Volume>>,
        store: &Store,
        now_unix_ns: u64,
    ) -> Result<Arc<Self>, StoreError> {
        let volume = volume.filter(|_| store.is_durable()).cloned();
        let mut table = BTreeMap::new();
        let mut gone = Batch::default();
        if let Some(volume) = &volume {
            volume.range(Table::Uploads, &[], None, &mut |key, value| {
                match read_row(key, value) {
                    Some((account, id, row)) if is_sound(&row, store) => {
                        let upload = Upload::new(id, account.clone(), row);
                        table.insert((account, id), upload);
                    }
                    _ => gone.delete(Table::Uploads, key),
                }
                true
            })?;
            if !gone.is_empty() {
                volume.commit(&gone)?;
            }
        }
        let uploads = Arc::new(Self { volume, table: table.into() });
        let numbers = uploads.numbers();
        for (number, purpose) in store.drafts() {
            if purpose == Purpose::Upload && !numbers.contains(&number) {
                store.abandon(number)?;
            }
        }
        uploads.expire(store, now_unix_ns)?;
        Ok(uploads)
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.table.lock().len()
    }

    /// An account's upload.
    ///
    /// # Errors
    ///
    /// That it has none of this id.
    pub fn find(&self, account: &AccountId, id: UploadId) -> Result<Arc<Upload>, Problem> {
        self.table.lock().get(&(account.clone(), id)).cloned().ok_or_else(unknown)
    }

    /// Notes a new upload, whose row lasts when this returns.
    ///
    /// # Errors
    ///
    /// That the account has too many, or what is wrong with the disk.
    pub fn begin(
        &self,
        account: &AccountId,
        id: UploadId,
        row: Row,
    ) -> Result<Arc<Upload>, Problem> {
        let upload = Upload::new(id, account.clone(), row);
        {
            let mut table = self.table.lock();
            let from = (account.clone(), UploadId([0; 16]));
            let theirs = table.range((Bound::Included(from), Bound::Unbounded));
            if theirs.take_while(|((owner, _), _)| owner == account).count() >= UPLOADS_MAX {
                let detail = "complete some of the account's uploads, or cancel them";
                return Err(
                    Problem::new(ProblemKind::TooManyUploads, detail).limit(UPLOADS_MAX as u64)
                );
            }
            table.insert((account.clone(), id), upload.clone());
        }
        let mut batch = Batch::default();
        self.put(&mut batch, &upload, &upload.row());
        if let Err(error) = self.commit(&batch) {
            self.table.lock().remove(&(account.clone(), id));
            return Err(error.into());
        }
        Ok(upload)
    }

    /// Adds an upload's row to what is committed with its elements.
    pub fn put(&self, batch: &mut Batch, upload: &Upload, row: &Row) {
        batch.put(Table::Uploads, key_of(&upload.account, upload.id), to_json(row));
    }

    /// Commits rows by themselves.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        match &self.volume {
            Some(volume) => Ok(volume.commit(batch)?),
            None => Ok(()),
        }
    }

    /// Ends an upload: its matrix is finished, or given up as well.
    pub fn end(&self, claim: &Claim, store: &Store, is_complete: bool) -> Result<(), StoreError> {
        let upload = &claim.upload;
        let mut batch = Batch::default();
        batch.delete(Table::Uploads, key_of(&upload.account, upload.id));
        self.commit(&batch)?;
        let (number, live) = {
            let mut state = upload.state.lock();
            state.is_over = true;
            (state.row.number, state.live.take())
        };
        drop(live);
        self.table.lock().remove(&(upload.account.clone(), upload.id));
        match number {
            Some(number) if !is_complete => store.abandon(number),
            _ => Ok(()),
        }
    }

    /// Gives up those of which nothing has come for long.
    pub fn expire(&self, store: &Store, now_unix_ns: u64) -> Result<usize, StoreError> {
        let all: Vec<_> = self.table.lock().values().cloned().collect();
        let mut count = 0;
        for upload in all {
            if !upload.state.lock().row.is_idle(now_unix_ns) {
                continue;
            }
            if let Ok(claim) = upload.claim() {
                self.end(&claim, store, false)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// When [`Uploads::expire`] has something to do, in nanoseconds of Unix time.
    pub fn next_expiry_unix_ns(&self) -> Option<u64> {
        let table = self.table.lock();
        table.values().map(|upload| upload.state.lock().row.expires_unix_ns()).min()
    }

    fn numbers(&self) -> Vec<MatrixNumber> {
        let table = self.table.lock();
        table.values().filter_map(|upload| upload.state.lock().row.number).collect()
    }
}

/// That there is no such upload.
pub(crate) fn unknown() -> Problem {
    let detail =
        "this account has no upload of this id: it is complete, was given up, or never was";
    Problem::new(ProblemKind::UnknownUpload, detail)
}

/// Whether what a row tells of is there: it is written last, and deleted first but for an upload
/// that has become complete.
fn is_sound(row: &Row, store: &Store) -> bool {
    row.number.is_none_or(|number| store.draft(number).is_some())
}

/// Neither an account's id nor what is behind the zero byte has another meaning.
fn key_of(account: &AccountId, id: UploadId) -> Vec<u8> {
    [account.as_str().as_bytes(), &[0], &id.0].concat()
}

fn read_row(key: &[u8], value: &[u8]) -> Option<(AccountId, UploadId, Row)> {
    let zero = key.iter().position(|byte| *byte == 0)?;
    let account = String::from_utf8(key[..zero].to_vec()).ok()?.parse().ok()?;
    let id = UploadId(key[zero + 1..].try_into().ok()?);
    Some((account, id, serde_json::from_slice(value).ok()?))
}
