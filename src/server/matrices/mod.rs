//! `/v1/matrices` and `/v1/references`: matrices that stay.
//!
//! What is listed is answered at once. Whatever may wait for a disk is an [errand](Errand), done
//! where products are computed: a commit, a chunk's elements, a matrix read for a reply.

mod chunk;
mod command;
mod desk;
mod download;
mod incoming;
mod storing;
mod uploads;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use rand_chacha::rand_core::RngCore;

use crate::api::matrices::{
    MatrixCall, MatrixChange, MatrixList, NewReference, Page, ReferenceList, ReferenceName,
    ReferenceView, StoreQuery, UploadId, digest_of,
};
use crate::api::{Route, SmallBody, body, to_json};
use crate::formats::Format;
use crate::formats::settings::decode;
use crate::gemm::Dtype;
use crate::http::condition::{Representation, Verdict};
use crate::http::digest;
use crate::http::range::Part;
use crate::http::{Payload, RequestHead, Response};
use crate::job::errand::Errand;
use crate::job::queue::AccountIndex;
use crate::job::{CancelFlag, Job};
use crate::ledger::Volume;
use crate::memory::Promise;
use crate::problem::{Problem, ProblemKind};
use crate::server::intake::Intake;
use crate::server::payer::Caller;
use crate::server::session::Pending;
use crate::server::{Server, SessionId};
use crate::store::{MatrixId, Store, StoreError, Stored};
use crate::time::Now;

use chunk::{Chunk, progress};
use command::{Command, Order};
use download::{Download, Encoding};
use storing::Storing;
use uploads::{Row, Uploads};

pub(super) use desk::Desk;
pub(super) use incoming::{ChunkBody, MatrixBody};
pub(super) use storing::Arrived;

/// What the server knows of matrices besides its store.
#[derive(Debug)]
pub(super) struct Matrices {
    uploads: Arc<Uploads>,
    /// When something of them is over, on the monotonic clock.
    due_ns: Option<u64>,
}

impl Matrices {
    /// What was left when the machine stopped.
    pub fn open(
        volume: Option<&Arc<Volume>>,
        store: &Store,
        now_unix_ns: u64,
    ) -> Result<Self, StoreError> {
        // What is over by now is found out at the first look at the clock.
        Ok(Self { uploads: Uploads::open(volume, store, now_unix_ns)?, due_ns: Some(0) })
    }

    pub fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    pub fn uploads_open(&self) -> usize {
        self.uploads.count()
    }
}

impl Server {
    /// Begins what a head asks of matrices; a response where that is all.
    ///
    /// # Errors
    ///
    /// A problem with the head.
    pub(super) fn begin_matrices(
        &mut self,
        id: SessionId,
        call: &MatrixCall,
        head: &RequestHead,
        caller: Caller,
        now: Now,
    ) -> Result<Option<Response>, Problem> {
        let desk = self.desk(caller.account, now);
        let command = match call {
            MatrixCall::List => return list(&desk, &head.query).map(Some),
            MatrixCall::References => return references(&desk, &head.query).map(Some),
            MatrixCall::Reference(name) => return reference(&desk, name).map(Some),
            MatrixCall::Progress(upload) => {
                let upload = desk.uploads.find(&desk.account, *upload)?;
                return Ok(Some(progress(204, &upload)));
            }
            MatrixCall::Read(matrix) => {
                return self.read_matrix(id, *matrix, head, caller.account, now);
            }
            MatrixCall::Change(matrix) => {
                desk.find(*matrix)?;
                return self.await_small_body(id, call, head, caller);
            }
            MatrixCall::Refer(_) => return self.await_small_body(id, call, head, caller),
            MatrixCall::Store => {
                let query = StoreQuery::parse(&head.query)?;
                let intake = Intake::admit_single(head, &query, &self.memory)?;
                let body = MatrixBody { intake, query, caller };
                return self.await_body(id, head, Pending::Matrix(Box::new(body))).map(|_| None);
            }
            MatrixCall::Append(upload) | MatrixCall::Complete(upload) => {
                let upload = desk.uploads.find(&desk.account, *upload)?;
                let is_last = matches!(call, MatrixCall::Complete(_));
                let digest = is_last.then(|| digest_of(&head.query)).transpose()?;
                let body = ChunkBody::admit(head, upload, digest, caller, &self.memory)?;
                return self.await_body(id, head, Pending::Chunk(Box::new(body))).map(|_| None);
            }
            MatrixCall::Begin => match self.begin_upload(&desk, head, now)? {
                Ok(command) => command,
                Err(response) => return Ok(Some(response)),
            },
            MatrixCall::Remove(matrix) => Command::Remove(*matrix),
            MatrixCall::Unrefer(name) => Command::Unrefer(name.clone()),
            MatrixCall::Cancel(upload) => {
                Command::Cancel(desk.uploads.find(&desk.account, *upload)?.claim()?)
            }
        };
        self.order(id, caller.account, desk, command, now).map(|()| None)
    }

