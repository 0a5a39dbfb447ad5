//! Small changes to what is stored, each a commit of its own.

use alloc::boxed::Box;

use crate::api::matrices::{MatrixChange, ReferenceName, ReferenceView, UploadId};
use crate::api::to_json;
use crate::http::Response;
use crate::job::errand::{Errand, Progress};
use crate::memory::Promise;
use crate::problem::Problem;
use crate::server::matrices::Desk;
use crate::server::matrices::chunk::progress;
use crate::server::matrices::uploads::{Claim, Row};
use crate::store::{Keep, MatrixId};
use crate::time::SECOND_NS;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Command {
    Change(MatrixId, MatrixChange),
    Remove(MatrixId),
    Begin(UploadId, Box<Row>),
    Cancel(Claim),
    Refer(ReferenceName, MatrixId),
    Unrefer(ReferenceName),
    /// Removes what time is up for.
    Expire,
}

/// One command.
#[derive(Debug)]
pub(super) struct Order {
    pub desk: Desk,
    pub command: Command,
}

impl Errand for Order {
    fn advance(self: Box<Self>, _: &mut Promise, _: &dyn Fn() -> bool) -> Progress {
        Progress::Done((*self).carry_out())
    }
}

impl Order {
    fn carry_out(self) -> Result<Response, Problem> {
        let Self { desk, command } = self;
        match command {
            Command::Change(id, MatrixChange { ttl_seconds, pinned }) => {
                let stored = desk.find(id)?;
                let Keep { mut until_unix_ns, mut is_pinned } = stored.keep();
                if let Some(ttl_seconds) = ttl_seconds {
                    let until = |seconds: u64| {
                        desk.now_unix_ns.saturating_add(seconds.saturating_mul(SECOND_NS))
                    };
                    until_unix_ns = ttl_seconds.map(until);
                }
                is_pinned = pinned.unwrap_or(is_pinned);
                desk.store.keep(&stored, Keep { until_unix_ns, is_pinned })?;
                Ok(Response::json(200, to_json(&desk.view(&stored))))
            }
            Command::Remove(id) => {
                let stored = desk.find(id)?;
                for (name, named) in desk.store.references(&desk.account) {
                    if named == id {
                        desk.store.refer(&desk.account, &name, None)?;
                    }
                }
                desk.store.remove(&stored)?;
                Ok(Response::empty(204))
            }
            Command::Begin(id, row) => {
                let upload = desk.uploads.begin(&desk.account, id, *row)?;
                let mut response = progress(202, &upload);
                response.content_type = "application/json";
                response.body = to_json(&upload.view()).into();
                Ok(response)
            }
            Command::Cancel(claim) => {
                desk.uploads.end(&claim, &desk.store, false)?;
                Ok(Response::empty(204))
            }
            Command::Refer(name, id) => {
                let stored = desk.find(id)?;
                desk.refer(&name, stored.id())?;
                let view = ReferenceView { name: name.as_str().into(), matrix: id };
                Ok(Response::json(200, to_json(&view)))
            }
            Command::Unrefer(name) => {
                desk.store.refer(&desk.account, name.as_str(), None)?;
                Ok(Response::empty(204))
            }
            Command::Expire => {
                desk.store.expire(desk.now_unix_ns)?;
                desk.uploads.expire(&desk.store, desk.now_unix_ns)?;
                Ok(Response::empty(204))
            }
        }
    }
}