    /// A matrix has come whole.
    pub(super) fn end_matrix(
        &mut self,
        id: SessionId,
        body: MatrixBody,
        now: Now,
    ) -> Result<(), Problem> {
        let MatrixBody { intake, query, caller } = body;
        let (arrived, promise) = intake.finish_single()?;
        let storing = Storing::new(self.desk(caller.account, now), query, arrived);
        self.send_errand(id, caller.account, storing, promise, now);
        Ok(())
    }

    /// A chunk of an upload has.
    pub(super) fn end_chunk(
        &mut self,
        id: SessionId,
        body: ChunkBody,
        now: Now,
    ) -> Result<(), Problem> {
        let account = body.caller.account;
        let ended = body.finish()?;
        let desk = self.desk(account, now);
        let chunk = Chunk::new(desk, ended.claim, ended.bytes, ended.digest, self.memory.clone());
        self.send_errand(id, account, chunk, ended.promise, now);
        Ok(())
    }

    /// A small body has.
    pub(super) fn end_matrix_change(
        &mut self,
        id: SessionId,
        call: &MatrixCall,
        text: &[u8],
        caller: Caller,
        now: Now,
    ) -> Result<(), Problem> {
        let command = match call {
            MatrixCall::Change(matrix) => {
                let change: MatrixChange = body::read(text)?;
                if change.ttl_seconds == Some(Some(0)) {
                    let detail = "delete the matrix instead";
                    return Err(Problem::new(ProblemKind::InvalidValue, detail).at("/ttl_seconds"));
                }
                Command::Change(*matrix, change)
            }
            MatrixCall::Refer(name) => {
                let NewReference { matrix } = body::read(text)?;
                Command::Refer(name.clone(), matrix)
            }
            _ => unreachable!("the others have none: see MatrixCall::takes_small_body"),
        };
        let desk = self.desk(caller.account, now);
        self.order(id, caller.account, desk, command, now)
    }

    /// Has an errand done; its reply is the session's.
    pub(super) fn send_errand(
        &mut self,
        id: SessionId,
        account: AccountIndex,
        errand: Box<dyn Errand>,
        promise: Promise,
        now: Now,
    ) {
        self.send_errand_after(id, account, errand, (promise, 0), now);
    }

    /// The same, whose reply rests on the ledger's entries before the one of this number.
    pub(super) fn send_errand_after(
        &mut self,
        id: SessionId,
        account: AccountIndex,
        errand: Box<dyn Errand>,
        (promise, until): (Promise, u64),
        now: Now,
    ) {
        if let Some(session) = self.session_mut(id) {
            // What has come whole counts, whoever has gone meanwhile, so that nobody cancels it.
            session.job = Some(CancelFlag::default());
        }
        let mut job = Job::errand(id, account, errand, promise, now.monotonic_ns);
        job.charged_until = until;
        self.ready_jobs.push(account, job);
        self.note_progress(id, 0, now);
    }

    /// What is stored may have changed: finds when something of it is over.
    pub(super) fn note_stored(&mut self, now: Now) {
        let due = [self.store.next_expiry_unix_ns(), self.matrices.uploads.next_expiry_unix_ns()];
        let due_unix_ns = due.into_iter().flatten().min();
        self.matrices.due_ns =
            due_unix_ns.map(|due| now.monotonic_ns.saturating_add(due.saturating_sub(now.unix_ns)));
    }

    /// An errand of an account, or of nobody's, may have changed what accounts are billed for.
    pub(super) fn bill_stored(&mut self, id: SessionId, account: AccountIndex, now: Now) {
        // What time was up for may have been anybody's.
        let accounts: Vec<_> = if id == SessionId::NOBODY {
            self.book.accounts().map(|state| state.account.id.clone()).collect()
        } else {
            vec![self.book.account(account).account.id.clone()]
        };
        for account in accounts {
            let bytes = self.store.bytes_of(&account);
            self.charge_stored(&account, bytes, now);
        }
    }

    /// Removes what time is up for, if there may be some.
    pub(super) fn expire_stored(&mut self, now: Now) {
        if self.matrices.due_ns.is_none_or(|due_ns| due_ns > now.monotonic_ns) {
            return;
        }
        self.note_stored(now);
        if self.matrices.due_ns.is_none_or(|due_ns| due_ns > now.monotonic_ns) {
            return;
        }
        // Until it is done there is no use in another.
        self.matrices.due_ns = None;
        let account = self.book.accounts().next().map(|state| state.account.id.clone());
        let Some(index) = account.and_then(|id| self.book.account_index(&id)) else { return };
        let desk = self.desk(index, now);
        let ordered = self.order(SessionId::NOBODY, index, desk, Command::Expire, now);
        debug_assert!(ordered.is_ok(), "it takes no memory");
    }

    pub(super) fn desk(&self, account: AccountIndex, now: Now) -> Desk {
        Desk {
            store: self.store.clone(),
            uploads: self.matrices.uploads.clone(),
            account: self.book.account(account).account.id.clone(),
            bytes_max: self.book.account(account).account.limits.stored_bytes_max,
            now_unix_ns: now.unix_ns,
        }
    }

    fn order(
        &mut self,
        id: SessionId,
        account: AccountIndex,
        desk: Desk,
        command: Command,
        now: Now,
    ) -> Result<(), Problem> {
        let promise = self.memory.promise(0);
        let promise = promise.expect("nothing is always there");
        self.send_errand(id, account, Box::new(Order { desk, command }), promise, now);
        Ok(())
    }

    fn await_small_body(
        &mut self,
        id: SessionId,
        call: &MatrixCall,
        head: &RequestHead,
        caller: Caller,
    ) -> Result<Option<Response>, Problem> {
        let body = SmallBody::admit(head, &self.memory)?;
        let pending = Pending::Other(Route::Matrices(call.clone()), body, Some(caller));
        self.await_body(id, head, pending).map(|_| None)
    }

    /// A new upload, or where the matrix is already.
    fn begin_upload(
        &mut self,
        desk: &Desk,
        head: &RequestHead,
        now: Now,
    ) -> Result<Result<Command, Response>, Problem> {
        let StoreQuery { dtype, shape, digest, name, keeping } = StoreQuery::parse(&head.query)?;
        if let Some(stored) = digest.and_then(|digest| desk.find(digest).ok())
            && name.is_none()
            && keeping == Default::default()
        {
            return desk.answer_stored(&stored, None).map(Err);
        }
        let raw = match shape {
            None if dtype.is_some() => {
                let detail = "raw elements have a shape as well, and an array its own dtype";
                return Err(Problem::new(ProblemKind::MissingField, detail).at("?shape"));
            }
            None => None,
            Some(shape) => Some(incoming::raw_layout(dtype.unwrap_or(Dtype::F64), shape)?),
        };
        if let Some(layout) = raw {
            desk.check_quota(layout.bytes())?;
        }
        let mut random = [0; 16];
        self.random.fill_bytes(&mut random);
        let row = Row::begun(raw, keeping, name, now.unix_ns);
        Ok(Ok(Command::Begin(UploadId(random), Box::new(row))))
    }

    /// Sends a matrix.
    fn read_matrix(
        &mut self,
        id: SessionId,
        matrix: MatrixId,
        head: &RequestHead,
        account: AccountIndex,
        now: Now,
    ) -> Result<Option<Response>, Problem> {
        let stored = self.desk(account, now).find(matrix)?;
        let format = Format::negotiate(head.field_values("accept"), Format::Npy)?;
        let etag = format!("\"{matrix};{}\"", download::format_name(format));
        match Verdict::of(head, Some(&etag)) {
            Verdict::Go => {}
            Verdict::NotModified => {
                return Ok(Some(Response::empty(304).with_field("ETag", &etag)));
            }
            Verdict::Failed => {
                let detail = "the matrix is there, in other formats or under another tag";
                return Err(Problem::new(ProblemKind::PreconditionFailed, detail));
            }
        }
        let response = described(&stored, format, &etag);
        if !download::is_streamed(format) {
            let (encoding, promise) = Encoding::begin(stored, response, &self.memory)?;
            self.send_errand(id, account, encoding, promise, now);
            return Ok(None);
        }
        let before = download::head_of(format, stored.layout());
        let bytes = before.len() as u64 + stored.layout().bytes();
        let part = Part::of(head, Representation { etag: &etag, bytes });
        let mut response = response.with_field("Accept-Ranges", "bytes");
        if let Some(value) = part.content_range(bytes) {
            response = response.with_field("Content-Range", &value);
        }
        let (from, until) = match part {
            Part::Whole => (0, bytes),
            Part::Range(range) => (range.first, range.last + 1),
            Part::None => {
                let detail = format!("the range begins behind the last of {bytes} bytes");
                return Err(Problem::new(ProblemKind::RangeNotSatisfiable, detail)
                    .at("Range")
                    .with_response_field("Content-Range", format!("bytes */{bytes}")));
            }
        };
        if part != Part::Whole {
            response.status = 206;
        }
        let source = Download::new(stored, before, from, until);
        self.answer_from(id, account, response, source, now).map(|()| None)
    }
}

/// What is said of a matrix before it is sent.
fn described(stored: &Stored, format: Format, etag: &str) -> Response {
    let layout = stored.layout();
    let content_type = format.media_type();
    let response =
        Response { status: 200, content_type, fields: String::new(), body: Payload::default() }
            .with_field("ETag", etag)
            .with_field("Vary", "Accept")
            .with_field("Gemmule-Shape", &format!("{}x{}", layout.rows, layout.columns))
            .with_field("Gemmule-Dtype", layout.dtype.name());
    if format != Format::Npy {
        return response;
    }
    // RFC 9530: of the whole, whatever range is sent. NumPy's file is what the address is of.
    response.with_field("Repr-Digest", &digest::value_of(&stored.id().0.0))
}

fn list(desk: &Desk, query: &str) -> Result<Response, Problem> {
    let page = Page::parse(query, |text| text.parse::<MatrixId>().ok())?;
    let stored = desk.list();
    let (count, bytes) = (stored.len(), desk.store.bytes_of(&desk.account));
    let behind = stored.iter().filter(|it| page.after.is_none_or(|after| it.id() > after));
    let mut some: Vec<_> = behind.take(page.limit + 1).collect();
    let has_more = some.len() > page.limit;
    some.truncate(page.limit);
    let list = MatrixList {
        next: some.last().filter(|_| has_more).map(|stored| stored.id()),
        matrices: some.into_iter().map(|stored| desk.view(stored)).collect(),
        count,
        bytes,
        bytes_max: desk.bytes_max,
    };
    Ok(Response::json(200, to_json(&list)))
}

fn references(desk: &Desk, query: &str) -> Result<Response, Problem> {
    let read = |text: &str| ReferenceName::parse(&decode(text).ok()?);
    let page = Page::parse(query, read)?;
    let after = page.after.as_ref().map(ReferenceName::as_str);
    let behind = desk.references().into_iter();
    let behind = behind.filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
    let mut references: Vec<_> =
        behind.take(page.limit + 1).map(|(name, matrix)| ReferenceView { name, matrix }).collect();
    let has_more = references.len() > page.limit;
    references.truncate(page.limit);
    let next = references.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(Response::json(200, to_json(&ReferenceList { references, next })))
}

fn reference(desk: &Desk, name: &ReferenceName) -> Result<Response, Problem> {
    let id = desk.store.reference(&desk.account, name.as_str());
    let stored = id.and_then(|id| desk.find(id).ok()).ok_or_else(|| {
        let detail = "this account calls no matrix by this name";
        Problem::new(ProblemKind::UnknownReference, detail)
    })?;
    let view = ReferenceView { name: name.as_str().to_string(), matrix: stored.id() };
    Ok(Response::json(200, to_json(&view)))
}
